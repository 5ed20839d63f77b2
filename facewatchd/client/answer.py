"""The daemon's answers read into values. Standard library only."""

from __future__ import annotations

import binascii
import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from facewatchd.client.who import Asked
from facewatchd.errors import FacewatchError
from facewatchd.matches import Also, Box, Match, Name, PhotoFace, Place, Term


class QueryFace(NamedTuple):
    """A face that was searched for."""

    asked: Asked
    number: int | None
    """From 0, left to right; None of a face by its id."""
    faces: int
    """How many the photo has."""
    box: Box
    score: float
    quality: str = ""
    """What can be said against it, in words."""
    left_out: bool = False
    """Whether it is not searched for, because it is too blurred."""
    child: bool = False
    """Whether the daemon said that it is a small child's."""


class Faceless(NamedTuple):
    """A photo of several that has no face and is left out of the search."""

    asked: Asked


class QueryPerson(NamedTuple):
    """A person with a name."""

    asked: Asked
    name: str
    references: int
    """How many faces are known to be that person,"""
    photos: int
    """and on how many photos the person stands without a face."""


class QueryGroup(NamedTuple):
    """A group of unknown faces."""

    asked: Asked
    faces: int


QueryEntry = QueryFace | Faceless | QueryPerson | QueryGroup


class ExpectedFalse(NamedTuple):
    """How many of the matches are expected to show somebody else."""

    number: float | None
    """None where that cannot be told."""
    at_most: bool
    """Whether there may be fewer, but hardly more."""


class Undecided(NamedTuple):
    """Photos with a face that is too poor to tell, and so may be of a person who is not to be on them."""

    number: int
    paths: tuple[bytes, ...]
    """Of the first of them."""


REACHED = ("ok", "behind")
"""The states of the shared engine in which it answers."""


class Machine(NamedTuple):
    """Another machine, as the shared engine knows it."""

    name: str
    faces: int
    backlog: int
    """Photos whose changes were not sent yet when it was last heard of,"""
    pending: int
    """and those that were still to be looked at there."""
    as_of_s: float
    """Seconds since then."""


class Shared(NamedTuple):
    """What an answer has of other machines."""

    state: str
    """``ok``, ``behind``, ``unreachable``, ``refused`` or ``off``."""
    reason: str
    """Why the answer has nothing of other machines, in a line; empty where it has."""
    machines: tuple[Machine, ...]
    cut: bool
    """Whether other machines have more that matches than was looked at: the most alike count."""

    @property
    def is_reached(self) -> bool:
        """Whether other machines' faces were searched too."""
        return self.state in REACHED


class Answer:
    """The result of a ``query``: as values, and as the document that ``--json`` prints."""

    def __init__(
        self, document: Any, everyone: Sequence[Asked], *, every_face: bool, others: Mapping[str, Sequence[Asked]]
    ) -> None:
        """Read the daemon's document; in ``document`` the photos have the names that the user gave.

        ``everyone``: the WHOs of the person. ``others``: those of ``with`` and ``without``. Raises `FacewatchError` for
        a document of another shape.
        """
        with reading_answer():
            self.query = _query_entries(document["query"], everyone, every_face=every_face)
            self.matches = [read_match(item) for item in document["matches"]]
            self.total = int(document["total"])
            self.threshold = float(document["threshold"])
            self.model = str(document["model"])
            self.faces = int(document["faces"])
            self.pending = int(document["pending"])
            self.complete = bool(document["complete"])
            self.undated = int(document.get("undated", 0))
            """Photos that match a question about dates, whose dates are still to be read."""
            self.exact = bool(document["exact"])
            self.elapsed_ms = float(document["elapsed_ms"])
            self.expected_false = _expected_false(document.get("expected_false"))
            self.undecided = _undecided(document.get("undecided"))
            self.shared = read_shared(document.get("shared"))
            """None where other machines were not asked."""
            self.others = {
                name: _query_entries(document[name], asked, every_face=False)
                for name, asked in others.items()
                if name in document
            }
            """The entries of ``with`` and of ``without``."""
            entries = {"query": self.query, **self.others}
            named = {
                name: [_named(entry, used.asked) for entry, used in zip(document[name], each, strict=True)]
                for name, each in entries.items()
            }
        self.document: dict[str, Any] = {**document, **named}
        self.shown = [str(digest) for digest in self.document.pop("shown", ())]
        """The contents that the daemon is told of once they were printed, with ``--new``."""
        self.digests = [str(digest) for digest in self.document.pop("digests", ())]
        """The contents of all matches, also of those that are not printed, with ``--follow``."""

    @property
    def asked_names(self) -> set[str]:
        """The names that were asked for."""
        return {entry.name for entry in self.query if isinstance(entry, QueryPerson)}


