"""When the page was last used, which decides when its process ends by itself.

Used means that a request came which a person caused, or that one is being answered. What a script asks by itself while
a tab only stands open has the header `BACKGROUND` and does not count, so that a forgotten tab keeps nothing alive.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

IDLE = 1800.0
"""Seconds without use after which the process ends."""
BACKGROUND = b"facewatchd-background"
"""A header, in lower case, of what a script asks by itself."""


class Activity:
    """For one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()
        self._running = 0

    @contextlib.contextmanager
    def request(self, *, background: bool) -> Iterator[None]:
        """Count a request while it is answered."""
        self._running += 1
        if not background:
            self.touch()
        try:
            yield
        finally:
            self._running -= 1
            if not background:
                self.touch()

    def touch(self) -> None:
        """The page is used now."""
        self._last = self._clock()

    def idle(self) -> float:
        """Seconds since the last use; 0 while a request is answered."""
        return 0.0 if self._running else self._clock() - self._last
