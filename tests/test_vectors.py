"""The index file and its checkpoints: what is trusted and what is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from facewatchd.errors import BadEmbeddingError, DamagedError, StorageError
from facewatchd.vectors import Origin, UnreachableError, Vectors

DIM = 32
ORIGIN = Origin("a catalog", 1000)


def unit(count: int, seed: int = 1, dim: int = DIM) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def filled(count: int = 300) -> tuple[Vectors, NDArray[np.float32]]:
    vectors, rows = Vectors(DIM), unit(count)
    vectors.add(np.arange(1, count + 1), rows)
    return vectors, rows


def load(directory: Path, origin: Origin = ORIGIN, dim: int = DIM) -> Vectors:
    return Vectors.load(directory / "index.hnsw", directory / "index.json", dim, origin)


def save(vectors: Vectors, directory: Path, origin: Origin = ORIGIN) -> None:
    vectors.save(directory / "index.hnsw", directory / "index.json", origin)


def test_finds_itself_first_and_grows() -> None:
    vectors, rows = filled(3000)
    for at in (0, 1500, 2999):
        ids, similarities = vectors.nearest(rows[at], 5)
        assert ids[0] == at + 1
        assert similarities[0] == pytest.approx(1, abs=1e-5)
        assert list(similarities) == sorted(similarities, reverse=True)


def test_deleted_faces_are_not_found_and_their_ids_never_come_back() -> None:
    vectors, rows = filled()
    vectors.delete([1, 2, 3, 999])
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
    vectors.delete(range(1, 200))
    with pytest.raises(UnreachableError):
        vectors.nearest(rows[250], 250)


def test_a_checkpoint_comes_back_with_its_tombstones(tmp_path: Path) -> None:
    vectors, rows = filled()
    vectors.delete([7, 8])
    save(vectors, tmp_path)
    loaded = load(tmp_path)
    assert loaded.live_ids() == vectors.live_ids()
    assert loaded.tombstones == 2
    assert loaded.nearest(rows[99], 3)[0].tolist() == vectors.nearest(rows[99], 3)[0].tolist()
    loaded.add(np.array([1001]), unit(1, seed=9))
    assert len(loaded) == 299
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.hnsw", "index.json"]


def test_a_crash_between_the_two_renames_leaves_the_old_pair_or_the_new(tmp_path: Path) -> None:
    vectors, _ = filled()
    save(vectors, tmp_path)
    before = (tmp_path / "index.hnsw").read_bytes()
    vectors.delete([5])
    save(vectors, tmp_path)
    assert load(tmp_path).tombstones == 1
    (tmp_path / "index.hnsw").write_bytes(before)  # as if the second rename had never happened
    assert load(tmp_path).live_ids() == set(range(1, 301))


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_damage_is_seen_before_hnswlib_sees_it(tmp_path: Path) -> None:
    vectors, _ = filled()
    save(vectors, tmp_path)
    index = tmp_path / "index.hnsw"
    good = index.read_bytes()
    for at in (0, 100, len(good) // 2, len(good) - 1):
        flip(index, at)
        with pytest.raises(DamagedError, match="not the one"):
            load(tmp_path)
        index.write_bytes(good)
    index.write_bytes(good[:-1])
    with pytest.raises(DamagedError, match="not the one"):
        load(tmp_path)
    index.unlink()
    with pytest.raises(DamagedError, match="no index"):
        load(tmp_path)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"format": 1}', "\x00"])
def test_a_manifest_that_cannot_be_read_is_not_believed(tmp_path: Path, text: str) -> None:
    vectors, _ = filled()
    save(vectors, tmp_path)
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(DamagedError, match="manifest"):
        load(tmp_path)


def test_another_dimension_catalog_or_a_later_state_does_not_fit(tmp_path: Path) -> None:
    vectors, _ = filled()
    save(vectors, tmp_path)
    with pytest.raises(DamagedError, match="dimension"):
        load(tmp_path, dim=DIM * 2)
    with pytest.raises(DamagedError, match="another catalog"):
        load(tmp_path, Origin("another", 1000))
    with pytest.raises(DamagedError, match="later state"):
        load(tmp_path, Origin("a catalog", 999))
    assert len(load(tmp_path, Origin("a catalog", 5000))) == 300


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    vectors, _ = filled()
    save(vectors, tmp_path)
    (tmp_path / "index.hnsw.new").mkdir()  # in the way of the temporary file, for root as well
    vectors.delete([1])
    with pytest.raises(StorageError, match="written short"):
        save(vectors, tmp_path)
    assert load(tmp_path).tombstones == 0