def _named(entry: dict[str, Any], asked: Asked) -> dict[str, Any]:
    return entry if asked.photo is None else {**entry, "photo": asked.photo.text}


@contextlib.contextmanager
def reading_answer() -> Iterator[None]:
    """Raise `FacewatchError` where the block reads an answer of another shape than the protocol's."""
    try:
        yield
    except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as exc:
        raise FacewatchError(
            "the daemon's answer has another form than this client expects", "restart it: it may be of another version"
        ) from exc


def photo_faces(document: Any) -> list[PhotoFace]:
    """Read the result of ``faces``, left to right."""
    with reading_answer():
        return [PhotoFace(*_seen(face), _name(face.get("names"))) for face in document["faces"]]


def _name(item: Any) -> Name | None:
    if item is None:
        return None
    next_ = item["runner_up"] or {"name": None, "similarity": None}
    return Name(
        _text(item, "name"),
        _number(item["similarity"]),
        str(item["verdict"]),
        bool(item["confirmed"]),
        _text(next_, "name"),
        _number(next_["similarity"]),
    )


def _seen(face: Any) -> tuple[Box, float, str]:
    return _box(face), float(face["score"]), ", ".join(map(str, face.get("quality", ())))


def _query_entries(entries: Any, everyone: Sequence[Asked], *, every_face: bool) -> list[QueryEntry]:
    """Return the entries with the WHO that each is of: the one that it names, or in the order of the WHOs."""
    positions = _positions(entries, everyone, every_face=every_face)
    return [_query_entry(entry, everyone[at]) for entry, at in zip(entries, positions, strict=True)]


def _positions(entries: Any, everyone: Sequence[Asked], *, every_face: bool) -> Iterator[int]:
    """The position of the WHO of each entry.

    A daemon of an earlier version does not say it. Each photo has one entry there, or with ``--face all`` one a face,
    numbered upwards from 0. ``face`` is null where the photo has none.
    """
    position, last = 0, None
    for count, entry in enumerate(entries):
        number = entry.get("face")
        whole = every_face and everyone[position].is_plain and None not in (number, last)
        if count and not (whole and number > last):
            position += 1
        last = number
        yield int(entry.get("who", position))


def _query_entry(entry: Any, asked: Asked) -> QueryEntry:
    if asked.who.person is not None:
        return QueryPerson(asked, str(entry["person"]), int(entry["references"]), int(entry.get("photos", 0)))
    if asked.photo is not None and entry["face"] is None:
        return Faceless(asked)
    if asked.who.group is not None:
        return QueryGroup(asked, int(entry["faces"]))
    number, faces = (None, 1) if asked.photo is None else (int(entry["face"]), int(entry["faces"]))
    left_out, child = (bool(entry.get(name, False)) for name in ("left_out", "child"))
    return QueryFace(asked, number, faces, *_seen(entry), left_out, child)


def path_of(entry: Any) -> bytes:
    """Return the path in a document of the daemon: UTF-8 there, whatever the locale's encoding of names."""
    encoded = entry.get("path_bytes")
    return str(entry["path"]).encode() if encoded is None else binascii.a2b_base64(encoded)


