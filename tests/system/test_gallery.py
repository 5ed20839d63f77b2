"""Catalog and index together: searches against an exact scan, random histories against a model of the truth."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from numpy.typing import NDArray

from facewatchd.matches import Box
from facewatchd.store import checkpoint as checkpoint_module
from facewatchd.store import hnsw as hnsw_module
from facewatchd.store.catalog import Outcome
from facewatchd.store.gallery import Gallery
from facewatchd.store.hnsw import REBUILD_FROM, HnswIndex
from facewatchd.store.scoring import Search
from tests.support.galleries import DIM, close_all, face, hnsw, index_size, nearest, opened, photo, stamp, unit
from tests.support.processes import children, until


def bursts(rng: np.random.Generator, people: int, shots: int, spread: float) -> NDArray[np.float32]:
    """Near-duplicates: for each person many embeddings of cosine 0.97 to 0.999 to each other. Shape (n, DIM)."""
    centres = unit(rng.normal(size=(people, 1, DIM)))
    return unit(centres + spread * rng.normal(size=(people, shots, DIM)) / np.sqrt(DIM)).reshape(-1, DIM)


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32 - 1),
    people=st.integers(5, 40),
    shots=st.integers(1, 40),
    spread=st.sampled_from([0.03, 0.1, 0.25]),
    dropped=st.floats(0, 0.15),
    threshold=st.sampled_from([0.3, 0.6, 0.9]),
)
def test_the_index_finds_what_an_exact_scan_finds(
    seed: int, people: int, shots: int, spread: float, dropped: float, threshold: float
) -> None:
    rng = np.random.default_rng(seed)
    rows = np.concatenate([bursts(rng, people, shots, spread), unit(rng.normal(size=(300, DIM)))])
    order = rng.permutation(len(rows))
    with tempfile.TemporaryDirectory() as directory:
        gallery = opened(Path(directory))
        photos = [photo(b"/%d" % at, b"%d" % at, rows[at : at + 1], inode=int(at)) for at in order]
        for start in range(0, len(photos), 50):
            gallery.record(photos[start : start + 50])
        gone = rng.permutation(len(rows))[: int(dropped * len(rows))]
        gallery.record([Outcome(b"/%d" % at, None) for at in gone])
        forget_what_is_gone(gallery)
        assert index_size(gallery) == (len(rows) - len(gone), len(gone))
        alive = np.setdiff1d(np.arange(len(rows)), gone)
        found = wanted = 0
        for at in rng.choice(alive, 25):
            expected = {b"/%d" % other for other in alive if rows[at] @ rows[other] >= threshold}
            answer = nearest(gallery, rows[at], Search(threshold))
            got = {match.path for match in answer.matches}
            exact = nearest(gallery, rows[at], Search(threshold, exact=True))
            assert {match.path for match in exact.matches} == expected
            assert got <= expected
            similarities = [match.similarity for match in answer.matches]
            assert similarities == sorted(similarities, reverse=True)
            found += len(got)
            wanted += len(expected)
        gallery.catalog.close()
    assert found >= 0.99 * wanted


def forget_what_is_gone(gallery: Gallery) -> None:
    """Have content that no photo shows collected at once, as it is after some days."""
    gallery.catalog._db.execute("UPDATE content SET orphaned = 1 WHERE orphaned IS NOT NULL")
    gallery.collect()


def test_top_threshold_directories_and_size(gallery: Gallery) -> None:
    rng = np.random.default_rng(5)
    rows = bursts(rng, 1, 400, 0.2)
    small = Box(0, 0, 30, 90)
    gallery.record([photo(b"/in/%03d" % n, b"%d" % n, [rows[n]]) for n in range(200)])
    gallery.record([photo(b"/inside/%03d" % n, b"%d" % n, [rows[n]]) for n in range(200, 399)])
    gallery.record([Outcome(b"/in/small", stamp(9), b"small", 9, 9, [face(rows[399], small)])])
    query = rows[0]
    assert len(nearest(gallery, query, Search(0.5)).matches) == 400
    top = nearest(gallery, query, Search(0.5, top=7)).matches
    assert top[0].path == b"/in/000"
    assert len(top) == 7
    inside = nearest(gallery, query, Search(0.5, directories=(b"/inside",))).matches
    assert {match.path[:8] for match in inside} == {b"/inside/"}
    assert len(inside) == 199
    assert len(nearest(gallery, query, Search(0.5, directories=(b"/in/",), top=300)).matches) == 201
    large = nearest(gallery, query, Search(0.5, min_size=31)).matches
    assert b"/in/small" not in {match.path for match in large}
    assert len(large) == 399
    assert nearest(gallery, -query, Search(0.5)).matches == []


def test_the_reply_says_whether_every_face_was_compared(gallery: Gallery) -> None:
    rows = unit(np.random.default_rng(1).normal(size=(600, DIM)))
    gallery.record([photo(b"/%d" % n, b"%d" % n, [row]) for n, row in enumerate(rows)])
    assert nearest(gallery, rows[0], Search(0.9)).exact is False
    assert nearest(gallery, rows[0], Search(0.9, exact=True)).exact is True
    assert nearest(gallery, rows[0], Search(-1)).exact is True, "all of them: no index helps"
    assert len(nearest(gallery, rows[0], Search(-1)).matches) == 600


def test_queries_are_answered_before_there_is_an_index(tmp_path: Path) -> None:
    gallery = opened(tmp_path)
    rows = unit(np.random.default_rng(1).normal(size=(5, DIM)))
    gallery.record([photo(b"/%d" % n, b"%d" % n, [row]) for n, row in enumerate(rows)])
    early = Gallery(gallery.catalog, HnswIndex(gallery.catalog, tmp_path))
    assert not early.index.status().ready
    assert [match.path for match in nearest(early, rows[3], Search(0.9)).matches] == [b"/3"]


def test_a_restart_loads_the_checkpoint_and_adds_the_rest(tmp_path: Path) -> None:
    gallery = opened(tmp_path)
    rows = unit(np.random.default_rng(2).normal(size=(30, DIM)))
    gallery.record([photo(b"/%d" % n, b"%d" % n, [rows[n]]) for n in range(20)])
    hnsw(gallery).checkpoint()
    assert gallery.index.status().unsaved == 0
    gallery.record([photo(b"/%d" % n, b"%d" % n, [rows[n]]) for n in range(20, 30)])
    gallery.record([photo(b"/0", b"0", [rows[1]])])
    gallery.catalog.close()
    again = opened(tmp_path)
    assert again.index.status().unsaved == 12
    assert index_size(again) == (30, 1)
    assert again.index.differences() == []


def reopened_from_a_backup(directory: Path, rows: NDArray[np.float32]) -> Gallery:
    """A gallery with the catalog of ten faces, rows (n, DIM), and the index of twenty."""
    gallery = opened(directory)
    gallery.record([photo(b"/a", b"a", rows[:10])])
    gallery.catalog.close()
    shutil.copy(directory / "catalog.sqlite3", directory / "backup")
    gallery = opened(directory)
    gallery.record([photo(b"/b", b"b", rows[10:20])])
    hnsw(gallery).checkpoint()
    gallery.catalog.close()
    shutil.copy(directory / "backup", directory / "catalog.sqlite3")
    return opened(directory)


def test_a_catalog_from_a_backup_makes_the_index_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = unit(np.random.default_rng(3).normal(size=(40, DIM)))
    again = reopened_from_a_backup(tmp_path, rows)
    assert "built again" in caplog.text
    assert index_size(again) == (10, 0)
    again.record([photo(b"/c", b"c", rows[20:40])])  # ids that the lost state had given to others
    assert again.index.differences() == []


def test_an_index_that_was_refused_is_not_believed_once_its_ids_were_given_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Catalog from a backup; then more faces than it lost; then a crash before the new index was on the disk."""
    rows = unit(np.random.default_rng(3).normal(size=(60, DIM)))
    gallery = reopened_from_a_backup(tmp_path, rows)
    assert not (tmp_path / "index.json").exists()
    gallery.record([photo(b"/c", b"c", rows[20:60])])
    gallery.catalog.close()
    caplog.clear()
    assert opened(tmp_path).index.differences() == []
    assert "no index" in caplog.text


