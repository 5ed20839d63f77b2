"""JPEG files: ordinary ones in little more than half of Pillow's time, and irregular ones that viewers show.

The one module that imports simplejpeg and imagecodecs.

`decode` has libjpeg-turbo write three bytes a pixel, where Pillow has it write four and packs them afterwards. The
pixels are the same. A file with any irregularity is left to Pillow.

A picture may lack its end marker, have a trailer in its place, or broken segments beside it. `continued` extracts the
picture. Whether it is whole is found by decoding it several times with different bytes after the data of the last scan:
they change the pixels if rows are missing, because the decoder takes them for data.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import simplejpeg

from facewatchd.photos.signatures import SNIFF_BYTES

if TYPE_CHECKING:
    from facewatchd.photos.exif import Read
    from facewatchd.values import Pixels

_BEFORE: Final = re.compile(rb"(?:\xef\xbb\xbf|[\0\t\n\r ]){0,64}((?:\xff\xd8){1,64})\xff[\xc0-\xfe]")
"""What some programs leave before a JPEG: a byte order mark, line ends, another start marker."""
_MARKER: Final = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
"""The next marker. In the data of a scan FF00 is data and FFD0 to FFD7 are restarts. One FF alone: a search for any
number of them takes time by the square of that number."""
_TEM, _SOI, _EOI, _SOS, _JFIF, EXIF, _ADOBE = 0x01, 0xD8, 0xD9, 0xDA, 0xE0, 0xE1, 0xEE
_LEAST: Final = {_JFIF: 14, _ADOBE: 12}
"""Bytes that the segments have at least that say how the colours are stored: shorter ones are something else."""
FRAMES: Final = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
"""0xF7 is JPEG-LS."""
_MOST_SEGMENTS: Final = 10_000
_MOST_BESIDE: Final = 1 << 12
"""Bytes that are no segment between two of them, of a file of which only the headers are read."""
_LOSSLESS: Final = 0xC3
_PROGRESSIVE: Final = frozenset({0xC2, 0xCA})
_HUFFMAN: Final = frozenset({0xC0, 0xC1, 0xC2, _LOSSLESS})
"""Baseline, extended, progressive and lossless."""
_ARITHMETIC: Final = frozenset({0xC9, 0xCA})
"""Sequential and progressive. Their data may end anywhere: without an end marker nothing tells that they are whole."""
_ZEROS: Final = 16
"""More zeros than this at the end are not data: a copy that was never finished, or padding."""
_PADS: Final = (
    b"",
    b"".join(b"\xff\0" * 9 + bytes([0xFF, 0xD0 + number]) for number in (0, 1, 2, 3, 4, 5, 6, 7)),
    b"".join(b"Z\xc3" * 9 + bytes([0xFF, 0xD0 + number]) for number in (4, 5, 6, 7, 0, 1, 2, 3)),
)
"""What is laid after the data of the last scan: nothing, which a decoder takes for zeros, or noise with each of the
restarts that it may wait for. It passes over a marker that is one or two after the one it waits for: hence both."""


_SCALES: Final = (8, 4, 2)
"""An eighth, a quarter and half: 12 megapixels take 24, 28 and 31 ms, and 42 in full size. The decoder's others are
slower than that (35 to 77 ms), as only these are vectorised."""
_CODECS: Final = (
    "jpeg8",
    "lzw",
    "zlib",
    "deflate",
    "packbits",
    "webp",
    "zstd",
    "lzma",
    "delta",
    "floatpred",
    "packints",
)
"""Of imagecodecs, which imports each where it is first named: those of deep JPEGs, and those that tifffile asks for."""


def begin(data: bytes) -> int:
    """The offset of the picture's start marker."""
    found = _BEFORE.match(data)
    return found.end(1) - 2 if found else 0


