"""What events hide, lose or tell wrongly: the daemon comes level by itself, and nothing is embedded twice."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import drawn_faces
from tests.support.albums import album, shoot
from tests.support.processes import small_disk, until
from tests.support.upheaval import asking, begin, check, exchange, follow, overfill, overflows, stopped, swap

Amount = Callable[[int, int], int]


def upset(root: Path, tag: str) -> None:
    """Create, delete and rename photos and directories; ``tag`` makes the names and the new contents its own."""
    photos = sorted(root.rglob("*.jpg"))
    for photo in photos[::5]:
        photo.unlink()
    for photo in photos[1::5]:
        photo.rename(photo.with_name(f"{tag} {photo.name}"))
    for one, other in zip(photos[2::10], photos[7::10], strict=False):
        swap(one, other)
    first, *_ = sorted(path for path in root.iterdir() if path.is_dir())
    first.rename(root / f"z {tag} {first.name}")
    album(root / f"{tag} new" / "deep", 6, first_seed=1000 * len(tag))


def test_more_events_than_the_queue_holds_while_the_daemon_is_stopped(tmp_path: Path, tiny_root: Path) -> None:
    root = tmp_path / "photos"
    album(root / "a", 30)
    album(root / "b" / "c", 10, first_seed=100)
    with begin(tmp_path / "home", tiny_root, root) as daemon:
        with asking(daemon):
            with stopped(daemon):
                overfill(root)
                upset(root, "hidden")
            until(lambda: overflows(daemon) == 1)
            follow(daemon)
            for directory in [path for path in root.rglob("*") if path.is_dir()]:
                shoot(directory / "later.jpg", [2], 3000 + len(str(directory)))
            follow(daemon)
        check(daemon)


def test_a_second_overflow_during_the_reconcile(tmp_path: Path, tiny_root: Path) -> None:
    """The walk that follows the first overflow is held in its middle: what the second one hides lies behind it."""
    root = tmp_path / "photos"
    hold, held = tmp_path / "hold", tmp_path / "held"
    album(root / "a", 30)
    album(root / "b" / "c", 10, first_seed=100)
    hook = HELD_WALK.format(hold=str(hold), held=str(held))
    with begin(tmp_path / "home", tiny_root, root, hook=hook) as daemon:
        with asking(daemon):
            with stopped(daemon):
                overfill(root)
                upset(root, "first")
                hold.touch()
            until(held.exists)
            assert daemon.status()["state"] == "indexing"
            assert daemon.call("query", embedding=[1.0] * drawn_faces.DIM)["complete"] is False
            with stopped(daemon):
                overfill(root)
                upset(root, "second")
                hold.unlink()
            until(lambda: overflows(daemon) == 2)
            follow(daemon)
        check(daemon)


HELD_WALK = """
import sys
if "run" in sys.argv:
    import os, threading
    from facewatchd.scan import survey
    def held_walk(*args, walk=survey.walk):
        for number, listing in enumerate(walk(*args)):
            yield listing
            while number and os.path.exists({hold!r}):
                open({held!r}, "w").close()
                threading.Event().wait(0.01)
    survey.walk = held_walk
