"""The mount table of this process, proc_pid_mountinfo(5): which file systems hold a directory or lie below it.

Linux only. Where ``/proc`` cannot be read, no mount is known, and nothing is concluded from that.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import threading
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from facewatchd.values import Identity, is_within

_MOUNTINFO = Path("/proc/self/mountinfo")
_ESCAPE = re.compile(rb"\\([0-7]{3})")

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


class MountTable(NamedTuple):
    """The mount table at one moment."""

    mounts: tuple[Mount, ...] = ()
    changes: int = 0
    """How many changes `Mounts` has seen until then."""

    def around(self, path: bytes) -> tuple[Mount, ...]:
        """List the mount that holds the real path, if one does, then those below the path, in the table's order.

        Of mounts on one point the last in the table is on top.
        """
        holding = [mount for mount in self.mounts if is_within(path, mount.point)]
        below = [mount for mount in self.mounts if mount.point != path and is_within(mount.point, path)]
        top = max(enumerate(holding), key=lambda item: (len(item[1].point), item[0]), default=None)
        return (*((top[1],) if top else ()), *below)

    def has_point(self, directory: bytes) -> bool:
        """Whether a directory is a mount point, links in its path followed. True where no mount is known."""
        real = os.path.realpath(directory)
        return not self.mounts or any(mount.point == real for mount in self.mounts)


class Mounts:
    """The mount table of this process, for any thread. It is read again only after the kernel has reported a change."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._table = MountTable()
        self._poller = select.poll()
        self._file: FileIO | None = None
        with contextlib.suppress(OSError):
            self._file = FileIO(_MOUNTINFO)
            self._poller.register(self._file, select.POLLPRI)
            self._table = MountTable(parse_mountinfo(self._file.readall()))

    def now(self) -> MountTable:
        """The table as it is now; the last one that was read, after `close`."""
        with self._lock:
            if self._file is not None and self._poller.poll(0):
                self._file.seek(0)
                self._table = MountTable(parse_mountinfo(self._file.readall()), self._table.changes + 1)
            return self._table

    def close(self) -> None:
        """Close the table's file."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None


def device_of(directory: bytes, root: bytes, mounts: Mounts) -> int:
    """The device number of the file system that is mounted nearest above a directory, looking no further than ``root``.

    ``st_dev`` alone does not say what is mounted: a subvolume of btrfs has a number of its own, and is renamed and
    deleted like a directory. So a number that changes on the way down counts only at a mount point. Raises OSError.
    """
    device, own = _device(directory), _device(root)
    while device != own and directory != root:
        parent = os.path.dirname(directory)
        above = _device(parent)
        if above != device and mounts.now().has_point(directory):
            return device
        directory, device = parent, above
    return own


def _device(directory: bytes) -> int:
    return Identity.of(os.stat(directory)).device


def parse_mountinfo(text: bytes) -> tuple[Mount, ...]:
    """Parse ``/proc/PID/mountinfo``: ``id parent device root point options [tags ...] - fstype source options``."""
    mounts = []
    for line in text.splitlines():
        fields = line.split(b" ")
        if b"-" not in fields[6:-1]:
            continue
        point = _ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), fields[4])
        fstype = fields[fields.index(b"-", 6) + 1]
        mounts.append(Mount(int(fields[0]), fields[2], point, os.fsdecode(fstype)))
    return tuple(mounts)