def decode(data: bytes, size: tuple[int, int] = (0, 0), least: float = 1.0) -> Pixels | None:
    """Decode to RGB, as stored: uint8 (height, width, 3); None where there is any doubt.

    In full size, or at a scale of `_SCALES` that is not below the ``least`` one. ``size``: width and height in full.
    """
    part = next((part for part in _SCALES if part * least <= 1), 1)
    width, height = (-(-side // part) for side in size) if part > 1 else (0, 0)
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(data, "RGB", min_width=width, min_height=height, strict=True)
    except (ValueError, RuntimeError):  # a mere warning is a doubt as well
        return None
    return pixels


@dataclass(slots=True)
class Layout:
    """What the markers of a JPEG say."""

    frame: int = 0
    """The marker of the frame: baseline, progressive ...; 0 where there is none."""
    bits: int = 0
    width: int = 0
    height: int = 0
    components: bytes = b""
    exif: bytes = b""
    beside: list[tuple[int, int]] = field(default_factory=list)
    """From where to where there is what the picture does not need."""
    end: int = 0
    """Where the data of the last scan end; 0 where there is none."""
    is_complete: bool = False
    """Whether the scans hold all there is to say of each component."""
    has_end: bool = False
    """Whether the end marker follows the last scan."""
    missing: dict[tuple[int, int], int] = field(default_factory=dict)
    """Bits that were not sent yet, by component and coefficient. Only of progressive frames."""

    @property
    def is_read(self) -> bool:
        """Whether there is a decoder for this kind of frame."""
        return self.frame in _HUFFMAN | _ARITHMETIC

    @property
    def is_deep(self) -> bool:
        """Whether the samples have more than 8 bits, or are stored without loss: Pillow reads neither."""
        return self.bits != 8 or self.frame == _LOSSLESS

    def note_scan(self, header: bytes) -> bool:
        """Take in a scan; return whether the picture is complete with it."""
        count = header[0]
        first, last, bit = header[1 + 2 * count], header[2 + 2 * count], header[3 + 2 * count] & 15
        if self.frame not in _PROGRESSIVE:
            first, last, bit = 0, 63, 0
        for component in header[1 : 1 + 2 * count : 2]:
            for coefficient in range(first, min(last, 63) + 1):
                self.missing[component, coefficient] = bit
        return all(not self.missing.get((one, other), 1) for one in self.components for other in range(64))


def layout(data: bytes) -> Layout:
    """Read the markers up to the end of the picture. Raises IndexError where they make no sense."""
    found, at = Layout(), 2
    while (match := _MARKER.search(data, at)) is not None:
        if match.start() > at:
            found.beside.append((at, match.start()))
        start, marker, at = match.start(), match[1][0], match.end()
        if marker in (_EOI, _SOI):
            found.has_end = marker == _EOI and bool(found.end)
            break
        length = 0 if marker == _TEM else int.from_bytes(data[at : at + 2], "big")
        segment, at = data[at + 2 : at + length], at + length
        if marker in FRAMES and not found.frame:
            found.frame, found.bits, found.components = marker, segment[0], segment[6::3]
            found.height, found.width = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
        elif marker == _SOS:
            follows = _MARKER.search(data, at)
            found.end = at = follows.start() if follows else len(data)
            if found.note_scan(segment):
                found.is_complete = True
                found.has_end = data[at : at + 2] == bytes([0xFF, _EOI])
                break
        elif marker >= _JFIF or marker == _TEM:
            if len(segment) < _LEAST.get(marker, len(segment) + 1):
                found.beside.append((start, at))
            if marker == EXIF and segment.startswith(b"Exif\0") and not found.exif:
                found.exif = segment
    return found


def segments(read: Read) -> Iterator[tuple[int, int, int]]:
    """Marker, offset and length of each segment up to the first scan, whose rest is not read."""
    at = begin(read(0, SNIFF_BYTES)) + 2
    for _ in range(_MOST_SEGMENTS):
        found = _MARKER.match(head := read(at, 4)) or _MARKER.search(read(at, _MOST_BESIDE))
        if found is None:
            return
        if found.start() or len(head) < 4:
            at += found.start()
            head = read(at, 4)
        marker, length = found[1][0], int.from_bytes(head[2:4], "big")
        if marker in (_EOI, _SOI, _SOS) or len(head) < 4:
            return
        if marker == _TEM:
            at += 2
            continue
        yield marker, at + 4, max(length - 2, 0)
        at += 2 + max(length, 2)


def continued(data: bytes, found: Layout) -> Iterator[bytes]:
    """The picture alone, each time with something else after its data: whole pictures come out the same.

    Raises EOFError where part of it is missing for sure.
    """
    if not found.end or not (found.has_end or (found.is_complete and found.frame in _HUFFMAN)):
        raise EOFError("a part of the picture is missing")
    parts, at = [], 0
    for start, end in found.beside:
        parts.append(data[at:start])
        at = end
    last = data[at : found.end].rstrip(b"\xff")
    if not found.has_end and len(last) - len(without := last.rstrip(b"\0")) > _ZEROS:
        last = without + b"\0" * without.endswith(b"\xff")
    for pad in _PADS if found.frame in _HUFFMAN else _PADS[:1]:
        yield b"".join([*parts, last, pad, bytes([0xFF, _EOI])])


def decode_deep(data: bytes, bits: int) -> Pixels:
    """Decode a JPEG that `is_deep` to RGB, as stored. Raises ImportError without imagecodecs, and its errors."""
    import imagecodecs

    samples = np.asarray(imagecodecs.jpeg8_decode(data))
    if samples.ndim == 3 and samples.shape[2] != 3:
        raise ImportError("four colours")
    if samples.ndim == 2:
        samples = np.repeat(samples[:, :, None], 3, axis=2)
    shift = bits - 8
    pixels: Pixels = np.ascontiguousarray(samples >> shift if shift > 0 else samples << -shift, dtype=np.uint8)
    return pixels


def load() -> None:
    """Import imagecodecs where it is installed."""
    try:
        import imagecodecs
    except ImportError:
        return
    for name in _CODECS:
        with contextlib.suppress(ImportError, AttributeError):  # each by itself: a build may lack some
            getattr(imagecodecs, f"{name}_decode")