"""


def test_nested_directories_with_hundreds_of_files_at_once(tmp_path: Path, tiny_root: Path, amount: Amount) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    pool = [shoot(tmp_path / "pool" / f"{n}.jpg", [1 + n], n) for n in range(10)]
    with begin(tmp_path / "home", tiny_root, root) as daemon:
        for number in range(amount(3, 40)):
            deep = root / f"a{number}" / "b" / "c"
            deep.mkdir(parents=True)
            for n in range(100):
                shutil.copyfile(pool[n % 10], deep / f"{n}.jpg")
        follow(daemon, deadline=120)
        assert daemon.status()["roots"][0]["state"] == "watching"
        check(daemon)


def test_a_directory_moved_out_written_to_and_moved_back_under_another_name(tmp_path: Path, tiny_root: Path) -> None:
    """Once after the daemon has let go of it, once before it can have noticed."""
    root = tmp_path / "photos"
    album(root / "other", 3, first_seed=50)
    for number in range(2):
        album(root / f"d{number}" / "sub", 6, first_seed=100 * number)
    with begin(tmp_path / "home", tiny_root, root) as daemon:
        for number in range(2):
            seed = 1000 * (number + 1)
            away = (root / f"d{number}").rename(tmp_path / "away")
            if number == 0:
                follow(daemon)
            shoot(away / "sub" / "0000.jpg", [9], seed)
            shoot(away / "made outside" / "new.jpg", [9], seed + 1)
            (away / "sub" / "0001.jpg").unlink()
            (away / "sub" / "0002.jpg").rename(away / "renamed.jpg")
            back = away.rename(root / f"back {number}")
            follow(daemon)
            shoot(root / f"d{number}" / "of the old name.jpg", [8], seed + 2)
            for place, directory in enumerate([back, back / "sub", back / "made outside"]):
                shoot(directory / "later.jpg", [8], seed + 3 + place)
            follow(daemon)
        check(daemon)


def test_two_directories_change_places_and_are_written_to(tmp_path: Path, tiny_root: Path) -> None:
    """watchdog takes exchanged directories for one another from then on: every event names the wrong file."""
    root = tmp_path / "photos"
    one, two = root / "one", root / "two"
    album(one / "deep", 4)
    album(two / "deep", 4, first_seed=50)
    with begin(tmp_path / "home", tiny_root, root) as daemon:
        for seed, how in ((700, swap), (800, exchange)):
            how(one, two)
            follow(daemon)
            shoot(one / "deep" / "0000.jpg", [9], seed)
            shoot(two / f"{seed}.jpg", [9], seed + 1)
            (two / "deep" / "0001.jpg").unlink(missing_ok=True)
            follow(daemon)
        assert daemon.status()["roots"][0]["state"] == "watching"
        check(daemon)


def test_a_root_reached_through_a_symbolic_link(tmp_path: Path, tiny_root: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    album(real / "sub", 4)
    (tmp_path / "second").symlink_to(real)
    link.symlink_to("second")
    with begin(tmp_path / "home", tiny_root, link) as daemon:
        shoot(real / "by its real name.jpg", [7], 70)
        shoot(link / "by the link.jpg", [7], 71)
        (real / "sub").rename(real / "moved")
        follow(daemon)
        assert daemon.paths(shoot(tmp_path / "query.png", [7], 99)) == {
            link / "by its real name.jpg",
            link / "by the link.jpg",
        }
        copy = Path(shutil.copytree(real, tmp_path / "copy"))
        (tmp_path / "third").symlink_to(copy)
        (tmp_path / "third").rename(tmp_path / "second")
        shoot(copy / "in the copy.jpg", [7], 72)
        follow(daemon)
        shoot(copy / "moved" / "later.jpg", [7], 73)
        shoot(real / "no longer watched.jpg", [7], 74)
        follow(daemon)
        check(daemon)


def entangle(directory: Path) -> None:
    """Links that lead to themselves, to each other, upwards, and out."""
    directory.mkdir(exist_ok=True)
    for name, target in {
        "self": "self",
        "self.jpg": "self.jpg",
        "one.jpg": "two.jpg",
        "two.jpg": "one.jpg",
        "up": "..",
        "here.jpg": ".",
        "out": "../../elsewhere",
        "photo.jpg": "../0000.jpg",
        "gone.jpg": "nowhere.jpg",
    }.items():
        (directory / name).symlink_to(target)


def test_symlink_loops(tmp_path: Path, tiny_root: Path) -> None:
    root = tmp_path / "photos"
    album(root, 4)
    album(tmp_path / "elsewhere", 2, first_seed=50)
    entangle(root / "before")
    with begin(tmp_path / "home", tiny_root, root) as daemon:
        entangle(root / "after")
        shoot(root / "after" / "real.jpg", [5], 60)
        follow(daemon)
        (root / "after" / "self").unlink()
        (root / "after" / "self").symlink_to(root)
        (root / "before" / "two.jpg").unlink()
        shoot(root / "before" / "two.jpg", [5], 61)  # now one.jpg is a photo as well, and no event tells
        check(daemon)


def test_two_files_change_places_ten_thousand_times(tmp_path: Path, tiny_root: Path, amount: Amount) -> None:
    root = tmp_path / "photos"
    one, other = shoot(root / "one.jpg", [1], 1), shoot(root / "sub" / "other.jpg", [2], 2)
    known = shoot(root / "known.jpg", [1], 3)
    with begin(tmp_path / "home", tiny_root, root) as daemon:
        for how, person_1 in ((swap, other), (exchange, one)):
            with asking(daemon):
                for _ in range(amount(2001, 10001)):
                    how(one, other)
                follow(daemon)
            assert daemon.paths(known) == {known, person_1}
        check(daemon)


def test_a_thousand_renames_while_the_daemon_is_down(tmp_path: Path, tiny_root: Path) -> None:
    root = tmp_path / "photos"
    photos = list(album(root, 80))
    luck = random.Random(7)
    with begin(tmp_path / "home", tiny_root, root) as daemon:
        assert daemon.stop() == 0
        for number in range(1000):
            place = luck.randrange(len(photos))
            target = root / f"{luck.randrange(20)}" / f"{number}.jpg"
            target.parent.mkdir(exist_ok=True)
            photos[place] = photos[place].rename(target)
        for one, other in zip(photos[:40:2], photos[1:40:2], strict=True):
            swap(one, other)
        daemon.start()
        follow(daemon)
        assert daemon.embedded() == 0
        check(daemon)


def test_moves_between_roots_and_between_file_systems(tmp_path: Path, tiny_root: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    album(one / "sub", 10)
    album(two, 4, first_seed=50)
    with small_disk(tmp_path / "disk") as disk, begin(tmp_path / "home", tiny_root, one, two, disk) as daemon:
        embedded = daemon.embedded()
        (one / "sub" / "0000.jpg").rename(two / "came.jpg")
        shutil.move(one / "sub" / "0001.jpg", disk / "came.jpg")
        follow(daemon)
        (one / "sub").rename(two / "sub")
        (one / "sub").mkdir()
        shutil.move(two / "0000.jpg", one / "sub" / "back.jpg")
        follow(daemon)
        shutil.move(two / "sub", disk / "sub")
        follow(daemon)
        shutil.move(disk / "sub", one / "sub" / "sub")
        follow(daemon)
        assert daemon.embedded() == embedded == 14
        shoot(one / "sub" / "sub" / "later.jpg", [9], 90)
        follow(daemon)
        check(daemon)


def test_one_name_deleted_and_made_again_ten_thousand_times(tmp_path: Path, tiny_root: Path, amount: Amount) -> None:
    root = tmp_path / "photos"
    contents = [shoot(tmp_path / "pool" / f"{n}.jpg", [1 + n], n).read_bytes() for n in range(5)]
    keep, photo = shoot(root / "keep.jpg", [1], 50), root / "photo.jpg"
    with begin(tmp_path / "home", tiny_root, root) as daemon:
        with asking(daemon):
            for number in range(amount(3000, 10000)):
                photo.write_bytes(contents[number % 5])
                photo.unlink()
            follow(daemon)
            assert daemon.paths(keep) == {keep}
            photo.write_bytes(contents[0])
            follow(daemon)
        assert daemon.paths(keep) == {keep, photo}
        check(daemon)


def test_a_reader_thread_that_died_is_noticed_within_a_minute(tmp_path: Path, tiny_root: Path) -> None:
    """watchdog's bookkeeping loses the path of a directory that was moved out, and fails when that is removed."""
    root = tmp_path / "photos"
    album(root / "d", 3)
    with begin(tmp_path / "home", tiny_root, root) as daemon:
        away = (root / "d").rename(tmp_path / "away")
        follow(daemon)
        shoot(root / "d" / "new.jpg", [5], 60)
        follow(daemon)
        (root / "d").rename(root / "f")
        follow(daemon)
        shutil.rmtree(away)
        until(lambda: "reader of file system events ended: KeyError" in daemon.log.read_text())
        shoot(root / "f" / "while it was deaf.jpg", [5], 61)
        follow(daemon, deadline=60)
        assert "watching every directory anew" in daemon.log.read_text()
        shoot(root / "f" / "later.jpg", [5], 62)
        (root / "f" / "new.jpg").unlink()
        follow(daemon)
        check(daemon)


@pytest.mark.full
def test_a_reader_thread_that_hangs_is_noticed_within_a_minute(tmp_path: Path, tiny_root: Path) -> None:
    """It lives, and nothing comes: the heartbeat tells."""
    root, stuck = tmp_path / "photos", tmp_path / "stuck"
    album(root, 3)
    with begin(tmp_path / "home", tiny_root, root, hook=STUCK.format(stuck=str(stuck))) as daemon:
        stuck.touch()
        shoot(root / "unheard.jpg", [5], 61)
        until(lambda: not stuck.exists())
        follow(daemon, deadline=60)
        shoot(root / "later.jpg", [5], 62)
        follow(daemon)
        assert daemon.status()["roots"][0]["state"] == "watching"
        check(daemon)


STUCK = """
import sys
if "run" in sys.argv:
    import os, threading
    from watchdog.observers.inotify_c import InotifyFD
    def handle_event(self, event, handle_event=InotifyFD.handle_event):
        if os.path.exists({stuck!r}):
            os.unlink({stuck!r})
            threading.Event().wait()
        handle_event(self, event)
    InotifyFD.handle_event = handle_event
"""
