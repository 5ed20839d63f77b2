"""What was deleted is gone from the disk: no file of the data directory holds the bytes of its embedding."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from facewatchd.indexing import maintenance as upkeep_module
from facewatchd.indexing import writer as writer_module
from facewatchd.indexing.maintenance import IndexMaintenance
from facewatchd.indexing.writer import Writer
from facewatchd.store import hnsw as hnsw_module
from facewatchd.store.catalog import Outcome
from facewatchd.store.gallery import Gallery
from facewatchd.threads.liveness import Liveness
from tests.support.galleries import DIM, hnsw, index_size, opened, photo, unit
from tests.support.processes import until

ROWS = unit(np.random.default_rng(5).normal(size=(60, DIM)))


def files_with(directory: Path, row: int) -> set[str]:
    """The files that hold an embedding, as the catalog stores it or as hnswlib scales it."""
    embedding = ROWS[row]
    forms = {embedding.tobytes(), (embedding / np.linalg.norm(embedding)).astype(np.float32).tobytes()}
    forms |= {form[8:40] for form in forms}  # enough of it to know it by, whatever a page's header has overwritten
    return {path.name for path in directory.iterdir() if any(form in path.read_bytes() for form in forms)}


def filled(directory: Path) -> Gallery:
    gallery = opened(directory)
    gallery.record([photo(b"/%d" % n, b"%d" % n, [row]) for n, row in enumerate(ROWS)])
    hnsw(gallery).checkpoint()
    return gallery


def delete(gallery: Gallery, *numbers: int) -> None:
    """Delete photos, and let the days pass for which their faces are kept."""
    gallery.record([Outcome(b"/%d" % n, None) for n in numbers])
    gallery.catalog._db.execute("UPDATE content SET orphaned = 1 WHERE orphaned IS NOT NULL")


def test_the_catalog_and_its_log_forget_what_is_collected(tmp_path: Path) -> None:
    gallery = filled(tmp_path)
    assert "catalog.sqlite3-wal" in files_with(tmp_path, 7)
    delete(gallery, 7, 8, 30)
    gallery.collect()
    for row in (7, 8, 30):
        assert files_with(tmp_path, row) == {"index.hnsw"}
    assert "catalog.sqlite3" in files_with(tmp_path, 9)


def test_the_log_is_emptied_by_a_later_collection_while_somebody_reads(tmp_path: Path) -> None:
    gallery = filled(tmp_path)
    delete(gallery, 7)
    with gallery.catalog.reading() as reader:
        reader.counts()
        gallery.collect()
    gallery.collect()
    assert files_with(tmp_path, 7) == {"index.hnsw"}


def test_what_an_earlier_version_deleted_is_overwritten_once(tmp_path: Path) -> None:
    filled(tmp_path).catalog.close()
    path = tmp_path / "catalog.sqlite3"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript("PRAGMA secure_delete = OFF; DELETE FROM meta WHERE key = 'scrubbed';")
        db.executescript("PRAGMA foreign_keys = ON; DELETE FROM photo WHERE id = 8; DELETE FROM content WHERE id = 8;")
    assert path.name in files_with(tmp_path, 7)
    gallery = opened(tmp_path)
    assert not {name for name in files_with(tmp_path, 7) if name.startswith("catalog")}
    with gallery.catalog.reading() as reader:
        assert reader.counts().faces == 59
        assert reader.check() == []


def test_the_index_is_built_anew_without_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the threads that do it in a daemon: the writer collects, maintenance builds and writes."""
    monkeypatch.setattr(upkeep_module, "LOOK_EVERY", 0.02)
    monkeypatch.setattr(upkeep_module, "WAKE_EVERY", 0.1)
    monkeypatch.setattr(writer_module, "COLLECT_FIRST", 0.0)
    gallery = filled(tmp_path)
    delete(gallery, 7, 8)
    writer = Writer(gallery, Liveness())
    maintenance = IndexMaintenance(
        gallery, writer, threads=1, polite=False, liveness=Liveness(), look_at=lambda path: None
    )
    maintenance.start()
    writer.start()
    try:
        until(lambda: index_size(gallery) == (58, 2) and not gallery.index.status().unsaved)
        assert files_with(tmp_path, 7) == {"index.hnsw"}
        monkeypatch.setattr(hnsw_module, "PURGE_AFTER", 0.0)  # as if the time had passed: nothing else happens
        until(lambda: not files_with(tmp_path, 7))
        assert index_size(gallery) == (58, 0)
    finally:
        writer.give_up()
        maintenance.stop()
        writer.stop()
    assert gallery.index.differences() == []
    assert "catalog.sqlite3" in files_with(tmp_path, 9)


def test_the_time_counts_on_over_restarts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where so little was deleted that no checkpoint was worth it."""
    now = [1e9]
    monkeypatch.setattr("time.time", lambda: now[0])
    gallery = filled(tmp_path)
    now[0] += 3600
    delete(gallery, 7)
    gallery.catalog._db.execute("UPDATE content SET orphaned = 1 WHERE orphaned IS NOT NULL")
    gallery.collect()
    assert not gallery.index.status().overdue
    for checkpoint in (False, True, False):
        if checkpoint:
            hnsw(gallery).checkpoint()
        gallery.catalog.close()
        now[0] += 11 * 3600
        gallery = opened(tmp_path)
        assert index_size(gallery) == (59, 1)
    assert gallery.index.status().overdue


def test_half_a_checkpoint_is_removed_at_the_start(tmp_path: Path) -> None:
    gallery = filled(tmp_path)
    gallery.catalog.close()
    for name in ("index.hnsw.new", "index.json.new"):
        (tmp_path / name).write_bytes(ROWS[7].tobytes())
    opened(tmp_path)
    assert not list(tmp_path.glob("*.new"))
