"""Writes what is true of a machine's contents: one transaction a push, in which nothing is written that is there.

The row of the machine is changed first: that says whether this process may write (the epoch) and whether the engine is
as the last push on this connection left it (the lineage), and makes two pushes of one machine wait for each other. Then
what the engine has of these contents is read, and what differs is written: faces only where the fingerprint does, so a
rename moves no embedding. A path that another content of the machine had is taken from it, whose own change comes later
or came before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import numpy as np
import psycopg

from facewatchd.shared.postgres.vectors import HalfVector, hash_of
from facewatchd.shared.values import Pushed, SharedContent

if TYPE_CHECKING:
    from facewatchd.store.embedded import Embedded
    from facewatchd.values import Face

_MACHINE: Final = (
    "UPDATE machine SET lineage = %s, backlog = %s, pending = %s, seen = now()"
    " WHERE key = %s AND id = %s AND epoch = %s AND lineage = %s"
)
_KNOWN: Final = "SELECT digest, fingerprint FROM content WHERE machine = %s AND digest = ANY(%s)"
_SHOWN: Final = (
    "SELECT path, digest FROM photo WHERE machine = %(machine)s AND digest = ANY(%(digests)s)"
    " UNION SELECT path, digest FROM photo WHERE machine = %(machine)s AND hash = ANY(%(hashes)s)"
)
_COPY: Final = "COPY {}({}) FROM STDIN (FORMAT BINARY)"
_CONTENT: Final = {
    "machine": "int4",
    "digest": "bytea",
    "fingerprint": "bytea",
    "faces": "int4",
    "width": "int4",
    "height": "int4",
    "second_look": "int4",
    "taken": "float8",
    "taken_offset": "int4",
    "taken_from": "text",
    "is_dated": "bool",
    "picture": "bytea",
    "written": "int8",
}
_FACE: Final = {
    "machine": "int4",
    "digest": "bytea",
    "n": "int4",
    "face_id": "int8",
    **dict.fromkeys("xywh", "int4"),
    "score": "float8",
    "norm": "float8",
    "look": "text",
    "sharpness": "float8",
    "landmarks": "bytea",
    "embedding": "halfvec",
    "same": "bytea",
    "leads": "bool",
}
_PHOTO: Final = {"machine": "int4", "path": "bytea", "hash": "bytea", "digest": "bytea"}


@dataclass
class Difference:
    """What is to be written so that the engine has what is true."""

    dropped: list[bytes] = field(default_factory=list)
    """Digests whose rows are deleted, photos and faces with them."""
    written: list[SharedContent] = field(default_factory=list)
    hidden: list[bytes] = field(default_factory=list)
    """Paths whose rows are deleted."""
    shown: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Paths with their digests whose rows are written."""
    gone: int = 0
    paths_before: int = 0
    paths_after: int = 0


def difference(contents: Sequence[SharedContent], known: dict[bytes, bytes], shown: dict[bytes, bytes]) -> Difference:
    """Compare what is true with what the engine has. Pure.

    ``known``: the fingerprint by digest. ``shown``: the digest by path, of all photos of these contents, and of all
    with paths of theirs.
    """
    made = Difference(paths_before=len(shown))
    wanted = {path: each.digest for each in contents if not each.is_gone for path in each.paths}
    for each in contents:
        if each.is_gone:
            if each.digest in known:
                made.dropped.append(each.digest)
                made.gone += 1
        elif known.get(each.digest) != each.fingerprint:
            made.written.append(each)
            if each.digest in known:
                made.dropped.append(each.digest)
    dropped, pushed = set(made.dropped), {each.digest for each in contents}
    for path, digest in shown.items():
        if digest in dropped:  # its row goes with the content
            continue
        if wanted.get(path) == digest:
            del wanted[path]
            made.paths_after += 1
        elif path in wanted or digest in pushed:
            made.hidden.append(path)
        else:
            made.paths_after += 1
    made.shown = list(wanted.items())
    made.paths_after += len(made.shown)
    return made


@dataclass(frozen=True, slots=True)
class Mine:
    """The row of the machine for which a process writes."""

    id: str
    key: int
    epoch: int
    lineage: str
    """Of the last push that this connection knows of."""


class NotOursError(Exception):
    """There is no such row."""


