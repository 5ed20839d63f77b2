"""A new user's way, from an empty home to a person with a name and her album: by the page, and by commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from facewatchd.models import registry
from tests.benchmarks import walk
from tests.support import packs, portraits


@pytest.mark.parametrize("way", [walk.by_page, walk.by_commands])
def test_from_an_empty_home_to_her_album(way: Callable[..., walk.Way], chromium: Browser, tmp_path: Path) -> None:
    """It ends with twenty-one faces said to be Anna, and their pictures in an album that asks nobody for anything."""
    pack = registry.find("opencv", packs.opencv_root())
    assert pack is not None
    home = walk.Home(tmp_path, pack.spec)
    photo = home.fill(portraits.shipped()[:1], walk.CONFIRMED + 3)
    steps = way(home, photo, chromium).steps
    assert [step.what for step in steps][-3:] == ["20 are confirmed", "the album", "the album is open"]
