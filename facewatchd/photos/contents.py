"""A photo's bytes as an open file and a digest, never whole in this process's memory.

The digest must name the very bytes that a decoder sees later on the same descriptor. `Content.confirm`, called when the
decoding is over, holds the file's stamp against that of before. Where the file changed so shortly before the reading
that another write would have left the same stamp (a file system's clock ticks in milliseconds, a FAT's in two seconds),
or where the stamp is another one, it digests the bytes again.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from facewatchd.errors import TooLargeError, UnreadablePhotoError
from facewatchd.photos import files
from facewatchd.values import Stamp

CHUNK: Final = 1 << 20
"""Bytes that are read at once."""
TICK_NS: Final = 2_000_000_000
"""The coarsest clock of a file system, in nanoseconds."""


@dataclass(frozen=True)
class Content:
    """An open file, and the digest of its bytes."""

    descriptor: int
    stamp: Stamp
    """Of the file as it was digested; the device is the file's own."""
    digest: bytes
    is_fresh: bool
    """Whether it may be written to without another stamp."""

    def confirm(self) -> None:
        """Raise `photos.ChangedWhileReadError` unless the file still holds the bytes that were digested."""
        if self.is_fresh or Stamp.of(os.fstat(self.descriptor)) != self.stamp:
            try:
                same = _digest(self.descriptor) == self.digest
            except OSError as exc:
                raise _changed() from exc
            if not same:
                raise _changed()


@contextmanager
def opened(path: bytes) -> Iterator[Content]:
    """Open and digest a regular file.

    Raises FileNotFoundError where it is gone, `photos.ChangedWhileReadError` where it must be read again later,
    `TooLargeError` above `photos.MAX_BYTES`, and `UnreadablePhotoError` for all else.
    """
    with files.regular_file(path) as descriptor:
        content = _digested(descriptor)
    try:
        yield content
    finally:
        os.close(content.descriptor)


def _digested(descriptor: int) -> Content:
    began = time.time_ns()
    stamp = Stamp.of(os.fstat(descriptor))
    if stamp.size == 0:  # as a rule it is about to be written, so no decoder is asked
        raise UnreadablePhotoError("the file is empty")
    if stamp.size > files.MAX_BYTES:
        raise TooLargeError(f"the file has {stamp.size / 1e9:.1f} GB, and {files.MAX_BYTES >> 30} GiB is the limit")
    digest = _digest(descriptor, stamp.size)
    if Stamp.of(os.fstat(descriptor)) != stamp:
        raise _changed()
    is_fresh = max(stamp.mtime_ns, stamp.ctime_ns) > began - TICK_NS
    return Content(os.dup(descriptor), stamp, digest, is_fresh)


def _digest(descriptor: int, size: int | None = None) -> bytes:
    """Digest a file from its beginning, wherever its position is; ``size``: how long it must be."""
    sum_, offset = hashlib.blake2b(digest_size=32), 0
    while chunk := os.pread(descriptor, CHUNK, offset):
        sum_.update(chunk)
        offset += len(chunk)
        if size is not None and offset > size:
            break
    if size is not None and offset != size:
        raise _changed()
    return sum_.digest()


def _changed() -> files.ChangedWhileReadError:
    return files.ChangedWhileReadError("the file changed while it was read", "try again when it is complete")
