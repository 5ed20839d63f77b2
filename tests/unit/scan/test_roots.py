"""The watched directories, asked while they change."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from facewatchd.ignore import Exclusion
from facewatchd.scan import roots
from facewatchd.store.catalog import Catalog
from facewatchd.system.mounts import MountPoints, device_of


def test_the_disk_around_a_photo_is_known_while_all_directories_above_it_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each directory is removed just when it was found to be the nearest that is there."""
    root = tmp_path / "photos"
    (root / "a" / "b" / "c").mkdir(parents=True)
    looked_at = []

    def vanishing(directory: bytes, below: bytes, points: MountPoints) -> int:
        looked_at.append(directory)
        if directory != below:
            shutil.rmtree(directory)
        return device_of(directory, below, points)

    monkeypatch.setattr(roots, "device_of", vanishing)
    catalog = Catalog(tmp_path / "catalog.sqlite3", "tiny-00000000", 24)
    watched = roots.Roots([os.fsencode(root)], Exclusion(), catalog)
    try:
        assert watched.device_around(os.fsencode(root / "a" / "b" / "c" / "photo.jpg")) == root.stat().st_dev
    finally:
        watched.close()
        catalog.close()
    assert looked_at == [os.fsencode(root / place) for place in ("a/b/c", "a/b", "a", "")]
