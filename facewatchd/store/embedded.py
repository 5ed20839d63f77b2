"""A content with its faces, as an export carries it from one catalog to another of the same model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from facewatchd.values import Face, Taken

WAIT_FOR_PHOTO: Final = 365 * 24 * 3600.0
"""Seconds for which an imported content waits for a photo, before it counts as one whose photos were deleted."""

MOST_COPIES: Final = 4000
"""Photos that show one content and are told of elsewhere: with the longest possible paths, 22 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """A content that was embedded. See the table ``content`` in `schema` for the numbers."""

    digest: bytes
    width: int
    height: int
    second_look: int
    taken: Taken | None
    is_dated: bool
    """Whether its bytes were read for a date: where they were and ``taken`` is None, there is none."""
    picture: bytes | None
    faces: Sequence[Face]


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A content that photos show and on which there are faces, with the ids and the names that it has here."""

    embedded: Embedded
    face_ids: Sequence[int]
    """In the order of ``embedded.faces``."""
    paths: Sequence[bytes]
    """The first `MOST_COPIES` photos that show it, in the order of paths."""
    written: int
    """When the earliest of all photos that show it was last written to: `Stamp.mtime_ns`."""
