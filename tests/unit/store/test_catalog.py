"""The catalog: contents, photos, faces, and files that are not what they should be."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from facewatchd.errors import DamagedError, StorageError
from facewatchd.matches import Box
from facewatchd.models.base import MOST_NORM
from facewatchd.store import schema
from facewatchd.store.catalog import Catalog, Outcome
from facewatchd.store.catalog_reader import CatalogReader
from facewatchd.store.catalog_rows import Counts, PhotoRecord
from facewatchd.values import Face, Identity, Look, PhotoState, Ways
from tests.support.galleries import DIM, face, photo, stamp, unit

MODEL = "test-00000000"
ROWS = unit(np.random.default_rng(0).normal(size=(20, DIM)))


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    catalog = Catalog(tmp_path / "catalog.sqlite3", MODEL, DIM)
    yield catalog
    catalog.close()


def record_of(catalog: Catalog, path: bytes) -> PhotoRecord | None:
    with catalog.reading() as reader:
        return reader.photo(path)


def test_a_photo_and_its_faces_come_back_as_they_were(catalog: Catalog) -> None:
    changes = catalog.record([photo(b"/p/\xff\n.jpg", b"d1", ROWS[:2])])
    assert len(changes.added) == 2
    record = record_of(catalog, b"/p/\xff\n.jpg")
    assert record is not None
    assert (record.state, record.faces, record.stamp) == (PhotoState.INDEXED, 2, stamp(1))
    with catalog.reading() as reader:
        assert record.content_id is not None
        (first, one), (second, _) = reader.faces(record.content_id)
        assert {first, second} == set(changes.added)
        assert np.array_equal(one.embedding, ROWS[0])
        assert reader.recorded(b"/p") == {b"/p/\xff\n.jpg": stamp(1)}
        ids, matrix = next(reader.embeddings())
        assert np.array_equal(matrix, ROWS[:2])
        assert ids.tolist() == changes.added


def test_a_copy_points_at_the_same_content(catalog: Catalog) -> None:
    catalog.record([photo(b"/a", b"d1", ROWS[:1])])
    changes = catalog.record([Outcome(b"/b", stamp(2), b"d1")])
    assert changes.added == []
    with catalog.reading() as reader:
        assert reader.copies([1]) == {1: [b"/a", b"/b"]}
        assert reader.count_copies([1]) == {1: 2}


def test_content_without_a_photo_is_kept_for_a_while(catalog: Catalog) -> None:
    catalog.record([photo(b"/a", b"d1", ROWS[:1])])
    catalog.record([Outcome(b"/a", None)])
    assert record_of(catalog, b"/a") is None
    assert catalog.collect_orphans(older_than=3600) == []
    catalog.record([Outcome(b"/back", stamp(3), b"d1")])
    assert catalog.collect_orphans(older_than=-1) == [], "a photo points at it again"
    catalog.record([Outcome(b"/back", None)])
    assert catalog.collect_orphans(-1, is_kept=lambda digest: digest != b"other") == []
    assert catalog.collect_orphans(older_than=-1) == [1]
    with catalog.reading() as reader:
        assert not reader.has_content(b"d1")
        assert reader.last_face_id() == 1
    assert catalog.record([photo(b"/a", b"d1", ROWS[:1])]).added == [2], "an id is never used twice"


def test_content_that_was_collected_meanwhile_is_not_pointed_at(catalog: Catalog) -> None:
    catalog.record([Outcome(b"/a", stamp(1), b"never seen")])
    assert record_of(catalog, b"/a") is None


def test_embedding_again_replaces_the_faces(catalog: Catalog) -> None:
    catalog.record([photo(b"/a", b"d1", ROWS[:2])])
    changes = catalog.record([photo(b"/a", b"d1", ROWS[2:3])])
    assert (changes.removed, changes.added) == ([1, 2], [3])


def test_failures_belong_to_content_or_to_the_file(catalog: Catalog) -> None:
    catalog.record(
        [
            Outcome(b"/torn.jpg", stamp(1), b"d1", error="truncated"),
            Outcome(b"/pipe.jpg", stamp(2), error="a pipe"),
            Outcome(b"/raw.dng", stamp(4), b"d3", error="a camera's raw file", unsupported=True),
            Outcome(b"/notes.txt", stamp(3)),
            photo(b"/wall.jpg", b"d2", []),
        ]
    )
    states = {
        path: record_of(catalog, path)
        for path in (b"/torn.jpg", b"/pipe.jpg", b"/notes.txt", b"/wall.jpg", b"/raw.dng")
    }
    assert {path: record and (record.state, record.error) for path, record in states.items()} == {
        b"/torn.jpg": (PhotoState.FAILED, "truncated"),
        b"/pipe.jpg": (PhotoState.FAILED, "a pipe"),
        b"/notes.txt": (PhotoState.EXCLUDED, None),
        b"/wall.jpg": (PhotoState.NO_FACE, None),
        b"/raw.dng": (PhotoState.UNSUPPORTED, "a camera's raw file"),
    }
    with catalog.reading() as reader:
        counts = reader.counts()
    assert (counts.photos, counts.faces, counts.failed) == (4, 0, 2)
    catalog.record([Outcome(b"/raw.dng", stamp(4), b"d3", error="damaged")])
    after = record_of(catalog, b"/raw.dng")
    assert after is not None
    assert after.state is PhotoState.FAILED


def test_what_was_counted_is_counted_again_when_something_was_written(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = []

    def counts(reader: CatalogReader, count: Callable[[CatalogReader], Counts] = CatalogReader.counts) -> Counts:
        counted.append(reader)
        return count(reader)

    monkeypatch.setattr(CatalogReader, "counts", counts)
    assert catalog.counts([b"/p"]) == catalog.counts([b"/p"]) == (Counts(0, 0, 0), {b"/p": 0})
    assert len(counted) == 1
    catalog.record([photo(b"/p/1", b"d1", ROWS[:2]), Outcome(b"/q/2", stamp(2), b"d2", error="truncated")])
    assert catalog.counts([b"/p"]) == catalog.counts([b"/p"]) == (Counts(2, 2, 1), {b"/p": 1})
    assert catalog.counts([b"/p", b"/q"]) == (Counts(2, 2, 1), {b"/p": 1, b"/q": 1})
    assert len(counted) == 3
    catalog.record([Outcome(b"/q/2", None)])
    assert catalog.counts([b"/p", b"/q"]) == (Counts(1, 2, 0), {b"/p": 1, b"/q": 0})


def test_a_directory_is_not_its_neighbours(catalog: Catalog) -> None:
    catalog.record([photo(path, path, []) for path in (b"/p/a/1", b"/p/a/b/2", b"/p/a.3", b"/p/a0", b"/p/a\xff/4")])
    with catalog.reading() as reader:
        assert reader.paths(b"/p/a") == [b"/p/a/1", b"/p/a/b/2"]
        assert sorted(reader.directories(b"/p/a")) == [b"/p/a", b"/p/a/b"]
        assert reader.count_photos(b"/p") == 5
        assert reader.outside([b"/p/a", b"/p/a\xff"]) == [b"/p/a.3", b"/p/a0"]


def test_content_that_no_photo_shows_waits_for_one(catalog: Catalog) -> None:
    nobodys = dataclasses.replace(photo(b"", b"d", [ROWS[0]]), stamp=None)
    changes = catalog.record([nobodys])
    assert len(changes.added) == 1
    assert catalog.collect_orphans(older_than=3600) == []
    copy = dataclasses.replace(photo(b"/p/a", b"d", []), faces=None)
    assert catalog.record([copy]).added == []
    assert catalog.collect_orphans(older_than=-1) == [], "it is shown now"
    catalog.record([Outcome(b"/p/a", None)])
    assert catalog.collect_orphans(older_than=-1) == changes.added


def test_content_that_was_collected_since_it_was_known_is_told(catalog: Catalog) -> None:
    copy = dataclasses.replace(photo(b"/p/a", b"d", []), faces=None)
    assert catalog.record([copy, photo(b"/p/b", b"e", [])]).unknown == {b"/p/a"}
    assert record_of(catalog, b"/p/a") is None


@pytest.mark.parametrize("norm", [None, 1e-9, 8.123456789, MOST_NORM])
def test_a_face_keeps_its_norm_or_that_none_is_known(catalog: Catalog, norm: float | None) -> None:
    catalog.record([Outcome(b"/p/a", stamp(1), b"d1", 640, 480, [face(ROWS[0], norm=norm)])])
    with catalog.reading() as reader:
        ((_, kept),) = reader.faces(1) or ()
        assert kept.norm == norm
        assert reader.faces_of([1])[1].norm == norm


def due(catalog: Catalog, limit: int = 10, after: tuple[int, int] | None = None) -> list[tuple[bytes, Ways]]:
    with catalog.reading() as reader:
        return [(each.digest, each.ways) for each in reader.to_see_again([b"/p"], after, limit)]


def place(number: int, score: float, look: Look = Look.FIRST, row: int = 0) -> Face:
    """A face at one of several places."""
    made = face(ROWS[row], Box(100 * number, 0, 60, 80))
    return dataclasses.replace(made, score=score, look=look)


def test_a_second_look_adds_faces_and_leaves_the_others_as_they_are(catalog: Catalog) -> None:
    first = [place(0, 0.7), place(1, 0.5, row=1), place(2, 0.7, row=2)]
    catalog.record([Outcome(b"/p/a", stamp(1), b"d1", 640, 480, first, worth=Ways.BOTH)])
    assert due(catalog) == [(b"d1", Ways.BOTH)]
    found = [place(0, 0.99, Look.TILE, 3), place(1, 0.8, Look.TURNED_180, 3), place(3, 0.6, Look.TILE, 4)]
    changes = catalog.record_second_look(b"d1", Ways.BOTH, found)
    assert changes.removed == [2], "a misreading of the first look"
    assert changes.stacked is not None
    assert np.array_equal(changes.stacked, ROWS[3:5])
    record = record_of(catalog, b"/p/a")
    assert record is not None
    assert (record.state, record.worth, record.seen_again) == (PhotoState.INDEXED, Ways.NONE, Ways.BOTH)
    with catalog.reading() as reader:
        faces = reader.faces(1)
        assert reader.counts() == Counts(1, 4, 0, seen_again=1)
    assert faces is not None
    assert [(face_id, face.look, face.score) for face_id, face in faces] == [
        (1, Look.FIRST, 0.7), (4, Look.TURNED_180, 0.8), (3, Look.FIRST, 0.7), (5, Look.TILE, 0.6),
    ]  # fmt: skip
    assert due(catalog) == []


def test_a_content_that_is_embedded_again_is_due_again(catalog: Catalog) -> None:
    outcome = Outcome(b"/p/a", stamp(1), b"d1", 640, 480, [], worth=Ways.TURNED)
    catalog.record([outcome])
    catalog.record_second_look(b"d1", Ways.TURNED, [])
    record = record_of(catalog, b"/p/a")
    assert record is not None
    assert record.state is PhotoState.NO_FACE
    catalog.record([outcome])
    assert due(catalog) == [(b"d1", Ways.TURNED)]
    catalog.record([dataclasses.replace(outcome, faces=None, error="torn", worth=Ways.NONE)])
    found = [place(0, 0.9, Look.TURNED_90)]
    assert catalog.record_second_look(b"d1", Ways.TURNED, found).added == [], "it has failed since"
    assert catalog.record_second_look(b"d2", Ways.TURNED, found).added == [], "nothing is known of it"


def seen(catalog: Catalog) -> list[tuple[int, Look]]:
    with catalog.reading() as reader:
        return [(face_id, face.look) for face_id, face in reader.faces(1) or ()]


def test_what_a_second_look_found_stays_until_it_is_taken_again(catalog: Catalog) -> None:
    misread = place(0, 0.5)
    outcome = Outcome(b"/p/a", stamp(1), b"d1", 640, 480, [misread, place(4, 0.6)], worth=Ways.BOTH)
    catalog.record([outcome])
    right, gone = place(0, 0.9, Look.TURNED_180, 1), place(1, 0.7, Look.TURNED_180, 2)
    hidden, seen_now = place(2, 0.7, Look.TILE, 3), place(3, 0.7, Look.TILE, 4)
    catalog.record_second_look(b"d1", Ways.BOTH, [right, gone, hidden, seen_now])
    assert [face_id for face_id, _ in seen(catalog)] == [3, 4, 5, 6, 2]
    again = dataclasses.replace(outcome, faces=[misread, place(3, 0.6), place(4, 0.6)])
    changes = catalog.record([again])
    assert changes.removed == [2, 6], "what the first look found is replaced"
    kept = [(3, Look.TURNED_180), (4, Look.TURNED_180), (5, Look.TILE), (7, Look.FIRST), (8, Look.FIRST)]
    assert seen(catalog) == kept
    assert due(catalog) == [(b"d1", Ways.BOTH)]
    moved = dataclasses.replace(hidden, score=0.8, embedding=ROWS[9])
    changes = catalog.record_second_look(b"d1", Ways.BOTH, [right, moved])
    assert (changes.removed, changes.added) == ([4, 5], [9]), "one is not found again, one looks otherwise"
    assert [face_id for face_id, _ in seen(catalog)] == [3, 9, 7, 8]
    with catalog.reading() as reader:
        assert reader.check() == []


@pytest.mark.parametrize("now", [{"worth": Ways.TILES}, {"width": 50}, {"faces": None, "error": "torn"}])
def test_what_no_second_look_would_find_again_does_not_stay(catalog: Catalog, now: dict[str, object]) -> None:
    outcome = Outcome(b"/p/a", stamp(1), b"d1", 640, 480, [], worth=Ways.TURNED)
    catalog.record([outcome])
    (added,) = catalog.record_second_look(b"d1", Ways.TURNED, [place(0, 0.9, Look.TURNED_90)]).added
    assert catalog.record([outcome]).removed == []
    if now.get("error"):
        now = {**now, "worth": Ways.NONE}
    assert catalog.record([dataclasses.replace(outcome, **now)]).removed == [added]


def test_a_second_look_in_other_ways_than_are_wanted_now_is_not_the_one_that_is_due(catalog: Catalog) -> None:
    outcome = Outcome(b"/p/a", stamp(1), b"d1", 640, 480, [], worth=Ways.BOTH)
    catalog.record([outcome])
    tile, turned = place(0, 0.9, Look.TILE), place(1, 0.9, Look.TURNED_90)
    assert len(catalog.record_second_look(b"d1", Ways.TURNED, [turned]).added) == 1
    assert due(catalog) == [(b"d1", Ways.BOTH)]
    assert len(catalog.record_second_look(b"d1", Ways.BOTH, [turned, tile]).added) == 1
    assert due(catalog) == []
    catalog.record([dataclasses.replace(outcome, worth=Ways.TURNED)])
    catalog.record_second_look(b"d1", Ways.BOTH, [turned, tile])
    record = record_of(catalog, b"/p/a")
    assert record is not None
    assert (record.worth, record.seen_again) == (Ways.NONE, Ways.TURNED)


def test_a_second_look_that_failed_is_left_out_until_the_photo_is_embedded_again(catalog: Catalog) -> None:
    outcome = Outcome(b"/p/a", stamp(1), b"d1", 640, 480, [], worth=Ways.BOTH)
    catalog.record([outcome])
    catalog.record_second_look(b"d1", Ways.TURNED, None)
    assert due(catalog) == [(b"d1", Ways.BOTH)], "it is worth more now"
    catalog.record_second_look(b"d1", Ways.BOTH, None)
    record = record_of(catalog, b"/p/a")
    assert record is not None
    assert (record.left_out, record.worth, record.seen_again) == (True, Ways.NONE, Ways.NONE)
    assert due(catalog) == []
    with catalog.reading() as reader:
        assert reader.counts() == Counts(1, 0, 0, seen_again=1)
    catalog.record([outcome])
    assert due(catalog) == [(b"d1", Ways.BOTH)]


def test_what_is_due_comes_in_pages_the_newest_first(catalog: Catalog) -> None:
    for number, mtime in enumerate([30, 10, 50, 50, 20]):
        name = b"/p/%d" % number
        written = dataclasses.replace(photo(name, name, ROWS[:0]), worth=Ways.TURNED)
        catalog.record([dataclasses.replace(written, stamp=stamp(number)._replace(mtime_ns=mtime))])
    catalog.record([Outcome(b"/p/copy", stamp(9)._replace(mtime_ns=40), b"/p/1")])
    catalog.record([dataclasses.replace(photo(b"/q/a", b"dq", ROWS[:0]), worth=Ways.TURNED)])
    catalog.record([photo(b"/p/none", b"d0", ROWS[:1])])
    found: list[bytes] = []
    after = None
    with catalog.reading() as reader:
        while page := reader.to_see_again([b"/p"], after, 2):
            found += [each.digest for each in page]
            after = page[-1].newest, page[-1].content_id
    assert found == [b"/p/3", b"/p/2", b"/p/1", b"/p/0", b"/p/4"]


VERSION_3 = Path(__file__).parent / "version-3.sqlite3.gz"
"""A catalog that the last program without norms wrote: six photos, of which two have the same two faces."""
TO_2 = """
DROP INDEX content_failed; DROP INDEX photo_excluded; DROP INDEX face_shown;
ALTER TABLE content DROP COLUMN unsupported;
"""
BACKWARDS = {
    3: "",
    2: f"{TO_2} PRAGMA user_version = 2;",
    1: f"{TO_2} CREATE TABLE work(path BLOB PRIMARY KEY) STRICT; DROP INDEX photo_inode; PRAGMA user_version = 1;",
}
"""What makes `VERSION_3` one of an earlier version."""


@pytest.mark.parametrize("version", BACKWARDS)
def test_a_catalog_of_an_earlier_version_is_brought_up_to_this_one(tmp_path: Path, version: int) -> None:
    path = tmp_path / "catalog.sqlite3"
    path.write_bytes(gzip.decompress(VERSION_3.read_bytes()))
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript(BACKWARDS[version])
    Catalog(path, MODEL, 4).close()
    catalog = Catalog(path, MODEL, 4)
    failed = [b"/p/raw", b"/p/torn"] if version == 3 else []  # else what failed is looked at again
    rows = np.eye(4, dtype=np.float32)
    with catalog.reading() as reader:
        assert reader.paths(b"/p") == [b"/p/a", b"/p/copy", b"/p/none", b"/p/pipe", *failed]
        assert reader.counts() == Counts(4 + len(failed), 3, 1 + len(failed) // 2, to_see_again=1, undated=2)
        (due,) = reader.to_see_again([b"/p"], None, 10)
        assert (reader.copies([due.content_id])[due.content_id], due.ways) == ([b"/p/none"], Ways.TURNED)
        assert reader.check() == []
        faces = reader.faces_of([1, 2, 3])
        assert [(face.box.x, face.norm) for face in faces.values()] == [(1, None), (100, None), (7, None)]
        assert np.array_equal(np.stack([face.embedding for face in faces.values()]), rows[:3])
    again = Outcome(b"/p/a", stamp(1), b"a" * 32, 640, 480, [face(rows[0], norm=9.5)])
    changes = catalog.record([again, Outcome(b"/p/b", stamp(4), b"f", error="raw", unsupported=True)])
    assert (changes.removed, changes.added, changes.unknown) == ([1, 2], [4], set())
    with catalog.reading() as reader:
        assert reader.faces_of([4])[4].norm == 9.5
    catalog.close()
    Catalog(tmp_path / "new.sqlite3", MODEL, 4).close()
    assert _tables(path) == _tables(tmp_path / "new.sqlite3")


@pytest.mark.parametrize(("score", "photos"), [(0.76, [b"/p/none"]), (0.74, [b"/p/a", b"/p/copy", b"/p/none"])])
def test_of_an_earlier_version_photos_are_worth_a_second_look_as_new_ones_are(
    tmp_path: Path, score: float, photos: list[bytes]
) -> None:
    path = tmp_path / "catalog.sqlite3"
    path.write_bytes(gzip.decompress(VERSION_3.read_bytes()))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE face SET score = ?", (score,))
    catalog = Catalog(path, MODEL, 4)
    with catalog.reading() as reader:
        contents = [each.content_id for each in reader.to_see_again([b"/p"], None, 10)]
        assert sorted(path for copies in reader.copies(contents).values() for path in copies) == photos
    catalog.close()


VERSION_4 = Path(__file__).parent / "version-4.sqlite3.gz"
"""A catalog that the last program without dates wrote: six photos, of which two have the same three faces."""


def test_the_dates_of_a_catalog_of_version_4_are_to_be_read_and_those_in_names_are_known(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite3"
    path.write_bytes(gzip.decompress(VERSION_4.read_bytes()))
    catalog = Catalog(path, MODEL, 4)
    with catalog.reading() as reader:
        faces = reader.faces_of([1, 2, 3, 4])
        assert [(face.box.x, face.norm, face.look, face.sharpness) for face in faces.values()] == [
            (1, 9.5, Look.FIRST, None),
            (100, None, Look.FIRST, None),
            (7, None, Look.FIRST, None),
            (300, 8.5, Look.TILE, None),
        ]
        assert sorted(reader.undated([b"/p"]).tolist()) == [1, 3]
        assert reader.counts().undated == 2
        assert reader.check() == []
    catalog.close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT path, named FROM photo WHERE named IS NOT NULL").fetchall() == [
            (b"/p/IMG_20190630_120000.jpg", 1561896000.0)
        ]
    Catalog(tmp_path / "new.sqlite3", MODEL, 4).close()
    assert _tables(path) == _tables(tmp_path / "new.sqlite3")


def _tables(path: Path) -> dict[str, list[object]]:
    """A catalog's tables and indexes, each with its columns; a table's in any order."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_schema ORDER BY name")]
        return {
            name: sorted(row[1:4] for row in db.execute(f"SELECT * FROM pragma_table_info('{name}')"))
            or [row[2] for row in db.execute(f"SELECT * FROM pragma_index_info('{name}')")]
            for name in names
        }


