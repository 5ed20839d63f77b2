"""Devices that compute a model: a daemon that says which, and `openvino` where ONNX Runtime was built for it."""

from __future__ import annotations

import contextlib
import io
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facewatchd.config import Faces
from facewatchd.inference.pool import Inference
from facewatchd.inference.wire import Setup
from facewatchd.models import registry, sessions
from facewatchd.models.devices import Placement
from facewatchd.values import Face
from tests.support import drawn_faces, hooks, packs, tiny_pack
from tests.support.processes import DEADLINE, Daemon
from tests.support.samples import PACKS, astronaut, group_photo, needs_packs

needs_openvino = pytest.mark.skipif(
    "openvino" not in sessions.offered(), reason="ONNX Runtime was built without OpenVINO (onnxruntime-openvino)"
)
BOTH = Placement("openvino", "openvino")
_OFFERED = """
if "queries" in sys.argv:
    drawn_model.InsightFaceModel.devices = lambda: ("migraphx",)
"""
_CARD = """
from facewatchd.models import devices, sessions
devices.DEVICES["cuda"] = devices.DEVICES["cuda"]._replace(provider=sessions.PROCESSOR)
"""


def test_a_named_device_that_is_not_there_ends_the_start_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    tiny_pack.build(tmp_path)
    daemon = Daemon(
        tmp_path / "home", tmp_path / "photos", model="tiny", model_root=tmp_path, resources='device = "rocm"'
    )
    assert daemon.launch().wait(DEADLINE) == 1
    (line,) = daemon.log.read_text().splitlines()
    assert line.startswith("facewatchd: the model tiny cannot be computed on rocm: the installed ONNX Runtime has no ")
    assert line.endswith("pip install onnxruntime-rocm`")


def test_an_offered_device_that_fails_leaves_the_processor_and_is_told_in_one_line(
    tmp_path: Path, tiny_root: Path
) -> None:
    (tmp_path / "photos").mkdir()
    with Daemon(tmp_path / "home", tmp_path / "photos", model="tiny", model_root=tiny_root) as daemon:
        daemon.hook(_OFFERED)
        daemon.start()
        said = [line for line in daemon.log.read_text().splitlines() if "migraphx" in line]
        reason = "the model tiny cannot be computed on migraphx: the installed ONNX Runtime has no MIGraphX"
        assert [line.startswith(f"facewatchd: the processor computes: {reason}") for line in said] == [True]
        assert daemon.status()["device"].startswith(f"cpu: {reason}")
        assert "device  cpu: the model tiny cannot be computed on migraphx" in daemon.control("status").stdout
        assert "migraphx" not in daemon.status()["confinement"]


def test_a_card_is_given_device_files_and_memory_instead_of_confinement(
    tmp_path: Path, tiny_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the processor in the card's place: a process that is told of a card computes, and says what it gave up."""
    hooks.add(tmp_path / "hook", _CARD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hook"))
    pack = registry.find("tiny", tiny_root)
    assert pack is not None
    pixels = np.full((600, 600, 3), 90, np.uint8)
    drawn_faces.draw_face(pixels, (200, 200, 160, 160), 1)
    photo = io.BytesIO()
    Image.fromarray(pixels).save(photo, "PNG")
    inference = Inference(
        Setup("indexing", pack, Faces(), 1, idle=False, placement=Placement("cuda", "cuda", "for a test")), 1
    )
    with contextlib.closing(inference):
        inference.start()
        assert inference.confinement == "none: cuda needs device files"
        assert inference._process is not None
        limits = Path(f"/proc/{inference._process.pid}/limits").read_text()
        assert re.search(r"^Max data size +(\S+) +\1 ", limits, re.MULTILINE)
        (face,) = inference.analyse(photo.getvalue()).faces
        assert float(face.embedding @ drawn_faces.embedding(1)) > 0.99
    hooks.check(tmp_path / "hook")


def assert_same(ours: list[Face], theirs: list[Face]) -> None:
    assert [face.box for face in ours] == [face.box for face in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert float(one.embedding @ other.embedding) >= sessions.SAME


def analysed(root: Path, name: str, placement: Placement, photos: list[bytes]) -> list[list[Face]]:
    """The faces on photos, from a confined process that looks at two at a time; each of them four times."""
    pack = registry.find(name, root)
    assert pack is not None
    inference = Inference(Setup("indexing", pack, Faces(), 1, idle=False, placement=placement), 2)
    with contextlib.closing(inference), ThreadPoolExecutor(4) as threads:
        inference.start()
        assert inference.placement == placement
        expected = "partial: memory may become code (openvino)" if placement.devices else "full"
        if "no " not in inference.confinement:  # a kernel that confines less
            assert inference.confinement == expected
        return [answer.faces for answer in threads.map(inference.analyse, photos * 4)]


@needs_openvino
@pytest.mark.parametrize("name", ["opencv", pytest.param("scrfd25g_mfn", marks=needs_packs)])
def test_faces_are_those_of_the_processor(name: str) -> None:
    """Also from several threads at once, and on photos of sizes for which it makes code after the confinement."""
    root = packs.opencv_root() if name == "opencv" else PACKS
    photos = [group_photo().read_bytes(), astronaut().read_bytes()]
    for ours, theirs in zip(analysed(root, name, Placement(), photos), analysed(root, name, BOTH, photos), strict=True):
        assert ours
        assert_same(ours, theirs)


@needs_openvino
def test_a_daemon_says_what_computes_and_how_far_it_is_confined(tmp_path: Path, tiny_root: Path) -> None:
    """Each network of the tiny pack is taken to where it is faster; both are tried."""
    photos = tmp_path / "photos"
    photos.mkdir()
    resources = 'device = "openvino"'
    with Daemon(
        tmp_path / "home", photos, model="tiny", model_root=tiny_root, insightface=True, resources=resources
    ) as daemon:
        daemon.start()
        device, confinement = daemon.status()["device"], daemon.status()["confinement"]
        assert "on the processor" in device
        assert (device.startswith("cpu: openvino is not faster") and "code" not in confinement) or (
            "openvino" in device.split(":")[0] and "memory may become code (openvino)" in confinement
        )