def test_two_faces_that_changed_places_among_thousands_are_noticed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As in a catalog that was copied, went another way on another machine, and was brought back."""
    rows = unit(np.random.default_rng(3).normal(size=(5000, DIM)))
    gallery = opened(tmp_path)
    gallery.record([photo(b"/a", b"a", rows)])
    hnsw(gallery).checkpoint()
    for face_id, row in ((1000, rows[1000]), (1001, rows[999])):
        gallery.catalog._db.execute("UPDATE face SET embedding = ? WHERE id = ?", (row.tobytes(), face_id))
    gallery.catalog.close()
    again = opened(tmp_path)
    assert "other faces than the catalog" in caplog.text
    assert again.index.differences() == []


def test_a_deleted_face_that_is_back_in_the_catalog_is_noticed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = unit(np.random.default_rng(3).normal(size=(20, DIM)))
    gallery = opened(tmp_path)
    gallery.record([photo(b"/a", b"a", rows[:10]), photo(b"/b", b"b", rows[10:])])
    gallery.catalog.close()
    shutil.copy(tmp_path / "catalog.sqlite3", tmp_path / "backup")
    gallery = opened(tmp_path)
    gallery.record([photo(b"/b", b"b", [])])
    hnsw(gallery).checkpoint()
    gallery.catalog.close()
    shutil.copy(tmp_path / "backup", tmp_path / "catalog.sqlite3")
    again = opened(tmp_path)
    assert "are back in the catalog" in caplog.text
    assert index_size(again) == (20, 0)


def test_a_start_that_is_broken_off_trusts_nothing(tmp_path: Path) -> None:
    gallery = opened(tmp_path)
    gallery.record([photo(b"/a", b"a", unit(np.random.default_rng(4).normal(size=(9, DIM))))])
    hnsw(gallery).checkpoint()
    again = Gallery(gallery.catalog, HnswIndex(gallery.catalog, tmp_path))
    hnsw(again).level(lambda: False)
    assert not again.index.status().ready
    hnsw(again).level()
    assert again.index.status().ready
    assert again.index.status().unsaved == 0


def test_many_tombstones_ask_for_a_rebuild(gallery: Gallery) -> None:
    count = REBUILD_FROM + 100
    rows = unit(np.random.default_rng(4).normal(size=(count, DIM)))
    gallery.record([photo(b"/%d" % n, b"%d" % n, [row]) for n, row in enumerate(rows)])
    gallery.record([Outcome(b"/%d" % n, None) for n in range(REBUILD_FROM)])
    assert not gallery.index.status().overdue, "content that may come back is kept"
    forget_what_is_gone(gallery)
    assert gallery.index.status().overdue
    hnsw(gallery).level()
    assert index_size(gallery) == (100, 0)
    assert gallery.index.differences() == []


def test_searches_go_on_while_a_checkpoint_is_written(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy that writes stands still until it is told that searches and records went on here."""
    rows = unit(np.random.default_rng(4).normal(size=(1000, DIM)))
    gallery.record([photo(b"/%d" % n, b"%d" % n, [row]) for n, row in enumerate(rows[:999])])
    go_on, proceed = os.pipe()
    really = checkpoint_module._written
    # The copy closes what it inherits, so it opens the pipe by the name that it has here.
    name = f"/proc/{os.getpid()}/fd/{go_on}"
    monkeypatch.setattr(checkpoint_module, "_written", lambda *args: Path(name).read_bytes() and really(*args))
    thread = threading.Thread(target=hnsw(gallery).checkpoint)
    thread.start()
    until(lambda: children(os.getpid()))
    assert nearest(gallery, rows[7], Search(0.99)).matches[0].path == b"/7"
    gallery.record([photo(b"/999", b"999", [rows[999]])])
    assert nearest(gallery, rows[999], Search(0.99)).matches[0].path == b"/999"
    assert thread.is_alive()
    os.write(proceed, b"x")
    os.close(proceed)
    thread.join()
    os.close(go_on)
    assert gallery.index.status().unsaved == 1, "what came meanwhile is in the next one"
    gallery.catalog.close()


