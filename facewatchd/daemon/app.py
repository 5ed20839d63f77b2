"""The daemon: everything is built here, started in order, and stopped in reverse.

The order of a start: load the model, open the catalog, bring the index level with it (on a thread of its own, while
queries are already answered by exact scans), listen, watch, walk. The watches are set before the walk, so that no
change falls between them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from facewatchd import paths
from facewatchd.api.control import Control
from facewatchd.api.elsewhere import Elsewhere
from facewatchd.api.exchange import Exchange
from facewatchd.api.faces import FaceFinder
from facewatchd.api.methods import Methods
from facewatchd.api.outbox import Sending
from facewatchd.api.people import People
from facewatchd.api.photos import Photos
from facewatchd.api.query import Queries
from facewatchd.api.recognised import Recognised
from facewatchd.api.regions import RegionReader
from facewatchd.api.scoring import Scorer
from facewatchd.api.status import Status
from facewatchd.api.subscribe import Subscriptions
from facewatchd.api.suggestions import Suggestions
from facewatchd.api.thumbnail import Thumbnails
from facewatchd.api.unknown import Unknown
from facewatchd.api.verify import Verifier
from facewatchd.config import SHARED, Config, apply_reload
from facewatchd.errors import StorageError
from facewatchd.expectation import calibration
from facewatchd.expectation.sampler import Sampler
from facewatchd.health.monitor import Monitor
from facewatchd.ignore import Exclusion
from facewatchd.indexing.dates import Dates
from facewatchd.indexing.fetching import Fetcher, Wanted
from facewatchd.indexing.group_faces import GallerySource, GroupFaces
from facewatchd.indexing.idle_thread import Parts
from facewatchd.indexing.maintenance import IndexMaintenance
from facewatchd.indexing.second_looks import SecondLooks
from facewatchd.indexing.workers import Indexer
from facewatchd.indexing.writer import Writer
from facewatchd.inference.hedge import Hedge
from facewatchd.inference.pool import Inference
from facewatchd.inference.wire import FULLY_CONFINED, Setup
from facewatchd.models import registry
from facewatchd.models.devices import Placement
from facewatchd.people.grouping import Rule
from facewatchd.people.groups import Groups
from facewatchd.people.known import KeepKnown, Resolver
from facewatchd.people.store import PeopleStore
from facewatchd.scan.roots import Roots
from facewatchd.scan.scanner import Scanner
from facewatchd.scan.work_queue import Depth, WorkQueue
from facewatchd.server import jsonrpc
from facewatchd.server.listener import Server
from facewatchd.shared.link import ShareLink
from facewatchd.shared.remote_index import RemoteIndex
from facewatchd.shared.wire import LinkStatus
from facewatchd.store import hnsw_trial
from facewatchd.store.catalog import Outcome
from facewatchd.store.catalog_index import CatalogIndex
from facewatchd.store.checkpoint import Checkpoint
from facewatchd.store.data_directory import LastRun, Reserve, machine_id, open_catalog
from facewatchd.store.gallery import Gallery
from facewatchd.store.hnsw import HnswIndex
from facewatchd.store.index import Index
from facewatchd.store.seen import SeenStore
from facewatchd.store.thumbnails import ThumbnailStore
from facewatchd.text import counted, printable
from facewatchd.threads.liveness import Liveness
from facewatchd.values import ModelInfo
from facewatchd.watch.watcher import Watcher

log = logging.getLogger(__name__)


RENAMING = 3600.0
"""Seconds after which a file that is gone was not renamed, although paths are still pending."""


class _Part(Protocol):
    """A part with threads of its own."""

    def start(self) -> object: ...

    def stop(self) -> object: ...


class Daemon:
    """All parts of the daemon. Call `start` once, then `stop` once, also where `start` raised."""

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
        self._forgotten: tuple[int, bool] | None = None
        """The number of transactions when pictures were deleted last, and whether paths were pending."""
        self._stops = contextlib.ExitStack()
        """What `stop` is to call, in reverse: each part's own, pushed where the part is made, or before its start."""
        threads, faces, idle = config.resources.threads, config.faces, config.resources.idle_priority
        # The query process runs at normal priority, and one inference uses all threads. The indexing process runs in
        # the idle class, with one thread an inference: two callers with one thread each beat one caller with two.
        device = config.resources.device
        self._query_inference = Inference(
            Setup("queries", pack, faces, threads, idle=False, device=device), parallel=max(2, threads)
        )
        self._indexing_inference = Inference(
            Setup("indexing", pack, faces, 1, idle, pictures=config.resources.thumbnails > 0),
            parallel=threads,
            beat=self._liveness.beat,
        )
        # Pictures for clients are made without a model, at normal priority, and no query waits for them.
        self._picture_inference = Inference(Setup("pictures", pack, faces, 1, idle=False, has_model=False), threads)
        self._hedge = Hedge(self._indexing_inference, self._query_inference, idle=idle, beat=self._liveness.beat)
        try:
            self._build()
        except BaseException:
            self._stops.close()
            raise

    def _build(self) -> None:
        """Load the model in the query process, and make all other parts for it; no thread runs yet."""
        self._stops.callback(self._picture_inference.close)
        self._stops.callback(self._query_inference.close)
        info = self._indexing_inference.info = self._query_inference.start()
        placement = self._indexing_inference.placement = self._query_inference.placement
        assert placement is not None
        if placement.reason and not placement.devices:
            log.warning("the processor computes: %s", placement.reason)
        directory = self._config.data_dir / info.id
        self._share = self._link(info)
        self._build_storage(directory, info)
        self._build_people(info)
        self._build_watch(directory)
        self._build_indexing(info)
        self._build_server()
        self._build_queries(info)
        self._build_methods(info, placement)
        log.info(
            "model %s, %d dimensions, threshold %.2f, on %s",
            info.name,
            info.dim,
            self._queries.threshold,
            placement.where,
        )

    def _build_storage(self, directory: Path, info: ModelInfo) -> None:
        """The catalog, the index, the queue of paths to be examined, and the threads that write."""
        config = self._config
        self._reserve = Reserve(config.data_dir / "reserve")
        self._reserve.release_if_full()  # SQLite cannot even read without room for its log
        sends = config.shared is not None and config.shared.send
        self._catalog = open_catalog(directory / "catalog.sqlite3", info, sends=sends)
        self._stops.callback(self._reserve.fill)
        self._stops.callback(self._catalog.close)
        self._thumbnails = ThumbnailStore(directory / "thumbnails.sqlite3", config.resources.thumbnails << 20)
        self._stops.callback(self._thumbnails.close)
        self._gallery = Gallery(self._catalog, self._index(directory), self._thumbnails)
        self._sampler = Sampler(self._gallery, info, self._liveness)
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

    def _build_people(self, info: ModelInfo) -> None:
        """What the user said, whose the faces are, and what was printed under a name: files that belong to no model."""
        config = self._config
        self._seen = SeenStore(config.data_dir / "seen.sqlite3")
        self._stops.callback(self._seen.close)
        self._gallery.on_same = self._seen.carry
        self._people = PeopleStore(config.data_dir / "people.sqlite3")
        self._stops.callback(self._people.close)
        if self._people.trouble:
            log.warning("%s", printable(self._people.trouble))
        self._gallery.is_named = self._people.names
        self._resolver = Resolver(self._people, self._gallery)
        self._stops.callback(self._resolver.close)
        self._scorer = Scorer(self._gallery, self._resolver, info)
        self._keep_known = KeepKnown(self._resolver, self._scorer.people, self._liveness)

    def _index(self, directory: Path) -> Index:
        """The hnswlib index of a model; one that needs none where hnswlib does not run on this processor, or where the
        shared engine is the index.
        """
        shared, link = self._config.shared, self._share
        if shared is not None and link is not None and shared.index == SHARED:
            local = Checkpoint(directory)
            return RemoteIndex(
                self._catalog,
                link,
                forget_local=local.discard,
                on_slow=lambda: self._gallery.changed.set(),
            )
        if problem := hnsw_trial.problem(self._config.data_dir):
            log.warning("%s", problem)
            return CatalogIndex(self._catalog, problem)
        return HnswIndex(self._catalog, directory, self._config.resources.threads)

    def _build_watch(self, directory: Path) -> None:
        """The roots, the watcher that follows them by events, and the scanner that walks them."""
        config = self._config
        roots = [os.fsencode(path) for path in config.directories]
        self._roots = Roots(roots, Exclusion(config.exclude), self._catalog)
        self._stops.callback(self._roots.close)
        self._watcher = Watcher(
            self._roots.paths,
            self._touch,
            self._rescan,
            directory / "heartbeat",
            rescan_every=config.watch.rescan,
            mounts=self._roots.mounts,
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

    def _build_indexing(self, info: ModelInfo) -> None:
        """The workers that examine paths, and the threads that look at recorded photos again when there are none."""
        self._indexer = Indexer(
            self._gallery,
            self._queue,
            self._roots,
            self._writer,
            inference=self._hedge,
            liveness=self._liveness,
            scan=lambda path: self._scanner.request(path, live=True),
            workers=self._config.resources.threads,
            fetcher=self._fetcher(),
        )
        parts = Parts(
            self._gallery,
            self._roots,
            self._writer,
            self._indexing_inference,
            others_first=self._is_busy,
            polite=self._config.resources.idle_priority,
            liveness=self._liveness,
        )
        self._second_looks = SecondLooks(parts)
        self._dates = Dates(parts)
        probe = calibration.of(info.name, info.dim).are_children
        self._groups = Groups(Rule(info.threshold, info.quality), GallerySource(self._gallery, probe))
        self._recognised = Recognised(self._gallery, self._scorer, info)
        self._group_faces = GroupFaces(parts, self._groups, self._resolver.known, self._recognised.faces)
        self._unknown = Unknown(self._gallery, self._groups, self._recognised, self._resolver.known, info)
        self._scorer.members = self._unknown.members

    def _fetcher(self) -> Fetcher | None:
        """What asks for the faces that other machines found; it finds no fewer than the usual settings do."""
        link, faces = self._share, self._config.faces
        if link is None:
            return None
        usual = type(faces)()
        takes_over = faces.detector_size is None and (
            faces.min_size >= usual.min_size and faces.min_score >= usual.min_score
        )
        return Fetcher(
            lambda digests, seconds: link.contents(digests, seconds=min(seconds, link.timeout)).contents,
            Wanted(faces.min_size, faces.min_score, takes_over),
        )

    def _has_seen_all(self) -> bool:
        """Whether everything that the watched directories hold is in the catalog."""
        report = self.monitor.report()
        return report.walked and report.within_reach and not report.pending and not report.scanning

    def _is_busy(self) -> bool:
        """Whether something is to be indexed, or may be after a walk; or indexing is paused."""
        return self._queue.paused or len(self._queue) > 0 or not self._scanner.idle

    def _build_server(self) -> None:
        """The socket, and the monitor, which asks all parts how they are."""
        self._server = Server(
            self._config.socket, lambda line: jsonrpc.answer(line, self.methods.call), passed=self._passed
        )
        self.monitor = Monitor(
            gallery=self._gallery,
            roots=self._roots,
            queue=self._queue,
            scanner=self._scanner,
            writer=self._writer,
            sampler=self._sampler,
            maintenance=self._maintenance,
            indexer=self._indexer,
            second_looks=self._second_looks if self._config.faces.second_look else None,
            dates=self._dates,
            group_faces=self._group_faces,
            watcher=self._watcher,
            server=self._server,
            liveness=self._liveness,
            people=self._people,
            keep_known=self._keep_known,
        )

    def _build_queries(self, info: ModelInfo) -> None:
        """What answers questions."""
        self._elsewhere = Elsewhere(self._share, self._config.shared)
        self._control = Control(self.monitor, self._roots, self._queue, self._scanner, self._server.waiting)
        self._finder = FaceFinder(self._catalog, self._query_inference, self._roots.calls)
        self._queries = Queries(
            self.monitor,
            self._gallery,
            self._roots,
            self._finder,
            self._scorer,
            self._sampler,
            info,
            self._config.query,
            self._seen,
            self._control.wait_until_done,
            self._elsewhere,
        )

    def _link(self, info: ModelInfo) -> ShareLink | None:
        """The connection to facewatch-share, which asks the shared engine."""
        shared = self._config.shared
        if shared is None:
            return None
        link = ShareLink(paths.share_path(self._config.socket), info.dim, shared.timeout)
        self._stops.callback(link.close)
        return link

    def _build_methods(self, info: ModelInfo, placement: Placement) -> None:
        """The methods that the socket offers."""
        people = self._people_methods(info)
        self._sending = Sending(
            self._catalog,
            self._writer,
            info,
            None if self._config.shared is None else machine_id(self._config.data_dir),
            self.monitor.pending,
            self._has_seen_all,
            self._server.waiting,
        )
        self.methods = Methods(
            self._status(info, placement, people.count),
            self._queries,
            self._photos(info),
            Thumbnails(self._catalog, self._picture_inference, self._roots.calls, self._thumbnails),
            self._control,
            Verifier(self._gallery, self._roots, self._queue, self._writer, self._maintenance),
            people,
            self._unknown,
            Suggestions(self._gallery, self._scorer, self._groups, info),
            RegionReader(self._catalog, self._indexing_inference, self._roots, self._people, self._resolver),
            Exchange(self._catalog, self._people, self._writer, self._roots, info),
            Subscriptions(
                self._gallery,
                self._seen,
                self._queries.standing,
                pending=lambda: len(self._queue) > 0 or not self._scanner.idle,
            ),
            self._sending,
        )

    def _people_methods(self, info: ModelInfo) -> People:
        return People(
            self._people,
            self._resolver,
            self._catalog,
            self._finder,
            self._scorer.refusal,
            info.quality,
            self._record_shown,
            self._unknown.members,
            self._unknown.ignored,
        )

    def _status(self, info: ModelInfo, placement: Placement, people: Callable[[], int | None]) -> Status:
        return Status(
            self.monitor,
            info,
            placement.words,
            lambda: self._queries.threshold,
            self._sampler.crowded,
            self._confinement,
            people,
            self._catalog.uuid,
            self._sharing,
        )

    def _sharing(self) -> LinkStatus | None:
        """What facewatch-share says; what waits here is known also where it does not run."""
        shared, link = self._config.shared, self._share
        if shared is None or link is None:
            return None
        backlog = self._sending.backlog() if shared.send else 0
        return replace(
            link.status(), name=shared.name, sends=shared.send, backlog=backlog, pending=self.monitor.pending()
        )

    def _photos(self, info: ModelInfo) -> Photos:
        return Photos(
            self.monitor,
            self._catalog,
            self._roots,
            self._queue,
            self._indexer.backoff.reason,
            info,
            lambda: self._queries.threshold,
        )

    def _record_shown(self, outcome: Outcome) -> None:
        """Have a photo recorded that a client showed. Raises `StorageError`, also where the writer waits for a disk."""
        if self._writer.trouble:
            raise StorageError(self._writer.trouble)
        self._writer.call(lambda gallery: gallery.record_shown(outcome))

    def _confinement(self) -> str:
        """How far the decoding processes are confined: the text of the one that is confined least."""
        processes = (self._query_inference, self._indexing_inference, self._picture_inference)
        return max((each.confinement for each in processes), key=lambda state: state not in ("", FULLY_CONFINED))

    def _touch(self, path: bytes, settle: bool, written: bool) -> None:
        """Queue a path of an event, and the links in the roots that lead to it or below it."""
        depth = Depth.BYTES if written else Depth.STAMP
        self._queue.touch(path, settle=settle, depth=depth)
        passing, below = self._roots.links.through(path)
        for link in passing:
            self._queue.touch(link, settle=settle, depth=depth)
        for link in below:  # a file in a new directory may give no event: these links are examined after they settle
            self._queue.touch(link)

    def _rescan(self, root: bytes) -> None:
        self._scanner.request(root)

    def start(self) -> None:
        """Start every thread, in this order; `stop` ends them in reverse."""
        self._stops.callback(self._maintenance.save_last)  # after the writer has ended
        parts: tuple[_Part, ...] = (
            self._writer,
            self._sampler,
            self._keep_known,
            self._maintenance,
            self._server,
            self._indexer,
            *([self._second_looks] if self._config.faces.second_look else []),
            self._dates,
            self._group_faces,
            self._scanner,
            self._watcher,
        )
        for part in parts:
            self._stops.callback(part.stop)  # also where its start fails half-way
            part.start()
        for root in self._roots.paths:
            self._scanner.request(root)
        self._forget_strays()
        self._reserve.fill()
        log.info("listening on %s", self._server.path)

    def _forget_strays(self) -> None:
        """Queue the photos that lie in no watched directory any more: the workers delete their records."""
        with self._catalog.reading() as reader:
            strays = reader.outside(self._roots.paths)
        for path in strays:
            self._queue.touch(path, settle=False)

    def remember(self) -> None:
        """Record the model and the directories for the next start."""
        directories = tuple(map(str, self._config.directories))
        try:
            LastRun(self._pack.spec, directories).remember(self._config.data_dir)
        except OSError as exc:
            log.warning("cannot note the model in %s: %s", self._config.data_dir, exc.strerror)

    def release_models(self) -> None:
        """Give back the memory of models that have not been used for `unload_after` seconds."""
        if unload_after := self._config.resources.unload_after:
            for inference in (self._query_inference, self._indexing_inference, self._picture_inference):
                inference.release_after(unload_after)

    def back_up_people(self) -> None:
        """Back up what the user said, where that is due."""
        self._people.tend()

    def forget_pictures(self) -> None:
        """Delete the pictures of contents that no photo shows any more, and at first those that the catalog lacks.

        While paths are pending, one of them may be the new name of a file that is gone: then an hour passes first.
        """
        busy = self._is_busy()
        try:
            with self._catalog.reading() as reader:
                state = reader.transactions(), busy
            if self._forgotten is None:
                self._gallery.forget_strange_thumbnails()
            if self._forgotten != state:
                self._gallery.forget_thumbnails(time.time() - (RENAMING if busy else 0.0))
                self._forgotten = state
        except StorageError as exc:
            log.debug("pictures of what is gone are not deleted now: %s", exc)

    def reload(self) -> None:
        """Read the configuration again, take over what can be, and log what waits for a restart.

        Watches are set before walks, so that no change falls between them. The records of photos that lie in no
        directory any more are deleted, as at a start. Raises `FacewatchError`; then the next reload tries again.
        """
        wanted = self._reread()
        LastRun.of(self._config.data_dir).expect(wanted.directories)
        before, (now, waiting) = self._config, apply_reload(self._config, wanted)
        if (before.directories, before.exclude) != (now.directories, now.exclude):
            self._change_roots(now, anew=before.exclude != now.exclude)
        self._config = now  # only now: after a failure above, the next reload compares with the old one
        self._queries.defaults = now.query
        self._elsewhere.shared = now.shared
        if self._share is not None and now.shared is not None:
            self._share.timeout = now.shared.timeout
        self._queue.settle_for(now.watch.settle)
        self._watcher.rescan_every = now.watch.rescan
        self.remember()
        log.info("the configuration was read again: %s", counted(len(now.directories), "directory", "directories"))
        for key in waiting:
            log.warning("`%s` changed: that counts when the daemon is started again", key)

    def _change_roots(self, wanted: Config, *, anew: bool) -> None:
        """Watch the directories of a configuration. ``anew``: also walk those that were watched before."""
        before, after = self._roots.paths, [os.fsencode(path) for path in wanted.directories]
        self._roots.become(after, Exclusion(wanted.exclude))
        self._watcher.follow([path for path in before if path in after])  # one may lie in another that is new
        self._watcher.follow(after)
        self._queue.look_again()  # the paths that are examined now were judged by the old rules
        for path in after:
            if anew or path not in before:
                self._scanner.request(path)
        self._forget_strays()

    def stop(self) -> None:
        """Stop every part, in the reverse of the order in which it was made or started."""
        started = time.monotonic()
        self._scanner.give_up()  # these first: that the writer ends is no failure of theirs
        self._second_looks.give_up()
        self._dates.give_up()
        self._group_faces.give_up()
        self._maintenance.give_up()
        self._sending.close()
        self._writer.give_up()
        self._queue.close()
        self._stops.close()
        log.debug("stopped in %.1f s", time.monotonic() - started)
