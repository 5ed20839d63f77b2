"""Which device computes a model: the session is asked, its results are compared, and the faster one is taken."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from facewatchd import config
from facewatchd.config import AUTO_DEVICE, CPU, Faces
from facewatchd.errors import ModelError
from facewatchd.models import device_trial, devices, registry, sessions
from facewatchd.models.devices import DEVICES, Placement
from facewatchd.models.registry import Pack
from tests.support import hooks, packs
from tests.support.packs import assert_one_line

STAND_IN = devices.Device(sessions.PROCESSOR, "onnxruntime-gpu")
"""A card that is always there: the processor, under another name."""


@pytest.fixture
def tiny(tiny_root: Path) -> Pack:
    pack = registry.find("tiny", tiny_root)
    assert pack is not None
    return pack


def network(path: Path, *, scale: float = 1.0, turned: float = 0.0, batch: int = 1) -> str:
    """Write a network that gives four sums of a picture, times ``scale``; ``turned`` is added to one of them."""
    offset = numpy_helper.from_array(np.array([[turned, 0, 0, 0]], np.float32), "offset")
    weights = numpy_helper.from_array(np.arange(16, dtype=np.float32).reshape(4, 4) * scale, "weights")
    nodes = [
        helper.make_node("MatMul", ["picture", "weights"], ["sums"]),
        helper.make_node("Add", ["sums", "offset"], ["out"]),
    ]
    shape = [batch, 4]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, shape)],
        [weights, offset],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return str(path)


def part(on_processor: str, on_device: str) -> sessions.Part:
    return sessions.Part(sessions.on_processor(on_processor, 1), on_device, lambda: np.ones((1, 4), np.float32))


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Have a card "cuda" that works; return what sets how long it takes where the processor takes one second."""
    monkeypatch.setitem(DEVICES, "cuda", STAND_IN)

    def takes(seconds: float) -> None:
        monkeypatch.setattr(sessions, "_seconds", lambda *_: [1.0, seconds])

    return takes


@pytest.fixture(scope="module")
def detector() -> sessions.Part:
    """YuNet on the processor."""
    pack = registry.find("opencv", packs.opencv_root())
    assert pack is not None
    part = pack.load(1, Faces()).parts()["detector"]
    assert isinstance(part, sessions.Part)
    return part


def test_the_names_of_the_configuration_are_those_that_are_known() -> None:
    assert (CPU, AUTO_DEVICE, *DEVICES) == config.DEVICES


# Sessions


def test_a_device_that_is_not_built_in_is_an_error_with_the_way_to_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        sessions.on_device("rocm", network(tmp_path / "n.onnx"), 1)
    assert_one_line(caught.value, "the installed ONNX Runtime has no ROCMExecutionProvider", "AMD's driver and ROCm")
    assert f"pip uninstall -y {devices.runtimes()[0]}" in caught.value.hint
    assert caught.value.hint.endswith("pip install onnxruntime-rocm`")


def test_the_command_takes_the_place_of_whatever_distribution_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"onnxruntime": ["onnxruntime-openvino", "onnxruntime", "onnxruntime"]}
    monkeypatch.setattr(importlib.metadata, "packages_distributions", lambda: names)
    assert "pip uninstall -y onnxruntime onnxruntime-openvino && " in devices.to_install("cuda")
    monkeypatch.setattr(importlib.metadata, "packages_distributions", dict)
    assert "pip uninstall -y onnxruntime && " in devices.to_install("openvino")


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_session_that_falls_back_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime lists the provider, makes the session without an error, and runs it on the processor."""
    listed = ["CUDAExecutionProvider", *onnxruntime.get_available_providers()]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: listed)
    with pytest.raises(ModelError) as caught:
        sessions.on_device("cuda", network(tmp_path / "n.onnx"), 1)
    assert_one_line(caught.value, "a session that was made for it runs on CPUExecutionProvider", "CUDA and cuDNN")


@pytest.mark.usefixtures("card")
def test_a_network_that_the_device_does_not_take_is_an_error(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no network")
    with pytest.raises(ModelError) as caught:
        sessions.on_device("cuda", str(broken), 1)
    assert_one_line(caught.value, "INVALID_PROTOBUF")


# The decision


def test_a_device_that_computes_the_same_faster_is_taken_for_each_part(
    tmp_path: Path, card: Callable[[float], None]
) -> None:
    card(0.5)
    same = network(tmp_path / "same.onnx")
    placement = sessions.placed("cuda", {"detector": part(same, same), "recogniser": part(same, same)}, 1)
    assert placement == Placement("cuda", "cuda", placement.reason)
    assert placement.words == (
        "cuda: detector 500.0 ms, on the processor 1000.0; recogniser 500.0 ms, on the processor 1000.0"
    )
    card(0.96)
    placement = sessions.placed("cuda", {"detector": part(same, same), "recogniser": part(same, same)}, 1)
    assert (placement.where, placement.devices) == ("cpu", ())
    assert placement.reason.startswith("cuda is not faster (detector 960.0 ms, ")


def test_a_network_that_takes_no_time_stays_on_the_processor(
    tmp_path: Path, card: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the clock is coarse."""
    card(0.0)
    monkeypatch.setattr(sessions, "_seconds", lambda *_: [0.0, 0.0])
    same = network(tmp_path / "same.onnx")
    assert sessions.placed("cuda", {"recogniser": part(same, same)}, 1).devices == ()


