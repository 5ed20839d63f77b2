"""What every index promises (`facewatchd.store.index.Index`), held by each that there is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from facewatchd.store.flat import FlatIndex
from facewatchd.store.index import Above, Index, Upkeep
from facewatchd.store.scoring import Search
from tests.support.galleries import DIM, gallery_with, nearest, photo, unit

Floats = NDArray[np.float32]

INDEXES: dict[str, Callable[[Path], Index]] = {
    "flat": lambda directory: FlatIndex(DIM),
    "hnsw": lambda directory: gallery_with(directory).index,
    "hnsw, level": lambda directory: maintained(gallery_with(directory).index),
}


def maintained(index: Index) -> Index:
    index.maintain(Upkeep())
    return index


@pytest.fixture(params=INDEXES)
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Index:
    """An empty one."""
    return INDEXES[request.param](tmp_path)


def rows(count: int, seed: int = 1) -> Floats:
    return unit(np.random.default_rng(seed).normal(size=(count, DIM)))


def ids_of(above: Above) -> list[int]:
    return sorted(above.ids.tolist())


def filled(index: Index, count: int) -> Floats:
    """Faces 1 to count."""
    embeddings = rows(count)
    index.maintain(Upkeep())
    index.add(np.arange(1, count + 1), embeddings)
    return embeddings


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("count", [0, 1, 5, 700])
def test_finds_every_face_from_the_threshold_on_and_no_other(index: Index, count: int, exact: bool) -> None:
    embeddings = filled(index, count)
    for query in rows(5, seed=2):
        similarities = embeddings @ query
        above = index.above(query, 0.2, exact=exact)
        assert ids_of(above) == (np.flatnonzero(similarities >= 0.2) + 1).tolist()
        assert np.allclose(above.similarities, similarities[above.ids - 1], atol=1e-5)
        assert above.exact or not exact


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(("count", "threshold"), [(600, 0.2), (600, 0.9), (600, -0.2), (40, 0.2)])
def test_for_each_of_several_the_same_is_found_as_for_it_alone(
    index: Index, count: int, threshold: float, exact: bool
) -> None:
    embeddings = filled(index, count)
    asked = np.concatenate([embeddings[:20], rows(20, seed=6)])
    together = index.above_each(asked, threshold, exact=exact)
    assert len(together) == 40
    for embedding, above in zip(asked, together, strict=True):
        expected = np.flatnonzero(embeddings @ embedding >= threshold) + 1
        assert ids_of(above) == expected.tolist()
        assert np.allclose(above.similarities, (embeddings @ embedding)[above.ids - 1], atol=1e-5)
        assert above.exact or not exact


def test_a_threshold_that_all_faces_reach_finds_all_of_them(index: Index) -> None:
    filled(index, 300)
    above = index.above(rows(1)[0], -1.0)
    assert ids_of(above) == list(range(1, 301))
    assert above.exact


@pytest.mark.parametrize("exact", [True, False])
def test_what_was_removed_is_not_found(index: Index, exact: bool) -> None:
    embeddings = filled(index, 600)
    index.remove(np.array([7, 8, 600, 9999]))
    for gone in (7, 8, 600):
        assert gone not in index.above(embeddings[gone - 1], 0.5, exact=exact).ids
    assert 9 in index.above(embeddings[8], 0.99, exact=exact).ids
    assert index.status().faces == 597
    index.remove(np.arange(1, 601))
    assert ids_of(index.above(embeddings[0], -1.0, exact=exact)) == []
    assert index.status().faces == 0


@pytest.mark.parametrize("exact", [True, False])
def test_each_of_several_equal_faces_is_found_until_it_is_removed(index: Index, exact: bool) -> None:
    filled(index, 300)
    same = rows(1, seed=3)[0]
    index.add(np.arange(301, 311), np.repeat(same[None], 10, axis=0))
    assert ids_of(index.above(same, 0.99, exact=exact)) == list(range(301, 311))


def test_faces_that_are_added_later_are_found_beside_those_before(index: Index) -> None:
    filled(index, 100)
    late = rows(100, seed=4)
    for start in range(0, 100, 7):
        part = slice(start, start + 7)
        index.add(np.arange(101, 201)[part], late[part])
        index.maintain(Upkeep())
    for at in (0, 50, 99):
        assert 101 + at in index.above(late[at], 0.99, exact=True).ids
    assert index.status().faces == 200


def test_says_how_much_it_holds_and_whether_it_is_ready(index: Index) -> None:
    filled(index, 20)
    status = index.status()
    assert status.ready
    assert (status.faces, status.tombstones, status.overdue) == (20, 0, False)


def test_the_gallery_works_with_any_index(tmp_path: Path) -> None:
    gallery = gallery_with(tmp_path, FlatIndex(DIM))
    embeddings = rows(3)
    gallery.record([photo(b"/%d" % n, b"%d" % n, [row]) for n, row in enumerate(embeddings)])
    answer = nearest(gallery, embeddings[1], Search(0.9))
    assert [match.path for match in answer.matches] == [b"/1"]
    assert answer.exact
