"""The lines of an export: JSON objects, one a line, in UTF-8. What is read is checked as if anybody had written it.

`LINES` has the kinds of lines. The last one says how many there are of each, so a file that was cut short is noticed.

A reader that meets a higher version refuses the file. A kind of line that it does not know, or a name in a line, is an
error too: an export is the backup of what nobody can make again, and a part that is passed over is lost in silence.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final, NoReturn, TypeVar

import numpy as np

from facewatchd.errors import BadNameError
from facewatchd.inference import validation
from facewatchd.inference.validation import InvalidAnswerError
from facewatchd.people.statements import Ignored, NewStatement, Person, RelativeBox, Statement, proper_name
from facewatchd.store.dates import Period
from facewatchd.store.embedded import Embedded
from facewatchd.values import Face, Look, Taken

S = TypeVar("S")
T = TypeVar("T")

FORMAT: Final = "facewatchd"
VERSION: Final = 2
"""Version 1 has no ignored faces; without one, an export is still of that version."""
LINES: Final = {
    "format version created model": "The first line: facewatchd; 2, or 1 where no face is ignored; when it was made, as"
    " Unix time; the id of the model"
    " whose faces are in the file, or null.",
    "person born hidden": "A name; a date or the first part of one, or null; whether the person is hidden.",
    "statement is digest box source at": "What was said of a person: the name, which a line before it has; whether the"
    " face is that person; the BLAKE2b digest (32 bytes) of the photo, in hexadecimal digits; the face, as parts of the"
    " upright photo's width and height (null: the person is on the photo, and no face is named); what it comes from;"
    " and when, as Unix time: one to come replaces nothing.",
    "ignored box group at": "The digest of a photo with a face that is ignored; the face; whether its whole group is;"
    " and when that was said.",
    "photo paths": "The digest of a photo that statements name, and its paths below their watched directories. They are"
    " there to be read by people: what counts is the digest.",
    "content width height second_look dated taken picture faces": "The digest of a photo with all its faces, as the"
    " catalog holds them. Embeddings are base64 of floats of 32 bits, the least significant byte first.",
    "end": "The last line: the number of lines of each kind.",
}
"""The kinds of lines, by the names in them, the one of the kind first."""
MOST_FACES: Final = validation.MOST_FACES + validation.MOST_FACES_AGAIN
"""Faces of one content."""
MOST_SOURCE: Final = 40
"""Characters of the name of a source."""
_LATEST: Final = 1e11
"""The latest time, in seconds since 1970."""
_LOOKS: Final = frozenset(Look)
_LEAST_SIDE: Final = 1e-6
"""Of a box: to that, its parts are rounded."""


class LineError(ValueError):
    """A line that is not as it must be; the message completes "line 7: "."""


# Writing


def header(created: float, model: str | None, version: int = VERSION) -> dict[str, Any]:
    """The first line."""
    return {"format": FORMAT, "version": version, "created": round(created), "model": model}


def person_line(person: Person) -> dict[str, Any]:
    """The line of a person."""
    return {"person": person.name, "born": person.born, "hidden": person.hidden}


def statement_line(name: str, said: Statement) -> dict[str, Any]:
    """The line of what was said of a person of that name."""
    return {
        "statement": name,
        "is": said.is_person,
        "digest": said.digest.hex(),
        "box": None if said.box is None else [round(part, 6) for part in said.box],
        "source": said.source,
        "at": said.at_as_exported,
    }


def ignored_line(ignored: Ignored) -> dict[str, Any]:
    """The line of a face that is ignored."""
    return {
        "ignored": ignored.digest.hex(),
        "box": [round(part, 6) for part in ignored.box],
        "group": ignored.in_group,
        "at": round(ignored.at or 0.0, 3),
    }


def content_line(content: Embedded) -> dict[str, Any]:
    """The line of a content with its faces."""
    taken = content.taken
    return {
        "content": content.digest.hex(),
        "width": content.width,
        "height": content.height,
        "second_look": content.second_look,
        "dated": content.is_dated,
        "taken": None if taken is None else [taken.at, taken.offset, taken.source],
        "picture": None if content.picture is None else _base64(content.picture),
        "faces": [_face_of_line(each) for each in content.faces],
    }


def _face_of_line(each: Face) -> dict[str, Any]:
    return {
        "box": list(each.box),
        "score": each.score,
        "landmarks": each.landmarks.tolist(),
        "norm": each.norm,
        "look": each.look,
        "sharpness": each.sharpness,
        "embedding": _base64(np.asarray(each.embedding, "<f4").tobytes()),
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


# Reading


def lines(data: bytes, first: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects in lines, each with its number; ``first`` is that of the first. Empty lines are passed over.

    Raises `LineError`, with the number.
    """
    for number, line in enumerate(data.split(b"\n"), first):
        if line.strip():
            yield number, read(number, line, _object)


