"""Mounts, and inotify's watches, as the kernel tells of them; and the facts of one watched directory.

The state and the problem of a watched directory (`Root`) follow from those facts alone. Sources: proc_pid_mountinfo(5)
and proc_pid_fdinfo(5). Where ``/proc`` cannot be read, no mount is known, and nothing is concluded from that.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import select
import stat
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from facewatchd.text import counted, printable
from facewatchd.threads.bounded_calls import NOT_ANSWERING
from facewatchd.values import Identity, RootState, is_within

_MOUNTINFO = Path("/proc/self/mountinfo")
_LIMITS = Path("/proc/sys/fs/inotify")
_ESCAPE = re.compile(rb"\\([0-7]{3})")
_WATCHED = re.compile(rb"^inotify wd:([0-9a-f]+) ino:([0-9a-f]+) ", re.MULTILINE)

# inotify reports changes that this machine makes. On these, other machines or a server process make changes, too.
_REMOTE = frozenset(
    {"9p", "afs", "autofs", "beegfs", "ceph", "cifs", "coda", "davfs", "fuse", "fuseblk", "gfs2", "glusterfs", "lustre"}
    | {"ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "prl_fs", "smb3", "smbfs", "vboxsf", "virtiofs", "vmhgfs"}
)

# Their drivers skip blocks of a directory that cannot be read: a directory on a removed card looks empty.
_SILENT = frozenset({"iso9660", "msdos", "udf", "vfat"})


class Mount(NamedTuple):
    """One line of the mount table."""

    id: int
    device: bytes
    """``major:minor``."""
    point: bytes
    fstype: str

    @property
    def is_remote(self) -> bool:
        """Whether files may change without an inotify event on this machine."""
        return self.fstype.partition(".")[0] in _REMOTE

    @property
    def may_seem_empty(self) -> bool:
        """Whether a directory may be listed as empty, without an error, because its server or disk does not answer."""
        return self.is_remote or self.fstype in _SILENT


class Mounts:
    """The mount table of this process. It is read again only after the kernel has reported a change."""

    def __init__(self) -> None:
        self.table: list[Mount] = []
        self._poller = select.poll()
        self._file: FileIO | None = None
        with contextlib.suppress(OSError):
            self._file = FileIO(_MOUNTINFO)
            self._poller.register(self._file, select.POLLPRI)
            self.table = parse_mountinfo(self._file.readall())

    def refresh(self) -> bool:
        """Read the table again if something was mounted or unmounted since the last call, and say whether it was."""
        if self._file is None or not self._poller.poll(0):
            return False
        self._file.seek(0)
        self.table = parse_mountinfo(self._file.readall())
        return True

    def around(self, path: bytes) -> tuple[Mount, ...]:
        """List the mount that holds the real path, then those below it."""
        return around(self.table, path)

    def close(self) -> None:
        """Close the table's file."""
        if self._file is not None:
            self._file.close()
            self._file = None


