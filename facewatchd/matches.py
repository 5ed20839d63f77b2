"""What a query answers with: apart from the other records, because dataclasses take the client long to import."""

from __future__ import annotations

from typing import NamedTuple


class Box(NamedTuple):
    """A rectangle in whole pixels of the full-size upright image, clipped to it."""

    x: int
    y: int
    w: int
    h: int


class Match(NamedTuple):
    """A face of the gallery that answers a query, on one of the photos that show it."""

    path: bytes
    similarity: float
    box: Box
    score: float
    face_id: int