def test_a_rebuild_that_is_interrupted_changes_nothing(gallery: Gallery) -> None:
    gallery.record([photo(b"/a", b"a", unit(np.random.default_rng(4).normal(size=(9, DIM))))])
    before = index_size(gallery)
    hnsw(gallery).level(lambda: False, anew=True)
    assert index_size(gallery) == before


class Histories(RuleBasedStateMachine):
    """Random histories of a gallery; ``truth`` says for each path whose content it has.

    The first search asks for one neighbour instead of 256, so that galleries of a dozen faces use the index at all.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first_k = patch.object(hnsw_module, "FIRST_K", 1)
        self.first_k.start()
        self.directory = Path(tempfile.mkdtemp())
        self.gallery = opened(self.directory)
        self.truth: dict[bytes, int] = {}
        self.embedded: set[int] = set()
        self.inode = 0

    def teardown(self) -> None:
        self.first_k.stop()
        close_all()
        shutil.rmtree(self.directory)

    def rows(self, content: int) -> NDArray[np.float32]:
        """The faces of a content: content 3n + k has k of them, some of them equal, or nearly, to another's."""
        rng = np.random.default_rng(content // 4)
        return unit(rng.normal(size=(content % 3, DIM)) + (0, 0, 1e-6, 1e-3)[content % 4])

    def put(self, path: bytes, content: int) -> None:
        self.inode += 1
        digest = b"content %d" % content
        with self.gallery.catalog.reading() as reader:
            known = reader.has_content(digest)
        assert known or content not in self.embedded, "a content would be embedded twice"
        self.embedded.add(content)
        if known:
            self.gallery.record([Outcome(path, stamp(self.inode), digest)])
        else:
            self.gallery.record([photo(path, digest, self.rows(content), self.inode)])
        self.truth[path] = content

    paths = st.sampled_from([b"/r/a", b"/r/b", b"/r/d/a", b"/r/d/\xff", b"/r/e/c"])

    @rule(path=paths, content=st.integers(0, 12))
    def add_or_change(self, path: bytes, content: int) -> None:
        self.put(path, content)

    @rule(source=paths, to=paths)
    def move(self, source: bytes, to: bytes) -> None:
        if source in self.truth and source != to:
            self.put(to, self.truth[source])
            self.gallery.record([Outcome(source, None)])
            del self.truth[source]

    @rule(path=paths)
    def delete(self, path: bytes) -> None:
        self.gallery.record([Outcome(path, None)])
        self.truth.pop(path, None)

    @rule()
    def checkpoint(self) -> None:
        hnsw(self.gallery).checkpoint()

    @rule()
    def forget_old_content(self) -> None:
        forget_what_is_gone(self.gallery)
        self.embedded &= set(self.truth.values())

    @rule()
    def rebuild(self) -> None:
        hnsw(self.gallery).level(anew=True)

    @rule(path=paths, other=paths, content=st.integers(0, 12))
    def rebuild_while_photos_come_and_go(self, path: bytes, other: bytes, content: int) -> None:
        vectors = hnsw(self.gallery).prepared(anew=True)
        assert vectors is not None
        self.put(path, content)
        self.delete(other)
        forget_what_is_gone(self.gallery)
        self.embedded &= set(self.truth.values())
        hnsw(self.gallery).adopt(vectors)

    @rule(checkpoint=st.booleans())
    def stop_and_start(self, checkpoint: bool) -> None:
        if checkpoint:
            hnsw(self.gallery).checkpoint()
        self.gallery.catalog.close()
        self.gallery = opened(self.directory)

    @rule()
    def crash(self) -> None:
        """What a killed process leaves: the files as they are, write-ahead log included."""
        copy = Path(tempfile.mkdtemp())
        for name in self.directory.iterdir():
            shutil.copy(name, copy)
        self.gallery.catalog.close()
        shutil.rmtree(self.directory)
        self.directory = copy
        self.gallery = opened(copy)

    @precondition(lambda self: (self.directory / "index.hnsw").exists())
    @rule(at=st.integers(0, 10_000))
    def damage_the_index(self, at: int) -> None:
        path = self.directory / "index.hnsw"
        data = bytearray(path.read_bytes())
        data[at % len(data)] ^= 255
        path.write_bytes(data)
        self.stop_and_start(checkpoint=False)

    @invariant()
    def the_catalog_is_the_truth(self) -> None:
        with self.gallery.catalog.reading() as reader:
            records = [reader.photo(path) for path in reader.paths(b"/")]
        recorded = {record.path: record.faces for record in records if record}
        assert recorded == {path: content % 3 for path, content in self.truth.items()}

    @invariant()
    def the_index_is_the_catalog(self) -> None:
        assert self.gallery.index.differences() == []

    @invariant()
    def each_face_is_found_on_every_photo_that_shows_it(self) -> None:
        for content in set(self.truth.values()):
            for row in self.rows(content):
                answer = nearest(self.gallery, row, Search(0.9999))
                found = {path for match in answer.matches for path in (match.path, *match.copies)}
                assert {path for path, other in self.truth.items() if other == content} <= found
                assert found <= self.truth.keys()
                assert answer.total == len(answer.matches)
                each = nearest(self.gallery, row, Search(0.9999, collapse=False))
                assert sorted(match.path for match in each.matches) == sorted(found)


Histories.TestCase.settings = settings(
    deadline=None, max_examples=25, stateful_step_count=30, suppress_health_check=[HealthCheck.too_slow]
)
TestHistories = Histories.TestCase
