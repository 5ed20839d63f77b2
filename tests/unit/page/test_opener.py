"""The file that leads a browser to the page, and where one lies for a browser that is a snap."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from facewatchd.page import opener

URL = "http://127.0.0.1:8765/#code"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory with programs."""
    directory = tmp_path / "programs"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    monkeypatch.setenv("HOME", str(tmp_path))
    return directory


def browser_is(programs: Path, entry: str) -> None:
    program = programs / "xdg-settings"
    program.write_text(f"#!/bin/sh\necho {entry}\n")
    program.chmod(0o755)


def test_the_file_is_private_and_goes_with_the_page(programs: Path, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("left behind by a page that was killed")
    with opener.leading(URL, tmp_path, "page") as path:
        assert path == tmp_path / "page.html"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert f"url={URL}" in path.read_text()
    assert not path.exists()


@pytest.mark.parametrize(
    ("entry", "is_snap"),
    [
        ("firefox_firefox.desktop", True),
        ("firefox.desktop", False),
        ("chromium_chromium.desktop", False),
        ("..\\/_x", False),
        ("", False),
    ],
)
def test_a_snap_is_given_a_file_that_it_may_read(programs: Path, tmp_path: Path, entry: str, is_snap: bool) -> None:
    (tmp_path / "snap/firefox/common").mkdir(parents=True)
    browser_is(programs, entry)
    with opener.leading(URL, tmp_path, "page") as path:
        assert path.parent == (tmp_path / "snap/firefox/common" if is_snap else tmp_path)


@pytest.mark.parametrize("display", [{}, {"DISPLAY": ":0"}])
def test_without_a_desktop_or_a_browser_nothing_is_opened(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, display: dict[str, str]
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    for name, value in display.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("webbrowser.open", lambda _: False)
    assert not opener.open_file(str(tmp_path / "page.html"))
