"""The daemon: everything is built here, started in order, and stopped in reverse.

Start: lock the data directory, find and load the model, open the catalog, bring the index level (upkeep does, while
queries are answered by exact scans already), listen, watch, walk. The watches are set before the walk, so that
nothing falls between them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from facewatchd import memory, protocol, recovery
from facewatchd.catalog import Catalog
from facewatchd.config import Config
from facewatchd.datadir import LastRun, Reserve, locked
from facewatchd.errors import DamagedError, FacewatchError, StorageError
from facewatchd.exclude import Exclusion
from facewatchd.gallery import Gallery
from facewatchd.inbox import Depth, Inbox
from facewatchd.indexer import Indexer
from facewatchd.inference import Inference
from facewatchd.inference.wire import Setup
from facewatchd.models import packs
from facewatchd.progress import Progress, TerminalHandler, downloading
from facewatchd.roots import Roots
from facewatchd.scanner import Scanner
from facewatchd.search import Searcher
from facewatchd.server import Server
from facewatchd.service import Parts, Service
from facewatchd.upkeep import Upkeep
from facewatchd.watcher import Watcher
from facewatchd.writer import Writer

log = logging.getLogger(__name__)

TICK = 15.0
"""Seconds between two looks at the threads and at an idle model."""
PROGRESS_TICK = 0.5
"""Seconds between two drawings of the bar."""
REST_TICK = 3.0
"""Seconds after which a bar appears at the latest, on a terminal."""
ENDING = (signal.SIGTERM, signal.SIGINT)
STDERR = 2
"""Its descriptor."""


def run(config: Config, *, verbosity: int = 0) -> int:
    """Run until SIGTERM or SIGINT; return the exit status. ``verbosity``: -1 warnings, 0 information, 1 everything."""
    _stand_alone()
    memory.keep_little()
    _log_to_stderr(verbosity)
    threading.excepthook = _thread_died
    stop = threading.Event()
    with locked(config.data_dir):
        last = LastRun.of(config.data_dir)
        last.expect(config.directories)
        # To fetch and load may take minutes: until the model is there, Ctrl-C and SIGTERM end the process at once.
        pack = _choose_pack(config, last)
        os.chdir("/")  # every path is absolute by now, and a disk that it was started on can be unmounted
        daemon = Daemon(config, pack)
        for number in ENDING:
            signal.signal(number, lambda *_: stop.set())
        try:
            with _kept_from_other_threads(ENDING):
                daemon.start()
            _remember(config, pack)
            return daemon.watch_over(stop, show_progress=verbosity >= 0 and sys.stderr.isatty())
        finally:
            daemon.stop()


def _choose_pack(config: Config, last: LastRun) -> packs.Pack:
    with downloading("model") as progress:
        return packs.choose(config.model, config.model_root, last.pack, notify=log.warning, progress=progress)


def _remember(config: Config, pack: packs.Pack) -> None:
    try:
        LastRun(pack.spec, tuple(map(str, config.directories))).remember(config.data_dir)
    except OSError as exc:
        log.warning("cannot note the model in %s: %s", config.data_dir, exc.strerror)


@contextlib.contextmanager
def _kept_from_other_threads(numbers: Iterable[signal.Signals]) -> Iterator[None]:
    """Have threads that are started meanwhile, and theirs, inherit that these signals are not for them.

    The kernel may give a signal to any thread. One that another gets wakes the main thread only at its next tick.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Daemon:
    """All parts. `start` once, then `stop` once, also after a start that failed."""

    def __init__(self, config: Config, pack: packs.Pack) -> None:
        self._config = config
        self._stops: list[Callable[[], object]] = []
        threads, faces = config.resources.threads, config.faces
        # Queries have a process of their own, at normal priority, whose inference uses every thread it was given. Two
        # callers with one thread each beat one caller with two: so does indexing, all of it in the idle class.
        self._queries = Inference(Setup("queries", pack, faces, threads, idle=False), lines=max(2, threads))
        self._indexing = Inference(Setup("indexing", pack, faces, 1, config.resources.idle_priority), lines=threads)
        self._build(pack)

    def _build(self, pack: packs.Pack) -> None:
        config = self._config
        self._stops.append(self._queries.close)
        info = self._queries.start()
        directory = config.data_dir / info.id
        self._reserve = Reserve(config.data_dir / "reserve")
        self._reserve.release_if_full()  # SQLite cannot even read without room for its log
        self._catalog = open_catalog(directory / "catalog.sqlite3", info.id)
        self._stops += [self._reserve.fill, self._catalog.close]
        gallery = Gallery(self._catalog, directory, info.dim)
        self._roots = Roots(
            [os.fsencode(path) for path in config.directories], Exclusion(config.exclude), self._catalog
        )
        self._inbox = Inbox(config.watch.settle)
        self._writer = Writer(gallery)
        resources = config.resources
        self._upkeep = Upkeep(gallery, self._writer, resources.threads, nice=resources.idle_priority)
        self._watcher = Watcher(
            self._roots.paths,
            self._touch,
            self._rescan,
            directory / "heartbeat",
            rescan_every=config.watch.rescan,
        )
        self._scanner = Scanner(
            self._catalog,
            self._inbox,
            self._roots,
            walked=lambda root, seen, whole: self._watcher.directories_seen(root, seen, whole=whole),
            write=lambda job: self._writer.call(lambda gallery: job(gallery.catalog)),
        )
        self._indexer = Indexer(
            gallery,
            self._inbox,
            self._roots,
            self._writer,
            inference=self._indexing,
            scan=lambda path: self._scanner.request(path, live=True),
            workers=config.resources.threads,
            idle_priority=config.resources.idle_priority,
        )
        parts = Parts(
            config,
            info,
            gallery,
            self._roots,
            self._inbox,
            self._scanner,
            self._writer,
            self._upkeep,
            self._indexer,
            self._watcher,
        )
        service = Service(parts, Searcher(gallery, self._queries, info), lambda: self._server.trouble)
        self._server = Server(config.socket, lambda line: protocol.answer(line, service.call))
        log.info("model %s, %d dimensions, threshold %.2f", info.name, info.dim, info.threshold)

    def _touch(self, path: bytes, settle: bool, written: bool) -> None:
        self._inbox.touch(path, settle=settle, depth=Depth.BYTES if written else Depth.STAMP)

    def _rescan(self, root: bytes) -> None:
        self._scanner.request(root)

    def start(self) -> None:
        """Start every part; what was started is stopped by `stop`, in reverse."""
        self._stops.append(self._upkeep.save_last)
        self._start(self._writer.start, self._writer.stop)
        self._start(self._upkeep.start, self._upkeep.stop)
        self._start(self._server.start, self._server.stop)
        self._start(self._indexer.start, self._indexer.stop)
        self._start(self._scanner.start, self._scanner.stop)
        self._start(self._watcher.start, self._watcher.stop)
        for root in self._roots.paths:
            self._scanner.request(root)
        self._forget_strays()
        self._reserve.fill()
        log.info("listening on %s", self._config.socket)

    def _start(self, start: Callable[[], object], stop: Callable[[], object]) -> None:
        start()
        self._stops.append(stop)

    def _forget_strays(self) -> None:
        """Have photos looked at that lie in no watched directory any more: the indexer lets go of them."""
        with self._catalog.reading() as reader:
            strays = reader.outside(self._roots.paths)
        for path in strays:
            self._inbox.touch(path, settle=False)

    def watch_over(self, stop: threading.Event, *, show_progress: bool) -> int:
        """Look after the threads and the models' memory until ``stop``; return the exit status."""
        progress = Progress(enabled=show_progress)
        try:
            while not stop.wait(self._pause() if show_progress else TICK):
                threads = self._writer.is_alive() and self._upkeep.is_alive() and self._scanner.is_alive()
                if not (threads and self._indexer.alive() and self._server.alive()):
                    log.error("a thread ended unexpectedly: the daemon stops; start it again, and report what it said")
                    return 1
                if unload_after := self._config.resources.unload_after:
                    for inference in (self._queries, self._indexing):
                        inference.release_after(unload_after)
                progress.show(int(self._indexer.rates()["examined"]), len(self._inbox))
        finally:
            progress.close()
        return 0

    def _pause(self) -> float:
        return PROGRESS_TICK if len(self._inbox) or not self._scanner.idle else REST_TICK

    def stop(self) -> None:
        """Stop in reverse order of the start."""
        started = time.monotonic()
        self._writer.give_up()
        self._inbox.close()
        while self._stops:
            self._stops.pop()()
        log.debug("stopped in %.1f s", time.monotonic() - started)


