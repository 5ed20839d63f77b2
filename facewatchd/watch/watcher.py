"""File system events become ``touch(path, settle, written)``, and the watches are kept in order.

Events are hints: nothing is decided here about a file, and a needless touch costs one stamp. Whatever may have been
missed is answered with ``rescan(root)``, which compares the whole root with the catalog.

Theory of operation. All roots share one event stream (`EventSource`). Once `Watcher.start` has returned, the thread
``watcher-health`` alone sets and removes watches, and alone calls ``rescan``. It wakes every ``tick`` seconds, or when
something ended, and does this about what it sees:

- A root that went, came back, is another directory now, or has something else mounted on or in it is watched anew.
- After an overflow of the kernel's queue every root is rescanned.
- When a thread of the stream died or a heartbeat was not heard, the stream is replaced, and every root rescanned.
- When a walk has listed directories that inotify does not watch (it is silent about its limit), or that watchdog
  reports under another path, the root is watched anew. Where that does not help, it is polled.
- Roots on file systems on which other machines write, and roots that cannot be watched, are polled.
- A root whose disk does not answer a look is offline until that look returns.

No lock of ours is held while ``touch`` or ``rescan`` runs. Other threads write flags and references alone, or hand over
what they have through `Coverage`, `PollSchedule` and a queue, which have locks of their own.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from queue import Empty, SimpleQueue

from facewatchd.system.mounts import Mounts, MountTable
from facewatchd.threads.bounded_calls import DiskCalls
from facewatchd.values import RootState
from facewatchd.watch.event_source import EventSource, Intervals
from facewatchd.watch.root import RootWatch, Touch

logger = logging.getLogger(__name__)

_JOIN = 10.0
_LATE = 3.0
"""Seconds by which a look may come late, before that is taken for a stop of the process (SIGSTOP)."""
_INTERVALS = Intervals()


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
        mounts: Mounts,
        beat: Callable[[], None] = lambda: None,
        calls: DiskCalls | None = None,
        clock: Callable[[], float] = time.monotonic,
        tick: float = 2.0,
        intervals: Intervals = _INTERVALS,
    ) -> None:
        """Prepare; nothing is opened yet.

        ``touch(path, settle, written)``: something happened to this file or directory, named below the root as
        configured; ``settle`` is False for directories and for what is at rest: moved or deleted; ``written``: it was
        closed after it was open for writing. ``rescan(root)``: compare all of it with the catalog. Both are called from
        threads of the watcher and must not block. ``heartbeat`` is a file to be made, in a directory that exists.
        ``beat`` is called at each look at the watches. ``calls``: shared with threads that look at the same disks.
        ``mounts``: the mount table. Times are seconds of ``clock``.
        """
        self.rescan_every = rescan_every
        self._rescan = rescan
        self._beat = beat
        self._clock = clock
        self._tick = tick
        self._wake = threading.Event()
        self._mounts = mounts
        self._mounts_seen = 0
        """`MountTable.changes` at the last look."""
        self._source = EventSource(heartbeat, intervals, clock, self._wake.set)
        self._new_root = functools.partial(
            RootWatch,
            source=self._source,
            touch=touch,
            wake=self._wake.set,
            calls=calls or DiskCalls(),
            intervals=intervals,
            clock=clock,
        )
        self._roots = {path: self._new_root(path) for path in roots}
        """Replaced and never changed in place, as other threads read it."""
        self._wanted: SimpleQueue[tuple[Sequence[bytes], threading.Event]] = SimpleQueue()
        """Calls of `follow` that are to be carried out."""
        self._rescanned_at = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher-health", daemon=True)

    @property
    def overflows(self) -> int:
        """`EventSource.overflows`."""
        return self._source.overflows

    @property
    def rebuilds(self) -> int:
        """`EventSource.rebuilds`."""
        return self._source.rebuilds

    def start(self) -> None:
        """Set the watches, then start the thread. A root that cannot be watched is no error: see `states`."""
        now = self._clock()
        self._rescanned_at = now
        self._source.open(now)
        table = self._mounts.now()
        self._mounts_seen = table.changes
        for root in self._roots.values():
            _begin(root, now, table)
        self._thread.start()

    def follow(self, roots: Sequence[bytes], patience: float = _JOIN) -> None:
        """Watch these roots from now on, and no others. Their watches are set on return, if that is soon done."""
        done = threading.Event()
        self._wanted.put((roots, done))
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
        self._lose_watches()
        self._source.close()

    def states(self) -> dict[bytes, RootState]:
        """How each root is followed just now."""
        deaf = self._source.heartbeat.is_deaf
        states = {path: root.state() for path, root in self._roots.items()}
        return {
            path: RootState.POLLING if deaf and state is RootState.WATCHING else state for path, state in states.items()
        }

    def problems(self) -> list[str]:
        """What is not as it should be, one line each."""
        return self._source.problems() + [problem for root in self._roots.values() if (problem := root.problem())]

    def directories_seen(self, root: bytes, inodes: Set[int] | Mapping[int, bytes], *, whole: bool = True) -> None:
        """Take what a walk of the root listed: ``st_ino`` of every directory, those it began at included.

        With their paths, a directory that has gone since the walk is not taken for one that has no watch. Not
        ``whole``: the walk was of a part, such as a directory that was touched; that is worth telling because watchdog
        misses directories that are moved while it looks at them.
        """
        known = self._roots.get(root)
        if known is None:  # not watched any more
            return
        known.coverage.add(inodes if isinstance(inodes, Mapping) else dict.fromkeys(inodes, b""), whole=whole)
        if whole:
            known.polling.note_walked(self._clock())

    def looks(self) -> bool:
        """Whether the health thread runs: it mends what else ended."""
        return self._thread.is_alive()

    def alive(self) -> bool:
        """Whether the health thread runs, and the events' threads do or there can be none."""
        return self._thread.is_alive() and self._source.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set():
            began = time.monotonic()
            self._wake.wait(self._tick)
            if time.monotonic() - began > self._tick + _LATE:  # the process was stopped, so that silence says nothing
                self._source.heartbeat.reset(self._clock())
            self._wake.clear()
            if self._stopping.is_set():
                break
            self._beat()
            try:
                self._look(self._clock())
            except Exception:
                logger.exception("a look at the watches failed")

    def _look(self, now: float) -> None:
        table = self._mounts.now()
        self._change_roots(now, table)
        doubt_all = self._took_loss(now) or self._restored(now) or now >= self._rescanned_at + self.rescan_every
        mounts_changed, self._mounts_seen = table.changes != self._mounts_seen, table.changes
        states = self.states()
        due = []
        for root in self._roots.values():
            changed = root.inspect(now, table, mounts_changed=mounts_changed)
            uncovered = root.is_uncovered(now)
            polled = states[root.path] is RootState.POLLING and root.polling.is_due(now)
            if (changed or uncovered or polled or doubt_all) and root.is_reached:
                due.append(root)
        if doubt_all:
            self._rescanned_at = now
        for root in due:
            self._ask(root, now)

    def _change_roots(self, now: float, mounts: MountTable) -> None:
        """Carry out what `follow` asked for; of several calls each in turn."""
        while True:
            try:
                paths, done = self._wanted.get_nowait()
            except Empty:
                return
            before = self._roots
            self._roots = {path: before.get(path) or self._new_root(path) for path in paths}
            for path in before.keys() - self._roots.keys():
                logger.info("not watching %s any more", before[path].name)
                before[path].unwatch()
            for path in self._roots.keys() - before.keys():
                _begin(self._roots[path], now, mounts)
            done.set()

    def _took_loss(self, now: float) -> bool:
        lost = self._source.take_loss(now)
        if lost:
            logger.warning("the queue of file system events overflowed: looking through every directory")
        return lost

    def _restored(self, now: float) -> bool:
        """Replace the event stream if it is dead, deaf or could not be had so far; True where that was tried."""
        if not self._source.is_broken(now):
            return False
        self._lose_watches(anew=True)
        self._source.rebuild(now)
        return True

    def _lose_watches(self, *, anew: bool = False) -> None:
        for root in self._roots.values():
            root.lose_watch(anew=anew)

    def _ask(self, root: RootWatch, now: float) -> None:
        root.polling.note_asked(now)
        try:
            self._rescan(root.path)
        except Exception:
            logger.exception("a rescan of %s could not be asked for", root.name)


def _begin(root: RootWatch, now: float, mounts: MountTable) -> None:
    root.inspect(now, mounts, mounts_changed=False)
    root.polling.begin(now)
