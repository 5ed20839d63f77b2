"""What the watcher remembers of a root, and how its events become touches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass

from facewatchd.system import mounts
from facewatchd.watch.inotify import Heartbeat, Watch

Touch = Callable[[bytes, bool, bool], None]
"""``touch(path, settle, written)``: see `facewatchd.watch.watcher.Watcher`."""


@dataclass(frozen=True, slots=True)
class Intervals:
    """How often things are looked at, in seconds."""

    poll: float = 15.0
    """Between two walks of a polled root; at least ten times what the last one took."""
    retry: float = 300.0
    """Before what could not be watched is tried again."""
    heartbeat: float = 20.0
    deadline: float = 10.0
    """In which a heartbeat, or any other event after it, must have been heard."""


@dataclass(slots=True)
class WatchedRoot(mounts.Root):
    """A root, with what the health thread remembers of it. Times are those of the clock."""

    watch: Watch | None = None
    seen: dict[int, bytes] | None = None
    """Inodes and paths of the directories that walks have listed, until they are looked at."""
    seen_whole: bool = False
    """Whether those are all that the root has."""
    doubted: bool = False
    asked_at: float | None = None
    """When the walk was asked for that is still to come."""
    poll_at: float = 0.0
    poll_pause: float = 0.0
    retry_at: float = 0.0
    """When a root without a watch is tried again."""
    mend_at: float = 0.0
    """When directories without a watch are tried again."""


class PathTranslator:
    """ReadersWriterLock events below the real path of a root into touches below the root as configured."""

    def __init__(self, real: bytes, root: bytes, touch: Touch, heartbeat: Heartbeat, wake: threading.Event) -> None:
        self._real = real.rstrip(b"/")  # of "/" nothing is left, which is right for what stands before each path
        self._root = root.rstrip(b"/")
        self._touch = touch
        self._heartbeat = heartbeat
        self._wake = wake

    def __call__(self, path: bytes, settle: bool, written: bool) -> None:
        self._heartbeat.felt()
        if path == self._real:
            self._wake.set()  # the root itself was removed, or its permissions were changed
        else:
            self._touch(self._root + path[len(self._real) :], settle, written)


def not_told(seen: Mapping[int, bytes], told: Mapping[int, Set[bytes]]) -> dict[int, bytes]:
    """Which directories are not watched, or are told of under another path."""
    return {inode: path for inode, path in seen.items() if path not in told.get(inode, ())}
