"""The part of a photo that is shown around a face, with the face's box drawn into it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from facewatchd.matches import Box
from facewatchd.pictures.fonts import Line
from facewatchd.pictures.pages import EMPTY, FAINT

if TYPE_CHECKING:
    from facewatchd.photos.decode import Reduced

SCENE: Final = 3.0
"""Longer sides of a face that a match's picture shows: the face stays a third of the picture's side."""
PORTRAIT: Final = 1.7
"""The same for a face that is asked for, as in the daemon's own pictures (`photos.crops`)."""
_MARGIN: Final = 1.15
"""Parts of the extent of several faces that are shown together."""
_ABOVE: Final = 0.42
"""Part of the picture above the middle of the faces: what is below a head tells more than what is above."""
_REDUCING_GAP: Final = 3.0
"""As in `photos.thumbnail`."""
_BOX: Final = "#ffd34d"
_EDGE: Final = "#000000"


class Region(NamedTuple):
    """A rectangle in pixels, right and bottom excluded."""

    left: int
    top: int
    right: int
    bottom: int


def region(boxes: Sequence[Box], width: int, height: int, sides: float = SCENE) -> Region | None:
    """Return the part of a photo of this size to show: a square around the boxes, the whole photo without any.

    Its side is ``sides`` times the longer side of the largest box, at least the extent of all boxes with a margin, and
    at most what the photo has: only where the boxes themselves ask for more is it not square. It is moved into the
    photo at its edges. None if a box is empty or does not lie in the photo, which then is not the one in which the
    faces were found.
    """
    if not boxes:
        return Region(0, 0, width, height)
    if any(min(box) < 0 or not box.w or not box.h or box.x + box.w > width or box.y + box.h > height for box in boxes):
        return None
    x, y = min(box.x for box in boxes), min(box.y for box in boxes)
    wide, tall = max(box.x + box.w for box in boxes) - x, max(box.y + box.h for box in boxes) - y
    wanted = round(max(max(box.w, box.h) for box in boxes) * sides)
    side = max(min(wanted, width, height), round(max(wide, tall) * _MARGIN))
    across, down = min(side, width), min(side, height)
    left = min(max(x + (wide - across) // 2, 0), width - across)
    top = min(max(y + tall // 2 - round(down * _ABOVE), 0), height - down, y)
    return Region(left, max(top, y + tall - down), left + across, max(top, y + tall - down) + down)


def least_scale(boxes: Sequence[Box], width: int, height: int, side: int, sides: float = SCENE) -> float:
    """Return the scale, at most 1, at which the part of a photo has the pixels of a picture of ``side`` pixels."""
    part = region(boxes, width, height, sides)
    if part is None:
        return 1.0
    return min(1.0, side / max(part.right - part.left, part.bottom - part.top))


def scene(photo: Reduced, boxes: Sequence[Box], side: int, sides: float = SCENE, line: int = 2) -> Image.Image | None:
    """Return a square picture of ``side`` pixels with the faces' boxes; None where they do not fit the photo.

    ``line``: the width of a box's lines in pixels, 0 for no boxes.
    """
    part = region(boxes, photo.width, photo.height, sides)
    if part is None:
        return None
    longest = max(part.right - part.left, part.bottom - part.top)
    scale = side / longest
    size = (max(1, round((part.right - part.left) * scale)), max(1, round((part.bottom - part.top) * scale)))
    left, top = (side - size[0]) // 2, (side - size[1]) // 2
    picture = Image.new("RGB", (side, side), EMPTY)
    picture.paste(_cut(photo, part).resize(size, Image.Resampling.LANCZOS, reducing_gap=_REDUCING_GAP), (left, top))
    if line:
        for box in boxes:
            x, y = left + (box.x - part.left) * scale, top + (box.y - part.top) * scale
            draw_box(picture, (x, y, x + box.w * scale, y + box.h * scale), line)
    return picture


def _cut(photo: Reduced, part: Region) -> Image.Image:
    """Return a part of a photo in the pixels that there are of it."""
    height, width = photo.pixels.shape[:2]
    across, down = width / photo.width, height / photo.height
    left, top = round(part.left * across), round(part.top * down)
    right, bottom = max(round(part.right * across), left + 1), max(round(part.bottom * down), top + 1)
    return Image.fromarray(np.ascontiguousarray(photo.pixels[top:bottom, left:right]))


def draw_box(picture: Image.Image, corners: tuple[float, float, float, float], line: int) -> None:
    """Draw a face's box with round corners, and a dark edge that sets it off any photo."""
    left, top, right, bottom = map(round, corners)
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    radius = max(0, min(2 * line, (right - left) // 2, (bottom - top) // 2))
    pen = ImageDraw.Draw(picture, "RGBA")
    pen.rounded_rectangle((left - 1, top - 1, right + 1, bottom + 1), radius, outline=_EDGE + "90", width=line + 2)
    pen.rounded_rectangle((left, top, right, bottom), radius, outline=_BOX, width=line)


def fetched(jpeg: bytes, side: int) -> Image.Image | None:
    """Return a picture that the daemon made, as a square of ``side`` pixels; None where it is none."""
    try:
        with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
            return ImageOps.pad(image.convert("RGB"), (side, side), Image.Resampling.LANCZOS, EMPTY)
    except OSError:
        return None


def placeholder(reason: str, side: int) -> Image.Image:
    """Return an empty picture with a word that says why."""
    picture = Image.new("RGB", (side, side), EMPTY)
    line = Line(reason, max(8, side // 11))
    line.draw(ImageDraw.Draw(picture), ((side - line.length) / 2, side / 2 + line.size * 0.35), FAINT)
    return picture
