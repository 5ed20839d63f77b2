"""Dates of photos that were recorded without: which files are read, in which order, and what no date comes of."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from facewatchd.errors import FacewatchError, StorageError, UnreadablePhotoError
from facewatchd.indexing import backoff, dates, recorded_files
from facewatchd.indexing.dates import Dates
from facewatchd.inference.failures import NoModelError, SetbackError
from facewatchd.photos.description import Description
from facewatchd.photos.files import DiskError
from facewatchd.store.catalog import Outcome
from facewatchd.store.gallery import Gallery
from facewatchd.values import RootState, Stamp, Taken, TakenFrom
from tests.support.idle_threads import IdleBench, hurry
from tests.support.processes import until

DATE = Taken(1561896000.0, 120, TakenFrom.EXIF)


class Bench(IdleBench):
    """The thread, and what the headers say."""

    def __init__(self, gallery: Gallery, directory: Path) -> None:
        super().__init__(gallery, directory, describe=self._describe)
        self.read: list[str] = []
        self.errors: dict[str, list[Exception]] = {}
        """What reading the headers of a file raises, time after time; then it has a date."""
        self.meanwhile: Callable[[], object] = lambda: None
        """Called while the headers of a file are read."""
        self.dates = Dates(self.parts)

    def _describe(self, descriptor: int) -> Description:
        file = Path(f"/proc/self/fd/{descriptor}").readlink().name
        self.read.append(file)
        self.meanwhile()
        if self.errors.get(file):
            raise self.errors[file].pop(0)
        return Description(1, 1, 1, DATE)

    def add(self, *names: str) -> None:
        """Write photos, each older than the one before, and have them recorded without a date."""
        for age, file in enumerate(names):
            self.write(file, age)
            stamp = Stamp.of(os.stat(self.path(file)))
            self.gallery.record([Outcome(self.path(file), stamp, file.encode(), 640, 480, [])])
        with closing(sqlite3.connect(self.gallery.catalog.path)) as db, db:
            db.execute("UPDATE content SET taken_from = NULL")

    def left(self) -> set[str]:
        """The photos that are still to be read."""
        with self.gallery.catalog.reading() as reader:
            contents = reader.undated([self.root]).tolist()
            return {os.fsdecode(os.path.basename(path)) for (path,) in reader.copies(contents).values()}

    def taken(self) -> dict[str, tuple[object, ...]]:
        """The date of each photo, as it is recorded."""
        sql = "SELECT digest, taken, taken_offset, taken_from FROM content"
        with closing(sqlite3.connect(self.gallery.catalog.path)) as db:
            return {digest.decode(): tuple(row) for digest, *row in db.execute(sql)}

    def close(self) -> None:
        self.writer.give_up()
        self.dates.stop()
        self.writer.stop()


@pytest.fixture
def bench(gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    hurry(monkeypatch)
    (tmp_path / "photos").mkdir()
    bench = Bench(gallery, tmp_path / "photos")
    yield bench
    bench.close()


FOUND, NOTHING = (1561896000.0, 120, "exif"), (None, None, "")


def test_each_is_read_once_the_newest_first_and_none_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dates, "BATCH", 2)
    monkeypatch.setattr(recorded_files, "AGAIN_AFTER", 0.0)
    bench.add("a", "b", "c", "d", "e")
    assert bench.gallery.catalog.counts([])[0].undated == 5
    bench.dates.start()
    until(lambda: not bench.left())
    seen = bench.asked
    until(lambda: bench.asked > seen + 3)
    assert bench.read == ["a", "b", "c", "d", "e"]
    assert set(bench.taken().values()) == {FOUND}
    assert bench.gallery.catalog.counts([])[0].undated == 0


def test_a_wait_ends_when_all_dates_are_read_that_can_be_and_when_the_thread_ends(bench: Bench) -> None:
    bench.dates.wait(60)  # nothing is to be read, whether or not the thread runs
    bench.add("a", "b", "gone")
    Path(os.fsdecode(bench.path("gone"))).unlink()
    bench.busy = True
    bench.dates.start()
    bench.dates.wait(0.01)
    assert bench.left() == {"a", "b", "gone"}
    bench.busy = False
    bench.dates.wait(60)
    assert bench.left() == {"gone"}
    bench.busy = True
    bench.add("c")
    ending = threading.Timer(0.1, bench.dates.give_up)
    ending.start()
    bench.dates.wait(60)
    ending.join()


def test_everything_else_goes_first(bench: Bench) -> None:
    bench.add("a", "b")
    bench.busy = True
    bench.dates.start()
    until(lambda: bench.asked > 3)
    assert not bench.read
    bench.busy = False
    until(lambda: not bench.left())


def test_headers_that_cannot_be_read_hold_no_date(bench: Bench) -> None:
    bench.add("bad", "good")
    bench.errors["bad"] = [UnreadablePhotoError("its headers are damaged")] * 9
    bench.dates.start()
    until(lambda: not bench.left())
    assert bench.taken() == {"bad": NOTHING, "good": FOUND}
    assert Counter(bench.read)["bad"] == 1


def test_a_death_is_tried_again_and_in_the_end_there_is_no_date(bench: Bench) -> None:
    bench.add("once", "always", "good")
    bench.errors = {
        "once": [SetbackError("died", "", counts=True)],
        "always": [SetbackError("died", "", counts=True)] * 9,
    }
    bench.dates.start()
    until(lambda: not bench.left())
    assert bench.taken() == {"once": FOUND, "always": NOTHING, "good": FOUND}
    assert Counter(bench.read) == {"once": 2, "always": backoff.BLAMED_AFTER, "good": 1}


@pytest.mark.parametrize("error", [NoModelError("no model"), StorageError("locked"), ValueError("odd")])
def test_what_says_nothing_of_the_file_is_tried_again(
    bench: Bench, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded_files, "AGAIN_AFTER", 0.0)
    bench.add("a", "b")
    bench.errors["a"] = [error]
    bench.dates.start()
    until(lambda: not bench.left())
    assert set(bench.taken().values()) == {FOUND}


def _write(bench: Bench) -> None:
    Path(os.fsdecode(bench.path("a"))).write_text("other")


def _unlink(bench: Bench) -> None:
    Path(os.fsdecode(bench.path("a"))).unlink()


def _forbid(bench: Bench) -> None:
    Path(os.fsdecode(bench.path("a"))).unlink()
    os.mkfifo(bench.path("a"))


@pytest.mark.parametrize("change", [_write, _unlink, _forbid])
@pytest.mark.parametrize("meanwhile", [False, True])
def test_a_file_that_is_not_what_is_recorded_says_nothing(
    bench: Bench, change: Callable[[Bench], None], meanwhile: bool
) -> None:
    bench.add("a", "b")
    if meanwhile:
        bench.meanwhile = lambda: change(bench) if bench.read == ["a"] else None
    else:
        change(bench)
    bench.dates.start()
    until(lambda: "b" in bench.read and "b" not in bench.left())
    assert bench.left() == {"a"}
    assert bench.read == (["a", "b"] if meanwhile else ["b"])


def test_a_disk_that_is_away_or_fails_leaves_the_date_open(bench: Bench) -> None:
    bench.add("a", "b")
    bench.state = RootState.OFFLINE
    bench.errors["a"] = [DiskError("the disk failed")]
    bench.dates.start()
    until(lambda: bench.asked > 3)
    assert not bench.read
    bench.state = RootState.WATCHING
    until(lambda: bench.left() == {"a"})
    bench.state = RootState.OFFLINE
    seen = bench.asked
    until(lambda: bench.asked > seen + 3)
    bench.state = RootState.WATCHING
    until(lambda: not bench.left())


def test_a_copy_that_is_there_stands_for_one_that_is_gone(bench: Bench) -> None:
    bench.add("a")
    Path(os.fsdecode(bench.path("z"))).write_text("a")
    bench.gallery.record([Outcome(bench.path("z"), Stamp.of(os.stat(bench.path("z"))), b"a")])
    Path(os.fsdecode(bench.path("a"))).unlink()
    bench.dates.start()
    until(lambda: bench.taken()["a"] == FOUND)
    assert bench.read == ["z"]


def test_an_error_of_the_program_is_not_taken_for_the_photos(bench: Bench) -> None:
    bench.add("a", "b")
    bench.errors["a"] = [FacewatchError("internal error")] * (backoff.BLAMED_AFTER - 1)
    bench.dates.start()
    until(lambda: not bench.left())
    assert bench.taken() == {"a": FOUND, "b": FOUND}
