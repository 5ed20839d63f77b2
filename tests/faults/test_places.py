"""Places that come and go: directories without rights, roots and disks that vanish, are swapped, or cannot be watched.

Nothing is forgotten of what is out of reach, `status` says what that is, no answer claims to be complete meanwhile, and
all is as it should be once it is back.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.albums import album, shoot
from tests.support.mounting import Disk, disks, run
from tests.support.places import NO_SECOND_LOOK, QUICK, Place, unmount_when_idle
from tests.support.processes import Daemon, until

Start = Callable[..., Daemon]
Amount = Callable[[int, int], int]


@pytest.fixture
def place(tmp_path: Path, tiny_root: Path) -> Iterator[Place]:
    with Place(tmp_path, tiny_root, NO_SECOND_LOOK) as place:
        yield place


# Rights


def test_an_unreadable_directory_is_kept_and_comes_back(place: Place) -> None:
    who = album(place.root / "shut", 6, people=2) | album(place.root / "open", 4, people=2, first_seed=100)
    shut = place.root / "shut"
    place.start()
    before = place.found()
    assert before == {path for path, person in who.items() if person == 1}
    shut.chmod(0)
    place.expect_out_of_reach(f"{shut} cannot be read (Permission denied)", "check its permissions")
    assert place.found() == before
    assert place.state() == "watching"
    assert "out of reach" in place.daemon.call("why", path=str(shut / "0000.jpg"))["reason"]
    later = shoot(place.root / "open" / "later.jpg", [1], 200)
    until(lambda: later in place.found())
    shut.chmod(0o755)
    place.expect_well()
    new = shoot(shut / "new.jpg", [1], 201)
    until(lambda: new in place.found())
    place.expect_whole()


def test_directories_that_were_never_readable(place: Place) -> None:
    """No watch could be set on them: only the directory above tells that they can be read."""
    for name in ("a", "b"):
        album(place.root / name / "deep", 3, people=1, first_seed=ord(name))
        (place.root / name).chmod(0)
    place.start()
    place.expect_out_of_reach(f"2 directories under {place.root} cannot be read, among them {place.root / 'a'}")
    assert place.daemon.status()["photos"] == 0
    (place.root / "a").chmod(0o755)
    until(lambda: len(place.found()) == 3)
    place.expect_out_of_reach(f"{place.root / 'b'} cannot be read")
    (place.root / "b").chmod(0o755)
    until(lambda: len(place.found()) == 6)
    place.expect_well()
    new = shoot(place.root / "a" / "deep" / "new.jpg", [1], 200)
    until(lambda: new in place.found())
    place.expect_whole()


def test_an_unreadable_directory_that_is_removed_is_no_problem(place: Place) -> None:
    shut = place.root / "shut"
    shut.mkdir()
    shut.chmod(0)
    place.start()
    place.expect_out_of_reach(f"{shut} cannot be read")
    shut.rmdir()
    place.expect_whole()


@pytest.mark.parametrize("way", [pytest.param("scan", marks=pytest.mark.full), "wait", "by itself"])
def test_a_directory_on_a_disk_that_fails_is_looked_at_again(tmp_path: Path, tiny_root: Path, way: str) -> None:
    """No event tells that it can be read again."""
    broken = tmp_path / "broken"
    pause = 0.3 if way == "by itself" else 3600.0
    with Place(tmp_path, tiny_root, FAILING.format(flag=broken, pause=pause)) as place:
        album(place.root / "fails", 4, people=1)
        place.start()
        broken.touch()
        assert place.daemon.call("wait", timeout=30)["complete"] is False
        place.expect_out_of_reach(f"{place.root / 'fails'} cannot be read (Input/output error)", "check its disk")
        assert len(place.found()) == 4
        shoot(place.root / "fails" / "unseen.jpg", [1], 100)
        (place.root / "fails" / "0000.jpg").unlink()
        broken.unlink()
        if way == "scan":
            assert place.daemon.control("scan").returncode == 0
        if way == "wait":
            assert place.daemon.call("wait", timeout=30)["complete"] is True
        place.expect_whole()


FAILING = """
import sys
if "run" in sys.argv:
    import errno, os
    from facewatchd.scan import schedule
    schedule.LOOK_AGAIN = {pause}
    def failing(path, scandir=os.scandir):
        if isinstance(path, bytes) and path.endswith(b"/fails") and os.path.exists("{flag}"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return scandir(path)
    os.scandir = failing
"""


def test_a_path_that_is_too_long_is_told(place: Place) -> None:
    album(place.root, 2, people=1)
    top = place.root / "deep"
    here = os.open(place.root, os.O_RDONLY)
    for name in ["deep", *["x" * 250] * 17]:
        os.mkdir(name, dir_fd=here)
        here, above = os.open(name, os.O_RDONLY, dir_fd=here), here
        os.close(above)
    os.close(here)
    place.start()
    place.expect_out_of_reach("cannot be read (File name too long)", "shorten the names above it")
    shutil.rmtree(top)
    place.expect_whole()


@pytest.mark.parametrize("when", ["while it runs", pytest.param("at the start", marks=pytest.mark.full)])
def test_an_unreadable_root_is_kept_and_comes_back(place: Place, when: str) -> None:
    who = album(place.root, 6, people=2)
    before = {path for path, person in who.items() if person == 1}
    place.start()
    if when == "at the start":
        assert place.daemon.stop() == 0
    place.root.chmod(0)
    if when == "at the start":
        place.daemon.start()
    place.expect_out_of_reach(f"{place.root} cannot be read", "check its permissions")
    assert place.state() == "unreadable"
    assert place.found() == before
    new = shoot(place.root / "new.jpg", [1], 200)
    (place.root / "0000.jpg").unlink()
    place.root.chmod(0o755)
    until(lambda: place.found() == before - {place.root / "0000.jpg"} | {new})
    place.expect_whole()


# Roots


def test_a_root_removed_and_created_again(place: Place, tmp_path: Path) -> None:
    """Its photos are deleted one by one: some are seen to be, the others are kept with the root."""
    before = set(album(place.root / "sub", 12, people=1))
    place.start()
    copies = shutil.copytree(place.root, tmp_path / "copies")
    shutil.rmtree(place.root)
    place.expect_out_of_reach(f"{place.root} is not there")
    assert place.state() == "offline"
    assert place.found() <= before
    shutil.copytree(copies, place.root)
    until(lambda: place.found() == before)
    place.expect_whole()


def test_a_root_replaced_at_a_stroke(place: Place) -> None:
    before = set(album(place.root / "sub", 5, people=1))
    place.start()
    held = os.open(place.root, os.O_RDONLY)  # or the next directory may get its inode, and be taken for it
    with stopped(place.daemon):
        shutil.rmtree(place.root)
    place.expect_out_of_reach(f"{place.root} is not there")
    assert (place.state(), place.found()) == ("offline", before)
    place.root.mkdir()
    place.expect_out_of_reach(f"{place.root} is empty, or another directory than before: its 5 photos are kept")
    new = set(album(place.root / "sub" / "other", 3, people=1, first_seed=100))
    until(lambda: place.found() == before | new)
    place.expect_out_of_reach("its 8 photos are kept")
    assert place.daemon.control("scan", "--force", place.root).returncode == 0
    until(lambda: place.found() == new)
    os.close(held)
    place.expect_whole(again=3)


@contextmanager
def stopped(daemon: Daemon) -> Iterator[None]:
    """The daemon sees nothing of what happens meanwhile but its end."""
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        daemon.process.send_signal(signal.SIGCONT)


# Disks


@contextmanager
def mounted(tmp_path: Path, place: Path, count: int = 1, *, sub: str = "", devices: int = 1) -> Iterator[list[Disk]]:
    """Disks with an album each on them (in ``sub``), the first mounted at the place. Half of the names are the same."""
    with disks(tmp_path, place, count, devices=devices) as made:
        for number, disk in reversed(list(enumerate(made))):
            disk.mount()
            album(place / sub / "same", 4, people=1, first_seed=1000 * number)
            album(place / sub / f"only {number}", 4, people=1, first_seed=1000 * number + 100)
            if number:
                assert disk.unmount()
        yield made


def photos_in(directory: Path) -> set[Path]:
    return set(directory.rglob("*.jpg"))


@pytest.mark.parametrize("again", ["while it runs", pytest.param("while it is away", marks=pytest.mark.full)])
def test_a_root_unmounted_and_mounted_again(place: Place, tmp_path: Path, again: str) -> None:
    with mounted(tmp_path, place.root) as (disk,):
        place.start()
        before = photos_in(place.root)
        assert place.found() == before
        assert photos_in(place.root) == place.daemon.paths(min(before))  # read from the disk, and let go of
        unmount_when_idle(place.daemon, disk.unmount)
        place.expect_out_of_reach(f"{place.root} is empty, or another directory", "its 8 photos are kept")
        assert (place.state(), place.found()) == ("offline", before)
        if again == "while it is away":
            assert place.daemon.stop() == 0
        disk.mount()
        (place.root / "same" / "0000.jpg").rename(place.root / "renamed.jpg")
        (place.root / "same" / "0001.jpg").unlink()
        if again == "while it is away":
            place.daemon.start()
        until(lambda: place.found() == photos_in(place.root))
        place.expect_well()
        new = shoot(place.root / "new.jpg", [1], 200)
        until(lambda: new in place.found())
        place.expect_whole()


def swaps(quick: tuple[str, int]) -> pytest.MarkDecorator:
    """When a disk is swapped, and on how many devices.

    One device: the second disk has the device number, the inode and perhaps the mount id of the first.
    """
    all_of_them = [("while it runs", 1), ("while it runs", 2), ("while it is away", 1), ("while it is away", 2)]
    full = [pytest.param(*swap, marks=pytest.mark.full) for swap in all_of_them if swap != quick]
    return pytest.mark.parametrize(("swap", "devices"), [quick, *full])


@swaps(quick=("while it runs", 1))
def test_another_disk_at_a_roots_mount_point(place: Place, tmp_path: Path, swap: str, devices: int) -> None:
    with mounted(tmp_path, place.root, 2, devices=devices) as (first, second):
        place.start()
        before, number = photos_in(place.root), place.root.stat()
        if swap == "while it is away":
            assert place.daemon.stop() == 0
        until(first.unmount, deadline=20)
        second.mount()
        assert place.root.stat().st_ino == number.st_ino
        assert (place.root.stat().st_dev == number.st_dev) == (devices == 1)
        if swap == "while it is away":
            place.daemon.start()
        seconds = photos_in(place.root)
        place.expect_out_of_reach(f"{place.root} is empty, or another directory than before")
        until(lambda: place.found() == before | seconds)
        assert place.state() == "offline"
        until(second.unmount, deadline=20)
        first.mount()
        until(lambda: place.found() == before)
        place.expect_whole()


def test_another_disk_at_a_roots_mount_point_may_be_accepted(place: Place, tmp_path: Path) -> None:
    with mounted(tmp_path, place.root, 2) as (first, second):
        place.start()
        until(first.unmount, deadline=20)
        second.mount()
        place.expect_out_of_reach(f"{place.root} is empty, or another directory than before")
        assert place.daemon.control("scan", "--force").returncode == 0
        until(lambda: place.found() == photos_in(place.root))
        place.expect_whole(again=8)


@pytest.mark.parametrize("again", ["while it runs", pytest.param("while it is away", marks=pytest.mark.full)])
def test_a_disk_inside_a_root_unmounted_and_mounted_again(place: Place, tmp_path: Path, again: str) -> None:
    inside = place.root / "inside"
    album(place.root, 3, people=1, first_seed=5000)
    with mounted(tmp_path, inside) as (disk,):
        place.start()
        before = photos_in(place.root)
        assert place.found() == before
        unmount_when_idle(place.daemon, disk.unmount)
        place.expect_out_of_reach(f"the disk of 8 files under {inside} is not mounted", "scan --force")
        assert (place.state(), place.found()) == ("watching", before)
        assert "its disk is not there" in place.daemon.call("why", path=str(inside / "same" / "0000.jpg"))["reason"]
        assert place.daemon.call("verify")["problems"] == []
        (place.root / "0000.jpg").unlink()  # on the root's own disk: forgotten as ever
        until(lambda: place.found() == before - {place.root / "0000.jpg"})
        if again == "while it is away":
            assert place.daemon.stop() == 0
        disk.mount()
        (inside / "same" / "0000.jpg").unlink()
        if again == "while it is away":
            place.daemon.start()
        until(lambda: place.found() == photos_in(place.root))
        place.expect_well()
        (inside / "same" / "0001.jpg").unlink()
        new = shoot(inside / "new.jpg", [1], 200)
        until(lambda: place.found() == photos_in(place.root) and new in place.found())
        place.expect_whole()


@swaps(quick=("while it is away", 1))
def test_another_disk_inside_a_root(place: Place, tmp_path: Path, swap: str, devices: int) -> None:
    """Both are remembered, until the user says that one is not to come back."""
    inside = place.root / "inside"
    album(place.root, 3, people=1, first_seed=5000)
    with mounted(tmp_path, inside, 2, devices=devices) as (first, second):
        place.start()
        before = photos_in(place.root)
        if swap == "while it is away":
            assert place.daemon.stop() == 0
        until(first.unmount, deadline=20)
        if swap == "while it runs":
            until(lambda: f"the disk of 8 files under {inside} is not mounted" in place.problems())
        second.mount()
        if swap == "while it is away":
            place.daemon.start()
        place.expect_out_of_reach(f"the disk of 4 files under {inside / 'only 0'} is not mounted")
        both = before | photos_in(place.root)
        until(lambda: place.found() == both)
        until(second.unmount, deadline=20)
        until(lambda: "12 files under" in place.problems())
        first.mount()
        place.expect_out_of_reach(f"the disk of 4 files under {inside / 'only 1'} is not mounted")
        assert place.found() == both
        assert place.daemon.control("scan", "--force", inside / "only 1").returncode == 0
        until(lambda: place.found() == before)
        place.expect_whole()


def test_a_disk_inside_a_root_that_never_comes_back_may_be_forgotten(place: Place, tmp_path: Path) -> None:
    inside = place.root / "inside"
    own = set(album(place.root, 3, people=1, first_seed=5000))
    with mounted(tmp_path, inside, sub="x") as (disk,):
        place.start()
        unmount_when_idle(place.daemon, disk.unmount)
        inside.rmdir()
        place.expect_out_of_reach(f"the disk of 8 files under {inside / 'x'} is not mounted")
        assert place.daemon.control("scan", "--force", inside / "x").returncode == 0
        until(lambda: place.found() == own)
        place.expect_whole()


def test_a_daemon_that_was_started_on_the_disk_does_not_hold_it(place: Place, tmp_path: Path) -> None:
    with mounted(tmp_path, place.root) as (disk,):
        place.daemon.prefix = [*place.daemon.prefix, "env", f"--chdir={place.root}"]
        place.start()
        unmount_when_idle(place.daemon, disk.unmount)


# What cannot be watched


def test_a_fuse_file_system_is_polled(tmp_path: Path, tiny_root: Path) -> None:
    """What others do behind it is no event, and is found all the same."""
    behind = tmp_path / "behind"
    behind.mkdir()
    if shutil.which("bindfs") is None:
        pytest.skip("there is no bindfs")
    with Place(tmp_path, tiny_root, QUICK) as place:
        result = run("bindfs", behind, place.root)
        if result.returncode:
            pytest.skip(f"no FUSE file system can be mounted here: {result.stderr.decode().strip()}")
        try:
            album(behind / "a", 4, people=1)
            place.start()
            assert place.state() == "polling"
            assert f"{place.root} is polled: inotify does not report what other machines do" in place.problems()
            _change_and_see(place, behind)
            unmount_when_idle(place.daemon, lambda: run("umount", place.root).returncode == 0)
            place.expect_out_of_reach(f"{place.root} is empty, or another directory")
            assert run("bindfs", behind, place.root).returncode == 0
            until(lambda: place.state() == "polling")
            assert place.daemon.call("wait", timeout=30)["complete"]
            place.check()
        finally:
            run("umount", "--lazy", place.root)


def test_a_file_system_that_refuses_to_be_watched_is_polled(tmp_path: Path, tiny_root: Path) -> None:
    refuses = tmp_path / "refuses"
    refuses.touch()
    with Place(tmp_path, tiny_root, QUICK, REFUSED.format(flag=refuses)) as place:
        album(place.root / "a", 4, people=1)
        place.start()
        assert place.state() == "polling"
        assert f"{place.root} cannot be watched and is polled: " in place.problems()
        _change_and_see(place, place.root)
        refuses.unlink()
        place.expect_whole()


def _change_and_see(place: Place, behind: Path) -> None:
    """Create, replace, rename and delete where no event tells; it is polled."""
    shoot(behind / "new" / "new.jpg", [1], 100)
    (behind / "a" / "0000.jpg").unlink()
    (behind / "a" / "0001.jpg").rename(behind / "a" / "renamed.jpg")
    shoot(behind / "a" / "0002.jpg", [2], 101)
    expected = {place.root / name for name in ("new/new.jpg", "a/renamed.jpg", "a/0003.jpg")}
    until(lambda: place.found() == expected)
    assert not place.complete(), "something may have changed since it was looked at"
    assert place.daemon.call("wait", timeout=30)["complete"]


REFUSED = """
import sys
if "run" in sys.argv:
    import errno, os
    from facewatchd.watch import inotify as stream
    def refused(self, directory, tell, watch_tree=stream.EventStream.watch_tree):
        if os.path.exists("{flag}"):
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), directory)
        return watch_tree(self, directory, tell)
    stream.EventStream.watch_tree = refused
"""
