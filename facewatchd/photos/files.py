"""Photos as files: which names and first bytes are photos', and how files are opened and read.

Rules:

- No decoder is imported here: the daemon imports this module, and decodes nothing.
- What kind of photo a file is, its content decides, and not its name.
- A path is looked at before it is opened, and so is the open file: a pipe, socket or device is not opened, which would
  block, or be noticed at the other end.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final, cast

from facewatchd.errors import FacewatchError, UnreadablePhotoError
from facewatchd.photos.signatures import SNIFF_BYTES, format_of
from facewatchd.system import atomic_files
from facewatchd.values import CANNOT_READ

MAX_BYTES: Final = 1 << 30
"""The size in bytes of the largest file that is read."""
MAX_PIXELS: Final = 250_000_000
"""Width times height of the largest picture that is decoded."""
_SUFFIXES: Final = tuple(
    b".jpg .jpeg .jpe .jfif .mpo .png .apng .webp .avif .avifs .heic .heics .heif .heifs .hif .tif .tiff .bmp .dib "
    b".gif".split()
)

_PASSING: Final = frozenset(
    {errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT, errno.EINTR}
)
"""Errors that say nothing about the file: another program's lease, descriptors or memory used up, a server gone."""
_AWAY: Final = frozenset(
    {errno.EIO, errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.ESHUTDOWN, errno.EHOSTDOWN, errno.EREMOTEIO}
)
"""Errors of a disk or server that is away, or of a bad sector; the errno does not say which."""


class ChangedWhileReadError(FacewatchError):
    """The bytes cannot be read just now, which says nothing about the photo: it is to be read again later."""

    kind = UnreadablePhotoError.kind


class DiskError(UnreadablePhotoError):
    """The disk failed or is away, while the file is known to exist."""


def sniff(path: bytes) -> bool:
    """Whether the first bytes of a regular file are a photo's; False for what cannot be read."""
    try:
        with regular_file(path) as descriptor:
            return format_of(os.pread(descriptor, SNIFF_BYTES, 0)) is not None
    except (FileNotFoundError, FacewatchError):
        return False


def is_photo_name(path: bytes) -> bool:
    """Whether the name has a suffix of photos, in upper or lower case."""
    return path.lower().endswith(_SUFFIXES)


def digest(data: bytes) -> bytes:
    """The BLAKE2b digest of a content, 32 bytes."""
    return hashlib.blake2b(data, digest_size=32).digest()


def opened(descriptor: int) -> BinaryIO:
    """A file object to decode from, with a position of its own: a descriptor that was passed on shares its position.

    The descriptor is closed with it. The file is not mapped into memory, and nor is it by a decoder, which gets no
    descriptor: if a mapped file is truncated by another program, a read ends the process with SIGBUS.
    """
    return cast("BinaryIO", io.BufferedReader(_Positioned(descriptor), 1 << 16))


class _Positioned(io.RawIOBase):
    """Reads from a descriptor by position. Raises `DiskError`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        try:
            count = os.preadv(self._descriptor, [buffer], self._position)
        except OSError as exc:  # the disk's or the server's, as the file is open: no decoder may take it for damage
            raise DiskError(f"{CANNOT_READ}: {exc.strerror}", "check its permissions and its disk") from exc
        self._position += count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position}.get(whence)
        if start is None:
            start = os.fstat(self._descriptor).st_size
        if start + offset < 0:
            raise ValueError("a position before the file's beginning")
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()


@contextmanager
def regular_file(path: bytes) -> Iterator[int]:
    """Open a regular file for reading and translate what goes wrong with it, then and while it is used."""
    try:
        _require_regular(os.stat(path))  # opening a named pipe wakes its writer, and opening a device may act on it
        descriptor = os.open(path, atomic_files.READ_FLAGS)
        try:
            _require_regular(os.fstat(descriptor))
            yield descriptor
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise
    except NotADirectoryError as exc:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from exc
    except (OSError, ValueError, MemoryError) as exc:
        reason = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
        if isinstance(exc, OSError) and exc.errno in _PASSING:
            raise ChangedWhileReadError(f"the file cannot be read now: {reason}", "try again later") from exc
        away = isinstance(exc, OSError) and exc.errno in _AWAY
        error = DiskError if away else UnreadablePhotoError
        raise error(f"{CANNOT_READ}: {reason}", "check its permissions and its disk") from exc


def _require_regular(status: os.stat_result) -> None:
    if kind := atomic_files.kind(status.st_mode):
        raise UnreadablePhotoError(f"not a file but {kind}")
