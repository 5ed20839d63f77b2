"""The scanner: real directories, a real catalog and queue; what is walked, queued, refused and tried again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from facewatchd.errors import StorageError
from facewatchd.ignore import Exclusion
from facewatchd.scan import schedule
from facewatchd.scan.roots import Roots
from facewatchd.scan.scanner import Scanner
from facewatchd.scan.work_queue import Depth, Item, WorkQueue
from facewatchd.store.catalog import Catalog, Outcome
from facewatchd.values import RootState, Stamp
from tests.support.processes import until

DEADLINE = 20.0


class Scanned:
    """A root with a scanner, and a catalog that is brought level by hand."""

    def __init__(self, tmp_path: Path) -> None:
        self.root = tmp_path / "photos"
        self.root.mkdir()
        self.catalog = Catalog(tmp_path / "catalog.sqlite3", "tiny-00000000", 24)
        self.queue = WorkQueue(0.0)
        self.roots = Roots([os.fsencode(self.root)], Exclusion(), self.catalog)
        self.listed: list[tuple[dict[int, bytes], bool]] = []
        self.scanner = self.new()

    def new(self) -> Scanner:
        """Another scanner, as after a start."""
        return Scanner(
            self.catalog,
            self.queue,
            self.roots,
            walked=lambda root, inodes, whole: self.listed.append((inodes, whole)),
            write=lambda job: self.write(job),
        )

    def write(self, job: Callable[[Catalog], object]) -> None:
        job(self.catalog)

    def path(self, name: str) -> bytes:
        return os.fsencode(self.root / name)

    def add(self, *names: str) -> None:
        """Files that are recorded as they are."""
        for name in names:
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_bytes(os.fsencode(name))
            self.catalog.record(
                [Outcome(self.path(name), Stamp.of((self.root / name).stat()), os.fsencode(name), 1, 1, [])]
            )

    def scan(self, name: str = "", *, force: bool = False) -> list[Item]:
        """Have a path scanned; return what was queued, in order of paths."""
        request = self.scanner.request(self.path(name).rstrip(b"/"), force=force)
        assert request.done.wait(DEADLINE)
        assert not request.failed
        return self.taken()

    def taken(self) -> list[Item]:
        items = self.queue.take(1000, 0.0)
        for item in items:
            self.queue.done(item.path)
        return sorted(items)

    def state(self) -> RootState | None:
        return self.roots.state(os.fsencode(self.root))


@pytest.fixture
def scanned(tmp_path: Path) -> Iterator[Scanned]:
    made = Scanned(tmp_path)
    made.scanner.start()
    yield made
    made.scanner.stop()
    made.roots.close()
    made.catalog.close()


def test_what_differs_from_the_catalog_is_queued_and_nothing_else(scanned: Scanned) -> None:
    scanned.add("same.jpg", "changed.jpg", "gone.jpg", "a/same.jpg")
    (scanned.root / "changed.jpg").write_bytes(b"other bytes")
    (scanned.root / "gone.jpg").unlink()
    (scanned.root / "a" / "new.jpg").write_bytes(b"new")
    assert [item.path for item in scanned.scan()] == [
        scanned.path(name) for name in ("a/new.jpg", "changed.jpg", "gone.jpg")
    ]
    inodes, whole = scanned.listed[-1]
    assert whole
    assert inodes == {(scanned.root / name).stat().st_ino: scanned.path(name).rstrip(b"/") for name in ("", "a")}
    assert scanned.state() is RootState.WATCHING


def test_a_forced_scan_queues_everything_to_be_embedded(scanned: Scanned) -> None:
    scanned.add("a.jpg", "b/c.jpg")
    assert scanned.scan("b", force=True) == [Item(scanned.path("b/c.jpg"), Depth.FACES)]
    assert scanned.scan("a.jpg", force=True) == [Item(scanned.path("a.jpg"), Depth.FACES)]


def test_requests_for_a_path_that_waits_are_one(tmp_path: Path) -> None:
    made = Scanned(tmp_path)  # its thread does not run yet
    first, second = made.scanner.request(b"/x"), made.scanner.request(b"/x", force=True, live=True)
    assert first is second
    assert (first.force, first.live) == (True, True)
    assert made.scanner.request(b"/y") is not first
    made.scanner.stop()
    made.roots.close()
    made.catalog.close()


def test_nothing_is_queued_of_a_root_that_vanished_and_it_comes_back(scanned: Scanned) -> None:
    scanned.add("a.jpg", "b.jpg")
    assert scanned.scan() == []
    scanned.root.rename(scanned.root.with_name("away"))
    assert scanned.scan() == []
    assert scanned.state() is RootState.OFFLINE
    scanned.root.with_name("away").rename(scanned.root)
    assert scanned.scan() == []
    assert scanned.state() is RootState.WATCHING


def test_what_is_deleted_while_this_process_watches_is_queued_though_nothing_is_left(scanned: Scanned) -> None:
    scanned.add("a.jpg", "b.jpg")
    scanned.scan()
    for name in ("a.jpg", "b.jpg"):
        (scanned.root / name).unlink()
    assert [item.path for item in scanned.scan()] == [scanned.path("a.jpg"), scanned.path("b.jpg")]
    assert scanned.state() is RootState.WATCHING


def test_a_root_that_is_found_empty_keeps_its_photos_until_the_user_says_so(scanned: Scanned) -> None:
    scanned.add("a.jpg")
    (scanned.root / "a.jpg").unlink()
    assert scanned.scan() == []
    assert scanned.state() is RootState.OFFLINE
    assert [item.path for item in scanned.scan(force=True)] == [scanned.path("a.jpg")]
    assert scanned.state() is RootState.WATCHING


def test_a_directory_that_went_is_a_part_of_the_root(scanned: Scanned) -> None:
    scanned.add("a/1.jpg", "a/b/2.jpg", "c.jpg")
    scanned.scan()
    shutil.rmtree(scanned.root / "a")
    scanned.scanner.request(scanned.path("a"), force=True).done.wait(DEADLINE)
    assert [item.path for item in scanned.taken()] == [scanned.path("a/1.jpg"), scanned.path("a/b/2.jpg")]
    assert not scanned.listed[-1][1]


def test_what_is_excluded_now_is_queued_to_be_forgotten(scanned: Scanned) -> None:
    scanned.add("a/1.jpg", "c.jpg")
    scanned.scan()
    (scanned.root / "a" / ".nomedia").touch()
    assert [item.path for item in scanned.scan("a")] == [scanned.path("a/1.jpg")]


def test_a_scan_that_fails_is_tried_again(scanned: Scanned, monkeypatch: pytest.MonkeyPatch) -> None:
    scanned.scanner.stop()
    monkeypatch.setattr(schedule, "RETRY", 0.05)
    scanned.scanner = scanned.new()
    (scanned.root / "a.jpg").write_bytes(b"a")
    write, failures = scanned.write, [StorageError("the disk is full", "free some")]

    def fails_once(job: Callable[[Catalog], object]) -> None:
        if failures:
            raise failures.pop()
        write(job)

    monkeypatch.setattr(scanned, "write", fails_once)
    scanned.scanner.start()
    request = scanned.scanner.request(os.fsencode(scanned.root))
    assert request.done.wait(DEADLINE)
    assert request.failed
    until(lambda: scanned.scanner.idle)
    assert scanned.state() is RootState.WATCHING


def test_requests_that_wait_at_the_end_have_failed(scanned: Scanned) -> None:
    scanned.scanner.stop()
    late = scanned.scanner.request(os.fsencode(scanned.root))
    assert late.done.is_set()
    assert late.failed
