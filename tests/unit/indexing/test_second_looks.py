"""Second looks: which photos are tried again, and that no error ends the thread or throws a look away."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from facewatchd.errors import (
    DamagedError,
    FacewatchError,
    OutOfMemoryError,
    RefusedError,
    StorageError,
    TooLargeError,
    UnreadablePhotoError,
)
from facewatchd.indexing import backoff
from facewatchd.indexing import writer as writing
from facewatchd.indexing.second_looks import SecondLooks
from facewatchd.inference import pool
from facewatchd.inference.failures import NoModelError, SetbackError
from facewatchd.inference.pool import Inference
from facewatchd.inference.process import ChildProcess
from facewatchd.inference.wire import Again, Analysis, Setup
from facewatchd.matches import Box
from facewatchd.photos import contents
from facewatchd.photos.files import DiskError
from facewatchd.store.catalog import Outcome
from facewatchd.store.gallery import Gallery
from facewatchd.values import Face, Identity, Look, Ways
from tests.support.galleries import DIM, unit
from tests.support.idle_threads import IdleBench, hurry, name
from tests.support.processes import until

Answer = Callable[[Callable[[], None]], list[Face]]


class Bench(IdleBench):
    """The thread, and the model's answers."""

    def __init__(self, gallery: Gallery, directory: Path) -> None:
        super().__init__(gallery, directory, look_again=self._look_again)
        self.answers: dict[str, Answer] = {}
        """What a second look at a file of that name does; all others find nothing."""
        self.taken: Counter[str] = Counter()
        """Second looks at each file."""
        self.looks = SecondLooks(self.parts)

    def _look_again(self, descriptor: int, again: Again, waiting: Callable[[], None]) -> Analysis:
        file = Path(f"/proc/self/fd/{descriptor}").readlink().name
        self.taken[file] += 1
        return Analysis(640, 480, self.answers.get(file, lambda waiting: [])(waiting))

    def add(self, file: str, age: int) -> None:
        """Write a photo, older the larger ``age`` is, and have it recorded as one that is worth a second look."""
        self.write(file, age)
        self.record(file, [])

    def record(self, file: str, faces: list[Face] | None) -> None:
        """Have the file recorded as it is; as one whose content is known where there are no ``faces``."""
        with contents.opened(self.path(file)) as content:
            stamp, digest = content.stamp, content.digest
        outcome = Outcome(self.path(file), stamp, digest, 640, 480, faces, worth=Ways.TURNED)
        self.writer.call(lambda gallery: gallery.record([outcome]))

    def due(self) -> set[str]:
        with self.gallery.catalog.reading() as reader:
            due = reader.to_see_again([self.root], None, 100)
            return {name(path) for each in due for path in reader.copies([each.content_id])[each.content_id]}

    def close(self) -> None:
        self.writer.give_up()
        self.looks.stop()
        self.writer.stop()


def failing(error: Exception, times: int = 1 << 30) -> Answer:
    left = iter(range(times))

    def answer(_waiting: Callable[[], None]) -> list[Face]:
        if next(left, None) is not None:
            raise error
        return []

    return answer


def face(embedding: Any) -> Face:
    return Face(Box(10, 10, 50, 50), 0.9, np.ones((5, 2), np.float32), embedding, 9.0, Look.TURNED_90)


