"""InsightFace packs: an SCRFD detector and an ArcFace recogniser on ONNX Runtime.

Detection and embedding:

1. The detector is run twice. What it finds at the side of `base.detector_side` is used, as for a script that asks
   InsightFace for that size. At 128 pixels only a face that fills the frame is found; it is added if it is new.
   The square that it is given at full size is black where the photo is not. Most of that is left out, a fifth of the
   work for a photo of 4:3, unless a face is near to it, which would have another embedding then. All others keep
   theirs, to a cosine of 0.9996 and more (`python -m tests.benchmarks importing`).
2. All crops of the photo go through the recogniser in one batch.

Threads: ONNX Runtime sessions may be run from several threads, SCRFD keeps its anchors in a dict that only grows, and
one session serves all input sizes: InsightFace would build another, with its own threads and memory, for each, and
measured they are no faster.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from insightface.app import FaceAnalysis

from facewatchd.models import graphs, reference, sessions
from facewatchd.models.base import LEAST_SIDE, STEP, detector_side
from facewatchd.models.pipeline import NOTHING, PackModel, with_new
from facewatchd.models.views import resized

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from facewatchd.config import Faces
    from facewatchd.models.pipeline import Detections, Numbers
    from facewatchd.values import Pixels

SMALL_SIDE = 128
"""The second detector size, of `insightface.app.face_analysis.DEFAULT_DET_SIZES`."""
_BATCH = 32
"""Crops in one run: ONNX Runtime keeps the memory of its largest batch, and a crowd would make that gigabytes."""
_MARGIN = 64
"""Pixels of black that stay beside the photo in the detector's square; a face within as many is near to them."""
_MOST_SIDE = 960
"""Largest side of the detector's square that is chosen by itself."""
_MOST_SIDE_OF_SMALL = 1280
"""The same for a detector of at most `_SMALL_DETECTOR` bytes, which takes less time for it than others for 960."""
_SMALL_DETECTOR = 3_000_000
"""Bytes of a detector's file: SCRFD 500M has 2.5 MB, 2.5G 3.3 MB and 10G 17 MB."""
_DOUBT = 0.6
"""Share of ``min_score`` from which a face near the black makes the detector run again on the whole square."""
_LONGEST_RATIO = 64
"""Longer images show no face: their short side is at most 20 of the 1280 pixels that SCRFD sees."""


