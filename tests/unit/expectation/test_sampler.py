"""The sample of the gallery: the same for the same faces, and level with them a moment after a change."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from facewatchd.errors import StorageError
from facewatchd.expectation import sampler as sampler_module
from facewatchd.expectation.sampler import Sampler, drawn, lowest
from facewatchd.store import hub
from facewatchd.store.catalog import Outcome
from facewatchd.store.flat import FlatIndex
from facewatchd.store.gallery import Gallery
from facewatchd.store.hub import Change
from facewatchd.threads.liveness import Liveness
from facewatchd.values import ModelInfo
from tests.support.crowds import people
from tests.support.galleries import DIM, gallery_with, photo
from tests.support.processes import until

INFO = ModelInfo("test-00000000", "test", DIM, 0.5)
SIZE = 40


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler_module, "SIZE", SIZE)
    monkeypatch.setattr(sampler_module, "HELD", SIZE + 10)
    monkeypatch.setattr(sampler_module, "QUIET", 0.01)
    monkeypatch.setattr(sampler_module, "REST", 0.0)


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return gallery_with(tmp_path, FlatIndex(DIM))


@pytest.fixture
def started(gallery: Gallery) -> Iterator[Callable[[], Sampler]]:
    samplers: list[Sampler] = []

    def start() -> Sampler:
        samplers.append(Sampler(gallery, INFO, Liveness()))
        samplers[-1].start()
        return samplers[-1]

    yield start
    for each in samplers:
        each.stop()


def add(gallery: Gallery, first: int, end: int) -> None:
    rows = people(np.random.default_rng(first), end - first, DIM)
    outcomes = [photo(b"/%d" % at, b"%d" % at, [row], at) for at, row in zip(range(first, end), rows, strict=True)]
    for start in range(0, len(outcomes), 7):
        gallery.record(outcomes[start : start + 7])


def expected(gallery: Gallery) -> list[int]:
    """The ids that are in the sample, in its order: the lowest hashes of all there are."""
    with gallery.catalog.reading() as reader:
        return sorted(lowest(reader.face_ids(), SIZE).tolist())


def follows(gallery: Gallery, sampler: Sampler) -> None:
    until(lambda: sampler.crowd().ids.tolist() == expected(gallery))
    with gallery.catalog.reading() as reader:
        _, embeddings = reader.embeddings_of(sampler.crowd().ids.tolist())
    assert np.array_equal(sampler.crowd().embeddings, embeddings)


def test_the_draw_is_even() -> None:
    ids = np.arange(1, 100_001)
    chosen = lowest(ids, 1000)
    assert len(set(chosen.tolist())) == 1000
    assert np.all(np.diff(drawn(chosen).astype(float)) > 0)
    parts = np.histogram(chosen, bins=10, range=(0, 100_000))[0]
    assert parts.min() > 60
    assert parts.max() < 140


def test_it_is_there_at_the_start_and_follows_what_comes_and_goes(
    gallery: Gallery, started: Callable[[], Sampler]
) -> None:
    add(gallery, 0, 30)
    sampler = started()
    assert len(sampler.crowd()) == 30
    add(gallery, 30, 500)
    follows(gallery, sampler)
    gallery.record([Outcome(b"/%d" % at, None) for at in range(250, 500)])
    gallery.catalog._db.execute("UPDATE content SET orphaned = 1 WHERE orphaned IS NOT NULL")
    gallery.collect()
    follows(gallery, sampler)
    assert len(sampler.crowd()) == SIZE


def test_the_order_in_which_faces_came_makes_no_difference(gallery: Gallery, started: Callable[[], Sampler]) -> None:
    sampler = started()
    for first in range(0, 200, 20):
        add(gallery, first, first + 20)
        follows(gallery, sampler)
    assert started().crowd().ids.tolist() == sampler.crowd().ids.tolist()


def test_changes_that_were_missed_are_made_up_for(
    gallery: Gallery, started: Callable[[], Sampler], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "MOST", 2)
    sampler = started()
    add(gallery, 0, 300)
    follows(gallery, sampler)


def test_an_empty_gallery_has_an_empty_sample(started: Callable[[], Sampler]) -> None:
    sampler = started()
    assert len(sampler.crowd()) == 0
    assert sampler.crowded(0, 0.5) == ""


def test_a_gallery_that_is_too_large_for_its_threshold_is_told_with_one_that_is_not(
    gallery: Gallery, started: Callable[[], Sampler], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler_module, "SIZE", 200)
    monkeypatch.setattr(sampler_module, "HELD", 250)
    add(gallery, 0, 200)
    sampler = started()
    until(lambda: len(sampler.crowd()) == 200)
    until(lambda: sampler.crowded(20_000, 0.5))
    line = sampler.crowded(20_000, 0.5)
    assert line.startswith("with 20000 faces a question is expected to show up to "), "it was not measured"
    better = float(line.split("; ")[1].split()[0])
    assert 0.5 < better < 1
    assert sampler.crowded(20_000, better) == ""
    assert sampler.crowded(10, 0.5) == ""


def test_it_ends_while_it_waits(started: Callable[[], Sampler]) -> None:
    sampler = started()
    sampler.crowd()
    sampler.stop()
    assert not sampler.is_alive()


@pytest.mark.parametrize("exc", [StorageError("the disk is gone", "mount it"), MemoryError(), ValueError("a fault")])
@pytest.mark.parametrize("step", ["_read", "_make", "_apply"])
def test_what_fails_is_tried_again_and_delays_no_question(
    gallery: Gallery,
    started: Callable[[], Sampler],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    step: str,
    exc: Exception,
) -> None:
    add(gallery, 0, 30)
    whole = getattr(Sampler, step)
    monkeypatch.setattr(sampler_module, "RETRY", 0.2)
    failed = threading.Event()

    def fails(*_: object) -> None:
        failed.set()
        raise exc

    monkeypatch.setattr(Sampler, step, fails)
    sampler = started()
    sampler.crowd(wait=60)
    add(gallery, 30, 35)
    assert failed.wait(60)
    monkeypatch.setattr(Sampler, step, whole)
    until(lambda: len(sampler.crowd(wait=0)) == 35)
    assert sampler.is_alive()
    assert bool(caplog.records) is not isinstance(exc, StorageError)


def test_a_catalog_that_cannot_be_read_is_not_tried_at_each_change(
    gallery: Gallery, started: Callable[[], Sampler], monkeypatch: pytest.MonkeyPatch
) -> None:
    tries, applied = [], threading.Semaphore(0)
    whole = Sampler._apply

    def fails(_: Sampler) -> None:
        tries.append(1)
        raise StorageError("the disk is gone", "mount it")

    def applies(sampler: Sampler, changes: Iterable[Change]) -> bool:
        changed = whole(sampler, changes)
        applied.release()
        return changed

    monkeypatch.setattr(Sampler, "_read", fails)
    monkeypatch.setattr(Sampler, "_apply", applies)
    sampler = started()
    sampler.crowd(wait=60)
    for first in range(5):
        add(gallery, first, first + 1)
        assert applied.acquire(timeout=60)
    assert len(tries) == 1
