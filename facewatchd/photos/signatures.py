"""The format of a file, by its first bytes. Names are Pillow's, for the formats that `photos.decode` reads."""

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
_ODD_JPEG: Final = re.compile(rb"(?:\xef\xbb\xbf|[\0\t\n\r ]){1,64}\xff\xd8\xff")
"""A JPEG after what some programs leave before it."""
# Brands of ISO/IEC 23008-12 (HEIF) and the AV1 Image File Format, as far as the decoders take them.
_AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})
_HEVC_BRANDS: Final = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_ANY_CODEC_BRANDS: Final = frozenset({b"mif1", b"mif2", b"mif3", b"msf1", b"1pic", b"miaf", b"MiHE", b"MiHB"})
# Lengths of the information header, BITMAPCOREHEADER to BITMAPV5HEADER: two letters alone would take in texts.
_BMP_HEADERS: Final = frozenset({12, 16, 40, 52, 56, 64, 108, 124})

# Formats that are recognised and not read, as they are worded for users.
_FOREIGN: Final = (
    (b"%PDF-", "a PDF document"),
    (b"8BPS", "a Photoshop document"),
    (b"gimp xcf", "a GIMP document"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"FUJIFILMCCD-RAW", "a camera's raw file"),
    (b"IIRO", "a camera's raw file"),
    (b"IIRS", "a camera's raw file"),
    (b"MMOR", "a camera's raw file"),
    (b"IIU\0", "a camera's raw file"),
    (b"\0MRM", "a camera's raw file"),
    (b"FOVb", "a camera's raw file"),
    (b"II\xbc\x01", "JPEG XR"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"\x1aE\xdf\xa3", "a film"),
    (b"\0\0\x01\xba", "a film"),
    (b"FLV\x01", "a film"),
    (b"\0\0\x01\0", "an icon"),
    (b"AT&TFORM", "a DjVu document"),
    (b"PK\x03\x04", "an archive"),
    (b"Rar!", "an archive"),
    (b"7z\xbc\xaf", "an archive"),
    (b"\x1f\x8b", "an archive"),
)
_DRAWING: Final = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*|<!DOCTYPE svg.*?>\s*)*<svg[\s>]", re.DOTALL
)

SNIFF_BYTES: Final = 512
"""The first bytes that tell a format: every signature, and an ``ftyp`` box with all its brands."""
HEADER_BYTES: Final = 1 << 16
"""Where the boxes of a HEIF or AVIF header are looked for."""


def format_of(head: bytes) -> str | None:
    """The name of the format with these first bytes; None where it is not read."""
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    if _ODD_JPEG.match(head):
        return "JPEG"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if head[4:8] == b"ftyp":
        return _format_of_brands(head)
    return None


def foreign_kind(head: bytes) -> str:
    """The kind of a file that is recognised but not read, worded for users; empty for all others."""
    for signature, words in _FOREIGN:
        if head.startswith(signature):
            return words
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return "a film"
    if head[4:8] == b"ftyp":
        return "a camera's raw file" if head[8:12] == b"crx " else "a film"
    return "a drawing" if _DRAWING.match(head) else ""


def _format_of_brands(head: bytes) -> str | None:
    major = head[8:12]
    end = min(int.from_bytes(head[:4], "big"), len(head))
    compatible = {head[at : at + 4] for at in range(16, end, 4)}
    if major in _AVIF_BRANDS or (
        major in _ANY_CODEC_BRANDS and compatible & _AVIF_BRANDS and not compatible & _HEVC_BRANDS
    ):
        return "AVIF"
    return "HEIF" if major in _HEVC_BRANDS | _ANY_CODEC_BRANDS else None


def claimed_pixels(head: bytes) -> int:
    """The largest size in a HEIF or AVIF header: what is decoded, where the image as shown is only a part of it."""
    # ISO/IEC 23008-12, 6.5.3: a box of 20 bytes; version and flags, then width and height
    boxes = re.finditer(rb"\0\0\0\x14ispe.{4}(.{4})(.{4})", head[:HEADER_BYTES], re.DOTALL)
    return max((int.from_bytes(box[1], "big") * int.from_bytes(box[2], "big") for box in boxes), default=0)
