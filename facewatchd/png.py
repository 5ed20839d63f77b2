"""PNG files whose ancillary chunks are odd: only the chunks that decide the picture are kept.

A wrong checksum of a colour profile, or a text of some megabytes, is no damage to the picture; viewers pass over it.
"""

from __future__ import annotations

import zlib
from typing import Final

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_KEPT: Final = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"eXIf")


def essential(data: bytes) -> bytes:
    """Return the PNG with nothing but its header, palette, transparency, pixels and EXIF data, and an end.

    An ancillary chunk whose checksum is wrong is left out. The pixels are as they are: a last chunk that the end of the
    file cuts short is kept as far as it goes, and the decoder tells whether rows are missing.
    """
    parts, at = [_SIGNATURE], len(_SIGNATURE)
    while at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        body, checksum = data[at + 8 : at + 8 + length], data[at + 8 + length : at + 12 + length]
        at += 12 + length
        if kind == b"IEND":
            break
        right = zlib.crc32(kind + body).to_bytes(4, "big")
        is_critical = not kind[0] & 0x20
        if kind not in _KEPT or (checksum != right and not is_critical):
            continue
        whole = len(checksum) == 4
        parts += [len(body).to_bytes(4, "big"), kind, body, checksum if whole else right]
    end = b"IEND"
    return b"".join([*parts, bytes(4), end, zlib.crc32(end).to_bytes(4, "big")])
