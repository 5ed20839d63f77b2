"""A daemon tells photos that this program does not read from those that are broken."""

from __future__ import annotations

import os
import shutil
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from facewatchd.values import PhotoState
from tests.support.processes import Daemon
from tests.support.samples import noise


def test_the_daemon_tells_unsupported_from_failed(start: Any, tmp_path: Any, tiny_root: Any) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    tifffile.imwrite(root / "raw.tif", np.zeros((8, 8), np.uint16), photometric="cfa", metadata=None)
    shutil.copy(root / "raw.tif", root / "copy of raw")
    (root / "drawing.jpg").write_bytes(b"<svg></svg>")
    Image.fromarray(noise(1)).save(root / "torn.png")
    os.truncate(root / "torn.png", 100)
    (root / "notes.jpg").write_text("these are notes")
    (root / "notes.txt").write_text("these are notes")
    daemon: Daemon = start(root, model="tiny", model_root=tiny_root)
    status = daemon.settle()
    assert (status["photos"], status["failed"]) == (5, 2)
    states = {path.name: daemon.call("why", path=str(path)) for path in root.iterdir()}
    assert {name: told["state"] for name, told in states.items()} == {
        "raw.tif": PhotoState.UNSUPPORTED,
        "copy of raw": PhotoState.UNSUPPORTED,
        "drawing.jpg": PhotoState.UNSUPPORTED,
        "torn.png": PhotoState.FAILED,
        "notes.jpg": PhotoState.FAILED,
        "notes.txt": PhotoState.EXCLUDED,
    }
    assert "raw" in states["raw.tif"]["reason"]
    assert "drawing" in states["drawing.jpg"]["reason"]