class MountPoints:
    """The mount points that this process sees. Any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mounts = Mounts()
        self._points: frozenset[bytes] = frozenset()
        self._read()

    def holds(self, directory: bytes) -> bool:
        """Whether a directory is a mount point, links in its path followed. True without a mount table."""
        real = os.path.realpath(directory)
        with self._lock:
            if self._mounts.refresh():
                self._read()
            return real in self._points or not self._points

    def close(self) -> None:
        """Close the mount table."""
        self._mounts.close()

    def _read(self) -> None:
        self._points = frozenset(mount.point for mount in self._mounts.table)


def device_of(directory: bytes, root: bytes, points: MountPoints) -> int:
    """The device number of the file system that is mounted nearest above a directory, looking no further than ``root``.

    ``st_dev`` alone does not say what is mounted: a subvolume of btrfs has a number of its own, and is renamed and
    deleted like a directory. So a number that changes on the way down counts only at a mount point. Raises OSError.
    """
    device, own = _device(directory), _device(root)
    while device != own and directory != root:
        parent = os.path.dirname(directory)
        above = _device(parent)
        if above != device and points.holds(directory):
            return device
        directory, device = parent, above
    return own


def _device(directory: bytes) -> int:
    return Identity.of(os.stat(directory)).device


def parse_mountinfo(text: bytes) -> list[Mount]:
    """Parse ``/proc/PID/mountinfo``: ``id parent device root point options [tags ...] - fstype source options``."""
    mounts = []
    for line in text.splitlines():
        fields = line.split(b" ")
        if b"-" not in fields[6:-1]:
            continue
        point = _ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), fields[4])
        fstype = fields[fields.index(b"-", 6) + 1]
        mounts.append(Mount(int(fields[0]), fields[2], point, os.fsdecode(fstype)))
    return mounts


def around(table: Sequence[Mount], path: bytes) -> tuple[Mount, ...]:
    """List the mount that holds the path, if one does, then those below the path, in the table's order.

    Of mounts on one point the last in the table is on top.
    """
    holding = [mount for mount in table if is_within(path, mount.point)]
    below = [mount for mount in table if mount.point != path and is_within(mount.point, path)]
    top = max(enumerate(holding), key=lambda item: (len(item[1].point), item[0]), default=None)
    return (*((top[1],) if top else ()), *below)


def watched_inodes(descriptor: int) -> dict[int, int]:
    """The inodes that an inotify descriptor of this process watches: ``st_ino`` by watch descriptor."""
    try:
        text = Path(f"/proc/self/fdinfo/{descriptor}").read_bytes()
    except OSError:
        return {}
    return parse_fdinfo(text)


def parse_fdinfo(text: bytes) -> dict[int, int]:
    """Parse ``/proc/PID/fdinfo`` of an inotify descriptor: inodes by watch descriptor, both hexadecimal there."""
    return {int(watch, 16): int(inode, 16) for watch, inode in _WATCHED.findall(text)}


def inode(path: bytes) -> int:
    """``st_ino`` of a path, links not followed; 0 where there is nothing."""
    try:
        return os.lstat(path).st_ino
    except OSError:
        return 0


def inotify_advice(limit: str, count: int = 0) -> str:
    """The commands that raise a limit of inotify, ``max_user_watches`` or ``max_user_instances``, well above its value.

    ``count`` is what is to be watched: other programs of the user have their share of the same limit.
    """
    wanted = {"max_user_watches": 524288, "max_user_instances": 512}[limit]
    with contextlib.suppress(OSError, ValueError):
        wanted = max(wanted, 2 * int((_LIMITS / limit).read_text(encoding="ascii")))
    while wanted < 2 * count:
        wanted *= 2
    line = f"fs.inotify.{limit}={wanted}"
    lasting = f"echo {line} | sudo tee /etc/sysctl.d/90-inotify.conf"
    return f"raise fs.inotify.{limit} with `sudo sysctl {line}`, and for good with `{lasting}`"


class Reach(NamedTuple):
    """What a configured directory is at the moment."""

    state: RootState
    """WATCHING means here: the directory is there and can be read."""
    real: bytes
    """Its path without symbolic links."""
    identity: tuple[int, int]
    """``st_dev`` and ``st_ino``; zeros where the directory is out of reach."""


def reach(path: bytes) -> Reach:
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
class Root:
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
            advice = inotify_advice("max_user_watches", self.unwatched)
            are = "is" if self.unwatched == 1 else "are"
            return f"inotify watch limit reached: {unwatched} under {self.name} {are} polled; {advice}"
        if self.error is not None and self.error.errno == errno.ENOSPC:
            return f"inotify watch limit reached: {self.name} is polled; {inotify_advice('max_user_watches')}"
        if self.error is not None:
            return f"{self.name} cannot be watched and is polled: {self.error}"
        for mount in self.around:
            if mount.is_remote:
                where = printable(mount.point)
                return (
                    f"{self.name} is polled: inotify does not report what other machines do on {where} ({mount.fstype})"
                )
        return ""