def open_catalog(path: Path, model_id: str) -> Catalog:
    """Open the catalog; one that is damaged is set aside, never overwritten, and a new one begun."""
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        return Catalog(path, model_id)
    except OSError as exc:
        raise StorageError(f"cannot use {path.parent}: {exc.strerror}", "check its permissions and its disk") from exc
    except DamagedError as exc:
        aside = recovery.spare_name(path, "damaged")
        log.error("%s; it is kept as %s, and everything is indexed anew", exc.message, aside)
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
        return Catalog(path, model_id)


def _stand_alone() -> None:
    """Whatever started this: nobody else may read what is written, and no file of ours may become a standard stream."""
    os.umask(0o077)
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        pass
    os.close(descriptor)
    sys.stderr = sys.stderr or open(STDERR, "w", closefd=False)  # noqa: SIM115 - it is there as long as the process


def _log_to_stderr(verbosity: int) -> None:
    level = {-1: logging.WARNING, 0: logging.INFO}.get(verbosity, logging.DEBUG)
    handler = TerminalHandler() if sys.stderr.isatty() else logging.StreamHandler()
    handler.setFormatter(logging.Formatter("facewatchd: %(message)s" if level > logging.DEBUG else _DEBUG_FORMAT))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("facewatchd").setLevel(level)


_DEBUG_FORMAT = "%(asctime)s %(threadName)s %(levelname)s %(name)s: %(message)s"


def _thread_died(args: threading.ExceptHookArgs) -> None:
    """One line instead of a traceback; `Daemon.watch_over` sees that the thread is gone."""
    name = args.thread.name if args.thread else "a thread"
    log.error("%s died: %s", name, args.exc_value)
    if not isinstance(args.exc_value, FacewatchError):
        log.debug("this is a bug", exc_info=args.exc_value)
