"""The journal: what each transaction appends, what an earlier state was, and which cursors are still good."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facewatchd.matches import Box
from facewatchd.store import catalog as catalog_module
from facewatchd.store import journal as journal_module
from facewatchd.store.catalog import Catalog, Outcome
from facewatchd.store.journal import Cursor
from facewatchd.values import Face, Look, Ways
from tests.support.galleries import DIM, face, photo, stamp, unit

MODEL = "test-00000000"
ROWS = unit(np.random.default_rng(0).normal(size=(20, DIM)))


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    catalog = Catalog(tmp_path / "catalog.sqlite3", MODEL, DIM)
    yield catalog
    catalog.close()


def lines(catalog: Catalog, after: int = 0) -> list[tuple[int, bytes | None, bool]]:
    """Content, path, and whether it is shown, of each line."""
    with catalog.reading() as reader:
        return [(each.content_id, each.path, each.shown) for each in reader.journal.after(after, 1000)]


def last(catalog: Catalog) -> int:
    with catalog.reading() as reader:
        return reader.journal.last()


def arrivals(catalog: Catalog, digest: bytes) -> list[int]:
    """Of the faces of a content, left to right."""
    with catalog.reading() as reader:
        content = reader.content(digest)
        assert content is not None
        ids = [face_id for face_id, _ in reader.faces(content) or ()]
        return [reader.arrivals(ids)[face_id] for face_id in ids]


def with_faces(outcome: Outcome, *faces: Face) -> Outcome:
    return dataclasses.replace(outcome, faces=faces)


def test_each_change_of_what_a_path_shows_is_a_line(catalog: Catalog) -> None:
    catalog.record([photo(b"/a", b"d1", ROWS[:1])])
    catalog.record([Outcome(b"/a", stamp(1, 2), b"d1")])  # touched
    catalog.record([Outcome(b"/b", stamp(2), b"d1"), Outcome(b"/a", None)])  # renamed
    catalog.record([photo(b"/b", b"d2", ROWS[1:2])])  # overwritten
    catalog.record([Outcome(b"/b", stamp(3), error="torn"), Outcome(b"/never", None)])
    assert lines(catalog) == [
        (1, b"/a", True),
        (1, b"/b", True),
        (1, b"/a", False),
        (1, b"/b", False),
        (2, b"/b", True),
        (2, b"/b", False),
    ]


def test_a_content_without_a_photo_is_no_line(catalog: Catalog) -> None:
    catalog.record([dataclasses.replace(photo(b"", b"d1", ROWS[:1]), stamp=None)])
    assert lines(catalog) == []
    catalog.record([Outcome(b"/a", stamp(1), b"d1")])
    assert lines(catalog) == [(1, b"/a", True)]


def test_embedding_again_makes_nothing_new(catalog: Catalog) -> None:
    one, moved, other = (face(ROWS[0], box) for box in (Box(0, 0, 50, 50), Box(4, 4, 50, 50), Box(300, 0, 50, 50)))
    catalog.record([with_faces(photo(b"/a", b"d1", []), one)])
    catalog.record([with_faces(photo(b"/a", b"d1", []), moved)])
    assert (lines(catalog), arrivals(catalog, b"d1")) == ([(1, b"/a", True)], [0])
    catalog.record([with_faces(photo(b"/a", b"d1", []), one, other)])
    assert lines(catalog, 1) == [(1, None, True)]
    assert arrivals(catalog, b"d1") == [0, last(catalog)]
    catalog.record([with_faces(photo(b"/a", b"d1", []), moved, other)])
    assert arrivals(catalog, b"d1") == [0, 2]


def test_what_failed_and_is_read_later_is_new(catalog: Catalog) -> None:
    catalog.record([Outcome(b"/a", stamp(1), b"d1", error="torn")])
    catalog.record([photo(b"/a", b"d1", ROWS[:1])])
    assert (lines(catalog, 1), arrivals(catalog, b"d1")) == ([(1, None, True)], [2])


def test_a_second_look_adds_what_was_not_there(catalog: Catalog) -> None:
    first, found = face(ROWS[0], Box(0, 0, 50, 50)), face(ROWS[1], Box(300, 0, 50, 50))
    found = dataclasses.replace(found, look=Look.TILE)
    outcome = with_faces(photo(b"/a", b"d1", []), first)
    catalog.record([dataclasses.replace(outcome, worth=Ways.TILES)])
    catalog.record_second_look(b"d1", Ways.TILES, [found])
    assert arrivals(catalog, b"d1") == [0, 2]
    catalog.record([dataclasses.replace(outcome, worth=Ways.TILES)])
    again = dataclasses.replace(found, embedding=ROWS[2])
    changes = catalog.record_second_look(b"d1", Ways.TILES, [again])
    assert (len(changes.added), arrivals(catalog, b"d1"), last(catalog)) == (1, [0, 2], 2)


def test_a_damaged_face_that_is_found_again_is_not_new(catalog: Catalog) -> None:
    (face_id,) = catalog.record([photo(b"/a", b"d1", ROWS[:1])]).added
    catalog.set_aside([face_id])
    catalog.record([photo(b"/a", b"d1", ROWS[:1])])
    assert (arrivals(catalog, b"d1"), last(catalog)) == ([0], 1)


def test_a_failed_transaction_leaves_no_line(catalog: Catalog) -> None:
    with pytest.raises(Exception, match="cannot write"):
        catalog.record([photo(b"/a", b"d1", ROWS[:1]), Outcome(b"/b", stamp(1), "no bytes" * 2, 1, 1, [])])  # type: ignore[arg-type]
    assert (lines(catalog), last(catalog)) == ([], 0)


PATHS = [b"/a", b"/b", b"/c"]
changes_of_paths = st.lists(
    st.lists(st.tuples(st.sampled_from(PATHS), st.sampled_from([None, b"d1", b"d2"])), min_size=1, max_size=4),
    max_size=12,
)


@given(changes_of_paths)
@settings(max_examples=60, deadline=None)
def test_earlier_states_come_back_from_the_lines_after_them(
    tmp_path_factory: pytest.TempPathFactory, transactions: list[list[tuple[bytes, bytes | None]]]
) -> None:
    catalog = Catalog(tmp_path_factory.mktemp("journal") / "catalog.sqlite3", MODEL, DIM)
    catalog.record([dataclasses.replace(photo(b"", each, ROWS[:1]), stamp=None) for each in (b"d1", b"d2")])
    contents = {b"d1": 1, b"d2": 2}
    shown: dict[bytes, bytes | None] = {}
    states = [(0, dict(shown))]
    for transaction in transactions:
        catalog.record([Outcome(path, stamp(1) if digest else None, digest) for path, digest in transaction])
        shown.update(transaction)
        states.append((last(catalog), dict(shown)))
    with catalog.reading() as reader:
        now = reader.copies([1, 2])
        for seq, state in states:
            assert reader.journal.shown_at(seq, now, [1, 2]) == {
                content: {path for path, there in state.items() if there == digest}
                for digest, content in contents.items()
            }
    catalog.close()


def test_a_cursor_is_good_while_its_line_is_there(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    def cursor() -> Cursor:
        with catalog.reading() as reader:
            return Cursor.of(str(reader.journal.cursor()))

    def knows(each: Cursor) -> bool:
        with catalog.reading() as reader:
            return reader.journal.knows(each)

    beginning = cursor()
    assert knows(beginning)
    cursors = []
    for number in range(5):
        catalog.record([photo(b"/%d" % number, b"d%d" % number, [])])
        cursors.append(cursor())
    assert knows(beginning)
    assert all(map(knows, cursors))
    assert not knows(cursors[0]._replace(at=1)), "a line of another history"
    assert not knows(cursors[0]._replace(catalog="0")), "of another catalog"
    assert not knows(cursors[-1]._replace(seq=9)), "a later one, of a catalog that was restored"
    monkeypatch.setattr(journal_module, "MOST", 3)
    catalog.record([photo(b"/5", b"d5", [])])
    assert [knows(each) for each in (beginning, *cursors)] == [False, False, False, False, True, True]


def test_lines_are_kept_as_long_as_what_is_gone(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1e9]
    for module in (catalog_module, journal_module):
        monkeypatch.setattr(module.time, "time", lambda: now[0])
    catalog.record([photo(b"/a", b"d1", ROWS[:1]), photo(b"/b", b"d2", ROWS[1:2])])
    now[0] += 1000
    catalog.record([Outcome(b"/a", None)])
    now[0] += catalog_module.KEEP_ORPHANS - 1
    catalog.collect_orphans()
    assert lines(catalog) == [(1, b"/a", False)]
    with catalog.reading() as reader:
        cursor = reader.journal.cursor()
    now[0] += 2
    catalog.collect_orphans()
    assert lines(catalog) == [(0, None, False)], "the last line stays: a cursor behind it is good"
    with catalog.reading() as reader:
        assert reader.journal.knows(cursor)
    now[0] += 10 * catalog_module.KEEP_ORPHANS
    catalog.record([Outcome(b"/c", stamp(7), b"d2")])
    now[0] += 10 * catalog_module.KEEP_ORPHANS
    catalog.collect_orphans()
    assert lines(catalog) == [(2, b"/c", True)]


@pytest.mark.parametrize("text", ["", "1", "0.1", "x.1.1", "0.1.1.1", "0.-1.1", "0.1.1\n", f"0.{10**30}.1"])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no cursor"):
        Cursor.of(text)
