"""Looks after the index: brings it level at the start, builds it anew when it is worn, writes its checkpoints.

It also has the photos read again of whose faces damaged rows were found in the catalog.

All of it takes seconds or minutes where there are many faces, and nobody is kept waiting: searches use the index there
is, or scan, and what is recorded meanwhile is caught up with before a new index is taken over.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable

from facewatchd.errors import FacewatchError, StorageError
from facewatchd.indexing.writer import Writer
from facewatchd.store.gallery import Gallery
from facewatchd.system.scheduling import Pace
from facewatchd.text import counted
from facewatchd.threads.liveness import Liveness

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
SET_ASIDE = 1000
"""Damaged faces that are removed in one transaction, which takes some 0.1 s."""
RETRY = 60.0
"""Seconds between two tries at what failed."""


class _Rebuild:
    """A wish for an index that is built anew from the catalog, and what became of it."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.trouble = ""


class IndexMaintenance(threading.Thread):
    """Start it after the writer and `stop` it before; then `save_last`."""

    def __init__(
        self,
        gallery: Gallery,
        writer: Writer,
        threads: int,
        *,
        polite: bool,
        liveness: Liveness,
        look_at: Callable[[bytes], object],
    ) -> None:
        """``threads`` build an index anew; ``polite``: with rests, while other programs compute.

        ``look_at`` has a photo examined.
        """
        super().__init__(name="maintenance")
        self._gallery = gallery
        self._writer = writer
        self._look_at = look_at
        self._threads = threads
        self._polite = polite
        self._liveness = liveness
        self._ending = threading.Event()
        self._seen = 0
        self._saved_at = time.monotonic()
        self._rest = 0.0
        self._retry_at = 0.0
        self._wanted: queue.SimpleQueue[_Rebuild] = queue.SimpleQueue()
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

    def rebuild(self) -> None:
        """From any other thread: have the index built anew, and wait for it. Searches and recording go on meanwhile.

        Raises `StorageError` where it cannot be built, or the daemon ends first.
        """
        wish = _Rebuild()
        self._wanted.put(wish)
        self._gallery.changed.set()
        while not wish.done.wait(0.2):
            if self._ending.is_set() or not self.is_alive():
                raise StorageError("the daemon is stopping", "try again")
        if wish.trouble:
            raise StorageError(f"the index cannot be built anew: {wish.trouble}", "try again")

    def run(self) -> None:
        self._liveness.beat()
        self._level()
        while self._next_look():
            if not self._wanted.empty():
                self._fulfil()
                continue
            if time.monotonic() < self._retry_at:
                continue
            if self._gallery.catalog.damaged_faces:
                self._attempt(self._set_aside)
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
        if not self._wanted.empty():
            return True
        self._liveness.rest()
        idle = not (self._gallery.worn or self._gallery.unsaved or self._gallery.catalog.damaged_faces)
        if self._gallery.ready and idle:
            self._gallery.changed.wait(WAKE_EVERY)
        ends = self._ending.wait(LOOK_EVERY)
        self._liveness.beat()
        return not ends

    def _keep_on(self) -> bool:
        self._liveness.beat()
        return not self._ending.is_set()

    def _fulfil(self) -> None:
        """Build the index anew for everybody who has asked for it by now."""
        wishes = [self._wanted.get() for _ in range(self._wanted.qsize())]
        log.info("the index is built anew")
        self._attempt(lambda: self._prepare_and_adopt(anew=True))
        if not self._keep_on():
            return  # they see that it ends
        for wish in wishes:
            wish.trouble = self.trouble
            wish.done.set()

    def _set_aside(self) -> None:
        """Remove damaged faces from catalog and index, and have their photos read again."""
        faces = list(itertools.islice(self._gallery.catalog.damaged_faces.copy(), SET_ASIDE))
        photos: list[bytes] = []
        self._writer.call(lambda gallery: photos.extend(gallery.set_aside(faces)))
        if photos:
            rows = counted(len(faces), "row of a face is", "rows of faces are")
            read = counted(len(photos), "photo is", "photos are")
            log.warning("%s damaged in the catalog: %s read again", rows, read)
        for path in photos:
            self._look_at(path)

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

    def _prepare_and_adopt(self, *, anew: bool = False) -> None:
        vectors = self._gallery.prepared(self._paced(), anew=anew, threads=self._threads)
        if vectors is not None:
            self._liveness.rest()  # the writer shows signs of life itself
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
