"""What a daemon writes to its log."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.albums import album
from tests.support.processes import Daemon, until


@pytest.fixture
def daemon(tmp_path: Path, tiny_root: Path) -> Iterator[Daemon]:
    album(tmp_path / "photos", 5)
    with Daemon(tmp_path / "home", tmp_path / "photos", model="tiny", model_root=tiny_root) as daemon:
        yield daemon


def test_photos_are_named_only_if_something_is_wrong_with_them(daemon: Daemon) -> None:
    """Whatever happens to them: found, asked for, renamed, copied, deleted, embedded again."""
    (root,) = daemon.roots
    daemon.start()
    daemon.settle()
    photos = sorted(root.iterdir())
    daemon.query(photos[0], "--list-faces")
    daemon.query(photos[1])
    photos[2].rename(root / "renamed.jpg")
    (root / "copy.jpg").write_bytes(photos[0].read_bytes())
    (root / "broken.jpg").write_bytes(photos[0].read_bytes()[:1000])
    photos[3].unlink()
    daemon.call("scan", force=True)
    daemon.settle()
    assert daemon.stop() == 0
    named = set(re.findall(r"[\w.]+\.jpg", daemon.log.read_text()))
    assert named == {"broken.jpg"}


def test_what_ends_the_start_has_a_level_too(daemon: Daemon) -> None:
    daemon.start()
    read, write = os.pipe()
    status = os.fstat(write)
    environment = daemon.environment | {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
    with os.fdopen(read) as told:
        second = subprocess.run(daemon.command, stderr=write, env=environment, check=False)
        os.close(write)
        assert second.returncode == 3
        (line,) = told.read().splitlines()
    assert line.startswith("<3>another daemon holds ")
    until(daemon.status)
