"""Holds directories against the catalog: the first walk, `scan`, the periodic rescan, and every doubt.

One thread takes requests in turn. It walks the disk, reads the catalog, and puts what differs into the inbox; it
changes nothing itself. What is missing is queued too: the indexer looks again before anything is forgotten. A root
that is not to be believed (`reconcile.root_state`) queues nothing that is missing.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from facewatchd.catalog import Catalog
from facewatchd.errors import FacewatchError
from facewatchd.inbox import Inbox
from facewatchd.printing import printable
from facewatchd.reconcile import RootView, compare, root_state
from facewatchd.records import Identity, RootState, Stamp, is_within
from facewatchd.roots import Roots, identity_of
from facewatchd.walk import Listing, walk

log = logging.getLogger(__name__)

RETRY = 5.0
"""Seconds between two tries of a scan for which the catalog could not be read."""


@dataclass(slots=True)
class Request:
    """A path to be scanned; `done` is set when everything that differs below it is in the inbox."""

    path: bytes
    force: bool = False
    live: bool = False
    done: threading.Event = field(default_factory=threading.Event)
    failed: bool = False


@dataclass(slots=True)
class _Walked:
    """What a walk gathers on its way."""

    photos: int = 0
    gone: list[bytes] = field(default_factory=list)
    directories: set[bytes] = field(default_factory=set)
    unreadable: list[bytes] = field(default_factory=list)
    inodes: dict[int, bytes] = field(default_factory=dict)
    moved: list[tuple[bytes, int]] = field(default_factory=list)
    """Paths whose device has another number now, with that."""


class Scanner(threading.Thread):
    """The thread that walks. Requests for a path that already waits are one."""

    def __init__(
        self,
        catalog: Catalog,
        inbox: Inbox,
        roots: Roots,
        *,
        walked: Callable[[bytes, dict[int, bytes], bool], None],
        write: Callable[[Callable[[Catalog], object]], None],
    ) -> None:
        """``write`` runs a job on the writer's thread, and waits for it.

        ``walked`` is told, for a root, the directories that were seen by their inodes, and whether they are all.
        """
        super().__init__(name="scanner")
        self._catalog = catalog
        self._inbox = inbox
        self._roots = roots
        self._walked = walked
        self._write = write
        self._requests: OrderedDict[bytes, Request] = OrderedDict()
        self._condition = threading.Condition()
        self._ended = False
        self._busy = False

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
        """Whether nothing is being walked or waits for it."""
        with self._condition:
            return not self._busy and not self._requests

    def stop(self) -> None:
        """End the walk in hand at its next directory, and the thread."""
        with self._condition:
            self._ended = True
            self._condition.notify()
        if self.ident is not None:
            self.join()

    def run(self) -> None:
        while request := self._next():
            try:
                self._scan(request)
            except FacewatchError as exc:
                if not self._ended:
                    log.error("cannot scan %s: %s", printable(request.path), exc)
                request.failed = True
            with self._condition:
                self._busy = False
            request.done.set()
            if request.failed:
                self._try_again(request)

    def _try_again(self, request: Request) -> None:
        self.request(request.path, force=request.force, live=request.live)
        with self._condition:
            self._condition.wait_for(lambda: self._ended, RETRY)

    def _next(self) -> Request | None:
        with self._condition:
            self._condition.wait_for(lambda: self._requests or self._ended)
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
        if request.path == root:
            self._scan_root(root, request)
        elif self._roots.excluded(request.path):
            self._queue_gone(self._recorded_below(request.path))
        elif not os.path.isdir(request.path) or os.path.islink(request.path):
            self._inbox.touch(request.path, force=request.force)
        else:
            walked = self._walk(request, root)
            self._queue_gone(walked.gone)
            self._note_devices(walked)
            self._walked(root, walked.inodes, False)

    def _scan_root(self, root: bytes, request: Request) -> None:
        started = time.monotonic()
        identity = identity_of(root)
        with self._catalog.reading() as reader:
            recorded = reader.count_photos(root)
        walked = self._walk(request, root) if identity else _Walked()
        if self._ended:
            return
        readable = root not in walked.unreadable or walked.photos > 0
        view = RootView(identity, readable, _is_empty(root), len(walked.gone))
        state = root_state(view, recorded, self._roots.identity(root))
        if request.force and state is RootState.OFFLINE and identity is not None:
            state = RootState.WATCHING  # the user says that it is meant to be empty
        was = self._roots.state(root)
        if state is RootState.WATCHING and identity is not None:
            self._adopt(root, identity)
        self._note_state(root, state, identity, recorded)
        if state is RootState.WATCHING:
            self._queue_gone(walked.gone)
            if was is not RootState.WATCHING:
                self._queue_unread(root)
            self._note_devices(walked)
            self._walked(root, walked.inodes, True)
        log.debug("walked %s in %.2f s: %d photos", printable(root), time.monotonic() - started, walked.photos)

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
            self._inbox.touch(path, settle=False, force=True)

    def _note_state(self, root: bytes, state: RootState, identity: Identity | None, recorded: int) -> None:
        before = self._roots.state(root)
        self._roots.saw(root, state, identity)
        if state is before or (before is None and state is RootState.WATCHING):
            return
        name = printable(root)
        if state is RootState.OFFLINE:
            log.warning("%s", out_of_reach(root, identity, recorded))
        elif state is RootState.UNREADABLE:
            log.warning("%s cannot be read: its %d photos are kept; check its permissions", name, recorded)
        else:
            log.info("%s is back", name)

    def _walk(self, request: Request, root: bytes) -> _Walked:
        """Queue what is new or changed on the way; return what is gone, and what else was seen."""
        walked = _Walked()
        for listing in walk(request.path, self._roots.exclusion, root):
            if self._ended:
                return walked
            with self._catalog.reading() as reader:  # for each: a long read keeps the write-ahead log from shrinking
                recorded = reader.recorded(listing.directory)
            self._take_in(listing, recorded, request, walked)
        with self._catalog.reading() as reader:
            for directory in reader.directories(request.path):
                if directory not in walked.directories and not _below_any(directory, walked.unreadable):
                    walked.gone += reader.recorded(directory)
        return walked

    def _take_in(self, listing: Listing, recorded: dict[bytes, Stamp], request: Request, walked: _Walked) -> None:
        if isinstance(listing.error, FileNotFoundError):
            return
        walked.directories.add(listing.directory)
        walked.inodes[listing.inode % (1 << 64)] = listing.directory
        walked.photos += len(listing.files)
        difference = compare(listing.files, recorded, force=request.force)
        if listing.error is None:
            walked.gone += difference.gone
        else:  # what was not seen may still be there
            walked.unreadable.append(listing.directory)
        for path in recorded.keys() & listing.files.keys():
            if listing.files[path].device != recorded[path].device:
                walked.moved.append((path, listing.files[path].device))
        now = time.time()
        found = [(path, *_ages(listing.files[path], now)) for path in difference.examine]
        if found:
            self._inbox.add_found(found, force=request.force, live=request.live)

    def _recorded_below(self, path: bytes) -> list[bytes]:
        with self._catalog.reading() as reader:
            return reader.paths(path) + ([path] if reader.stamp(path) else [])

    def _queue_gone(self, paths: list[bytes]) -> None:
        for path in paths:
            self._inbox.touch(path, settle=False)

    def _note_devices(self, walked: _Walked) -> None:
        if moved := walked.moved:
            self._write(lambda catalog: catalog.set_devices(moved))


def out_of_reach(root: bytes, identity: Identity | None, photos: int) -> str:
    """Say why a root is offline, and what to do."""
    if identity is None:
        return f"{printable(root)} is not there: its {photos} photos are kept until it comes back"
    return (
        f"{printable(root)} is empty, or another directory than before: its {photos} photos are kept; "
        "mount its disk, or, if it is as it should be, `facewatchd scan --force` it"
    )


def _ages(stamp: Stamp, now: float) -> tuple[float, float]:
    """Seconds since the file last changed, and its mtime as Unix time."""
    return now - max(stamp.mtime_ns, stamp.ctime_ns) / 1e9, stamp.mtime_ns / 1e9


def _is_empty(directory: bytes) -> bool:
    try:
        with os.scandir(directory) as entries:
            return next(entries, None) is None
    except OSError:
        return False


def _below_any(directory: bytes, others: list[bytes]) -> bool:
    return any(is_within(directory, other) for other in others)
