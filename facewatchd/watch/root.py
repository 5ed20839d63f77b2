"""One watched root: its watch, what inotify covers of it, and what is known of its reach.

`RootWatch.state`, `RootWatch.problem`, `Coverage.add` and `PollSchedule.note_walked` may be called by any thread. All
else is called by the watcher's thread alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

from facewatchd.system import inotify
from facewatchd.system.mounts import MountTable
from facewatchd.threads.bounded_calls import DiskCalls, NotAnsweringError
from facewatchd.values import RootState
from facewatchd.watch.coverage import Coverage, PollSchedule, not_watched
from facewatchd.watch.event_source import EventSource, Intervals
from facewatchd.watch.heartbeat import Heartbeat
from facewatchd.watch.inotify import Watch
from facewatchd.watch.root_facts import Reach, RootFacts, reach_of

logger = logging.getLogger(__name__)

Touch = Callable[[bytes, bool, bool], None]
"""``touch(path, settle, written)``: see `facewatchd.watch.watcher.Watcher`."""

_LOOK = 5.0
"""Seconds in which a root must answer a look."""
_REMEDY_REST = 20
"""How much longer than setting all watches of a root again is the pause after that."""
_NOWHERE = Reach(RootState.OFFLINE, b"", (0, 0))


class RootWatch:
    """From the first `inspect` to `unwatch`."""

    def __init__(
        self,
        path: bytes,
        source: EventSource,
        *,
        touch: Touch,
        wake: Callable[[], None],
        calls: DiskCalls,
        intervals: Intervals,
        clock: Callable[[], float],
    ) -> None:
        """``path``: the root as configured. ``wake``: called when something happened to the root itself."""
        self.path = path
        self.polling = PollSchedule(intervals.poll)
        self.coverage = Coverage()
        self._facts = RootFacts(path, _NOWHERE)
        self._source = source
        self._touch = touch
        self._wake = wake
        self._calls = calls
        self._retry = intervals.retry
        self._clock = clock
        self._watch: Watch | None = None
        self._retry_at = 0.0
        """When a root without a watch is tried again."""
        self._remedy_at = 0.0
        """When directories without a watch are tried again."""

    @property
    def name(self) -> str:
        """For people."""
        return self._facts.name

    @property
    def is_reached(self) -> bool:
        """Whether the directory is there and can be read."""
        return self._facts.reach.state is RootState.WATCHING

    def state(self) -> RootState:
        """How it is followed just now. Any thread may ask."""
        return self._as_it_answers().state

    def problem(self) -> str:
        """What is wrong, in one line; empty where all is well. Any thread may ask."""
        return self._as_it_answers().problem

    def _as_it_answers(self) -> RootFacts:
        """The facts, with whether the disk answers just now: the watcher's thread itself may wait for it."""
        return replace(self._facts, is_silent=self._calls.late(self.path) is not None)

    def inspect(self, now: float, mounts: MountTable, *, mounts_changed: bool) -> bool:
        """Bring the watch level with the disk; True where all of the root is in doubt, and is to be walked."""
        facts = self._facts
        try:
            reach = self._reach()
        except NotAnsweringError:
            if not facts.is_silent:
                facts.is_silent = True
                logger.warning("%s", facts.problem)
            return False  # its watch is kept: a disk that spins up again has lost nothing
        was_silent, facts.is_silent = facts.is_silent, False
        around = mounts.around(reach.real)
        moved = reach != facts.reach or around != facts.around
        facts.reach, facts.around = reach, around
        if not self.is_reached:
            if self._watch is not None:
                logger.warning("%s", facts.problem)
                self.unwatch()
            return False
        if moved or self._is_adrift(mounts_changed=mounts_changed):
            logger.info("watching %s", self.name)
            facts.unwatched = 0
            self._rewatch(now)
            return True
        if facts.error is not None and now >= self._retry_at:
            self._rewatch(now)
            return facts.is_watched
        return was_silent

    def _reach(self) -> Reach:
        """Look at the root. Raises `NotAnsweringError` where it is on another machine, or not known yet.

        A look by another thread costs wakeups, and few local disks die without an error: this thread waits for those.
        """
        facts = self._facts
        if facts.reach.identity == (0, 0) or any(mount.is_remote for mount in facts.around):
            return self._calls.run(self.path, lambda: reach_of(self.path), _LOOK, vital=True)
        with self._calls.made_here(self.path, _LOOK):
            return reach_of(self.path)

    def _is_adrift(self, *, mounts_changed: bool) -> bool:
        """Whether a root that looks the same has lost its watch: removed and made again, or unmounted and mounted."""
        stream = self._source.stream
        if stream is None or self._watch is None:
            return False
        if not stream.follows(self._watch):
            return True
        facts = self._facts
        return mounts_changed and facts.is_comparable and facts.reach.identity[1] not in self.watched()

    def _rewatch(self, now: float) -> None:
        self.unwatch()
        self._retry_at = now + self._retry
        stream, facts = self._source.stream, self._facts
        if stream is None or facts.is_remote:
            return
        tell = PathTranslator(facts.reach.real, self.path, self._touch, self._source.heartbeat, self._wake)
        try:
            self._watch = stream.watch_tree(facts.reach.real, tell)
        except OSError as exc:
            facts.error = exc
            return
        facts.is_watched = True
        facts.is_comparable = facts.reach.identity[1] in self.watched()

    def unwatch(self) -> None:
        """Remove the watch."""
        watch, self._watch = self._watch, None
        self._facts.is_watched = self._facts.is_comparable = self.coverage.is_doubted = False
        self._facts.error = None
        if self._source.stream is not None and watch is not None:
            self._source.stream.unwatch(watch)

    def lose_watch(self, *, anew: bool = False) -> None:
        """Note that the stream is to be closed, and the watch with it; ``anew``: the next `inspect` sets it again."""
        self._watch, self._facts.is_watched = None, False
        if anew:
            self._facts.reach = self._facts.reach._replace(identity=(0, 0))

    def watched(self) -> dict[int, set[bytes]]:
        """The watched inodes, each with the paths below the root (and b"") under which its events are reported."""
        found: dict[int, set[bytes]] = {}
        stream = self._source.stream
        if stream is not None:
            paths = stream.paths(self._watch) if self._watch is not None else {}
            before, here = len(self._facts.reach.real.rstrip(b"/")), self.path.rstrip(b"/")
            for descriptor, inode in inotify.watched_inodes(stream.descriptor).items():
                path = paths.get(descriptor)
                found.setdefault(inode, {b""}).update([here + path[before:]] if path is not None else [])
        return found

    def is_uncovered(self, now: float) -> bool:
        """Compare the directories that walks have listed with the watches; True where those were set again."""
        facts = self._facts
        if not self.coverage.is_pending or facts.is_silent:
            return False
        if not facts.is_comparable:
            self.coverage.drop()
            return False
        compared = self.coverage.compare(self.watched())
        if compared is None:
            return False
        missing = {inode: path for inode, path in compared.missing.items() if not path or inotify.inode(path) == inode}
        if missing:
            return self._remedied(missing, now)
        facts.unwatched = 0 if compared.whole else facts.unwatched
        return False

    def _remedied(self, missing: Mapping[int, bytes], now: float) -> bool:
        """Set the root's watches again, if that was not just tried; while a directory has none, the root is polled.

        Where it did not help, it is tried again after `Intervals.retry`; else as soon as it takes little of the time.
        """
        facts = self._facts
        if not facts.unwatched:
            logger.warning("%d directories under %s have no watch, or a wrong one", len(missing), self.name)
        facts.unwatched = len(missing)
        if now < self._remedy_at:
            return False
        self._rewatch(now)
        facts.unwatched = len(not_watched(missing, self.watched()))
        done = self._clock()
        pause = self._retry if facts.unwatched else min(_REMEDY_REST * (done - now), self._retry)
        self._remedy_at = done + pause
        stream = self._source.stream
        facts.is_limited = stream is not None and facts.unwatched > 0 and stream.is_full()
        return True


class PathTranslator:
    """Turns events below the real path of a root into touches below the root as configured."""

    def __init__(self, real: bytes, root: bytes, touch: Touch, heartbeat: Heartbeat, wake: Callable[[], None]) -> None:
        self._real = real.rstrip(b"/")  # of "/" nothing is left, which is right for what stands before each path
        self._root = root.rstrip(b"/")
        self._touch = touch
        self._heartbeat = heartbeat
        self._wake = wake

    def __call__(self, path: bytes, settle: bool, written: bool) -> None:
        self._heartbeat.note_event()
        if path == self._real:
            self._wake()  # the root itself was removed, or its permissions were changed
        else:
            self._touch(self._root + path[len(self._real) :], settle, written)
