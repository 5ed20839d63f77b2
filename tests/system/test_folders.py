"""``--link-to`` and ``--copy-to``: directories of matched photos, filled by the command from a daemon's answers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.albums import shoot
from tests.support.processes import Daemon, until

ANNA, BEN = 1, 2
TAKEN = 1_500_000_000_123_456_789


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, tiny_root: Path) -> Iterator[Daemon]:
    """30 photos of Anna below two watched directories, two of one name, and one of Ben."""
    place = tmp_path_factory.mktemp("folders")
    roots = [place / "near", place / "far"]
    for number in range(28):
        shoot(roots[0] / f"{number:02d}.jpg", [ANNA], number)
    for number, name in enumerate(("a/IMG_0001.jpg", "b/img_0001.JPG")):
        shoot(roots[1] / name, [ANNA], 50 + number)
    shoot(roots[1] / "ben.jpg", [BEN], 60)
    for photo in roots[0].glob("*.jpg"):
        os.utime(photo, ns=(TAKEN, TAKEN))
    with Daemon(place / "home", *roots, model="tiny", model_root=tiny_root) as daemon:
        daemon.start()
        daemon.settle()
        daemon.call("assign", name="Anna", who=[{"path": str(roots[0] / "00.jpg")}])
        yield daemon


def ask(daemon: Daemon, *arguments: str | Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    result = daemon.query(*arguments)
    assert result.returncode == status, result.stderr
    return result


def linked(folder: Path) -> set[Path]:
    return {path.readlink() for path in folder.iterdir() if path.is_symlink()}


def photos(daemon: Daemon) -> set[Path]:
    """Those that show Anna."""
    return daemon.paths(daemon.roots[0] / "00.jpg")


def test_copies_of_all_photos(daemon: Daemon, tmp_path: Path) -> None:
    folder = tmp_path / "anna"
    printed = ask(daemon, "-l", "--copy-to", folder, "@anna").stdout.splitlines()
    assert set(map(Path, printed)) == photos(daemon), "all of them, and not the twenty most alike"
    assert {path.read_bytes() for path in folder.iterdir()} == {path.read_bytes() for path in photos(daemon)}
    assert len(list(folder.iterdir())) == 30
    assert (folder / "05.jpg").stat().st_mtime_ns == TAKEN
    assert {name.casefold() for name in os.listdir(folder)} >= {"img_0001.jpg", "img_0001 (2).jpg"}
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    ask(daemon, "--copy-to", folder, "@anna")
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    ask(daemon, "--copy-to", tmp_path / "few", "-n", "3", "@anna")
    assert len(list((tmp_path / "few").iterdir())) == 3


def test_what_cannot_be_filled(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    for argument, words in ((tmp_path / "file", "no directory"), (tmp_path / "none" / "anna", "there is no directory")):
        for option in ("--copy-to", "--link-to"):
            result = ask(daemon, option, argument, "@anna", status=2)
            assert words in result.stderr
            assert len(result.stderr.splitlines()) == 1
            assert result.stdout == "", "the daemon is not asked"
    ask(daemon, "--link-to", tmp_path / "nobody", "--since", "2090", "@anna", status=1)
    assert os.listdir(tmp_path) == ["file"]


def test_links_in_a_watched_directory_are_no_photos(daemon: Daemon) -> None:
    before, wanted = daemon.status()["photos"], photos(daemon)
    folder = daemon.roots[0] / "album"
    ask(daemon, "--link-to", folder, "--sync", "@anna")
    assert linked(folder) == wanted
    shutil.copy(daemon.roots[1] / "ben.jpg", folder / "own.jpg")
    daemon.settle()
    daemon.call("scan", paths=[])
    assert daemon.settle()["photos"] == before + 1, "a photo that the user puts there is one"
    assert photos(daemon) == wanted
    assert "a link among those that facewatch-query made" in ask_why(daemon, next(iter(folder.glob("0*.jpg"))))
    shutil.rmtree(folder)
    until(lambda: daemon.settle()["photos"] == before)


def test_a_watched_directory_with_links_of_the_users_is_refused(daemon: Daemon, tmp_path: Path) -> None:
    own = daemon.roots[0] / "own"
    own.mkdir()
    (own / "link.jpg").symlink_to(shoot(tmp_path / "outside.jpg", [BEN], 80))
    result = ask(daemon, "--link-to", own, "@anna", status=2)
    assert "is watched and holds links of your own" in result.stderr.splitlines()[-1]
    assert os.listdir(own) == ["link.jpg"]
    ask(daemon, "--link-to", own / "anna", "@anna")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "link.jpg").symlink_to("/elsewhere")
    ask(daemon, "--link-to", elsewhere, "@anna")
    shutil.rmtree(own)
    until(lambda: daemon.settle()["state"] == "idle")


def ask_why(daemon: Daemon, path: Path) -> str:
    return daemon.control("why", path).stdout


def test_sync_follows_the_answer_but_not_an_incomplete_one(daemon: Daemon, tmp_path: Path) -> None:
    folder = tmp_path / "anna"
    ask(daemon, "--link-to", folder, "@anna")
    (folder / "mine.jpg").symlink_to("/elsewhere")
    shutil.copy(daemon.roots[0] / "01.jpg", folder / "own.jpg")
    own = {Path("/elsewhere")}
    moved = (daemon.roots[0] / "07.jpg").rename(daemon.roots[0] / "moved.jpg")
    ask(daemon, "--wait", "--link-to", folder, "--sync", "@anna")
    assert linked(folder) == photos(daemon) | own
    assert moved in linked(folder)

    before = linked(folder)
    daemon.call("pause")
    shoot(daemon.roots[0] / "08.jpg", [BEN], 99)
    until(lambda: daemon.status()["pending"])
    result = ask(daemon, "--link-to", folder, "--sync", "-n", "5", "@anna")
    assert linked(folder) == before
    assert "links that match no more stayed, as 1 photo is not searchable yet" in result.stderr
    daemon.call("resume")
    daemon.settle()

    away = daemon.roots[1].rename(daemon.roots[1].with_name("unmounted"))
    until(lambda: not daemon.status()["pending"] and daemon.status()["roots"][1]["state"] == "offline")
    result = ask(daemon, "--link-to", folder, "--sync", "--dir", daemon.roots[0], "@anna")
    assert linked(folder) == before
    assert f"as {daemon.roots[1]} is offline" in result.stderr
    away.rename(daemon.roots[1])
    until(lambda: daemon.status()["roots"][1]["state"] == "watching")

    ask(daemon, "--wait", "--link-to", folder, "--sync", "@anna")
    assert linked(folder) == photos(daemon) | own
    assert daemon.roots[0] / "08.jpg" not in linked(folder)
    assert (folder / "own.jpg").is_file()
    assert not (folder / "own.jpg").is_symlink()


def test_what_arrives_is_linked_too(daemon: Daemon, tmp_path: Path) -> None:
    folder, code = tmp_path / "anna", "import sys; from facewatchd.client.app import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "--follow", "-l", "--link-to", str(folder), "@anna"]
    with subprocess.Popen([*command, "--socket", str(daemon.socket)], stdout=subprocess.PIPE) as process:
        until(lambda: len(linked(folder)) == len(photos(daemon)))
        arrived = shoot(daemon.roots[0] / "c" / "00.jpg", [ANNA], 70)
        until(lambda: arrived in linked(folder))
        process.terminate()
    assert (folder / "00 (2).jpg").readlink() == arrived


def test_two_questions_share_a_directory(daemon: Daemon, tmp_path: Path) -> None:
    folder, ben = tmp_path / "family", daemon.roots[1] / "ben.jpg"
    ask(daemon, "--link-to", folder, "--sync", "@anna")
    ask(daemon, "--link-to", folder, "--sync", ben)
    both = photos(daemon) | daemon.paths(ben)
    assert linked(folder) == both
    ask(daemon, "--link-to", folder, "--sync", "-n", "2", "@ANNA")
    assert len(linked(folder)) == 2 + len(daemon.paths(ben))


def test_links_of_a_person_who_was_renamed_or_merged_follow_the_answer(daemon: Daemon, tmp_path: Path) -> None:
    """Also where several people were asked for, and where the command was not run in between."""
    folder, together, ben = tmp_path / "clara", tmp_path / "together", daemon.roots[1] / "ben.jpg"
    both = shoot(daemon.roots[0] / "both.jpg", [ANNA, BEN], 120)
    daemon.settle()
    for name in ("Clara", "Dora"):
        daemon.call("assign", name=name, who=[{"path": str(ben)}], anyway=True)
        ask(daemon, "--link-to", folder, f"@{name}")
    ask(daemon, "--link-to", together, "@anna", "--with", "@dora")
    assert both in linked(together)
    assert {ben, both} <= linked(folder)
    daemon.call("rename_person", name="Dora", new="Eva")
    daemon.call("rename_person", name="Eva", new="Fritz")
    ask(daemon, "--link-to", folder, "--sync", "@fritz")
    daemon.call("merge_people", name="Clara", into="Fritz")
    both.unlink()
    daemon.settle()
    ask(daemon, "--link-to", folder, "--sync", "@fritz")
    assert linked(folder) == daemon.paths(ben)
    ask(daemon, "--link-to", together, "--sync", "@anna", "--with", "@fritz", status=1)
    assert both not in linked(together)
