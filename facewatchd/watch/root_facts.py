"""The facts of one watched directory, from which its state and its problem follow.

It may be out of reach, lie on a file system that other machines write to, or have directories without a watch.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import NamedTuple

from facewatchd.system import inotify
from facewatchd.system.mounts import Mount
from facewatchd.text import counted, printable
from facewatchd.threads.bounded_calls import NOT_ANSWERING
from facewatchd.values import RootState, is_within


class Reach(NamedTuple):
    """What a configured directory is at the moment."""

    state: RootState
    """WATCHING means here: the directory is there and can be read."""
    real: bytes
    """Its path without symbolic links."""
    identity: tuple[int, int]
    """``st_dev`` and ``st_ino``; zeros where the directory is out of reach."""


def reach_of(path: bytes) -> Reach:
    """Look at a directory that may have gone, been replaced or become unreadable. Never raises."""
    real = os.path.realpath(path)
    try:
        status = os.stat(real)
    except PermissionError:
        return Reach(RootState.UNREADABLE, real, (0, 0))
    except OSError:
        return Reach(RootState.OFFLINE, real, (0, 0))
    if not stat.S_ISDIR(status.st_mode):
        return Reach(RootState.OFFLINE, real, (0, 0))
    if not os.access(real, os.R_OK | os.X_OK):
        return Reach(RootState.UNREADABLE, real, (0, 0))
    return Reach(RootState.WATCHING, real, (status.st_dev, status.st_ino))


@dataclass(slots=True)
class RootFacts:
    """The facts of one configured directory, from which its state and its problem follow."""

    path: bytes
    reach: Reach
    around: tuple[Mount, ...] = ()
    is_watched: bool = False
    error: OSError | None = None
    """Why it is not watched."""
    is_comparable: bool = False
    """Whether inotify and stat give the same inode; on some layered file systems they differ."""
    unwatched: int = 0
    """Directories below without a watch, at the last walk."""
    is_limited: bool = False
    """Whether that is because the user has no more watches."""
    is_silent: bool = False
    """Whether its disk did not answer the last look."""

    @property
    def name(self) -> str:
        """The path for messages."""
        return printable(self.path)

    @property
    def is_remote(self) -> bool:
        """Whether changes that others make to the directory itself are no events."""
        return any(mount.is_remote and is_within(self.reach.real, mount.point) for mount in self.around)

    @property
    def state(self) -> RootState:
        """The state; WATCHING only where every change is an event."""
        if self.is_silent:
            return RootState.OFFLINE
        if self.reach.state is not RootState.WATCHING:
            return self.reach.state
        complete = self.is_watched and not self.unwatched and not any(mount.is_remote for mount in self.around)
        return RootState.WATCHING if complete else RootState.POLLING

    @property
    def problem(self) -> str:
        """One line for the user; empty where nothing is wrong."""
        if self.is_silent:
            return f"{self.name} {NOT_ANSWERING}: what is known of its photos is kept; check its disk, or its server"
        if self.reach.state is RootState.OFFLINE:
            return f"{self.name} is not there; its photos are kept until it comes back"
        if self.reach.state is RootState.UNREADABLE:
            return f"{self.name} cannot be read by this user; check its permissions"
        unwatched = counted(self.unwatched, "directory", "directories")
        if self.unwatched and not self.is_limited:
            return f"{unwatched} under {self.name} could not be watched; it is polled"
        if self.unwatched:
            advice = inotify.advice("max_user_watches", self.unwatched)
            are = "is" if self.unwatched == 1 else "are"
            return f"inotify watch limit reached: {unwatched} under {self.name} {are} polled; {advice}"
        if self.error is not None and self.error.errno == errno.ENOSPC:
            return f"inotify watch limit reached: {self.name} is polled; {inotify.advice('max_user_watches')}"
        if self.error is not None:
            return f"{self.name} cannot be watched and is polled: {self.error}"
        for mount in self.around:
            if mount.is_remote:
                where = printable(mount.point)
                return (
                    f"{self.name} is polled: inotify does not report what other machines do on {where} ({mount.fstype})"
                )
        return ""
