"""Files that are written where the user says: each appears whole, and nothing that is not ours is replaced.

A file is written beside its place under a name of its own, and then renamed. Linux renames "only where nothing is"
and "exchange the two" in one step (renameat2(2)), so whatever is put there meanwhile is not lost either: what was
exchanged is looked at afterwards, and goes back where it is not ours. File systems that know neither (NFS, some FUSE)
get a hard link, or a look just before the renaming.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

_NOREPLACE: Final = 1
_EXCHANGE: Final = 2
_AT_FDCWD: Final = -100
_NOT_KNOWN_HERE: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})
"""What a file system, kernel or sandbox answers that does not know a way of renaming, or has no hard links."""
_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def written(place: Path, is_ours: Callable[[Path], bool], mode: int = 0o666) -> Iterator[BinaryIO]:
    """Yield a new file that takes its place when the block ends, and leaves nothing where that raises.

    Raises FileExistsError where something stands there that ``is_ours`` does not know, and OSError.
    """
    aside = place.with_name(f".facewatch-{secrets.token_hex(4)}.tmp")
    # Made by hand and not by tempfile, for the permissions that the user's umask gives to a new file.
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _take_place(aside, place, is_ours)
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


def _take_place(aside: Path, place: Path, is_ours: Callable[[Path], bool]) -> None:
    try:
        _name_new(aside, place)
    except FileExistsError:
        if not _known(place, is_ours):
            raise
        _exchange(aside, place, is_ours)


def _name_new(aside: Path, place: Path) -> None:
    """Rename where nothing is. Raises FileExistsError where something is."""
    try:
        _rename(aside, place, _NOREPLACE)
    except OSError as exc:
        if exc.errno not in _NOT_KNOWN_HERE:
            raise
        try:
            os.link(aside, place, follow_symlinks=False)
        except OSError as other:
            if other.errno not in _NOT_KNOWN_HERE:
                raise
            os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC))
            aside.replace(place)


def _exchange(aside: Path, place: Path, is_ours: Callable[[Path], bool]) -> None:
    try:
        _rename(aside, place, _EXCHANGE)
    except OSError as exc:
        if exc.errno not in _NOT_KNOWN_HERE:
            raise
        if not _known(place, is_ours):
            raise _taken(place) from exc
        aside.replace(place)
        return
    if not _known(aside, is_ours):
        _rename(aside, place, _EXCHANGE)
        raise _taken(place)


def _known(path: Path, is_ours: Callable[[Path], bool]) -> bool:
    return not path.is_symlink() and is_ours(path)


def _taken(place: Path) -> FileExistsError:
    return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(place))


def _rename(source: Path, target: Path, flags: int) -> None:
    """Call renameat2(2). Raises OSError."""
    try:
        renameat2 = _libc.renameat2
    except AttributeError as exc:  # a libc before glibc 2.28
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from exc
    if renameat2(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flags):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))
