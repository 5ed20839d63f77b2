"""The work queue of paths to examine: it coalesces events, lets files settle, and hands out the newest first.

A path is *touched* when something may have happened to it, any number of times. It is *ready* when it was not touched
for ``settle`` seconds, or ``cap`` seconds after the first touch. Workers *take* ready paths: live ones before the
backlog, and within each the newest first. A path is *done* when the outcome is committed and searchable. One that is
touched while it is taken is handed out again after that.

Theory of operation. A path *pends* from its first touch until it is done and was not touched meanwhile. Its entry in
`_entries` decides. While the entry is not ready, the heap `_settling` has an item for the path, ordered by the time
when it will be. When it is ready, the heap of live paths or that of the backlog has one, ordered by its place in line.
An item is not removed before its turn: when it is popped, the entry tells whether it is still valid. A path has at most
one valid live item and one valid settling item, so that touches do not accumulate, even while nothing is taken.

A million paths may pend, so no call goes through all of them while it holds the lock. `take` and `add_found` release it
after each `SLICE` paths. A `Barrier` counts paths instead of remembering them: a pending path belongs to the generation
that was current when it began to pend, and each barrier ends a generation. The pending paths are also kept sorted, for
`page`.

Times are those of the monotonic clock that is passed in. The lock is held for bookkeeping only.
"""

from __future__ import annotations

import heapq
import itertools
import math
import threading
import time
from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import NamedTuple

from sortedcontainers import SortedList

SETTLE_CAP = 60.0
"""Seconds after which a file that never settles is read as it is; a change while it is read brings it back."""
SLICE = 1000
"""Paths that are handled without releasing the lock, which takes some milliseconds."""
BREATH = 1e-4
"""Seconds between two slices; without them the same thread would take the lock again before any waiting one."""


class Depth(IntEnum):
    """What is done about a path even if its stamp is the recorded one; each includes the ones before it."""

    STAMP = 0
    """Nothing: it is read if its stamp changed."""
    BYTES = 1
    """Read it: it was written to. Writes within one tick of the file system's clock, and those through a mapping whose
    pages were dirty already, leave the stamp as it was."""
    FACES = 2
    """Embed it again, though its bytes are known."""


class Item(NamedTuple):
    """A path that was taken."""

    path: bytes
    depth: Depth


_DEPTH = 3
"""Bits of `_Entry.flags`: the `Depth`,"""
_LIVE = 4
"""whether it goes ahead of the backlog,"""
_READY = 8
"""whether it can be taken,"""
_IN_LINE = 16
"""and whether an item for the path lies in the heap of live paths."""
_NEVER = math.inf


class _Entry(NamedTuple):
    """A path that waits, in `WorkQueue._entries`; heaps hold the same values as items."""

    key: float
    """When it will be ready; of a ready path its place in line, the lowest first."""
    path: bytes
    touched: float
    """When it was touched last; of the backlog, the mtime."""
    first: float
    """When it was touched first."""
    queued: float
    """The key of its valid item in `_settling`; `_NEVER` where there is none."""
    generation: int
    flags: int


class _Taken(NamedTuple):
    """A path that was taken, in `WorkQueue._taken`."""

    generation: int
    number: int
    """How many were taken before."""
    depth: int


class Barrier:
    """The paths that were pending at one moment; `wait` ends when every one of them has been dealt with."""

    def __init__(self, queue: WorkQueue, generation: int, remaining: int) -> None:
        self._queue = queue
        self._passed = threading.Event()
        self._generation = generation
        self.remaining = remaining

    def wait(self, timeout: float) -> int:
        """Wait at most ``timeout`` seconds; return how many paths are still to be done. To be called once."""
        self._passed.wait(timeout)
        self._queue.forget_barrier(self)
        return self.remaining

    def note_end(self, generation: int) -> None:
        """Note that a path of a generation is done. Called by the queue, which holds its lock."""
        if generation <= self._generation:
            self.remaining -= 1
        if not self.remaining:
            self.let_go()

    def let_go(self) -> None:
        """End the wait."""
        self._passed.set()