def test_both_ends_of_a_long_message_are_told() -> None:
    told = sessions._failure(RuntimeError(f"CUDA failure 100:\n{'x' * 1000} can't protect"), STAND_IN).message
    assert len(told) < 210
    assert told.startswith("CUDA failure 100: ")
    assert told.endswith(" can't protect")


def test_a_part_that_is_missing_stays_on_the_processor(tmp_path: Path, card: Callable[[float], None]) -> None:
    card(0.5)
    same = network(tmp_path / "same.onnx")
    placement = sessions.placed("cuda", {"recogniser": part(same, same)}, 1)
    assert placement.where == "cuda (recogniser) and cpu (detector)"


def test_more_or_less_of_the_same_is_the_same(tmp_path: Path, card: Callable[[float], None]) -> None:
    """Embeddings are scaled to length 1: only their directions count."""
    card(0.5)
    plain, larger = network(tmp_path / "plain.onnx"), network(tmp_path / "larger.onnx", scale=2)
    assert sessions.placed("cuda", {"recogniser": part(plain, larger)}, 1).recogniser == "cuda"


@pytest.mark.parametrize(("turned", "trusted"), [(1.0, True), (4.0, False), (float("nan"), False)])
def test_a_device_that_computes_something_else_is_not_trusted(
    tmp_path: Path, card: Callable[[float], None], turned: float, trusted: bool
) -> None:
    """The sums are 24, 28, 32 and 36: 1 more leaves a cosine of 0.99991, 4 more of 0.9983."""
    card(0.5)
    plain, wrong = network(tmp_path / "plain.onnx"), network(tmp_path / "wrong.onnx", turned=turned)
    parts = {"detector": part(plain, plain), "recogniser": part(plain, wrong)}
    if trusted:
        assert sessions.placed("cuda", parts, 1).recogniser == "cuda"
        return
    with pytest.raises(ModelError) as caught:
        sessions.placed("cuda", parts, 1)
    said = "0.9983" if turned == 4.0 else "nan"
    assert_one_line(caught.value, f"what its recogniser computes has a cosine of {said} ", "onnxruntime-gpu")


@pytest.mark.usefixtures("card")
def test_a_device_that_fails_with_the_first_picture_is_an_error(tmp_path: Path) -> None:
    plain, other = network(tmp_path / "plain.onnx"), network(tmp_path / "other.onnx", batch=2)
    with pytest.raises(ModelError) as caught:
        sessions.placed("cuda", {"detector": part(plain, other)}, 1)
    assert_one_line(caught.value, "INVALID_ARGUMENT", "check onnxruntime-gpu")


def test_a_result_of_another_shape_or_of_zeros_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_run", lambda session, _: session)
    ones, none = np.ones((1, 4)), np.zeros((1, 4))
    assert sessions.agreement([ones], [2 * ones], ones) == pytest.approx(1)
    assert np.isnan(sessions.agreement([ones], [np.ones((1, 5))], ones))
    assert np.isnan(sessions.agreement([ones], [ones, ones], ones))
    assert np.isnan(sessions.agreement([ones], [none], ones))
    assert np.isnan(sessions.agreement([ones, ones], [ones, none * np.nan], ones))


