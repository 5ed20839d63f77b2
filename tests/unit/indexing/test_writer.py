"""The writer: its signs of life, what it tries again, and what it sets aside."""

from __future__ import annotations

import dataclasses
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from facewatchd.errors import StorageError
from facewatchd.indexing import writer as module
from facewatchd.indexing.writer import Writer
from facewatchd.matches import Box
from facewatchd.store.catalog import Catalog, Outcome
from facewatchd.store.flat import FlatIndex
from facewatchd.store.gallery import Gallery
from facewatchd.threads.liveness import Liveness
from facewatchd.values import PhotoState
from tests.support.galleries import DIM, face, index_size, opened, photo, unit
from tests.support.processes import until


def test_one_that_has_nothing_to_do_does_not_seem_to_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not after the regular collection either, which nobody asked it for."""
    monkeypatch.setattr(module, "COLLECT_EVERY", 0.05)
    gallery, liveness, collected = opened(tmp_path), Liveness(), threading.Event()
    collect = gallery.collect

    def once() -> None:
        collect()
        monkeypatch.setattr(module, "COLLECT_EVERY", 3600.0)
        collected.set()

    monkeypatch.setattr(gallery, "collect", once)
    writer = Writer(gallery, liveness)
    writer.start()
    try:
        assert collected.wait(10)
        until(lambda: liveness.silent(-1) == [])
    finally:
        writer.stop()


def test_a_long_call_goes_on_as_long_as_it_shows_that_it_does(tmp_path: Path) -> None:
    now = 0.0
    liveness = Liveness(lambda: now)
    writer = Writer(opened(tmp_path), liveness)
    silent: list[list[str]] = []

    def work(_: object) -> None:
        nonlocal now
        for _step in range(3):
            now += 8
            assert writer.goes_on()
            silent.append(liveness.silent(10))
        now += 6
        assert not liveness.silent(10)
        now += 6
        silent.append(liveness.silent(10))

    writer.start()
    try:
        writer.call(work)
    finally:
        writer.stop()
    assert silent == [[], [], [], ["writer"]]
    assert not writer.goes_on(), "it was told to end"


# What is tried again, and what is set aside

ROWS = unit(np.random.default_rng(0).normal(size=(9, DIM)))
BAD = b"/bad.jpg"
GOOD = [photo(b"/%d.jpg" % number, b"digest %d" % number, [ROWS[number]]) for number in range(5)]


def bad(**changes: object) -> Outcome:
    """A photo whose one face has something that cannot be."""
    return Outcome(BAD, GOOD[0].stamp, b"bad", 640, 480, [dataclasses.replace(face(ROWS[8]), **changes)])


CANNOT_BE = {
    "a score that is no number": bad(score=float("nan")),
    "a box beyond 64 bits": bad(box=Box(0, 0, 1 << 70, 1)),
    "a score that is a word": bad(score="high"),
    "an embedding of NaN": bad(embedding=np.full(DIM, np.nan, np.float32)),
    "an infinite embedding": bad(embedding=np.full(DIM, np.inf, np.float32)),
    "an embedding of another model": bad(embedding=unit(np.ones(DIM + 1))),
    "an embedding that is not of unit length": bad(embedding=2 * ROWS[8]),
    "a width that is no number": dataclasses.replace(GOOD[0], path=BAD, digest=b"bad", width=None),  # type: ignore[arg-type]
    "a stamp beyond 64 bits": dataclasses.replace(bad(), stamp=GOOD[0].stamp._replace(size=1 << 64)),
    "a digest that is no bytes": dataclasses.replace(bad(), digest=object()),  # type: ignore[arg-type]
}


def written(gallery: Gallery, outcomes: Sequence[Outcome]) -> dict[bytes, bool]:
    """Have the writer record all of it at once; return what it said of each path."""
    writer, told = Writer(gallery, Liveness()), {}
    for outcome in outcomes:
        writer.record(outcome, lambda known, path=outcome.path: told.update({path: known}))
    writer.start()
    try:
        until(lambda: len(told) == len(outcomes))
        assert writer.trouble == ""
    finally:
        writer.stop()
    return told


def state(gallery: Gallery, path: bytes) -> tuple[PhotoState, str] | None:
    with gallery.catalog.reading() as reader:
        record = reader.photo(path)
    return (record.state, record.error or "") if record else None


def expect_the_others(gallery: Gallery) -> None:
    assert [state(gallery, outcome.path) for outcome in GOOD] == [(PhotoState.INDEXED, "")] * len(GOOD)
    assert index_size(gallery) == (len(GOOD), 0)
    assert gallery.index.differences() == []


@pytest.mark.parametrize("what", CANNOT_BE)
def test_what_cannot_be_recorded_is_set_aside_and_nothing_else_stops(gallery: Gallery, what: str) -> None:
    told = written(gallery, [*GOOD[:2], CANNOT_BE[what], *GOOD[2:]])
    assert told == dict.fromkeys([*(outcome.path for outcome in GOOD), BAD], True)
    expect_the_others(gallery)
    if what != "a stamp beyond 64 bits":  # of which not even the failure can be recorded
        found = state(gallery, BAD)
        assert found is not None
        assert found[0] is PhotoState.FAILED
        assert found[1].startswith("internal error: ")
        assert "disk" not in found[1]


@pytest.mark.parametrize("error", [ValueError, KeyError, RuntimeError, UnicodeError, OverflowError, ZeroDivisionError])
def test_an_error_that_nobody_foresaw_is_one_outcomes_fault(
    gallery: Gallery, error: type[Exception], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    record = Catalog._record

    def fails(self: Catalog, outcome: Outcome, changes: object) -> None:
        record(self, outcome, changes)  # type: ignore[arg-type]
        if outcome.path == BAD:
            raise error("odd")

    monkeypatch.setattr(Catalog, "_record", fails)
    told = written(gallery, [*GOOD, dataclasses.replace(GOOD[0], path=BAD)])
    assert told[BAD], "it is not looked at again and again"
    expect_the_others(gallery)
    assert state(gallery, BAD) is None, "not even its failure can be recorded"
    assert "/bad.jpg: its failure cannot be recorded either" in caplog.text


def test_a_rule_of_the_catalog_that_forbids_a_row(gallery: Gallery) -> None:
    with closing(sqlite3.connect(gallery.catalog.path)) as db:
        db.execute(
            "CREATE TRIGGER no BEFORE INSERT ON face WHEN NEW.score = 0.125 BEGIN SELECT RAISE(ABORT, 'not that'); END"
        )
    written(gallery, [bad(score=0.125), *GOOD])
    expect_the_others(gallery)
    assert state(gallery, BAD) == (
        PhotoState.FAILED,
        "internal error: what was found cannot be recorded (cannot write to the catalog: not that; please report it)",
    )


@pytest.mark.parametrize("change", ["add", "remove"])
def test_what_fails_in_memory_after_the_commit_is_no_photos_fault(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    gallery.record([photo(outcome.path, outcome.digest or b"", [ROWS[8]]) for outcome in GOOD])
    gallery.record([dataclasses.replace(outcome, faces=[]) for outcome in GOOD[1:]])

    def fails(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(FlatIndex, change, fails)
    written(gallery, GOOD)
    assert [state(gallery, outcome.path) for outcome in GOOD] == [(PhotoState.INDEXED, "")] * len(GOOD)
    assert gallery.index.differences() == []
    for number in range(len(GOOD)):
        exact = gallery.index.above(ROWS[number], 0.99, exact=True)
        assert exact.ids.tolist() == gallery.index.above(ROWS[number], 0.99).ids.tolist()
        assert len(exact.ids) == 1


def test_without_memory_for_the_index_nothing_is_committed(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY", 0.05)
    stack, failed = np.stack, threading.Event()

    def fails_once(*args: object, **options: object) -> object:
        if not failed.is_set():
            failed.set()
            raise MemoryError
        return stack(*args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(np, "stack", fails_once)
    for outcome in GOOD:
        failed.clear()
        written(gallery, [outcome])
        assert failed.is_set()
    expect_the_others(gallery)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("SQLITE_FULL", "free some disk space"),
        ("SQLITE_BUSY", "the data directory"),
        ("SQLITE_IOERR_WRITE", "the data directory"),
        ("SQLITE_READONLY", "the data directory"),
        ("", "free some memory"),
    ],
)
def test_what_can_pass_is_tried_again(gallery: Gallery, monkeypatch: pytest.MonkeyPatch, name: str, says: str) -> None:
    monkeypatch.setattr(module, "RETRY", 0.05)
    record, allowed = Catalog._record, threading.Event()

    def fails(self: Catalog, outcome: Outcome, changes: object) -> None:
        if not allowed.is_set():
            raise sqlite_error(name) if name else MemoryError
        record(self, outcome, changes)  # type: ignore[arg-type]

    monkeypatch.setattr(Catalog, "_record", fails)
    writer, told = Writer(gallery, Liveness()), []
    writer.start()
    try:
        for outcome in GOOD:
            writer.record(outcome, told.append)
        until(lambda: says in writer.trouble)
        assert not told
        allowed.set()
        until(lambda: told == [True] * len(GOOD) and not writer.trouble)
    finally:
        writer.stop()
    expect_the_others(gallery)


@pytest.mark.parametrize("name", ["SQLITE_CORRUPT", "SQLITE_NOTADB"])
def test_a_damaged_catalog_is_not_written_again(gallery: Gallery, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(module, "RETRY", 0.01)
    tries: list[Outcome] = []

    def fails(self: Catalog, outcome: Outcome, changes: object) -> None:
        tries.append(outcome)
        raise sqlite_error(name)

    monkeypatch.setattr(Catalog, "_record", fails)
    writer, told = Writer(gallery, Liveness()), []
    writer.start()
    try:
        writer.record(GOOD[0], told.append)
        until(lambda: "damaged" in writer.trouble)
        writer.call(lambda _: None)  # the outcome before has been dealt with by then
    finally:
        writer.stop()
    assert tries == [GOOD[0]]
    assert not told, "it stays as it is, for the next start"


def test_at_the_end_a_write_that_fails_is_given_up(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY", 3600.0)

    def fails(self: Catalog, outcome: Outcome, changes: object) -> None:
        raise sqlite_error("SQLITE_FULL")

    monkeypatch.setattr(Catalog, "_record", fails)
    writer, told = Writer(gallery, Liveness()), []
    writer.start()
    writer.record(GOOD[0], told.append)
    until(lambda: writer.trouble)
    for _ in range(10 * module.BATCH):  # more than the queue holds: no worker waits for ever
        writer.give_up()
        writer.record(GOOD[1], told.append)
    writer.stop()
    assert not told
    with pytest.raises(StorageError, match="the daemon is stopping"):
        writer.call(lambda _: None)


def sqlite_error(name: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("just now")
    error.sqlite_errorcode, error.sqlite_errorname = getattr(sqlite3, name), name
    return error


def test_the_writer_outlives_a_collection_that_fails(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COLLECT_EVERY", 0.02)
    failed = threading.Event()

    def fails() -> None:
        failed.set()
        raise ValueError("odd")

    monkeypatch.setattr(gallery, "collect", fails)
    writer = Writer(gallery, Liveness())
    writer.start()
    try:
        assert failed.wait(20)
        called: list[object] = []
        writer.call(called.append)
        assert called == [gallery]
    finally:
        writer.stop()
