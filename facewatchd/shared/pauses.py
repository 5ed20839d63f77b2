"""When to try again what failed: at once after the first failure, then in growing pauses with a random part."""

from __future__ import annotations

import random
from typing import Final

from facewatchd.shared.engine import Retry

FIRST: Final = 0.5
"""Seconds of the first pause."""
LONGEST: Final = 60.0
"""Seconds: a machine that wakes up, or a server that is started, is found within a minute."""
FIRST_SLOW: Final = 15.0
LONGEST_SLOW: Final = 600.0
"""Seconds of the first and of the longest pause after a failure that a person has to mend, perhaps on the server,
without this machine being told. Some pass sooner: a database is missing for a moment while a backup is restored."""


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
        first, longest = (FIRST_SLOW, LONGEST_SLOW) if retry is Retry.SLOWLY else (FIRST, LONGEST)
        pause = min(longest, first * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return pause * random.uniform(0.5, 1.0)
