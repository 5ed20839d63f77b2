"""JPEG files: the ordinary ones in little more than half of Pillow's time, and the odd ones that viewers show.

The one module that knows simplejpeg and imagecodecs.

libjpeg-turbo writes the very pixels that are asked for, where Pillow has it write four bytes for each and packs them
afterwards. The pixels are the same. Whatever is not as it should be is left to Pillow.

What Pillow refuses may lack nothing but its end marker, or have a trailer in its place. `mended` gives it one, where
its scans hold all components to the last bit, and `decode` says whether the rows are all there: libjpeg warns when the
data of a scan end early.
"""

from __future__ import annotations

import contextlib
import functools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import simplejpeg

if TYPE_CHECKING:
    from facewatchd.records import Pixels

_BEFORE: Final = re.compile(rb"(?:\xef\xbb\xbf|[\0\t\n\r ])*((?:\xff\xd8)+)\xff[\xc0-\xfe]")
"""What some programs leave before a JPEG: a byte order mark, line ends, another start marker."""
_MARKER: Final = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")
"""A marker, also after scan data, where FF00 is data and FFD0 to FFD7 are restarts."""
_EOI, _SOI, _SOS, _EXIF = 0xD9, 0xD8, 0xDA, 0xE1
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_HUFFMAN: Final = frozenset({0xC0, 0xC1, 0xC2})
"""Baseline, extended and progressive. Arithmetic data may end anywhere: that they are whole cannot be told."""
_PROGRESSIVE, _LOSSLESS = 0xC2, 0xC3
_EXTRANEOUS: Final = re.compile(r"(\d+) extraneous bytes before marker 0xd9")


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
    """Where the picture begins: after what does not belong there."""
    found = _BEFORE.match(data)
    return found.end(1) - 2 if found else 0


def decode(data: bytes, orientation: int) -> Pixels | None:
    """Decode to RGB, upright, in full size: uint8 (height, width, 3), contiguous; None where there is any doubt.

    ``orientation``: EXIF's, 1 to 8.
    """
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(data, "RGB", strict=True)  # a mere warning is a doubt as well
    except (ValueError, RuntimeError):
        return None
    return turned(pixels, orientation)


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
    end: int = 0
    """Where the data of the scan end that completes the picture; 0 where it is not complete."""
    missing: dict[tuple[int, int], int] = field(default_factory=dict)
    """Bits that were not sent yet, by component and coefficient. Only of progressive frames."""

    def note_scan(self, header: bytes) -> bool:
        """Take in a scan; return whether the picture is complete with it."""
        count = header[0]
        first, last, bit = header[1 + 2 * count], header[2 + 2 * count], header[3 + 2 * count] & 15
        if self.frame != _PROGRESSIVE:
            first, last, bit = 0, 63, 0
        for component in header[1 : 1 + 2 * count : 2]:
            for coefficient in range(first, min(last, 63) + 1):
                self.missing[component, coefficient] = bit
        return all(not self.missing.get((one, other), 1) for one in self.components for other in range(64))


def layout(data: bytes) -> Layout:
    """Read the markers up to the end of the picture. Raises IndexError where they make no sense."""
    found, at = Layout(), 2
    while (match := _MARKER.match(data, at)) is not None:
        marker, at = match[1][0], match.end()
        if marker in (_EOI, _SOI):
            break
        length = int.from_bytes(data[at : at + 2], "big")
        segment, at = data[at + 2 : at + length], at + max(length, 2)
        if marker in _FRAMES and not found.frame:
            found.frame, found.bits, found.components = marker, segment[0], segment[6::3]
            found.height, found.width = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
        elif marker == _EXIF and segment.startswith(b"Exif\0") and not found.exif:
            found.exif = segment
        elif marker == _SOS:
            follows = _MARKER.search(data, at)
            at = follows.start() if follows else len(data)
            if found.note_scan(segment):
                found.end = at
                break
    return found


def mended(data: bytes) -> bytes | None:
    """Return the JPEG up to the end of its picture, with an end marker; None where anything of it is missing."""
    try:
        found = layout(data)
    except IndexError:
        return None
    if not found.end or found.frame not in _HUFFMAN or found.bits != 8:
        return None
    whole = data[: found.end] + b"\xff\xd9"
    colours = "CMYK" if len(found.components) == 4 else "RGB"
    for _ in range(2):
        try:
            simplejpeg.decode_jpeg(whole, colours, strict=True)
        except (ValueError, RuntimeError) as exc:  # a trailer's text ends where its first marker is
            extra = _EXTRANEOUS.search(str(exc))
            if extra is None:
                return None
            whole = whole[: -2 - int(extra[1])] + b"\xff\xd9"
        else:
            return whole
    return None


def is_deep(found: Layout) -> bool:
    """Whether the samples have more than 8 bits, or are stored without loss: Pillow reads neither."""
    return bool(found.frame) and (found.bits != 8 or found.frame == _LOSSLESS)


def decode_deep(data: bytes, found: Layout, orientation: int) -> Pixels:
    """Decode a JPEG that `is_deep` to RGB, upright. Raises ImportError without imagecodecs, and its errors."""
    if not data.rstrip(b"\0").endswith(b"\xff\xd9"):
        raise EOFError("no end marker")
    import imagecodecs

    samples = np.asarray(imagecodecs.jpeg8_decode(data))
    if samples.ndim == 3 and samples.shape[2] != 3:
        raise ImportError("four colours")
    if samples.ndim == 2:
        samples = np.repeat(samples[:, :, None], 3, axis=2)
    shift = found.bits - 8
    pixels: Pixels = np.ascontiguousarray(samples >> shift if shift > 0 else samples << -shift, dtype=np.uint8)
    return turned(pixels, orientation)


def turned(pixels: Pixels, orientation: int) -> Pixels:
    """Turn pixels upright, by their EXIF orientation."""
    if orientation == 1:
        return pixels
    cv2 = _opencv()
    if orientation in (5, 7):
        pixels = cv2.transpose(pixels)
    turns = {3: cv2.ROTATE_180, 6: cv2.ROTATE_90_CLOCKWISE, 7: cv2.ROTATE_180, 8: cv2.ROTATE_90_COUNTERCLOCKWISE}
    flips = {2: 1, 4: 0}  # which axis OpenCV mirrors
    if orientation in turns:
        pixels = cv2.rotate(pixels, turns[orientation])
    elif orientation in flips:
        pixels = cv2.flip(pixels, flips[orientation])
    return pixels


def load() -> None:
    """Import OpenCV, and imagecodecs where it is installed."""
    _opencv()
    try:
        import imagecodecs
    except ImportError:
        return
    for name in _CODECS:
        with contextlib.suppress(ImportError, AttributeError):  # each by itself: a build may lack some
            getattr(imagecodecs, f"{name}_decode")


@functools.cache
def _opencv() -> Any:
    """OpenCV turns pictures in half of numpy's time; it takes a while to import, and not every process decodes."""
    import cv2

    cv2.setNumThreads(1)  # as the callers promise
    return cv2
