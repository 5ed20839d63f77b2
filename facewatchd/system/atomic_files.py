"""Files that are read without following links, and written whole or not at all.

- What is read must be a regular file: opening a named pipe would block the reader for ever.
- What is written goes to a new file beside its place, is synced, and is then renamed into place; at last the directory
  is synced. A crash leaves the old file or the new one. The new file is created with O_EXCL and O_NOFOLLOW, so that no
  other user can have put a file or a link in its place.

Two kinds of directories differ:

- In a directory of our own (`write`, or `create` and `put`), the new file's name is fixed: `aside`. What an earlier
  process left there is removed, and what has the final name is replaced.
- In a user's directory (`written`), the new file's name is random, and a file that is not ours is never replaced.
  It is locked (flock) while it is written, so that what a process that was killed left there can be told from it, and
  removed (`remove_left_behind`).
  renameat2(2) renames "only where nothing is" and "exchange the two" in one step, so that a file which is put there
  at the same time is not lost: what was exchanged is looked at, and goes back where it is not ours. File systems that
  know neither (NFS, some FUSE) get a hard link, or a look just before the renaming.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

READ_FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""Open for reading: a named pipe does not block, and a terminal does not become this process's."""
_SUFFIX: Final = ".new"
_KINDS: Final = {
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}
_ASIDE: Final = re.compile(r"\.facewatch-[0-9a-f]{8}\.tmp")
"""The names of new files in a user's directory."""
_NOREPLACE: Final = 1
_EXCHANGE: Final = 2
_AT_FDCWD: Final = -100
_NOT_SUPPORTED: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})
"""Errors of a file system, kernel or sandbox that has no renameat2(2) flags, or no hard links."""
_libc = ctypes.CDLL(None, use_errno=True)


def kind(mode: int) -> str:
    """Name the kind of file that a ``st_mode`` is of; empty for a regular file."""
    return "" if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "an object of an unknown kind")


def read(path: Path, *, follow: bool = False) -> bytes:
    """The bytes of a regular file. Raises OSError, also for another kind of file, and for a link unless ``follow``."""
    descriptor = os.open(path, READ_FLAGS | (0 if follow else os.O_NOFOLLOW))
    with open(descriptor, "rb") as file:
        if odd := kind(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, f"it is {odd}", str(path))
        return file.read()


def sync(path: Path) -> None:
    """Have a file's bytes, or a directory's names, written to the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# In a directory of our own


def aside(path: Path) -> Path:
    """Where a file is written before it is renamed into place."""
    return path.with_name(path.name + _SUFFIX)


def create(path: Path) -> int:
    """Make a file that only its owner may read, in place of one that was left behind. Returns its descriptor.

    Raises OSError.
    """
    path.unlink(missing_ok=True)
    return _create(path, 0o600)


def write(path: Path, data: bytes) -> None:
    """Write a file whole. Raises OSError."""
    new = aside(path)
    with _removed_in_the_end(new):
        with open(create(new), "wb") as file:
            _fill(file, data)
        put(new, path)


def put(new: Path, path: Path) -> None:
    """Rename a synced file or directory into place, and sync the directory that it lies in. Raises OSError."""
    new.replace(path)
    sync(path.parent)


# In a user's directory


@contextlib.contextmanager
def written(path: Path, is_ours: Callable[[Path], bool], mode: int = 0o666) -> Iterator[BinaryIO]:
    """Yield a new file that takes the place of ``path`` when the block ends; nothing of it is left where that raises.

    Its permissions are those of ``mode`` that the umask leaves. Raises FileExistsError where a file stands there that
    ``is_ours`` does not accept, and OSError.
    """
    new = path.with_name(f".facewatch-{secrets.token_hex(4)}.tmp")
    descriptor = _create(new, mode)
    with _removed_in_the_end(new):
        with open(descriptor, "wb") as file:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield file
            _fill(file, b"")
            _take_place(new, path, is_ours)
        with contextlib.suppress(OSError):  # a directory may be writable and not readable
            sync(path.parent)


def remove_left_behind(directory: bytes) -> None:
    """Remove this user's new files that no process is writing any more. What cannot be locked or removed stays."""
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if _ASIDE.fullmatch(os.fsdecode(entry.name)):
                with contextlib.suppress(OSError):
                    _remove_unlocked(entry.path)


def _remove_unlocked(path: bytes) -> None:
    descriptor = os.open(path, READ_FLAGS | os.O_NOFOLLOW)
    try:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
    finally:
        os.close(descriptor)


def _create(path: Path, mode: int) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)


def _fill(file: BinaryIO, data: bytes) -> None:
    file.write(data)
    file.flush()
    os.fsync(file.fileno())


@contextlib.contextmanager
def _removed_in_the_end(new: Path) -> Iterator[None]:
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)


def _take_place(new: Path, path: Path, is_ours: Callable[[Path], bool]) -> None:
    try:
        _rename_where_nothing_is(new, path)
    except FileExistsError:
        if not _accepted(path, is_ours):
            raise
        _exchange(new, path, is_ours)


def _rename_where_nothing_is(new: Path, path: Path) -> None:
    try:
        _rename(new, path, _NOREPLACE)
    except OSError as exc:
        if exc.errno not in _NOT_SUPPORTED:
            raise
        try:
            os.link(new, path, follow_symlinks=False)
        except OSError as other:
            if other.errno not in _NOT_SUPPORTED:
                raise
            os.close(_create(path, 0o600))
            new.replace(path)


def _exchange(new: Path, path: Path, is_ours: Callable[[Path], bool]) -> None:
    try:
        _rename(new, path, _EXCHANGE)
    except OSError as exc:
        if exc.errno not in _NOT_SUPPORTED:
            raise
        if not _accepted(path, is_ours):
            raise _taken(path) from exc
        new.replace(path)
        return
    if not _accepted(new, is_ours):
        _rename(new, path, _EXCHANGE)
        raise _taken(path)


def _accepted(path: Path, is_ours: Callable[[Path], bool]) -> bool:
    return not path.is_symlink() and is_ours(path)


def _taken(path: Path) -> FileExistsError:
    return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def _rename(source: Path, target: Path, flags: int) -> None:
    """Call renameat2(2). Raises OSError."""
    try:
        renameat2 = _libc.renameat2
    except AttributeError as exc:  # a libc before glibc 2.28
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from exc
    if renameat2(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flags):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))
