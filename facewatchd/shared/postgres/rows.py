"""Checks of what the server sends. Other machines wrote it: a row that breaks a rule is left out with its content.

The rules are those for what an inference process answers (`inference.validation`). Nothing here raises for a row.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np

from facewatchd.config import is_machine_name
from facewatchd.inference import validation
from facewatchd.inference.validation import InvalidAnswerError, Measures
from facewatchd.shared.forms import DIGEST, MOST_FACES, MOST_SIMILARITY
from facewatchd.shared.postgres.vectors import decoded
from facewatchd.shared.values import FoundContent, FoundFace, MachineState
from facewatchd.store.embedded import Embedded
from facewatchd.values import Face, Look, Taken

Row = Sequence[Any]
Key = tuple[int, bytes]
"""A machine and a digest."""

MOST_PATH: Final = 4096
"""Bytes of a path: PATH_MAX."""
_MOST_COUNT: Final = 1 << 48
_MOST_ID: Final = (1 << 63) - 1
_LOOKS: Final = frozenset(Look)

CONTENT: Final = (
    "machine, digest, faces, width, height, second_look, taken, taken_offset, taken_from, is_dated, picture, written"
)
FACE: Final = "machine, digest, n, face_id, x, y, w, h, score, norm, look, sharpness"
"""Columns of the rows that are read here; behind those of a face come its landmarks or its embedding, or both."""
MACHINE: Final = (
    "key, name, faces, photos, backlog, pending, extract(epoch FROM now() - seen)::float8,"
    " coalesce(id = %(own)s::uuid, false)"
)
OWN: Final = "(SELECT key FROM machine WHERE id = %(own)s::uuid)"
"""The key of this machine, whose id is ``own`` (None: it has none). A key is not kept for longer than a transaction:
where a backup of the server is restored, or the tables are made anew, another machine may get it."""


def machines(rows: Iterable[Row]) -> list[MachineState]:
    """The machines, by name."""
    found = []
    for row in rows:
        try:
            key, name, *counts, age, is_self = row
            faces, photos, backlog, pending = (validation.whole(each, "a count", 0, _MOST_COUNT) for each in counts)
            seconds = max(validation.number(age, "an age", most=1e11), 0.0)
            validation.whole(key, "a key", 0, _MOST_ID)
        except (InvalidAnswerError, ValueError):
            continue
        if isinstance(name, str) and is_machine_name(name):
            found.append(MachineState(key, name, faces, photos, backlog, pending, seconds, is_self is True))
    return sorted(found, key=lambda each: each.name)


class Gathered:
    """The rows of some contents, put together by machine and digest."""

    def __init__(
        self, contents: Iterable[Row], faces: Iterable[Row], photos: Iterable[Row], dim: int, known: Collection[int]
    ) -> None:
        """``photos``: machine, digest, path. ``known``: the keys of machines; what others wrote is left out."""
        self._contents = list(contents)
        self._faces = _by_key(faces)
        self._photos = _by_key(photos)
        self._dim, self._known = dim, known
        self._left_out: list[bytes] = []
        self._told: set[bytes] = set()

    def left_out(self, more: Iterable[Key] = ()) -> int:
        """The number of contents that are not sound, and of ``more``, but for those of which a sound copy was told."""
        digests = (*self._left_out, *(digest for _, digest in more))
        return sum(digest not in self._told for digest in digests)

    def found(self, *, with_embeddings: bool) -> Iterator[FoundContent]:
        """The sound ones. The rows of faces end with the embedding, or None, where some are wanted."""
        for content in self._sound():
            try:
                found = self._found(content, with_embeddings)
            except InvalidAnswerError:
                self._left_out.append(content[1])
            else:
                self._told.add(found.digest)
                yield found

    def whole(self) -> Iterator[Embedded]:
        """The sound ones. The rows of faces end with the landmarks and the embedding."""
        for content in self._sound():
            with contextlib.suppress(InvalidAnswerError):
                yield self._whole(content)

    def _sound(self) -> Iterator[Row]:
        for content in self._contents:
            if self._is_content(content):
                yield content
            else:
                self._left_out.append(content[1])

    def _is_content(self, content: Row) -> bool:
        machine, digest, faces = content[:3]
        if machine not in self._known or not isinstance(digest, bytes) or len(digest) != DIGEST:
            return False
        rows = self._faces.get((machine, digest), [])
        return type(faces) is int and faces == len(rows) <= MOST_FACES

    def _found(self, content: Row, with_embeddings: bool) -> FoundContent:
        machine, digest, _, *numbers, written = content
        width, height, second_look, taken, is_dated, picture = _described(numbers)
        validation.whole(written, "a time", -1 << 63, (1 << 63) - 1)
        rows = self._rows_of_faces((machine, digest))
        faces = []
        for row in rows:
            face_id, measures = _face(row[3:12], width, height)
            is_wanted = with_embeddings and row[-1] is not None
            embedding = decoded(row[-1], self._dim) if is_wanted else None
            if is_wanted and embedding is None:
                raise InvalidAnswerError("an embedding is not of unit length")
            faces.append(FoundFace(face_id, *measures, embedding))
        paths, described = _paths(self._photos.get((machine, digest), [])), (second_look, taken, is_dated, picture)
        return FoundContent(machine, digest, paths, width, height, *described, tuple(faces), written)

    def _whole(self, content: Row) -> Embedded:
        machine, digest, _, *numbers, _ = content
        width, height, second_look, taken, is_dated, picture = _described(numbers)
        faces = []
        for row in self._rows_of_faces((machine, digest)):
            _, (box, score, norm, look, sharpness) = _face(row[3:12], width, height)
            landmarks, embedding = _points(row[12]), decoded(row[13], self._dim)
            if embedding is None:
                raise InvalidAnswerError("an embedding is not of unit length")
            faces.append(Face(box, score, landmarks, embedding, norm, look, sharpness))
        return Embedded(digest, width, height, second_look, taken, is_dated, picture, faces)

    def _rows_of_faces(self, key: Key) -> list[Row]:
        """In their order, which is that of their numbers: 0 and so on."""
        rows = self._faces.get(key, [])
        numbers = [validation.whole(row[2], "a number", 0, len(rows) - 1) for row in rows]
        if len(set(numbers)) != len(rows):
            raise InvalidAnswerError("a number that two faces have")
        return [row for _, row in sorted(zip(numbers, rows, strict=True), key=lambda each: each[0])]


def _by_key(rows: Iterable[Row]) -> dict[Key, list[Row]]:
    found: dict[Key, list[Row]] = {}
    for row in rows:
        found.setdefault((row[0], row[1]), []).append(row)
    return found


def _described(numbers: Row) -> tuple[int, int, int, Taken | None, bool, bytes | None]:
    """What the row of a content says, from its width to its picture."""
    width, height, second_look, at, offset, source, is_dated, picture = numbers
    width, height = validation.size({"width": width, "height": height})
    validation.whole(second_look, "the second look", -4, 3)
    taken = None if source is None else validation.date(at, offset, source)
    if not isinstance(is_dated, bool) or (taken is not None and not is_dated):
        raise InvalidAnswerError("a date that was not looked for")
    if picture is not None:
        picture = validation.fingerprint(picture) if isinstance(picture, bytes) else validation.fingerprint(b"")
    return width, height, second_look, taken, is_dated, picture


def _face(row: Row, width: int, height: int) -> tuple[int, Measures]:
    """What the row of a face says: its id, and the rest."""
    face_id, x, y, w, h, score, norm, look, sharpness = row
    validation.whole(face_id, "an id", 0, _MOST_ID)
    entry = {"box": [x, y, w, h], "score": score, "norm": norm, "look": look, "sharpness": sharpness}
    return face_id, validation.measures_of_face(entry, width, height, _LOOKS)


def _points(data: object) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Five landmarks."""
    if not isinstance(data, bytes) or len(data) != 40:
        raise InvalidAnswerError("the landmarks are not five points")
    points = np.frombuffer(data, "<f4").reshape(5, 2)
    if not (np.abs(points) <= 1e9).all():  # false for a NaN
        raise InvalidAnswerError("a landmark is no finite number")
    return points.astype(np.float32)


def _paths(rows: Iterable[Row]) -> tuple[bytes, ...]:
    paths = sorted(path for _, _, path in rows if is_path(path))
    if not paths:
        raise InvalidAnswerError("no photo shows it")
    return tuple(paths)


def is_path(path: object) -> bool:
    """Whether it can be the path of a photo: absolute, and such as a kernel takes."""
    return isinstance(path, bytes) and path[:1] == b"/" and len(path) <= MOST_PATH and b"\0" not in path


def is_similarity(value: object) -> bool:
    """Whether it can be that of two embeddings of unit length, one of them of half precision."""
    return type(value) is float and abs(value) <= MOST_SIMILARITY  # false for a NaN
