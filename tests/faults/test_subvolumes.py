"""Subvolumes of btrfs: directories that have device numbers of their own without being mounted.

They are renamed, deleted and cloned like directories, and what was in them is then gone, renamed or copied; only one
that is mounted at a place of its own can be unmounted, and is kept then.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.albums import album, shoot
from tests.support.mounting import btrfs, run, subvolume
from tests.support.places import NO_SECOND_LOOK, TICK, Place, unmount_when_idle
from tests.support.processes import until


def photos_in(root: Path) -> set[Path]:
    return {path for path in root.rglob("*.jpg") if ".kept" not in path.parts}


@pytest.fixture
def place(tmp_path: Path, tiny_root: Path) -> Iterator[Place]:
    """A daemon on a root on a btrfs, with photos in the root and in a subvolume of it."""
    with btrfs(tmp_path, tmp_path / "photos"), Place(tmp_path, tiny_root, NO_SECOND_LOOK, TICK) as place:
        album(place.root, 2, people=1, first_seed=5000)
        subvolume("create", place.root / "trip")
        album(place.root / "trip" / "day 1", 3, people=1)
        yield place


def rename(place: Place) -> None:
    (place.root / "trip").rename(place.root / "journey")


def delete(place: Place) -> None:
    subvolume("delete", place.root / "trip")


def replace(place: Place) -> None:
    """Another subvolume in its place: it has the inode number of the first, as all subvolumes have."""
    (place.root / "trip").rename(place.root / "journey")
    subvolume("create", place.root / "trip")
    album(place.root / "trip" / "day 1", 1, people=1, first_seed=300)


def clone(place: Place) -> None:
    """A snapshot, and the loss of the original."""
    subvolume("snapshot", place.root / "trip", place.root / "copy")
    subvolume("delete", place.root / "trip")


def nest(place: Place) -> None:
    """One in another, each with photos, and the outer one renamed."""
    subvolume("create", place.root / "trip" / "inner")
    album(place.root / "trip" / "inner", 2, people=1, first_seed=700)
    until(lambda: place.root / "trip" / "inner" / "0001.jpg" in place.found())
    (place.root / "trip").rename(place.root / "journey")


def restore(place: Place) -> None:
    """A snapshot taken before photos were deleted comes back in the original's place."""
    subvolume("snapshot", "-r", place.root / "trip", place.root / ".kept")
    shutil.rmtree(place.root / "trip" / "day 1")
    until(lambda: len(place.found()) == 2)
    subvolume("delete", place.root / "trip")
    subvolume("snapshot", place.root / ".kept", place.root / "trip")


CHANGES = [rename, delete, replace, clone, nest, restore]


@pytest.mark.parametrize("change", CHANGES)
def test_what_happens_to_a_subvolume_is_followed(place: Place, change: Callable[[Place], None]) -> None:
    place.start()
    assert place.found() == photos_in(place.root)
    change(place)
    until(lambda: place.found() == photos_in(place.root))
    place.expect_well()
    verified = place.daemon.call("verify")
    assert (verified["problems"], verified["skipped"]) == ([], [])
    old = place.root / "trip" / "day 1" / "0002.jpg"
    assert place.daemon.call("why", path=str(old))["state"] == ("indexed" if old.exists() else "unknown")
    assert place.daemon.control("scan").returncode == 0
    place.expect_whole()


@pytest.mark.parametrize("change", [rename, delete, replace, clone])
def test_what_happened_to_a_subvolume_while_nothing_ran_is_noticed(
    place: Place, change: Callable[[Place], None]
) -> None:
    place.start()
    assert place.daemon.stop() == 0
    change(place)
    assert run("umount", place.root).returncode == 0  # the subvolumes get other device numbers
    assert run("mount", "-o", "loop", place.root.parent / "btrfs", place.root).returncode == 0
    place.start()
    assert place.found() == photos_in(place.root)
    place.expect_whole()


def test_a_root_that_is_a_subvolume_is_like_any_other(tmp_path: Path, tiny_root: Path) -> None:
    with btrfs(tmp_path, tmp_path / "disk"):
        subvolume("create", tmp_path / "disk" / "photos")
        (tmp_path / "photos").symlink_to(tmp_path / "disk" / "photos")
        with Place(tmp_path, tiny_root, NO_SECOND_LOOK, TICK) as place:
            album(place.root, 3, people=1)
            subvolume("create", place.root / "trip")
            album(place.root / "trip", 3, people=1, first_seed=100)
            place.start()
            assert place.found() == photos_in(place.root)
            delete(place)
            (place.root / "0000.jpg").rename(place.root / "renamed.jpg")
            until(lambda: place.found() == photos_in(place.root))
            place.expect_whole()


def test_a_subvolume_that_is_mounted_is_kept_while_it_is_not(place: Place, tmp_path: Path) -> None:
    """The same file system, mounted once more inside the root: only the mount table knows."""
    subvolume("create", place.root / "aside")
    album(place.root / "aside", 4, people=1, first_seed=900)
    inside = place.root / "inside"
    inside.mkdir()
    device = run("findmnt", "-n", "-o", "SOURCE", place.root).stdout.decode().strip().partition("[")[0]
    mount = ["mount", "-o", "subvol=aside", device, str(inside)]
    assert run(*mount).returncode == 0
    place.start()
    before = photos_in(place.root)
    assert place.found() == before
    unmount_when_idle(place.daemon, lambda: run("umount", inside).returncode == 0)
    place.expect_out_of_reach(f"the disk of 4 files under {inside} is not mounted")
    assert place.found() == before
    (place.root / "trip" / "day 1" / "0000.jpg").unlink()
    until(lambda: place.root / "trip" / "day 1" / "0000.jpg" not in place.found())
    assert "its disk is not there" in place.daemon.call("why", path=str(inside / "0000.jpg"))["reason"]
    assert place.daemon.call("verify")["skipped"] == [str(inside)]
    assert run(*mount).returncode == 0
    new = shoot(inside / "new.jpg", [1], 950)
    until(lambda: new in place.found())
    until(lambda: place.found() == photos_in(place.root))
    place.expect_whole()
