"""What people do with files: rename, copy, touch, move, delete. The answers follow; nothing is embedded twice."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.albums import shoot
from tests.support.processes import DEADLINE, Daemon, until

Start = Callable[..., Daemon]

SETTLE = 0.2
FOLLOWS = 2.0 + SETTLE
"""Seconds in which a result list follows: two after settling, and the settle time of the tests."""


class Library:
    """A daemon on one directory with three photos of person 1 and one of person 2."""

    def __init__(self, start: Start, directory: Path, tiny_root: Path) -> None:
        self.root = directory / "photos"
        self.photos = [shoot(self.root / "a" / f"{n}.jpg", [1], n) for n in range(3)]
        shoot(self.root / "a" / "other.jpg", [2], 9)
        self.query = shoot(directory / "query.png", [1], 99)
        self.daemon = start(self.root, model="tiny", model_root=tiny_root)
        self.daemon.settle()
        assert self.found() == set(self.photos)
        self.embedded = self.daemon.embedded()

    def found(self) -> set[Path]:
        return self.daemon.paths(self.query)

    def expect(self, *paths: Path, deadline: float = FOLLOWS, embedded: int = 0) -> None:
        """The answer becomes these paths in time, and so many contents went through the model."""
        until(lambda: self.found() == set(paths), deadline=deadline)
        assert self.daemon.embedded() == self.embedded + embedded


@pytest.fixture
def library(start: Start, tmp_path: Path, tiny_root: Path) -> Library:
    return Library(start, tmp_path, tiny_root)


def test_rename(library: Library) -> None:
    first, *rest = library.photos
    library.expect(first.rename(library.root / "renamed.jpg"), *rest)


def test_rename_over_another_photo(library: Library) -> None:
    first, second, third = library.photos
    first.rename(second)
    library.expect(second, third)


def test_copy_hard_link_and_symbolic_link(library: Library) -> None:
    first = library.photos[0]
    copy = Path(shutil.copy(first, library.root / "copy.jpg"))
    hard = library.root / "hard.jpg"
    hard.hardlink_to(first)
    linked = library.root / "linked.jpg"
    linked.symlink_to(first)
    library.expect(*library.photos, copy, hard, linked)


def test_touch(library: Library) -> None:
    os.utime(library.photos[0], (1, 1))
    library.daemon.settle()
    library.expect(*library.photos)


def test_directory_renamed_moved_deeper_out_and_back(library: Library, tmp_path: Path) -> None:
    names = [photo.name for photo in library.photos]
    place = (library.root / "a").rename(library.root / "b")
    library.expect(*(place / name for name in names))
    (library.root / "x" / "y").mkdir(parents=True)
    place = place.rename(library.root / "x" / "y" / "z")
    library.expect(*(place / name for name in names))
    outside = place.rename(tmp_path / "outside")
    library.expect()
    extra = shoot(outside / "extra.jpg", [1], 55)
    place = outside.rename(library.root / "again")
    library.expect(*(place / name for name in [*names, extra.name]), embedded=1)


def test_delete_and_restore(library: Library, tmp_path: Path) -> None:
    kept = tmp_path / "trash.jpg"
    shutil.copy(library.photos[0], kept)
    library.photos[0].unlink()
    library.expect(*library.photos[1:])
    shutil.copy(kept, library.photos[0])
    library.expect(*library.photos)


def test_delete_a_directory(library: Library) -> None:
    keep = shoot(library.root / "keep.jpg", [1], 77)
    library.expect(*library.photos, keep, embedded=1)
    shutil.rmtree(library.root / "a")
    library.expect(keep, embedded=1)


def test_delete_them_all_one_after_another(library: Library) -> None:
    for photo in (library.root / "a").iterdir():
        photo.unlink()
    library.expect()
    assert library.daemon.status()["roots"][0]["state"] == "watching"


def test_a_root_that_was_emptied_is_believed_whenever_it_is_walked(library: Library) -> None:
    """The walk comes before any photo is looked at: so it may be where many are deleted."""
    daemon = library.daemon
    daemon.call("pause")
    shutil.rmtree(library.root / "a")
    assert daemon.call("wait", timeout=0.5)["complete"] is False
    daemon.call("resume")
    library.expect(deadline=DEADLINE)
    assert daemon.call("wait", timeout=DEADLINE)["complete"] is True
    assert daemon.status()["roots"][0]["state"] == "watching"
    new = shoot(library.root / "new.jpg", [1], 66)
    library.expect(new, deadline=DEADLINE, embedded=1)
    assert daemon.status()["problems"] == []


def test_replace_by_another_picture(library: Library, tmp_path: Path) -> None:
    first, *rest = library.photos
    shoot(tmp_path / "new.jpg", [2], 88).rename(first)
    library.expect(*rest, embedded=1)


def test_hidden_and_shown_again(library: Library) -> None:
    first, *rest = library.photos
    hidden = first.rename(first.with_name(".hidden.jpg"))
    library.expect(*rest)
    hidden.rename(first)
    library.expect(*library.photos)
    (library.root / "a" / ".nomedia").touch()
    library.expect()
    (library.root / "a" / ".nomedia").unlink()
    library.expect(*library.photos)


def test_everything_moved_while_the_daemon_was_away(library: Library) -> None:
    daemon = library.daemon
    names = [photo.name for photo in library.photos]
    assert daemon.stop() == 0
    (library.root / "a").rename(library.root / "b")
    shutil.copy(library.root / "b" / names[0], library.root / "copy.jpg")
    (library.root / "b" / names[2]).unlink()
    daemon.start()
    daemon.settle()
    library.embedded = 0
    library.expect(*(library.root / "b" / name for name in names[:2]), library.root / "copy.jpg")


def test_a_root_that_vanished_or_is_empty_is_offline_and_nothing_is_forgotten(library: Library, tmp_path: Path) -> None:
    daemon, root = library.daemon, library.root

    def state() -> str:
        return str(daemon.status()["roots"][0]["state"])

    away = root.rename(tmp_path / "away")
    until(lambda: state() == "offline")
    answer = daemon.call("query", photos=[{"path": str(library.query)}], collapse=False)
    assert len(answer["matches"]) == 3
    assert answer["complete"] is False
    root.mkdir()
    assert daemon.call("wait", timeout=20)["complete"] is False
    assert state() == "offline"
    assert library.found() == set(library.photos)
    root.rmdir()
    away.rename(root)
    until(lambda: state() == "watching")
    daemon.settle()
    library.expect(*library.photos)
    new = shoot(root / "new.jpg", [1], 66)
    library.expect(*library.photos, new, embedded=1)


def test_another_disk_at_the_same_place_forgets_nothing(library: Library, tmp_path: Path) -> None:
    daemon, root = library.daemon, library.root
    away = root.rename(tmp_path / "away")
    new = shoot(root / "another.jpg", [1], 71)
    until(lambda: library.found() == {*library.photos, new})
    assert daemon.status()["roots"][0]["state"] == "offline"
    assert any("another directory" in problem for problem in daemon.status()["problems"])
    new.unlink()
    root.rmdir()
    away.rename(root)
    library.expect(*library.photos, deadline=10, embedded=1)
    assert daemon.status()["problems"] == []


def test_a_root_that_is_empty_at_the_start_is_offline(library: Library, tmp_path: Path) -> None:
    library.daemon.stop()
    library.root.rename(tmp_path / "away")
    library.root.mkdir()
    library.daemon.start()
    until(lambda: library.daemon.status()["roots"][0]["state"] == "offline")
    assert library.found() == set(library.photos)
    assert library.daemon.control("scan", "--force").returncode == 0
    until(lambda: library.found() == set(), deadline=10)


def test_a_slow_writer_is_read_once_it_is_done(library: Library, tmp_path: Path) -> None:
    """A part every tenth of a second, for three times as long as a file must rest."""
    data = shoot(tmp_path / "slow.jpg", [1], 44).read_bytes()
    target = library.root / "slow.jpg"
    read = library.daemon.status()["rates"]["read"]
    pace = threading.Event()
    size = len(data) // 8 + 1
    with target.open("wb", buffering=0) as file:
        for start in range(0, len(data), size):
            file.write(data[start : start + size])
            pace.wait(SETTLE * 0.4)
    library.expect(*library.photos, target, embedded=1)
    assert library.daemon.status()["failed"] == 0
    assert library.daemon.status()["rates"]["read"] == read + 1


def test_scan_force_embeds_again_and_finds_the_same(library: Library) -> None:
    assert library.daemon.control("scan", "--force", library.photos[0]).returncode == 0
    until(lambda: library.daemon.embedded() == library.embedded + 1)
    library.daemon.settle()
    library.expect(*library.photos, embedded=1)
    assert library.daemon.call("verify")["problems"] == []


def other_file_system(root: Path) -> Path:
    """A directory on another file system than the root's; skip where there is none."""
    shared_memory = Path("/dev/shm")
    if not os.access(shared_memory, os.W_OK) or shared_memory.stat().st_dev == root.stat().st_dev:
        pytest.skip("there is no second file system to write to")
    return shared_memory


