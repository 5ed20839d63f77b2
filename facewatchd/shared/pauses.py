"""When to try again what failed: at once after the first failure, then in growing pauses with a random part."""

from __future__ import annotations

import random
from typing import Final

from facewatchd.shared.engine import Retry

FIRST: Final = 0.5
"""Seconds of the first pause."""
LONGEST: Final = 60.0
"""Seconds: a machine that wakes up, or a server that is started, is found within a minute."""
SLOW: Final = 600.0
"""Seconds after a failure that a person has to mend, perhaps on the server, without this machine being told."""


class Pauses:
    """The pauses of one thread."""

    def __init__(self) -> None:
        self._failures = 0

    def succeeded(self) -> None:
        """The next pause is a first one again."""
        self._failures = 0

    def after(self, retry: Retry) -> float | None:
        """Seconds to wait after a failure; None for ever.

        Between half of the pause and all of it: machines that lost the same server do not come back at one moment.
        """
        if retry is Retry.NEVER:
            return None
        pause = SLOW if retry is Retry.SLOWLY else min(LONGEST, FIRST * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return pause * random.uniform(0.5, 1.0)
