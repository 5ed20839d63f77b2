"""Where the labels of boxes on a picture stand, so that each can be read and is seen to belong to its box.

Labels are placed in the order of their boxes. For each one, places beside its box are tried, then places on circles
around it that grow, and the nearest is taken that lies inside the picture and on no label placed before. A place that
hides a part of a box costs as much as a longer way. Where a label has no free place at all, the caller's shorter one
is tried, and if that has none either, it stands in its box's corner, over another.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple


class Rectangle(NamedTuple):
    """Left and top included, right and bottom excluded, in pixels of the picture."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def middle(self) -> tuple[float, float]:
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    def shared(self, other: Rectangle) -> int:
        """Return the pixels that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width, 0) * max(height, 0)

    def distance(self, other: Rectangle) -> float:
        """Return the pixels between the nearest edges; 0 where they touch or overlap."""
        across = max(self.left - other.right, other.left - self.right, 0)
        down = max(self.top - other.bottom, other.top - self.bottom, 0)
        return math.hypot(across, down)


Size = tuple[int, int]
"""Width and height."""


class Placed(NamedTuple):
    """A label's place."""

    which: int
    """Index of the size that was taken: of the longest label that has room."""
    place: Rectangle


_DIRECTIONS: Final = 16
_CIRCLES: Final = 40
"""Circles, each a label's height farther out than the one before."""
_FAR: Final = 4
"""Label heights from which on a shorter label is tried first: a name far away is hard to assign to its face."""


def place(boxes: Sequence[Rectangle], sizes: Sequence[Sequence[Size]], picture: Size) -> list[Placed]:
    """Return a place for the label of each box. ``sizes``: for each box those of its labels, the longest first."""
    placed: list[Placed] = []
    for box, labels in zip(boxes, sizes, strict=True):
        taken = [each.place for each in placed]
        placed.append(_place_one(box, labels, boxes, taken, picture))
    return placed


def _place_one(
    box: Rectangle, sizes: Sequence[Size], boxes: Sequence[Rectangle], taken: Sequence[Rectangle], picture: Size
) -> Placed:
    far: Placed | None = None
    for which, size in enumerate(sizes):
        costs = [
            (box.distance(at) + sum(map(at.shared, boxes)) / size[1], order, at)
            for order, at in enumerate(_candidates(box, size))
            if _is_inside(at, picture) and not any(map(at.shared, taken))
        ]
        if not costs:
            continue
        _, _, best = min(costs)
        if box.distance(best) <= _FAR * size[1]:
            return Placed(which, best)
        far = far or Placed(which, best)
    if far is not None:
        return far
    width, height = sizes[-1]
    left, top = _within(box.left, width, picture[0]), _within(box.top, height, picture[1])
    return Placed(len(sizes) - 1, Rectangle(left, top, left + width, top + height))


def _candidates(box: Rectangle, size: Size) -> Iterator[Rectangle]:
    """Places beside the box, in the order in which they are liked, then those around it."""
    width, height = size
    left, right = box.left, box.right - width
    for x, y in (
        (left, box.top - height), (left, box.bottom), (right, box.top - height), (right, box.bottom),
        (box.right, box.top), (box.left - width, box.top), (box.right, box.bottom - height),
        (box.left - width, box.bottom - height),
    ):  # fmt: skip
        yield Rectangle(x, y, x + width, y + height)
    across, down = box.middle
    for circle in range(1, _CIRCLES + 1):
        for step in range(_DIRECTIONS):
            angle = 2 * math.pi * step / _DIRECTIONS
            x = round(across + math.cos(angle) * ((box.right - box.left + width) / 2 + circle * height) - width / 2)
            y = round(down + math.sin(angle) * ((box.bottom - box.top) / 2 + (circle + 0.5) * height) - height / 2)
            yield Rectangle(x, y, x + width, y + height)


def _is_inside(place: Rectangle, picture: Size) -> bool:
    return place.left >= 0 and place.top >= 0 and place.right <= picture[0] and place.bottom <= picture[1]


def _within(at: int, length: int, whole: int) -> int:
    return max(0, min(at, whole - length))
