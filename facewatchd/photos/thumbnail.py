"""Makes thumbnails: a part of upright pixels, scaled down and written as a JPEG without metadata."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO, Final

import numpy as np
from PIL import Image

from facewatchd.photos import decode
from facewatchd.photos.crops import Crop, Thumbnail

if TYPE_CHECKING:
    from facewatchd.values import Pixels

_QUALITY: Final = 75
_REDUCING_GAP: Final = 2.0
"""A picture is first reduced by a whole number, to no less than so many times the size: that takes half of the time,
and looks as well (Pillow's documentation of `Image.resize`)."""


def of_file(file: BinaryIO, crop: Crop) -> tuple[Thumbnail, int, int]:
    """Make a thumbnail of an open photo. Also returns the width and height of the upright photo in full size.

    Raises as `decode.decode` does.
    """
    photo = decode.reduced(file, crop.least_scale)
    return of_pixels(photo.pixels, crop, photo.width, photo.height), photo.width, photo.height


def of_pixels(pixels: Pixels, crop: Crop, width: int, height: int) -> Thumbnail:
    """Make a thumbnail of upright pixels, which may be fewer than the photo's ``width`` and ``height``."""
    left, upper, right, lower = crop.part(width, height)
    tall, wide = pixels.shape[0] / height, pixels.shape[1] / width
    shown = _cut(pixels, round(left * wide), round(upper * tall), round(right * wide), round(lower * tall))
    scale = min(1.0, crop.size / max(right - left, lower - upper))
    size = max(1, round((right - left) * scale)), max(1, round((lower - upper) * scale))
    image = Image.fromarray(shown)
    if image.size != size:
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=_REDUCING_GAP)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return Thumbnail(buffer.getvalue(), *size)


def _cut(pixels: Pixels, left: int, upper: int, right: int, lower: int) -> Pixels:
    """A part of pixels. Where it goes beyond them, the pixels of the edge are repeated."""
    height, width = pixels.shape[:2]
    right, lower = max(right, left + 1), max(lower, upper + 1)
    inside = pixels[max(upper, 0) : min(lower, height), max(left, 0) : min(right, width)]
    beyond = (
        (max(-upper, 0), max(lower - height, 0)),
        (max(-left, 0), max(right - width, 0)),
        (0, 0),
    )
    if any(map(any, beyond)):
        return np.pad(inside, beyond, mode="edge")
    return np.ascontiguousarray(inside)
