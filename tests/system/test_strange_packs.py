"""Packs of unknown origin: archives that are damaged or lie, and models that loop, bloat or answer nonsense."""

from __future__ import annotations

import io
import random
import signal
import subprocess
import sys
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from facewatchd.errors import ModelError
from facewatchd.models import install as files
from facewatchd.models import registry, trial
from tests.support import tiny_pack
from tests.support.processes import until


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "insightface"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pack.build(tmp_path_factory.mktemp("tiny"))


def fetched(source: Path, root: Path) -> registry.Pack:
    return registry.fetch(str(source), root, notify=lambda _: None)


def refused(source: Path, root: Path) -> str:
    """Why a pack is not fetched, in one line; nothing of it is left."""
    with pytest.raises(ModelError) as caught:
        fetched(source, root)
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    assert not [path for path in (root / "models").rglob("*") if not path.is_dir()]
    return caught.value.message


# Archives


def archive_of(directory: Path, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for path in sorted(directory.iterdir()):
            archive.write(path, path.name)
    return buffer.getvalue()


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_whatever_is_damaged_in_an_archive_is_one_line(tmp_path: Path, tiny: Path, compression: int) -> None:
    """Bytes that were changed, cut off or put in, anywhere: it unpacks to what was packed, or says what is wrong."""
    chance = random.Random(compression)
    whole = archive_of(tiny, compression)
    expected = {path.name: path.read_bytes() for path in tiny.iterdir()}
    for number in range(150):
        at, length = chance.randrange(len(whole)), chance.choice([1, 2, 16, 300])
        kind = chance.choice(["change", "cut", "put in"])
        if number % 3 == 0:  # among the names and sizes, at the end
            at = chance.randrange(len(whole) - 400, len(whole))
        if kind == "change":
            data = whole[:at] + chance.randbytes(length) + whole[at + length :]
        else:
            data = whole[:at] + (chance.randbytes(length) + whole[at:] if kind == "put in" else b"")
        archive, target = tmp_path / "pack.zip", tmp_path / f"{number}"
        archive.write_bytes(data)
        target.mkdir()
        fault = _fault_of(archive, target)
        assert "\n" not in fault
        if not fault:
            written = {path.name: path.read_bytes() for path in target.rglob("*") if path.is_file()}
            assert all(content == expected.get(name, content) for name, content in written.items())


def _fault_of(archive: Path, target: Path) -> str:
    try:
        files.unpack(archive, target)
    except ModelError as exc:
        return str(exc)
    return ""


def _member(name: str, content: bytes = b"x", **fields: int) -> Callable[[zipfile.ZipFile], None]:
    def add(archive: zipfile.ZipFile) -> None:
        info = zipfile.ZipInfo(name)
        for field, value in fields.items():
            setattr(info, field, value)
        archive.writestr(info, content)

    return add


@pytest.mark.parametrize(
    ("adds", "words"),
    [
        ([_member("link.onnx", b"/etc/passwd", external_attr=0o120777 << 16)], "holds a link"),
        ([_member("a.onnx"), _member("a.onnx")], "twice"),
        ([_member("a"), _member("a/b.onnx")], "twice"),
        ([_member("a.onnx"), _member("./a.onnx")], "twice"),
        ([_member("/".join("abcdefghi") + ".onnx")], "a name that no pack has"),
        ([_member("n" * 300 + ".onnx")], "a name that no pack has"),
        ([_member("new\nline.onnx")], "a name that no pack has"),
    ],
)
def test_names_that_no_pack_has_are_refused(
    tmp_path: Path, root: Path, adds: list[Callable[[zipfile.ZipFile], None]], words: str
) -> None:
    archive = tmp_path / "strange.zip"
    with warnings.catch_warnings(), zipfile.ZipFile(archive, "w") as opened:
        warnings.simplefilter("ignore")  # a name that is there twice
        for add in adds:
            add(opened)
    assert words in refused(archive, root)


def test_an_archive_with_a_name_that_is_no_utf_8_is_one_line(tmp_path: Path, root: Path) -> None:
    archive = tmp_path / "strange.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("ü.onnx", b"x")
    data = archive.read_bytes()
    assert data.count("ü".encode()) == 2
    archive.write_bytes(data.replace("ü".encode(), b"\xff\xff"))
    assert "strange.zip" in refused(archive, root)


def test_an_encrypted_archive_is_one_line(tmp_path: Path, root: Path, tiny: Path) -> None:
    archive = tmp_path / "secret.zip"
    data = bytearray(archive_of(tiny))
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = -1
        while (at := data.find(signature, at + 1)) >= 0:
            data[at + offset] |= 1
    archive.write_bytes(data)
    assert "encrypted" in refused(archive, root)


# Models


def strange(tiny: Path, place: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    """The pack ``tiny`` with another recogniser."""
    place.mkdir()
    for path in tiny.iterdir():
        model = onnx.load(path)
        if len(model.graph.output) == 1:  # a detector has nine
            change(model)
        onnx.save(model, place / path.name)
    return place


def _after(model: onnx.ModelProto, name: str, constant: np.ndarray, op: str = "Mul") -> None:
    """Put one operation with a constant behind the output."""
    output = model.graph.output[0].name
    for node in model.graph.node:
        node.output[:] = ["inner" if each == output else each for each in node.output]
    model.graph.initializer.append(numpy_helper.from_array(constant, name))
    model.graph.node.append(helper.make_node(op, ["inner", name], [output]))


def answers_nan(model: onnx.ModelProto) -> None:
    _after(model, "strange", np.array([np.nan], np.float32))


def answers_zero(model: onnx.ModelProto) -> None:
    _after(model, "strange", np.array([0], np.float32))


def takes_memory(model: onnx.ModelProto) -> None:
    """12 GB of ones are made, and summed up."""
    shape = numpy_helper.from_array(np.array([3_000_000_000], np.int64), "shape")
    model.graph.initializer.append(shape)
    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["ones"], value=one),
        helper.make_node("ReduceMean", ["ones"], ["mean"], keepdims=0),
    ]
    output = model.graph.output[0].name
    for node in model.graph.node:
        node.output[:] = ["inner" if each == output else each for each in node.output]
    model.graph.node.extend([*nodes, helper.make_node("Mul", ["inner", "mean"], [output])])


