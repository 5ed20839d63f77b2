"""Contents that are taken over from another catalog of the same model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from facewatchd.errors import RefusedError
from facewatchd.store.catalog import KEEP_ORPHANS, Outcome
from facewatchd.store.embedded import WAIT_FOR_PHOTO, Embedded
from facewatchd.store.gallery import Gallery
from facewatchd.store.scoring import Search
from facewatchd.values import Taken, TakenFrom, Ways
from tests.support.galleries import DIM, close_all, face, nearest, opened, photo, stamp, unit

ROWS = unit(np.random.default_rng(3).normal(size=(6, DIM)))


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Gallery]:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    yield opened(tmp_path / "one")
    close_all()


@pytest.fixture
def two(one: Gallery, tmp_path: Path) -> Gallery:
    return opened(tmp_path / "two")


def all_of(gallery: Gallery) -> list[Embedded]:
    found: list[Embedded] = []
    after: int | None = 0
    while after is not None:
        with gallery.catalog.reading() as reader:
            page, after = reader.embedded(after, 2)
        found += page
    return found


def words(contents: list[Embedded]) -> list[object]:
    """What of contents can be compared."""
    return [
        (
            *(content.digest, content.width, content.height, content.second_look, content.taken, content.is_dated),
            content.picture,
            [
                (each.box, each.score, each.norm, each.look, each.sharpness, each.embedding.tobytes())
                for each in content.faces
            ],
        )
        for content in contents
    ]


def test_contents_come_over_as_they_are_and_find_their_photos(one: Gallery, two: Gallery) -> None:
    taken = Taken(1.5e9, 120, TakenFrom.EXIF)
    one.record(
        [
            Outcome(
                b"/a",
                stamp(1),
                b"d1",
                640,
                480,
                [face(ROWS[0], norm=8.0), face(ROWS[1])],
                taken=taken,
                picture=b"p" * 8,
            ),
            photo(b"/b", b"d2", [], 2),
            Outcome(b"/c", stamp(3), b"d3", error="damaged"),
            photo(b"/d", b"d4", ROWS[2:3], 4),
        ]
    )
    one.record_second_look(b"d4", Ways.TILES, [])
    contents = all_of(one)
    assert [content.digest for content in contents] == [b"d1", b"d2", b"d4"]
    assert two.adopt(contents) == 3
    assert two.adopt(contents) == 0
    assert nearest(two, ROWS[0], Search(0.5)).total == 0, "no photo shows it yet"
    with two.catalog.reading() as reader:
        assert all(reader.has_content(content.digest) for content in contents)
    assert two.record([Outcome(b"/x/a", stamp(7), b"d1"), Outcome(b"/x/b", stamp(8), b"d2")]) == set()
    (match,) = nearest(two, ROWS[0], Search(0.5)).matches
    assert match.path == b"/x/a"
    assert words(all_of(two)) == words(contents[:2])


def test_what_is_known_stays_as_it_is(one: Gallery, two: Gallery) -> None:
    one.record([photo(b"/a", b"d1", ROWS[:1])])
    two.record([photo(b"/a", b"d1", ROWS[1:3]), Outcome(b"/e", stamp(5), b"d9", error="damaged")])
    before = words(all_of(two))
    failed = Embedded(b"d9", 10, 10, 0, None, False, None, [])
    assert two.adopt([*all_of(one), failed]) == 0
    assert words(all_of(two)) == before


def test_contents_wait_for_their_photos_for_a_year(one: Gallery, two: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    one.record([photo(b"/a", b"d1", ROWS[:1])])
    two.adopt(all_of(one))
    now = time.time()
    monkeypatch.setattr("facewatchd.store.catalog.time.time", lambda: now + WAIT_FOR_PHOTO)
    assert two.catalog.collect_orphans() == []
    monkeypatch.setattr("facewatchd.store.catalog.time.time", lambda: now + WAIT_FOR_PHOTO + KEEP_ORPHANS + 60)
    assert len(two.catalog.collect_orphans()) == 1


def test_a_photo_that_goes_again_is_kept_as_long_as_any(one: Gallery, two: Gallery) -> None:
    one.record([photo(b"/a", b"d1", ROWS[:1])])
    two.adopt(all_of(one))
    two.record([Outcome(b"/a", stamp(1), b"d1")])
    two.record([Outcome(b"/a", None)])
    assert two.catalog.collect_orphans(-60) != []


def test_an_embedding_of_another_model_is_refused_and_nothing_is_recorded(two: Gallery) -> None:
    good = Embedded(b"d1", 10, 10, 0, None, False, None, [face(ROWS[0])])
    for row in (np.zeros(DIM, np.float32), ROWS[0][:-1], ROWS[0] * np.float32("nan")):
        with pytest.raises(RefusedError):
            two.adopt([good, Embedded(b"d2", 10, 10, 0, None, False, None, [face(row)])])
    with two.catalog.reading() as reader:
        assert not reader.has_content(b"d1")