def read(number: int, entry: S, how: Callable[[S], T]) -> T:
    """Read a line with one of the functions below. Raises `LineError`, with the number of the line before its words."""
    try:
        return how(entry)
    except LineError as exc:
        raise LineError(f"line {number}: {exc}") from exc


def _object(line: bytes) -> dict[str, Any]:
    try:
        entry = _DECODER.decode(line.decode("utf-8"))
    except LineError:
        raise
    except (ValueError, RecursionError) as exc:  # UnicodeDecodeError is a ValueError
        raise LineError("it is no JSON object") from exc
    if not isinstance(entry, dict):
        raise LineError("it is no JSON object")
    return entry


def _no_constant(name: str) -> NoReturn:
    raise LineError(f"{name} is no number")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)
"""Made once: `json.loads` would make one for each line."""


def read_header(entry: dict[str, Any]) -> str | None:
    """Check the header; return the id of the model whose embeddings the file has."""
    if entry.get("format") != FORMAT:
        raise LineError("it is no export of facewatchd")
    version = _whole(entry, "version", 1, 1 << 31)
    if version > VERSION:
        raise LineError(f"the export has version {version}, and this facewatchd reads up to {VERSION}: update it")
    _only(entry, "format", "version", "created", "model")
    model = entry.get("model")
    return None if model is None else _text(entry, "model", 200)


def read_person(entry: dict[str, Any]) -> Person:
    """Check the line of a person, and return it without an id."""
    _only(entry, "person", "born", "hidden")
    born = entry.get("born")
    if born is not None:
        _require_date(born)
    return Person(0, _name(entry, "person"), born, _flag(entry, "hidden", default=False))


def _require_date(born: object) -> None:
    try:
        Period.of(born if isinstance(born, str) else "")
    except ValueError as exc:
        raise LineError("born is no date") from exc


def read_statement(entry: dict[str, Any]) -> tuple[str, NewStatement]:
    """Check the line of a statement, and return it with the name of its person."""
    _only(entry, "statement", "is", "digest", "box", "source", "at")
    box = entry.get("box")
    return _name(entry, "statement"), NewStatement(
        _flag(entry, "is"),
        _digest(entry, "digest"),
        None if box is None else _relative_box(box),
        _text(entry, "source", MOST_SOURCE),
        _number(entry.get("at"), "at", 0.0, _LATEST),
    )


def read_ignored(entry: dict[str, Any]) -> Ignored:
    """Check the line of a face that is ignored."""
    _only(entry, "ignored", "box", "group", "at")
    at = _number(entry.get("at"), "at", 0.0, _LATEST)
    return Ignored(_digest(entry, "ignored"), _relative_box(entry.get("box")), _flag(entry, "group", default=False), at)


def _relative_box(box: object) -> RelativeBox:
    if not isinstance(box, list) or len(box) != 4:
        raise LineError("box has not four numbers")
    x, y, w, h = (_number(part, "a number of the box", 0.0, 1.0) for part in box)
    if min(w, h) < _LEAST_SIDE or x + w > 1.001 or y + h > 1.001:  # rounded
        raise LineError("box does not lie on the photo")
    return RelativeBox(x, y, w, h)


