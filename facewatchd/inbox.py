"""Which paths are to be looked at next: a queue that coalesces, lets files settle, and puts the newest first.

A path is *touched* by whoever thinks that something happened to it; how often does not matter. It becomes *ready*
once nobody touched it for ``settle`` seconds, or after ``cap`` seconds for a file that never rests. Ready paths are
*taken* by the indexer, live ones ahead of the backlog and the newest first within each, and are *done* when the
gallery tells the truth about them. A path that is touched while it is taken is handed out again after that.

Time is the monotonic clock that is passed in. The condition is held for bookkeeping only.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

SETTLE_CAP = 60.0
"""Seconds after which a file that never rests is read as it is; a change while it is read brings it back."""


class Depth(IntEnum):
    """How deep a path is to be looked into; each contains the ones before it."""

    STAMP = 0
    """Read it if its stamp changed."""
    BYTES = 1
    """Read it: somebody wrote to it. Writes within one tick of the file system's clock, and those through a mapping
    whose pages were dirty already, leave the stamp as it was."""
    FACES = 2
    """Embed it again, though its bytes are known."""


class Item(NamedTuple):
    """A path that was taken."""

    path: bytes
    depth: Depth


@dataclass(slots=True)
class _Entry:
    first: float
    due: float
    rank: tuple[int, float]
    depth: Depth
    turn: int


class Barrier:
    """The paths that were waiting at one moment; `wait` ends when every one of them has been dealt with."""

    def __init__(self, inbox: Inbox, condition: threading.Condition, paths: set[bytes]) -> None:
        self._inbox = inbox
        self._condition = condition
        self.remaining = paths

    def wait(self, timeout: float) -> int:
        """Wait, once, at most ``timeout`` seconds; return how many paths are still to be done."""
        with self._condition:
            self._condition.wait_for(lambda: not self.remaining or self._inbox.closed, timeout)
            self._inbox.forget_barrier(self)
            return len(self.remaining)


class Inbox:
    """The queue between those who notice and the one who looks."""

    def __init__(self, settle: float, cap: float = SETTLE_CAP, clock: Callable[[], float] = time.monotonic) -> None:
        self._settle = settle
        self._least_cap = cap
        self._clock = clock
        self._entries: dict[bytes, _Entry] = {}
        self._taken: set[bytes] = set()
        self._settling: list[tuple[float, int, bytes]] = []
        self._ready: list[tuple[tuple[int, float], int, bytes]] = []
        self._turn = 0
        self._open = True
        self._paused = False
        self._barriers: list[Barrier] = []
        self._condition = threading.Condition(threading.RLock())

    def touch(self, path: bytes, *, settle: bool = True, depth: Depth = Depth.STAMP) -> None:
        """Something happened to the path just now. ``settle`` False: it is at rest already (a move, a delete)."""
        now = self._clock()
        with self._condition:
            entry = self._entries.get(path)
            first = entry.first if entry else now
            due = min(now + self._settle, first + max(self._least_cap, self._settle)) if settle else now
            self._put(path, _Entry(first, due, (0, -now), max(depth, entry.depth if entry else depth), 0))

    def add_found(
        self, files: Iterable[tuple[bytes, float, float]], *, depth: Depth = Depth.STAMP, live: bool = False
    ) -> int:
        """Queue files that a walk found: path, age of the last change in seconds, mtime (the newest go first).

        A file that changed less than the settle time ago still settles. They are the backlog, unless ``live``: a
        directory that just appeared. Returns how many were not queued yet.
        """
        now = self._clock()
        added = 0
        with self._condition:
            for path, age, mtime in files:
                entry = self._entries.get(path)
                if entry and entry.depth >= depth:
                    continue
                added += entry is None
                due = now + min(self._settle, max(0.0, self._settle - age))
                rank = (0, -now) if live else (1, -mtime)
                self._put(path, entry or _Entry(now, due, rank, depth, 0), depth=depth)
        return added

    def _put(self, path: bytes, entry: _Entry, *, depth: Depth = Depth.STAMP) -> None:
        self._turn += 1
        entry.turn = self._turn
        entry.depth = max(entry.depth, depth)
        self._entries[path] = entry
        if path not in self._taken:
            self._line_up(path, entry)
        self._condition.notify_all()

    def _line_up(self, path: bytes, entry: _Entry) -> None:
        heapq.heappush(self._settling, (entry.due, entry.turn, path))

    def take(self, limit: int, timeout: float | None = None) -> list[Item]:
        """Wait for ready paths and take up to ``limit`` of them; an empty list after ``timeout`` or at the end."""
        deadline = None if timeout is None else self._clock() + timeout
        with self._condition:
            while self._open:
                now = self._clock()
                if not self._paused and (items := self._take_ready(limit, now)):
                    return items
                wakeups = [deadline] if deadline is not None else []
                if self._settling and not self._paused:
                    wakeups.append(self._settling[0][0])
                if deadline is not None and now >= deadline:
                    return []
                self._condition.wait(max(0.0, min(wakeups) - now) if wakeups else None)
        return []

    def _take_ready(self, limit: int, now: float) -> list[Item]:
        while self._settling and self._settling[0][0] <= now:
            _, turn, path = heapq.heappop(self._settling)
            entry = self._entries.get(path)
            if entry and entry.turn == turn and path not in self._taken:
                heapq.heappush(self._ready, (entry.rank, turn, path))
        items: list[Item] = []
        while self._ready and len(items) < limit:
            _, turn, path = heapq.heappop(self._ready)
            entry = self._entries.get(path)
            if entry and entry.turn == turn and path not in self._taken:
                del self._entries[path]
                self._taken.add(path)
                items.append(Item(path, entry.depth))
        return items

    def done(self, path: bytes) -> None:
        """The gallery tells the truth about a path that was taken."""
        with self._condition:
            self._taken.discard(path)
            if entry := self._entries.get(path):
                self._line_up(path, entry)
            else:
                for barrier in self._barriers:
                    barrier.remaining.discard(path)
                self._barriers = [barrier for barrier in self._barriers if barrier.remaining]
            self._condition.notify_all()

    def put_back(self, item: Item, delay: float = 0.0) -> None:
        """Hand a taken path out again after ``delay`` seconds: it could not be dealt with yet."""
        now = self._clock()
        with self._condition:
            if item.path in self._entries:
                entry = self._entries[item.path]
                entry.depth = max(entry.depth, item.depth)
            else:
                self._put(item.path, _Entry(now, now + delay, (0, -now), item.depth, 0))
            self._taken.discard(item.path)
            self._line_up(item.path, self._entries[item.path])
            self._condition.notify_all()

    def look_again(self) -> None:
        """Hand out again, afterwards, what is taken now: it may have been looked at before it became what it is."""
        now = self._clock()
        with self._condition:
            for path in self._taken - self._entries.keys():
                self._put(path, _Entry(now, now, (0, -now), Depth.STAMP, 0))

    def barrier(self) -> Barrier:
        """Everything that is waiting or taken now."""
        with self._condition:
            barrier = Barrier(self, self._condition, self._taken | self._entries.keys())
            if barrier.remaining:
                self._barriers.append(barrier)
            return barrier

    def forget_barrier(self, barrier: Barrier) -> None:
        """Nobody waits for it any more."""
        with self._condition:
            if barrier in self._barriers:
                self._barriers.remove(barrier)

    def settle_for(self, seconds: float) -> None:
        """From now on a path must rest so long."""
        with self._condition:
            self._settle = seconds

    @property
    def closed(self) -> bool:
        return not self._open

    def __contains__(self, path: bytes) -> bool:
        with self._condition:
            return path in self._entries or path in self._taken

    def __len__(self) -> int:
        """How many paths are waiting or taken."""
        with self._condition:
            return len(self._entries) + sum(path not in self._entries for path in self._taken)

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
        """End every `take`, now and later, with an empty list."""
        with self._condition:
            self._open = False
            self._condition.notify_all()
