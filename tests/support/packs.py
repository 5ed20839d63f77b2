"""Packs that are chosen, what an error of one looks like, and the pack `opencv`, which is fetched once as users do."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from facewatchd.errors import FacewatchError
from facewatchd.models import registry
from facewatchd.models.install import Download
from tests.support.paths import PROJECT

FETCHED = PROJECT / ".pytest_cache/d/insightface"
"""Where `opencv_root` is. ``pytest --cache-clear`` empties it."""
ENVIRONMENT = dict(os.environ)
"""The user's own, before any test changes it: pip may be told in it, or below HOME, where its index is."""
UNREACHABLE = "http://127.0.0.1:9/"


def assert_one_line(error: FacewatchError, *mentions: str) -> None:
    line = str(error)
    assert "\n" not in line
    assert error.hint
    for mention in mentions:
        assert mention in line


def assert_nothing_installed(root: Path) -> None:
    assert [*(root / "models").glob("*"), *(root / "models").glob(".*")] == []


def choose(
    spec: str, root: Path, said: list[str], last: str | None = None, base_url: str = UNREACHABLE
) -> registry.Pack:
    download = Download(base_url=base_url, zoo_url=UNREACHABLE)
    return registry.choose(spec, root, last, notify=said.append, download=download)


def opencv_root() -> Path:
    """An InsightFace root that holds the pack `opencv`; the test is skipped where that cannot be fetched.

    It is fetched by the first test that asks, for all processes of the run, and kept for later runs.
    """
    reason = _reason_without_opencv()
    if reason:
        pytest.skip(f"the pack opencv cannot be fetched: {reason}")
    return FETCHED


def link_opencv(root: Path) -> None:
    """Have the same pack in another root."""
    (root / "models").mkdir(parents=True, exist_ok=True)
    (root / "models/opencv").symlink_to(opencv_root() / "models/opencv")


@cache
def _reason_without_opencv() -> str:
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    FETCHED.mkdir(parents=True, exist_ok=True)
    with (FETCHED / "lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if registry.find("opencv", FETCHED) is not None:
            return ""
        lock.seek(0)
        failed, _, reason = lock.read().partition("\n")
        if failed != run:
            reason = _fetch()
            lock.truncate(0)
            lock.write(f"{run}\n{reason}" if reason else "")
        return reason


def _fetch() -> str:
    """Run the command of the README; return its last line where it failed."""
    config = FETCHED / "config.toml"
    config.write_text(f"model_root = {str(FETCHED)!r}\n")
    command = [sys.executable, "-m", "facewatchd", "models", "fetch", "opencv", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=600, check=False)
    return "" if done.returncode == 0 else done.stderr.strip().rpartition("\n")[2]
