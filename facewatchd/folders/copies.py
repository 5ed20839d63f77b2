"""A directory of copies of photos: whole files, byte for byte, with their dates.

A file of the directory is never changed. A photo whose bytes are there already, under whatever name, is not copied
again; bytes are compared where sizes agree. A copy is written aside, gets its date, and is then renamed to a name that
is free, so none is ever there in part. All calls for a directory take turns.
"""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from facewatchd.errors import UsageError
from facewatchd.folders.names import NAME_REFUSED, Names, plain
from facewatchd.folders.turns import taking_turns
from facewatchd.system import atomic_files
from facewatchd.text import counted, printable

_CHUNK: Final = 1 << 20
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})
_NO_RANGES: Final = frozenset({errno.EINVAL, errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM})
"""Errors of file systems between which the kernel does not copy by itself."""

Progress = Callable[[int, int], None]


class Filled(NamedTuple):
    """What was done in a directory."""

    made: int
    present: int


class _LeftOutError(Exception):
    """Why a photo cannot be copied, in words."""


def fill(directory: bytes, paths: Sequence[bytes], progress: Progress | None = None) -> Filled:
    """Copy photos into a directory, which is there, by its absolute path.

    ``progress`` is called after each with the number done and that of all. Raises `UsageError` where photos could not
    be copied: at once where nothing more can be written, else after all others were copied.
    """
    with taking_turns(directory):
        return _Copies(directory).fill(paths, progress)


class _Copies:
    def __init__(self, directory: bytes) -> None:
        self._directory = directory
        self._here = {directory, os.path.realpath(directory)}
        self._by_size: dict[int, list[bytes]] = {}
        try:
            with os.scandir(directory) as entries:
                found = list(entries)
            self._names = Names(entry.name for entry in found)
            for entry in found:
                if entry.is_file(follow_symlinks=False):
                    self._by_size.setdefault(entry.stat(follow_symlinks=False).st_size, []).append(entry.name)
        except OSError as exc:
            raise self._failed(exc) from exc

    def fill(self, paths: Sequence[bytes], progress: Progress | None) -> Filled:
        made = 0
        left_out: list[str] = []
        for done, path in enumerate(paths, 1):
            try:
                made += self._copy(path)
            except _LeftOutError as exc:
                left_out.append(f"{printable(path)}: {exc}")
            except OSError as exc:
                raise self._failed(exc, f"; {made} of {counted(len(paths), 'photo')} copied") from exc
            if progress:
                progress(done, len(paths))
        if left_out:
            rest = f", and {len(left_out) - 1} more" if len(left_out) > 1 else ""
            raise UsageError(f"cannot copy {left_out[0]}{rest}; {made} copied", "see: facewatchd why PATH")
        return Filled(made, len(paths) - made)

    def _copy(self, path: bytes) -> bool:
        """Copy a photo unless it is there. Raises `_LeftOutError`, or OSError where the directory takes no more."""
        if os.path.dirname(path) in self._here:
            return False
        try:
            descriptor = os.open(path, atomic_files.READ_FLAGS)
        except OSError as exc:
            raise _LeftOutError(exc.strerror) from exc
        with open(descriptor, "rb") as photo:
            status = os.fstat(descriptor)
            if odd := atomic_files.kind(status.st_mode):
                raise _LeftOutError(f"it is {odd}")
            name = os.path.basename(path)
            if any(self._is_copy(photo, other) for other in self._by_size.get(status.st_size, ())):
                return False
            try:
                self._write(photo, name, status)
            except OSError as exc:
                if exc.errno == errno.EIO:
                    raise _LeftOutError(exc.strerror) from exc
                raise
        return True

    def _is_copy(self, photo: BinaryIO, name: bytes) -> bool:
        photo.seek(0)
        try:
            with open(os.open(os.path.join(self._directory, name), atomic_files.READ_FLAGS), "rb") as other:
                return all(a == b for a, b in itertools.zip_longest(_chunks(photo), _chunks(other)))
        except OSError:
            return False

    def _write(self, photo: BinaryIO, name: bytes, status: os.stat_result) -> None:
        """Write the copy under a name that is free."""
        is_plain = False
        free = self._names.take(name)
        while True:
            try:
                with atomic_files.written(self._path(free), _is_nobodys, stat.S_IMODE(status.st_mode) & 0o666) as file:
                    _copy_bytes(photo, file, status)
                break
            except FileExistsError:
                free = self._names.take(plain(name) if is_plain else name)
            except OSError as exc:
                if is_plain or exc.errno not in NAME_REFUSED:
                    raise
                free, is_plain = self._names.take(plain(name)), True
        self._by_size.setdefault(status.st_size, []).append(free)

    def _path(self, name: bytes) -> Path:
        return Path(os.fsdecode(os.path.join(self._directory, name)))

    def _failed(self, exc: OSError, words: str = "") -> UsageError:
        hint = "make room and ask again" if exc.errno in _FULL else "name another directory"
        return UsageError(f"cannot copy into {os.fsdecode(self._directory)}: {exc.strerror or exc}{words}", hint)


def _is_nobodys(_: Path) -> bool:
    return False


def _copy_bytes(photo: BinaryIO, file: BinaryIO, status: os.stat_result) -> None:
    """Copy all bytes, and the dates. Raises `_LeftOutError` where the photo changes meanwhile or cannot be read."""
    left = status.st_size
    try:
        while left and (copied := os.copy_file_range(photo.fileno(), file.fileno(), left, status.st_size - left)):
            left -= copied
    except OSError as exc:
        if exc.errno not in _NO_RANGES:
            raise
    if left:
        photo.seek(0)
        file.seek(0)
        shutil.copyfileobj(photo, file, _CHUNK)
        file.flush()
    now = os.fstat(photo.fileno())
    if (now.st_size, now.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
        raise _LeftOutError("it changed while it was copied")
    os.utime(file.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: file.read(_CHUNK), b"")
