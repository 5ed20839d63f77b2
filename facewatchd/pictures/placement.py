"""Where the labels of boxes on a picture stand, so that each can be read and is seen to belong to its box.

Labels are placed in the order of their boxes. For each one, places beside its box are tried, then places on circles
around it that grow. A place must lie inside the picture and on no label placed before. Of a box's labels, the longest
is taken that has such a place near its box which hides no part of any box. If none has, the shortest is, where it hides
least and is nearest; and where no place is left at all, that one stands in its box's corner, over another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

_Numbers = npt.NDArray[Any]


class Rectangle(NamedTuple):
    """Left and top included, right and bottom excluded, in pixels of the picture."""

    left: int
    top: int
    right: int
    bottom: int


_Rectangles = Sequence[Rectangle] | _Numbers
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
"""Label heights from which on a label is no longer near: it is hard to assign to its box."""


def place(boxes: Sequence[Rectangle], sizes: Sequence[Sequence[Size]], picture: Size) -> list[Placed]:
    """Return a place for the label of each box. ``sizes``: for each box those of its labels, the longest first."""
    placed: list[Placed] = []
    for box, labels in zip(boxes, sizes, strict=True):
        placed.append(_place_one(box, labels, boxes, [each.place for each in placed], picture))
    return placed


def shared(one: _Rectangles, other: _Rectangles) -> _Numbers:
    """Return the pixels that each of the first covers of each of the others: shape (len(one), len(other))."""
    a, b = _rectangles(one)[:, None, :], _rectangles(other)[None, :, :]
    both = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    area: _Numbers = np.prod(np.maximum(both, 0), axis=-1)
    return area


def distances(one: _Rectangles, other: Rectangle) -> _Numbers:
    """Return the pixels between the nearest edges of each and the other; 0 where they touch or overlap."""
    a, b = _rectangles(one), np.asarray(other)
    apart = np.maximum(a[:, :2] - b[2:], b[:2] - a[:, 2:])
    ways: _Numbers = np.hypot(*np.maximum(apart, 0).T)
    return ways


def _rectangles(rectangles: _Rectangles) -> _Numbers:
    return np.asarray(rectangles, np.int64).reshape(-1, 4)


def _place_one(
    box: Rectangle, sizes: Sequence[Size], boxes: Sequence[Rectangle], taken: Sequence[Rectangle], picture: Size
) -> Placed:
    for which, size in enumerate(sizes):
        is_last = which == len(sizes) - 1
        places = _candidates(box, size)
        inside = (places[:, :2] >= 0).all(axis=1) & (places[:, 2:] <= picture).all(axis=1)
        places = places[inside & ~shared(places, taken).any(axis=1)]
        ways, hidden = distances(places, box), shared(places, boxes).sum(axis=1)
        good = np.flatnonzero((ways <= _FAR * size[1]) & (hidden == 0))
        if len(good):
            return Placed(which, _rectangle(places[good[np.argmin(ways[good])]]))
        if is_last and len(places):
            return Placed(which, _rectangle(places[np.argmin(ways + hidden / size[1])]))
    width, height = sizes[-1]
    left, top = _within(box.left, width, picture[0]), _within(box.top, height, picture[1])
    return Placed(len(sizes) - 1, Rectangle(left, top, left + width, top + height))


def _rectangle(place: _Numbers) -> Rectangle:
    return Rectangle(*map(int, place))


def _candidates(box: Rectangle, size: Size) -> _Numbers:
    """Places beside the box, in the order in which they are liked, then those around it: shape (n, 4)."""
    width, height = size
    left, top, right, bottom = box
    beside = [
        (left, top - height), (left, bottom), (right - width, top - height), (right - width, bottom),
        (right, top), (left - width, top), (right, bottom - height), (left - width, bottom - height),
    ]  # fmt: skip
    circle, step = np.mgrid[1 : _CIRCLES + 1, 0:_DIRECTIONS].reshape(2, -1)
    angle = 2 * np.pi * step / _DIRECTIONS
    across = (left + right - width) / 2 + np.cos(angle) * ((right - left + width) / 2 + circle * height)
    down = (top + bottom - height) / 2 + np.sin(angle) * ((bottom - top) / 2 + (circle + 0.5) * height)
    corners = np.concatenate([beside, np.rint(np.stack([across, down], axis=1)).astype(np.int64)])
    return np.concatenate([corners, corners + size], axis=1)


def _within(at: int, length: int, whole: int) -> int:
    return max(0, min(at, whole - length))