def push(
    db: psycopg.Connection, mine: Mine, contents: Sequence[SharedContent], lineage: str, counts: Sequence[int]
) -> Pushed:
    """Push in one transaction. ``counts``: backlog and pending. Raises `NotOursError`, and what psycopg raises."""
    latest = list({each.digest: each for each in contents}.values())
    digests = [each.digest for each in latest]
    values = {
        "machine": mine.key,
        "digests": digests,
        "hashes": [_hash(path) for each in latest for path in each.paths],
    }
    with db.transaction():
        with db.pipeline():
            changed = db.execute(
                _MACHINE, (lineage, *counts, mine.key, mine.id, mine.epoch, mine.lineage), prepare=True
            )
            known = db.execute(_KNOWN, (mine.key, digests), prepare=True, binary=True)
            shown = db.execute(_SHOWN, values, prepare=True, binary=True)
        if not changed.rowcount:
            raise NotOursError
        made = difference(latest, dict(known.fetchall()), dict(shown.fetchall()))
        _write(db, mine.key, made)
    return Pushed(len(made.written), made.gone, len(made.hidden) + _renamed(made))


def _hash(path: bytes) -> bytes:
    return sha256(path).digest()


def _renamed(made: Difference) -> int:
    written = {each.digest for each in made.written}
    return sum(digest not in written for _, digest in made.shown)


_DROP_FACES: Final = "DELETE FROM face WHERE machine = %s AND digest = ANY(%s) RETURNING leads, same"
_DROP_CONTENTS: Final = "DELETE FROM content WHERE machine = %s AND digest = ANY(%s)"
_HIDE: Final = "DELETE FROM photo WHERE machine = %s AND hash = ANY(%s)"
_LED: Final = "SELECT same FROM face WHERE machine = %s AND same = ANY(%s) AND leads"
_LEAD: Final = """
UPDATE face SET leads = true FROM (
    SELECT DISTINCT ON (same) digest, n FROM face WHERE machine = %(machine)s AND same = ANY(%(same)s)
    ORDER BY same, leads DESC, digest, n) AS first
WHERE face.machine = %(machine)s AND face.digest = first.digest AND face.n = first.n AND NOT leads
"""
"""Of equal faces whose first one was deleted, have another one lead."""


def _write(db: psycopg.Connection, key: int, made: Difference) -> None:
    whole = [(each, each.embedded) for each in made.written if each.embedded is not None]
    faces = [
        (key, each.digest, number, each.face_ids[number], face, hash_of(face.embedding))
        for each, embedded in whole
        for number, face in enumerate(embedded.faces)
    ]
    with db.pipeline():
        dropped = db.execute(_DROP_FACES, (key, made.dropped), prepare=True, binary=True)
        db.execute(_DROP_CONTENTS, (key, made.dropped), prepare=True)
        db.execute(_HIDE, (key, [_hash(path) for path in made.hidden]), prepare=True)
        led = db.execute(_LED, (key, list({same for *_, same in faces})), prepare=True, binary=True)
    gone = dropped.fetchall()
    has_leader = {same for (same,) in led.fetchall()}
    if whole:
        _copy(db, "content", _CONTENT, (_content_row(key, each, embedded) for each, embedded in whole))
        _copy(db, "face", _FACE, _face_rows(faces, has_leader))
    if made.shown:
        _copy(db, "photo", _PHOTO, ((key, path, _hash(path), digest) for path, digest in made.shown))
    if orphans := [same for leads, same in gone if leads and same not in has_leader]:
        db.execute(_LEAD, {"machine": key, "same": orphans}, prepare=True)
    more = len(faces) - len(gone), made.paths_after - made.paths_before
    if any(more):
        db.execute("UPDATE machine SET faces = faces + %s, photos = photos + %s WHERE key = %s", (*more, key))


def _copy(db: psycopg.Connection, table: str, columns: dict[str, str], rows: Iterable[Sequence[object]]) -> None:
    with db.cursor().copy(_COPY.format(table, ", ".join(columns)).encode()) as copy:
        copy.set_types(list(columns.values()))
        for row in rows:
            copy.write_row(row)


def _content_row(key: int, each: SharedContent, one: Embedded) -> tuple[object, ...]:
    taken = (None, None, None) if one.taken is None else (float(one.taken.at), one.taken.offset, str(one.taken.source))
    numbers = (len(one.faces), one.width, one.height, one.second_look)
    return (key, each.digest, each.fingerprint, *numbers, *taken, one.is_dated, one.picture, each.written)


def _face_rows(
    faces: Iterable[tuple[int, bytes, int, int, Face, bytes]], has_leader: set[bytes]
) -> Iterator[tuple[object, ...]]:
    """``has_leader``: hashes of which a face leads already; those of these faces are added."""
    for *names, face, same in faces:
        landmarks = np.asarray(face.landmarks, "<f4").tobytes()
        seen = (float(face.score), _number(face.norm), str(face.look), _number(face.sharpness))
        leads = same not in has_leader
        has_leader.add(same)
        yield *names, *map(int, face.box), *seen, landmarks, HalfVector(face.embedding), same, leads


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)