@pytest.fixture
def bench(gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    hurry(monkeypatch)
    (tmp_path / "photos").mkdir()
    bench = Bench(gallery, tmp_path / "photos")
    yield bench
    bench.close()


# Errors of the process

BLAMED = {
    "memory": OutOfMemoryError("there is not enough memory"),
    "hangs": UnreadablePhotoError("hangs: it was not read after 300 s of work"),
    "size": TooLargeError("it has too many pixels"),
    "death": SetbackError("its process died", "", counts=True),
    "internal": FacewatchError("internal error"),
    "unforeseen": ValueError("no number"),
}


@pytest.mark.parametrize("what", BLAMED)
def test_a_photo_at_which_it_cannot_look_is_left_out_in_the_end(
    bench: Bench, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench.add("bad.jpg", 1)
    bench.add("good.jpg", 2)
    bench.answers["bad.jpg"] = failing(BLAMED[what])
    bench.looks.start()
    until(lambda: not bench.due())
    assert bench.taken == {"bad.jpg": backoff.BLAMED_AFTER, "good.jpg": 1}
    assert "bad.jpg is left out" in caplog.text


def test_a_disk_that_fails_is_no_fault_of_the_photo(bench: Bench) -> None:
    bench.add("bad.jpg", 1)
    bench.add("good.jpg", 2)
    bench.answers["bad.jpg"] = failing(DiskError("the disk failed"))
    bench.looks.start()
    until(lambda: bench.taken["good.jpg"] and bench.due() == {"bad.jpg"})
    assert bench.taken["bad.jpg"] == 1
    del bench.answers["bad.jpg"]
    bench.out_of_reach = [b"/another"]
    until(lambda: not bench.due())


def test_a_copy_that_cannot_be_opened_leaves_the_others(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(path: bytes, opened: Any = contents.opened) -> Any:
        if name(path) == "a.jpg":
            raise PermissionError
        return opened(path)

    bench.add("a.jpg", 1)
    os.link(bench.path("a.jpg"), bench.path("b.jpg"))
    bench.record("b.jpg", None)
    bench.record("a.jpg", None)  # whose ctime the link has changed
    monkeypatch.setattr(contents, "opened", refusing)
    bench.looks.start()
    until(lambda: not bench.due())
    assert bench.taken == {"b.jpg": 1}


def test_an_error_of_a_file_that_was_written_to_is_no_fault_of_the_photo(bench: Bench) -> None:
    def cut(_waiting: Callable[[], None]) -> list[Face]:
        Path(os.fsdecode(bench.path("bad.jpg"))).write_text("half")
        raise UnreadablePhotoError("the file is truncated")

    bench.add("bad.jpg", 1)
    bench.add("good.jpg", 2)
    bench.answers["bad.jpg"] = cut
    bench.looks.start()
    until(lambda: bench.due() == {"bad.jpg"})
    bench.add("new.jpg", 0)
    until(lambda: bench.due() == {"bad.jpg"})
    assert bench.taken["bad.jpg"] == 1


@pytest.mark.parametrize("spare", [True, False])
def test_a_lack_of_memory_counts_only_where_there_is_memory_to_spare(
    monkeypatch: pytest.MonkeyPatch, spare: bool
) -> None:
    @contextlib.contextmanager
    def admitted(_inference: Inference) -> Iterator[object]:
        yield SimpleNamespace(analyse=lambda *_: failing(OutOfMemoryError("none left"))(lambda: None))

    monkeypatch.setattr(pool.malloc, "has_spare_memory", lambda: spare)
    monkeypatch.setattr(Inference, "_admitted", admitted)
    with pytest.raises(SetbackError, match="none left") as caught:
        Inference(cast("Setup", SimpleNamespace(placement=None)), 1).look_again(0, Again(Ways.TURNED, 0), lambda: None)
    assert caught.value.counts is spare


def test_a_model_that_cannot_be_loaded_loses_no_photo(bench: Bench) -> None:
    bench.add("photo.jpg", 1)
    bench.answers["photo.jpg"] = failing(NoModelError("no memory for it"), times=6)
    bench.looks.start()
    until(lambda: not bench.due())
    assert bench.taken["photo.jpg"] == 7


def test_one_that_was_given_up_is_taken_again(bench: Bench) -> None:
    def interrupted(waiting: Callable[[], None]) -> list[Face]:
        bench.busy = True
        waiting()
        raise FacewatchError("given up")

    bench.add("photo.jpg", 1)
    bench.answers["photo.jpg"] = interrupted
    bench.looks.start()
    until(lambda: bench.busy)
    assert bench.due() == {"photo.jpg"}
    del bench.answers["photo.jpg"]
    bench.busy = False
    until(lambda: not bench.due())
    assert bench.taken["photo.jpg"] == 2


# Recording


def test_an_error_of_the_index_ends_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    add, left = bench.gallery.index.add, iter(range(1))

    def no_memory(*given: Any) -> None:
        if next(left, None) is not None:
            raise MemoryError
        add(*given)

    monkeypatch.setattr(bench.gallery.index, "add", no_memory)
    bench.add("first.jpg", 1)
    bench.add("second.jpg", 2)
    row = unit(np.ones(DIM))
    bench.answers = {file: lambda _waiting: [face(row)] for file in ("first.jpg", "second.jpg")}
    bench.looks.start()
    until(lambda: not bench.due())
    assert bench.looks.alive()
    assert bench.taken == {"first.jpg": 1, "second.jpg": 1}


@pytest.mark.parametrize("error", [RefusedError("refused"), FacewatchError("internal"), RuntimeError()])
def test_what_can_never_be_recorded_ends_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Not even that the photo is left out can be recorded."""
    record, tries = bench.gallery.record_second_look, Counter[str]()

    def refusing(digest: bytes, ways: Ways, found: list[Face] | None) -> int:
        tries["record"] += 1
        if tries["record"] <= backoff.BLAMED_AFTER + 1:
            raise error
        return record(digest, ways, found)

    monkeypatch.setattr(bench.gallery, "record_second_look", refusing)
    bench.add("bad.jpg", 1)
    bench.looks.start()
    until(lambda: tries["record"] > backoff.BLAMED_AFTER)
    bench.add("good.jpg", 2)
    until(lambda: bench.due() == {"bad.jpg"})
    assert bench.looks.alive()


def test_a_full_disk_throws_no_look_away(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    record, room, tries = bench.gallery.catalog.record_second_look, threading.Event(), Counter[str]()

    def full(*given: Any) -> Any:
        tries["record"] += 1
        if not room.is_set():
            raise StorageError("cannot note a second look: database or disk is full", "free some disk space")
        return record(*given)

    monkeypatch.setattr(bench.gallery.catalog, "record_second_look", full)
    for number in range(3):
        bench.add(f"{number}.jpg", number)
    bench.looks.start()
    until(lambda: tries["record"] > 5)
    assert "disk is full" in bench.writer.trouble
    assert bench.taken.total() == 1
    room.set()
    until(lambda: not bench.due())
    assert bench.taken.total() == 3
    assert bench.writer.trouble == ""


def test_none_is_taken_once_the_catalog_is_seen_to_be_damaged(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    undamaged, refused = bench.writer.require_undamaged, Counter[str]()

    def require() -> None:
        try:
            undamaged()
        except DamagedError:
            refused["asked"] += 1
            raise

    def damaged(*_: Any) -> Any:
        raise DamagedError("the catalog is damaged")

    monkeypatch.setattr(bench.gallery.catalog, "record_second_look", damaged)
    monkeypatch.setattr(bench.writer, "require_undamaged", require)
    bench.add("photo.jpg", 1)
    bench.add("other.jpg", 2)
    bench.looks.start()
    until(lambda: "damaged" in bench.writer.trouble)
    until(lambda: refused["asked"] > 3)
    assert bench.taken == {"photo.jpg": 1}


def test_it_ends_while_the_disk_is_full(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise StorageError("the disk is full")

    monkeypatch.setattr(writing, "RETRY", 3600.0)
    monkeypatch.setattr(bench.gallery.catalog, "record_second_look", full)
    bench.add("photo.jpg", 1)
    bench.looks.start()
    until(lambda: "full" in bench.writer.trouble)
    bench.looks.give_up()
    bench.writer.give_up()
    bench.looks.stop()
    assert not bench.looks.alive()
    assert bench.due() == {"photo.jpg"}


# The process's effort


def test_an_error_while_it_asks_for_the_effort_loses_nothing(bench: Bench) -> None:
    left = iter(range(3))

    def effort() -> tuple[float, bool]:
        if next(left, None) is not None:
            raise ProcessLookupError
        return 0.0, False

    bench.effort = effort
    bench.add("photo.jpg", 1)
    bench.looks.start()
    until(lambda: not bench.due())
    assert bench.looks.alive()


def test_the_effort_of_a_process_that_is_reaped_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    def reaped(self: Path, _pattern: str) -> Iterator[Path]:
        yield self / str(os.getpid()) / "stat"
        raise FileNotFoundError

    monkeypatch.setattr(Path, "glob", reaped)
    process = cast("ChildProcess", SimpleNamespace(_popen=SimpleNamespace(pid=os.getpid())))
    seconds, _ = ChildProcess.effort(process)
    assert seconds >= 0


# What is tried again


def test_a_photo_that_becomes_due_between_two_looks_is_not_missed(bench: Bench) -> None:
    """As one that comes in the rest after a look, and is embedded before the next."""

    def one_more(_waiting: Callable[[], None]) -> list[Face]:
        bench.add("new.jpg", 0)
        return []

    bench.add("old.jpg", 10)
    bench.add("older.jpg", 20)
    bench.answers["old.jpg"] = one_more
    bench.busy = True
    bench.looks.start()
    until(lambda: bench.asked)
    bench.busy = False
    until(lambda: not bench.due())
    assert bench.taken == {"old.jpg": 1, "older.jpg": 1, "new.jpg": 1}


def test_what_is_out_of_reach_is_left_alone_until_something_has_changed(bench: Bench) -> None:
    bench.add("away.jpg", 1)
    kept = Path(os.fsdecode(bench.path("away.jpg")))
    kept.rename(kept.parent.parent / "kept.jpg")
    bench.looks.start()
    until(lambda: bench.stats["away.jpg"])
    for number in range(3):
        bench.writer.call(lambda gallery, number=number: gallery.catalog.set_root(bench.root, Identity(1, number)))
        bench.busy, asked = True, bench.asked
        bench.add(f"{number}.jpg", number)
        until(lambda asked=asked: bench.asked > asked + 1)
        bench.busy = False
        until(lambda: bench.due() == {"away.jpg"})
    assert bench.stats["away.jpg"] == 1
    (kept.parent.parent / "kept.jpg").rename(kept)  # which changes its ctime
    bench.record("away.jpg", None)
    until(lambda: not bench.due())
    assert bench.stats["away.jpg"] == 2


def test_all_are_tried_again_when_a_directory_has_come_or_gone(bench: Bench) -> None:
    bench.add("away.jpg", 1)
    bench.answers["away.jpg"] = failing(DiskError("the disk is away"), times=1)
    bench.looks.start()
    until(lambda: bench.taken["away.jpg"] == 1)
    bench.out_of_reach = [b"/another"]
    until(lambda: not bench.due())
    assert bench.taken["away.jpg"] == 2
