"""PNG files whose ancillary chunks are odd: only the chunks that decide the picture are kept.

A wrong checksum of a colour profile, or a text of some megabytes, is no damage to the picture; viewers pass over it.
Pillow passes over wrong checksums of the pixels as well: `has_wrong_pixels` looks at them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_KEPT: Final = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"eXIf")
_TEXTS: Final = (b"tEXt", b"zTXt", b"iTXt")
_PROFILE: Final = b"Raw profile type exif\0"
"""The text in which ImageMagick keeps EXIF data."""
_TRANSPARENT: Final = {0: 2, 2: 6, 3: 1}
"""Bytes that tRNS has at least, by colour type; the others have none."""
_BLOCK: Final = 1 << 20


def is_for_iphones(head: bytes) -> bool:
    """Whether it is Apple's variant, which other decoders do not read."""
    return head[12:16] == b"CgBI"


def has_wrong_pixels(file: BinaryIO) -> bool:
    """Whether a checksum of the pixels is wrong and their compressed data are not whole either.

    A file that ends within them is left to the decoder.
    """
    return not _are_checksums_right(file) and not _is_stream_whole(file)


def _pixel_chunks(file: BinaryIO) -> Iterator[int]:
    """Go to the data of one IDAT chunk after the other; yields their lengths."""
    at = len(_SIGNATURE)
    while len(head := _read_at(file, at, 8)) == 8 and head[4:] != b"IEND":
        length = int.from_bytes(head[:4], "big")
        if head[4:] == b"IDAT":
            yield length
        at += 12 + length


def _blocks(file: BinaryIO, length: int) -> Iterator[bytes]:
    while length > 0 and (block := file.read(min(length, _BLOCK))):
        length -= len(block)
        yield block


def _read_at(file: BinaryIO, at: int, length: int) -> bytes:
    file.seek(at)
    return file.read(length)


def _are_checksums_right(file: BinaryIO) -> bool:
    for length in _pixel_chunks(file):
        checksum = zlib.crc32(b"IDAT")
        for block in _blocks(file, length):
            checksum = zlib.crc32(block, checksum)
        if (stored := file.read(4)) != checksum.to_bytes(4, "big") and len(stored) == 4:
            return False
    return True


def _is_stream_whole(file: BinaryIO) -> bool:
    stream = zlib.decompressobj()
    for length in _pixel_chunks(file):
        for block in _blocks(file, length):
            while block and not stream.eof:
                try:
                    stream.decompress(block, _BLOCK)
                except zlib.error:
                    return False
                block = stream.unconsumed_tail
    return stream.eof


def essential(data: bytes) -> bytes:
    """Return the PNG with nothing but its header, palette, transparency, pixels and EXIF data, and an end.

    An ancillary chunk whose checksum is wrong is left out. The pixels are as they are: a last chunk that the end of the
    file cuts short is kept as far as it goes, and the decoder tells whether rows are missing.
    """
    parts, at, colours = [_SIGNATURE], len(_SIGNATURE), int.from_bytes(data[25:26])
    while at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        body, checksum = data[at + 8 : at + 8 + length], data[at + 8 + length : at + 12 + length]
        at += 12 + length
        if kind == b"IEND":
            break
        right = zlib.crc32(kind + body).to_bytes(4, "big")
        is_critical = not kind[0] & 0x20
        is_kept = kind in _KEPT or (kind in _TEXTS and body.startswith(_PROFILE))
        if not is_kept or (checksum != right and not is_critical):
            continue
        if kind == b"tRNS" and len(body) < _TRANSPARENT.get(colours, 0):
            continue
        whole = len(checksum) == 4
        parts += [len(body).to_bytes(4, "big"), kind, body, checksum if whole else right]
    end = b"IEND"
    return b"".join([*parts, bytes(4), end, zlib.crc32(end).to_bytes(4, "big")])