def loops(model: onnx.ModelProto) -> None:
    """A loop without an end."""
    output = model.graph.output[0].name
    for node in model.graph.node:
        node.output[:] = ["inner" if each == output else each for each in node.output]
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["goes_on"]),
            helper.make_node("Identity", ["value"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(2**62, np.int64), "trips"),
            numpy_helper.from_array(np.array(True), "yes"),
        ]
    )
    model.graph.node.append(helper.make_node("Loop", ["trips", "yes", "inner"], [output], body=body))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (answers_nan, "its embeddings are zero, or not finite"),
        (answers_zero, "its embeddings are zero, or not finite"),
        (takes_memory, "cannot be loaded"),
    ],
)
def test_a_model_that_answers_nonsense_or_takes_all_memory_is_refused(
    tmp_path: Path, root: Path, tiny: Path, change: Callable[[onnx.ModelProto], None], words: str
) -> None:
    assert words in refused(strange(tiny, tmp_path / "odd", change), root)


def test_a_model_without_an_end_is_given_up(
    tmp_path: Path, root: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "DEADLINE", 8.0)
    assert "it did not end within 8 s" in refused(strange(tiny, tmp_path / "odd", loops), root)


def test_ctrl_c_ends_a_trial_at_once(tmp_path: Path, root: Path, tiny: Path) -> None:
    pack = strange(tiny, tmp_path / "odd", loops)
    code = (
        "import sys; from pathlib import Path; from facewatchd.models import registry\n"
        "registry.fetch(sys.argv[1], Path(sys.argv[2]), notify=lambda _: None)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, pack, root], stderr=subprocess.DEVNULL)
    try:
        child = until(lambda: _children(process.pid))
        until(lambda: _cpu_seconds(child[0]) > 3)
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        process.wait(20)
        assert time.monotonic() - started < 10
        until(lambda: not Path(f"/proc/{child[0]}").exists())
    finally:
        process.kill()
        process.wait()
    assert not [path for path in (root / "models").rglob("*") if not path.is_dir()]


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _cpu_seconds(pid: int) -> float:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11]) / 100


def test_who_fetches_a_pack_loads_no_library_that_computes(tmp_path: Path, root: Path, tiny: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from facewatchd.models import registry\n"
        "registry.fetch(sys.argv[1], Path(sys.argv[2]), notify=lambda _: None)\n"
        "sys.exit(any(name in sys.modules for name in ('onnxruntime', 'insightface', 'cv2')))"
    )
    subprocess.run([sys.executable, "-c", code, tiny, root], check=True)
    assert (root / "models" / tiny.name).is_dir()
