"""The rules for state, problems and completeness: pure functions of a `Report`, plain values read at one moment.

The state of the daemon is the first of these that applies:

1. degraded: the catalog cannot be written or is damaged, the index cannot be maintained, or indexing cannot go on;
2. paused: a user paused indexing;
3. starting: the index is not level with the catalog yet, or a root has not been walked since the start;
4. degraded: a thread of the watcher has ended;
5. indexing: a path is pending, or a walk is running or was asked for;
6. idle.

An answer is complete when nothing is pending and no walk is due, every root and every directory in it could be read at
the last walk and can be reached now, and every change is an event: a polled root has none, nor has a file outside of
the roots that a link in them leads to.

The state of a root is that of the last walk where the walk found it offline or unreadable, else what the watcher says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from facewatchd.scan.scanner import out_of_reach
from facewatchd.scan.schedule import LINKS_EVERY
from facewatchd.text import counted, printable
from facewatchd.values import DaemonState, RootState

REACHABLE = (RootState.WATCHING, RootState.POLLING)
"""The states of a root whose disk is there."""
_NOT_BELIEVED = (RootState.OFFLINE, RootState.UNREADABLE)


@dataclass(frozen=True, slots=True)
class RootReport:
    """One watched directory."""

    path: bytes
    watched: RootState | None = RootState.WATCHING
    """How the watcher follows it; None where the watcher does not know it."""
    walked: RootState | None = RootState.WATCHING
    """What the last walk found; None before the first."""
    unreachable: tuple[str, ...] = ()
    """Lines that say what in it could not be read at the last walk."""

    @property
    def state(self) -> RootState:
        """The state of the root that ``status`` reports."""
        if self.walked in _NOT_BELIEVED:
            return self.walked
        return self.watched or RootState.OFFLINE

    @property
    def disk_is_there(self) -> bool:
        """Whether the watcher reaches the directory, whatever the last walk found there."""
        return self.watched in REACHABLE

    @property
    def within_reach(self) -> bool:
        """Whether all of it was read at the last walk, and it can be reached now."""
        return self.walked is RootState.WATCHING and self.disk_is_there and not self.unreachable


@dataclass(frozen=True, slots=True)
class Report:
    """What the parts of the daemon say at one moment. A text is one line, and empty while nothing is wrong."""

    roots: tuple[RootReport, ...] = ()
    writer: str = ""
    """Why the catalog cannot be written."""
    index: str = ""
    """Why the index cannot be maintained."""
    slow_index: str = ""
    """Why each search compares all faces."""
    workers: str = ""
    """Why indexing cannot go on."""
    socket: str = ""
    """What is wrong with the socket's directory."""
    people: str = ""
    """Why no names are known, or they cannot be backed up."""
    catalog: str = ""
    """The damage that SQLite found in the catalog."""
    damaged_faces: int = 0
    """Rows of faces that are damaged and not removed yet."""
    watcher: tuple[str, ...] = ()
    """What is wrong with the watches."""
    watcher_is_alive: bool = True
    links_outside: tuple[bytes, ...] = ()
    """Links in the roots to files outside of them, sorted."""
    index_is_ready: bool = True
    index_faces: int = 0
    index_tombstones: int = 0
    paused: bool = False
    pending: int = 0
    """Paths that wait to be examined, or are."""
    scanning: bool = False
    """Whether a walk is running or was asked for."""
    resources: str = ""
    """What indexing has to wait for, such as processors, though nothing is wrong."""
    resources_briefly: str = ""
    """The same in a few words."""

    @property
    def state(self) -> DaemonState:
        """The state of the daemon that ``status`` reports."""
        if self.writer or self.index or self.workers or self.catalog:
            return DaemonState.DEGRADED
        if self.paused:
            return DaemonState.PAUSED
        if not self.index_is_ready or not self.walked:
            return DaemonState.STARTING
        if not self.watcher_is_alive:
            return DaemonState.DEGRADED
        return DaemonState.INDEXING if self.pending or self.scanning else DaemonState.IDLE

    def problems(self, photos: Mapping[bytes, int]) -> list[str]:
        """Return a line for each thing that is wrong. ``photos``: how many are recorded of each root."""
        lines = [self.writer, self.index, self.slow_index, self.workers, self.socket, self.people]
        if not self.writer:  # which names the damage itself
            lines.append(self.catalog)
        if self.damaged_faces:
            rows = counted(self.damaged_faces, "row of a face is", "rows of faces are")
            lines.append(f"{rows} damaged in the catalog: the photos are read again")
        for root in self.roots:
            if root.disk_is_there and root.walked is RootState.OFFLINE:  # the watcher tells of a root that is not there
                lines.append(out_of_reach(root.path, photos.get(root.path, 0), is_there=True))
            lines += root.unreachable
        lines.append(self._links())
        if self.walked:
            lines += self.watcher
        return [line for line in lines if line]

    def _links(self) -> str:
        if not self.links_outside:
            return ""
        links = counted(len(self.links_outside), "link")
        return (
            f"{links} to files outside of the watched directories, {printable(self.links_outside[0])} among"
            f" them: nothing tells when those change, so they are looked at every {LINKS_EVERY:.0f} s"
        )

    @property
    def complete(self) -> bool:
        """Whether everything that lies in the roots is searchable."""
        told = all(root.state is RootState.WATCHING for root in self.roots) and not self.links_outside
        return not self.pending and not self.scanning and self.within_reach and told

    @property
    def within_reach(self) -> bool:
        """Whether all of every root was read at its last walk, and can be reached now."""
        return all(root.within_reach for root in self.roots)

    @property
    def walked(self) -> bool:
        """Whether every root has been walked since the start."""
        return all(root.walked is not None for root in self.roots)

    @property
    def busy(self) -> bool:
        """Whether anything is pending, being walked, or being brought level."""
        return bool(self.pending) or self.scanning or not self.index_is_ready

    @property
    def waits(self) -> str:
        """What pending photos wait for though nothing is wrong; empty where they wait for their turn alone."""
        return self.resources if self.pending and not self.paused else ""

    @property
    def waits_briefly(self) -> str:
        """The same in a few words."""
        return self.resources_briefly if self.waits else ""

    def headline(self, photos: int, faces: int) -> str:
        """Return what the daemon is doing, in one line. ``photos`` and ``faces``: how many are recorded."""
        waiting = f", {counted(self.pending, 'photo')} pending" if self.pending else ""
        reason = f"; {self.waits}" if self.waits else ""
        return f"{self.state}: {counted(photos, 'photo')}, {counted(faces, 'face')}{waiting}{reason}"
