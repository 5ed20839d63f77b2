"""The pack `opencv`: YuNet and SFace of OpenCV's model zoo, both on ONNX Runtime.

Detection. YuNet has a cell for each 8, 16 and 32 pixels of its input; each says how likely it is the centre of a face
(``cls`` and ``obj``, whose geometric mean is the score), where its box and its landmarks are. That is decoded as
`cv2.FaceDetectorYN` does: on 206 faces of 19 photos at five sizes both gave the same faces, to 0.0003 pixels. It is run
here by ONNX Runtime, because a session serves all threads and all sizes, where a `FaceDetectorYN` has to be made for
each, and takes less processor time: 8.4 in place of 14.2 ms at 640 x 480, 39 in place of 62 at 1280 x 960 (medians of
21 in turns, one thread). The file fixes the input at 640 x 640, but no node of the graph needs that, so the fixed
shapes are removed when it is loaded.

The detector is run twice: at the side of `base.detector_side`, and at 320 pixels, where a face that fills the frame is
found.

Scores. From 0.7 up YuNet finds faces, below that it also finds patterns. So 0.7 is reported as 0.5, the default of
``min_score``, and 1 as 1.

Embedding. SFace takes RGB crops of 0 to 255, one a run. It is faster on ONNX Runtime once its graph was changed
(`graphs`): 14.7 in place of 32.5 ms with the file as it is, and 16.6 with `cv2.FaceRecognizerSF` (medians of 41 in
turns, one thread). The embeddings are those of that class, to a cosine of 0.9999998.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from facewatchd.models import graphs, reference, sessions
from facewatchd.models.base import LEAST_SIDE, STEP, detector_side
from facewatchd.models.pipeline import PackModel, with_new
from facewatchd.models.views import resized
from facewatchd.models.zoo import DETECTOR, RECOGNISER

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from facewatchd.models.pipeline import Detections, Numbers
    from facewatchd.values import Pixels

SMALL_SIDE = 320
"""Side of the second look. At 160 pixels YuNet misses more faces that fill the frame than at 320."""
MOST_SIDE = 1280
"""Largest side that is chosen by itself: 96 % of the faces on 162 photos are found at 640, 98 % at 1280."""
_STRIDES = (8, 16, 32)
_OVERLAP = 0.3
"""Intersection over union above which two boxes are of one face: the default of `cv2.FaceDetectorYN`."""
_MOST_FACES = 5000
"""Boxes that are compared with each other, the highest scores first: the default of `cv2.FaceDetectorYN`."""
SURE = 0.7
"""YuNet's score that is reported as 0.5."""


class OpenCVModel(PackModel):
    """YuNet and SFace, with sessions of their own."""

    upright_score = 0.85
    """Of the largest faces on 18 photos upright ones score 0.79 to 0.92, upside down 0.54 to 0.83."""

    def _load(self, directory: Path, threads: int) -> int:
        self._directory = directory
        networks = _graphs(directory)
        graphs.split(networks["recogniser"])
        self._sessions = {
            name: sessions.on_processor(network.SerializeToString(), threads) for name, network in networks.items()
        }
        (self._crops,) = self._sessions["recogniser"].get_inputs()
        return int(self._crops.shape[2])

    def parts(self) -> dict[str, sessions.Part]:
        """Both networks, with the reference photo and a face on it."""
        samples = {
            "detector": lambda: cv2.dnn.blobFromImage(reference.pixels(LEAST_SIDE), swapRB=True),
            "recogniser": lambda: cv2.dnn.blobFromImage(self._face_to_compare()),
        }
        return {
            name: sessions.Part(self._sessions[name], network.SerializeToString(), samples[name])
            for name, network in _graphs(self._directory).items()
        }

    def _use(self, name: str, session: Any) -> None:
        self._sessions[name] = session

    def _detect(self, image: Pixels) -> Detections:
        height, width = image.shape[:2]
        side = detector_side(width, height, self._faces.detector_size, MOST_SIDE)
        seen = self._look(image, side)
        return seen if side == SMALL_SIDE else with_new(seen, self._look(image, SMALL_SIDE), _OVERLAP)

    def _look(self, image: Pixels, side: int) -> Detections:
        """Detect on the photo scaled so that its longest side is ``side``."""
        height, width = image.shape[:2]
        size = np.maximum(np.rint(np.array([width, height]) * side / max(width, height)), 1).astype(int)
        right, bottom = (-size % STEP).tolist()
        seen = cv2.copyMakeBorder(resized(image, *size.tolist()), 0, bottom, 0, right, cv2.BORDER_CONSTANT)
        outputs = self._sessions["detector"].run(None, {"input": cv2.dnn.blobFromImage(seen, swapRB=True)})
        boxes, landmarks = _decoded(outputs, seen.shape[1], _score_of_yunet(self._faces.min_score))
        across = np.array([width, height]) / size
        boxes[:, :4] *= np.tile(across, 2)
        return boxes, landmarks * across

    def _embed(self, crops: list[Pixels]) -> Sequence[Numbers]:
        inputs = [cv2.dnn.blobFromImage(crop) for crop in crops]
        return [self._sessions["recogniser"].run(None, {self._crops.name: each})[0][0] for each in inputs]


def _graphs(directory: Path) -> dict[str, Any]:
    """Read both networks. The detector's input may have any sides that `STEP` divides."""
    return {
        "detector": graphs.read(directory / DETECTOR.name, free=("height", "width")),
        "recogniser": graphs.read(directory / RECOGNISER.name),
    }


def _decoded(outputs: Sequence[Numbers], width: int, least: float) -> Detections:
    """Decode YuNet's outputs for an input of that width; keep the best of boxes that overlap. ``least``: its score."""
    found = [np.empty((0, 15))]
    for stride, likely, there, boxes, landmarks in zip(
        _STRIDES, *(outputs[i : i + 3] for i in (0, 3, 6, 9)), strict=True
    ):
        scores = np.sqrt(np.clip(likely[0, :, 0], 0, 1) * np.clip(there[0, :, 0], 0, 1))
        cells = np.flatnonzero(scores >= least)
        places = np.stack([cells % (width // stride), cells // (width // stride)], axis=1)
        centres = places + boxes[0, cells, :2]
        sizes = np.exp(boxes[0, cells, 2:])
        points = places[:, None] + landmarks[0, cells].reshape(-1, 5, 2)
        pixels = np.concatenate([centres - sizes / 2, sizes, points.reshape(-1, 10)], axis=1) * stride
        found.append(np.concatenate([pixels, scores[cells, None]], axis=1))
    faces = np.concatenate(found)
    # `FaceDetectorYN` compares boxes in whole pixels too.
    kept = cv2.dnn.NMSBoxes(np.trunc(faces[:, :4]).tolist(), faces[:, 14].tolist(), 0.0, _OVERLAP, 1.0, _MOST_FACES)
    faces = faces[np.asarray(kept, dtype=int)]
    corners = np.concatenate([faces[:, :2], faces[:, :2] + faces[:, 2:4]], axis=1)
    return np.column_stack([corners, _score(faces[:, 14])]), faces[:, 4:14].reshape(-1, 5, 2)


def _score(yunet: Numbers) -> Numbers:
    """Turn YuNet's scores into those of ``min_score``: 0, 0.7 and 1 into 0, 0.5 and 1, and linearly between."""
    return np.interp(yunet, (0.0, SURE, 1.0), (0.0, 0.5, 1.0))


def _score_of_yunet(score: float) -> float:
    return float(np.interp(score, (0.0, 0.5, 1.0), (0.0, SURE, 1.0)))
