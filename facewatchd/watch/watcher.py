"""File system events become ``touch(path, settle, written)``, and the watches themselves are kept in health.

Events are hints: nothing is decided here about a file, and a needless touch costs one stamp. Whatever may have
been missed is answered with ``rescan(root)``, which holds the whole root against the disk.

Theory of operation. All roots share one `EventStream`. Once `Watcher.start` has returned, the thread ``watcher-health``
alone sets and removes watches and alone calls ``rescan``. It wakes every ``tick`` seconds, or when something ended, and
sees

- a root that went, came back, is another directory now, or has something else mounted on or in it: watched anew;
- an overflow of the kernel's queue: every root is rescanned;
- threads that died, or a heartbeat that was not heard: the stream is torn down and built again;
- directories that a walk has listed and inotify does not watch (it is silent about its limit), or of which watchdog
  tells under another path: watched anew, and the root is polled where that does not help;
- file systems on which other machines write, and roots that cannot be watched: polled;
- a root whose disk does not answer a look: offline until that returns.

No lock of ours is held while ``touch`` or ``rescan`` runs. What two threads write is a flag or a reference; what a walk
has seen is handed over under the lock.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path

from facewatchd.system import mounts
from facewatchd.threads.bounded_calls import DiskCalls, NotAnsweringError
from facewatchd.values import RootState
from facewatchd.watch.inotify import EventStream, Heartbeat, WatchdogLog
from facewatchd.watch.root import Intervals, PathTranslator, Touch, WatchedRoot, not_told

logger = logging.getLogger(__name__)

_JOIN = 10.0
_LOOK = 5.0
"""Seconds in which a root must answer a look."""
_LATE = 3.0
"""Seconds by which a look may come late, before that is taken for a stop of the process (SIGSTOP)."""
_SILENT = 2
"""Heartbeats missed in a row after which the roots are polled as well."""
_INTERVALS = Intervals()
_LONGEST_POLL = 900.0
_MEND_REST = 20
"""How much longer than setting all watches of a root again is the pause after that."""


class Watcher:
    """Watches the roots from `start` to `stop`."""

    def __init__(
        self,
        roots: Sequence[bytes],
        touch: Touch,
        rescan: Callable[[bytes], None],
        heartbeat: Path,
        *,
        rescan_every: float,
        beat: Callable[[], None] = lambda: None,
        calls: DiskCalls | None = None,
        clock: Callable[[], float] = time.monotonic,
        tick: float = 2.0,
        intervals: Intervals = _INTERVALS,
    ) -> None:
        """Prepare; nothing is opened yet.

        ``touch(path, settle, written)``: something happened to this file or directory, named below the root as
        configured; ``settle`` is False for directories and for what is at rest: moved or deleted; ``written``: it was
        closed after it was open for writing. ``rescan(root)``: hold it all against the disk. Both are called from
        threads of the watcher and must not block. ``heartbeat`` is a file to be made, in a directory that exists.
        ``beat`` is called at each look at the watches. ``calls``: shared with what looks at the same disks. Times are
        seconds of ``clock``.
        """
        self.overflows = 0
        self.rebuilds = 0
        self._touch = touch
        self._rescan = rescan
        self._beat = beat
        self._calls = calls or DiskCalls()
        self.rescan_every = rescan_every
        self._clock = clock
        self._tick = tick
        self._intervals = intervals
        self._roots = {path: self._unknown(path) for path in roots}
        """Another dict, never changed in place: others look at it as well."""
        self._wanted: tuple[Sequence[bytes], threading.Event] | None = None
        self._mounts = mounts.Mounts()
        self._heartbeat = Heartbeat(heartbeat, intervals.heartbeat, intervals.deadline, clock)
        self._stream: EventStream | None = None
        self._stream_error: OSError | None = None
        self._stream_retry_at = self._rescanned_at = 0.0
        self._lost = False
        self._watchdog_log = WatchdogLog()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher-health", daemon=True)

    def start(self) -> None:
        """Set the watches, then start the thread. A root that cannot be watched is no error: see `states`."""
        self._watchdog_log.install()
        now = self._clock()
        self._rescanned_at = now
        self._mounts.refresh()
        self._build(now)
        for root in self._roots.values():
            self._begin(root, now)
        self._thread.start()

    def follow(self, roots: Sequence[bytes], patience: float = _JOIN) -> None:
        """Watch these roots from now on, and no others. Their watches are set on return, if that is soon done."""
        done = threading.Event()
        with self._lock:
            self._wanted = (roots, done)
        self._wake.set()
        done.wait(patience)

    def stop(self) -> None:
        """Stop and join every thread; once is enough, twice does no harm."""
        self._stopping.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(_JOIN)
            if self._thread.is_alive():
                logger.error("the health thread does not end; a watched file system does not answer")
        self._tear_down()
        self._watchdog_log.remove()
        self._mounts.close()

    def states(self) -> dict[bytes, RootState]:
        """Say how each root is followed just now."""
        deaf = self._heartbeat.missed >= _SILENT
        states = {path: self._as_it_answers(root).state for path, root in self._roots.items()}
        return {
            path: RootState.POLLING if deaf and state is RootState.WATCHING else state for path, state in states.items()
        }

    def problems(self) -> list[str]:
        """Word what is not as it should be, one line each."""
        lines = []
        if self._stream_error is not None:
            advice = mounts.inotify_advice("max_user_instances")
            lines.append(f"no inotify instance ({self._stream_error.strerror}): every directory is polled; {advice}")
        if self._heartbeat.missed >= _SILENT:
            lines.append("file system events do not arrive: every directory is polled")
        return lines + [problem for root in self._roots.values() if (problem := self._as_it_answers(root).problem)]

    def _as_it_answers(self, root: WatchedRoot) -> WatchedRoot:
        """The root, with what is known now of whether it answers: the health thread itself may wait for it."""
        return replace(root, is_silent=self._calls.late(root.path) is not None)

    def directories_seen(self, root: bytes, inodes: Set[int] | Mapping[int, bytes], *, whole: bool = True) -> None:
        """Take what a walk of the root listed: ``st_ino`` of every directory, those it began at included.

        With their paths, a directory that has gone since the walk is not taken for one that has no watch. Not
        ``whole``: the walk was of a part, such as a directory that was touched; that is worth telling because watchdog
        misses directories that are moved while it looks at them.
        """
        known = self._roots.get(root)
        if known is None:  # not watched any more
            return
        now = self._clock()
        seen = dict(inodes) if isinstance(inodes, Mapping) else dict.fromkeys(inodes, b"")
        with self._lock:
            known.seen = seen if whole else {**(known.seen or {}), **seen}
            known.seen_whole = known.seen_whole or whole
            if not whole:
                return
            if known.asked_at is not None:
                known.poll_pause = max(self._intervals.poll, min(10 * (now - known.asked_at), _LONGEST_POLL))
            known.poll_at, known.asked_at = now + known.poll_pause, None

    def looks(self) -> bool:
        """Whether the health thread runs: it mends what else ended."""
        return self._thread.is_alive()

    def alive(self) -> bool:
        """Whether the health thread runs, and the events' threads do or there can be none."""
        stream = self._stream
        return self._thread.is_alive() and (stream is None or stream.is_alive())

    def _run(self) -> None:
        while not self._stopping.is_set():
            began = time.monotonic()
            self._wake.wait(self._tick)
            if time.monotonic() - began > self._tick + _LATE:
                self._heartbeat.reset(self._clock())  # the process was stopped, so that silence says nothing
            self._wake.clear()
            if self._stopping.is_set():
                break
            self._beat()
            try:
                self._look(self._clock())
            except Exception:
                logger.exception("a look at the watches failed")

    def _change_roots(self, now: float) -> None:
        with self._lock:
            wanted, self._wanted = self._wanted, None
        if wanted is None:
            return
        paths, done = wanted
        before = self._roots
        self._roots = {path: before.get(path) or self._unknown(path) for path in paths}
        for path in before.keys() - self._roots.keys():
            logger.info("not watching %s any more", before[path].name)
            self._unwatch(before[path])
        for path in self._roots.keys() - before.keys():
            self._begin(self._roots[path], now)
        done.set()

    def _unknown(self, path: bytes) -> WatchedRoot:
        return WatchedRoot(path, mounts.Reach(RootState.OFFLINE, b"", (0, 0)), poll_pause=self._intervals.poll)

    def _begin(self, root: WatchedRoot, now: float) -> None:
        self._inspect(root, now, mounts_changed=False)
        root.poll_at = now + root.poll_pause

    def _look(self, now: float) -> None:
        self._change_roots(now)
        doubt_all = self._took_loss() or self._restored(now) or now >= self._rescanned_at + self.rescan_every
        mounts_changed = self._mounts.refresh()
        states = self.states()
        due = []
        for root in self._roots.values():
            changed = self._inspect(root, now, mounts_changed=mounts_changed)
            uncovered = self._is_uncovered(root, now)
            polled = states[root.path] is RootState.POLLING and now >= root.poll_at
            if (changed or uncovered or polled or doubt_all) and root.reach.state is RootState.WATCHING:
                due.append(root)
        if doubt_all:
            self._rescanned_at = now
        for root in due:
            self._ask(root, now)

    def _ask(self, root: WatchedRoot, now: float) -> None:
        with self._lock:
            root.poll_at = now + root.poll_pause
            root.asked_at = now if root.asked_at is None else root.asked_at
        try:
            self._rescan(root.path)
        except Exception:
            logger.exception("a rescan of %s could not be asked for", root.name)

    def _took_loss(self) -> bool:
        if not self._lost:
            return False
        self._lost = False
        self.overflows += 1
        self._heartbeat.reset(self._clock())  # the heartbeat may be among what was lost
        logger.warning("the queue of file system events overflowed: looking through every directory")
        return True

    def _restored(self, now: float) -> bool:
        """Build the stream anew if it is dead, deaf or could not be had so far; True where that was tried."""
        if self._stream is None:
            if now < self._stream_retry_at:
                return False
        elif not self._stream.is_alive() or (self._heartbeat.watch and not self._stream.follows(self._heartbeat.watch)):
            logger.warning("file system events stopped: watching every directory anew")
        elif self._heartbeat.is_missing(now):
            logger.warning("no file system event came in %g s: watching every directory anew", self._intervals.deadline)
        else:
            self._heartbeat.beat(now)
            return False
        self._tear_down()
        self._build(now)
        self.rebuilds += self._stream is not None
        for root in self._roots.values():
            root.reach = root.reach._replace(identity=(0, 0))
        return True

    def _build(self, now: float) -> None:
        self._stream_retry_at = now + self._intervals.retry
        try:
            self._stream = EventStream(self._note_loss, self._wake.set)
        except OSError as exc:
            self._stream_error = exc
            return
        self._stream_error = None
        self._heartbeat.listen(self._stream, now)

    def _tear_down(self) -> None:
        stream, self._stream = self._stream, None
        self._heartbeat.watch = None
        for root in self._roots.values():
            root.watch, root.is_watched = None, False
        if stream is not None:
            stream.close()

    def _note_loss(self) -> None:
        self._lost = True

    def _inspect(self, root: WatchedRoot, now: float, *, mounts_changed: bool) -> bool:
        """Bring a root's watch level with the disk; True where all of it is in doubt."""
        try:
            reach = self._reach(root)
        except NotAnsweringError:
            self._note_silence(root)
            return False
        was_silent, root.is_silent = root.is_silent, False
        around = self._mounts.around(reach.real)
        moved = reach != root.reach or around != root.around
        root.reach, root.around = reach, around
        if reach.state is not RootState.WATCHING:
            if root.watch is not None:
                logger.warning("%s", root.problem)
                self._unwatch(root)
            return False
        if moved or self._is_adrift(root, mounts_changed=mounts_changed):
            logger.info("watching %s", root.name)
            root.unwatched = 0
            self._rewatch(root, now)
            return True
        if root.error is not None and now >= root.retry_at:
            self._rewatch(root, now)
            return root.is_watched
        return was_silent

    def _reach(self, root: WatchedRoot) -> mounts.Reach:
        """Look at a root. Raises `NotAnsweringError` where it is on another machine, or not known yet.

        A look by another thread costs wakeups, and few local disks die without an error: this thread waits for those.
        """
        if root.reach.identity == (0, 0) or any(mount.is_remote for mount in root.around):
            return self._calls.run(root.path, lambda: mounts.reach(root.path), _LOOK, vital=True)
        with self._calls.made_here(root.path, _LOOK):
            return mounts.reach(root.path)

    def _note_silence(self, root: WatchedRoot) -> None:
        """Note that a root is not answering. Its watch is kept: a disk that spins up again has lost nothing."""
        if not root.is_silent:
            root.is_silent = True
            logger.warning("%s", root.problem)

    def _is_adrift(self, root: WatchedRoot, *, mounts_changed: bool) -> bool:
        """Whether a root that looks the same has lost its watch: removed and made again, or unmounted and mounted."""
        if self._stream is None or root.watch is None:
            return False
        if not self._stream.follows(root.watch):
            return True
        return mounts_changed and root.is_comparable and root.reach.identity[1] not in self._told_of(root)

    def _rewatch(self, root: WatchedRoot, now: float) -> None:
        self._unwatch(root)
        root.retry_at = now + self._intervals.retry
        if self._stream is None or root.is_remote:
            return
        tell = PathTranslator(root.reach.real, root.path, self._touch, self._heartbeat, self._wake)
        try:
            root.watch = self._stream.watch_tree(root.reach.real, tell)
        except OSError as exc:
            root.error = exc
            return
        root.is_watched = True
        root.is_comparable = root.reach.identity[1] in self._told_of(root)

    def _told_of(self, root: WatchedRoot) -> dict[int, set[bytes]]:
        """The watched inodes, each with the paths below the root (and b"") under which its events are told."""
        told: dict[int, set[bytes]] = {}
        if self._stream is not None:
            paths = self._stream.paths(root.watch) if root.watch is not None else {}
            before, here = len(root.reach.real.rstrip(b"/")), root.path.rstrip(b"/")
            for watch, inode in mounts.watched_inodes(self._stream.descriptor).items():
                path = paths.get(watch)
                told.setdefault(inode, {b""}).update([here + path[before:]] if path is not None else [])
        return told

    def _unwatch(self, root: WatchedRoot) -> None:
        watch, root.watch = root.watch, None
        root.is_watched = root.is_comparable = root.doubted = False
        root.error = None
        if self._stream is not None and watch is not None:
            self._stream.unwatch(watch)

    def _is_uncovered(self, root: WatchedRoot, now: float) -> bool:
        """Hold the directories that walks have listed against the watches; True where they were set again.

        What is missing once may be newer than its watch, so it is looked at again a tick later.
        """
        if root.seen is None or root.is_silent:
            return False
        told = self._told_of(root)
        with self._lock:
            missing = not_told(root.seen, told)
            whole = root.seen_whole
            again = bool(missing) and not root.doubted and root.is_comparable
            root.seen, root.seen_whole = (missing, whole) if again else (None, False)
        root.doubted = again
        if again or not root.is_comparable:
            return False
        missing = {inode: path for inode, path in missing.items() if not path or mounts.inode(path) == inode}
        if not missing:
            root.unwatched = 0 if whole else root.unwatched
            return False
        return self._mended(root, missing, now)

    def _mended(self, root: WatchedRoot, missing: Mapping[int, bytes], now: float) -> bool:
        """Set a root's watches again, if that was not just tried; what still has none is polled.

        Where it did not help, it is tried again after `Intervals.retry`; else as soon as it takes little of the time.
        """
        if not root.unwatched:
            logger.warning("%d directories under %s have no watch, or a wrong one", len(missing), root.name)
        root.unwatched = len(missing)
        if now < root.mend_at:
            return False
        self._rewatch(root, now)
        root.unwatched = len(not_told(missing, self._told_of(root)))
        done = self._clock()
        pause = self._intervals.retry if root.unwatched else min(_MEND_REST * (done - now), self._intervals.retry)
        root.mend_at = done + pause
        root.is_limited = self._stream is not None and root.unwatched > 0 and self._stream.is_full()
        return True
