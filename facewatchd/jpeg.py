"""Ordinary JPEGs, in little more than half of Pillow's time: the one module that knows simplejpeg.

libjpeg-turbo writes the very pixels that are asked for, where Pillow has it write four bytes for each and packs them
afterwards. The pixels are the same. Whatever is not as it should be is left to Pillow, whose word counts.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import simplejpeg

if TYPE_CHECKING:
    from facewatchd.records import Pixels


def decode(data: bytes, orientation: int) -> Pixels | None:
    """Decode to RGB, upright, in full size: uint8 (height, width, 3), contiguous; None where there is any doubt.

    ``orientation``: EXIF's, 1 to 8.
    """
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(data, "RGB", strict=True)  # a mere warning is a doubt as well
    except (ValueError, RuntimeError):
        return None
    return pixels if orientation == 1 else _turned(pixels, orientation)


def _turned(pixels: Pixels, orientation: int) -> Pixels:
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


@functools.cache
def _opencv() -> Any:
    """OpenCV turns pictures in half of numpy's time; it takes a while to import, and not every process decodes."""
    import cv2

    cv2.setNumThreads(1)  # as the callers promise
    return cv2
