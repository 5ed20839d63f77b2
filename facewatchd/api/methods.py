"""What the daemon answers: one method for each of the protocol's, no socket in sight.

Each takes named parameters and returns what can be sent as JSON. Reading happens on the caller's thread; whatever
changes something is handed to the queue, the scanner or the writer. No client waits for a disk that does not answer:
`DiskCalls` looks at what must be looked at, and where that takes too long, what is known is said.
"""

from __future__ import annotations

import errno
import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from facewatchd import __version__
from facewatchd.api.query import QueryRequest, Searcher, Source
from facewatchd.api.verify import Verifier
from facewatchd.config import Config
from facewatchd.errors import StorageError, UnreadablePhotoError
from facewatchd.indexing.maintenance import IndexMaintenance
from facewatchd.indexing.workers import Indexer
from facewatchd.indexing.writer import Writer
from facewatchd.photos import sheet_mark
from facewatchd.scan.roots import Roots
from facewatchd.scan.scanner import LINKS_EVERY, Scanner, out_of_reach
from facewatchd.scan.work_queue import WorkQueue
from facewatchd.server.jsonrpc import MethodNotFoundError, ParamsError
from facewatchd.server.params import Params, encode_path
from facewatchd.store.catalog_reader import Counts, PhotoRecord
from facewatchd.store.gallery import Gallery
from facewatchd.text import counted, printable
from facewatchd.threads.bounded_calls import NOT_ANSWERING, NotAnsweringError
from facewatchd.values import LISTED_STATES, DaemonState, ModelInfo, PhotoState, RootState, Stamp, is_within
from facewatchd.watch.watcher import Watcher

MAX_WAIT = 24 * 3600.0
_REACHABLE = (RootState.WATCHING, RootState.POLLING)
_KEPT = "what was known of it is kept"
_UNWATCHED = "it lies in no watched directory"
_NO_IMAGE = "it is no image that facewatchd reads"
MOST_LISTED = 1000
"""Photos in one page: with the longest paths and reasons that there are, half of what a line may have."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the service asks."""

    config: Config
    info: ModelInfo
    gallery: Gallery
    roots: Roots
    queue: WorkQueue
    scanner: Scanner
    writer: Writer
    maintenance: IndexMaintenance
    indexer: Indexer
    watcher: Watcher


