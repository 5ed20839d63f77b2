"""Exact answers from the checkpoint's file and from memory, held against every row that SQLite has."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from facewatchd.errors import StorageError
from facewatchd.matches import Box
from facewatchd.store import checkpoint as checkpoint_module
from facewatchd.store import exact as exact_module
from facewatchd.store import stored as stored_module
from facewatchd.store.catalog import Outcome
from facewatchd.store.catalog_reader import CatalogReader
from facewatchd.store.checkpoint import Checkpoint
from facewatchd.store.flat import FlatIndex
from facewatchd.store.gallery import Gallery
from facewatchd.store.graph import SAME
from facewatchd.store.hnsw import HnswIndex
from facewatchd.store.scoring import Search
from tests.support.galleries import DIM, close_all, face, gallery_with, hnsw, nearest, opened, photo, stamp, unit
from tests.support.processes import until

Floats = NDArray[np.float32]


@pytest.fixture(autouse=True)
def _no_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading all embeddings from SQLite fails, but for the truth of these tests."""
    monkeypatch.setattr(CatalogReader, "embeddings", no_scan)


embeddings = CatalogReader.embeddings


ROUNDING = 1e-6
"""How much a similarity may differ by the order in which float32 numbers are added, and by hnswlib's scaling."""


class ScannedError(Exception):
    """The catalog's rows were read."""


def no_scan(*_: object) -> None:
    raise ScannedError


def rows(count: int, seed: int = 1) -> Floats:
    return unit(np.random.default_rng(seed).normal(size=(count, DIM)))


def record(gallery: Gallery, first: int, faces: Floats) -> None:
    """Photos of one face each, numbered from ``first``."""
    gallery.record([photo(b"/%d" % n, b"%d" % n, [row]) for n, row in enumerate(faces, first)])


def remove(gallery: Gallery, *numbers: int) -> None:
    """Embed photos again, in which no face is found any more."""
    gallery.record([photo(b"/%d" % n, b"%d" % n, []) for n in numbers])


def truth(gallery: Gallery, query: Floats, threshold: float) -> dict[int, float]:
    with gallery.catalog.reading() as reader:
        parts = [(ids, vectors @ query) for ids, vectors in embeddings(reader)]
    every = {int(face_id): float(s) for ids, found in parts for face_id, s in zip(ids, found, strict=True)}
    return {face_id: similarity for face_id, similarity in every.items() if similarity >= threshold}


