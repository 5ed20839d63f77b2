"""What a user says is said whole or not at all: the daemon is killed in the middle of it, and the disk is full."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from facewatchd.client.connection import RemoteError
from facewatchd.errors import FacewatchError
from tests.support.albums import album
from tests.support.processes import DEADLINE, Daemon, fill, small_disk

DEADLY = """
import sys
if "run" in sys.argv:
    import os
    from facewatchd.people import backup, store
    def deadly(place, function, before=False):
        def called(*arguments):
            if before and open({place!r}).read() == place:
                os.kill(os.getpid(), 9)
            result = function(*arguments)
            if open({place!r}).read() == place:
                os.kill(os.getpid(), 9)
            return result
        return called
    store.PeopleStore._insert_statement = deadly("one row written", store.PeopleStore._insert_statement)
    store.recovery.empty_log = deadly("committed", store.recovery.empty_log, before=True)
    backup.Backups.remove_all = deadly("backups removed", backup.Backups.remove_all)
    backup.Backups.make = deadly("written anew", backup.Backups.make, before=True)
"""
"""Kills the daemon at the place in its code that a file names."""


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    return sorted(album(tmp_path / "photos", 4, people=4))


def say(daemon: Daemon, name: str, *photos: Path) -> Any:
    return daemon.call("assign", name=name, who=[{"path": str(photo)} for photo in photos])


def names(daemon: Daemon) -> dict[str, int]:
    """How many references each person has."""
    return {person["name"]: person["references"] for person in daemon.call("people")["people"]}


def held(data: Path) -> Iterator[bytes]:
    yield from (path.read_bytes() for path in data.rglob("*") if path.is_file())


def test_killed_at_any_place_all_is_said_or_nothing(tmp_path: Path, tiny_root: Path, photos: list[Path]) -> None:
    place = tmp_path / "place"
    place.write_text("")
    daemon = Daemon(tmp_path / "home", tmp_path / "photos", model="tiny", model_root=tiny_root)
    daemon.hook(DEADLY.format(place=str(place)))

    def die(at: str, method: str, **params: Any) -> None:
        """Have the daemon killed there while it answers, and start it again."""
        place.write_text(at)
        with pytest.raises(FacewatchError):
            daemon.call(method, **params)
        assert daemon.process is not None
        assert daemon.process.wait(DEADLINE) == -9
        place.write_text("")
        daemon.start()
        assert daemon.status()["problems"] == []

    two = [{"path": str(photo)} for photo in photos[:2]]
    with daemon:
        daemon.start()
        daemon.settle()
        die("one row written", "assign", name="Holunder", who=two, anyway=True)
        assert names(daemon) == {}
        die("committed", "assign", name="Holunder", who=two, anyway=True)
        assert names(daemon) == {"Holunder": 2}
        die("one row written", "assign", name="Brombeere", who=two, anyway=True)
        assert names(daemon) == {"Holunder": 2}, "they have not moved"
        die("committed", "undo")
        assert names(daemon) == {}
        for at in ("committed", "backups removed", "written anew"):
            say(daemon, "Schlehe", photos[0])
            say(daemon, "Stachelbeere", photos[1])
            die(at, "forget_person", name="Schlehe")
            assert names(daemon) == {"Stachelbeere": 1}, at
            assert not any(b"Schlehe" in data for data in held(daemon.data)), at
            assert len(list(daemon.data.glob("people-*"))) == 1, at


def test_a_full_disk_takes_no_statement_and_half_of_none(tmp_path: Path, tiny_root: Path, photos: list[Path]) -> None:
    with small_disk(tmp_path / "disk") as disk:
        daemon = Daemon(tmp_path / "home", tmp_path / "photos", model="tiny", model_root=tiny_root)
        daemon.data = disk / "data"
        with daemon:
            daemon.start()
            daemon.settle()
            fill(disk / "filler")
            _expect_refusal(daemon, "Anna", photos[0])
            assert names(daemon) == {}
            (disk / "filler").unlink()
            say(daemon, "Anna", photos[0])
            fill(disk / "filler")
            _expect_refusal(daemon, "Bert", photos[1])
            assert names(daemon) == {"Anna": 1}
            daemon.kill()
            daemon.start()
            assert names(daemon) == {"Anna": 1}
            (disk / "filler").unlink()
            say(daemon, "Bert", photos[1])
            assert names(daemon) == {"Anna": 1, "Bert": 1}


def _expect_refusal(daemon: Daemon, name: str, photo: Path) -> None:
    with pytest.raises(RemoteError, match=r"people\.sqlite3") as error:
        say(daemon, name, photo)
    assert "\n" not in str(error.value)
    assert error.value.hint
