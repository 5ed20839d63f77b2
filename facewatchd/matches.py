"""The matches of a query.

Named tuples, in a module without other imports: importing `dataclasses` would delay each start of facewatch-query.
"""

from __future__ import annotations

from typing import NamedTuple


class Box(NamedTuple):
    """A rectangle in whole pixels of the full-size upright image, clipped to it."""

    x: int
    y: int
    w: int
    h: int


def overlap(one: Box, other: Box) -> float:
    """The area that two boxes share, as a part of the area that they cover together."""
    wide = min(one.x + one.w, other.x + other.w) - max(one.x, other.x)
    tall = min(one.y + one.h, other.y + other.h) - max(one.y, other.y)
    shared = max(wide, 0) * max(tall, 0)
    return shared / max(one.w * one.h + other.w * other.h - shared, 1)


TOO_BLURRED = "too blurred to tell"
"""Said of a face that matches nothing, unless it was asked for."""


class PhotoFace(NamedTuple):
    """A face on a photo that was only looked at."""

    box: Box
    score: float
    quality: str = ""
    """What can be said against it, in words."""


class Also(NamedTuple):
    """The face on a photo that is most similar to one of the query faces."""

    of: int
    """Index of that query face."""
    similarity: float
    box: Box
    score: float
    face_id: int
    norm: float | None = None
    """See `values.Face.norm`."""


class Match(NamedTuple):
    """A photo that answers a query, with its best face."""

    path: bytes
    similarity: float
    box: Box
    score: float
    face_id: int
    of: int | None = 0
    """Index of the query face that this one matches; None for a query by embedding."""
    itself: bool = False
    """Whether it has the bytes of a query photo."""
    copies: tuple[bytes, ...] = ()
    """Other photos with the same bytes, by name."""
    also: tuple[Also, ...] = ()
    """With ``--face all``: the faces on it that match other query faces."""
    norm: float | None = None
    """See `values.Face.norm`."""
    verdict: str = ""
    """How sure it is that it shows the person, in a word; empty where that was not asked for."""
    reasons: tuple[str, ...] = ()
    """Why it may be wrong, a few words each."""
