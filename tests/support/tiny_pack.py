"""A tiny InsightFace pack, built with arithmetic instead of training, that sees `drawn_faces`.

It proves the real InsightFace path (directory loading, SCRFD decoding and suppression, alignment, a batch through an
ArcFace recogniser) on any machine, in milliseconds.

The detector, on a grid of 4 x 4 pixel means:

* ``key``: 1 where a cell is purple, 0 where it is not; paler purple (``strength`` below 1) gives as much less;
* each cell's distance to the square's four edges is a running maximum over the positions of cells that are not
  purple; from these come box and landmarks, for the anchors of all three strides;
* a score is the least ``key`` around an anchor, a little less on a coarse grid, so that the precise box survives.

The landmarks are ArcFace's template laid into the box, so an aligned crop is exactly the square. The recogniser
averages red minus blue over the pattern's fields.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.support.drawn_faces import DIM, FIELDS, LEAST_KEY, TEMPLATE, projection

_CELL = 4
_STRIDES = (8, 16, 32)
_REACH = 256
"""Cells that a face may be wide: 1024 pixels of the detector's image."""


def build(root: Path, name: str = "tiny", *, side: int | None = None, batch: int | None = None, seed: int = 0) -> Path:
    """Write the pack into an InsightFace root and return its directory, ``root/models/name``.

    ``side`` fixes the detector's input size, ``batch`` the recogniser's; another ``seed`` gives other weights.
    """
    directory = root / "models" / name
    directory.mkdir(parents=True, exist_ok=True)
    onnx.save(detector(side), directory / "det_tiny.onnx")
    onnx.save(recogniser(batch, seed), directory / "rec_tiny.onnx")
    return directory


def detector(side: int | None = None) -> onnx.ModelProto:
    """Return a detector with SCRFD's interface: nine outputs, two anchors a place, five landmarks."""
    graph = _Graph()
    cells = graph.add("AveragePool", "image", kernel_shape=[_CELL] * 2, strides=[_CELL] * 2)
    red, green, blue = graph.add_many(
        "Split", 3, graph.add("Add", graph.add("Mul", cells, graph.constant(128)), graph.constant(127.5)), axis=1
    )
    purple = graph.add("Div", graph.add("Min", red, blue), graph.constant(128))
    key = graph.add(
        "Clip",
        graph.add("Sub", purple, graph.add("Div", green, graph.constant(64))),
        graph.constant(0),
        graph.constant(1),
    )
    outside = graph.as_float(graph.add("LessOrEqual", key, graph.constant(LEAST_KEY)))
    ones = graph.add("Add", graph.add("Mul", outside, graph.constant(0)), graph.constant(1))
    left, right = _distances(graph, outside, ones, axis=3)
    top, bottom = _distances(graph, outside, ones, axis=2)
    width, height = graph.add("Add", left, right), graph.add("Add", top, bottom)

    least = graph.add("Neg", graph.add("MaxPool", graph.add("Neg", key), kernel_shape=[3, 3], pads=[1, 1, 1, 1]))
    inside = graph.as_float(graph.add("Greater", least, graph.constant(LEAST_KEY)))
    coarse = graph.add("Div", graph.constant(0.5), graph.add("Max", width, graph.constant(1)))
    score = graph.add("Mul", graph.add("Mul", least, inside), graph.add("Sub", graph.constant(1), coarse))
    landmarks = []
    for x, y in TEMPLATE:
        landmarks.append(graph.add("Sub", graph.add("Mul", width, graph.constant(x / 112)), left))
        landmarks.append(graph.add("Sub", graph.add("Mul", height, graph.constant(y / 112)), top))

    outputs = []
    for part, maps in (("score", [score]), ("box", [left, top, right, bottom]), ("points", landmarks)):
        for stride in _STRIDES:
            scale = 1.0 if part == "score" else _CELL / stride
            outputs.append(_at_anchors(graph, maps, stride, scale, f"{part}{stride}"))
    size = [side, side] if side else ["height", "width"]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, *size])
    return graph.model(image, outputs)


def recogniser(batch: int | None = None, seed: int = 0) -> onnx.ModelProto:
    """Return a recogniser with ArcFace's interface: crops of 112 pixels to embeddings of `DIM`, not unit length."""
    graph = _Graph()
    red, _, blue = graph.add_many("Split", 3, "crops", axis=1)
    field_side = 112 // FIELDS
    fields = graph.add(
        "AveragePool", graph.add("Sub", red, blue), kernel_shape=[field_side] * 2, strides=[field_side] * 2
    )
    weights = graph.constant((7 * projection(seed)).astype(np.float32))
    graph.add("MatMul", graph.add("Flatten", fields), weights, output="embeddings")
    size = batch or "N"
    crops = helper.make_tensor_value_info("crops", TensorProto.FLOAT, [size, 3, 112, 112])
    return graph.model(crops, [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, [size, DIM])])


def _distances(graph: _Graph, outside: str, ones: str, axis: int) -> tuple[str, str]:
    """Return each cell's distance to the near and the far edge of its square along an axis, in cells."""
    along = graph.constant(np.array(axis, np.int64))
    kernel = [1, _REACH] if axis == 3 else [_REACH, 1]
    before = [0, _REACH - 1, 0, 0] if axis == 3 else [_REACH - 1, 0, 0, 0]
    after = [*before[2:], *before[:2]]
    from_start = graph.add("CumSum", ones, along)
    from_end = graph.add("CumSum", ones, along, reverse=1)
    near = graph.add("MaxPool", graph.add("Mul", from_start, outside), kernel_shape=kernel, pads=before)
    far = graph.add("MaxPool", graph.add("Mul", from_end, outside), kernel_shape=kernel, pads=after)
    to_near = graph.add("Sub", graph.add("Sub", from_start, graph.constant(1)), near)
    return to_near, graph.add("Sub", from_end, far)


def _at_anchors(graph: _Graph, maps: list[str], stride: int, scale: float, name: str) -> onnx.ValueInfoProto:
    """Take the maps' values at a stride's anchors, twice a place, as rows."""
    step = stride // _CELL
    stacked = graph.add("Mul", graph.add("Concat", *maps, *maps, axis=1), graph.constant(scale))
    ends = graph.constant(np.array([2**31 - 1] * 2, np.int64))
    starts, axes, steps = (graph.constant(np.array(pair, np.int64)) for pair in ([0, 0], [2, 3], [step, step]))
    picked = graph.add("Transpose", graph.add("Slice", stacked, starts, ends, axes, steps), perm=[0, 2, 3, 1])
    graph.add("Reshape", picked, graph.constant(np.array([-1, len(maps)], np.int64)), output=name)
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [f"anchors{stride}", len(maps)])


@dataclass
class _Graph:
    """ONNX nodes, named as they are added."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or f"value{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def add_many(self, operator: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
        outputs = [f"value{len(self.nodes)}_{index}" for index in range(count)]
        self.nodes.append(helper.make_node(operator, inputs, outputs, **attributes))
        return outputs

    def as_float(self, value: str) -> str:
        return self.add("Cast", value, to=TensorProto.FLOAT)

    def constant(self, value: float | NDArray[Any]) -> str:
        array = value if isinstance(value, np.ndarray) else np.array(value, np.float32)
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def model(self, image: onnx.ValueInfoProto, outputs: list[onnx.ValueInfoProto]) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, "tiny", [image], outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        return model
