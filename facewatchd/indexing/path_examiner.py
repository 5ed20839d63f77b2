"""Examines one path at a time: carries out the actions that `facewatchd.indexing.examine` decides on."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace

from facewatchd.errors import UnreadablePhotoError
from facewatchd.indexing.counters import Counters
from facewatchd.indexing.digest_lookup import DigestLookup
from facewatchd.indexing.embedder import Embedder
from facewatchd.indexing.examine import GATHERING, Action, Facts, decide, inode_of_other_names
from facewatchd.indexing.fetching import Fetcher
from facewatchd.indexing.in_flight import InFlight
from facewatchd.photos import contents, files
from facewatchd.scan.roots import Roots
from facewatchd.scan.seen import Absent, Directory, Excluded, File
from facewatchd.scan.walk import MARKS
from facewatchd.scan.work_queue import Item, WorkQueue
from facewatchd.store.catalog import Catalog, Outcome
from facewatchd.values import Stamp


class LinedUp(Exception):  # noqa: N818 - no error
    """The path waits until another one is done, which `InFlight.release` then returns."""


class PathExaminer:
    """Shared by the workers; each path is examined by one of them at a time."""

    def __init__(
        self,
        catalog: Catalog,
        queue: WorkQueue,
        roots: Roots,
        *,
        walk: Callable[[bytes], object],
        embedder: Embedder,
        in_flight: InFlight,
        counters: Counters,
        fetcher: Fetcher | None,
    ) -> None:
        """``walk``: have a directory walked, soon. ``fetcher``: None where there is no shared engine."""
        self._catalog = catalog
        self._queue = queue
        self._roots = roots
        self._walk = walk
        self._embedder = embedder
        self._in_flight = in_flight
        self._counters = counters
        self._fetcher = fetcher
        self._digests = DigestLookup(catalog, queue)
        self._told: dict[bytes, Stamp | None] = {}
        """Paths that are to be examined because another name of the same file was found with this stamp; None: that
        name has gone."""

    def examine(self, item: Item) -> Outcome | None:
        """Find out what is to be recorded of a path; None where the catalog says so already.

        Raises `LinedUp`, `RetryError` or `ChangedWhileReadError` where it cannot be told yet, `NotAnsweringError` where
        the disk does not answer, `NoModelError`, `ClosedError`, and `StorageError` where the catalog cannot be read.
        """
        self._roots.calls.run(item.path, lambda: os.path.exists(item.path))
        with ExitStack() as opened:
            facts = self._recorded(item)
            while (action := decide(facts)) in GATHERING:
                facts = self._gather(action, facts, opened)
            return self._finish(action, facts)

    def failure(self, path: bytes, reason: str) -> Outcome | None:
        """What is to be recorded of a file whose examination failed; None where no file is there. Raises OSError."""
        status = os.stat(path)
        return Outcome(path, self._roots.stamp(path, status), error=reason) if stat.S_ISREG(status.st_mode) else None

    def _recorded(self, item: Item) -> Facts:
        """The facts to begin with."""
        path = item.path
        waited, told = self._in_flight.digested(path), self._told.pop(path, None)
        with self._catalog.reading() as reader:
            recorded = reader.stamp(path)
        if os.path.basename(path) in MARKS:  # it excludes what is in the directory, or does so no more
            self._walk(os.path.dirname(path))
        return Facts(item, recorded, told=told, waited=waited, is_asked=self._fetcher is None)

    # Actions that gather a fact

    def _gather(self, action: Action, facts: Facts, opened: ExitStack) -> Facts:
        match action, facts.seen:
            case Action.LOOK, _:
                return self._look(facts)
            case Action.FIND_DIGEST, File(stamp):
                return replace(facts, digest_by_stamp=self._digests.digest(facts.item.path, stamp) or b"")
            case Action.LOCK_FILE, File(stamp):
                self._lock(stamp[1:], facts)
                return replace(facts, has_file_lock=True, digest_by_stamp=None)
            case Action.READ, File(stamp):
                return self._read(facts, stamp, opened)
        assert facts.digest
        if action is Action.FETCH:
            fetched = None if self._fetcher is None else self._fetcher.find(facts.digest)
            return replace(facts, is_asked=True, fetched=fetched)
        if action is Action.LOCK_CONTENT and isinstance(facts.seen, File):
            self._lock(facts.digest, facts, facts.seen.stamp)
            return replace(facts, has_content_lock=True, is_known=None)
        with self._catalog.reading() as reader:
            return replace(facts, is_known=reader.has_content(facts.digest))

    def _lock(self, key: tuple[int, ...] | bytes, facts: Facts, stamp: Stamp | None = None) -> None:
        if not self._in_flight.claim(key, facts.item, stamp):
            raise LinedUp

    def _look(self, facts: Facts) -> Facts:
        """See what is at the path, and have the paths examined that are affected as well."""
        path = facts.item.path
        facts = replace(facts, seen=self._roots.look(path, is_recorded=facts.recorded is not None))
        if not isinstance(facts.seen, Directory | Excluded) and not facts.recorded:
            with self._catalog.reading() as reader:
                below = reader.paths(path)
            self._touch(below)  # the path was a directory
        inode = inode_of_other_names(facts)
        if inode is not None:
            self._touch_other_names(path, inode, facts.seen.stamp if isinstance(facts.seen, File) else None)
        return facts

    def _touch(self, paths: Iterable[bytes]) -> None:
        for path in paths:
            self._queue.touch(path, settle=False)

    def _touch_other_names(self, path: bytes, inode: int, now: Stamp | None) -> None:
        """Have the recorded names of an inode examined that were recorded with another stamp than it has now."""
        with self._catalog.reading() as reader:
            names = reader.linked(inode)
        others = [other for other, stamp in names.items() if other != path and not stamp.same_bytes(now)]
        self._told.update(dict.fromkeys(others, now))  # or each of them would ask for all the others
        self._touch(others)

    def _read(self, facts: Facts, stamp: Stamp, opened: ExitStack) -> Facts:
        path = facts.item.path
        if not contents.is_photo(path):
            return replace(facts, is_photo=False)
        try:
            content = opened.enter_context(contents.opened(path))
        except UnreadablePhotoError as exc:
            if isinstance(exc, files.DiskError):
                self._embedder.try_again(path, exc)
            return replace(facts, is_photo=True, failure=Outcome(path, stamp, error=exc.message))
        self._counters.count("read")
        if not content.stamp.same_bytes(stamp) or content.digest != (facts.digest or content.digest):
            raise files.ChangedWhileReadError("the file changed before it was read")
        return replace(facts, is_photo=True, content=content)

    # Actions that end the examination

    def _finish(self, action: Action, facts: Facts) -> Outcome | None:
        path = facts.item.path
        match action, facts.seen:
            case Action.EMBED | Action.RECORD_FETCHED, File(stamp):
                return self._with_faces(path, stamp, facts)
            case Action.RECORD_CONTENT, File(stamp):
                return Outcome(path, stamp, facts.digest or facts.digest_by_stamp)
            case Action.RECORD_NO_PHOTO, File(stamp):
                return Outcome(path, stamp)
            case Action.RECORD_FAILURE, File(stamp) if facts.failed:
                return replace(facts.failed, path=path, stamp=stamp)
            case Action.WALK_AROUND, _:
                self._walk(self._roots.nearest(path))
            case Action.WALK_ROOT, Absent(around) if around:
                self._walk(around.root)
            case Action.WALK_BELOW, _:
                self._walk(path)
                return Outcome(path, None) if facts.recorded else None
            case Action.FORGET, seen:
                if isinstance(seen, Absent) and facts.recorded:
                    self._digests.forgotten(path, facts.recorded, facts.item.depth)
                return Outcome(path, None)
        return None

    def _with_faces(self, path: bytes, stamp: Stamp, facts: Facts) -> Outcome:
        if facts.fetched:
            self._counters.count("fetched")
            return Outcome.fetched(path, stamp, facts.fetched)
        assert facts.content
        outcome = self._embedder.embed(path, stamp, facts.content)
        if outcome.faces is None or _has_stamp(path, stamp):
            return outcome
        # It was renamed, touched or replaced: the bytes may be found again, and need not be embedded again then.
        return replace(outcome, path=b"", stamp=None)


def _has_stamp(path: bytes, stamp: Stamp) -> bool:
    try:
        return Stamp.of(os.stat(path)).same_bytes(stamp)
    except OSError:
        return False
