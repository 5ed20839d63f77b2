"""When photos were taken, from the file to the answer: import, questions about time, bursts, and earlier catalogs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from facewatchd.client.connection import RemoteError
from tests.support import samples
from tests.support.albums import shoot
from tests.support.dated import age, dated, shoot_on
from tests.support.library import files_of
from tests.support.processes import Daemon, until

MANY = 24
QUICK = """
import sys
if "run" in sys.argv:
    from facewatchd.indexing import dates, idle_thread
    idle_thread.LOOK_EVERY, dates.BATCH = 0.05, 5
"""
COUNTED = """
import sys
if "indexing" in sys.argv:
    import itertools, os, time
    from facewatchd.photos import describe
    numbers = itertools.count(1)
    log = os.open({path!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    def counted(file, *rest, describe_=describe.describe, **more):
        os.write(log, b".")
        while next(numbers) >= {stop}:
            time.sleep(0.05)
        return describe_(file, *rest, **more)
    describe.describe = counted
"""
"""A hook: each reading of headers is noted, and one of them never ends."""


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory, tiny_root: Path) -> Iterator[Daemon]:
    """A daemon with photos of one person, that tests only ask."""
    place = tmp_path_factory.mktemp("dates")
    photos = place / "photos"
    shoot_on(photos / "a.jpg", [1], 1, "2019:06:30 12:00:00", "+02:00")
    shoot_on(photos / "b.jpg", [1, 2], 2, "2018:12:31 23:59:59")
    shoot_on(photos / "c.jpg", [1], 3, "0000:00:00 00:00:00")
    os.utime(photos / "c.jpg", (1_500_000_000, 1_500_000_000))
    shoot(photos / "IMG-20200229-WA0001.jpg", [1, 3], 4)
    for number in range(4):
        shutil.copy(photos / "a.jpg", photos / f"burst {number}.jpg")
        path = shoot(photos / f"burst {number}.jpg", [5], 50)
        dated(path, f"2021:01:01 10:00:0{number}")
    shoot_on(photos / "same face later.jpg", [5], 50, "2021:01:01 10:01:00")
    with Daemon(place / "home", photos, model="tiny", model_root=tiny_root) as daemon:
        daemon.environment["TZ"] = "UTC"
        daemon.start()
        daemon.settle()
        yield daemon


def ask(daemon: Daemon, photo: str, **params: Any) -> list[dict[str, Any]]:
    """The matches of a photo of the album."""
    answer = daemon.call("query", photos=[{"path": str(daemon.roots[0] / photo)}], top=0, **params)
    assert answer["total"] == len(answer["matches"])
    matches: list[dict[str, Any]] = answer["matches"]
    return matches


def names(matches: list[dict[str, Any]]) -> list[str]:
    return [Path(match["path"]).name for match in matches]


def test_each_match_says_when_it_was_taken_and_what_says_so(album: Daemon) -> None:
    found = {Path(match["path"]).name: (match["taken"], match["taken_from"]) for match in ask(album, "a.jpg")}
    assert found == {
        "a.jpg": ("2019-06-30T12:00:00+02:00", "exif"),
        "b.jpg": ("2018-12-31T23:59:59", "exif"),
        "c.jpg": ("2017-07-14T02:40:00", "mtime"),
        "IMG-20200229-WA0001.jpg": ("2020-02-29T00:00:00", "name"),
    }
    assert album.status()["undated"] == 0


def test_questions_about_time(album: Daemon) -> None:
    assert names(ask(album, "a.jpg", sort="date")) == ["c.jpg", "b.jpg", "a.jpg", "IMG-20200229-WA0001.jpg"]
    assert names(ask(album, "a.jpg", sort="-date", since="2018")) == ["IMG-20200229-WA0001.jpg", "a.jpg", "b.jpg"]
    assert names(ask(album, "a.jpg", sort="path", until="2019-06-30")) == ["a.jpg", "b.jpg", "c.jpg"]
    assert names(ask(album, "a.jpg", since="2020-02", until="2020-02-29")) == ["IMG-20200229-WA0001.jpg"]
    assert ask(album, "a.jpg", since="2020-03") == []


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"since": "2019-13"}, "since 2019-13 is no date"),
        ({"until": "June"}, "until June is no date"),
        ({"since": "2019-02-29"}, "as in 2019, 2019-06 or 2019-06-30"),
        ({"since": "2019-02", "until": "2018"}, "until 2018 is before since 2019-02"),
    ],
)
def test_a_time_that_cannot_be_is_an_error_that_says_so(album: Daemon, limits: dict[str, str], words: str) -> None:
    with pytest.raises(RemoteError, match=words):
        ask(album, "a.jpg", **limits)


def test_a_burst_is_one_result(album: Daemon) -> None:
    found = ask(album, "same face later.jpg", sort="path")
    assert len(found) == 2
    burst, later = found
    frames = {f"burst {number}.jpg" for number in range(4)}
    assert {Path(path).name for path in [burst["path"], *burst["similar"]]} == frames
    assert (Path(later["path"]).name, later["similar"]) == ("same face later.jpg", [])
    assert len(ask(album, "same face later.jpg", collapse=False)) == 5
    (own, *_) = ask(album, "burst 2.jpg")
    assert (Path(own["path"]).name, len(own["similar"])) == ("burst 2.jpg", 3)


def test_dates_of_an_earlier_version_are_read_once_over_kill_9_and_nothing_is_embedded(
    tmp_path: Path, tiny_root: Path
) -> None:
    photos, log = tmp_path / "photos", tmp_path / "described"
    for number in range(MANY):
        shoot_on(photos / f"{number:02}.jpg", [1], number, f"2019:06:30 12:{number:02}:00")
    shoot(photos / "none.jpg", [1], 100)
    daemon = Daemon(tmp_path / "home", photos, model="tiny", model_root=tiny_root)
    with daemon:
        daemon.start()
        daemon.settle()
        assert daemon.stop() == 0
        age(files_of(daemon.data) / "catalog.sqlite3")
        daemon.hook(QUICK)
        daemon.hook(COUNTED.format(path=str(log), stop=13))
        daemon.start()
        until(lambda: log.stat().st_size == 13)
        until(lambda: daemon.status()["undated"] == MANY + 1 - 10)
        asked = daemon.query(photos / "none.jpg", "--since", "2019", "--until", "2019", "-l")
        assert asked.stderr == "not complete: the dates of 15 photos are still to be read; --wait waits for them\n"
        asked = daemon.query(photos / "none.jpg", "--sort", "date", "--wait", "1", "-l")
        assert "after 1 s the dates of 15 photos are still to be read" in asked.stderr
        assert asked.returncode not in (0, 1)
        assert daemon.query(photos / "none.jpg", "-l", "-n", "0").stderr == "", "no question about dates"
        daemon.kill()
        daemon.unhook()
        daemon.hook(QUICK)
        daemon.hook(COUNTED.format(path=str(log), stop=1000))
        daemon.start()
        question = {"photos": [{"path": str(photos / "none.jpg")}], "since": "2019", "until": "2019", "wait": 60}
        answer = daemon.call("query", **question)
        assert (answer["total"], answer["complete"], answer["undated"]) == (MANY, True, 0)
        assert daemon.status()["undated"] == 0
        assert daemon.embedded() == 0
        assert log.stat().st_size == 13 + (MANY + 1 - 10), "what was not written is read again, and nothing else"
        assert daemon.stop() == 0
        daemon.start()
        daemon.settle()
        matches = ask(daemon, "none.jpg", sort="date", collapse=False)
        assert [match["taken"] for match in matches[:MANY]] == [f"2019-06-30T12:{n:02}:00" for n in range(MANY)]
        assert matches[MANY]["taken_from"] == "mtime"
        assert log.stat().st_size == 13 + (MANY + 1 - 10)


def moved(photo: Path, to: Path, shift: int, quality: int, taken: str) -> None:
    """A frame of a burst: a photo moved by some pixels, compressed anew."""
    to.parent.mkdir(exist_ok=True)
    with Image.open(photo) as image:
        width, height = image.size
        image.convert("RGB").crop((shift, shift, width - 12 + shift, height - 12 + shift)).save(to, quality=quality)
    dated(to, taken)


def people_beside_obama(photos: Path) -> None:
    """Three photos within four seconds: of two people, of one of them, and of this one and a third person."""
    with (
        Image.open(samples.PHOTOS / "two_people.jpg") as image,
        Image.open(samples.PHOTOS / "rose_leslie_1.jpg") as rose,
    ):
        both, middle = image.convert("RGB"), image.width // 2
        alone, other = both.copy(), both.copy()
        alone.paste((120, 120, 120), (middle, 0, both.width, both.height))
        other.paste(rose.convert("RGB").resize((both.width - middle, both.height)), (middle, 0))
    for second, (name, picture) in enumerate({"two.jpg": both, "one.jpg": alone, "third.jpg": other}.items()):
        picture.save(photos / name, quality=92)
        dated(photos / name, f"2019:07:01 12:00:0{2 * second}")
    moved(photos / "two.jpg", photos / "two again.jpg", 6, 85, "2019:07:01 12:00:06")


@samples.needs_shared
@pytest.mark.parametrize("model", [pytest.param("scrfd25g_mfn", marks=samples.needs_packs), "opencv"])
def test_bursts_of_real_photos_are_folded_and_different_photos_of_the_same_second_are_not(
    tmp_path: Path, model: str
) -> None:
    photos = tmp_path / "photos"
    for number in range(3):
        frame = photos / f"kit {number}.jpg"
        moved(samples.PHOTOS / "kit_harington_1.jpg", frame, 4 * number, 80 + 5 * number, f"2019:06:30 12:00:0{number}")
    for name in ("obama_1.jpg", "obama_4.jpg"):
        moved(samples.PHOTOS / name, photos / name, 0, 90, "2019:06:30 12:00:00")
    people_beside_obama(photos)
    root = None if model == "opencv" else samples.PACKS
    with Daemon(tmp_path / "home", photos, model=model, model_root=root) as daemon:
        daemon.start()
        daemon.settle()
        (burst,) = ask(daemon, "kit 1.jpg")
        assert (Path(burst["path"]).name, burst["itself"]) == ("kit 1.jpg", True)
        assert [Path(path).name for path in burst["similar"]] == ["kit 0.jpg", "kit 2.jpg"]
        found = ask(daemon, "obama_1.jpg", until="2019-06-30")
        assert {name: match["similar"] for match in found for name in names([match])} == {
            "obama_1.jpg": [],
            "obama_4.jpg": [],
        }
        found = ask(daemon, "two.jpg", face=0, since="2019-07-01")
        assert {name: match["similar"] for match in found for name in names([match])} == {
            "two.jpg": [str(photos / "two again.jpg")],
            "one.jpg": [],
            "third.jpg": [],
        }
