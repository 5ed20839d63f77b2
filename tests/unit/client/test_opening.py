"""``--open``: which program is started on which file, and the sheets for which no file was named."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from facewatchd.client import app as client
from facewatchd.client import opening
from facewatchd.errors import UsageError
from facewatchd.photos import sheet_mark
from tests.support.fake_daemon import FakeDaemon, error, reply
from tests.support.processes import until
from tests.support.replies import answer


class Desktop:
    """A display, and openers that note what they are given."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.programs, self.notes = home / "bin", home / "notes"
        self.programs.mkdir()
        for name, value in {
            "PATH": f"{self.programs}:/usr/bin:/bin",
            "DISPLAY": ":0",
            "XDG_CACHE_HOME": str(home / "cache"),
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        for name in ("xdg-open", "gio"):
            self.install(name)

    def install(self, name: str, then: str = "exit 0") -> None:
        program = self.programs / name
        noting = f'printf "%s\\n" {name} "$@" > {self.notes}.new && mv {self.notes}.new {self.notes}'
        program.write_text(f"#!/bin/sh\n{noting}\n{then}\n")
        program.chmod(0o755)

    def noted(self) -> list[str]:
        return self.notes.read_text().splitlines() if self.notes.exists() else []


@pytest.fixture
def desktop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desktop:
    (tmp_path / "desktop").mkdir()
    return Desktop(tmp_path / "desktop", monkeypatch)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "-n strange name.png"
    file.touch()
    return file


def test_the_desktop_opens_it(desktop: Desktop, file: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    opening.show(Path(file.name))
    assert desktop.noted() == ["xdg-open", str(file)], "no option, whatever its name"
    assert capfd.readouterr() == ("", "")


def test_a_second_program_is_tried(desktop: Desktop, file: Path, capfd: Any) -> None:
    desktop.install("xdg-open", "exit 3")
    opening.show(file)
    assert desktop.noted() == ["gio", "open", str(file)]
    desktop.install("gio", "exit 2")
    opening.show(file)
    assert capfd.readouterr().err == f"no program opened it: {file}\n"


def test_a_viewer_that_stays_is_not_waited_for(desktop: Desktop, file: Path) -> None:
    desktop.install("xdg-open", f"while [ ! -e '{file}.end' ]; do sleep 0.1; done; echo ended > {desktop.notes}")
    started = time.monotonic()
    opening.show(file)
    assert time.monotonic() - started < 10
    assert desktop.noted() == ["xdg-open", str(file)]
    Path(f"{file}.end").touch()
    until(lambda: desktop.noted() == ["ended"])


@pytest.mark.parametrize("missing", ["a display", "programs"])
def test_where_nothing_can_open_it_its_place_is_said(
    desktop: Desktop, file: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    if missing == "programs":
        monkeypatch.setenv("PATH", "/nowhere")
    else:
        monkeypatch.delenv("DISPLAY")
    opening.show(file)
    assert desktop.noted() == []
    said = {"a display": "no desktop here to open it on", "programs": "neither xdg-open nor gio is there to open it"}
    assert capfd.readouterr().err == f"{said[missing]}: {file}\n"
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    opening.show(file)
    assert bool(desktop.noted()) is (missing == "a display")


def test_a_sheet_without_a_name_is_private_and_does_not_stay(desktop: Desktop, tmp_path: Path) -> None:
    directory = tmp_path / "desktop" / "cache" / "facewatchd" / "sheets"
    first = opening.private_file("Anna / ../日本 \udcff\n", ".png")
    assert first.parent == directory
    assert first.name.startswith("Anna-")
    assert first.suffix == ".png"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    directory.chmod(0o755)
    for number in range(30):
        old = directory / f"{number}.png"
        old.touch()
        os.utime(old, (time.time() - number * 60,) * 2)
    os.utime(directory / "3.png", (0, 0))
    assert opening.private_file("", ".pdf").name.startswith("faces-")
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    kept = {file.name for file in directory.iterdir()}
    assert kept == {f"{number}.png" for number in range(20) if number != 3}


def test_the_private_sheets_can_be_removed(desktop: Desktop) -> None:
    opening.remove_private()
    sheet = opening.private_file("Anna", ".png")
    sheet.touch()
    opening.remove_private()
    assert list(sheet.parent.iterdir()) == []


def test_a_place_that_is_not_ours_is_refused(desktop: Desktop, tmp_path: Path) -> None:
    (tmp_path / "desktop" / "cache").write_text("in the way")
    with pytest.raises(UsageError, match="--sheet"):
        opening.private_file("Anna", ".png")


@pytest.mark.parametrize(("matches", "suffix"), [(0, ".png"), (3, ".png"), (60, ".pdf")])
def test_an_answer_is_opened(
    ask: Any, daemon: FakeDaemon, desktop: Desktop, tmp_path: Path, capfd: Any, matches: int, suffix: str
) -> None:
    Image.new("RGB", (200, 200), "red").save(tmp_path / "a.png")
    daemon.script = lambda request: reply(request, answer(*[b"/gone.jpg"] * matches))
    status = ask("-q", "-l", tmp_path / "a.png", "--open")
    assert status == (client.FOUND if matches else client.NOTHING_FOUND)
    assert capfd.readouterr() == ("/gone.jpg\n" if matches else "", "")
    program, path = desktop.noted()
    assert (program, Path(path).suffix) == ("xdg-open", suffix)
    assert sheet_mark.is_sheet(path)
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600


def test_the_named_sheet_is_opened(ask: Any, daemon: FakeDaemon, desktop: Desktop, tmp_path: Path) -> None:
    Image.new("RGB", (200, 200), "red").save(tmp_path / "a.png")
    faces = [{"box": [1, 2, 30, 40], "score": 0.9}]
    daemon.script = lambda request: reply(
        request, {"faces": faces} if request["method"] == "faces" else answer(b"/gone.jpg")
    )
    for options in ([], ["--list-faces"]):
        assert ask(*options, tmp_path / "a.png", "--open", "--sheet", tmp_path / "s.png") == client.FOUND
        assert desktop.noted() == ["xdg-open", str(tmp_path / "s.png")]
    assert ask("--list-faces", tmp_path / "a.png", "--open") == client.FOUND
    assert Path(desktop.noted()[1]).name.startswith("a.png-")


def test_the_album_is_opened_where_there_is_one(ask: Any, daemon: FakeDaemon, desktop: Desktop, tmp_path: Path) -> None:
    daemon.script = lambda request: (
        reply(request, answer()) if request["method"] == "query" else error(request, "unreadable-photo")
    )
    assert ask("a.jpg", "--open", "--html", tmp_path / "a.html") == client.NOTHING_FOUND
    assert desktop.noted() == ["xdg-open", str(tmp_path / "a.html")]
    assert not (tmp_path / "desktop" / "cache").exists(), "no sheet beside it"
