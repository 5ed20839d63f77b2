"""When a checkpoint of the index is worth its cost: hnswlib's file is written whole, whatever changed."""

from __future__ import annotations

import time
from collections.abc import Callable

CHANGES = 5000
"""A checkpoint is due after so many changes, or when nothing changed between two calls of `is_due`."""
SECONDS = 300.0
"""Or so many seconds after the last one."""
REST = 50
"""A checkpoint that took a second is followed by at least so many seconds without one."""
WORTH = 1000
"""If nothing changes any more, one of so many faces must have changed."""
WORTH_BUSY = 50
"""While changes go on, one of so many."""
WORTH_LAST = 10_000
"""At the end of the process, one of so many: fewer are brought level as fast at the next start."""


class CheckpointSchedule:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen = 0
        self._saved_at = clock()
        self._rest = 0.0

    def is_due(self, unsaved: int, faces: int) -> bool:
        """Asked every few seconds, with the changes since the last checkpoint and the faces in the index."""
        rests, self._seen = unsaved == self._seen, unsaved
        now = self._clock()
        if not unsaved:
            self._saved_at = now
        if now < self._saved_at + self._rest:
            return False
        if rests:
            return unsaved * WORTH > faces
        return (unsaved >= CHANGES or now - self._saved_at > SECONDS) and unsaved * WORTH_BUSY > faces

    def is_due_last(self, unsaved: int, faces: int) -> bool:
        return unsaved * WORTH_LAST > faces

    def saved(self, seconds: float) -> None:
        """Note that a checkpoint was tried, and took ``seconds``."""
        self._saved_at, self._rest = self._clock(), REST * seconds