def test_a_link_to_another_disk_can_be_removed(library: Library) -> None:
    target = shoot(other_file_system(library.root) / f"facewatchd-test-{os.getpid()}.jpg", [1], 33)
    try:
        link = library.root / "link.jpg"
        link.symlink_to(target)
        library.expect(*library.photos, link, embedded=1)
        link.unlink()
        library.expect(*library.photos, embedded=1)
        assert library.daemon.settle()["state"] == "idle"
    finally:
        target.unlink()


def test_a_disk_with_another_number_after_a_boot(library: Library) -> None:
    daemon = library.daemon
    assert daemon.stop() == 0
    (catalog,) = daemon.data.glob("*/catalog.sqlite3")
    with contextlib.closing(sqlite3.connect(catalog)) as db:
        db.execute("UPDATE photo SET device = 987654")
        db.execute("UPDATE root SET device = 987654")
        db.commit()
    library.photos[0].unlink()
    daemon.start()
    library.embedded = 0
    library.expect(*library.photos[1:], deadline=10)
    assert daemon.settle()["state"] == "idle"
    assert daemon.call("verify")["problems"] == []


def test_a_file_in_the_place_of_a_directory(library: Library, tmp_path: Path) -> None:
    library.daemon.call("pause")
    (library.root / "a").rename(tmp_path / "away")
    new = shoot(tmp_path / "new.jpg", [1], 22).rename(library.root / "a")
    library.daemon.call("resume")
    library.expect(new, embedded=1)
