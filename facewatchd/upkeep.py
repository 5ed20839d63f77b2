"""Looks after the index: brings it level at the start, builds it anew when it is worn, writes its checkpoints.

All of it takes seconds or minutes where there are many faces, and nobody is kept waiting: searches use the index there
is, or scan, and what is recorded meanwhile is caught up with before a new index is taken over.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from facewatchd.errors import FacewatchError
from facewatchd.gallery import Gallery
from facewatchd.priority import Pace
from facewatchd.vitals import Vitals
from facewatchd.writer import Writer

log = logging.getLogger(__name__)

LOOK_EVERY = 5.0
CHECKPOINT_CHANGES = 5000
CHECKPOINT_SECONDS = 300.0
"""A checkpoint is due after so many changes, so long after the last, or when nothing changed between two looks."""
CHECKPOINT_REST = 50
"""A checkpoint that took a second is followed by at least so many without one."""
WORTH = 1000
WORTH_BUSY = 50
"""An index is written whole, so one of so many faces must have changed; of more of them while changes go on."""
WAKE_EVERY = 3600.0
"""Seconds between two looks while nothing changes: tombstones grow too old by themselves."""
RETRY = 60.0
"""Seconds between two tries at what failed."""


class Upkeep(threading.Thread):
    """Start it after the writer and `stop` it before; then `save_last`."""

    def __init__(self, gallery: Gallery, writer: Writer, threads: int, *, polite: bool, vitals: Vitals) -> None:
        """``threads`` build an index anew; ``polite``: with rests, while other programs compute."""
        super().__init__(name="upkeep")
        self._gallery = gallery
        self._writer = writer
        self._threads = threads
        self._polite = polite
        self._vitals = vitals
        self._ending = threading.Event()
        self._seen = 0
        self._saved_at = time.monotonic()
        self._rest = 0.0
        self._retry_at = 0.0
        self.trouble = ""
        """What is wrong with the index; empty when all is well."""

    def stop(self) -> None:
        self._ending.set()
        self._gallery.changed.set()
        if self.ident is not None:
            self.join()

    def save_last(self) -> None:
        """Make a last checkpoint, unless so little changed that the next start makes up for it as fast."""
        if self._gallery.unsaved * 10 * WORTH > self._gallery.index_size[0]:
            self._ending.clear()
            self._attempt(self._gallery.checkpoint)

    def run(self) -> None:
        self._vitals.beat()
        self._level()
        while self._next_look():
            if time.monotonic() < self._retry_at:
                continue
            if self._gallery.worn:
                log.info("the faces that were deleted are taken out of the index: it is built anew")
            if self._gallery.worn or not self._gallery.ready:
                self._level()
            elif self._is_due():
                self._checkpoint()

    def _next_look(self) -> bool:
        """Rest while there is nothing to look after; False at the end."""
        self._gallery.changed.clear()  # before it is asked what there is to do, and whether this is the end
        if self._ending.is_set():
            return False
        self._vitals.rest()
        if self._gallery.ready and not (self._gallery.worn or self._gallery.unsaved):
            self._gallery.changed.wait(WAKE_EVERY)
        ends = self._ending.wait(LOOK_EVERY)
        self._vitals.beat()
        return not ends

    def _keep_on(self) -> bool:
        self._vitals.beat()
        return not self._ending.is_set()

    def _paced(self) -> Callable[[], bool]:
        """What is asked after each part of a long work: `_keep_on`, after a rest where that is due."""
        if not self._polite:
            return self._keep_on
        pace = Pace(self._threads)

        def keep_on() -> bool:
            self._ending.wait(pace.rest())
            pace.begin()
            return self._keep_on()

        return keep_on

    def _level(self) -> None:
        self._attempt(self._prepare_and_adopt)

    def _prepare_and_adopt(self) -> None:
        vectors = self._gallery.prepared(self._paced(), threads=self._threads)
        if vectors is not None:
            self._vitals.rest()  # the writer shows signs of life itself
            self._writer.call(lambda gallery: gallery.adopt(vectors, self._writer.goes_on))

    def _is_due(self) -> bool:
        now, unsaved, size = time.monotonic(), self._gallery.unsaved, self._gallery.index_size[0]
        rests, self._seen = unsaved == self._seen, unsaved
        if not unsaved:
            self._saved_at = now
        if now < self._saved_at + self._rest:
            return False
        if rests:
            return unsaved * WORTH > size
        late = unsaved >= CHECKPOINT_CHANGES or now - self._saved_at > CHECKPOINT_SECONDS
        return late and unsaved * WORTH_BUSY > size

    def _checkpoint(self) -> None:
        started = time.monotonic()
        self._attempt(lambda: self._gallery.checkpoint(self._keep_on))
        self._saved_at = time.monotonic()
        self._rest = CHECKPOINT_REST * (self._saved_at - started)

    def _attempt(self, function: Callable[[], object]) -> None:
        """Work on the index. It is a cache: what goes wrong is said, tried again later, and stops nothing."""
        try:
            function()
        except Exception as exc:
            if self._ending.is_set():
                return
            if not isinstance(exc, FacewatchError):
                log.debug("this is a bug", exc_info=True)
            if not self.trouble:
                log.error("%s", exc)
            self.trouble = str(exc)
            self._retry_at = time.monotonic() + RETRY
        else:
            self.trouble = ""
