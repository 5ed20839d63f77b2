"""Scale an image, and cut a face from it, where the image is a view: turned, mirrored or a part of another.

A photo that EXIF data turns comes as a view of its pixels as they are stored (`photos.decode`). OpenCV takes an array
whose rows run upwards, or whose rows and columns are exchanged, only as a copy, which it would make anew for each call.
So both functions work on the pixels in the order in which they lie in memory, and turn what they return.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facewatchd.values import Pixels


class _Stored(NamedTuple):
    """An image in the order of memory, and the three steps that make the view of it again."""

    pixels: Pixels
    is_upside_down: bool
    is_mirrored: bool
    is_transposed: bool
    """Whether rows and columns are exchanged, after the other two steps."""

    def to_view(self) -> NDArray[np.float64]:
        """Return the matrix (3, 3) that takes x, y, 1 in the stored image to those in the view."""
        height, width = self.pixels.shape[:2]
        matrix = np.eye(3)
        if self.is_mirrored:
            matrix[0] = -1, 0, width - 1
        if self.is_upside_down:
            matrix[1] = 0, -1, height - 1
        return matrix[[1, 0, 2]] if self.is_transposed else matrix


def resized(image: Pixels, width: int, height: int) -> Pixels:
    """Scale an image, linearly, to ``width`` x ``height`` pixels; contiguous."""
    stored = _stored(image)
    small = cv2.resize(stored.pixels, (height, width) if stored.is_transposed else (width, height))
    if stored.is_upside_down:
        small = cv2.flip(small, 0)
    if stored.is_mirrored:
        small = cv2.flip(small, 1)
    if stored.is_transposed:
        small = cv2.transpose(small)
    return np.asarray(small, dtype=np.uint8)


def warped(image: Pixels, matrix: NDArray[np.float64], side: int) -> Pixels:
    """Cut a square of ``side`` pixels: ``matrix`` (2, 3) takes a place in the image to its place in the square.

    What lies beyond the image is black.
    """
    stored = _stored(image)
    across = matrix @ stored.to_view()
    return np.asarray(cv2.warpAffine(stored.pixels, across, (side, side), borderValue=0.0), dtype=np.uint8)


def _stored(image: Pixels) -> _Stored:
    is_transposed = abs(image.strides[0]) < abs(image.strides[1])
    pixels = image.transpose(1, 0, 2) if is_transposed else image
    down, across = (stride < 0 for stride in pixels.strides[:2])
    return _Stored(pixels[:: -1 if down else 1, :: -1 if across else 1], down, across, is_transposed)
