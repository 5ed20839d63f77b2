"""Asks the running parts of the daemon how they are: a `Report`, the counts, and which thread ended or hangs.

Only this module knows which part tells what; everything that is said of the daemon's health is read from here. Any
thread may ask. Nothing here waits for a disk, but `Monitor.hung` waits for the daemon's own server.
"""

from __future__ import annotations

from dataclasses import dataclass

from facewatchd.client.connection import Connection, RemoteError
from facewatchd.errors import FacewatchError, NoDaemonError, StorageError
from facewatchd.expectation.sampler import Sampler
from facewatchd.health.report import Report, RootReport
from facewatchd.indexing.dates import Dates
from facewatchd.indexing.group_faces import GroupFaces
from facewatchd.indexing.maintenance import IndexMaintenance
from facewatchd.indexing.second_looks import SecondLooks
from facewatchd.indexing.workers import Indexer
from facewatchd.indexing.writer import Writer
from facewatchd.people.known import KeepKnown
from facewatchd.people.store import PeopleStore
from facewatchd.scan.roots import Roots
from facewatchd.scan.scanner import Scanner
from facewatchd.scan.work_queue import WorkQueue
from facewatchd.server.listener import Server
from facewatchd.store.catalog_rows import Counts
from facewatchd.store.gallery import Gallery
from facewatchd.threads.liveness import Liveness
from facewatchd.values import RootState
from facewatchd.watch.watcher import Watcher

SILENCE = 120.0
"""Seconds without a sign of life after which a thread hangs. Longer work gives signs of life on its way."""
REPLY_SECONDS = 20.0
"""In which the server must answer a request of the daemon itself."""


@dataclass(frozen=True, slots=True)
class Monitor:
    """The parts that are asked."""

    gallery: Gallery
    roots: Roots
    queue: WorkQueue
    scanner: Scanner
    writer: Writer
    sampler: Sampler
    maintenance: IndexMaintenance
    indexer: Indexer
    second_looks: SecondLooks | None
    """None where the configuration has them off."""
    dates: Dates
    group_faces: GroupFaces
    watcher: Watcher
    server: Server
    liveness: Liveness
    people: PeopleStore
    keep_known: KeepKnown

    def report(self) -> Report:
        """Ask every part."""
        scanning, pending = not self.scanner.idle, len(self.queue)
        followed = self.watcher.states()
        catalog, index = self.gallery.catalog, self.gallery.index.status()
        return Report(
            roots=tuple(self._root(path, followed.get(path)) for path in self.roots.paths),
            writer=self.writer.trouble,
            index=self.maintenance.trouble,
            workers=self.indexer.trouble,
            socket=self.server.trouble,
            people=self.people.trouble,
            catalog=catalog.damage,
            damaged_faces=len(catalog.damaged_faces),
            watcher=tuple(self.watcher.problems()),
            watcher_is_alive=self.watcher.alive(),
            links_outside=tuple(self.roots.links.outside()),
            slow_index=index.problem,
            index_is_ready=index.ready,
            index_faces=index.faces,
            index_tombstones=index.tombstones,
            paused=self.queue.paused,
            pending=pending,
            # Asked again: a walk may have filled the queue, and ended, just after that was seen empty.
            scanning=scanning or not self.scanner.idle,
            resources=self.indexer.waits(),
            resources_briefly=self.indexer.waits_briefly(),
        )

    def root(self, path: bytes) -> RootReport:
        """Ask about one root alone."""
        return self._root(path, self.watcher.states().get(path))

    def _root(self, path: bytes, followed: RootState | None) -> RootReport:
        return RootReport(path, followed, self.roots.state(path), tuple(self.roots.unreachable(path)))

    def counts(self, report: Report) -> tuple[Counts, dict[bytes, int]]:
        """Return how many photos and faces are recorded, and the photos of each root in the report.

        All are 0 where the catalog cannot be read.
        """
        roots = [root.path for root in report.roots]
        try:
            return self.gallery.catalog.counts(roots)
        except StorageError:
            return Counts(0, 0, 0), dict.fromkeys(roots, 0)

    def headline(self, report: Report) -> str:
        """Return what the daemon is doing, in one line."""
        counts, _ = self.counts(report)
        return report.headline(counts.photos, counts.faces)

    def pending(self) -> int:
        """How many paths wait to be examined, or are."""
        return len(self.queue)

    def rates(self) -> dict[str, float]:
        """Return the ``rates`` of ``status``."""
        return self.indexer.rates()

    def examined(self) -> int:
        """How many paths were examined since the start."""
        return int(self.rates()["examined"])

    def ended(self) -> str:
        """Name a part whose thread ended though it should not have; empty where all run."""
        alive = {
            "the writer": self.writer.is_alive(),
            "the sampler": self.sampler.is_alive(),
            "the thread for names": self.keep_known.is_alive(),
            "the index maintenance": self.maintenance.is_alive(),
            "the scanner": self.scanner.is_alive(),
            "an indexing thread": self.indexer.alive(),
            "the thread for dates": self.dates.alive(),
            "the thread for groups": self.group_faces.alive(),
            "the thread for second looks": self.second_looks is None or self.second_looks.alive(),
            "the server": self.server.alive(),
        }
        return next((name for name, lives in alive.items() if not lives), "")

    def hung(self) -> str:
        """Name the threads that hang; empty where none does.

        A thread hangs that works and has given no sign of life for `SILENCE` seconds. The watcher hangs when its health
        thread has ended, the server when it answers none of two requests: the process may have been stopped (SIGSTOP)
        while it waited for its own first answer.
        """
        silent = self.liveness.silent(SILENCE)
        if silent:
            return ", ".join(silent)
        if not self.watcher.looks():
            return "the watcher"
        return "" if self._answers() or self._answers() else "the server"

    def _answers(self) -> bool:
        """Whether the server answers a client, where a client finds a socket; an error is an answer, too."""
        try:
            with Connection(self.server.path, REPLY_SECONDS) as connection:
                connection.call("alive")
        except RemoteError:
            return True
        except NoDaemonError:
            return not self.server.path.exists()
        except FacewatchError:
            return False
        return True