def read_photo(entry: dict[str, Any]) -> tuple[bytes, list[str]]:
    """Check the line of a photo: its digest, and its paths as text."""
    _only(entry, "photo", "paths")
    paths = entry.get("paths")
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise LineError("paths are no list of strings")
    return _digest(entry, "photo"), paths


def read_content(entry: dict[str, Any], dim: int) -> Embedded:
    """Check the line of a content. ``dim``: numbers of an embedding."""
    _only(entry, "content", "width", "height", "second_look", "dated", "taken", "picture", "faces")
    taken, picture = entry.get("taken"), entry.get("picture")
    try:
        width, height = validation.size(entry)
        return Embedded(
            _digest(entry, "content"),
            width,
            height,
            _whole(entry, "second_look", -4, 3),
            None if taken is None else _taken(taken),
            _flag(entry, "dated"),
            None if picture is None else validation.fingerprint(_bytes(picture, "picture", 4096)),
            [_face(each, dim, width, height) for each in validation.listed(entry, "faces", MOST_FACES)],
        )
    except InvalidAnswerError as exc:
        raise LineError(str(exc)) from exc


def _face(entry: object, dim: int, width: int, height: int) -> Face:
    if not isinstance(entry, dict):
        raise LineError("a face is no JSON object")
    _only(entry, "box", "score", "landmarks", "norm", "look", "sharpness", "embedding")
    data = _bytes(entry.get("embedding"), "an embedding", 4 * 65536)
    if len(data) != 4 * dim:
        raise LineError(f"an embedding has {len(data) / 4:g} numbers, and the model {dim}")
    return validation.face(entry, np.frombuffer(data, "<f4"), width, height, _LOOKS)


def _taken(value: object) -> Taken:
    if not isinstance(value, list) or len(value) != 3:
        raise LineError("taken has not three parts")
    return validation.date(*value)


def _only(entry: dict[str, Any], *names: str) -> None:
    for name in entry:
        if name not in names:
            raise LineError(f"unknown name {name[:60]!r}")


def _text(entry: dict[str, Any], name: str, most: int) -> str:
    value = entry.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= most or not value.isprintable():
        raise LineError(f"{name} is no text of 1 to {most} characters")
    return value


def _name(entry: dict[str, Any], name: str) -> str:
    value = entry.get(name)
    if not isinstance(value, str):
        raise LineError(f"{name} is no name")
    try:
        return _proper(value)
    except BadNameError as exc:
        raise LineError(str(exc)) from exc


_proper = lru_cache(1024)(proper_name)
"""A name stands in thousands of lines."""


def _flag(entry: dict[str, Any], name: str, *, default: bool | None = None) -> bool:
    value = entry.get(name, default)
    if not isinstance(value, bool):
        raise LineError(f"{name} is not true or false")
    return value


def _whole(entry: dict[str, Any], name: str, least: int, most: int) -> int:
    value = entry.get(name)
    if type(value) is not int or not least <= value <= most:
        raise LineError(f"{name} is no whole number from {least} to {most}")
    return value


def _number(value: object, name: str, least: float, most: float) -> float:
    if type(value) not in (int, float) or not least <= value <= most or not math.isfinite(value):  # type: ignore
        raise LineError(f"{name} is no number from {least:g} to {most:g}")
    return float(value)  # type: ignore[arg-type]


def _digest(entry: dict[str, Any], name: str) -> bytes:
    value = entry.get(name)
    try:
        digest = bytes.fromhex(value) if isinstance(value, str) and len(value) == 64 else b""
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise LineError(f"{name} is no digest")
    return digest


def _bytes(value: object, name: str, most: int) -> bytes:
    try:
        data = binascii.a2b_base64(value, strict_mode=True) if isinstance(value, str) else None
    except (binascii.Error, ValueError):
        data = None
    if data is None or len(data) > most:
        raise LineError(f"{name} is no base64 of at most {most} bytes")
    return data
