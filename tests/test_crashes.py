"""kill -9 at bad moments: the next start goes on, what was committed is not embedded again, and all is level."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from albums import album, shoot
from processes import Daemon, fill, small_disk, until

Start = Callable[..., Daemon]


def expect_whole(daemon: Daemon, who: dict[Path, int]) -> None:
    """Every photo is searchable, and catalog, index and disk agree."""
    status = daemon.settle(120)
    assert (status["photos"], status["failed"], status["faces"]) == (len(who), 0, len(who))
    assert daemon.call("verify")["problems"] == []
    photo, person = next(iter(who.items()))
    assert daemon.paths(photo) == {path for path, other in who.items() if other == person}


def test_killed_in_a_first_import(start: Start, tmp_path: Path, tiny_root: Path) -> None:
    root = tmp_path / "photos"
    who = album(root, 400)
    daemon = start(root, model="tiny", model_root=tiny_root)
    until(lambda: daemon.status()["photos"] >= 60, every=0.01)
    daemon.kill()
    daemon.start()
    committed = daemon.status()["photos"] - daemon.embedded()
    assert 60 <= committed < 400, "the kill was in the middle"
    expect_whole(daemon, who)
    assert daemon.embedded() <= 400 - committed


@pytest.mark.parametrize("file", ["index.hnsw.new", "index.json.new", "index.json", "index.hnsw"])
def test_killed_during_a_checkpoint(tmp_path: Path, tiny_root: Path, file: str) -> None:
    """The process dies when it would sync this file, or the directory after renaming it."""
    root = tmp_path / "photos"
    who = album(root, 30)
    daemon = Daemon(tmp_path / "home", root, model="tiny", model_root=tiny_root)
    environment = dict(daemon.environment)
    with daemon:
        daemon.start()
        daemon.settle()
        assert daemon.stop() == 0
        shoot(root / "one more.jpg", [1], 5000)
        who[root / "one more.jpg"] = 1
        hook(daemon, tmp_path, KILLED_AT_SYNC.format(file=file))
        assert daemon.launch().wait(60) == -signal.SIGKILL
        daemon.environment = environment
        daemon.start()
        expect_whole(daemon, who)
        assert daemon.embedded() == 0


def hook(daemon: Daemon, directory: Path, code: str) -> None:
    """Have the daemon's interpreter run some code when it starts."""
    place = directory / "hook"
    place.mkdir()
    (place / "sitecustomize.py").write_text(code)
    daemon.environment = {**daemon.environment, "PYTHONPATH": str(place)}


KILLED_AT_SYNC = """
import os, pathlib, sys
if "run" in sys.argv:
    replace = pathlib.Path.replace
    fsync = os.fsync
    renamed = []
    def replaced(self, target):
        result = replace(self, target)
        renamed.append(pathlib.Path(target).name)
        return result
    def deadly(descriptor):
        name = os.path.basename(os.readlink(f"/proc/self/fd/{{descriptor}}"))
        if name == "{file}" or renamed[-1:] == ["{file}"]:
            os.kill(os.getpid(), 9)
        return fsync(descriptor)
    pathlib.Path.replace, os.fsync = replaced, deadly
"""


@pytest.mark.parametrize("moment", ["half a file", "whole file", "before the index", "after the index"])
def test_every_state_that_a_kill_during_a_checkpoint_leaves(
    start: Start, tmp_path: Path, tiny_root: Path, moment: str
) -> None:
    root = tmp_path / "photos"
    who = album(root, 30)
    daemon = start(root, model="tiny", model_root=tiny_root)
    daemon.settle()
    assert daemon.stop() == 0
    (directory,) = (path for path in daemon.data.iterdir() if path.is_dir())
    index, manifest = directory / "index.hnsw", directory / "index.json"
    old_index, old_manifest = index.read_bytes(), manifest.read_bytes()
    shoot(root / "one more.jpg", [1], 5000)
    who[root / "one more.jpg"] = 1
    daemon.start()
    daemon.settle()
    assert daemon.stop() == 0
    new_index = index.read_bytes()
    if moment in ("half a file", "whole file"):
        (directory / "index.hnsw.new").write_bytes(new_index[:1000] if moment == "half a file" else new_index)
        manifest.write_bytes(old_manifest)
    if moment != "after the index":
        index.write_bytes(old_index)
    daemon.start()
    expect_whole(daemon, who)
    assert daemon.embedded() == 0
    assert "built again" not in daemon.log.read_text()


