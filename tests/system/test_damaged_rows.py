"""Face rows that cannot be: left out of every answer, removed, and their photos are read again."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from facewatchd.store.catalog import Outcome
from facewatchd.store.results import Search
from tests.support.albums import shoot
from tests.support.drawn_faces import embedding
from tests.support.galleries import DIM, opened, photo, stamp, unit
from tests.support.invariant import catalog_of, check
from tests.support.processes import Daemon, until

DAMAGES = {
    "shorter": "embedding = substr(embedding, 1, 8)",
    "no whole number of floats": "embedding = substr(embedding, 1, 7)",
    "longer": "embedding = CAST(embedding || embedding AS BLOB)",
    "empty": "embedding = zeroblob(0)",
    "not a number": "embedding = CAST(x'0000c07f' || substr(embedding, 5) AS BLOB)",
    "infinite": "embedding = CAST(x'0000807f' || substr(embedding, 5) AS BLOB)",
    "zero": "embedding = zeroblob(length(embedding))",
    "far too long": "embedding = CAST(x'ffff7f7f' || substr(embedding, 5) AS BLOB)",
    "norm": "norm = -8.5",
    "landmarks": "landmarks = substr(landmarks, 1, 7)",
}


def damage(catalog: Path, change: str, where: str) -> None:
    """Change the rows of some faces, behind the daemon's back."""
    with contextlib.closing(sqlite3.connect(catalog, isolation_level=None)) as db:
        assert db.execute(f"UPDATE face SET {change} WHERE {where}").rowcount


# ------------------------------------------------------------------------------------------------- in one process


