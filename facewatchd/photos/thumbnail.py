"""Makes thumbnails: a part of upright pixels, scaled down and written as a JPEG without metadata."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, BinaryIO, Final

import numpy as np
from PIL import Image

from facewatchd.photos import decode
from facewatchd.photos.crops import Crop, Thumbnail

if TYPE_CHECKING:
    from facewatchd.values import Pixels

_QUALITY: Final = 75
_HAIR: Final = 1e-6
"""Of a pixel: less than this is an error of rounding."""
_REDUCING_GAP: Final = 1.5
"""A picture is first reduced by a whole number, to no less than so many times the size, which takes less time
(Pillow's documentation of `Image.resize`)."""
_ROWS: Final = 3
"""Rows of the photo, as it is stored, that are read at least for each row of the thumbnail; others are left out. All of
12 megapixels would take four times as long to read for 400 x 300 (`python -m tests.benchmarks picturing`), and look the
same, but for the greys of pictures that are dithered in black and white."""


def of_file(file: BinaryIO, crop: Crop) -> tuple[Thumbnail, int, int]:
    """Make a thumbnail of an open photo. Also returns the width and height of the upright photo in full size.

    Raises as `decode.decode` does.
    """
    photo = decode.reduced(file, crop.least_scale)
    return of_pixels(photo.pixels, crop, photo.width, photo.height), photo.width, photo.height


def of_pixels(pixels: Pixels, crop: Crop, width: int, height: int) -> Thumbnail:
    """Make a thumbnail of upright pixels, which may be fewer than the photo's ``width`` and ``height``."""
    left, upper, right, lower = crop.part(width, height)
    scale = min(1.0, crop.size / max(right - left, lower - upper))
    size = max(1, round((right - left) * scale)), max(1, round((lower - upper) * scale))
    tall, wide = pixels.shape[0] / height, pixels.shape[1] / width
    columns, rows = _span(left * wide, right * wide), _span(upper * tall, lower * tall)
    x, y = columns.start, rows.start
    box = left * wide - x, upper * tall - y, right * wide - x, lower * tall - y
    image = _scaled(_cut(pixels, rows, columns), box, size)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return Thumbnail(buffer.getvalue(), *size)


def _span(start: float, end: float) -> slice:
    """The whole pixels of which a part lies between two edges."""
    return slice(math.floor(start + _HAIR), math.ceil(end - _HAIR))


def _scaled(pixels: Pixels, box: tuple[float, float, float, float], size: tuple[int, int]) -> Image.Image:
    """Scale a part of pixels: left, upper, right and lower edge, which may lie between them."""
    left, upper, right, lower = box
    # What EXIF data turn is scaled as it is stored, and the thumbnail is turned then: to read across or backwards takes
    # two or three times as long.
    if abs(pixels.strides[0]) < abs(pixels.strides[1]):
        across = _scaled(pixels.swapaxes(0, 1), (upper, left, lower, right), size[::-1])
        return across.transpose(Image.Transpose.TRANSPOSE)
    if pixels.strides[1] < 0:
        width = pixels.shape[1]
        mirrored = _scaled(pixels[:, ::-1], (width - right, upper, width - left, lower), size)
        return mirrored.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    step = max(1, int((lower - upper) / size[1] / _ROWS))
    image = Image.fromarray(np.ascontiguousarray(pixels[step // 2 :: step]))
    if image.size == size:
        return image
    part = max(left, 0), max(upper / step, 0), min(right, image.width), min(lower / step, image.height)
    return image.resize(size, Image.Resampling.LANCZOS, part, _REDUCING_GAP)


def _cut(pixels: Pixels, rows: slice, columns: slice) -> Pixels:
    """A part of pixels. Where it goes beyond them, the pixels of the edge are repeated."""
    beyond = [
        (max(-span.start, 0), max(span.stop - length, 0))
        for span, length in zip((rows, columns), pixels.shape[:2], strict=True)
    ]
    inside = pixels[max(rows.start, 0) : rows.stop, max(columns.start, 0) : columns.stop]
    if any(map(any, beyond)):
        return np.pad(inside, (*beyond, (0, 0)), mode="edge")
    return inside
