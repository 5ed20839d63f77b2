"""Hedged requests: when the indexing process gets no processor, the process for queries takes one of its photos.

The kernel gives a process of the idle class what others leave: beside programs that compute all the time, less than a
hundredth of a processor. An ordinary user's process cannot leave that class again (RLIMIT_NICE of getrlimit(2)). So a
photo is also given to the process for queries, which has normal priority, when the indexing process has answered
nothing for `PATIENCE` seconds and is runnable without running. The first answer counts.

The share that others lose by that is bounded: one photo at a time, and after one that took d seconds none for
`REST_FACTOR` * d, nor for `REST` seconds. While it is decoded, it competes like any program; so it costs others less
than 1 / (1 + `REST_FACTOR`) of what they would have.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from facewatchd.errors import FacewatchError
from facewatchd.inference.failures import WaitEndedError
from facewatchd.inference.pool import Inference
from facewatchd.inference.wire import Analysis

PATIENCE = 2.0
"""Seconds without a photo from the indexing process after which the other one helps."""
REST = 2.0
REST_FACTOR = 10.0
WINDOW = 1.5
"""Seconds over which the indexing process's share of a processor is measured, at least."""
STARVED = 0.3
"""The share of one processor below which a process that could run counts as kept from it."""
REMEMBERED = 15.0
"""Seconds for which `waits` stays true after such a measurement: longer than the rest after most photos."""


class Hedge:
    """The inference of the indexing threads. Any thread may call."""

    def __init__(
        self,
        indexing: Inference,
        queries: Inference,
        *,
        idle: bool = True,
        beat: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``idle``: the indexing process is in the idle class; else the other process never helps.

        ``beat`` is called each second by a thread that waits for the process for queries.
        """
        self._indexing = indexing
        self._queries = queries
        self._idle = idle
        self._beat = beat
        self._clock = clock
        self._helping = threading.Lock()
        """Held while the process for queries has a photo for the index in hand."""
        self._lock = threading.Lock()
        self._answered_at = self._rested_at = self._looked_at = clock()
        self._worked = 0.0
        self._starves = False
        self._starved_at: float | None = None

    def analyse(self, data: bytes | int, *, alone: bool = False) -> Analysis:
        """What `Inference.analyse` returns and raises. A photo tried ``alone`` is not given to the other one."""
        began = self._clock()
        tried = False

        def wait() -> None:
            nonlocal tried
            if not tried and self._may_help(began):
                tried = self._help(data)

        try:
            analysis = self._indexing.analyse(data, wait, alone=alone)
        except _HelpedError as exc:
            return exc.analysis
        except FacewatchError:
            self._answered_at = self._clock()
            raise
        self._answered_at = self._clock()
        return analysis

    def close(self, grace: float = 0.0) -> None:
        """`Inference.close` of the indexing process."""
        self._indexing.close(grace)

    def waits(self) -> bool:
        """Whether the indexing process got no processor within the last `REMEMBERED` seconds."""
        starved_at = self._starved_at
        return starved_at is not None and self._clock() - starved_at < REMEMBERED

    def _may_help(self, began: float) -> bool:
        now = self._clock()
        starves = self._idle and self._is_starving(now)
        return starves and now >= self._rested_at and now - max(began, self._answered_at) >= PATIENCE

    def _is_starving(self, now: float) -> bool:
        """Whether the indexing process is runnable and hardly runs; measured once in a `WINDOW`."""
        with self._lock:
            span = now - self._looked_at
            if span < WINDOW:
                return self._starves
            effort = self._indexing.effort()
            worked, is_runnable = effort or (0.0, False)
            share = (worked - self._worked) / span
            # After a long pause, or with another process, there is nothing to compare with.
            self._starves = is_runnable and 0.0 <= share < STARVED and span < 4 * WINDOW
            self._looked_at, self._worked = now, worked
            if self._starves:
                self._starved_at = now
            return self._starves

    def _help(self, data: bytes | int) -> bool:
        """Give the photo to the other process, unless it has one in hand; return whether it was given.

        Raises `_HelpedError` with the answer.
        """
        if not self._helping.acquire(blocking=False):
            return False
        try:
            started = self._clock()
            analysis = self._queries.attempt(data, self._beat)
        finally:
            now = self._clock()
            self._rested_at = now + max(REST, REST_FACTOR * (now - started))
            self._helping.release()
        if analysis is not None:
            raise _HelpedError(analysis)
        return True


class _HelpedError(WaitEndedError):
    """The other process answered first."""

    def __init__(self, analysis: Analysis) -> None:
        super().__init__("analysed by the other process")
        self.analysis = analysis
