"""Where the files of each format have their EXIF data and their XMP packet. Nothing is decoded.

JPEG, PNG and WebP consist of parts with a length each: the parts that matter are read, and the others are passed over.
A TIFF is EXIF data itself. HEIF and AVIF are left to their decoders, which parse all but the pixels when they open one.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO, Final, NamedTuple

from facewatchd.photos import exif, jpeg, packets
from facewatchd.photos.signatures import SNIFF_BYTES

MOST_BYTES: Final = 16 << 20
"""Of one part that is read; those of a JPEG have 64 KB at most."""
_MOST_PARTS: Final = 100_000
"""Of one file. PNGs of some programs have their pixels in pieces of 8 KB."""
_EXIF, _XMP, _RAW = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"Raw profile type "
_XML: Final = b"XML:com.adobe.xmp"
_TEXTS: Final = (b"iTXt", b"zTXt", b"tEXt")
_KEYS: Final = (_XML + b"\0", *(_RAW + kind + b"\0" for kind in (b"exif", b"APP1", b"xmp")))
_MOST_KEY: Final = 80
_MOST_TEXTS: Final = 8
"""Of one PNG."""
_MOST_INFLATED: Final = 4 << 20
"""Bytes that one of them may inflate to."""
_XMP_OF_TIFF: Final = 700


class Metadata(NamedTuple):
    """The EXIF data and the XMP packets of a file; there may be none."""

    exif: exif.Read
    packets: list[bytes]
    width: int = 0
    """Pixels of the picture as it is stored; 0 where they were not read."""
    height: int = 0
    is_tiff: bool = False


def of(name: str, file: BinaryIO) -> Metadata:
    """Return what a file has of one of the `FORMATS`."""
    return FORMATS[name](file)


def _read_from(file: BinaryIO) -> exif.Read:
    def read(at: int, length: int) -> bytes:
        file.seek(at)
        return file.read(length)

    return read


def _of_jpeg(file: BinaryIO) -> Metadata:
    read, tags = _read_from(file), b""
    width = height = 0
    for marker, at, length in jpeg.segments(read):
        if marker in jpeg.FRAMES and not width:
            size = read(at, 5)
            height, width = int.from_bytes(size[1:3], "big"), int.from_bytes(size[3:5], "big")
        elif marker == jpeg.EXIF and not tags and read(at, 5) == _EXIF[:5]:
            tags = read(at, length)
    found = packets.jpeg_packets(file, jpeg.begin(read(0, SNIFF_BYTES)))
    return Metadata(exif.reader(tags), found, width, height)


def _of_png(file: BinaryIO) -> Metadata:
    read, tags, packet = _read_from(file), b"", b""
    for key, text in _png_texts(read):
        if not key:
            tags = text
        elif key == _XML:
            packet = packet or text
        elif (raw := _raw_profile(text)).startswith(_EXIF):
            tags = tags or raw
        else:
            packet = packet or raw.removeprefix(_XMP)
    size = read(16, 8)
    width, height = int.from_bytes(size[:4], "big"), int.from_bytes(size[4:], "big")
    return Metadata(exif.reader(tags), _some(packet), width, height)


def _png_texts(read: exif.Read) -> Iterator[tuple[bytes, bytes]]:
    """The first `_MOST_TEXTS` parts that are metadata: keyword, empty for EXIF data, and content."""
    left = _MOST_TEXTS
    for kind, at, length in _chunks(read):
        if kind == b"eXIf":
            yield b"", read(at, length)
        elif kind in _TEXTS and read(at, _MOST_KEY).startswith(_KEYS):
            yield _png_text(kind, read(at, length))
        else:
            continue
        left -= 1
        if not left:
            return


def _chunks(read: exif.Read) -> Iterator[tuple[bytes, int, int]]:
    """Kind, offset and length of each chunk of a PNG that has not `MOST_BYTES`."""
    at = 8
    for _ in range(_MOST_PARTS):
        head = read(at, 8)
        if len(head) < 8 or head[4:] == b"IEND":
            return
        length = int.from_bytes(head[:4], "big")
        if length < MOST_BYTES:
            yield head[4:], at + 8, length
        at += 12 + length


def _png_text(kind: bytes, body: bytes) -> tuple[bytes, bytes]:
    """The keyword and the text of a chunk."""
    key, _, rest = body.partition(b"\0")
    if kind == b"tEXt":
        return key, rest
    if kind == b"zTXt":
        return key, _inflated(rest[1:])
    _language, _, rest_ = rest[2:].partition(b"\0")
    _translated, _, text = rest_.partition(b"\0")
    return key, _inflated(text) if rest[:1] == b"\1" else text


def _inflated(data: bytes) -> bytes:
    with suppress(zlib.error):
        return zlib.decompressobj().decompress(data, _MOST_INFLATED)
    return b""


def _raw_profile(text: bytes) -> bytes:
    """What ImageMagick and exiftool keep as lines of hexadecimal digits, after the name and the length."""
    parts = re.split(rb"\s+", text.strip(), maxsplit=2)
    with suppress(ValueError):
        return bytes.fromhex(parts[2].decode("ascii", "replace")) if len(parts) == 3 else b""
    return b""


def _of_webp(file: BinaryIO) -> Metadata:
    read = _read_from(file)
    parts = {kind: (at, length) for kind, at, length in _riff(read)}
    tags, packet = (read(*parts[kind]) if kind in parts else b"" for kind in (b"EXIF", b"XMP "))
    return Metadata(exif.reader(tags), _some(packet), *_webp_size(read, parts))


def _webp_size(read: exif.Read, parts: dict[bytes, tuple[int, int]]) -> tuple[int, int]:
    """RFC 9649: of the canvas, else of the one picture."""
    if b"VP8X" in parts:
        head = read(parts[b"VP8X"][0] + 4, 6)
        return int.from_bytes(head[:3], "little") + 1, int.from_bytes(head[3:], "little") + 1
    if b"VP8L" in parts:
        bits = int.from_bytes(read(parts[b"VP8L"][0] + 1, 4), "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    head = read(parts.get(b"VP8 ", (0, 0))[0] + 6, 4)
    return int.from_bytes(head[:2], "little") & 0x3FFF, int.from_bytes(head[2:], "little") & 0x3FFF


def _riff(read: exif.Read) -> Iterator[tuple[bytes, int, int]]:
    """Kind, offset and length of each part of a WebP that has not `MOST_BYTES`; of pictures whatever they have."""
    at = 12
    for _ in range(_MOST_PARTS):
        head = read(at, 8)
        if len(head) < 8:
            return
        length = int.from_bytes(head[4:], "little")
        if head[:3] == b"VP8" or length < MOST_BYTES:
            yield head[:4], at + 8, length
        at += 8 + length + length % 2


def _of_tiff(file: BinaryIO) -> Metadata:
    read = _read_from(file)
    return Metadata(read, _some(exif.value(read, _XMP_OF_TIFF, MOST_BYTES)), is_tiff=True)


def _some(packet: bytes) -> list[bytes]:
    return [packet] if packet else []


FORMATS: Final = {"JPEG": _of_jpeg, "PNG": _of_png, "TIFF": _of_tiff, "WEBP": _of_webp}
"""Those whose files are read here."""