def test_roots_and_devices_are_remembered(catalog: Catalog) -> None:
    catalog.set_root(b"/p", Identity(1, 2))
    catalog.set_root(b"/p", Identity(3, 4))
    catalog.record([photo(b"/p/a", b"d", [])])
    catalog.set_devices([(b"/p/a", 77)])
    with catalog.reading() as reader:
        assert reader.root(b"/p") == Identity(3, 4)
        assert reader.recorded(b"/p")[b"/p/a"].device == 77


def test_a_failed_transaction_leaves_nothing(catalog: Catalog) -> None:
    broken = photo(b"/b", b"d2", ROWS[:1])
    with pytest.raises(StorageError):
        catalog.record([photo(b"/a", b"d1", ROWS[:1]), Outcome(broken.path, broken.stamp, "no bytes" * 2, 1, 1, [])])  # type: ignore[arg-type]
    assert record_of(catalog, b"/a") is None


def test_a_full_disk_is_said_so(catalog: Catalog) -> None:
    catalog._db.execute("PRAGMA max_page_count = 1")
    with pytest.raises(StorageError, match="full") as caught:
        catalog.record([photo(f"/{n}".encode(), bytes([n]), ROWS) for n in range(100)])
    assert "free some disk space" in str(caught.value)
    catalog._db.execute("PRAGMA max_page_count = 1000000")
    assert len(catalog.record([photo(b"/a", b"d1", ROWS[:1])]).added) == 1