def expect_truth(gallery: Gallery, queries: Floats, threshold: float = 0.2) -> None:
    for query in queries:
        above = gallery.index.above(query, threshold, exact=True)
        assert above.exact
        assert len(np.unique(above.ids)) == len(above.ids), "each face once"
        found = dict(zip(above.ids.tolist(), above.similarities.tolist(), strict=True))
        expected = truth(gallery, query, threshold - ROUNDING)
        assert found.keys() <= expected.keys()
        assert {
            face_id for face_id, similarity in expected.items() if similarity >= threshold + ROUNDING
        } <= found.keys()
        assert np.allclose(list(found.values()), [expected[face_id] for face_id in found], atol=ROUNDING)


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["add", "add equal", "remove", "checkpoint", "rebuild", "restart"]), st.integers(0, 999)
        ),
        max_size=15,
    )
)
def test_random_histories(steps: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("gallery")
    gallery, count = opened(directory), 0
    for step, seed in steps:
        if step in ("add", "add equal"):
            faces = rows(40, seed)
            if step == "add equal":
                faces = unit(np.repeat(faces[:1], 40, axis=0) + SAME / 3 * faces / np.sqrt(DIM))
            record(gallery, count, faces)
            count += len(faces)
        elif step == "remove":
            remove(gallery, *np.random.default_rng(seed).permutation(count)[:30].tolist())
        elif step == "checkpoint":
            hnsw(gallery).checkpoint()
        elif step == "rebuild":
            hnsw(gallery).level(anew=True)
        else:
            gallery.catalog.close()
            gallery = opened(directory)
        expect_truth(gallery, rows(3, seed), threshold=0.1)
        expect_truth(gallery, rows(1, seed), threshold=1 - 1e-7)
    close_all()
    shutil.rmtree(directory)


def test_what_was_deleted_and_added_since_the_checkpoint(gallery: Gallery) -> None:
    faces = rows(500)
    record(gallery, 0, faces[:400])
    hnsw(gallery).checkpoint()
    remove(gallery, *range(0, 400, 3))
    record(gallery, 400, faces[400:])
    remove(gallery, *range(400, 500, 3))
    expect_truth(gallery, faces[:20])
    assert 1 not in gallery.index.above(faces[0], 0.9, exact=True).ids


def test_equal_faces_share_a_label_and_have_each_its_own_similarity(gallery: Gallery) -> None:
    """Also where the threshold lies between them, and when the face whose label they share is deleted."""
    same = rows(1, 7)[0]
    crowd = unit(same + SAME / 3 * rows(60, 8) / np.sqrt(DIM))
    record(gallery, 0, rows(100))
    record(gallery, 100, crowd)
    hnsw(gallery).checkpoint()
    query = unit(same + rows(1, 9)[0])
    similarities = np.sort(crowd @ query)
    expect_truth(gallery, query[None], threshold=float(similarities[29:31].mean()))
    for gone in range(100, 130):
        remove(gallery, gone)
        expect_truth(gallery, query[None], threshold=float(similarities[19:21].mean()))


def test_directories_and_the_size_of_faces(gallery: Gallery) -> None:
    faces = unit(rows(1) + 0.1 * rows(300, 2))
    record(gallery, 0, faces[:200])
    gallery.record([photo(b"/in/%d" % n, b"%d" % n, [row]) for n, row in enumerate(faces[200:250], 200)])
    small = [face(row, Box(0, 0, 30, 90)) for row in faces[250:]]
    gallery.record([Outcome(b"/in/%d" % n, stamp(1), b"%d" % n, 9, 9, [row]) for n, row in enumerate(small, 250)])
    hnsw(gallery).checkpoint()
    found = nearest(gallery, faces[0], Search(0.5, directories=(b"/in",), min_size=31, exact=True))
    assert {match.path for match in found.matches} == {b"/in/%d" % n for n in range(200, 250)}
    assert found.total == 50


def test_few_faces_are_all_compared_without_the_catalog(gallery: Gallery) -> None:
    record(gallery, 0, rows(30))
    assert nearest(gallery, rows(30)[7], Search(0.9)).exact
    hnsw(gallery).checkpoint()
    assert [match.path for match in nearest(gallery, rows(30)[7], Search(0.9)).matches] == [b"/7"]


def test_a_person_on_very_many_photos_is_found_by_comparing_all_faces(gallery: Gallery) -> None:
    """The graph would be asked for 1,600 of 3,500 neighbours: fewer than half, and more than `hnsw.MANY`."""
    many = unit(rows(1) + 0.15 * rows(1200, 2))
    record(gallery, 0, np.concatenate([many, rows(2300, 3)]))
    answer = nearest(gallery, many[0], Search(0.6))
    assert answer.exact
    assert answer.total == np.count_nonzero(np.concatenate([many, rows(2300, 3)]) @ many[0] >= 0.6) > 1000
    hnsw(gallery)._exact.forget()
    assert not nearest(gallery, many[0], Search(0.6)).exact, "reading the catalog would take longer"


def test_after_a_start_the_file_answers_before_the_graph_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = opened(tmp_path)
    record(gallery, 0, rows(300))
    hnsw(gallery).checkpoint()
    record(gallery, 300, rows(20, 5))
    gallery.catalog.close()
    again = gallery_with(tmp_path)
    load = Checkpoint.load

    def loaded(checkpoint: Checkpoint, dim: int) -> object:
        assert not again.index.status().ready
        expect_truth(again, rows(5))
        record(again, 320, rows(20, 6))
        remove(again, 3, 310)
        expect_truth(again, np.concatenate([rows(5), rows(20, 6)[:3]]))
        return load(checkpoint, dim)

    monkeypatch.setattr(Checkpoint, "load", loaded)
    hnsw(again).level()
    expect_truth(again, rows(5))
    assert again.index.status().ready


def test_while_the_index_is_built_anew(gallery: Gallery) -> None:
    record(gallery, 0, rows(1500))
    hnsw(gallery).checkpoint()
    record(gallery, 1500, rows(20, 5))
    asked = []

    def keep_on() -> bool:
        asked.append(None)
        expect_truth(gallery, rows(2))
        return True

    hnsw(gallery)._graph = None  # as after a failure
    hnsw(gallery).level(keep_on)
    assert asked
    expect_truth(gallery, rows(2))


def test_what_is_recorded_while_a_checkpoint_is_written(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy that writes stands still until faces were added and removed here."""
    record(gallery, 0, rows(300))
    hnsw(gallery).checkpoint()
    record(gallery, 300, rows(50, 2))
    go_on, proceed = os.pipe()
    written = checkpoint_module._written
    name = f"/proc/{os.getpid()}/fd/{go_on}"
    monkeypatch.setattr(checkpoint_module, "_written", lambda *args: Path(name).read_bytes() and written(*args))
    thread = threading.Thread(target=hnsw(gallery).checkpoint)
    thread.start()
    until(lambda: hnsw(gallery)._exact._next is not None)
    record(gallery, 350, rows(50, 3))
    remove(gallery, 5, 310, 360)
    queries = np.concatenate([rows(6)[5:], rows(11, 2)[10:], rows(11, 3)[9:]])
    expect_truth(gallery, queries)
    os.write(proceed, b"x")
    os.close(proceed)
    thread.join()
    os.close(go_on)
    expect_truth(gallery, queries)
    remove(gallery, 361)
    expect_truth(gallery, queries)


def test_a_change_that_fails_while_a_checkpoint_is_written(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What was collected for the new file lacks it: answers come from the catalog until the next one."""
    record(gallery, 0, rows(300))
    save = Checkpoint.save

    def fails(*_: object) -> None:
        raise MemoryError

    def save_then_fail(*args: object) -> None:
        save(*args)  # type: ignore[arg-type]
        with monkeypatch.context() as patch:
            patch.setattr(FlatIndex, "add", fails)
            record(gallery, 300, rows(50, 2))

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", save_then_fail)
        hnsw(gallery).checkpoint()
    assert "exact answers come from the catalog" in caplog.text
    with pytest.raises(ScannedError):
        gallery.index.above(rows(1)[0], 0.5, exact=True)
    hnsw(gallery).checkpoint()
    expect_truth(gallery, np.concatenate([rows(2), rows(2, 2)]))


def test_a_checkpoint_that_fails_leaves_the_answers_as_they_were(gallery: Gallery, tmp_path: Path) -> None:
    record(gallery, 0, rows(300))
    hnsw(gallery).checkpoint()
    record(gallery, 300, rows(50, 2))
    (tmp_path / "index.hnsw.new").mkdir()  # in the way of the temporary file, for root as well
    with pytest.raises(StorageError, match="directory"):
        hnsw(gallery).checkpoint()
    record(gallery, 350, rows(50, 3))
    expect_truth(gallery, np.concatenate([rows(2), rows(2, 2), rows(2, 3)]))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut short": lambda path: os.truncate(path, path.stat().st_size // 3),
    "empty": lambda path: os.truncate(path, 0),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_is_damaged_while_it_is_used_is_left_for_the_catalog(
    gallery: Gallery, tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    record(gallery, 0, rows(3000))
    hnsw(gallery).checkpoint()
    expect_truth(gallery, rows(1))
    DAMAGES[damage](tmp_path / "index.hnsw")
    monkeypatch.setattr(CatalogReader, "embeddings", embeddings)
    expect_truth(gallery, rows(3))
    assert "cannot be read any more" in caplog.text
    record(gallery, 3000, rows(20, 2))
    hnsw(gallery).checkpoint()
    monkeypatch.setattr(CatalogReader, "embeddings", no_scan)
    expect_truth(gallery, rows(3))


@pytest.mark.parametrize("damage", ["gone", "flipped"])
def test_a_file_that_is_refused_at_the_start(tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many faces are then read from the catalog until there is a checkpoint; few are held in memory."""
    gallery = opened(tmp_path)
    record(gallery, 0, rows(300))
    hnsw(gallery).checkpoint()
    gallery.catalog.close()
    index = tmp_path / "index.hnsw"
    if damage == "gone":
        index.unlink()
    else:
        data = bytearray(index.read_bytes())
        data[len(data) // 2] ^= 1
        index.write_bytes(data)
    few = opened(tmp_path)
    expect_truth(few, rows(3))
    few.catalog.close()
    monkeypatch.setattr(exact_module, "MOST_IN_MEMORY", 299)
    many = opened(tmp_path)
    with pytest.raises(ScannedError):
        many.index.above(rows(1)[0], 0.5, exact=True)
    monkeypatch.setattr(CatalogReader, "embeddings", embeddings)
    expect_truth(many, rows(3))
    hnsw(many).checkpoint()
    monkeypatch.setattr(CatalogReader, "embeddings", no_scan)
    expect_truth(many, rows(3))


def test_more_than_memory_is_to_hold_is_read_from_the_catalog_until_the_next_checkpoint(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact_module, "MOST_IN_MEMORY", 100)
    record(gallery, 0, rows(100))
    expect_truth(gallery, rows(1))
    record(gallery, 100, rows(1, 2))
    with pytest.raises(ScannedError):
        gallery.index.above(rows(1)[0], 0.5, exact=True)
    hnsw(gallery).checkpoint()
    expect_truth(gallery, rows(1))


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_several_threads_share_the_file(tmp_path: Path, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_module, "BLOCK", 1024)
    gallery = gallery_with(tmp_path)
    gallery.index = HnswIndex(gallery.catalog, tmp_path, threads)
    hnsw(gallery).level()
    record(gallery, 0, rows(301))
    hnsw(gallery).checkpoint()
    expect_truth(gallery, rows(5), threshold=0.0)


def test_the_files_of_earlier_checkpoints_are_closed(gallery: Gallery, tmp_path: Path) -> None:
    """An open file keeps the embeddings of deleted faces on the disk."""
    for start in range(0, 300, 100):
        record(gallery, start, rows(100, start))
        hnsw(gallery).checkpoint()
        expect_truth(gallery, rows(1))
    names = [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    assert [name for name in names if name.startswith(f"{tmp_path}/index")] == [f"{tmp_path}/index.hnsw"]
