"""What goes wrong for a while and comes right again: the index, the model, the disk, and memory that was given back."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.albums import album, shoot
from tests.support.processes import Daemon, until

Start = Callable[..., Daemon]


def test_verify_finds_what_differs_and_repair_mends_it(start: Start, tmp_path: Path, tiny_root: Path) -> None:
    root = tmp_path / "photos"
    who = album(root, 12)
    daemon = start(root, model="tiny", model_root=tiny_root)
    daemon.settle()
    (catalog,) = daemon.data.glob("*/catalog.sqlite3")
    with sqlite3.connect(catalog) as db:  # behind the daemon's back: the index knows nothing of it
        db.execute("DELETE FROM face WHERE id <= 3")
        db.execute("UPDATE photo SET size = 1 WHERE CAST(path AS TEXT) LIKE '%0007.jpg'")
    db.close()
    found = daemon.control("verify")
    assert found.returncode == 1
    assert "0007.jpg: not as it was recorded" in found.stdout
    assert "left over in the index" in found.stdout
    assert daemon.control("verify", "--repair").returncode == 0
    daemon.settle()
    again = daemon.control("verify")
    assert again.returncode == 0, again.stdout
    assert len(who) == daemon.status()["photos"]


def test_an_idle_model_is_given_back_and_comes_again(start: Start, tmp_path: Path, tiny_root: Path) -> None:
    root = tmp_path / "photos"
    who = album(root, 4)
    daemon = Daemon(tmp_path / "home", root, model="tiny", model_root=tiny_root, resources="unload_after = 0.3")
    daemon.hook(QUICK_TICK)
    pack, away = tiny_root / "models" / "tiny", tmp_path / "away"
    with daemon:
        daemon.start()
        daemon.settle()
        outside = shoot(tmp_path / "query.jpg", [1], 77)
        for _ in range(2):
            assert daemon.paths(outside) == {path for path, person in who.items() if person == 1}
            until(lambda: needs_its_files(daemon, outside, pack, away), every=1.5)


QUICK_TICK = """
import sys
if "run" in sys.argv:
    from facewatchd.daemon import supervisor
    supervisor.TICK = 0.1
"""


def needs_its_files(daemon: Daemon, photo: Path, pack: Path, away: Path) -> bool:
    """Whether a query fails while the model's files are away: it is not in memory."""
    pack.rename(away)
    try:
        result = daemon.query("-l", photo)
    finally:
        away.rename(pack)
    return result.returncode == 5 and "tiny" in result.stderr


def test_a_model_that_is_away_stops_indexing_and_nothing_is_blamed_on_the_photos(
    tmp_path: Path, tiny_root: Path
) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    daemon = Daemon(tmp_path / "home", root, model="tiny", model_root=tiny_root, resources="unload_after = 0.5")
    daemon.hook(
        "import sys\nif 'run' in sys.argv:\n    from facewatchd.indexing import workers\n"
        "    workers.MODEL_RETRY = 0.5\n"
    )
    pack, away = tiny_root / "models" / "tiny", tmp_path / "away"
    with daemon:
        daemon.start()
        pack.rename(away)
        try:
            who = album(root, 5)
            until(lambda: daemon.status()["state"] == "degraded")
            assert daemon.status()["failed"] == 0
            assert daemon.status()["pending"] == 5
        finally:
            away.rename(pack)
        assert daemon.settle()["photos"] == len(who)
        assert daemon.status()["failed"] == 0


@pytest.mark.parametrize("where", ["digested", "decoded"])
def test_a_disk_that_fails_for_a_while_costs_nothing(tmp_path: Path, tiny_root: Path, where: str) -> None:
    root = tmp_path / "photos"
    who = album(root, 6)
    daemon = Daemon(tmp_path / "home", root, model="tiny", model_root=tiny_root)
    broken = tmp_path / "broken"
    broken.touch()
    daemon.hook(FAILING_DISK[where].format(broken=broken))
    with daemon:
        daemon.start()
        until(lambda: "read fails" in daemon.log.read_text())
        assert daemon.status()["failed"] == 0
        broken.unlink()
        assert daemon.settle()["photos"] == len(who)
        assert daemon.status()["failed"] == 0


FAILING_DISK = {
    "digested": """
import errno, os, sys
if "run" in sys.argv:
    from facewatchd.photos import contents; from facewatchd.photos import files as photos
    opened = contents.opened
    def failing(path):
        if os.path.exists("{broken}"):
            print("read fails", file=sys.stderr, flush=True)
            raise photos.DiskError("the file cannot be read: Input/output error")
        return opened(path)
    contents.opened = failing
""",
    "decoded": """
import errno, os, sys
if "indexing" in sys.argv:
    preadv = os.preadv
    def failing(*arguments):
        if os.path.exists("{broken}"):
            print("read fails", file=sys.stderr, flush=True)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return preadv(*arguments)
    os.preadv = failing
""",
}


def test_a_known_directory_that_is_not_there_at_the_start_is_offline(
    start: Start, tmp_path: Path, tiny_root: Path
) -> None:
    root = tmp_path / "photos"
    who = album(root, 3)
    daemon = start(root, model="tiny", model_root=tiny_root)
    daemon.settle()
    assert daemon.stop() == 0
    away = root.rename(tmp_path / "away")
    daemon.start()
    until(lambda: daemon.status()["roots"][0]["state"] == "offline")
    assert daemon.status()["photos"] == len(who)
    away.rename(root)
    until(lambda: daemon.status()["roots"][0]["state"] == "watching")
    assert daemon.settle()["photos"] == len(who)
    assert daemon.embedded() == 0
