"""When checkpoints are due, and that the index is looked after without anybody waiting."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from facewatchd.api.verify import Verifier
from facewatchd.errors import StorageError
from facewatchd.indexing import maintenance as upkeep_module
from facewatchd.indexing.maintenance import IndexMaintenance
from facewatchd.indexing.writer import Writer
from facewatchd.scan.roots import Roots
from facewatchd.scan.work_queue import WorkQueue
from facewatchd.store.catalog import Outcome
from facewatchd.store.gallery import Gallery
from facewatchd.store.hnsw import REBUILD_FROM, HnswIndex
from facewatchd.store.scoring import Search
from facewatchd.threads.liveness import Liveness
from tests.support.galleries import DIM, hnsw, index_size, nearest, opened, photo, unit
from tests.support.processes import until

NOWHERE = SimpleNamespace(paths=(), out_of_reach=list)
"""Roots without any."""


@pytest.fixture
def gallery(gallery: Gallery, tmp_path: Path) -> Gallery:
    """One that is not level with its catalog yet."""
    return Gallery(gallery.catalog, HnswIndex(gallery.catalog, tmp_path))


@pytest.fixture
def maintenance(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> Iterator[IndexMaintenance]:
    monkeypatch.setattr(upkeep_module, "LOOK_EVERY", 0.02)
    monkeypatch.setattr(upkeep_module, "RETRY", 0.1)
    writer = Writer(gallery, Liveness())
    writer.start()
    maintenance = IndexMaintenance(
        gallery, writer, threads=2, polite=False, liveness=Liveness(), look_at=lambda path: None
    )
    yield maintenance
    writer.give_up()
    maintenance.stop()
    writer.stop()


def filled(gallery: Gallery, count: int) -> None:
    rows = unit(np.random.default_rng(4).normal(size=(count, DIM)))
    gallery.record([photo(b"/%d" % n, b"%d" % n, [row]) for n, row in enumerate(rows)])


def test_levels_and_writes_a_checkpoint_when_nothing_comes(
    gallery: Gallery, maintenance: IndexMaintenance, tmp_path: Path
) -> None:
    filled(gallery, 50)
    assert not gallery.index.status().ready
    maintenance.start()
    until(lambda: gallery.index.status().ready and not gallery.index.status().unsaved)
    assert (tmp_path / "index.json").exists()
    assert opened(tmp_path).index.status().unsaved == 0


def test_ends_when_it_is_told_to_at_whatever_moment(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also between two looks, and before it knows that there is nothing to do."""
    hnsw(gallery).level()
    maintenance = IndexMaintenance(
        gallery, Writer(gallery, Liveness()), 1, polite=False, liveness=Liveness(), look_at=lambda path: None
    )
    monkeypatch.setattr(gallery.index, "maintain", lambda *_, **__: told(maintenance))
    maintenance.start()
    maintenance.join(20)
    assert not maintenance.is_alive()


def told(maintenance: IndexMaintenance) -> None:
    """What `stop` does but for waiting."""
    maintenance._ending.set()
    maintenance._gallery.changed.set()


def test_builds_a_worn_index_anew(gallery: Gallery, maintenance: IndexMaintenance) -> None:
    filled(gallery, REBUILD_FROM + 200)
    hnsw(gallery).level()
    gallery.record([Outcome(b"/%d" % n, None) for n in range(REBUILD_FROM)])
    gallery.catalog._db.execute("UPDATE content SET orphaned = 1 WHERE orphaned IS NOT NULL")
    maintenance._writer.call(lambda gallery: gallery.collect())
    assert index_size(gallery) == (200, REBUILD_FROM)
    maintenance.start()
    until(lambda: index_size(gallery) == (200, 0))


def test_an_index_that_failed_is_made_again(
    gallery: Gallery, maintenance: IndexMaintenance, monkeypatch: pytest.MonkeyPatch
) -> None:
    hnsw(gallery).level()
    maintenance.start()
    with monkeypatch.context() as patched:
        patched.setattr(hnsw(gallery)._graph, "add", lambda *_: 1 / 0)
        filled(gallery, 40)
    until(lambda: gallery.index.status().ready)
    until(lambda: index_size(gallery) == (40, 0))
    assert gallery.index.differences() == []


