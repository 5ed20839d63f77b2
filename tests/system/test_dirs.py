"""``-d``: a directory that can show nothing is an error, and not an empty answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.albums import album
from tests.support.processes import Daemon


@pytest.mark.parametrize("place", ["elsewhere", "photos-2", "photos/../elsewhere"])
def test_a_directory_that_is_not_watched_is_said(tmp_path: Path, tiny_root: Path, place: str) -> None:
    root = tmp_path / "photos"
    photo = min(album(root / "a", 2, people=1))
    (tmp_path / "elsewhere").mkdir()
    with Daemon(tmp_path / "home", root, model="tiny", model_root=tiny_root) as daemon:
        daemon.start()
        daemon.settle()
        result = daemon.query("-d", tmp_path / place, photo)
        assert (result.returncode, result.stdout) == (2, "")
        assert f"is not watched: name a directory in {root}" in result.stderr
        assert result.stderr.count("\n") == 1
        for inside in (root, root / "a", tmp_path):
            assert daemon.query("-d", inside, photo).returncode == 0
        (root / "empty").mkdir()
        assert daemon.query("-d", root / "empty", photo).returncode == 1
        result = daemon.query("-d", root / "not there", photo)
        assert (result.returncode, result.stdout) == (2, "")
        assert f"there is no directory {root / 'not there'}" in result.stderr
