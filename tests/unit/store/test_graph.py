"""The index in memory, and its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from facewatchd.errors import BadEmbeddingError, DamagedError
from facewatchd.store import stored as stored_module
from facewatchd.store.graph import Graph, M, UnreachableError
from facewatchd.store.stored import Labels, StoredVectors

DIM = 32


def unit(count: int, seed: int = 1, dim: int = DIM) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def vectors_size() -> int:
    """Bytes of one element in the file: links, embedding, label."""
    return 4 + 4 * 2 * M + 4 * DIM + 8


def filled(count: int = 300) -> tuple[Graph, NDArray[np.float32]]:
    vectors, rows = Graph(DIM), unit(count)
    vectors.add(np.arange(1, count + 1), rows)
    return vectors, rows


def test_finds_itself_first_and_grows() -> None:
    vectors, rows = filled(3000)
    for at in (0, 1500, 2999):
        ids, similarities = vectors.nearest(rows[at], 5)
        assert ids[0] == at + 1
        assert similarities[0] == pytest.approx(1, abs=1e-5)
        assert list(similarities) == sorted(similarities, reverse=True)


def test_deleted_faces_are_not_found_and_their_ids_never_come_back() -> None:
    vectors, rows = filled()
    vectors.delete(np.array([1, 2, 3, 999]))
    assert (len(vectors), vectors.tombstones) == (297, 3)
    assert 1 not in vectors.nearest(rows[0], 50)[0]
    with pytest.raises(ValueError, match="before"):
        vectors.add(np.array([2]), unit(1))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_refused_whole(bad: float) -> None:
    vectors, _ = filled()
    rows = unit(2, seed=3)
    rows[1, 4] = bad
    with pytest.raises(BadEmbeddingError):
        vectors.add(np.array([901, 902]), rows)
    assert len(vectors) == 300


def test_more_than_there_are_cannot_be_reached() -> None:
    vectors, rows = filled()
    vectors.delete(np.arange(1, 200))
    with pytest.raises(UnreachableError):
        vectors.nearest(rows[250], 250)


def test_what_was_written_is_read_with_its_tombstones(tmp_path: Path) -> None:
    vectors, rows = filled()
    vectors.delete(np.array([7, 8]))
    assert vectors.write(tmp_path / "index") == (tmp_path / "index").stat().st_size
    with vectors.at_rest() as labels:
        assert labels.tombstones == [7, 8]
    read = Graph.read(tmp_path / "index", DIM, labels)
    assert read.live_ids().tolist() == vectors.live_ids().tolist()
    assert read.tombstones == 2
    assert read.nearest(rows[99], 3)[0].tolist() == vectors.nearest(rows[99], 3)[0].tolist()
    read.add(np.array([1001]), unit(1, seed=9))
    assert len(read) == 299


@pytest.mark.parametrize(("count", "batch"), [(0, 100), (1, 100), (300, 100), (2500, 999)])
def test_what_lies_in_the_file_is_what_the_index_holds(
    tmp_path: Path, count: int, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is read without hnswlib: should its layout change, this fails."""
    vectors, rows = filled(count)
    vectors.delete(np.array([1, 2]))
    vectors.write(tmp_path / "index")
    monkeypatch.setattr(stored_module, "BLOCK", batch * vectors_size())
    parts = [(ids, rows.copy()) for ids, rows in StoredVectors(tmp_path / "index", DIM, Labels()).blocks()]
    assert all(len(ids) <= batch for ids, _ in parts)
    found = {int(face_id): row for ids, embeddings in parts for face_id, row in zip(ids, embeddings, strict=True)}
    assert sorted(found) == vectors.labels().tolist()
    for face_id, row in found.items():
        assert np.allclose(row, rows[face_id - 1], atol=1e-5)


@pytest.mark.parametrize("dim", [1, DIM - 1, DIM + 1, 2 * DIM, 512])
def test_another_dimension_is_seen_before_hnswlib_believes_it(tmp_path: Path, dim: int) -> None:
    vectors, _ = filled()
    vectors.write(tmp_path / "index")
    for read in (
        lambda: Graph.read(tmp_path / "index", dim, Labels()),
        lambda: StoredVectors(tmp_path / "index", dim, Labels()),
    ):
        with pytest.raises(DamagedError, match="dimension"):
            read()


def test_a_file_that_ends_early_is_no_index(tmp_path: Path) -> None:
    vectors, _ = filled()
    vectors.write(tmp_path / "index")
    data = (tmp_path / "index").read_bytes()
    for size in (0, 10, 95, 96, 10_000):
        (tmp_path / "index").write_bytes(data[:size])
        with pytest.raises(DamagedError):
            list(StoredVectors(tmp_path / "index", DIM, Labels()).blocks())