def read_match(item: Any) -> Match:
    """Read a match of the daemon's document."""
    similarity, box, score, face_id = _face(item)
    return Match(
        path_of(item),
        similarity,
        box,
        score,
        face_id,
        of=None if item["of"] is None else int(item["of"]),
        itself=bool(item["itself"]),
        copies=_paths(item, "copies"),
        also=tuple(_also(other) for other in item.get("also", ())),
        verdict=str(item.get("verdict", "")),
        reasons=_reasons(item),
        person=_text(item, "person"),
        confirmed=bool(item.get("confirmed", False)),
        terms=tuple(_term(term) for term in item.get("terms", ())),
        taken=_text(item, "taken"),
        taken_from=_text(item, "taken_from"),
        similar=_paths(item, "similar"),
        host=_text(item, "host"),
        elsewhere=_places(item, "elsewhere"),
        similar_elsewhere=_places(item, "similar_elsewhere"),
        size=_size(item.get("size")),
    )


def _size(item: Any) -> tuple[int, int]:
    width, height = map(int, item or (0, 0))
    return width, height


def _also(item: Any) -> Also:
    _, _, _, face_id = _face(item)
    return Also(int(item["of"]), float(item["similarity"]), _box(item), float(item["score"]), face_id)


def _term(item: Any) -> Term:
    return Term(*_face(item), person=_text(item, "person"), confirmed=bool(item.get("confirmed", False)))


def _paths(item: Any, name: str) -> tuple[bytes, ...]:
    encoded = item.get(f"{name}_bytes")
    paths = item.get(name, ())
    return tuple(map(str.encode, paths) if encoded is None else map(binascii.a2b_base64, encoded))


def _places(item: Any, name: str) -> tuple[Place, ...]:
    return tuple(Place(str(place["host"]), path_of(place)) for place in item.get(name, ()))


def read_shared(item: Any) -> Shared | None:
    """Read what an answer says of the shared engine; None where other machines were not to be asked."""
    if item is None:
        return None
    machines = tuple(map(_machine, item["machines"]))
    return Shared(str(item["state"]), _text(item, "reason"), machines, bool(item.get("cut")))


def _machine(item: Any) -> Machine:
    faces, backlog, pending = (int(item[key]) for key in ("faces", "backlog", "pending"))
    return Machine(str(item["name"]), faces, backlog, pending, float(item["as_of_s"]))


def _text(item: Any, name: str) -> str:
    return str(item.get(name) or "")


def _expected_false(item: Any) -> ExpectedFalse | None:
    if item is None:
        return None
    count = item["count"]
    return ExpectedFalse(None if count is None else float(count), item["basis"] != "estimate")


def _undecided(item: Any) -> Undecided | None:
    return None if item is None else Undecided(int(item["count"]), _paths(item, "paths"))


def _reasons(item: Any) -> tuple[str, ...]:
    """Why a match may be wrong, in words."""

    def word(reason: str) -> str:
        near = item.get(reason)
        if near is None:
            return _REASONS.get(reason, reason)
        name = f" {os.fsdecode(path_of(near))}" if "path" in near else ""
        return f"{_REASONS.get(reason, reason)}{name} ({float(near['similarity']):.3f})"

    return tuple(word(str(reason)) for reason in item.get("reasons", ()))


CHILD = "a small child's face"
_REASONS = {
    "child": CHILD,
    "rival": "another face on it matches",
    "closer": "more like the person on",
}
"""What is said of the protocol's reasons that do not speak for themselves."""


def _face(item: Any) -> tuple[float | None, Box | None, float | None, int | None]:
    """Similarity, box, score and id: each None where a person stands on a photo without a face."""
    box = None if item["box"] is None else _box(item)
    face_id = None if item["face_id"] is None else int(item["face_id"])
    return _number(item["similarity"]), box, _number(item["score"]), face_id


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _box(item: Any) -> Box:
    return Box(*map(int, item["box"]))
