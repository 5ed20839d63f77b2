"""Holds directories against the catalog: the first walk, `scan`, the periodic rescan, and every doubt.

One thread takes requests in turn. It walks the disk, reads the catalog, and puts what differs into the queue; it
changes nothing itself. What is gone is queued too: the indexer looks again before anything is forgotten. Nothing
is queued of a root that is not to be believed (`missing_disk.root_state`), nor of a disk that is away
(`missing_disk.judge`). Directories that could not be read are looked at again on their own. A root whose disk does not
answer a first look fails its request at once, and is tried again: the others need not wait for it.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from facewatchd.errors import FacewatchError
from facewatchd.scan.compare import compare
from facewatchd.scan.missing_disk import Census, Verdict, accept
from facewatchd.scan.mount_guard import MountGuard, Snapshot
from facewatchd.scan.roots import Roots, identity_of
from facewatchd.scan.walk import Listing, Row, walk
from facewatchd.scan.work_queue import Depth, WorkQueue
from facewatchd.store.catalog import Catalog
from facewatchd.text import printable
from facewatchd.threads.bounded_calls import NotAnsweringError
from facewatchd.threads.liveness import Liveness
from facewatchd.values import Identity, RootState, Stamp, is_within

log = logging.getLogger(__name__)

RETRY = 5.0
"""Seconds between two tries of a scan for which the catalog could not be read, or a disk did not answer."""
LOOK_AGAIN = 10.0
LONGEST = 900.0
"""Seconds after which what could not be read is looked at again: at first, and at most, twice as many each time."""
LINKS_EVERY = 15.0
"""Seconds between two looks at links that lead out of the watched directories; at least `LINKS_REST` times as many as
the last look took."""
LINKS_REST = 50
LEAVE = 3.0
"""Seconds that the thread gets to end."""
TRIES = 3
"""Walks of a root in which something is mounted or unmounted all the time, before one is taken as it is."""


@dataclass(slots=True)
class Request:
    """A path to be scanned; `done` is set when everything that differs below it is in the queue."""

    path: bytes
    force: bool = False
    live: bool = False
    done: threading.Event = field(default_factory=threading.Event)
    failed: bool = False
    unanswered: bool = False
    """Whether it failed because a disk did not answer."""

    @property
    def depth(self) -> Depth:
        return Depth.FACES if self.force else Depth.STAMP


@dataclass(slots=True)
class _Walked:
    """What a walk gathers on its way."""

    photos: int = 0
    gone: dict[bytes, Stamp] = field(default_factory=dict)
    census: Census = field(default_factory=Census)
    directories: set[bytes] = field(default_factory=set)
    unreadable: dict[bytes, int] = field(default_factory=dict)
    """With the errno."""
    inodes: dict[int, bytes] = field(default_factory=dict)
    moved: list[tuple[bytes, int]] = field(default_factory=list)
    """Paths whose device has another number now, with that."""


class Scanner(threading.Thread):
    """The thread that walks. Requests for a path that already waits are one."""

    def __init__(
        self,
        catalog: Catalog,
        queue: WorkQueue,
        roots: Roots,
        *,
        walked: Callable[[bytes, dict[int, bytes], bool], None],
        write: Callable[[Callable[[Catalog], object]], None],
        liveness: Liveness | None = None,
    ) -> None:
        """``write`` runs a job on the writer's thread, and waits for it.

        ``walked`` is told, for a root, the directories that were seen by their inodes, and whether they are all.
        """
        super().__init__(name="scanner", daemon=True)
        self._catalog = catalog
        self._queue = queue
        self._roots = roots
        self._walked = walked
        self._write_now = write
        self._liveness = liveness or Liveness()
        self._requests: OrderedDict[bytes, Request] = OrderedDict()
        self._condition = threading.Condition()
        self._ended = False
        self._busy = False
        self._guard = MountGuard(roots)
        self._unread: dict[bytes, int] = {}
        self._look_again = LOOK_AGAIN
        self._again_at = self._links_at = self._failed_at = 0.0
        self._failed: dict[bytes, Request] = {}
        """What is to be tried again, by path."""

    def request(self, path: bytes, *, force: bool = False, live: bool = False) -> Request:
        """Ask for a scan that begins after this call."""
        with self._condition:
            request = self._requests.setdefault(path, Request(path))
            request.force |= force
            request.live |= live
            if self._ended:
                request.failed = True
                request.done.set()
            self._condition.notify()
            return request

    @property
    def idle(self) -> bool:
        """Whether nothing is being walked or waits for it, but for what is not answering."""
        with self._condition:
            failed = any(not each.unanswered for each in self._failed.values())
            return not self._busy and not self._requests and not failed

    def stop(self) -> None:
        """End the walk in hand at its next directory, and the thread."""
        with self._condition:
            self._ended = True
            self._condition.notify()
        if self.ident is not None:
            self.join(LEAVE)
        if self.is_alive():
            log.error("the scanner does not end; a watched file system does not answer")
        else:
            self._guard.close()

    def run(self) -> None:
        while not self._ended:
            if request := self._next():
                self._carry_out(request)
            elif not self._ended:
                self._look_at_links()
            if not self._requests:
                self._unread = self._roots.forget_unreadable()
            self._liveness.rest()
            with self._condition:
                self._busy = False
                if request and request.failed:
                    self._note_failed(request)
            if request:
                request.done.set()

    def _write(self, job: Callable[[Catalog], object]) -> None:
        self._liveness.rest()  # the writer may have to wait for room on the disk, and shows signs of life itself
        self._write_now(job)
        self._liveness.beat()

    def _carry_out(self, request: Request) -> None:
        self._liveness.beat()
        try:
            self._scan(request)
        except FacewatchError as exc:
            request.failed, request.unanswered = True, isinstance(exc, NotAnsweringError)
            if not request.unanswered and not self._ended:  # of what is not answering the watcher tells
                log.error("cannot scan %s: %s", printable(request.path), exc)
        self._again_at = time.monotonic() + self._look_again

    def _look_at_links(self) -> None:
        """Queue the links that lead out of the watched directories, to something else than before."""
        started = time.monotonic()
        for link in self._roots.links.changed_outside():
            self._liveness.beat()
            self._queue.touch(link)
        now = time.monotonic()
        self._links_at = now + max(LINKS_EVERY, LINKS_REST * (now - started))

    def _note_failed(self, request: Request) -> None:
        """Have it tried again, in one with those for the same path that failed before."""
        before = self._failed.get(request.path, request)
        both = Request(request.path, request.force or before.force, request.live or before.live)
        both.unanswered = request.unanswered
        self._failed[request.path] = both
        self._failed_at = time.monotonic() + RETRY

    def _next(self) -> Request | None:
        """Wait for a request. None at the end, and when links are due to be looked at."""
        with self._condition:
            while not self._requests and not self._ended:
                now = time.monotonic()
                again_at = self._again_at if self._unread else math.inf
                links_at = self._links_at if self._roots.links.any_outside else math.inf
                failed_at = self._failed_at if self._failed else math.inf
                if links_at <= now:
                    self._busy = True
                    return None
                if again_at <= now:
                    self._look_again = min(2 * self._look_again, LONGEST)
                    self._requests.update((path, Request(path)) for path in self._unread)
                    break
                if failed_at <= now:
                    self._requests.update(self._failed)
                    self._failed.clear()
                    break
                pause = min(again_at, links_at, failed_at) - now
                self._condition.wait(None if math.isinf(pause) else pause)
            if self._ended:
                for request in self._requests.values():
                    request.failed = True
                    request.done.set()
                return None
            self._busy = True
            return self._requests.popitem(last=False)[1]

    def _scan(self, request: Request) -> None:
        root = self._roots.of(request.path)
        if root is None:
            return
        self._require_answer(root)
        if request.path == root:
            self._scan_root(root, request)
        elif self._roots.excluded(request.path):
            self._queue_gone(self._recorded_below(request.path))
        elif _is_directory(request.path) or (request.force and not os.path.lexists(request.path)):
            self._scan_part(root, request)
        else:
            self._queue.touch(request.path, depth=request.depth)

    def _require_answer(self, root: bytes) -> None:
        """Raise `NotAnsweringError` where the disk of a root does not answer; one never walked is offline then."""
        try:
            self._roots.calls.run(root, lambda: os.path.exists(root))
        except NotAnsweringError:
            if self._roots.state(root) is None:
                self._roots.saw(root, RootState.OFFLINE, None)
            raise

    def _scan_part(self, root: bytes, request: Request) -> None:
        walked = self._walk(request, root)
        identity = identity_of(root)
        if self._ended:
            return
        self._walked(root, walked.inodes, False)
        if self._roots.state(root) in (RootState.OFFLINE, RootState.UNREADABLE):
            return
        if identity is None or identity != self._roots.identity(root):
            self.request(root)  # it is another directory now: that is for a walk of the whole to judge
            return
        verdict = self._judge(root, identity, walked, request, whole=False)
        self._keep_apart(verdict.kept, walked)
        self._note_devices([*walked.moved, *verdict.devices])
        self._note_unreachable(root, request.path, walked, verdict.kept)
        self._queue_gone(verdict.gone)
        if verdict.unsure:
            self.request(root)

    def _scan_root(self, root: bytes, request: Request) -> None:
        started = time.monotonic()
        self._roots.links.follow(self._roots.paths)
        with self._catalog.reading() as reader:
            recorded = reader.count_photos(root)
        snapshot, walked = self._walk_root(root, request)
        if self._ended:
            return
        readable = root not in walked.unreadable or walked.photos > 0
        state = self._guard.root_state(root, snapshot, walked.census, walked.gone, readable=readable, recorded=recorded)
        if request.force and state is RootState.OFFLINE and snapshot.identity is not None:
            state = RootState.WATCHING  # the user says that it is meant to be empty
        if state is RootState.WATCHING and snapshot.identity is not None:
            self._accept_walk(root, snapshot, snapshot.identity, walked, request, recorded)
        else:
            self._reject_walk(root, snapshot, state, walked, recorded)
        log.debug("walked %s in %.2f s: %d photos", printable(root), time.monotonic() - started, walked.photos)

    def _walk_root(self, root: bytes, request: Request) -> tuple[Snapshot, _Walked]:
        """Walk it, and again where something was mounted or unmounted there meanwhile."""
        for _ in range(TRIES):
            snapshot = self._guard.snapshot(root)
            walked = self._walk(request, root) if snapshot.identity else _Walked()
            if not walked.gone or self._guard.is_unchanged(root, snapshot):
                break
        return snapshot, walked

    def _accept_walk(
        self, root: bytes, snapshot: Snapshot, identity: Identity, walked: _Walked, request: Request, recorded: int
    ) -> None:
        verdict = self._judge(root, identity, walked, request, whole=True)
        self._keep_apart(verdict.kept, walked)  # first, or their disk's number might be taken for the root's
        self._adopt(root, identity)
        was = self._roots.state(root)
        self._note_state(root, RootState.WATCHING, identity, recorded)
        self._note_unreachable(root, root, walked, verdict.kept)
        self._note_devices([*walked.moved, *verdict.devices])
        self._queue_gone(verdict.gone)
        if was is not RootState.WATCHING:
            self._queue_unread(root)
        self._guard.note_good_walk(root, snapshot)
        self._walked(root, walked.inodes, True)

    def _reject_walk(self, root: bytes, snapshot: Snapshot, state: RootState, walked: _Walked, recorded: int) -> None:
        if state is RootState.OFFLINE and snapshot.identity and walked.photos:
            self._keep_apart(self._guard.set_apart(root, snapshot.identity, walked.census, walked.gone), walked)
        self._note_state(root, state, snapshot.identity, recorded)
        self._roots.saw_unreachable(root, {}, {})

    def _judge(self, root: bytes, now: Identity, walked: _Walked, request: Request, *, whole: bool) -> Verdict:
        if request.force:
            return accept(self._guard.missing(walked.gone))
        return self._guard.verdict(root, now, walked.census, walked.gone, whole=whole)

    def _keep_apart(self, kept: Mapping[bytes, int], walked: _Walked) -> None:
        """Note the numbers that stand for disks that are away."""
        self._note_devices([(path, number) for path, number in kept.items() if walked.gone[path].device != number])

    def _note_unreachable(self, root: bytes, start: bytes, walked: _Walked, kept: Iterable[bytes]) -> None:
        """Note what is out of reach below a path; whether any of it is news."""
        before = self._roots.has_unreachable(root)
        unreadable = {path: number for path, number in walked.unreadable.items() if number != errno.ELOOP}
        if self._roots.saw_unreachable(start, unreadable, Counter(map(os.path.dirname, kept))):
            self._look_again = LOOK_AGAIN
            for line in self._roots.unreachable(root) if not before else ():
                log.warning("%s", line)
        elif before and not self._roots.has_unreachable(root):
            log.info("all of %s is within reach", printable(root))

    def _adopt(self, root: bytes, identity: Identity) -> None:
        """Note which directory the root is now; the photos' devices are to be compared with its own."""
        then = self._roots.identity(root)
        if then == identity:
            return
        if then is not None and then.device != identity.device:
            before = then.device
            self._write(lambda catalog: catalog.renumber(root, before, identity.device))
        self._write(lambda catalog: catalog.set_root(root, identity))

    def _queue_unread(self, root: bytes) -> None:
        """What could not be read may be readable now that the root is back."""
        with self._catalog.reading() as reader:
            unread = reader.unread(root)
        for path in unread:
            self._queue.touch(path, settle=False, depth=Depth.FACES)

    def _note_state(self, root: bytes, state: RootState, identity: Identity | None, recorded: int) -> None:
        before = self._roots.state(root)
        self._roots.saw(root, state, identity)
        if state is before or (before is None and state is RootState.WATCHING):
            return
        name = printable(root)
        if state is RootState.OFFLINE:
            log.warning("%s", out_of_reach(root, recorded, is_there=identity is not None))
        elif state is RootState.UNREADABLE:
            log.warning("%s cannot be read: its %d photos are kept; check its permissions", name, recorded)
        else:
            log.info("%s is back", name)

    def _walk(self, request: Request, root: bytes) -> _Walked:
        """Queue what is new or changed on the way; return what is gone, and what else was seen."""
        walked = _Walked()
        recorded_in = None if request.force else self._rows
        for listing in walk(request.path, self._roots.exclusion, root, recorded_in, self._roots.device_of):
            self._liveness.beat()
            if self._ended:
                return walked
            rows = self._rows(listing.directory) if request.force else listing.recorded
            recorded = {path: Stamp(*numbers) for path, (_, *numbers) in rows.items()}
            self._take_in(listing, recorded, request, walked)
            self._note_links(listing, walked)
        if not walked.unreadable:
            self._roots.links.keep(request.path, walked.directories)
        with self._catalog.reading() as reader:
            for directory in reader.directories(request.path):
                if directory not in walked.directories and not _below_any(directory, walked.unreadable):
                    walked.gone |= reader.recorded(directory)
        return walked

    def _rows(self, directory: bytes) -> dict[bytes, Row]:
        with self._catalog.reading() as reader:  # for each: a long read keeps the write-ahead log from shrinking
            return {row[0]: row for row in reader.rows(directory)}

    def _take_in(self, listing: Listing, recorded: dict[bytes, Stamp], request: Request, walked: _Walked) -> None:
        if isinstance(listing.error, FileNotFoundError | NotADirectoryError):
            return
        walked.directories.add(listing.directory)
        walked.photos += listing.same + len(listing.files)
        difference = compare(listing.files, recorded, request.depth)
        walked.census.count(listing.files, recorded)
        walked.census.count_same(listing.device, listing.same)
        if listing.error is None:
            walked.gone |= {path: recorded[path] for path in difference.gone}
            walked.inodes[listing.inode % (1 << 64)] = listing.directory
        else:  # what was not seen may still be there
            walked.unreadable[listing.directory] = listing.error.errno or errno.EIO
        walked.moved += [
            (path, stamp.device)
            for path, stamp in listing.files.items()
            if (before := recorded.get(path)) is not None and before.device != stamp.device
        ]
        now = time.time()
        found = [(path, *_ages(listing.files[path], now)) for path in difference.examine]
        if found:
            self._queue.add_found(found, depth=request.depth, live=request.live)

    def _note_links(self, listing: Listing, walked: _Walked) -> None:
        """Register the links; what they pass must be watched as well, though it may be hidden."""
        for step in self._roots.links.note_directory(listing.directory, listing.links):
            directory = os.path.dirname(step)
            with contextlib.suppress(OSError):
                walked.inodes[os.stat(directory).st_ino % (1 << 64)] = directory

    def _recorded_below(self, path: bytes) -> list[bytes]:
        with self._catalog.reading() as reader:
            return reader.paths(path) + ([path] if reader.stamp(path) else [])

    def _queue_gone(self, paths: list[bytes]) -> None:
        for path in paths:
            self._queue.touch(path, settle=False)

    def _note_devices(self, devices: list[tuple[bytes, int]]) -> None:
        if devices:
            self._write(lambda catalog: catalog.set_devices(devices))


def out_of_reach(root: bytes, photos: int, *, is_there: bool) -> str:
    """Say why a root is offline, and what to do."""
    kept = "its photo is kept" if photos == 1 else f"its {photos} photos are kept"
    if not is_there:
        return f"{printable(root)} is not there: {kept} until it comes back"
    return (
        f"{printable(root)} is empty, or another directory than before: {kept}; "
        "mount its disk, or, if it is as it should be, `facewatchd scan --force` it"
    )


def _ages(stamp: Stamp, now: float) -> tuple[float, float]:
    """Seconds since the file last changed, and its mtime as Unix time."""
    return now - max(stamp.mtime_ns, stamp.ctime_ns) / 1e9, stamp.mtime_ns / 1e9


def _is_directory(path: bytes) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _below_any(directory: bytes, others: Iterable[bytes]) -> bool:
    return any(is_within(directory, other) for other in others)
