"""The index that is on another machine: what it answers is true whatever the engine says, or does not say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from facewatchd.errors import StorageError
from facewatchd.store import engine_index
from facewatchd.store.catalog import Catalog, Outcome
from facewatchd.store.engine_index import EngineIndex, Near
from facewatchd.store.gallery import Gallery
from facewatchd.store.index import Above, Upkeep
from tests.support.galleries import DIM, photo, unit

ROWS = unit(np.random.default_rng(3).normal(size=(40, DIM)))
ASKED = ROWS[:3]


@dataclass
class PlayedEngine:
    """Finds every face that it was given, whatever the threshold, and others that it invents."""

    sent: list[int] = field(default_factory=list)
    is_away: bool = False
    cut: bool = False
    asked: int = 0
    was_removed: bool = False
    """This machine."""

    def find(self, embeddings: NDArray[np.float32], threshold: float, most: int) -> Near | None:
        self.asked += 1
        if self.is_away:
            return None
        faces = None if self.was_removed else len(self.sent)
        return Near([np.array([*self.sent, 999_999], np.int64)] * len(embeddings), False, self.cut, faces)


@dataclass
class Place:
    catalog: Catalog
    engine: PlayedEngine
    index: EngineIndex
    gallery: Gallery

    def send(self) -> None:
        """Everything that is in the outbox is in the engine from now on."""
        kept = self.catalog.outbox
        assert kept is not None
        kept.mark_rest()
        with self.catalog.reading() as reader:
            changes = reader.outbox.first(1000)
            contents = reader.contents_with({digest for _, digest in changes})
            self.engine.sent += reader.faces_on(list(contents.values()))
        kept.sending("ab" * 16)
        kept.sent([seq for seq, _ in changes], "ab" * 16)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    catalog = Catalog(tmp_path / "catalog.sqlite3", "test-00000000", DIM, sends=True)
    engine = PlayedEngine()
    index = EngineIndex(catalog, engine.find)
    made = Place(catalog, engine, index, Gallery(catalog, index))
    made.send()
    yield made
    catalog.close()


def record(place: Place, *numbers: int) -> None:
    place.gallery.record([photo(b"/%d" % n, b"%032d" % n, ROWS[n : n + 1], inode=n + 1) for n in numbers])


def told(above: Above) -> dict[int, float]:
    return dict(zip(above.ids.tolist(), np.round(above.similarities, 5).tolist(), strict=True))


def holds(place: Place) -> None:
    """It finds what a comparison with every face does."""
    for threshold in (-1.0, 0.1, 0.9):
        found = place.index.above_each(ASKED, threshold)
        expected = place.index.above_each(ASKED, threshold, exact=True)
        assert [told(each) for each in found] == [told(each) for each in expected]
        assert told(place.index.above(ASKED[0], threshold)) == told(expected[0])
        assert all(each.exact for each in expected)


def test_what_was_sent_and_what_is_still_to_be_sent_is_found(place: Place) -> None:
    record(place, *range(20))
    place.send()
    record(place, *range(20, 40))
    holds(place)
    assert place.engine.asked
    assert not place.index.above(ASKED[0], 0.1).exact
    assert place.index.status().problem == ""
    assert place.index.status().faces == 40


def test_what_is_gone_is_not_found_though_the_engine_has_it(place: Place) -> None:
    record(place, *range(10))
    place.send()
    place.gallery.record([Outcome(b"/0", None)])
    holds(place)
    place.gallery.collect(older_than=-1.0)
    assert place.index.above(ASKED[0], 0.9).ids.tolist() == []
    assert place.index.status().faces == 9
    holds(place)


@pytest.mark.parametrize("trouble", ["away", "cut"])
def test_every_face_is_compared_where_the_engine_cannot_tell(
    place: Place, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(place, *range(10))
    place.send()
    place.engine.is_away, place.engine.cut = trouble == "away", trouble == "cut"
    sent = place.engine.sent.copy()
    place.engine.sent.clear()
    holds(place)
    assert place.index.above(ASKED[0], 0.1).exact
    place.engine.sent += sent
    if trouble == "away":
        assert place.engine.asked == 1, "not once for each question"
        assert place.index.status().problem == engine_index.AWAY
        with pytest.raises(StorageError, match="does not answer"):
            place.index.nearest(ASKED[0], 0.1, 5)
        place.engine.is_away = False
        monkeypatch.setattr(place.index, "_away_until", 0.0)
        assert not place.index.above(ASKED[0], 0.1).exact
        assert place.index.status().problem == ""


@pytest.mark.parametrize("left", [None, 0, 5])
def test_so_is_it_where_the_engine_has_lost_what_was_sent(place: Place, left: int | None) -> None:
    record(place, *range(10))
    place.send()
    sent = place.engine.sent.copy()
    place.engine.was_removed = left is None
    del place.engine.sent[left or 0 :]
    record(place, *range(10, 12))
    holds(place)
    assert place.index.above(ASKED[0], 0.9).ids.tolist() == [1]
    assert place.index.status().problem == engine_index.LOST
    with pytest.raises(StorageError, match="has lost faces"):
        place.index.nearest(ASKED[0], 0.1, 5)
    place.engine.was_removed = False
    place.engine.sent[:] = sent
    assert not place.index.above(ASKED[0], 0.1).exact
    assert place.index.status().problem == ""


def test_faces_that_no_photo_shows_are_not_taken_for_lost(place: Place) -> None:
    record(place, *range(10))
    place.send()
    place.gallery.record([Outcome(b"/%d" % n, None) for n in range(6)])
    place.send()
    del place.engine.sent[:6]
    holds(place)
    assert (place.index.above(ASKED[0], 0.1).exact, place.index.status().problem) == (False, "")


def test_so_is_it_while_much_is_still_to_be_sent(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_index, "MOST_UNSENT", 5)
    record(place, *range(10))
    holds(place)
    assert (place.engine.asked, place.index.status().problem) == (0, engine_index.BEHIND)
    place.send()
    holds(place)
    assert place.engine.asked
    assert place.index.status().problem == ""
    kept = place.catalog.outbox
    assert kept is not None
    kept.mark_all()
    assert place.index.above(ASKED[0], 0.1).exact


def test_the_nearest_are_as_many_as_are_wanted(place: Place) -> None:
    record(place, *range(30))
    place.send()
    every = place.index.above(ASKED[0], -1.0, exact=True).first(4)
    place.engine.cut = True
    assert told(place.index.nearest(ASKED[0], -1.0, 4)) == told(every)


def test_nothing_is_ever_due(place: Place) -> None:
    record(place, 1)
    place.index.maintain(Upkeep(), rebuild=True)
    assert place.index.differences() == []
    assert not place.index.status().overdue
