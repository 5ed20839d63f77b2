"""A named pipe where a daemon's own file should be: one line, and no hang."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.processes import Daemon


@pytest.mark.parametrize("name", ["last-run.json", "index.json"])
def test_a_daemon_says_it_in_one_line_and_ends(tmp_path: Path, tiny_root: Path, name: str) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    with Daemon(tmp_path / "home", photos, model="tiny", model_root=tiny_root) as daemon:
        daemon.start()
        assert daemon.stop() == 0
        (path,) = daemon.data.glob("*/catalog.sqlite3" if name == "index.json" else name)
        path = path.with_name(name)
        path.unlink(missing_ok=True)
        os.mkfifo(path)
        daemon.log.write_bytes(b"")
        assert daemon.launch().wait(60) == 1
        lines = daemon.log.read_text().splitlines()
        assert f"{path} is a named pipe" in lines[-1]
        assert not any("Traceback" in line for line in lines)
