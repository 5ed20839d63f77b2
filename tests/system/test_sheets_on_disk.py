"""Contact sheets from the command to the disk: what `--sheet` may replace, and that the daemon indexes none."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.support.albums import album
from tests.support.processes import Daemon, until

SUFFIXES = (".png", ".jpg", ".webp")


@pytest.fixture
def daemon(tmp_path: Path, tiny_root: Path, start: Callable[..., Daemon]) -> Daemon:
    album(tmp_path / "photos", 4, people=2)
    daemon = start(tmp_path / "photos", model="tiny", model_root=tiny_root)
    daemon.settle()
    return daemon


def _everything(directory: Path) -> dict[Path, tuple[int, bytes]]:
    return {path: (path.stat().st_ino, path.read_bytes()) for path in directory.rglob("*") if path.is_file()}


def test_photos_by_a_shells_pattern_are_not_drawn_over(daemon: Daemon, tmp_path: Path) -> None:
    """``--sheet *.jpg`` takes the first photo for its file."""
    photos = sorted((tmp_path / "photos").iterdir())
    before = _everything(tmp_path / "photos")
    refused = "only an earlier sheet is replaced", "is a query photo"
    for target, *rest in ([photos[0], "-n", "3", *photos[1:]], [photos[1], photos[1]]):
        done = daemon.query("--sheet", target, *rest)
        assert (done.returncode, done.stdout) == (2, "")
        assert len(done.stderr.splitlines()) == 1
        assert str(target) in done.stderr
        assert any(reason in done.stderr for reason in refused)
    assert _everything(tmp_path / "photos") == before


def test_sheets_in_a_watched_directory_are_not_indexed(daemon: Daemon, tmp_path: Path) -> None:
    root = tmp_path / "photos"
    photo = root / "0000.jpg"
    sheets = [root / f"sheet{suffix}" for suffix in SUFFIXES]
    for sheet in sheets:
        assert daemon.query(photo, "--sheet", sheet).returncode == 0
    renamed = root / "2019-06-30 Anna.jpeg"
    sheets[1].rename(renamed)
    sheets[1] = renamed
    daemon.settle()
    for sheet in sheets:
        known = daemon.call("why", path=str(sheet))
        assert (known["state"], known["faces"]) == ("excluded", [])
        assert "contact sheet" in known["reason"]
    assert not daemon.paths(photo) & set(sheets)
    assert daemon.status()["photos"] == 4
    assert daemon.embedded() == 4
    assert daemon.call("verify")["problems"] == []
    # Again: it replaces what it wrote, and reads none of it.
    assert daemon.query(photo, "--sheet", sheets[0]).returncode == 0
    daemon.settle()
    assert daemon.embedded() == 4


def test_the_pages_of_a_large_sheet_are_not_indexed(daemon: Daemon, tmp_path: Path) -> None:
    """In a watched directory; a smaller sheet takes away those that it does not need."""
    root = tmp_path / "photos"
    album(root / "more", 24, people=1, first_seed=100)
    daemon.settle()
    photo, target = root / "0000.jpg", root / "sheet.jpg"
    done = daemon.query("-n", "0", "--no-collapse", photo, "--sheet", target)
    assert done.returncode == 0
    assert f"2 pages: {target} to {root}/sheet-2.jpg; " in done.stderr
    daemon.settle()
    assert [daemon.call("why", path=str(root / name))["state"] for name in ("sheet.jpg", "sheet-2.jpg")] == [
        "excluded",
        "excluded",
    ]
    assert daemon.status()["photos"] == 28
    assert daemon.query("-n", "3", photo, "--sheet", target).returncode == 0
    assert not (root / "sheet-2.jpg").exists()


def test_an_answer_is_opened_in_the_desktops_viewer(daemon: Daemon, tmp_path: Path) -> None:
    """Also when the results are piped; without a desktop its place is said."""
    (tmp_path / "bin").mkdir()
    opener, noted = tmp_path / "bin" / "xdg-open", tmp_path / "noted"
    opener.write_text(f'#!/bin/sh\nprintf %s "$1" > {noted}\n')
    opener.chmod(0o755)
    daemon.environment |= {"PATH": f"{opener.parent}:{os.environ['PATH']}", "XDG_CACHE_HOME": str(tmp_path)}
    photo = tmp_path / "photos" / "0000.jpg"
    for display, said in ((":0", ""), ("", "no desktop here to open it on: ")):
        daemon.environment |= {"DISPLAY": display, "WAYLAND_DISPLAY": ""}
        done = daemon.query("-l", photo, "--open")
        assert (done.returncode, done.stdout.splitlines()[0]) == (0, str(photo))
        sheet = Path(noted.read_text() if display else done.stderr.removeprefix(said).rstrip("\n"))
        assert done.stderr == (f"{said}{sheet}\n" if said else "")
        assert sheet.parent == tmp_path / "facewatchd" / "sheets"
        assert sheet.stat().st_mode & 0o777 == 0o600
        with Image.open(sheet) as image:
            assert len(image.getcolors(1 << 20) or [0] * 100) > 50, "photos are on it"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_edited_sheet_is_a_photo(daemon: Daemon, tmp_path: Path, suffix: str) -> None:
    """An editor that keeps no mark makes a picture of the user's own out of it, which no sheet replaces any more."""
    sheet = tmp_path / "photos" / f"sheet{suffix}"
    assert daemon.query(tmp_path / "photos" / "0000.jpg", "--sheet", sheet).returncode == 0
    daemon.settle()
    assert daemon.call("why", path=str(sheet))["state"] == "excluded"
    with Image.open(sheet) as image:
        image.crop((0, 0, 230, 280)).save(sheet)
    until(lambda: daemon.settle() and daemon.call("why", path=str(sheet))["state"] in ("indexed", "no-face"))
    assert daemon.query(tmp_path / "photos" / "0000.jpg", "--sheet", sheet).returncode == 2
