"""What a file's first bytes say that it is. Names are Pillow's, of the formats that `photos.decode` reads."""

from __future__ import annotations

import re
from typing import Final

_SIGNATURES: Final = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),  # BigTIFF
    (b"MM\0+", "TIFF"),
)
# Brands of ISO/IEC 23008-12 (HEIF) and the AV1 Image File Format, as far as the decoders take them.
_AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})
_HEVC_BRANDS: Final = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_ANY_CODEC_BRANDS: Final = frozenset({b"mif1", b"msf1"})
# Lengths of the information header, BITMAPCOREHEADER to BITMAPV5HEADER: two letters alone would take in texts.
_BMP_HEADERS: Final = frozenset({12, 16, 40, 52, 56, 64, 108, 124})

HEADER_BYTES: Final = 1 << 16
"""Where the boxes of a HEIF or AVIF header are looked for."""


def format_of(head: bytes) -> str | None:
    """The name of the format of what begins so, or None."""
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if head[4:8] == b"ftyp":
        return _format_of_brands(head)
    return None


def _format_of_brands(head: bytes) -> str | None:
    major = head[8:12]
    end = min(int.from_bytes(head[:4], "big"), len(head))
    compatible = {head[at : at + 4] for at in range(16, end, 4)}
    if major in _AVIF_BRANDS or (major in _ANY_CODEC_BRANDS and compatible & _AVIF_BRANDS):
        return "AVIF"
    return "HEIF" if major in _HEVC_BRANDS | _ANY_CODEC_BRANDS else None


def claimed_pixels(head: bytes) -> int:
    """The largest size in a HEIF or AVIF header: what is decoded, where the image as shown is only a part of it."""
    # ISO/IEC 23008-12, 6.5.3: a box of 20 bytes; version and flags, then width and height
    boxes = re.finditer(rb"\0\0\0\x14ispe.{4}(.{4})(.{4})", head[:HEADER_BYTES], re.DOTALL)
    return max((int.from_bytes(box[1], "big") * int.from_bytes(box[2], "big") for box in boxes), default=0)
