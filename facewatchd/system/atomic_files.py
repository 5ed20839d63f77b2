"""Files of ours: opened without following links, and written whole or not at all.

- What is read must be a regular file: a FIFO under its name would keep the reader waiting for ever.
- What is written is made aside, as a new file that nobody else can have put there, synced, and renamed into place.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

NEW = ".new"
"""Ends the name of what is not whole yet."""
KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}


def kind(mode: int) -> str:
    """What a mode is of, where it is not of a regular file; else empty."""
    return "" if stat.S_ISREG(mode) else KINDS.get(stat.S_IFMT(mode), "something odd")


def aside(path: Path) -> Path:
    """Where a file is written before it is renamed into place."""
    return path.with_name(path.name + NEW)


def read(path: Path, *, follow: bool = False) -> bytes:
    """The bytes of a regular file. Raises OSError, also for what is none, and for a link unless those are followed."""
    links = 0 if follow else os.O_NOFOLLOW
    descriptor = os.open(path, os.O_RDONLY | links | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if odd := kind(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, f"it is {odd}", str(path))
        return file.read()


def create(path: Path) -> int:
    """Make a file under a name that may be taken by one that was left behind; return its descriptor. Raises OSError."""
    path.unlink(missing_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def write(path: Path, data: bytes) -> None:
    """Write a file whole: a crash leaves the one before or this one. Raises OSError."""
    new = aside(path)
    try:
        with open(create(new), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        put(new, path)
    except BaseException:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise


def put(new: Path, path: Path) -> None:
    """Rename a file into place, and have the disk know it. Raises OSError."""
    new.replace(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Have the names in a directory written to the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
