"""The daemon: everything is built here, started in order, and stopped in reverse.

Start: lock the data directory, find and load the model, open the catalog, bring the index level (on its own thread,
while queries are answered by exact scans already), listen, watch, walk. The watches are set before the walk, so that
nothing falls between them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from facewatchd.api.control import Control
from facewatchd.api.methods import Methods
from facewatchd.api.photos import Photos
from facewatchd.api.query import Queries
from facewatchd.api.search import Searcher
from facewatchd.api.status import Status
from facewatchd.api.verify import Verifier
from facewatchd.config import Config, apply_reload
from facewatchd.console import logs
from facewatchd.console.progress import downloading
from facewatchd.daemon.supervisor import Signals, Supervisor
from facewatchd.errors import DamagedError, FacewatchError
from facewatchd.health.monitor import Monitor
from facewatchd.ignore import Exclusion
from facewatchd.indexing.maintenance import IndexMaintenance
from facewatchd.indexing.workers import Indexer
from facewatchd.indexing.writer import Writer
from facewatchd.inference.confinement import FULL
from facewatchd.inference.hedge import Hedge
from facewatchd.inference.pool import Inference
from facewatchd.inference.wire import Setup
from facewatchd.models import registry
from facewatchd.scan.roots import Roots
from facewatchd.scan.scanner import Scanner
from facewatchd.scan.work_queue import Depth, WorkQueue
from facewatchd.server import jsonrpc
from facewatchd.server.listener import Server
from facewatchd.store import recovery
from facewatchd.store.catalog import Catalog
from facewatchd.store.data_directory import LastRun, Reserve, check_model_directory, locked, unusable
from facewatchd.store.gallery import Gallery
from facewatchd.system import malloc
from facewatchd.system.systemd import ServiceManager
from facewatchd.text import counted, printable
from facewatchd.threads.liveness import Liveness
from facewatchd.values import ModelInfo
from facewatchd.watch.watcher import Watcher

log = logging.getLogger(__name__)


def run(config: Config, reread: Callable[[], Config], *, verbosity: int = 0) -> int:
    """Run until SIGTERM or SIGINT; return the exit status. ``verbosity``: -1 warnings, 0 information, 1 everything.

    ``reread`` loads the configuration again, as it was loaded.
    """
    _stand_alone()
    malloc.return_freed_memory()
    logs.to_stderr({-1: logging.WARNING, 0: logging.INFO}.get(verbosity, logging.DEBUG))
    threading.excepthook = _thread_died
    try:
        manager = ServiceManager()
        with locked(config.data_dir):
            return _run(config, reread, manager, show_progress=verbosity >= 0 and sys.stderr.isatty())
    except FacewatchError as exc:
        log.error("%s", printable(str(exc)))
        return exc.exit_status


def _run(config: Config, reread: Callable[[], Config], manager: ServiceManager, *, show_progress: bool) -> int:
    last = LastRun.of(config.data_dir)
    last.expect(config.directories)
    # To fetch and load may take minutes: until the model is there, Ctrl-C and SIGTERM end the process at once.
    pack = _choose_pack(config, last)
    os.chdir("/")  # every path is absolute by now, and a disk that it was started on can be unmounted
    daemon = Daemon(config, pack, reread, manager.listener)
    with Signals.kept() as signals:
        try:
            daemon.start()
            daemon.remember()
            manager.ready()
            return Supervisor(daemon, daemon.monitor, manager, signals, show_progress=show_progress).run()
        finally:
            daemon.stop()


def _choose_pack(config: Config, last: LastRun) -> registry.Pack:
    with downloading("model") as progress:
        return registry.choose(config.model, config.model_root, last.pack, notify=log.warning, progress=progress)


class Daemon:
    """All parts. `start` once, then `stop` once, also after a start that failed."""

    def __init__(
        self,
        config: Config,
        pack: registry.Pack,
        reread: Callable[[], Config],
        passed: socket.socket | None = None,
    ) -> None:
        """``reread`` loads the configuration again; ``passed`` is a listening socket that systemd made."""
        self._config = config
        self._pack = pack
        self._reread = reread
        self._passed = passed
        self._liveness = Liveness()
        self._stops: list[Callable[[], object]] = []
        threads, faces = config.resources.threads, config.faces
        # Queries have a process of their own, at normal priority, whose inference uses every thread it was given. Two
        # callers with one thread each beat one caller with two: so does indexing, all of it in the idle class.
        self._queries = Inference(Setup("queries", pack, faces, threads, idle=False), parallel=max(2, threads))
        one = Setup("indexing", pack, faces, 1, config.resources.idle_priority)
        self._indexing = Inference(one, parallel=threads, beat=self._liveness.beat)
        self._hedge = Hedge(
            self._indexing, self._queries, idle=config.resources.idle_priority, beat=self._liveness.beat
        )
        self._build()

    def _build(self) -> None:
        """Load the model, and make all other parts for it; nothing but the model's process runs yet."""
        self._stops.append(self._queries.close)
        info = self._indexing.info = self._queries.start()
        directory = self._config.data_dir / info.id
        self._build_storage(directory, info)
        self._build_watch(directory)
        self._build_indexing()
        self._build_server(info)
        log.info("model %s, %d dimensions, threshold %.2f", info.name, info.dim, self._queried.threshold)

    def _build_storage(self, directory: Path, info: ModelInfo) -> None:
        """What is kept of the photos: in the catalog, in the index, and in the queue until it is known."""
        config = self._config
        self._reserve = Reserve(config.data_dir / "reserve")
        self._reserve.release_if_full()  # SQLite cannot even read without room for its log
        self._catalog = open_catalog(directory / "catalog.sqlite3", info)
        self._stops += [self._reserve.fill, self._catalog.close]
        self._gallery = Gallery(self._catalog, directory)
        self._queue = WorkQueue(config.watch.settle)
        self._writer = Writer(self._gallery, self._liveness)
        self._maintenance = IndexMaintenance(
            self._gallery,
            self._writer,
            config.resources.threads,
            polite=config.resources.idle_priority,
            liveness=self._liveness,
            look_at=lambda path: self._queue.touch(path, settle=False),
        )

    def _build_watch(self, directory: Path) -> None:
        """What follows the directories: by events, and by walks."""
        config = self._config
        roots = [os.fsencode(path) for path in config.directories]
        self._roots = Roots(roots, Exclusion(config.exclude), self._catalog)
        self._stops.append(self._roots.close)
        self._watcher = Watcher(
            self._roots.paths,
            self._touch,
            self._rescan,
            directory / "heartbeat",
            rescan_every=config.watch.rescan,
            beat=self._liveness.beat,
            calls=self._roots.calls,
        )
        self._scanner = Scanner(
            self._catalog,
            self._queue,
            self._roots,
            walked=lambda root, seen, whole: self._watcher.directories_seen(root, seen, whole=whole),
            write=lambda job: self._writer.call(lambda gallery: job(gallery.catalog)),
            liveness=self._liveness,
        )

    def _build_indexing(self) -> None:
        self._indexer = Indexer(
            self._gallery,
            self._queue,
            self._roots,
            self._writer,
            inference=self._hedge,
            liveness=self._liveness,
            scan=lambda path: self._scanner.request(path, live=True),
            workers=self._config.resources.threads,
        )

    def _build_server(self, info: ModelInfo) -> None:
        """What answers clients."""
        self._server = Server(
            self._config.socket, lambda line: jsonrpc.answer(line, self.methods.call), passed=self._passed
        )
        self.monitor = Monitor(
            gallery=self._gallery,
            roots=self._roots,
            queue=self._queue,
            scanner=self._scanner,
            writer=self._writer,
            maintenance=self._maintenance,
            indexer=self._indexer,
            watcher=self._watcher,
            server=self._server,
            liveness=self._liveness,
        )
        control = Control(self.monitor, self._roots, self._queue, self._scanner, self._server.waiting)
        searcher = Searcher(self._gallery, self._queries, info, self._roots.calls)
        defaults = self._config.query
        self._queried = Queries(
            self.monitor, self._gallery, self._roots, searcher, info, defaults, control.wait_until_done
        )
        self.methods = Methods(
            Status(self.monitor, info, lambda: self._queried.threshold, self._confinement),
            self._queried,
            Photos(self.monitor, self._catalog, self._roots, self._queue, self._indexer.backoff.reason),
            control,
            Verifier(self._gallery, self._roots, self._queue, self._writer, self._maintenance),
        )

    def _confinement(self) -> str:
        """How far the processes that decode are confined: what the one says that is confined less."""
        return max(self._queries.confinement, self._indexing.confinement, key=lambda state: state not in ("", FULL))

    def _touch(self, path: bytes, settle: bool, written: bool) -> None:
        depth = Depth.BYTES if written else Depth.STAMP
        self._queue.touch(path, settle=settle, depth=depth)
        passing, below = self._roots.links.through(path)
        for link in passing:
            self._queue.touch(link, settle=settle, depth=depth)
        for link in below:  # what comes into a new directory before that is watched is no event: it is looked at late
            self._queue.touch(link)

    def _rescan(self, root: bytes) -> None:
        self._scanner.request(root)

    def start(self) -> None:
        """Start every part; what was started is stopped by `stop`, in reverse."""
        self._stops.append(self._maintenance.save_last)
        self._start(self._writer.start, self._writer.stop)
        self._start(self._maintenance.start, self._maintenance.stop)
        self._start(self._server.start, self._server.stop)
        self._start(self._indexer.start, self._indexer.stop)
        self._start(self._scanner.start, self._scanner.stop)
        self._start(self._watcher.start, self._watcher.stop)
        for root in self._roots.paths:
            self._scanner.request(root)
        self._forget_strays()
        self._reserve.fill()
        log.info("listening on %s", self._server.path)

    def _start(self, start: Callable[[], object], stop: Callable[[], object]) -> None:
        start()
        self._stops.append(stop)

    def _forget_strays(self) -> None:
        """Have photos looked at that lie in no watched directory any more: the indexer lets go of them."""
        with self._catalog.reading() as reader:
            strays = reader.outside(self._roots.paths)
        for path in strays:
            self._queue.touch(path, settle=False)

    def remember(self) -> None:
        """Note the model and the directories for the next start."""
        directories = tuple(map(str, self._config.directories))
        try:
            LastRun(self._pack.spec, directories).remember(self._config.data_dir)
        except OSError as exc:
            log.warning("cannot note the model in %s: %s", self._config.data_dir, exc.strerror)

    def release_models(self) -> None:
        """Give back the memory of models that nobody needed for a while."""
        if unload_after := self._config.resources.unload_after:
            for inference in (self._queries, self._indexing):
                inference.release_after(unload_after)

    def reload(self) -> None:
        """Take over what can be of the configuration as it is now, and say what waits for a restart.

        Watches come before walks, so that nothing falls between them. What lies in no directory any more is forgotten,
        like at a start.
        """
        wanted = self._reread()
        LastRun.of(self._config.data_dir).expect(wanted.directories)
        before, (now, waiting) = self._config, apply_reload(self._config, wanted)
        if (before.directories, before.exclude) != (now.directories, now.exclude):
            self._change_roots(now, anew=before.exclude != now.exclude)
        self._config = now  # only now: what failed above is tried again by the next
        self._queried.defaults = now.query
        self._queue.settle_for(now.watch.settle)
        self._watcher.rescan_every = now.watch.rescan
        self.remember()
        log.info("the configuration was read again: %s", counted(len(now.directories), "directory", "directories"))
        for key in waiting:
            log.warning("`%s` changed: that counts when the daemon is started again", key)

    def _change_roots(self, wanted: Config, *, anew: bool) -> None:
        """Watch the directories that are configured now. ``anew``: walk those that stay, too."""
        before, after = self._roots.paths, [os.fsencode(path) for path in wanted.directories]
        self._roots.become(after, Exclusion(wanted.exclude))
        self._watcher.follow([path for path in before if path in after])  # one may lie in another that is new
        self._watcher.follow(after)
        self._queue.look_again()  # what is in hand was looked at by the old rules
        for path in after:
            if anew or path not in before:
                self._scanner.request(path)
        self._forget_strays()

    def stop(self) -> None:
        """Stop in reverse order of the start."""
        started = time.monotonic()
        self._writer.give_up()
        self._queue.close()
        while self._stops:
            self._stops.pop()()
        log.debug("stopped in %.1f s", time.monotonic() - started)


def open_catalog(path: Path, model: ModelInfo) -> Catalog:
    """Open the catalog; one that is damaged is set aside, never overwritten, and a new one begun."""
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        check_model_directory(path.parent)
        return Catalog(path, model.id, model.dim)
    except OSError as exc:
        raise unusable(path.parent, exc) from exc
    except DamagedError as exc:
        aside = recovery.spare_name(path, "damaged")
        log.error("%s; it is kept as %s, and everything is indexed anew", exc.message, aside)
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
        return Catalog(path, model.id, model.dim)


def _stand_alone() -> None:
    """Whatever started this: nobody else may read what is written, and no file of ours may become a standard stream."""
    os.umask(0o077)
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= logs.STDERR:
        os.set_inheritable(descriptor, True)  # the children's too
    os.close(descriptor)
    sys.stderr = sys.stderr or open(logs.STDERR, "w", closefd=False)  # noqa: SIM115 - it is there as long as the process


def _thread_died(args: threading.ExceptHookArgs) -> None:
    """Log the traceback, once; what follows of it is one line, by `Monitor.ended`."""
    name = args.thread.name if args.thread else "a thread"
    log.error("%s died; this is a bug:", name, exc_info=args.exc_value)