def test_what_is_no_catalog_is_not_touched(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.sqlite3"
    garbage.write_bytes(b"not a database at all" * 1000)
    with pytest.raises(DamagedError, match="damaged"):
        Catalog(garbage, MODEL, DIM)
    assert garbage.read_bytes() == b"not a database at all" * 1000
    foreign = tmp_path / "foreign.sqlite3"
    db = sqlite3.connect(foreign)
    db.execute("CREATE TABLE t(x)")
    db.close()
    with pytest.raises(DamagedError, match="not a catalog"):
        Catalog(foreign, MODEL, DIM)


def test_another_model_or_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite3"
    Catalog(path, MODEL, DIM).close()
    with pytest.raises(DamagedError, match="belongs to model"):
        Catalog(path, "other-11111111", DIM)
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    db.close()
    with pytest.raises(StorageError, match="another version"):
        Catalog(path, MODEL, DIM)


def test_readers_cannot_write_and_see_one_state(catalog: Catalog) -> None:
    with catalog.reading() as reader:
        assert reader.counts().photos == 0
        catalog.record([photo(b"/a", b"d1", [])])
        assert reader.counts().photos == 0
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader._db.execute("DELETE FROM photo")
    with catalog.reading() as reader:
        assert reader.counts().photos == 1
        assert reader.check() == []


@pytest.mark.parametrize("error", [OverflowError, UnicodeError, ValueError, sqlite3.OperationalError, DamagedError])
def test_what_a_caller_raises_while_it_reads_is_not_the_disks_fault(catalog: Catalog, error: type[Exception]) -> None:
    raised = error("the caller's own")

    def read() -> None:
        with catalog.reading() as reader:
            assert reader.counts().photos == 0
            raise raised

    with pytest.raises(error) as caught:
        read()
    assert caught.value is raised
    assert catalog.damage == ""
    with catalog.reading() as reader:
        assert reader.counts().photos == 0, "the connection was given back"


@pytest.mark.parametrize(
    "ask",
    [
        lambda reader: reader.counts(),
        lambda reader: reader.contents_of([1]),
        lambda reader: reader.face_ids(),
        lambda reader: reader.embeddings_of([1]),
        lambda reader: list(reader.embeddings()),
    ],
)
def test_what_a_statement_raises_is_said_of_the_catalog(
    catalog: Catalog, ask: Callable[[CatalogReader], object]
) -> None:
    catalog._db.execute("ALTER TABLE face RENAME TO gone")
    with catalog.reading() as reader, pytest.raises(StorageError, match="cannot read the catalog: no such table"):
        ask(reader)


def test_damage_that_a_statement_meets_is_remembered(catalog: Catalog) -> None:
    catalog.record([photo(b"/%d" % n, b"%d" % n, [ROWS[0]]) for n in range(600)])
    catalog._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = catalog.path.stat().st_size
    with catalog.path.open("r+b") as file:
        file.seek(16384)
        file.write(b"\xff" * (size - 16384))
    with catalog.reading() as reader, pytest.raises(DamagedError, match="damaged"):
        reader.counts()
    assert "damaged" in catalog.damage
