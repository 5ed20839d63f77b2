"""The promise of the shared engine, held from outside: once everything is sent, its rows are those of the catalogs.

Nothing here is the product's own code: catalogs are read with bare SQL, the engine's tables likewise by its
administrator, and what a machine has to send is said here again: each content that a photo shows and that has a face.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tests.support.engine_server import Database
from tests.support.processes import until

if TYPE_CHECKING:
    import psycopg

HALF = 2e-3
"""How far a number of an embedding may be from the catalog's: half precision, below 1."""


class Content(NamedTuple):
    """A row of a content; ``taken_from`` is "" where its bytes were read for a date and have none."""

    width: int
    height: int
    second_look: int
    taken: float | None
    taken_offset: int | None
    taken_from: str | None
    picture: bytes | None


@dataclass
class Rows:
    """What a machine shows."""

    model: str
    contents: dict[bytes, Content]
    photos: dict[bytes, bytes]
    """Digest by path."""
    faces: dict[tuple[bytes, int], tuple[Any, ...]]
    """By digest and face id: box, score, norm, look, sharpness and landmarks."""
    embeddings: dict[tuple[bytes, int], np.ndarray]


def schema_of(model: str) -> str:
    return "facewatch_" + hashlib.sha256(model.encode()).hexdigest()[:16]


def catalog_of(data: Path) -> Path:
    (path,) = data.glob("*/catalog.sqlite3")
    return path


def machine_id(data: Path) -> str:
    return (data / "machine").read_text().strip().replace("-", "")


def of_catalog(catalog: Path) -> Rows:
    """What a catalog says, while it is written or not."""
    with closing(sqlite3.connect(f"{catalog.as_uri()}?mode=ro", uri=True)) as db:
        db.execute("BEGIN")
        (model,) = db.execute("SELECT value FROM meta WHERE key = 'model'").fetchone()
        columns = "digest, width, height, second_look, taken, taken_offset, taken_from, picture"
        shown = "WHERE EXISTS (SELECT 1 FROM photo WHERE content_id = content.id)"
        known = {row[0]: Content(*row[1:]) for row in db.execute(f"SELECT {columns} FROM content {shown}")}
        faces = db.execute(
            "SELECT digest, face.id, x, y, w, h, score, norm, coalesce(look, 'first'), sharpness, landmarks, embedding"
            " FROM face JOIN content ON content.id = content_id"
        ).fetchall()
        photos = db.execute("SELECT path, digest FROM photo JOIN content ON content.id = content_id").fetchall()
    faces = [row for row in faces if row[0] in known]
    with_faces = {row[0] for row in faces}
    return Rows(
        model,
        {digest: content for digest, content in known.items() if digest in with_faces},
        {path: digest for path, digest in photos if digest in with_faces},
        {(row[0], row[1]): row[2:-1] for row in faces},
        {(row[0], row[1]): np.frombuffer(row[-1], "<f4") for row in faces},
    )


def of_engine(db: psycopg.Connection[Any], model: str, machine: str) -> Rows | None:
    """What the engine has of a machine; None where it knows none of this id."""
    schema = schema_of(model)
    found = db.execute(f"SELECT key FROM {schema}.machine WHERE id = %s", (machine,)).fetchone()
    if found is None:
        return None
    contents = db.execute(
        "SELECT digest, width, height, second_look, taken, taken_offset,"
        f" CASE WHEN is_dated THEN coalesce(taken_from, '') END, picture FROM {schema}.content WHERE machine = %s",
        found,
    ).fetchall()
    faces = db.execute(
        "SELECT digest, face_id, x, y, w, h, score, norm, look, sharpness, landmarks, embedding::text, n"
        f" FROM {schema}.face WHERE machine = %s ORDER BY digest, n",
        found,
    ).fetchall()
    photos = db.execute(f"SELECT path, digest FROM {schema}.photo WHERE machine = %s", found).fetchall()
    numbers: dict[bytes, list[int]] = {}
    for row in faces:
        numbers.setdefault(row[0], []).append(row[-1])
    for digest, each in numbers.items():
        assert each == list(range(len(each))), f"the faces of {digest.hex()} are numbered {each}"
    assert len({(row[0], row[1]) for row in faces}) == len(faces), "two faces of a content have one id"
    return Rows(
        model,
        {row[0]: Content(*row[1:]) for row in contents},
        dict(photos),
        {(row[0], row[1]): row[2:-2] for row in faces},
        {(row[0], row[1]): np.array(row[-2].strip("[]").split(","), np.float32) for row in faces},
    )


def check_machine(db: psycopg.Connection[Any], data: Path) -> None:
    """The engine has just what the catalog in a data directory says."""
    truth = of_catalog(catalog_of(data))
    found = of_engine(db, truth.model, machine_id(data))
    assert found is not None, "the engine does not know the machine"
    expect_equal(truth, found)
    row = db.execute(
        f"SELECT faces, photos, backlog, pending FROM {schema_of(truth.model)}.machine WHERE id = %s",
        (machine_id(data),),
    ).fetchone()
    assert row == (len(truth.faces), len(truth.photos), 0, 0)


def expect_equal(truth: Rows, found: Rows) -> None:
    _expect_same("photos", truth.photos, found.photos)
    _expect_same("contents", truth.contents, found.contents)
    _expect_same("faces", truth.faces, found.faces)
    for key, embedding in truth.embeddings.items():
        assert np.allclose(found.embeddings[key], embedding, atol=HALF), f"the embedding of {key} is another one"


def _expect_same(what: str, truth: dict[Any, Any], found: dict[Any, Any]) -> None:
    lost, invented = truth.keys() - found.keys(), found.keys() - truth.keys()
    assert not lost, f"{len(lost)} {what} are lost, {list(lost)[:3]} among them"
    assert not invented, f"{len(invented)} {what} are invented, {list(invented)[:3]} among them"
    wrong = [(key, value, found[key]) for key, value in truth.items() if found[key] != value]
    assert not wrong, f"{len(wrong)} {what} are other ones, {wrong[:2]} among them"


def check(database: Database, data: Sequence[Path], names: Iterable[str]) -> None:
    """Wait until each of these data directories has nothing left to send; then the engine has them and no others."""
    for each in data:
        until(lambda each=each: outbox_is_empty(catalog_of(each)))
    with database.administer() as db:
        model = of_catalog(catalog_of(data[0])).model if data else ""
        until(lambda: _is_told(db, model))
        for each in data:
            check_machine(db, each)
        known = db.execute(f"SELECT name, replace(id::text, '-', '') FROM {schema_of(model)}.machine").fetchall()
        assert dict(known) == dict(zip(names, map(machine_id, data), strict=True))


def _is_told(db: psycopg.Connection[Any], model: str) -> bool:
    """Whether no machine has a backlog, by what it said last."""
    waiting = db.execute(f"SELECT name FROM {schema_of(model)}.machine WHERE backlog + pending > 0").fetchall()
    return not waiting


def outbox_is_empty(catalog: Path) -> bool:
    """Whether a catalog has nothing to send: neither changes, nor contents that are still to be put among them."""
    with closing(sqlite3.connect(f"{catalog.as_uri()}?mode=ro", uri=True)) as db:
        changes = db.execute("SELECT 1 FROM outbox LIMIT 1").fetchone()
        keys = {key for (key,) in db.execute("SELECT key FROM meta WHERE key LIKE 'outbox%'")}
        return changes is None and keys == {"outbox_lineages"}
