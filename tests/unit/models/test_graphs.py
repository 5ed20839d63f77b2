"""Graphs that are changed when they are read compute what they computed before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from facewatchd.models import graphs, sessions

CHANNELS = 4


def written(path: Path, slope: NDArray[Any], *, version: int = 11, in_inputs: bool = False) -> Path:
    """Write a convolution and a PRelu; with ``in_inputs`` their weights are listed as inputs too."""
    random = np.random.default_rng(1)
    weights = {"kernel": random.normal(size=(CHANNELS, 3, 3, 3)).astype(np.float32), "slope": slope}
    initializers = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    x, y = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, channels, 8, 8])
        for name, channels in (("x", 3), ("y", CHANNELS))
    )
    inputs = [x]
    if in_inputs:
        inputs += [helper.make_tensor_value_info(each.name, each.data_type, each.dims) for each in initializers]
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("PRelu", ["c", "slope"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "graph", inputs, [y], initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=6), path)
    return path


def slopes() -> NDArray[np.float32]:
    return np.array([-0.5, 0.0, 0.3, 1.4], np.float32).reshape(CHANNELS, 1, 1)


def computed(model: Any, height: int = 8, width: int = 8) -> NDArray[np.float32]:
    x = np.random.default_rng(2).normal(size=(1, 3, height, width)).astype(np.float32)
    return np.asarray(sessions.on_processor(model.SerializeToString(), 1).run(None, {"x": x})[0])


def kinds(model: Any) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("shape", [(CHANNELS, 1, 1), (1, CHANNELS, 1, 1)])
def test_a_split_prelu_computes_the_same(tmp_path: Path, shape: tuple[int, ...]) -> None:
    file = written(tmp_path / "a.onnx", slopes().reshape(shape))
    model = graphs.read(file)
    assert graphs.split(model)
    onnx.checker.check_model(model)
    assert kinds(model) == ["Conv", "Mul", "Relu", "Mul", "Add"]
    np.testing.assert_allclose(computed(model), computed(onnx.load(file)), atol=1e-5)
    assert not graphs.split(model)


@pytest.mark.parametrize(
    ("slope", "version"),
    [
        (np.float32([0.1] * 8), 11),  # one a column
        (np.full((CHANNELS, 8, 8), 0.2, np.float32), 11),
        (slopes().astype(np.float64), 11),
        (slopes(), 6),
    ],
)
def test_any_other_prelu_is_left_as_it_is(tmp_path: Path, slope: NDArray[Any], version: int) -> None:
    model = graphs.read(written(tmp_path / "a.onnx", slope, version=version))
    assert not graphs.split(model)
    assert kinds(model) == ["Conv", "PRelu"]


def test_weights_are_no_inputs(tmp_path: Path) -> None:
    file = written(tmp_path / "a.onnx", slopes(), in_inputs=True)
    model = graphs.read(file)
    assert [each.name for each in model.graph.input] == ["x"]
    np.testing.assert_allclose(computed(model), computed(onnx.load(file)), atol=1e-5)


def test_free_sides_may_be_of_any_length(tmp_path: Path) -> None:
    file = written(tmp_path / "a.onnx", slopes())
    model = graphs.read(file, free=("height", "width"))
    assert computed(model, 16, 40).shape == (1, CHANNELS, 16, 40)
    np.testing.assert_allclose(computed(model), computed(onnx.load(file)), atol=1e-5)
