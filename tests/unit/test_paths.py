"""Where the socket is: platformdirs says it, or what it would say is known without it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from facewatchd import paths


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / str(os.getuid())
    directory.mkdir(mode=0o700)
    monkeypatch.setattr(paths, "RUNTIME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
    return directory


def without_platformdirs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "platformdirs", None)  # type: ignore[arg-type]


def test_the_usual_place_is_known_without_platformdirs(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_platformdirs(monkeypatch)
    assert paths.socket_path() == runtime / "facewatchd" / "socket"


def test_a_place_that_others_may_enter_is_not_taken(runtime: Path) -> None:
    runtime.chmod(0o755)
    assert paths.socket_path() != runtime / "facewatchd" / "socket"


@pytest.mark.parametrize("change", ["link", "gone", "other"])
def test_anything_else_is_for_platformdirs_to_say(
    runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    if change == "other":
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    else:
        runtime.rename(tmp_path / "aside")
    if change == "link":
        runtime.symlink_to(tmp_path / "aside")
    without_platformdirs(monkeypatch)
    with pytest.raises(ImportError):
        paths.socket_path()
