"""The frame of a thread that works on recorded photos, one at a time, while the daemon has nothing else to do.

A subclass says what the next piece of work is and does it; the frame says when. It asks for the next piece only while
``others_first`` is false: no path is pending, no walk runs and indexing is not paused. The work itself is done in the
indexing process, in its idle class, with one thread. After each piece the thread rests at least as long as that took;
after one that took less than ten seconds and kept other programs waiting it rests ten times as long, ten seconds at
most (`Pace`). A small piece waits for a processor for most of its time: there only the processor time counts tenfold.
Without ``idle_priority`` it does not rest.

No error ends the thread. Of a model that cannot be loaded, and of a catalog that cannot be read or written, the workers
and the writer tell. After these, and after an error of the program, the thread waits for `RETRY` seconds and asks for
the next piece again; so a subclass keeps a piece as the next one until it is done.

The thread shows signs of life (`Liveness`) from the moment when it has a piece until it rests. It may read from a disk
that does not answer: `stop` waits for `LEAVE` seconds and leaves it behind.
"""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from facewatchd.errors import StorageError
from facewatchd.indexing.writer import Writer
from facewatchd.inference.failures import ClosedError, NoModelError
from facewatchd.inference.pool import Inference
from facewatchd.scan.roots import Roots
from facewatchd.store.gallery import Gallery
from facewatchd.system.scheduling import Pace, processor_time
from facewatchd.threads.liveness import Liveness

log = logging.getLogger(__name__)

LOOK_EVERY = 5.0
"""Seconds between two looks at whether there is something to do."""
RETRY = 30.0
"""Seconds of rest after the model could not be loaded, or the catalog not be read or written."""
LEAVE = 2.0
"""Seconds that the thread has to end."""
SHARE = 1.0
"""The least rest after a piece, as a multiple of its time: half of one processor is used at most."""

Piece = TypeVar("Piece")


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of the daemon that such a thread works with."""

    gallery: Gallery
    roots: Roots
    writer: Writer
    inference: Inference
    """The indexing process."""
    others_first: Callable[[], bool]
    """Whether something else is to be done, or indexing is paused."""
    polite: bool
    """Whether the thread rests between two pieces."""
    liveness: Liveness


class IdleThread(ABC, Generic[Piece]):
    """Start it after the writer and the workers, and `stop` it before them."""

    name: str
    """The thread's name, also in the log."""
    has_small_pieces = False
    """Whether a piece takes few milliseconds of a processor."""

    def __init__(self, parts: Parts) -> None:
        self._gallery = parts.gallery
        self._roots = parts.roots
        self._writer = parts.writer
        self._inference = parts.inference
        self._others_first = parts.others_first
        self._polite = parts.polite
        self._liveness = parts.liveness
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    @abstractmethod
    def _next(self) -> Piece | None:
        """The piece that is to be worked on; None where nothing is left."""

    @abstractmethod
    def _work_on(self, piece: Piece, /) -> None: ...

    def start(self) -> None:
        self._thread.start()

    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def give_up(self) -> None:
        """Begin no other piece. Comes before the end of the workers."""
        self._ending.set()

    def stop(self) -> None:
        """End the thread, or leave it behind after `LEAVE` seconds."""
        self.give_up()
        if self._thread.ident is not None:
            self._thread.join(LEAVE)

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                rest = self._step()
            except ClosedError:
                return
            except (NoModelError, StorageError) as exc:
                log.debug("%s: %s", self.name, exc)
                rest = RETRY
            except Exception as exc:
                log.exception("%s: unexpected error (%s)", self.name, exc)
                rest = RETRY
            self._liveness.rest()
            self._ending.wait(rest)

    def _step(self) -> float:
        """Work on one piece if there is one; return the seconds to rest."""
        self._writer.require_undamaged()
        if self._others_first():
            return LOOK_EVERY
        began, pace = time.monotonic(), Pace(1, self._used, by_effort=self.has_small_pieces)
        if (piece := self._next()) is None:
            return LOOK_EVERY
        self._liveness.beat()
        self._work_on(piece)
        return max(SHARE * (time.monotonic() - began), pace.rest()) if self._polite else 0.0

    def _used(self) -> tuple[float, float]:
        """Seconds of processor time so far: of the whole machine, and of this process and the indexing process."""
        everything, own = processor_time()
        return everything, own + (self._inference.effort() or (0.0, False))[0]
