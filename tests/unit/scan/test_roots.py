"""The watched directories, asked while they change."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from facewatchd.ignore import Exclusion
from facewatchd.scan import roots
from facewatchd.scan.missing_disk import Surroundings
from facewatchd.scan.roots import Roots
from facewatchd.store.catalog import Catalog
from facewatchd.system.mounts import Mounts, device_of
from facewatchd.values import Identity, RootState, Stamp


def test_the_disk_around_a_photo_is_known_while_all_directories_above_it_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each directory is removed just when it was found to be the nearest that is there."""
    root = tmp_path / "photos"
    (root / "a" / "b" / "c").mkdir(parents=True)
    looked_at = []

    def vanishing(directory: bytes, below: bytes, mounts: Mounts) -> int:
        looked_at.append(directory)
        if directory != below:
            shutil.rmtree(directory)
        return device_of(directory, below, mounts)

    monkeypatch.setattr(roots, "device_of", vanishing)
    catalog = Catalog(tmp_path / "catalog.sqlite3", "tiny-00000000", 24)
    watched = roots.Roots([os.fsencode(root)], Exclusion(), catalog)
    try:
        assert watched.device_around(os.fsencode(root / "a" / "b" / "c" / "photo.jpg")) == root.stat().st_dev
    finally:
        watched.close()
        catalog.close()
    assert looked_at == [os.fsencode(root / place) for place in ("a/b/c", "a/b", "a", "")]


# What is known of each root


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Roots]:
    """Two roots, "one" and "two", of which only the first exists."""
    catalog = Catalog(tmp_path / "catalog.sqlite3", "tiny-00000000", 24)
    (tmp_path / "one").mkdir()
    made = Roots([os.fsencode(tmp_path / name) for name in ("one", "two")], Exclusion(["raw/"]), catalog)
    yield made
    made.close()
    catalog.close()


def test_which_root_a_path_lies_in(watched: Roots) -> None:
    one, two = watched.paths
    assert watched.of(one) == one
    assert watched.of(two + b"/a/b.jpg") == two
    assert watched.of(one + b"s/a.jpg") is None
    assert watched.excluded(one + b"/a.jpg") == ""
    assert "raw/" in watched.excluded(one + b"/raw/a.jpg")
    assert watched.excluded(b"/elsewhere/a.jpg") == "in no watched directory"


def test_only_a_good_walk_says_which_directory_a_root_is(watched: Roots) -> None:
    one, two = watched.paths
    assert (watched.state(one), watched.identity(one)) == (None, None)
    watched.saw(one, RootState.WATCHING, Identity(1, 2))
    watched.saw(one, RootState.OFFLINE, Identity(3, 4))
    assert (watched.state(one), watched.identity(one)) == (RootState.OFFLINE, Identity(1, 2))
    watched.become([two], Exclusion())
    watched.saw(one, RootState.WATCHING, Identity(1, 2))
    assert watched.state(one) is None, "it was walked when it stopped being a root"


def test_what_is_out_of_reach_is_told_until_a_walk_sees_it(watched: Roots) -> None:
    one, _ = watched.paths
    closed, away = one + b"/closed", one + b"/disk"
    assert watched.saw_unreachable(one, {closed: errno.EACCES}, {away: 3})
    assert not watched.saw_unreachable(one, {closed: errno.EACCES}, {away: 3}), "no news"
    assert watched.out_of_reach() == [closed, away]
    assert watched.has_unreachable(one)
    unreadable, on_a_disk = watched.unreachable(one)
    assert "/closed cannot be read (Permission denied): its photos are kept; check its permissions" in unreadable
    assert "3 files under" in on_a_disk
    assert not watched.saw_unreachable(away, {}, {})
    assert watched.out_of_reach() == [closed], "a walk of a part is news of that part alone"
    assert watched.forget_unreadable() == {}, "it is not there any more"
    assert not watched.has_unreachable(one)


def test_a_directory_that_was_seen_to_be_gone_is_not_out_of_reach(watched: Roots) -> None:
    one, _ = watched.paths
    watched.saw_unreachable(one, {one + b"/a/closed": errno.EACCES}, {})
    watched.has_gone(one + b"/b")
    assert watched.out_of_reach() == [one + b"/a/closed"]
    watched.has_gone(one + b"/a")
    assert watched.out_of_reach() == []


def test_what_may_be_forgotten(watched: Roots) -> None:
    one, two = watched.paths
    status = os.stat(one)
    here = Stamp(status.st_dev, 9, 9, 9, 9)
    path = one + b"/a/b.jpg"
    assert watched.around(b"/elsewhere/a.jpg") is None
    assert watched.may_forget(b"/elsewhere/a.jpg", here), "no root keeps it"
    assert not watched.may_forget(path, here), "no walk has seen yet which directory the root is"
    watched.saw(one, RootState.WATCHING, Identity.of(status))
    assert watched.around(path) == Surroundings(one, RootState.WATCHING, True, status.st_dev)
    assert watched.may_forget(path, here)
    assert not watched.may_forget(path, here._replace(device=status.st_dev + 1)), "it was on another disk"
    watched.saw(one, RootState.OFFLINE, None)
    assert not watched.may_forget(path, here)
    watched.saw(one, RootState.WATCHING, Identity(1, 1))
    assert watched.around(path) == Surroundings(one, RootState.WATCHING, False, 0)
    assert not watched.may_forget(path, here), "the root is another directory"
    assert not watched.may_forget(two + b"/b.jpg", here), "the root is not there"