class Service:
    """`call` is what a server needs."""

    def __init__(
        self,
        parts: Parts,
        searcher: Searcher,
        place: Callable[[], str],
        confinement: Callable[[], str],
        waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """``place`` says what is wrong with the socket's place, and ``confinement`` how far decoding is confined.

        In ``waiting`` requests wait.
        """
        self._waiting = waiting
        self._parts = parts
        self.defaults = parts.config.query
        """Of queries that say nothing themselves."""
        self._place = place
        self._confinement = confinement
        self._searcher = searcher
        self._verifier = Verifier(parts.gallery, parts.roots, parts.queue, parts.writer, parts.maintenance)
        self._started = time.monotonic()
        self._methods: dict[str, Callable[[Params], object]] = {
            "status": self._status,
            "query": self._query,
            "faces": self._faces,
            "why": self._why,
            "photos": self._photos,
            "scan": self._scan,
            "wait": self._wait,
            "pause": self._pause,
            "resume": self._resume,
            "verify": self._verify,
        }

    def call(self, method: str, params: Mapping[str, object]) -> object:
        """Carry out one method. Raises `FacewatchError`, those of the protocol included."""
        if method not in self._methods:
            raise MethodNotFoundError(method)
        return self._methods[method](Params(params))

    # How things are

    def _status(self, params: Params) -> dict[str, object]:
        params.finish()
        parts = self._parts
        paths = parts.roots.paths  # they may change meanwhile
        counts, photos = self._counts(paths)
        live, tombstones = parts.gallery.index_size
        states, info = self._root_states(), parts.info
        return {
            "version": __version__,
            "pid": os.getpid(),
            "uptime_s": round(time.monotonic() - self._started, 1),
            "state": self._state(),
            "model": {
                "name": info.name,
                "id": info.id,
                "dim": info.dim,
                "threshold": self._threshold,
            },
            "roots": [{**encode_path(root), "state": states[root], "photos": photos[root]} for root in paths],
            "photos": counts.photos,
            "faces": counts.faces,
            "pending": len(parts.queue),
            "failed": counts.failed,
            "index": {"faces": live, "tombstones": tombstones, "ready": parts.gallery.ready},
            "rates": parts.indexer.rates(),
            "problems": self._problems(),
            "waits": self.waits(),
            "confinement": self._confinement(),
        }

    def waits(self) -> str:
        """What pending photos wait for though nothing is wrong; empty where that is nothing in particular."""
        return self._parts.indexer.waits() if len(self._parts.queue) and not self._parts.queue.paused else ""

    @property
    def _threshold(self) -> float:
        """From which similarity a match counts, for queries that say nothing themselves."""
        configured = self.defaults.threshold
        return self._parts.info.threshold if configured is None else configured

    def headline(self) -> str:
        """What the daemon is doing, in one line."""
        paths = self._parts.roots.paths
        counts, pending = self._counts(paths)[0], len(self._parts.queue)
        waiting = f", {counted(pending, 'photo')} pending" if pending else ""
        reason = f"; {waits}" if (waits := self.waits()) else ""
        return f"{self._state()}: {counted(counts.photos, 'photo')}, {counted(counts.faces, 'face')}{waiting}{reason}"

    def _counts(self, paths: Sequence[bytes]) -> tuple[Counts, dict[bytes, int]]:
        """Photos and faces, and the photos of each root; zeros where the catalog cannot be read."""
        try:
            return self._parts.gallery.catalog.counts(paths)
        except StorageError:
            return Counts(0, 0, 0), dict.fromkeys(paths, 0)

    def _state(self) -> DaemonState:
        parts = self._parts
        if parts.writer.trouble or parts.maintenance.trouble or parts.indexer.trouble or parts.gallery.catalog.damage:
            return DaemonState.DEGRADED
        if parts.queue.paused:
            return DaemonState.PAUSED
        if not parts.gallery.ready or not self._walked():
            return DaemonState.STARTING
        if not parts.watcher.alive():
            return DaemonState.DEGRADED
        return DaemonState.INDEXING if len(parts.queue) or not parts.scanner.idle else DaemonState.IDLE

    def _problems(self) -> list[str]:
        parts = self._parts
        troubles = [parts.writer.trouble, parts.maintenance.trouble, parts.indexer.trouble, self._place()]
        if not parts.writer.trouble:
            troubles.append(parts.gallery.catalog.damage)
        if damaged := len(parts.gallery.catalog.damaged_faces):
            rows = counted(damaged, "row of a face is", "rows of faces are")
            troubles.append(f"{rows} damaged in the catalog: the photos are read again")
        reached = parts.watcher.states()
        for root in parts.roots.paths:
            if reached.get(root) in _REACHABLE and parts.roots.state(root) is RootState.OFFLINE:
                troubles.append(self._doubt(root))  # the watcher tells of one that is not there
            troubles += parts.roots.unreachable(root)
        troubles.append(_of_links(parts.roots.links.outside()))
        return [trouble for trouble in troubles if trouble] + (parts.watcher.problems() if self._walked() else [])

    def _doubt(self, root: bytes) -> str:
        """Why a root that is there is not believed."""
        return out_of_reach(root, self._counts(self._parts.roots.paths)[1].get(root, 0), is_there=True)

    def _walked(self) -> bool:
        """Whether every root has been walked since the start."""
        return all(self._parts.roots.state(root) is not None for root in self._parts.roots.paths)

    def _root_states(self) -> dict[bytes, RootState]:
        """What the watcher says, unless a walk saw that the root is out of reach."""
        states = defaultdict(lambda: RootState.OFFLINE, self._parts.watcher.states())
        for root in self._parts.roots.paths:
            seen = self._parts.roots.state(root)
            if seen in (RootState.OFFLINE, RootState.UNREADABLE):
                states[root] = seen
        return states

    def _complete(self) -> bool:
        """Whether everything that lies in the directories is searchable."""
        parts = self._parts
        # The scanner is asked again: it may have filled the queue just after that was seen empty.
        done = parts.scanner.idle and not len(parts.queue) and parts.scanner.idle
        return done and self._within_reach() and self._is_told()

    def _is_told(self) -> bool:
        """Whether every change in the directories, and where links in them lead, is an event."""
        watched = all(state is RootState.WATCHING for state in self._root_states().values())
        return watched and not self._parts.roots.links.any_outside

    def _within_reach(self) -> bool:
        """Whether every root has been walked and can be now, and all that is in it."""
        roots = self._parts.roots
        walked = all(roots.state(root) is RootState.WATCHING and not roots.unreachable(root) for root in roots.paths)
        return walked and all(state in _REACHABLE for state in self._root_states().values())

    # Queries

    def _query(self, params: Params) -> dict[str, object]:
        parts = self._parts
        asked = QueryRequest.of(params, self.defaults, self._threshold)
        wait = params.optional_number("wait", 0, MAX_WAIT)
        params.finish()
        self._require_watched(asked.search.directories)
        # Before the search: what comes in meanwhile was not asked for, nor what others write during a wait.
        complete = self._complete() if wait is None else self._wait_until_done(wait)
        answer = self._searcher.query(asked)
        with parts.gallery.catalog.reading() as reader:
            faces = parts.gallery.index_size[0] if parts.gallery.ready else reader.counts().faces
        return answer | {"faces": faces, "pending": len(parts.queue), "complete": complete}

    def _require_watched(self, directories: Sequence[bytes]) -> None:
        """Raise `ParamsError` for a directory that can show nothing: outside the watched ones, or not there.

        One that is not there counts while its photos are known: its disk may be away.
        """
        roots = self._parts.roots
        for directory in directories:
            if roots.of(directory) is None and not any(is_within(root, directory) for root in roots.paths):
                watched = ", ".join(printable(root) for root in roots.paths[:3]) + (" ..." if roots.paths[3:] else "")
                raise ParamsError(f"{printable(directory)} is not watched: name a directory in {watched}")
            with self._parts.gallery.catalog.reading() as reader:
                known = reader.count_photos(directory)
            if not known and not self._may_be_directory(directory):
                raise ParamsError(f"there is no directory {printable(directory)}: check its name")

    def _may_be_directory(self, path: bytes) -> bool:
        """Whether a path is a directory, or its disk does not answer."""
        try:
            return self._parts.roots.calls.run(path, lambda: os.path.isdir(path))
        except NotAnsweringError:
            return True

    def _faces(self, params: Params) -> dict[str, object]:
        faces = self._searcher.see(Source.of(params)).faces
        return {
            "faces": [
                {
                    "box": list(face.box),
                    "score": round(face.score, 4),
                    "landmarks": [[round(float(x), 1), round(float(y), 1)] for x, y in face.landmarks],
                }
                for face in faces
            ]
        }

    # One file

    def _why(self, params: Params) -> dict[str, object]:
        path = params.path()
        params.finish()
        is_pending = path in self._parts.queue  # asked first: what is recorded meanwhile leaves the queue after that
        with self._parts.gallery.catalog.reading() as reader:
            record = reader.photo(path)
            found = (record and record.content_id and reader.faces(record.content_id)) or []
        root = self._parts.roots.of(path)
        state, reason = PhotoState.UNKNOWN, _UNWATCHED
        if root:
            state, reason = self._explain(path, root, record, is_pending=is_pending)
        faces = [{"face_id": face_id, "box": list(face.box), "score": round(face.score, 4)} for face_id, face in found]
        return {**encode_path(path), "state": state, "reason": reason, "faces": faces}

    def _explain(
        self, path: bytes, root: bytes, record: PhotoRecord | None, *, is_pending: bool
    ) -> tuple[PhotoState, str]:
        calls = self._parts.roots.calls
        try:
            return calls.run(path, lambda: self._explain_by_look(path, root, record, is_pending=is_pending))
        except NotAnsweringError as exc:
            cause = f"{printable(exc.path)} {NOT_ANSWERING}"
            if is_pending:
                return PhotoState.PENDING, f"it waits for its turn: {cause}"
            return (record.state, f"{cause}: {_KEPT}") if record else (PhotoState.UNKNOWN, cause)

    def _explain_by_look(
        self, path: bytes, root: bytes, record: PhotoRecord | None, *, is_pending: bool
    ) -> tuple[PhotoState, str]:
        roots = self._parts.roots
        if reason := roots.excluded(path):
            return PhotoState.EXCLUDED, reason
        if is_pending:
            return PhotoState.PENDING, self._why_pending(path)
        try:
            now = Stamp.of(os.stat(path))
        except OSError as exc:
            if exc.errno not in (errno.ENOENT, errno.ENOTDIR):
                kept = f": {_KEPT}" if record else ""
                return record.state if record else PhotoState.UNKNOWN, f"it is out of reach ({exc.strerror}){kept}"
            if record and not roots.may_forget(path, record.stamp):
                return record.state, self._why_kept(root)
            return PhotoState.UNKNOWN, f"there is no such file ({exc.strerror})"
        if os.path.isdir(path):
            return PhotoState.UNKNOWN, "it is a directory: ask for a file"
        if record is None:
            return PhotoState.UNKNOWN, "it has not been noticed yet; `facewatchd scan` looks at once"
        if not now.same_bytes(record.stamp):
            return PhotoState.PENDING, "it changed since it was read; `facewatchd scan` looks at once"
        return record.state, _reason_now(record)

    def _why_pending(self, path: bytes) -> str:
        if self._parts.queue.paused:
            return "it waits for its turn: indexing is paused, `facewatchd resume` goes on"
        setback = self._parts.indexer.backoff.reason(path)
        if setback:
            return f"{setback}: it is tried again soon, alone"
        cause = self.waits()
        return "it waits for its turn" + (f": {cause}" if cause else "")

    def _why_kept(self, root: bytes) -> str:
        state = self._root_states()[root]
        away = "its disk is not there" if state in _REACHABLE else f"its directory is {state}"
        return f"{away}: {_KEPT}"

    # All files in one state

    def _photos(self, params: Params) -> dict[str, object]:
        """A page of the files in a state, by path, as they were recorded: the disk is not asked.

        A file that stays in the state is on exactly one of the pages, whatever happens to others meanwhile. One that
        was recorded and is to be looked at again is pending as well.
        """
        state = PhotoState(params.word("state", LISTED_STATES))
        after = params.optional_path_in("after") or b""
        limit = params.optional_int("limit", 1, MOST_LISTED) or MOST_LISTED
        params.finish()
        found = self._in_state(state, after, limit + 1)
        photos = [{**encode_path(path), "state": state, "reason": reason} for path, reason in found[:limit]]
        return {"photos": photos, "next": encode_path(found[limit - 1][0]) if len(found) > limit else None}

    def _in_state(self, state: PhotoState, after: bytes, limit: int) -> list[tuple[bytes, str]]:
        """The first paths in a state that come after one, each with the reason."""
        if state is PhotoState.PENDING:
            return [(path, self._why_pending(path)) for path in self._parts.queue.page(after, limit)]
        with self._parts.gallery.catalog.reading() as reader:
            return [(path, _reason(state, error)) for path, error in reader.in_state(state, after, limit)]

    # What is to be done

    def _scan(self, params: Params) -> dict[str, object]:
        paths = params.paths("paths") or list(self._parts.roots.paths)
        force = params.flag("force")
        params.finish()
        for path in paths:
            if self._parts.roots.of(path) is None:
                raise UnreadablePhotoError(
                    f"{printable(path)} lies in no watched directory", "add its directory to the configuration"
                )
        for path in paths:
            self._parts.scanner.request(path, force=force, live=True)
        return {"queued": len(paths)}

    def _wait(self, params: Params) -> dict[str, object]:
        timeout = params.optional_number("timeout", 0, MAX_WAIT)
        params.finish()
        started = time.monotonic()
        done = self._wait_until_done(60.0 if timeout is None else timeout)
        return {
            "pending": len(self._parts.queue),
            "seconds": round(time.monotonic() - started, 3),
            "complete": done,
        }

    def _wait_until_done(self, timeout: float) -> bool:
        """Wait until everything that was on the disk when this was called is searchable; False if that is not sure.

        The directories are walked: events may be on their way, and a polled directory has none. Files that are moved
        past the walk while it runs are what is written after the call.
        """
        deadline = time.monotonic() + timeout
        with self._waiting():
            return self._all_done(deadline)

    def _all_done(self, deadline: float) -> bool:
        parts = self._parts
        parts.queue.look_again()  # the walks cannot tell what will be recorded of what is in hand
        requests = [parts.scanner.request(root) for root in parts.roots.paths]
        walked = [request.done.wait(max(0.0, deadline - time.monotonic())) for request in requests]
        remaining = parts.queue.barrier().wait(max(0.0, deadline - time.monotonic()))
        # Where the queue is closed, the daemon ends, and the walks may have been cut short.
        failed = parts.queue.closed or any(request.failed for request in requests)
        return all(walked) and not remaining and not failed and self._within_reach()

    def _pause(self, params: Params) -> dict[str, object]:
        params.finish()
        self._parts.queue.pause()
        return {"state": self._state()}

    def _resume(self, params: Params) -> dict[str, object]:
        params.finish()
        self._parts.queue.resume()
        return {"state": self._state()}

    def _verify(self, params: Params) -> dict[str, object]:
        repair = params.flag("repair")
        params.finish()
        return self._verifier.verify(repair=repair)


def _of_links(outside: Sequence[bytes]) -> str:
    """Say that links lead to where changes are no events; empty where none does."""
    if not outside:
        return ""
    return (
        f"{counted(len(outside), 'link')} to files outside of the watched directories, {printable(outside[0])} among"
        f" them: nothing tells when those change, so they are looked at every {LINKS_EVERY:.0f} s"
    )


def _reason(state: PhotoState, error: str | None) -> str:
    """Why a file is in the state that was recorded. ``error``: what was recorded with it."""
    reasons = {
        PhotoState.INDEXED: "its faces are searchable",
        PhotoState.NO_FACE: "no face was found that is large and clear enough",
        PhotoState.EXCLUDED: f"{_NO_IMAGE}, or a contact sheet that facewatch-query drew",
    }
    return reasons.get(state) or str(error)


def _reason_now(record: PhotoRecord) -> str:
    """The same of a file that is still as it was recorded, which may be looked into."""
    if record.state is PhotoState.EXCLUDED:
        is_sheet = sheet_mark.is_sheet(record.path)
        return "it is a contact sheet that facewatch-query drew, not a photo" if is_sheet else _NO_IMAGE
    until = "; it is not tried again until the file changes" if record.state is PhotoState.FAILED else ""
    return _reason(record.state, record.error) + until
