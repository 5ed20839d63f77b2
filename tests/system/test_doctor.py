"""`facewatchd doctor` with nothing replaced: the real libraries and models, in processes of their own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from facewatchd.cli import app as cli
from facewatchd.models import registry
from tests.support import packs, tiny_pack
from tests.support.findings import findings
from tests.support.samples import PACKS, needs_packs


@pytest.fixture(autouse=True)
def home(new_home: Path) -> Path:
    """Let nothing of the machine's own configuration be seen."""
    return new_home


@pytest.fixture
def tiny(home: Path) -> Path:
    """Have the tiny pack installed in InsightFace's root, under the default model's name; return its directory."""
    return tiny_pack.build(home / ".insightface", registry.DEFAULT)


def test_this_machine_as_a_whole(capfd: Any, home: Path) -> None:
    """Nothing replaced: the real libraries, in processes of their own, with the pack opencv."""
    packs.link_opencv(home / ".insightface")
    assert cli.main(["doctor", "--model", "opencv"]) == 0
    out = capfd.readouterr().out
    assert "ok    hnswlib        64 vectors added, and each found again\n" in out
    assert re.search(
        r"^ok    model          opencv-[0-9a-f]{8}: 6 faces on a test photo, loaded in ", out, re.MULTILINE
    )
    assert "ok    licence        opencv: any use (MIT, Apache-2.0)" in out
    assert "ok    codecs         JPEG, PNG, WebP, AVIF, HEIC, TIFF, BMP, GIF can be read\n" in out
    assert re.search(
        r"^ok    pipeline       6 faces indexed, found again, and followed through a rename in ", out, re.M
    )
    assert [path.name for path in home.iterdir()] == [".insightface"]  # nothing was written


@needs_packs
def test_an_insightface_pack_finds_the_six(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f"model_root = '{PACKS}'\nmodel = 'scrfd25g_mfn'")
    model, device, licence = findings("model", path)
    assert (model.status, device.status, licence.status) == ("ok", "ok", "ok")
    assert re.match(r"scrfd25g_mfn-[0-9a-f]{8}: 6 faces on a test photo", model.detail)


@pytest.mark.usefixtures("tiny")
def test_a_model_without_faces_fails() -> None:
    """The tiny pack knows no real faces."""
    model, _, licence = findings("model")
    assert model.status == "fail"
    assert re.match(r"buffalo_l-[0-9a-f]{8}: 0 faces on a test photo.*; there are six", model.detail)
    assert licence.hint == registry.LICENCE_NOTE


def test_a_damaged_model(tiny: Path) -> None:
    (tiny / "rec_tiny.onnx").write_bytes(b"no model")
    (damaged,) = findings("model")
    assert damaged.status == "fail"
    assert damaged.detail.startswith(f"the model buffalo_l in {tiny} cannot be loaded: ")
    assert "models fetch" in damaged.hint