class WorkQueue:
    """The queue between the threads that notice changes and the workers. Any thread may call."""

    def __init__(self, settle: float, cap: float = SETTLE_CAP, clock: Callable[[], float] = time.monotonic) -> None:
        self._settle = settle
        self._least_cap = cap
        self._clock = clock
        self._entries: dict[bytes, _Entry] = {}
        self._taken: dict[bytes, _Taken] = {}
        self._waiting_and_taken = 0
        """How many paths are in both."""
        self._sorted: SortedList[bytes] = SortedList()
        """The paths that are in either."""
        self._settling: list[_Entry] = []
        self._live: list[_Entry] = []
        self._backlog: list[_Entry] = []
        self._generation = 0
        self._takes = 0
        self._looked_at_again = 0
        """Taken paths with a lower `_Taken.number` are handed out again when they are done."""
        self._open = True
        self._paused = False
        self._barriers: list[Barrier] = []
        self._condition = threading.Condition(threading.Lock())

    def touch(self, path: bytes, *, settle: bool = True, depth: Depth = Depth.STAMP) -> None:
        """Note that something may have happened to the path. ``settle`` False: it is ready at once (a move, a delete).

        A live path that is ready already keeps its place in line.
        """
        now = self._clock()
        with self._condition:
            before = self._entries.get(path)
            first = before.first if before else now
            due = min(now + self._settle, first + max(self._least_cap, self._settle)) if settle else now
            self._put(path, now, due=due, touched=now, flags=depth | _LIVE)

    def add_found(
        self, files: Iterable[tuple[bytes, float, float]], *, depth: Depth = Depth.STAMP, live: bool = False
    ) -> int:
        """Queue files that a walk found, each with its path, the seconds since its last change, and its mtime.

        A file that changed less than the settle time ago still settles. They go to the backlog, unless ``live``: of a
        directory that just appeared. Returns how many did not wait yet.
        """
        now = self._clock()
        added = 0
        remaining = iter(files)
        while part := list(itertools.islice(remaining, SLICE)):
            with self._condition:
                for path, age, mtime in part:
                    if before := self._entries.get(path):
                        self._entries[path] = _deepened(before, depth)
                        continue
                    added += 1
                    due = now + min(self._settle, max(0.0, self._settle - age))
                    touched, flags = (now, depth | _LIVE) if live else (mtime, int(depth))
                    self._put(path, now, due=due, touched=touched, flags=flags)
            if len(part) == SLICE:
                time.sleep(BREATH)
        return added

    def _put(self, path: bytes, now: float, *, due: float, touched: float, flags: int) -> None:
        """Make a path wait, or change how it waits."""
        before, taken = self._entries.get(path), self._taken.get(path)
        if before is not None:
            flags = _deepest(flags, before.flags) | before.flags & _IN_LINE
            entry = _Entry(due, path, touched, before.first, before.queued, before.generation, flags)
        else:
            generation = taken.generation if taken else self._generation
            if taken is None:
                self._sorted.add(path)
            entry = _Entry(due, path, touched, now, _NEVER, generation, flags)
            self._waiting_and_taken += taken is not None
        if taken:
            self._entries[path] = entry
        else:
            self._line_up(entry, now)

    def _line_up(self, entry: _Entry, now: float) -> None:
        """Store an entry whose key is the time when it will be ready, with a valid item in a heap."""
        if entry.key <= now:
            self._make_ready(entry)
            return
        if entry.key < entry.queued:
            entry = entry._replace(queued=entry.key)
            heapq.heappush(self._settling, entry)
            self._condition.notify()
        self._entries[entry.path] = entry

    def _make_ready(self, entry: _Entry) -> None:
        flags = entry.flags | _READY | (_IN_LINE if entry.flags & _LIVE else 0)
        ready = entry._replace(key=-entry.touched, flags=flags)
        self._entries[entry.path] = ready
        if not entry.flags & _IN_LINE:
            heapq.heappush(self._live if flags & _LIVE else self._backlog, ready)
            self._condition.notify()

    def take(self, limit: int, timeout: float | None = None) -> list[Item]:
        """Wait for ready paths and take up to ``limit`` of them; an empty list after ``timeout`` or at the end."""
        deadline = None if timeout is None else self._clock() + timeout
        while True:
            with self._condition:
                if not self._open:
                    return []
                now = self._clock()
                items, is_sifted = ([], True) if self._paused else self._take_ready(limit, now)
                if items:
                    return items
                if is_sifted and deadline is not None and now >= deadline:
                    return []
                if is_sifted:
                    self._condition.wait(self._until_next(now, deadline))
            if not is_sifted:
                time.sleep(BREATH)

    def _until_next(self, now: float, deadline: float | None) -> float | None:
        """Seconds until something is ready, or the deadline; None where there is neither."""
        moments = [] if deadline is None else [deadline]
        if self._settling and not self._paused:
            moments.append(self._settling[0].key)
        return max(0.0, min(moments) - now) if moments else None

    def _take_ready(self, limit: int, now: float) -> tuple[list[Item], bool]:
        """Take ready paths; the second value is False where `_sift` has not come to its end."""
        items: list[Item] = []
        while (is_sifted := self._sift(now)) and len(items) < limit and (heap := self._live or self._backlog):
            path = heapq.heappop(heap).path
            entry = self._entries.pop(path)
            self._taken[path] = _Taken(entry.generation, self._takes, entry.flags & _DEPTH)
            self._takes += 1
            items.append(Item(path, Depth(entry.flags & _DEPTH)))
        if items and (self._live or self._backlog or self._settling):
            self._condition.notify()  # another thread may wait for less than there is now
        return items, is_sifted

    def _sift(self, now: float) -> bool:
        """Make ready what has settled, and drop invalid items from the heads of the heaps.

        False where a `SLICE` of that was not enough.
        """
        for _ in range(SLICE):
            if self._settling and self._settling[0].key <= now:
                self._settled(heapq.heappop(self._settling), now)
            elif self._live and not self._entries[self._live[0].path].flags & _READY:
                entry = self._entries[heapq.heappop(self._live).path]
                self._entries[entry.path] = entry._replace(flags=entry.flags & ~_IN_LINE)
            elif self._backlog and not self._is_in_backlog(self._backlog[0].path):
                heapq.heappop(self._backlog)
            else:
                return True
        return False

    def _settled(self, item: _Entry, now: float) -> None:
        """Handle an item of `_settling` whose time has come."""
        entry = self._entries.get(item.path)
        if entry is None or entry.queued != item.key:
            return
        entry = entry._replace(queued=_NEVER)
        if entry.flags & _READY:
            self._entries[entry.path] = entry
        else:
            self._line_up(entry, now)

    def _is_in_backlog(self, path: bytes) -> bool:
        entry = self._entries.get(path)
        return entry is not None and entry.flags & (_READY | _LIVE) == _READY

    def done(self, path: bytes) -> None:
        """Note that the outcome of a taken path is committed and searchable."""
        now = self._clock()
        with self._condition:
            taken = self._taken.get(path)
            if taken is None:
                return
            if taken.number < self._looked_at_again and path not in self._entries:
                self._put(path, now, due=now, touched=now, flags=Depth.STAMP | _LIVE)
            if not self._let_go(path, now):
                for barrier in self._barriers:
                    barrier.note_end(taken.generation)
                self._barriers = [barrier for barrier in self._barriers if barrier.remaining]

    def put_back(self, item: Item, delay: float = 0.0) -> None:
        """Hand a taken path out again after ``delay`` seconds: it could not be examined yet."""
        now = self._clock()
        with self._condition:
            if before := self._entries.get(item.path):
                self._entries[item.path] = _deepened(before, item.depth)
            else:
                self._put(item.path, now, due=now + delay, touched=now, flags=item.depth | _LIVE)
            self._let_go(item.path, now)

    def _let_go(self, path: bytes, now: float) -> bool:
        """Note that a path is not taken any more; return whether it waits."""
        was_taken = self._taken.pop(path, None) is not None
        entry = self._entries.get(path)
        if entry is not None and was_taken:
            self._waiting_and_taken -= 1
            self._line_up(entry, now)
        elif was_taken:
            self._sorted.remove(path)
        return entry is not None

    def look_again(self) -> None:
        """Hand out once more, when it is done, what is taken now: it may have been examined before its last change."""
        with self._condition:
            self._looked_at_again = self._takes

    def barrier(self) -> Barrier:
        """Return a barrier for all paths that are waiting or taken now."""
        with self._condition:
            barrier = Barrier(self, self._generation, self._count())
            self._generation += 1
            if barrier.remaining and self._open:
                self._barriers.append(barrier)
            else:
                barrier.let_go()
            return barrier

    def forget_barrier(self, barrier: Barrier) -> None:
        """Drop a barrier."""
        with self._condition:
            if barrier in self._barriers:
                self._barriers.remove(barrier)

    def settle_for(self, seconds: float) -> None:
        """Set the settle time."""
        with self._condition:
            self._settle = seconds

    @property
    def closed(self) -> bool:
        return not self._open

    def __contains__(self, path: bytes) -> bool:
        with self._condition:
            return path in self._entries or path in self._taken

    def is_to_be_read(self, path: bytes) -> bool:
        """Whether a path waits or is taken at a depth above `Depth.STAMP`."""
        with self._condition:
            entry, taken = self._entries.get(path), self._taken.get(path)
            return bool((entry and entry.flags & _DEPTH) or (taken and taken.depth))

    def __len__(self) -> int:
        """How many paths are waiting or taken."""
        with self._condition:
            return self._count()

    def _count(self) -> int:
        return len(self._entries) + len(self._taken) - self._waiting_and_taken

    def page(self, after: bytes, limit: int) -> list[bytes]:
        """The first ``limit`` of the sorted paths that wait or are taken and come after a path."""
        with self._condition:
            return list(itertools.islice(self._sorted.irange(after, inclusive=(False, True)), limit))

    @property
    def paused(self) -> bool:
        return self._paused

    def pause(self) -> None:
        """Hand out nothing until `resume`; touches are kept."""
        with self._condition:
            self._paused = True
            self._condition.notify_all()

    def resume(self) -> None:
        with self._condition:
            self._paused = False
            self._condition.notify_all()

    def close(self) -> None:
        """End every `take`, now and later, with an empty list, and every wait for a barrier."""
        with self._condition:
            self._open = False
            self._condition.notify_all()
            for barrier in self._barriers:
                barrier.let_go()


def _deepest(flags: int, others: int) -> int:
    """``flags`` with the greater depth of the two."""
    return flags & ~_DEPTH | max(flags & _DEPTH, others & _DEPTH)


def _deepened(entry: _Entry, depth: Depth) -> _Entry:
    return entry._replace(flags=_deepest(entry.flags, depth)) if depth > entry.flags & _DEPTH else entry