def test_each_output_is_compared_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small output beside a large one counts as much; one that is all but zero is compared by its difference."""
    monkeypatch.setattr(sessions, "_run", lambda session, _: session)
    large, small = np.full((1, 4000), 5.0), np.array([[0.9, 0.0, 0.0, 0.0]])
    assert sessions.agreement([large, small], [large, small], small) == pytest.approx(1)
    assert sessions.agreement([large, small], [large, small[:, ::-1]], small) == pytest.approx(0)
    assert sessions.agreement([large, 0.0005 * small], [large, 0.0005 * small[:, ::-1]], small) == pytest.approx(1)
    assert sessions.agreement([large, 0.0005 * small], [large, small], small) == 0
    assert sessions.agreement([large, 0.0 * small], [large, np.nan * small], small) == 0


@pytest.mark.parametrize("name", ["tiny", "opencv"])
def test_the_reference_photo_reaches_both_networks(tiny: Pack, name: str) -> None:
    """Whatever the device, the parts of a real pack run on the sample that comes with them."""
    pack = tiny if name == "tiny" else registry.find("opencv", packs.opencv_root())
    assert pack is not None
    parts = pack.load(1, Faces()).parts()
    assert set(parts) == {"detector", "recogniser"}
    for each in parts.values():
        outputs = sessions._run(each.session, each.sample())
        assert all(np.isfinite(output).all() for output in outputs)
        assert any(output.any() for output in outputs)


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize("kind", ["cls", "obj", "bbox", "kps"])
@pytest.mark.parametrize("stride", [8, 16, 32])
def test_a_detector_that_gives_numbers_of_other_cells_is_not_trusted(
    detector: sessions.Part, kind: str, stride: int
) -> None:
    """YuNet with one of its outputs as it would be half the cells further on."""
    network = onnx.load_from_string(detector.model)
    name = f"{kind}_{stride}"
    cells = (640 // stride) ** 2
    for node in network.graph.node:
        node.output[:] = [f"{name} unmoved" if each == name else each for each in node.output]
    moved = np.roll(np.arange(cells), cells // 2)
    network.graph.initializer.append(numpy_helper.from_array(moved, "moved"))
    network.graph.node.append(helper.make_node("Gather", [f"{name} unmoved", "moved"], [name], axis=1))
    with pytest.raises(ModelError) as caught:
        sessions.placed("cuda", {"detector": detector._replace(model=network.SerializeToString())}, 1)
    assert_one_line(caught.value, "what its detector computes has a cosine of 0.")


@pytest.mark.usefixtures("card")
def test_the_detector_itself_is_trusted(detector: sessions.Part) -> None:
    sessions.placed("cuda", {"detector": detector}, 1)


# A pack


def test_the_processor_is_taken_without_a_trial(tiny: Pack) -> None:
    assert device_trial.placement(tiny, CPU, ("cuda",)) == Placement()
    assert device_trial.placement(tiny, AUTO_DEVICE, ()) == Placement()


def test_a_named_device_that_is_not_there_is_an_error(tiny: Pack) -> None:
    with pytest.raises(ModelError) as caught:
        device_trial.placement(tiny, "cuda", ())
    assert_one_line(caught.value, "the model tiny cannot be computed on cuda", "onnxruntime-gpu")


@pytest.mark.skipif("migraphx" in sessions.offered(), reason="this ONNX Runtime was built for AMD's cards")
def test_a_device_fails_in_a_process_of_its_own(tiny: Pack) -> None:
    """With a name it is an error, else the processor computes and the reason is kept."""
    with pytest.raises(ModelError) as caught:
        device_trial.placement(tiny, "migraphx", ("migraphx",))
    assert_one_line(caught.value, "the model tiny cannot be computed on migraphx", "no MIGraphXExecutionProvider")
    placement = device_trial.placement(tiny, AUTO_DEVICE, ("migraphx", "rocm"))
    assert placement.devices == ()
    assert "computed on migraphx: the installed" in placement.reason
    assert "computed on rocm: the installed" in placement.reason


def test_a_driver_that_crashes_is_no_end_of_the_daemon(
    tiny: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks.add(tmp_path / "hook", "import os, signal, sys\nif 'cuda' in sys.argv: os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hook"))
    with pytest.raises(ModelError) as caught:
        device_trial.placement(tiny, "cuda", ("cuda",))
    assert_one_line(caught.value, "the process that tried it was ended by SIGSEGV")
    assert "SIGSEGV" in device_trial.placement(tiny, AUTO_DEVICE, ("cuda",)).reason


def test_a_pack_on_a_device_that_has_gone_is_an_error_that_names_the_pack(tiny: Pack) -> None:
    with pytest.raises(ModelError) as caught:
        tiny.load(1, Faces(), Placement("cpu", "rocm"))
    assert_one_line(caught.value, "the model tiny cannot be loaded: the installed ONNX Runtime has no ROCM")