def test_a_photo_on_which_the_process_died_twice_is_set_aside(start: Start, tmp_path: Path, tiny_root: Path) -> None:
    root = tmp_path / "photos"
    who = album(root, 6)
    killer = shoot(root / "killer.jpg", [1], 600)
    daemon = Daemon(tmp_path / "home", root, model="tiny", model_root=tiny_root)
    hook(daemon, tmp_path, KILLER.format(size=killer.stat().st_size))
    with daemon:
        for _ in range(2):
            assert daemon.launch().wait(60) == -signal.SIGKILL
        daemon.start()
        status = daemon.settle()
        assert (status["photos"], status["failed"]) == (7, 1)
        why = daemon.call("why", path=str(killer))
        assert (why["state"], "crashed" in why["reason"]) == ("failed", True)
        photo = next(iter(who))
        assert daemon.paths(photo) == {path for path, person in who.items() if person == who[photo]}
        shutil.copy(photo, killer)
        until(lambda: killer in daemon.paths(photo))


KILLER = """
import os, sys
if "run" in sys.argv:
    from facewatchd import photos
    decode = photos.decode
    def deadly(data):
        if len(data) == {size}:
            os.kill(os.getpid(), 9)
        return decode(data)
    photos.decode = deadly
"""


def test_sigterm_in_an_import_ends_cleanly_and_soon(start: Start, tmp_path: Path, tiny_root: Path) -> None:
    root = tmp_path / "photos"
    who = album(root, 300)
    daemon = start(root, model="tiny", model_root=tiny_root)
    until(lambda: daemon.status()["photos"] >= 20, every=0.01)
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(5) == 0
    assert "Traceback" not in daemon.log.read_text()
    daemon.start()
    expect_whole(daemon, who)


def test_queries_do_not_wait_for_the_backlog(start: Start, tmp_path: Path, tiny_root: Path) -> None:
    root = tmp_path / "photos"
    who = album(root, 600)
    first = next(iter(who))
    daemon = start(root, model="tiny", model_root=tiny_root)
    until(lambda: daemon.status()["photos"] >= 20, every=0.01)
    answers = 0
    while daemon.status()["pending"] > 100:
        answer = daemon.call("query", 5.0, photos=[{"path": str(first)}])
        assert answer["complete"] is False
        answers += 1
    assert answers >= 3
    live = shoot(root / "live.jpg", [3], 9999)
    until(lambda: daemon.call("why", path=str(live))["state"] == "indexed", deadline=30)


def test_on_a_full_disk_it_ends_soon_and_starts_again(tmp_path: Path, tiny_root: Path) -> None:
    root = tmp_path / "photos"
    who = album(root, 60)
    with small_disk(tmp_path / "disk") as disk:
        daemon = Daemon(tmp_path / "home", root, model="tiny", model_root=tiny_root)
        daemon.data = disk / "data"
        with daemon:
            daemon.start()
            daemon.settle()
            fill(disk / "filler")
            more = album(root / "more", 400, first_seed=1000)
            until(lambda: daemon.status()["state"] == "degraded")
            assert daemon.process is not None
            daemon.process.send_signal(signal.SIGTERM)
            assert daemon.process.wait(8) == 0
            daemon.start()
            photo, person = next(iter(who.items()))
            assert daemon.paths(photo) >= {path for path, other in who.items() if other == person}
            assert daemon.stop() == 0
            (disk / "filler").unlink()
            daemon.start()
            expect_whole(daemon, who | more)


@pytest.mark.parametrize("damage", ["every page", "one page in the middle"])
def test_a_catalog_damaged_behind_its_header_is_set_aside_at_the_latest_on_the_second_start(
    start: Start, tmp_path: Path, tiny_root: Path, damage: str
) -> None:
    root = tmp_path / "photos"
    who = album(root, 40)
    daemon = start(root, model="tiny", model_root=tiny_root)
    daemon.settle()
    assert daemon.stop() == 0
    (catalog,) = daemon.data.glob("*/catalog.sqlite3")
    pages = bytearray(catalog.read_bytes())
    size = 16384
    for page in range(1, len(pages) // size) if damage == "every page" else [len(pages) // size // 2]:
        pages[page * size : page * size + 200] = b"\xa5" * 200
    catalog.write_bytes(pages)
    shoot(root / "new.jpg", [1], 999)  # something to write
    who[root / "new.jpg"] = 1
    for _ in range(3):
        process = daemon.launch()
        until(lambda ended=process.poll: ended() is not None or aside(catalog) or is_settled(daemon), deadline=30)
        if aside(catalog):
            break
        daemon.kill()
    until(lambda: daemon.call("status"))
    expect_whole(daemon, who)
    assert aside(catalog)
    assert "Traceback" not in daemon.log.read_text()


def aside(catalog: Path) -> list[Path]:
    return list(catalog.parent.glob("catalog.sqlite3.damaged-*[0-9]"))


def is_settled(daemon: Daemon) -> bool:
    return daemon.status()["state"] in ("idle", "degraded")
