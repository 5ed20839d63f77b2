"""The outline of a photo of another machine, which cannot be opened here: its shape, and where the faces are on it.

The shared engine holds how large a photo is and the boxes of its faces, but no picture. So there is a frame of the
photo's shape with a disc in the place of each face that matches; where the size is not known, a frame of the usual
shape with one in its middle. Standard library only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from facewatchd.matches import Box

NOT_HERE: Final = "not on this machine"
LEAST: Final = 0.1
"""Parts of the frame's shorter side that a disc has at least, so that it is seen."""
_USUAL_SHAPE: Final = (4, 3)
_LONGEST_SHAPE: Final = 3.0
"""Times its shorter side that a frame is long at most: a panorama's would be a line."""
_VIEW: Final = (100, 68)
"""Width and height of the drawing in a page, in its own units."""


class Area(NamedTuple):
    """Where a frame, or a disc on it, lies; the unit is the caller's."""

    left: float
    top: float
    width: float
    height: float


class Outline(NamedTuple):
    """A frame, and the discs on it."""

    frame: Area
    discs: tuple[Area, ...]


def outline(size: tuple[int, int], boxes: Sequence[Box], room: Area) -> Outline:
    """Return the frame of a photo of this size, as large as it fits into the room, and a disc for each face.

    ``size``: pixels; zeros where it is not known. A box that does not lie on the photo has no disc.
    """
    known = min(size) > 0
    across, down = size if known else _USUAL_SHAPE
    wide, tall = min(across, down * _LONGEST_SHAPE), min(down, across * _LONGEST_SHAPE)
    scale = min(room.width / wide, room.height / tall)
    width, height = wide * scale, tall * scale
    frame = Area(room.left + (room.width - width) / 2, room.top + (room.height - height) / 2, width, height)
    if not known:
        return Outline(frame, (_disc(frame, 0.5, 0.47, 0.34 * height, 0.42 * height),))
    inside = [box for box in boxes if _lies_on(box, *size)]
    least = min(width / size[0], height / size[1])
    discs = (
        _disc(frame, (box.x + box.w / 2) / size[0], (box.y + box.h / 2) / size[1], box.w * least, box.h * least)
        for box in inside
    )
    return Outline(frame, tuple(discs))


def _lies_on(box: Box, width: int, height: int) -> bool:
    return min(box) >= 0 and box.w > 0 < box.h and box.x + box.w <= width and box.y + box.h <= height


def _disc(frame: Area, across: float, down: float, wide: float, tall: float) -> Area:
    """A disc around a point, which is in parts of the frame's sides; moved into the frame where it would leave it."""
    larger = max(1.0, LEAST * min(frame.width, frame.height) / min(wide, tall))
    width, height = min(wide * larger, frame.width), min(tall * larger, frame.height)
    left = min(max(across * frame.width - width / 2, 0), frame.width - width)
    top = min(max(down * frame.height - height / 2, 0), frame.height - height)
    return Area(frame.left + left, frame.top + top, width, height)


def svg(size: tuple[int, int], boxes: Sequence[Box]) -> str:
    """Return it as an element for a page, with the colours of ``look.css``. There is nothing in it but numbers."""
    drawn = outline(size, boxes, Area(1, 1, _VIEW[0] - 2, _VIEW[1] - 2))
    frame = drawn.frame
    discs = "".join(
        f'<ellipse class="away-face" cx="{disc.left + disc.width / 2:.2f}" cy="{disc.top + disc.height / 2:.2f}" '
        f'rx="{disc.width / 2:.2f}" ry="{disc.height / 2:.2f}"/>'
        for disc in drawn.discs
    )
    return (
        f'<svg class="away-shape" viewBox="0 0 {_VIEW[0]} {_VIEW[1]}" aria-hidden="true">'
        f'<rect class="away-photo" x="{frame.left:.2f}" y="{frame.top:.2f}" '
        f'width="{frame.width:.2f}" height="{frame.height:.2f}" rx="1.5"/>{discs}</svg>'
    )
