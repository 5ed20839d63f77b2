"""The thread that maintains the index: it has `Index.maintain` called when something may be due.

It also queues photos whose face rows are damaged, so that they are embedded again.

Bringing an index level, building it anew and writing it takes seconds or minutes where there are many faces. Nothing
waits for it: searches use the index there is, or compare with every face, and recording goes on.
"""

from __future__ import annotations

import enum
import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable

from facewatchd.errors import FacewatchError, StorageError
from facewatchd.indexing.writer import Writer
from facewatchd.store.gallery import Gallery
from facewatchd.store.index import KeepOn, Upkeep
from facewatchd.system.scheduling import Pace
from facewatchd.text import counted
from facewatchd.threads.liveness import Liveness

log = logging.getLogger(__name__)

LOOK_EVERY = 5.0
"""Seconds between two calls of `Index.maintain` while changes are not saved yet."""
WAKE_EVERY = 3600.0
"""The same while nothing changes: tombstones grow too old by themselves."""
SET_ASIDE = 1000
"""Damaged faces that are removed in one transaction, which takes some 0.1 s."""
RETRY = 60.0
"""Seconds between two tries at what failed."""


class _Job(enum.Enum):
    MAINTAIN = enum.auto()
    SET_ASIDE = enum.auto()


class _Rebuild:
    """A request that the index be built anew from the catalog, and its result."""

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
        """``threads`` build an index anew; ``polite``: they rest while other programs compute.

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
        self._retry_at = 0.0
        self._wanted: queue.SimpleQueue[_Rebuild] = queue.SimpleQueue()
        self._troubles = dict.fromkeys(_Job, "")

    @property
    def trouble(self) -> str:
        """What is wrong with the index, or with damaged faces; empty when all is well."""
        return next(filter(None, self._troubles.values()), "")

    def give_up(self) -> None:
        """End what is being done as soon as that can be, and begin nothing else. Comes before the writer's end."""
        self._ending.set()
        self._gallery.changed.set()

    def stop(self) -> None:
        """`give_up`, and end the thread."""
        self.give_up()
        if self.ident is not None:
            self.join()

    def save_last(self) -> None:
        """Once everything is stopped: write the index where the next start would be slower without."""
        self._ending.clear()
        self._attempt(_Job.MAINTAIN, lambda: self._gallery.index.maintain(Upkeep(), last=True))

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
        self._maintain()
        while self._next_look():
            if not self._wanted.empty():
                self._fulfil()
            elif time.monotonic() >= self._retry_at:
                self._attempt(_Job.SET_ASIDE, self._set_aside)
                self._maintain()

    def _next_look(self) -> bool:
        """Wait until there may be something to do; False at the end."""
        self._gallery.changed.clear()  # before it is asked what there is to do, and whether this is the end
        if self._ending.is_set():
            return False
        if not self._wanted.empty():
            return True
        self._liveness.rest()
        status = self._gallery.index.status()
        if not (status.overdue or status.unsaved or self._gallery.catalog.damaged_faces):
            self._gallery.changed.wait(WAKE_EVERY)
        ends = self._ending.wait(LOOK_EVERY)
        self._liveness.beat()
        return not ends

    def _keep_on(self) -> bool:
        self._liveness.beat()
        return not self._ending.is_set()

    def _fulfil(self) -> None:
        """Build the index anew for everything that has asked for it by now."""
        wishes = [self._wanted.get() for _ in range(self._wanted.qsize())]
        self._maintain(rebuild=True)
        if not self._keep_on():
            return  # they see that it ends
        for wish in wishes:
            wish.trouble = self._troubles[_Job.MAINTAIN]
            wish.done.set()

    def _maintain(self, *, rebuild: bool = False) -> None:
        upkeep = Upkeep(self._keep_on, self._paced, self._on_writer, self._threads)
        self._attempt(_Job.MAINTAIN, lambda: self._gallery.index.maintain(upkeep, rebuild=rebuild))

    def _on_writer(self, work: Callable[[KeepOn], object]) -> None:
        self._liveness.rest()  # the writer shows signs of life itself
        self._writer.call(lambda _: work(self._writer.goes_on))

    def _set_aside(self) -> None:
        """Remove damaged faces from catalog and index, and have their photos read again."""
        faces = list(itertools.islice(self._gallery.catalog.damaged_faces.copy(), SET_ASIDE))
        if not faces:
            return
        photos: list[bytes] = []
        self._writer.call(lambda gallery: photos.extend(gallery.set_aside(faces)))
        if photos:
            rows = counted(len(faces), "row of a face is", "rows of faces are")
            read = counted(len(photos), "photo is", "photos are")
            log.warning("%s damaged in the catalog: %s read again", rows, read)
        for path in photos:
            self._look_at(path)

    def _paced(self) -> KeepOn:
        """Make what is called after each part of a long work: `_keep_on`, after a rest where that is due."""
        if not self._polite:
            return self._keep_on
        pace = Pace(self._threads)

        def keep_on() -> bool:
            self._ending.wait(pace.rest())
            pace.begin()
            return self._keep_on()

        return keep_on

    def _attempt(self, job: _Job, function: Callable[[], object]) -> None:
        """Work on the index. It is a cache: what fails is logged and tried again later, and stops nothing."""
        try:
            function()
        except Exception as exc:
            if self._ending.is_set():
                return
            if not isinstance(exc, FacewatchError):
                log.debug("this is a bug", exc_info=True)
            reason = str(exc) or type(exc).__name__
            if not self._troubles[job]:
                log.error("%s", reason)
            self._troubles[job] = reason
            self._retry_at = time.monotonic() + RETRY
        else:
            self._troubles[job] = ""
