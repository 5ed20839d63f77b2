"""Limits that are reached and raised again: inotify's, room on the disk, and a clock that is set.

Queries go on meanwhile, `status` says what is wrong, and nothing is left undone once there is room.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import hooks, invariant
from tests.support.albums import album, shoot
from tests.support.processes import Daemon, fill, small_disk, until

Start = Callable[..., Daemon]
Amount = Callable[[int, int], int]

QUICK = """
import sys
if "run" in sys.argv:
    from facewatchd.indexing import maintenance, writer
    from facewatchd.watch import watcher
    watcher.Watcher.__init__.__kwdefaults__["intervals"] = watcher.Intervals(poll=0.3, retry=1.0)
    watcher.Watcher.__init__.__kwdefaults__["tick"] = 0.4
    writer.RETRY = 0.2
    maintenance.LOOK_EVERY, maintenance.RETRY = 0.3, 2.0
"""
"""What failed is tried again in a second or three, instead of one or five minutes."""


@pytest.fixture
def daemon(tmp_path: Path, tiny_root: Path) -> Iterator[Daemon]:
    """A daemon on the root "photos", not started yet."""
    home, root = tmp_path / "home", tmp_path / "photos"
    root.mkdir()
    with Daemon(home, root, model="tiny", model_root=tiny_root) as daemon:
        daemon.hook(QUICK)
        daemon.count_embeddings()
        yield daemon


def problems(daemon: Daemon) -> str:
    return "\n".join(daemon.status()["problems"])


def state(daemon: Daemon) -> str:
    return str(daemon.status()["roots"][0]["state"])


def ask(daemon: Daemon, photo: Path, deadline: float = 5.0) -> dict[str, Any]:
    """A query by an indexed photo, answered soon."""
    answer: dict[str, Any] = daemon.call("query", deadline, photos=[{"path": str(photo)}], top=0, collapse=False)
    return answer


def found(daemon: Daemon, photo: Path) -> set[Path]:
    return {Path(match["path"]) for match in ask(daemon, photo)["matches"]}


def expect_whole(daemon: Daemon) -> None:
    """The promise, and nothing is wrong any more. Ends the daemon."""
    until(lambda: (state(daemon), problems(daemon)) == ("watching", ""))
    invariant.check(daemon)
    invariant.check_embedded_once(daemon)


# inotify


def in_its_own_namespace(daemon: Daemon, limit: str, value: int) -> None:
    """Run the daemon where a limit of inotify is its own, and low."""
    allowed = subprocess.run(["unshare", "-Ur", "true"], capture_output=True, check=False)
    if allowed.returncode:
        pytest.skip(f"no user namespaces here: {allowed.stderr.decode().strip()}")
    script = f'echo {value} > /proc/sys/user/max_inotify_{limit} && exec "$@"'
    daemon.prefix = ["unshare", "-Ur", "sh", "-c", script, "sh"]


def raise_limit(daemon: Daemon, limit: str, value: int) -> None:
    """As the administrator would, from outside."""
    assert daemon.process is not None
    command = ["nsenter", "-t", str(daemon.process.pid), "-U", "--preserve-credentials", "sh", "-c"]
    subprocess.run([*command, f"echo {value} > /proc/sys/user/max_inotify_{limit}"], check=True)


def albums(root: Path, count: int, *, first: int = 0) -> list[Path]:
    """A photo of person 1 in each of many directories."""
    return [shoot(root / f"{number:03d}" / "a.jpg", [1], number) for number in range(first, first + count)]


def test_the_watch_limit_is_said_polled_and_recovered_from(daemon: Daemon, amount: Amount) -> None:
    (root,) = daemon.roots
    photos = albums(root, amount(30, 1000))
    in_its_own_namespace(daemon, "watches", 20)
    daemon.start()
    daemon.settle()
    until(lambda: "inotify watch limit reached: " in problems(daemon))
    assert "raise fs.inotify.max_user_watches with `sudo sysctl fs.inotify.max_user_watches=" in problems(daemon)
    assert (state(daemon), daemon.status()["state"]) == ("polling", "idle")
    new = shoot(photos[-1].parent / "new.jpg", [1], 2000)  # it is polled: in which directory makes no difference
    photos[0].unlink()
    until(lambda: found(daemon, photos[1]) == {*photos[1:], new})
    assert not ask(daemon, photos[1])["complete"], "it is only looked at now and then"
    raise_limit(daemon, "watches", 100_000)
    until(lambda: (state(daemon), problems(daemon)) == ("watching", ""))
    again = shoot(photos[-2].parent / "again.jpg", [1], 2001)
    until(lambda: again in found(daemon, photos[1]))
    expect_whole(daemon)


@pytest.mark.full
def test_the_watch_limit_is_reached_while_it_runs(daemon: Daemon) -> None:
    (root,) = daemon.roots
    first = albums(root, 5)
    in_its_own_namespace(daemon, "watches", 20)
    daemon.start()
    daemon.settle()
    assert state(daemon) == "watching"
    more = albums(root / "more", 30, first=100)
    until(lambda: found(daemon, first[0]) == {*first, *more})
    until(lambda: "inotify watch limit reached: " in problems(daemon))
    new = shoot(more[-1].parent / "new.jpg", [1], 2000)
    until(lambda: new in found(daemon, first[0]))
    raise_limit(daemon, "watches", 1000)
    expect_whole(daemon)


def test_without_an_inotify_instance_all_is_polled_until_there_is_one(daemon: Daemon) -> None:
    (root,) = daemon.roots
    photos = albums(root, 5)
    in_its_own_namespace(daemon, "instances", 0)
    daemon.start()
    daemon.settle()
    assert "no inotify instance (" in problems(daemon)
    assert "raise fs.inotify.max_user_instances" in problems(daemon)
    assert state(daemon) == "polling"
    new = shoot(root / "new.jpg", [1], 2000)
    photos[0].unlink()
    until(lambda: found(daemon, photos[1]) == {*photos[1:], new})
    raise_limit(daemon, "instances", 10)
    expect_whole(daemon)


@pytest.mark.full
def test_the_limits_are_tried_again_without_help(daemon: Daemon) -> None:
    """At the intervals of the daemon itself: every five minutes."""
    hooks.clear(daemon.hooked)
    daemon.count_embeddings()
    photos = albums(daemon.roots[0], 30)
    in_its_own_namespace(daemon, "watches", 20)
    daemon.start()
    daemon.settle()
    until(lambda: "inotify watch limit reached: " in problems(daemon))
    new = shoot(photos[-1].parent / "new.jpg", [1], 2000)
    until(lambda: new in found(daemon, photos[0]))
    raise_limit(daemon, "watches", 1000)
    until(lambda: state(daemon) == "watching", deadline=360)
    expect_whole(daemon)


# Room on the disk


@contextmanager
def data_on_a_small_disk(daemon: Daemon, directory: Path) -> Iterator[Path]:
    """Have the catalog and the index on a disk of 16 MB, and end the daemon before that is taken away."""
    with small_disk(directory / "disk") as disk, daemon:
        daemon.data = disk / "data"
        yield disk


def is_full(daemon: Daemon) -> bool:
    return daemon.status()["state"] == "degraded" and "free some disk space" in problems(daemon)


def test_a_full_disk_stops_indexing_and_not_the_answers(daemon: Daemon, tmp_path: Path, amount: Amount) -> None:
    (root,) = daemon.roots
    who = album(root, 40, people=4)
    first = next(iter(who))
    with data_on_a_small_disk(daemon, tmp_path) as disk:
        daemon.start()
        daemon.settle()
        fill(disk / "filler")
        more = album(root / "more", amount(100, 1000), people=4, first_seed=1000)
        until(lambda: is_full(daemon))
        assert not ask(daemon, first)["complete"]
        assert found(daemon, first) >= {path for path, person in who.items() if person == who[first]}
        (disk / "filler").unlink()
        until(lambda: daemon.status()["photos"] == len(who) + len(more))
        expect_whole(daemon)


@pytest.mark.parametrize("change", ["deleted", pytest.param("renamed", marks=pytest.mark.full)])
def test_on_a_full_disk_photos_that_are_only_moved_or_deleted(daemon: Daemon, tmp_path: Path, change: str) -> None:
    """Also that must be written; until it can be, no answer claims to be complete."""
    (root,) = daemon.roots
    who = album(root, 40, people=4)
    kept = [path for path, person in who.items() if person == 1]
    with data_on_a_small_disk(daemon, tmp_path) as disk:
        daemon.start()
        daemon.settle()
        assert daemon.stop() == 0
        daemon.start()  # with a write-ahead log of no size, or that has room for it
        fill(disk / "filler")
        for number, path in enumerate(sorted(who.keys() - set(kept))):
            if change == "deleted":
                path.unlink()
            else:
                path.rename(root / f"renamed {number}.jpg")
        until(lambda: is_full(daemon) and "catalog" in problems(daemon))
        answer = ask(daemon, kept[0])
        assert {Path(match["path"]) for match in answer["matches"]} == set(kept)
        assert (answer["complete"], answer["pending"] > 0) == (False, True)
        (disk / "filler").unlink()
        expect_whole(daemon)


def test_a_disk_with_room_for_the_catalog_and_not_for_the_index(daemon: Daemon, tmp_path: Path) -> None:
    (root,) = daemon.roots
    persons = list(range(1, 13))
    for number in range(80):
        shoot(root / f"{number}.jpg", persons, number, size=(1280, 240))
    with data_on_a_small_disk(daemon, tmp_path) as disk:
        daemon.start()
        assert daemon.settle()["faces"] > 900
        until(lambda: list(daemon.data.glob("*/index.json")))
        (index,) = daemon.data.glob("*/index.hnsw")
        fill(disk / "filler")
        os.truncate(disk / "filler", (disk / "filler").stat().st_size - index.stat().st_size + 32768)
        new = shoot(root / "new.jpg", [1], 1000)
        until(lambda: is_full(daemon) and "index" in problems(daemon))
        answer = ask(daemon, new)
        assert str(new) in {match["path"] for match in answer["matches"]}
        assert (answer["complete"], answer["pending"]) == (True, 0)
        assert daemon.stop() == 0
        daemon.start()
        assert new in found(daemon, new)
        (disk / "filler").unlink()
        expect_whole(daemon)


# The log


@pytest.mark.parametrize("log", ["/dev/full", pytest.param("a full disk", marks=pytest.mark.full)])
def test_a_log_that_cannot_be_written_stops_nothing(daemon: Daemon, tmp_path: Path, log: str) -> None:
    (root,) = daemon.roots
    who = album(root, 10, people=2)
    bad = root / "bad.jpg"
    bad.write_bytes(b"\xff\xd8\xff\xe0 nothing")  # something to be logged
    with small_disk(tmp_path / "disk") as disk, daemon:
        daemon.log = Path("/dev/full") if log == "/dev/full" else disk / "log"
        fill(disk / "filler")
        daemon.start()
        daemon.settle()
        shoot(root / "new.jpg", [1], 1000)
        until(lambda: len(found(daemon, next(iter(who)))) == 6)
        (root / "new.jpg").unlink()
        invariant.check_catalog(daemon, failed=[bad])
        assert daemon.stop() == 0
        invariant.check_index(daemon)


# The clock

CLOCK = """
import sys
if {{"run", "indexing"}} & set(sys.argv):
    import time
    def told(clock=time.time):
        with open("{offset}") as file:
            return clock() + float(file.read())
    time.time = told
