"""The lines of an export: JSON objects, one a line, in UTF-8. What is read is checked as if anybody had written it.

`LINES` has the kinds of lines. The last one says how many there are of each, so a file that was cut short is noticed.

A reader that meets a higher version refuses the file. A kind of line that it does not know, or a name in a line, is an
error too: an export is the backup of what nobody can make again, and a part that is passed over is lost in silence.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final, NoReturn, TypeVar

from facewatchd.errors import BadNameError
from facewatchd.people.statements import Ignored, NewStatement, Person, RelativeBox, Statement, proper_name
from facewatchd.shared import forms
from facewatchd.shared.forms import FormError
from facewatchd.store.dates import Period

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
MOST_SOURCE: Final = 40
"""Characters of the name of a source."""
_LATEST: Final = 1e11
"""The latest time, in seconds since 1970."""
_LEAST_SIDE: Final = 1e-6
"""Of a box: to that, its parts are rounded."""


class LineError(FormError):
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
    except FormError as exc:
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
    version = forms.whole(entry, "version", 1, 1 << 31)
    if version > VERSION:
        raise LineError(f"the export has version {version}, and this facewatchd reads up to {VERSION}: update it")
    forms.only(entry, "format", "version", "created", "model")
    model = entry.get("model")
    return None if model is None else forms.text(entry, "model", 200)


def read_person(entry: dict[str, Any]) -> Person:
    """Check the line of a person, and return it without an id."""
    forms.only(entry, "person", "born", "hidden")
    born = entry.get("born")
    if born is not None:
        _require_date(born)
    return Person(0, _name(entry, "person"), born, forms.flag(entry, "hidden", default=False))


def _require_date(born: object) -> None:
    try:
        Period.of(born if isinstance(born, str) else "")
    except ValueError as exc:
        raise LineError("born is no date") from exc


def read_statement(entry: dict[str, Any]) -> tuple[str, NewStatement]:
    """Check the line of a statement, and return it with the name of its person."""
    forms.only(entry, "statement", "is", "digest", "box", "source", "at")
    box = entry.get("box")
    return _name(entry, "statement"), NewStatement(
        forms.flag(entry, "is"),
        forms.digest(entry, "digest"),
        None if box is None else _relative_box(box),
        forms.text(entry, "source", MOST_SOURCE),
        forms.number(entry.get("at"), "at", 0.0, _LATEST),
    )


def read_ignored(entry: dict[str, Any]) -> Ignored:
    """Check the line of a face that is ignored."""
    forms.only(entry, "ignored", "box", "group", "at")
    at = forms.number(entry.get("at"), "at", 0.0, _LATEST)
    return Ignored(
        forms.digest(entry, "ignored"), _relative_box(entry.get("box")), forms.flag(entry, "group", default=False), at
    )


def _relative_box(box: object) -> RelativeBox:
    if not isinstance(box, list) or len(box) != 4:
        raise LineError("box has not four numbers")
    x, y, w, h = (forms.number(part, "a number of the box", 0.0, 1.0) for part in box)
    if min(w, h) < _LEAST_SIDE or x + w > 1.001 or y + h > 1.001:  # rounded
        raise LineError("box does not lie on the photo")
    return RelativeBox(x, y, w, h)


def read_photo(entry: dict[str, Any]) -> tuple[bytes, list[str]]:
    """Check the line of a photo: its digest, and its paths as text."""
    forms.only(entry, "photo", "paths")
    paths = entry.get("paths")
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise LineError("paths are no list of strings")
    return forms.digest(entry, "photo"), paths


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