@pytest.mark.parametrize("change", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_row_is_left_out_and_its_bytes_are_to_be_embedded_again(tmp_path: Path, change: str) -> None:
    rows = unit(np.random.default_rng(1).normal(size=(4, DIM)))
    gallery = opened(tmp_path)
    gallery.record([photo(b"/p/1", b"d1", rows[:2], 1), photo(b"/p/2", b"d2", rows[2:], 2)])
    damage(gallery.catalog.path, change, "id = 1")
    with gallery.catalog.reading() as reader:
        assert reader.faces(1) is None
        assert sorted(reader.faces_of([1, 2, 3])) == [2, 3]
        if "embedding" in change:
            assert [ids.tolist() for ids, _ in reader.embeddings()] == [[2, 3, 4]]
            assert reader.embeddings_of([1, 2, 9])[0].tolist() == [2]
    for exact in (True, False):
        assert gallery.nearest(rows[2], Search(0.9, exact=exact)).matches[0].path == b"/p/2"
    assert gallery.catalog.damaged_faces == {1}
    assert gallery.set_aside([1, 9]) == [b"/p/1"]
    assert gallery.catalog.damaged_faces == set()
    assert gallery.index.differences() == []
    assert [match.path for match in gallery.nearest(rows[1], Search(0.9)).matches] == [b"/p/1"], "the face beside it"
    with gallery.catalog.reading() as reader:
        assert not reader.has_content(b"d1")
        assert reader.content(b"d1") is None
        assert not stamp(1).same_bytes(reader.stamp(b"/p/1"))
        assert reader.has_content(b"d2")
        assert stamp(2).same_bytes(reader.stamp(b"/p/2"))
    copy = Outcome(b"/p/copy", stamp(3), b"d1")
    assert gallery.record([copy]) == {b"/p/copy"}, "what was to be recorded as known is looked at again"
    gallery.record([photo(b"/p/1", b"d1", rows[:2], 1)])
    assert gallery.record([copy]) == set()
    with gallery.catalog.reading() as reader:
        assert reader.counts().faces == 4
        assert stamp(1).same_bytes(reader.stamp(b"/p/1"))
    assert gallery.index.differences() == []


# --------------------------------------------------------------------------------------------------- as a daemon


QUICK = """
import sys
if "run" in sys.argv:
    from facewatchd.indexing import maintenance
    maintenance.LOOK_EVERY = 0.2
"""
PAUSED = """
if "run" in sys.argv:
    from facewatchd.scan.work_queue import WorkQueue
    WorkQueue._take_ready = lambda self, limit, now: ([], True)
"""


def library(root: Path) -> list[Path]:
    """A photo of two people for each damage, and one more."""
    return [shoot(root / f"{number}.jpg", [number + 1, beside(number)], 600) for number in range(len(DAMAGES) + 1)]


def beside(number: int) -> int:
    """The second person on a photo, who is on others too."""
    return 12 + number % 4


def damage_all(daemon: Daemon) -> None:
    """Damage one face on each photo but the last, each in another way."""
    catalog = catalog_of(daemon)
    for number, change in enumerate(DAMAGES.values()):
        damage(catalog, change, f"id = (SELECT max(id) FROM face WHERE content_id = {number + 1})")


def found(daemon: Daemon, person: int, **params: object) -> set[str]:
    answer = daemon.call("query", embedding=embedding(person).tolist(), top=0, **params)
    return {Path(match["path"]).name for match in answer["matches"]}


def expect_healed(daemon: Daemon, photos: list[Path]) -> None:
    def is_healed() -> bool:
        status = daemon.status()
        return (status["state"], status["faces"], status["problems"]) == ("idle", 2 * len(photos), [])

    until(is_healed)
    assert daemon.call("verify")["problems"] == []
    for number, path in enumerate(photos):
        assert found(daemon, number + 1) == {path.name}
        assert found(daemon, beside(number)) == {photos[at].name for at in range(number % 4, len(photos), 4)}
    check(daemon)


@pytest.fixture
def daemon(tmp_path: Path, tiny_root: Path) -> Iterator[Daemon]:
    """One whose maintenance looks more often, on a directory that is still empty."""
    (tmp_path / "photos").mkdir()
    daemon = Daemon(tmp_path / "home", tmp_path / "photos", model="tiny", model_root=tiny_root)
    daemon.hook(QUICK)
    with daemon:
        yield daemon


@pytest.mark.parametrize("index", ["kept", "lost"])
def test_a_daemon_that_starts_with_damaged_rows_answers_and_heals(daemon: Daemon, index: str) -> None:
    photos = library(daemon.roots[0])
    daemon.start()
    daemon.settle()
    assert daemon.stop() == 0
    damage_all(daemon)
    if index == "lost":
        for path in daemon.data.glob("*/index.*"):
            path.unlink()
    daemon.hook(PAUSED)
    daemon.start()
    until(lambda: daemon.status()["index"]["ready"])
    assert found(daemon, len(photos), exact=True) == {photos[-1].name}
    (listed, _) = daemon.call("query", photos=[{"path": str(photos[0])}], face="all")["query"]
    assert listed["faces"] == 2, "what the catalog lacks, the model sees"
    until(lambda: "damaged in the catalog" in daemon.log.read_text())
    daemon.kill()  # before any photo was read again
    daemon.unhook()
    daemon.start()
    expect_healed(daemon, photos)


def test_rows_that_are_damaged_while_it_runs(daemon: Daemon) -> None:
    photos = library(daemon.roots[0])
    daemon.start()
    daemon.settle()
    damage_all(daemon)
    assert found(daemon, len(photos), exact=True) == {photos[-1].name}
    listed = daemon.call("query", photos=[{"path": str(photo)} for photo in photos], face="all")
    assert [entry["faces"] for entry in listed["query"]] == [2] * (2 * len(photos)), "each row is read"
    expect_healed(daemon, photos)


def test_photos_on_a_disk_that_is_away_heal_when_it_is_back(daemon: Daemon, tmp_path: Path) -> None:
    (root,), away = daemon.roots, tmp_path / "away"
    photos = library(root)
    daemon.start()
    daemon.settle()
    assert daemon.stop() == 0
    damage_all(daemon)
    root.rename(away)
    root.mkdir()
    daemon.start()
    until(lambda: "damaged in the catalog" in daemon.log.read_text())
    assert found(daemon, 1) == {photos[0].name}, "the other face on it"
    root.rmdir()
    away.rename(root)
    daemon.call("scan")
    expect_healed(daemon, photos)