def test_what_fails_is_said_and_tried_again(
    gallery: Gallery, maintenance: IndexMaintenance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StorageError("no room", "free some")

    filled(gallery, 40)
    with monkeypatch.context() as patched:
        patched.setattr(gallery.index, "checkpoint", refuse)
        maintenance.start()
        until(lambda: maintenance.trouble == "no room; free some")
        assert nearest(gallery, unit(np.ones(DIM)), Search(-1)).matches
    until(lambda: not gallery.index.status().unsaved)
    until(lambda: not maintenance.trouble)


def test_a_repair_builds_the_index_on_this_thread_while_recording_goes_on(
    gallery: Gallery, maintenance: IndexMaintenance, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(gallery, 40)
    maintenance.start()
    until(lambda: gallery.index.status().ready)
    vectors = hnsw(gallery)._graph
    assert vectors is not None
    vectors.delete(np.array([3, 4]))
    building, go_on, names = threading.Event(), threading.Event(), []
    prepared = hnsw(gallery).prepared

    def slow(*args: object, **options: object) -> object:
        names.append(threading.current_thread().name)
        building.set()
        assert go_on.wait(60)
        return prepared(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(gallery.index, "prepared", slow)
    verifier = Verifier(gallery, cast(Roots, NOWHERE), WorkQueue(0.0), maintenance._writer, maintenance)
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(verifier.check, repair=True)
        assert building.wait(60)
        recorded = threading.Event()
        row = unit(np.random.default_rng(6).normal(size=DIM))
        maintenance._writer.record(photo(b"/late", b"late", [row]), lambda _: recorded.set())
        assert recorded.wait(60), "the writer does not wait for the index"
        assert not answer.done()
        go_on.set()
        result = answer.result(60)
    assert result["problems"] == ["2 faces are missing from the index"]
    assert result["repaired"]
    assert names == ["maintenance"]
    assert gallery.index.differences() == []
    assert index_size(gallery) == (41, 0)


def test_a_repair_that_fails_or_comes_too_late_says_so(
    gallery: Gallery, maintenance: IndexMaintenance, monkeypatch: pytest.MonkeyPatch
) -> None:
    maintenance.start()
    until(lambda: gallery.index.status().ready)
    with monkeypatch.context() as patched:
        patched.setattr(gallery.index, "prepared", lambda *_, **__: 1 / 0)
        with pytest.raises(StorageError, match="cannot be built anew"):
            maintenance.rebuild()
    maintenance.rebuild()
    maintenance.stop()
    with pytest.raises(StorageError, match="stopping"):
        maintenance.rebuild()


@pytest.mark.parametrize(
    ("error", "trouble"),
    [(StorageError("no room", "free some"), "no room; free some"), (ZeroDivisionError(), "internal error")],
)
def test_damaged_rows_that_cannot_be_set_aside_are_trouble_until_they_can(
    gallery: Gallery,
    maintenance: IndexMaintenance,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    trouble: str,
) -> None:
    """Also where the index itself is well."""
    hnsw(gallery).level()
    gallery.catalog.damaged_faces.add(1)
    tries = threading.Semaphore(0)

    def refuse(*_: object) -> None:
        tries.release()
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(gallery, "set_aside", refuse)
        maintenance.start()
        assert all(tries.acquire(timeout=60) for _ in range(3))
        assert trouble in maintenance.trouble
        assert caplog.messages.count(maintenance.trouble) == 1
    until(lambda: not maintenance.trouble and not gallery.catalog.damaged_faces)


def test_an_error_without_a_message_is_trouble_too(
    gallery: Gallery, maintenance: IndexMaintenance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(gallery.index, "maintain", refuse)
        maintenance.start()
        until(lambda: maintenance.trouble == "MemoryError")
    until(lambda: not maintenance.trouble)
