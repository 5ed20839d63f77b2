"""The mount guard: real directories under a mount table that the tests change."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from facewatchd.ignore import Exclusion
from facewatchd.scan.missing_disk import Census
from facewatchd.scan.mount_guard import MountGuard
from facewatchd.scan.roots import Roots, identity_of
from facewatchd.store.catalog import Catalog
from facewatchd.system.mounts import Mount, Mounts, MountTable
from facewatchd.values import Identity, RootState, Stamp


class Table(Mounts):
    """A mount table that the tests change."""

    def __init__(self) -> None:
        super().__init__()
        self.table = MountTable((Mount(1, b"8:1", b"/", "ext4"),))

    def now(self) -> MountTable:
        return self.table

    def mount(self, point: bytes, fstype: str = "ext4") -> None:
        mounts, changes = self.table
        self.table = MountTable((*mounts, Mount(len(mounts) + 1, b"8:2", point, fstype)), changes + 1)


class Guarded:
    """A root on a disk of its own, whose photos were recorded, and the guard of it."""

    def __init__(self, tmp_path: Path) -> None:
        self.root = os.fsencode(tmp_path / "photos")
        (tmp_path / "photos").mkdir()
        self.catalog = Catalog(tmp_path / "catalog.sqlite3", "tiny-00000000", 24)
        self.table = Table()
        self.table.mount(self.root)
        self.roots = Roots([self.root], Exclusion(), self.catalog, self.table)
        self.guard = MountGuard(self.roots)
        self.device = os.stat(self.root).st_dev
        for name in (b"a.jpg", b"b.jpg"):
            Path(os.fsdecode(self.root + b"/" + name)).touch()

    def files(self) -> dict[bytes, Stamp]:
        with os.scandir(self.root) as entries:
            return {entry.path: Stamp.of(entry.stat()) for entry in entries}

    def judge(self, recorded: dict[bytes, Stamp]) -> RootState:
        """Walk the root, and note the walk where it may be believed."""
        snapshot, census = self.guard.snapshot(self.root), Census()
        files = self.files()
        census.count(files, recorded)
        gone = {path: stamp for path, stamp in recorded.items() if path not in files}
        state = self.guard.root_state(self.root, snapshot, census, gone, readable=True, recorded=len(recorded))
        self.roots.saw(self.root, state, snapshot.identity)
        if state is RootState.WATCHING:
            self.guard.note_good_walk(self.root, snapshot)
        return state

    def empty(self) -> dict[bytes, Stamp]:
        """Delete every file; return what they were."""
        files = self.files()
        for path in files:
            Path(os.fsdecode(path)).unlink()
        return files


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    made = Guarded(tmp_path)
    yield made
    made.roots.close()
    made.catalog.close()


def test_files_deleted_while_nothing_was_mounted_are_gone(guarded: Guarded) -> None:
    assert guarded.judge(guarded.files()) is RootState.WATCHING
    assert guarded.judge(guarded.empty()) is RootState.WATCHING


def test_an_empty_root_at_the_start_may_be_a_mount_point(guarded: Guarded) -> None:
    assert guarded.judge(guarded.empty()) is RootState.OFFLINE


def test_an_empty_root_after_a_change_of_mounts_there_is_offline(guarded: Guarded) -> None:
    guarded.judge(guarded.files())
    guarded.table.mount(guarded.root)
    assert guarded.judge(guarded.empty()) is RootState.OFFLINE


def test_of_a_file_system_that_hides_its_errors_an_empty_root_is_no_proof(guarded: Guarded) -> None:
    guarded.table.mount(guarded.root, "vfat")
    guarded.judge(guarded.files())
    assert guarded.judge(guarded.empty()) is RootState.OFFLINE


def test_a_photo_that_is_as_it_was_proves_the_disk_after_a_change_of_mounts(guarded: Guarded) -> None:
    recorded = guarded.files()
    guarded.judge(recorded)
    guarded.table.mount(guarded.root)
    Path(os.fsdecode(guarded.root + b"/a.jpg")).unlink()
    assert guarded.judge(recorded) is RootState.WATCHING


def test_a_disk_without_any_known_photo_after_a_change_of_mounts_is_another_one(guarded: Guarded) -> None:
    recorded = guarded.files()
    guarded.judge(recorded)
    guarded.table.mount(guarded.root)
    guarded.empty()
    Path(os.fsdecode(guarded.root + b"/other.jpg")).write_bytes(b"of another disk")
    assert guarded.judge(recorded) is RootState.OFFLINE


def test_the_photos_of_a_disk_that_was_replaced_are_recorded_apart(guarded: Guarded) -> None:
    recorded = guarded.files()
    guarded.judge(recorded)
    now = identity_of(guarded.root)
    assert now
    apart = guarded.guard.set_apart(guarded.root, now, Census(), recorded)
    assert apart == dict.fromkeys(recorded, -1)
    guarded.judge(recorded)
    assert guarded.guard.set_apart(guarded.root, Identity(9, 9), Census(), {}) == {}


def test_a_walk_sees_that_something_was_mounted_meanwhile(guarded: Guarded) -> None:
    snapshot = guarded.guard.snapshot(guarded.root)
    assert guarded.guard.is_unchanged(guarded.root, snapshot)
    guarded.table.mount(guarded.root + b"/inside")
    assert not guarded.guard.is_unchanged(guarded.root, snapshot)


def test_a_disk_mounted_inside_is_kept_apart_from_what_was_deleted(guarded: Guarded) -> None:
    """After a change of mounts, a photo recorded on a disk inside the root is not gone, one on the root's own is."""
    recorded = guarded.files()
    guarded.judge(recorded)
    inside = {guarded.root + b"/inside/c.jpg": Stamp(guarded.device + 1, 77, 5, 5, 5)}
    guarded.table.mount(guarded.root + b"/inside")
    now = identity_of(guarded.root)
    assert now
    census = Census()
    census.count({}, recorded)
    verdict = guarded.guard.verdict(guarded.root, now, census, recorded | inside, whole=True)
    assert sorted(verdict.gone) == sorted(recorded)
    assert list(verdict.kept) == list(inside)
