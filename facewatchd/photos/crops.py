"""What a thumbnail shows: a face with a margin, or a whole photo; no decoder is imported here."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, NamedTuple

from facewatchd.matches import Box

LEAST: Final = 16
"""Pixels of the longer side of the smallest thumbnail that is made,"""
MOST: Final = 2048
"""and of the largest."""
FACE: Final = 160
"""The usual side of a face's thumbnail in pixels."""
KEPT_FACE: Final = 256
"""The side of the one that is made of each face while its photo is indexed. Smaller ones are made of it."""
KEPT_PHOTO: Final = 400
"""The longer side of the one that is made of each photo with a face while it is indexed. Smaller ones are made of it.
The largest of `client.album` of which 300 fit into an album, beside the faces
(`python -m tests.benchmarks saving`)."""
_MARGIN: Final = 0.35
"""What is added on each side of a face, as a part of its longer side: hair, chin and ears are on it."""
_UP: Final = 0.06
"""By what part of its longer side the middle is moved up: a detector's box ends at the chin, and above the brows."""


class Crop(NamedTuple):
    """What is asked for."""

    size: int
    """Most pixels of the longer side, from `LEAST` to `MOST`. A thumbnail is never larger than what it shows."""
    box: Box | None = None
    """A face in pixels of the upright photo, which is shown with a margin as a square; None: the whole photo."""

    def part(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, upper, right and lower edge of what is shown of an upright photo of this size.

        A square stays inside the photo where it can. It goes beyond it where the face itself is longer than the
        photo's shorter side. Of a box that is not inside the photo, what is beyond is left out, and no memory taken.
        """
        if self.box is None:
            return 0, 0, width, height
        x, y = min(self.box.x, width - 1), min(self.box.y, height - 1)
        w, h = min(self.box.w, width - x), min(self.box.h, height - y)
        longer = max(w, h)
        side = max(longer, min(round(longer * (1 + 2 * _MARGIN)), width, height))
        left = _inside(x + w / 2 - side / 2, side, width)
        upper = _inside(y + h / 2 - min(_UP * longer, (side - h) / 2) - side / 2, side, height)
        return left, upper, left + side, upper + side

    def is_inside(self, width: int, height: int) -> bool:
        """Whether the face lies on an upright photo of this size."""
        return self.box is None or (self.box.x + self.box.w <= width and self.box.y + self.box.h <= height)

    def least_scale(self, width: int, height: int) -> float:
        """The scale, at most 1, at which what is shown of a photo of this size still has as many pixels as wanted."""
        left, upper, right, lower = self.part(width, height)
        return min(1.0, self.size / max(right - left, lower - upper))


def of_face(box: Box) -> Crop:
    """The thumbnail of a face that is made while its photo is indexed."""
    return Crop(KEPT_FACE, box)


def of_photo() -> Crop:
    """The thumbnail of a photo that is made while it is indexed."""
    return Crop(KEPT_PHOTO)


def while_indexing(faces: Iterable[Box]) -> list[Crop]:
    """The thumbnails that are made while a photo with these faces is indexed: of each face, then of the photo.

    A photo without a face has none: nothing asks for it.
    """
    of_faces = [of_face(box) for box in faces]
    return [*of_faces, of_photo()] if of_faces else []


class Thumbnail(NamedTuple):
    """A JPEG without metadata: baseline, three components of 8 bits (`inference.validation.jpeg`)."""

    jpeg: bytes
    width: int
    """In pixels, as ``height``."""
    height: int


def _inside(start: float, length: int, whole: int) -> int:
    """Where a part of some length begins that lies inside of the whole, or around its middle where it is longer."""
    if length > whole:
        return (whole - length) // 2
    return min(max(math.floor(start), 0), whole - length)
