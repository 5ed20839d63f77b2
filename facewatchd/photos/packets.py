"""XMP packets: where a JPEG keeps them, and their XML as a tree.

A packet comes from a file that anybody may have made. It is parsed with defusedxml, which refuses document types and
entities, so nothing in it can grow or be fetched; its bytes and its elements are counted before that.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO, Final
from xml.etree.ElementTree import ParseError

from defusedxml.ElementTree import fromstring

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MOST_BYTES: Final = 16 << 20
"""Bytes of a packet that are parsed. The regions of a hundred faces take some 50 kB; depth maps, which some phones put
into extended XMP, take megabytes."""
MOST_ELEMENTS: Final = 100_000
"""Elements of a packet that are parsed, counted by their ``<``; a region takes up to 20 of them."""
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")
RDF: Final = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_STANDARD: Final = b"http://ns.adobe.com/xap/1.0/\0"
_EXTENSION: Final = b"http://ns.adobe.com/xmp/extension/\0"
_EXTENSION_HEADER: Final = 32 + 4 + 4
"""Bytes before the data of a part of extended XMP: the digest of the whole, its length, and this part's offset."""
_APP1: Final = 0xE1
_BEFORE_SCAN: Final = frozenset(range(0xC0, 0xFF)) - {0xD8, 0xD9, 0xDA}
_MOST_SEGMENTS: Final = 4096


class InvalidXmpError(ValueError):
    """A packet that is not read; the message says why, for users."""


def parse(packet: bytes) -> Element:
    """Return the root of a packet's XML. Raises `InvalidXmpError`."""
    if not packet.startswith(_UTF_16):
        packet = packet.strip(b"\0 \t\r\n")  # Pillow hands out the padding too
    if len(packet) > MOST_BYTES:
        raise InvalidXmpError(f"its XMP has more than {MOST_BYTES >> 20} MiB")
    if packet.count(b"<") > MOST_ELEMENTS:
        raise InvalidXmpError(f"its XMP has more than {MOST_ELEMENTS} elements")
    try:
        root: Element = fromstring(packet, forbid_dtd=True)
    except (ParseError, ValueError, LookupError, RecursionError, OSError) as exc:
        # ValueError: defusedxml's, too. OSError: an encoding is not loaded, where no file can be opened any more.
        raise InvalidXmpError("its XMP is no XML that can be read") from exc
    return root


def jpeg_packets(file: BinaryIO, begin: int = 0) -> list[bytes]:
    """The packets of a JPEG that starts at ``begin``: the standard one, and the extended ones that are whole.

    Only the headers of segments, and XMP's own segments, are read, up to the first scan.
    """
    packets: list[bytes] = []
    extended: dict[tuple[bytes, int], list[tuple[int, bytes]]] = {}
    total = 0
    for segment in _app1_segments(file, begin + 2):
        total += len(segment)
        if total > 2 * MOST_BYTES:
            break
        if segment.startswith(_STANDARD):
            packets.append(segment.removeprefix(_STANDARD))
        elif segment.startswith(_EXTENSION) and len(segment) > len(_EXTENSION) + _EXTENSION_HEADER:
            header = segment[len(_EXTENSION) :][:_EXTENSION_HEADER]
            key = header[:32], int.from_bytes(header[32:36], "big")
            part = segment[len(_EXTENSION) + _EXTENSION_HEADER :]
            extended.setdefault(key, []).append((int.from_bytes(header[36:40], "big"), part))
    for (_, length), parts in extended.items():
        joined = b"".join(part for _, part in sorted(parts))
        if len(joined) == length:
            packets.append(joined)
    return packets


def _app1_segments(file: BinaryIO, at: int) -> list[bytes]:
    """The contents of a JPEG's APP1 segments before its first scan, from the offset of its first marker."""
    found: list[bytes] = []
    for _ in range(_MOST_SEGMENTS):
        file.seek(at, io.SEEK_SET)
        header = file.read(4)
        if len(header) < 4 or header[0] != 0xFF:
            break
        if header[1] == 0xFF:  # a fill byte
            at += 1
            continue
        length = int.from_bytes(header[2:4], "big")
        if header[1] not in _BEFORE_SCAN or length < 2:
            break
        if header[1] == _APP1:
            found.append(file.read(length - 2))
        at += 2 + length
    return found
