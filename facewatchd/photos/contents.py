"""A photo's bytes as an open file and a digest, never whole in this process's memory.

The digest must be that of the bytes that a decoder reads later from the same descriptor. So `Content.confirm`, called
after the decoding, compares the file's stamp with the one from before. It digests the bytes again if the stamps differ,
and if the file had changed so shortly before it was read that another write would have left the same stamp: within
`TICK_NS`, as the clocks of file systems tick in milliseconds, and FAT's in two seconds.
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
from facewatchd.photos import files, sheet_mark
from facewatchd.values import Stamp

CHUNK: Final = 1 << 20
"""Bytes that are read at once."""
TICK_NS: Final = 2_000_000_000
"""The tick of the coarsest clock of a file system (FAT), in nanoseconds."""


@dataclass(frozen=True)
class Content:
    """An open file, and the digest of its bytes."""

    descriptor: int
    stamp: Stamp
    """That of the file when it was digested, with the device of the file itself (``st_dev``)."""
    digest: bytes
    is_fresh: bool
    """Whether another write may leave the stamp as it is."""

    def confirm(self) -> None:
        """Raise `ChangedWhileReadError` unless the file still holds the bytes that were digested."""
        if self.is_fresh or Stamp.of(os.fstat(self.descriptor)) != self.stamp:
            try:
                same = _digest(self.descriptor) == self.digest
            except OSError as exc:
                raise _changed() from exc
            if not same:
                raise _changed()


def is_photo(path: bytes) -> bool:
    """Whether a file's name or its first bytes are a photo's, and it is not one of our contact sheets."""
    return (files.is_photo_name(path) or files.sniff(path)) and not sheet_mark.is_sheet(path)


@contextmanager
def opened(path: bytes) -> Iterator[Content]:
    """Open and digest a regular file.

    Raises FileNotFoundError where it is gone, `ChangedWhileReadError` where it must be read again later,
    `TooLargeError` above `files.MAX_BYTES`, and `UnreadablePhotoError` for all else, an empty file too.
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
    """The digest of a whole file; the descriptor's position stays. ``size``: the bytes that it must have."""
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
