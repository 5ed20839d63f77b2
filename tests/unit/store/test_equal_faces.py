"""Thousands of equal faces: a logo, a screenshot, one picture whose metadata changes. They hide nobody else."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from facewatchd.errors import DamagedError
from facewatchd.store.catalog import Outcome
from facewatchd.store.gallery import Gallery
from facewatchd.store.graph import SAME, Graph
from facewatchd.store.scoring import Search
from facewatchd.store.stored import Labels
from tests.support.galleries import DIM, hnsw, index_size, nearest, opened, photo, unit

EQUAL, LONE = 3000, 200


def crowd(count: int, noise: float, dim: int = DIM) -> NDArray[np.float32]:
    """Faces at one place, but for noise of about that length."""
    rng = np.random.default_rng(7)
    return unit(unit(rng.normal(size=dim)) + noise * rng.normal(size=(count, dim)) / np.sqrt(dim))


def lone(count: int = LONE, dim: int = DIM) -> NDArray[np.float32]:
    return unit(np.random.default_rng(8).normal(size=(count, dim)))


@pytest.mark.parametrize("noise", [0, 1e-7, 1e-5, 3e-4])
@pytest.mark.parametrize("order", ["before", "after", "between"])
def test_a_crowd_of_equal_faces_hides_nobody(order: str, noise: float) -> None:
    """Without ever comparing every face: 400 others, each alone, are found by their own embedding."""
    dim = 128
    rows = np.concatenate([lone(2 * LONE, dim), crowd(EQUAL, noise, dim)])
    turn = {"before": np.arange(len(rows)), "after": np.arange(len(rows))[::-1]}
    at = turn.get(order, np.random.default_rng(9).permutation(len(rows)))
    vectors = Graph(dim)
    for start in range(0, len(at), 300):
        vectors.add(at[start : start + 300] + 1, rows[at[start : start + 300]])
    assert len(vectors) == len(rows)
    assert vectors.nodes <= 2 * LONE + 3
    missed = [n for n in range(2 * LONE) if vectors.nearest(rows[n], 100)[0][0] != n + 1]
    assert not missed
    ids, similarities = vectors.nearest(rows[-1], 5)
    assert set(range(2 * LONE + 1, len(rows) + 1)) <= set(ids.tolist()), "and each of the crowd is found"
    assert similarities[EQUAL - 1] == pytest.approx(1, abs=1e-5)


def test_each_of_the_equal_faces_is_found_on_its_photo(gallery: Gallery) -> None:
    rows = lone()
    same = crowd(1, 0)[0]
    gallery.record([photo(b"/lone/%d" % n, b"lone %d" % n, [row]) for n, row in enumerate(rows)])
    for start in range(0, EQUAL, 500):
        gallery.record([photo(b"/same/%d" % n, b"%d" % n, [same]) for n in range(start, start + 500)])
    assert index_size(gallery) == (EQUAL + LONE, 0)
    answer = nearest(gallery, same, Search(0.99))
    assert len(answer.matches) == EQUAL
    assert not answer.exact
    assert nearest(gallery, same, Search(0.99, top=7)).matches[6].similarity == pytest.approx(1, abs=1e-5)
    assert gallery.index.differences() == []


def test_one_of_several_equal_faces_goes_and_the_others_stay(gallery: Gallery) -> None:
    """In whatever order they go, few tombstones are left behind, and there is no moment without the others."""
    same, count = crowd(1, 0)[0], 150
    gallery.record([photo(b"/lone/%d" % n, b"lone %d" % n, [row]) for n, row in enumerate(lone())])
    gallery.record([photo(b"/%d" % n, b"%d" % n, [same]) for n in range(count)])
    for n in range(count):
        gallery.record([photo(b"/%d" % n, b"%d" % n, [])])  # embedded again: no face is found any more
        assert len(nearest(gallery, same, Search(0.99)).matches) == count - n - 1
        if n % 50 == 0:
            assert gallery.index.differences() == []
    assert index_size(gallery)[0] == LONE
    assert index_size(gallery)[1] <= 40
    assert gallery.index.differences() == []


def test_a_node_goes_together_with_some_of_its_followers() -> None:
    vectors, rows = Graph(DIM), crowd(10, 0)
    vectors.add(np.arange(1, 11), rows)
    assert vectors.nodes == 1
    gone = np.array([1, 2, 3])
    successors = vectors.successors(gone)
    assert len(successors) == 1
    assert 4 <= successors[0] <= 10
    vectors.delete(gone, successors, rows[:1])
    assert vectors.live_ids().tolist() == list(range(4, 11))
    assert (len(vectors), vectors.nodes, vectors.tombstones) == (7, 1, 1)
    assert sorted(vectors.nearest(rows[0], 1)[0].tolist()) == list(range(4, 11))
    vectors.add(np.array([2, 3]), rows[:2])  # they had no label
    with pytest.raises(ValueError, match="before"):
        vectors.add(np.array([1]), rows[:1])
    assert len(vectors) == 9


def test_what_is_only_nearly_equal_keeps_its_own_place() -> None:
    rows = crowd(50, 20 * SAME)
    vectors = Graph(DIM)
    vectors.add(np.arange(1, 51), rows)
    assert vectors.nodes == 50


def test_groups_come_back_from_the_disk(tmp_path: Path) -> None:
    gallery = opened(tmp_path)
    same = crowd(5, 1e-6)
    gallery.record([photo(b"/lone", b"lone", lone(20))])
    gallery.record([photo(b"/%d" % n, b"%d" % n, [row]) for n, row in enumerate(same)])
    hnsw(gallery).checkpoint()
    gallery.record([photo(b"/late", b"late", [same[0]])])
    gallery.catalog.close()
    again = opened(tmp_path)
    assert index_size(again) == (26, 0)
    assert again.index.status().unsaved == 1
    assert again.index.differences() == []
    again.record([photo(b"/0", b"0", [])])
    hnsw(again).checkpoint()
    again.catalog.close()
    last = opened(tmp_path)
    assert last.index.status().unsaved == 0
    assert {match.path for match in nearest(last, same[0], Search(0.99)).matches} == {
        b"/1",
        b"/2",
        b"/3",
        b"/4",
        b"/late",
    }
    assert last.index.differences() == []


def test_a_follower_that_the_catalog_has_another_embedding_of_is_noticed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gallery = opened(tmp_path)
    gallery.record([photo(b"/a", b"a", lone(20)), photo(b"/b", b"b", crowd(6, 0))])
    hnsw(gallery).checkpoint()
    gallery.catalog._db.execute("UPDATE face SET embedding = ? WHERE id = 25", (lone(21)[20].tobytes(),))
    assert gallery.index.differences() == ["1 vector of the index is not the catalog's"]
    gallery.catalog.close()
    again = opened(tmp_path)
    assert "other faces than the catalog" in caplog.text
    assert again.index.differences() == []


def test_followers_that_go_while_the_daemon_is_away(tmp_path: Path) -> None:
    """The checkpoint is older than the catalog: one group is gone, another has lost its node."""
    gallery = opened(tmp_path)
    one, other = crowd(1, 0)[0], -crowd(1, 0)[0]
    gallery.record([photo(b"/one/%d" % n, b"one %d" % n, [one]) for n in range(4)])
    gallery.record([photo(b"/other/%d" % n, b"other %d" % n, [other]) for n in range(4)])
    hnsw(gallery).checkpoint()
    saved = {name: (tmp_path / name).read_bytes() for name in ("index.hnsw", "index.json")}
    gallery.record([photo(b"/one/%d" % n, b"one %d" % n, []) for n in range(4)])
    gallery.record([photo(b"/other/0", b"other 0", [])])
    gallery.catalog.close()
    for name, data in saved.items():
        (tmp_path / name).write_bytes(data)
    again = opened(tmp_path)
    assert again.index.differences() == []
    assert index_size(again)[0] == 3
    assert [match.path for match in nearest(again, other, Search(0.9, exact=True)).matches] == [
        b"/other/1", b"/other/2", b"/other/3",
    ]  # fmt: skip


def test_an_heir_that_was_removed_meanwhile_is_none(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    """While an index is built beside the old one, photos come and go."""
    same = crowd(1, 0)[0]
    gallery.record([photo(b"/%d" % n, b"%d" % n, [same]) for n in range(5)])
    vectors = hnsw(gallery).prepared(anew=True)
    assert vectors is not None
    gallery.record([photo(b"/%d" % n, b"%d" % n, []) for n in (0, 1, 2)])
    monkeypatch.setattr("random.choice", lambda group: group[0])  # one that is gone from the catalog
    hnsw(gallery)._delete(vectors, np.array([1]))
    hnsw(gallery).adopt(vectors)
    assert gallery.index.differences() == []
    assert index_size(gallery)[0] == 2


@pytest.mark.parametrize(
    "known",
    [Labels([99], []), Labels([], [[99, 100]]), Labels([], [[1, 2]])],
    ids=["an unknown tombstone", "an unknown node", "a follower with a label"],
)
def test_labels_that_are_not_those_of_the_file_are_refused(tmp_path: Path, known: Labels) -> None:
    vectors = Graph(DIM)
    vectors.add(np.arange(1, 21), lone(20))
    vectors.write(tmp_path / "index")
    with pytest.raises(DamagedError, match="labels"):
        Graph.read(tmp_path / "index", DIM, known)


def test_a_gallery_that_holds_one_face_only(tmp_path: Path) -> None:
    gallery = opened(tmp_path)
    same = crowd(1, 0)[0]
    gallery.record([photo(b"/%d" % n, b"%d" % n, [same, same]) for n in range(700)])
    assert index_size(gallery) == (1400, 0)
    assert nearest(gallery, same, Search(0.5)).total == 700, "a photo is one result"
    hnsw(gallery).checkpoint()
    gallery.catalog.close()
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path, copy, ignore=lambda *_: ["copy"])
    assert index_size(opened(copy)) == (1400, 0)
    gallery = opened(tmp_path)
    gallery.record([Outcome(b"/%d" % n, None) for n in range(700)])
    gallery.catalog._db.execute("UPDATE content SET orphaned = 1")
    gallery.collect()
    assert index_size(gallery) == (0, 1)
    gallery.record([photo(b"/again", b"again", [same])])
    assert [match.path for match in nearest(gallery, same, Search(0.5)).matches] == [b"/again"]
    assert gallery.index.differences() == []
