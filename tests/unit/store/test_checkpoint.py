"""Checkpoints of the index: what is believed and what is not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from facewatchd.errors import DamagedError, StorageError
from facewatchd.store import checkpoint
from facewatchd.store.checkpoint import Checkpoint, Origin
from facewatchd.store.graph import Graph
from tests.support.galleries import unit

DIM = 32
ORIGIN = Origin("a catalog", 1000)


def rows(count: int, seed: int = 1) -> NDArray[np.float32]:
    return unit(np.random.default_rng(seed).normal(size=(count, DIM)))


def filled(count: int = 100, seed: int = 1) -> Graph:
    vectors = Graph(DIM)
    vectors.add(np.arange(1, count + 1), rows(count, seed))
    return vectors


def saved(directory: Path, vectors: Graph | None = None, origin: Origin = ORIGIN) -> Checkpoint:
    """Checkpoint of a process that saved one."""
    files = Checkpoint(directory)
    files.save(vectors or filled(), origin)
    return files


def load(directory: Path, origin: Origin = ORIGIN, dim: int = DIM) -> Graph:
    """What another process makes of the files."""
    files = Checkpoint(directory)
    files.open(dim, origin)
    return files.load(dim)


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    vectors = filled()
    vectors.delete(np.array([7, 8]))
    saved(tmp_path, vectors)
    loaded = load(tmp_path)
    assert loaded.live_ids().tolist() == vectors.live_ids().tolist()
    assert loaded.labels().tolist() == vectors.labels().tolist()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.hnsw", "index.json"]
    ((ids, embeddings),) = Checkpoint(tmp_path).open(DIM, ORIGIN).blocks()
    assert sorted(ids.tolist()) == list(range(1, 101))
    assert np.allclose(embeddings, rows(100)[ids - 1], atol=1e-5)


def test_a_crash_between_the_two_renames_leaves_the_old_pair_or_the_new(tmp_path: Path) -> None:
    vectors = filled()
    files = saved(tmp_path, vectors)
    before = (tmp_path / "index.hnsw").read_bytes()
    vectors.delete(np.array([5]))
    files.save(vectors, ORIGIN)
    assert load(tmp_path).tombstones == 1
    (tmp_path / "index.hnsw").write_bytes(before)  # as if the second rename had never happened
    assert load(tmp_path).live_ids().tolist() == list(range(1, 101))


def test_crashes_between_the_renames_may_follow_each_other(tmp_path: Path) -> None:
    saved(tmp_path)
    before = (tmp_path / "index.hnsw").read_bytes()
    for last in range(200, 205):
        files = Checkpoint(tmp_path)
        files.open(DIM, ORIGIN)
        vectors = files.load(DIM)
        assert vectors.live_ids().tolist() == list(range(1, 101))
        vectors.add(np.array([last]), rows(1, seed=last))
        files.save(vectors, ORIGIN)
        (tmp_path / "index.hnsw").write_bytes(before)


@pytest.mark.parametrize("discarded", [True, False])
def test_an_index_that_was_refused_is_not_believed_under_the_name_of_the_next(tmp_path: Path, discarded: bool) -> None:
    """Another catalog's index is replaced by one of this catalog, and the crash comes before the index is renamed."""
    saved(tmp_path, filled(seed=2), Origin("another catalog", 900))
    foreign = (tmp_path / "index.hnsw").read_bytes()
    files = Checkpoint(tmp_path)
    with pytest.raises(DamagedError, match="another catalog"):
        files.open(DIM, ORIGIN)
    if discarded:
        files.discard()
        assert list(tmp_path.iterdir()) == []
    files.save(filled(seed=1), ORIGIN)
    (tmp_path / "index.hnsw").write_bytes(foreign)
    with pytest.raises(DamagedError, match="not the one"):
        load(tmp_path)


def test_what_was_discarded_stays_away_whatever_the_catalog_says_later(tmp_path: Path) -> None:
    saved(tmp_path)
    files = Checkpoint(tmp_path)
    with pytest.raises(DamagedError, match="later state"):
        files.open(DIM, Origin("a catalog", 999))
    files.discard()
    with pytest.raises(DamagedError, match="no index"):
        load(tmp_path, Origin("a catalog", 2000))


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_damage_is_seen_before_hnswlib_sees_it(tmp_path: Path) -> None:
    saved(tmp_path)
    index = tmp_path / "index.hnsw"
    good = index.read_bytes()
    for at in (0, 16, 24, 32, 40, 100, len(good) // 2, len(good) - 1):
        flip(index, at)
        with pytest.raises(DamagedError, match="not the one"):
            load(tmp_path)
        index.write_bytes(good)
    for size in (0, 50, len(good) - 1):
        index.write_bytes(good[:size])
        with pytest.raises(DamagedError, match="not the one"):
            load(tmp_path)
    index.unlink()
    with pytest.raises(DamagedError, match="cannot be read"):
        load(tmp_path)


def test_any_byte_of_the_manifest_may_be_wrong(tmp_path: Path) -> None:
    vectors = filled()
    vectors.delete(np.array([7, 8, 90]))
    saved(tmp_path, vectors)
    manifest = tmp_path / "index.json"
    good = manifest.read_bytes()
    for at in range(len(good)):
        flip(manifest, at)
        with pytest.raises(DamagedError):
            load(tmp_path)
        manifest.write_bytes(good)
    assert load(tmp_path).tombstones == 3


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"format": 1}', "\x00", '{"manifest": 1, "digest": ""}'])
def test_a_manifest_that_cannot_be_read_is_not_believed(tmp_path: Path, text: str) -> None:
    saved(tmp_path)
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(DamagedError, match="manifest"):
        load(tmp_path)


def test_another_format_dimension_catalog_or_a_later_state_does_not_fit(tmp_path: Path) -> None:
    saved(tmp_path)
    with pytest.raises(DamagedError, match="dimension"):
        load(tmp_path, dim=DIM * 2)
    with pytest.raises(DamagedError, match="another catalog"):
        load(tmp_path, Origin("another", 1000))
    with pytest.raises(DamagedError, match="later state"):
        load(tmp_path, Origin("a catalog", 999))
    assert len(load(tmp_path, Origin("a catalog", 5000))) == 100
    manifest = json.loads((tmp_path / "index.json").read_text())["manifest"]
    (tmp_path / "index.json").write_bytes(checkpoint._sealed({**manifest, "format": 1}))
    with pytest.raises(DamagedError, match="format"):
        load(tmp_path)


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    vectors = filled()
    files = saved(tmp_path, vectors)
    (tmp_path / "index.hnsw.new").mkdir()  # in the way of the temporary file, for root as well
    vectors.delete(np.array([1]))
    with pytest.raises(StorageError, match="directory"):
        files.save(vectors, ORIGIN)
    assert load(tmp_path).tombstones == 0