"""
DAY, YEAR = 24 * 3600.0, 365 * 24 * 3600.0


def test_a_clock_that_is_set_back_a_day_and_forward_a_year(daemon: Daemon, tmp_path: Path) -> None:
    (root,) = daemon.roots
    clock = tmp_path / "offset"
    clock.write_text("0")
    daemon.hook(CLOCK.format(offset=clock))
    photos = set(album(root, 10, people=1))
    daemon.start()
    daemon.settle()
    for number, offset in enumerate([-DAY, YEAR]):
        photos = _changed_by_another_clock(daemon, photos, lambda offset=offset: _set_clock(clock, offset), number)
    assert daemon.stop() == 0
    daemon.start()
    _set_clock(clock, 0)
    later = shoot(root / "later.jpg", [1], 1002)
    until(lambda: later in found(daemon, min(photos)))
    assert found(daemon, later) == {*photos, later}
    expect_whole(daemon)


def _changed_by_another_clock(
    daemon: Daemon, photos: set[Path], set_clock: Callable[[], None], number: int
) -> set[Path]:
    """Delete one before the clock is set and bring it back after it, add one, delete another; return what is left."""
    first, back, gone, *_ = sorted(photos)
    data = back.read_bytes()
    back.unlink()
    until(lambda: found(daemon, first) == photos - {back})
    set_clock()
    new = shoot(first.parent / f"new {number}.jpg", [1], 1000 + number)
    until(lambda: new in found(daemon, first))  # it settles by another clock
    back.write_bytes(data)  # its faces were kept
    gone.unlink()
    until(lambda: found(daemon, first) == (photos | {new}) - {gone})
    assert daemon.call("wait", timeout=30)["complete"]
    return (photos | {new}) - {gone}


def _set_clock(place: Path, offset: float) -> None:
    place.with_name("new").write_text(str(offset))
    place.with_name("new").replace(place)


def test_times_of_files_that_cannot_be(daemon: Daemon) -> None:
    """A camera whose clock is a year ahead, an archive from before 1970, and times beyond 64 bits of nanoseconds."""
    (root,) = daemon.roots
    who = album(root, 10, people=1)
    first = next(iter(who))
    moments = [time.time() + YEAR, time.time() + 1e5, -1.5, -40 * YEAR, 0, 2**33, 2**31]

    def date(photos: list[Path]) -> None:
        for photo, moment in zip(photos, moments, strict=False):
            os.utime(photo, (moment, moment))

    date(list(who))
    daemon.start()
    assert daemon.call("wait", timeout=30)["complete"]
    assert found(daemon, first) == set(who)
    new = [shoot(root / "new" / f"{n}.jpg", [1], 1000 + n) for n in range(len(moments))]
    date(new)
    date(list(reversed(who)))  # stamps change, bytes do not
    until(lambda: found(daemon, first) == {*who, *new})
    expect_whole(daemon)
