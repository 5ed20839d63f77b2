"""What a query answers with: apart from the other records, because dataclasses take the client long to import."""

from __future__ import annotations

from typing import NamedTuple


class Box(NamedTuple):
    """A rectangle in whole pixels of the full-size upright image, clipped to it."""

    x: int
    y: int
    w: int
    h: int


class Also(NamedTuple):
    """The face on a photo that is most alike to one of the people asked about."""

    of: int
    """Which of them: an index into what was asked with."""
    similarity: float
    box: Box
    score: float
    face_id: int


class Match(NamedTuple):
    """A photo that answers a query, with its best face."""

    path: bytes
    similarity: float
    box: Box
    score: float
    face_id: int
    of: int | None = 0
    """Which of those asked with the face is alike to; None where that was an embedding."""
    itself: bool = False
    """Whether it has the bytes of a photo that was asked with."""
    copies: tuple[bytes, ...] = ()
    """Other photos with the same bytes, by name."""
    also: tuple[Also, ...] = ()
    """With ``--face all``: the faces on it that are most alike to others of those asked with."""
