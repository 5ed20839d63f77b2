"""Whether inotify watches every directory that walks have listed, and when a root that it does not watch is polled."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Set
from typing import NamedTuple

_LONGEST_POLL = 900.0
"""Seconds between two walks of a polled root at most."""


class Compared(NamedTuple):
    """What a comparison of directories with watches found."""

    missing: dict[int, bytes]
    """Paths, by inode, of directories that have no watch, or one under another path."""
    whole: bool
    """Whether all directories of the root were compared."""


class Coverage:
    """The directories of one root that walks have listed since they were last compared with the watches.

    Walks add them on the scanner's thread; the watcher's thread compares them. A directory may be newer than its watch,
    as events take a moment: so what is missing once is compared again at the next look, and counts if it still is.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[int, bytes] | None = None
        self._whole = False
        self.is_doubted = False
        """Whether directories were missing at the last comparison, and are to be compared again."""

    @property
    def is_pending(self) -> bool:
        """Whether there are directories to compare."""
        return self._seen is not None

    def add(self, directories: Mapping[int, bytes], *, whole: bool) -> None:
        """Take the paths, by inode, of the directories that a walk listed; ``whole``: they are all of the root."""
        with self._lock:
            self._seen = dict(directories) if whole else {**(self._seen or {}), **directories}
            self._whole = self._whole or whole

    def compare(self, watched: Mapping[int, Set[bytes]]) -> Compared | None:
        """Compare with the paths under which inotify reports each inode; None where that must be done once more."""
        with self._lock:
            missing = not_watched(self._seen or {}, watched)
            compared = Compared(missing, self._whole)
            again = bool(missing) and not self.is_doubted
            self._seen, self._whole = (missing, self._whole) if again else (None, False)
            self.is_doubted = again
        return None if again else compared

    def drop(self) -> None:
        """Compare nothing: inotify does not name this root's directories."""
        with self._lock:
            self._seen, self._whole, self.is_doubted = None, False, False


def not_watched(seen: Mapping[int, bytes], watched: Mapping[int, Set[bytes]]) -> dict[int, bytes]:
    """The directories, by inode, that have no watch, or whose events come under another path."""
    return {inode: path for inode, path in seen.items() if path not in watched.get(inode, ())}


class PollSchedule:
    """When a root is walked next while it is polled. Times are seconds of one clock."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._lock = threading.Lock()
        self._pause = interval
        self._due_at = 0.0
        self._asked_at: float | None = None
        """When the walk was asked for that has not ended yet."""

    def begin(self, now: float) -> None:
        """Have the first walk a pause from now."""
        self._due_at = now + self._pause

    def is_due(self, now: float) -> bool:
        """Whether it is time for a walk."""
        return now >= self._due_at

    def note_asked(self, now: float) -> None:
        """Note that a walk was asked for."""
        with self._lock:
            self._due_at = now + self._pause
            self._asked_at = now if self._asked_at is None else self._asked_at

    def note_walked(self, now: float) -> None:
        """Note that a walk of the whole root ended: the next comes after ten times as long as it took, or more."""
        with self._lock:
            if self._asked_at is not None:
                self._pause = max(self._interval, min(10 * (now - self._asked_at), _LONGEST_POLL))
            self._due_at, self._asked_at = now + self._pause, None