class InsightFaceModel(PackModel):
    """One pack, with sessions of its own."""

    upright_score = 0.75
    """Of the largest faces on 18 photos upright ones score 0.79 to 0.90 with SCRFD 2.5G, upside down 0.51 to 0.73."""

    def _load(self, directory: Path, threads: int) -> int:
        analysis = _analysis(directory, threads, self._faces)
        self._detector = analysis.det_model
        self._most_side = most_side(self._detector)
        self._recogniser = analysis.models["recognition"]
        network = graphs.read(self._recogniser.model_file)
        if graphs.split(network):
            self._recogniser.session = sessions.on_processor(network.SerializeToString(), threads)
        fixed_batch = isinstance(self._recogniser.input_shape[0], int)
        self._batch = self._recogniser.input_shape[0] if fixed_batch else _BATCH
        return int(self._recogniser.input_size[0])

    def parts(self) -> dict[str, sessions.Part]:
        """Both networks, with the reference photo and a face on it, each of the network's size if it takes only one."""
        return {
            "detector": _part(self._detector, lambda: reference.pixels(LEAST_SIDE)),
            "recogniser": _part(self._recogniser, self._face_to_compare),
        }

    def _use(self, name: str, session: Any) -> None:
        (self._detector if name == "detector" else self._recogniser).session = session

    def _detect(self, image: Pixels) -> Detections:
        if max(image.shape[:2]) > _LONGEST_RATIO * min(image.shape[:2]):
            return NOTHING  # and SCRFD fails where nothing is left of the short side
        seen = self._look_closely(image)
        return with_new(seen, self._look(image, (SMALL_SIDE, SMALL_SIDE)), self._detector.nms_thresh)

    def _look_closely(self, image: Pixels) -> Detections:
        """Detect in the large square, without most of its black unless a face is near to that."""
        height, width = image.shape[:2]
        side = detector_side(width, height, self._faces.detector_size, self._most_side)
        scale = side / max(width, height)
        content = [int(length * scale) for length in (width, height)]
        size = tuple(min(side, -(-(length + _MARGIN) // STEP) * STEP) for length in content)
        if self._detector.static_input_size is not None or size == (side, side):
            return self._look(image, (side, side))
        boxes, landmarks = self._look(image, size, self._faces.min_score * _DOUBT)
        ends = zip((width, height), size, strict=True)
        safe = [np.inf if cut == side else length - _MARGIN / scale for length, cut in ends]
        if (boxes[:, 2:4] > safe).any():
            return self._look(image, (side, side))
        sure = boxes[:, 4] >= self._faces.min_score
        return boxes[sure], landmarks[sure]

    def _look(self, image: Pixels, size: tuple[int, ...], min_score: float | None = None) -> Detections:
        """Detect in a black rectangle of that width and height, in which the image is scaled as by `SCRFD.detect`."""
        width, height = self._detector.static_input_size or size
        ratio = image.shape[0] / image.shape[1]
        across, down = (int(height / ratio), height) if ratio > height / width else (width, int(width * ratio))
        seen = np.zeros((height, width, 3), np.uint8)
        seen[:down, :across] = cv2.cvtColor(resized(image, across, down), cv2.COLOR_RGB2BGR)
        found = self._detector.forward(seen, self._faces.min_score if min_score is None else min_score)
        if not found[2]:
            raise ValueError("its detector gives no landmarks")
        scores, boxes, landmarks = map(np.concatenate, found)
        best_first = np.argsort(-scores[:, 0], kind="stable")
        scale = down / image.shape[0]
        boxes = np.hstack([boxes / scale, scores]).astype(np.float32)[best_first]
        kept = self._detector.nms(boxes)
        return boxes[kept], landmarks[best_first][kept] / scale

    def _embed(self, crops: list[Pixels]) -> list[Numbers]:
        rows: list[Numbers] = []
        for start in range(0, len(crops), self._batch):
            batch = [cv2.cvtColor(crop, cv2.COLOR_RGB2BGR) for crop in crops[start : start + self._batch]]
            rows.extend(self._recogniser.get_feat(batch))
        return rows

    def _reason(self, exc: Exception) -> str:
        # FaceAnalysis says only `assert "detection" in self.models`.
        return "it has no detection model" if isinstance(exc, AssertionError) else super()._reason(exc)


def _analysis(directory: Path, threads: int, faces: Faces) -> Any:
    if not directory.is_dir():  # FaceAnalysis would take it for a name, and download that
        raise FileNotFoundError(f"there is no directory {directory}")
    analysis = FaceAnalysis(
        name=str(directory),
        allowed_modules=["detection", "recognition"],
        providers=[sessions.PROCESSOR],
        sess_options=sessions.options(threads),
        static_shape_sessions=False,
    )
    if "recognition" not in analysis.models:
        raise ValueError("it has no recognition model")
    sides = (SMALL_SIDE, LEAST_SIDE)  # each call names its own
    analysis.prepare(ctx_id=0, det_thresh=faces.min_score, det_size=[(side, side) for side in sides])
    return analysis


def _part(model: Any, image: Callable[[], Pixels]) -> sessions.Part:
    def sample() -> Any:
        seen = image()
        count, _, *sides = model.session.get_inputs()[0].shape
        rows, columns = (each if isinstance(each, int) else len(seen) for each in sides)
        images = [seen] * (count if isinstance(count, int) else 1)
        return cv2.dnn.blobFromImages(images, 1 / model.input_std, (columns, rows), (model.input_mean,) * 3)

    return sessions.Part(model.session, model.model_file, sample)


def most_side(detector: Any) -> int:
    """The largest side of the detector's square that is chosen by itself."""
    small = os.stat(detector.model_file).st_size <= _SMALL_DETECTOR
    return _MOST_SIDE_OF_SMALL if small else _MOST_SIDE
