"""What the queries of the catalog return: values for rows, and arrays for many of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facewatchd.matches import Box
from facewatchd.values import Face, Look, PhotoState, Stamp, Ways

if TYPE_CHECKING:
    from facewatchd.values import Embedding, Norms

LACKS_FACES = -1
"""The width of a content from which a damaged face was removed: its bytes are to be embedded again."""
LEFT_OUT = -4
"""In place of the ways of a second look, of a content with which it failed."""


@dataclass(frozen=True, slots=True)
class PhotoRecord:
    """The row of one path."""

    path: bytes
    stamp: Stamp
    content_id: int | None
    state: PhotoState
    """`EXCLUDED` for a file that is no photo."""
    error: str | None
    faces: int
    worth: Ways
    """The ways in which a second look at it is still to be taken."""
    seen_again: Ways
    """The ways in which one was taken."""
    left_out: bool
    """Whether one is not taken because it failed."""
    is_fetched: bool
    """Whether another machine found the faces, and the shared engine told of them."""


@dataclass(frozen=True, slots=True)
class Counts:
    photos: int
    """Files that are photos, whatever their state."""
    faces: int
    """Faces in the catalog, those of contents without photos included."""
    failed: int
    """Photos that are broken or cannot be read; unsupported ones do not count."""
    seen_again: int = 0
    """Contents of photos at which a second look was taken or left out,"""
    to_see_again: int = 0
    """and those at which one is to be taken."""
    undated: int = 0
    """Contents of photos whose bytes were not read for a date yet."""


@dataclass(frozen=True, slots=True)
class ToSeeAgain:
    """A content at which a second look is to be taken."""

    content_id: int
    digest: bytes
    ways: Ways
    newest: int
    """The latest mtime of its photos, in nanoseconds."""
    changed: int
    """Their latest ctime: another one after a photo with it was recorded that is new, was moved or was changed."""
    width: int
    """Pixels of the upright photo, as ``height``."""
    height: int


class Seen(NamedTuple):
    """A face without its embedding."""

    box: Box
    score: float
    norm: float | None
    """See `Face.norm`."""


class ShownOn(NamedTuple):
    """The faces on some contents, in no order: four arrays of shape (n,)."""

    ids: NDArray[np.int64]
    contents: NDArray[np.int64]
    norms: Norms
    sizes: NDArray[np.int64]
    """Pixels of each box's shorter side."""


class ContentFaces(NamedTuple):
    """A content, and where the faces on it are."""

    content_id: int
    width: int
    """Pixels of the upright photo, as ``height``; 0 where it could not be decoded, or is to be embedded again."""
    height: int
    faces: list[tuple[int, Box]]
    """By id."""


class RecordedPhoto(NamedTuple):
    """A photo whose content is known."""

    path: bytes
    stamp: Stamp
    digest: bytes


class ShownFaces(NamedTuple):
    """Faces by ascending id: three arrays of shape (n,)."""

    ids: NDArray[np.int64]
    contents: NDArray[np.int64]
    norms: Norms


class Looks(NamedTuple):
    """Faces by ascending id, as arrays; the first row is that of no face, with the id 0."""

    ids: NDArray[np.int64]
    """Shape (n,)."""
    embeddings: NDArray[np.float32]
    """Shape (n, dim); of no face NaN."""
    boxes: NDArray[np.float64]
    """x, y, w and h. Shape (n, 4)."""
    norms: NDArray[np.float64]
    """`Face.norm`; NaN where it is not known. Shape (n, 1)."""
    sharpness: NDArray[np.float64]
    """`Face.sharpness`, likewise."""

    def rows(self, face_ids: NDArray[np.int64]) -> NDArray[np.intp]:
        """The row of each face, in the shape of the ids; the first where it is unknown or damaged."""
        rows = np.searchsorted(self.ids, face_ids).clip(max=len(self.ids) - 1)
        return np.where(self.ids[rows] == face_ids, rows, 0)


def face_of(row: Sequence[Any]) -> Face:
    """A face from its row: id, the four numbers of the box, and the rest of `Face` in its order."""
    _, x, y, w, h, score, landmarks, embedding, norm, look, sharpness = row
    points = np.frombuffer(landmarks, np.float32).reshape(-1, 2)
    unit: Embedding = np.frombuffer(embedding, np.float32)
    return Face(Box(x, y, w, h), score, points, unit, norm, Look(look or Look.FIRST), sharpness)


def photo_record(row: Sequence[Any]) -> PhotoRecord:
    """The record of a photo from what `CatalogReader.photo` selects."""
    path, device, inode, size, mtime_ns, ctime_ns, content_id, error, unsupported, faces, second, fetched = row
    if error is not None:
        state = PhotoState.UNSUPPORTED if unsupported else PhotoState.FAILED
    elif content_id is None:
        state = PhotoState.EXCLUDED
    else:
        state = PhotoState.INDEXED if faces else PhotoState.NO_FACE
    stamp = Stamp(device, inode, size, mtime_ns, ctime_ns)
    left_out = second == LEFT_OUT
    worth, taken = Ways(max(second, 0)), Ways.NONE if left_out else Ways(max(-second, 0))
    return PhotoRecord(path, stamp, content_id, state, error, faces, worth, taken, left_out, bool(fetched))
