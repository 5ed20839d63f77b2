"""InsightFace packs: an SCRFD detector and an ArcFace recogniser on ONNX Runtime.

Detection and embedding:

1. The detector is run twice. What it finds at the side of `base.detector_side` is used, as for a script that asks
   InsightFace for that size. At 128 pixels only a face that fills the frame is found; it is added if it is new.
   The square that it is given at full size is black where the photo is not. Most of that is left out, a fifth of the
   work for a photo of 4:3, unless a face is near to it, which would have another embedding then. All others keep
   theirs, to a cosine of 0.9996 and more (`python -m tests.benchmarks importing`).
2. Faces smaller than ``min_size`` are dropped before they are embedded.
3. Each face is turned and scaled by its five landmarks to where ArcFace expects them.
4. All crops of the photo go through the recogniser in one batch.

The alignment is `insightface.utils.face_align.norm_crop` in closed form: that function builds a scikit-image object
for each face and calls a method of it that is deprecated, with a warning each time.

Threads: `faces` holds no lock. ONNX Runtime sessions may be run from several threads, SCRFD keeps its anchors in a dict
that only grows, and one session serves all input sizes: InsightFace would build another, with its own threads and
memory, for each, and measured they are no faster. OpenCV's thread pool, one for the process, is switched off: its
threads would not be in the caller's scheduling class.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import onnxruntime
from insightface.app import FaceAnalysis
from insightface.model_zoo.onnxruntime_utils import get_default_providers
from insightface.utils.face_align import arcface_dst

from facewatchd.errors import ModelError
from facewatchd.matches import Box
from facewatchd.models.base import HINT, LEAST_SIDE, STEP, clipped, detector_side, left_to_right, norm_of, unit_length
from facewatchd.text import one_line
from facewatchd.values import Face, ModelInfo

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from facewatchd.config import Faces
    from facewatchd.values import Landmarks, Pixels

logger = logging.getLogger(__name__)

SMALL_SIDE = 128
"""The second detector size, of `insightface.app.face_analysis.DEFAULT_DET_SIZES`."""
_PROCESSOR = "CPUExecutionProvider"
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
"""Longer images show no face: their short side is at most 10 of the 640 pixels that SCRFD sees."""


def accelerator() -> str:
    """Return the name of the accelerator that InsightFace would compute on; empty for the processor alone."""
    return next((name for name in map(str, get_default_providers()) if name != _PROCESSOR), "")


class InsightFaceModel:
    """One pack, with sessions of its own."""

    def __init__(
        self, directory: Path, *, model_id: str, name: str, threshold: float, threads: int, faces: Faces
    ) -> None:
        """Load a pack's detection and recognition, and run both once.

        ``directory`` holds the ONNX files. Raises `ModelError`, with the pack's name and the reason, when one of the
        two is missing or damaged.
        """
        self._faces = faces
        self._name = name
        cv2.setNumThreads(1)
        try:
            analysis = _load(directory, threads, faces)
            self._detector = _taking_rgb(analysis.det_model)
            self._most_side = _most_side(self._detector)
            self._recogniser = analysis.models["recognition"]
            self._side = int(self._recogniser.input_size[0])
            fixed_batch = isinstance(self._recogniser.input_shape[0], int)
            self._batch = self._recogniser.input_shape[0] if fixed_batch else _BATCH
            self._detect(np.zeros((64, 64, 3), np.uint8))
            (probe,) = self._embed([_picture(self._side)])
            if unit_length(probe) is None:
                raise ValueError("its embeddings are zero, or not finite")
        # Not only ONNX Runtime's: a broken pack also comes as AssertionError, KeyError, IndexError and protobuf's.
        except Exception as exc:
            raise ModelError(f"the model {name} in {directory} cannot be loaded: {_reason(exc)}", HINT) from exc
        self._info = ModelInfo(id=model_id, name=name, dim=len(probe), threshold=threshold)

    @property
    def info(self) -> ModelInfo:
        """The id, name, dimensions and threshold of this model."""
        return self._info

    def faces(self, image: Pixels) -> list[Face]:
        """Find and embed the faces of one upright image, left to right.

        Landmarks are the eyes, the nose and the corners of the mouth. Raises `ModelError` when inference fails.
        """
        try:
            found = self._found(image)
            embeddings = self._embed([_aligned(image, landmarks, self._side) for _, _, landmarks in found])
        except Exception as exc:
            raise ModelError(
                f"the model {self._name} failed on an image of {image.shape[1]}x{image.shape[0]} pixels: "
                f"{one_line(exc)}",
                "see `facewatchd doctor`",
            ) from exc
        faces = []
        for (box, score, landmarks), vector in zip(found, embeddings, strict=True):
            embedding = unit_length(vector)
            if embedding is None:
                logger.warning("dropped a face at %s: its embedding is not finite or zero", tuple(box))
                continue
            faces.append(Face(box, score, landmarks, embedding, norm_of(vector)))
        return left_to_right(faces)

    def _found(self, image: Pixels) -> list[tuple[Box, float, Landmarks]]:
        """Detect faces that are large enough and can be aligned: box, score, landmarks."""
        if max(image.shape[:2]) > _LONGEST_RATIO * min(image.shape[:2]):
            return []  # and SCRFD fails where nothing is left of the short side
        boxes, landmarks = self._detect(image)
        found = []
        for (*edges, score), points in zip(boxes.tolist(), landmarks, strict=True):
            box = clipped(edges, image)
            if box is not None and min(box.w, box.h) >= self._faces.min_size and _spread(points):
                found.append((box, score, points.astype(np.float32)))
        return found

    def _detect(self, image: Pixels) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return (n, 5) left, top, right, bottom, score, and (n, 5, 2) landmarks."""
        boxes, landmarks = self._look_closely(image)
        more, more_landmarks = self._look(image, (SMALL_SIDE, SMALL_SIDE))
        new = [not _overlaps(box, boxes, self._detector.nms_thresh) for box in more]
        return np.concatenate([boxes, more[new]]), np.concatenate([landmarks, more_landmarks[new]])

    def _look_closely(self, image: Pixels) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
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

    def _look(
        self, image: Pixels, size: tuple[int, ...], min_score: float | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        boxes, landmarks = self._detector.detect(image, input_size=size, det_thresh=min_score)
        if landmarks is None:
            raise ValueError("its detector gives no landmarks")
        return boxes, landmarks

    def _embed(self, crops: list[Pixels]) -> list[NDArray[np.float32]]:
        """Return one embedding for each crop, not normalised, in as few runs as the recogniser allows."""
        rows: list[NDArray[np.float32]] = []
        for start in range(0, len(crops), self._batch):
            batch = [cv2.cvtColor(crop, cv2.COLOR_RGB2BGR) for crop in crops[start : start + self._batch]]
            rows.extend(self._recogniser.get_feat(batch))
        return rows


def _load(directory: Path, threads: int, faces: Faces) -> Any:
    if not directory.is_dir():  # FaceAnalysis would take it for a name, and download that
        raise FileNotFoundError(f"there is no directory {directory}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that spin burn a core between two photos.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    analysis = FaceAnalysis(
        name=str(directory),
        allowed_modules=["detection", "recognition"],
        sess_options=options,
        static_shape_sessions=False,
    )
    if "recognition" not in analysis.models:
        raise ValueError("it has no recognition model")
    sides = (SMALL_SIDE, LEAST_SIDE)  # each call names its own
    analysis.prepare(ctx_id=0, det_thresh=faces.min_score, det_size=[(side, side) for side in sides])
    return analysis


def _most_side(detector: Any) -> int:
    small = os.stat(detector.model_file).st_size <= _SMALL_DETECTOR
    return _MOST_SIDE_OF_SMALL if small else _MOST_SIDE


def _taking_rgb(detector: Any) -> Any:
    """Make a detector take RGB photos: only the image that it has scaled down is converted to BGR."""
    forward = detector.forward

    def swapped(image: Pixels, threshold: float) -> Any:
        return forward(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), threshold)

    detector.forward = swapped
    return detector


def _picture(side: int) -> Pixels:
    """A picture to embed that is not of one colour."""
    ramp = np.linspace(0, 255, side, dtype=np.uint8)
    return np.ascontiguousarray(np.stack(np.broadcast_arrays(ramp, ramp[:, None], ramp[::-1]), axis=-1))


def _reason(exc: Exception) -> str:
    # FaceAnalysis says only `assert "detection" in self.models`.
    return "it has no detection model" if isinstance(exc, AssertionError) else one_line(exc)


def _spread(points: NDArray[np.float32]) -> bool:
    return bool(np.isfinite(points).all() and np.ptp(points, axis=0).max() > 0)


def _overlaps(box: NDArray[np.float32], boxes: NDArray[np.float32], most: float) -> bool:
    """Whether one of the boxes is of the same face: intersection over union above ``most``, counted as SCRFD does."""
    if not len(boxes):
        return False
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:4], boxes[:, 2:4])
    shared = np.prod(np.maximum(high - low + 1, 0), axis=1)
    areas = np.prod(boxes[:, 2:4] - boxes[:, :2] + 1, axis=1) + np.prod(box[2:4] - box[:2] + 1)
    return bool((shared / (areas - shared) > most).any())


def _aligned(image: Pixels, points: Landmarks, side: int) -> Pixels:
    """Crop a face of ``side`` pixels, its landmarks as close to ArcFace's template as a similarity brings them.

    With points as complex numbers a similarity is ``z -> a z + b``, and its least squares fit has a closed form: what
    Umeyama's method gives in two dimensions. Template, and its shift for sides that 128 divides, are InsightFace's.
    """
    ratio = side / (112 if side % 112 == 0 else 128)
    template = arcface_dst * ratio + [0.0 if side % 112 == 0 else 8.0 * ratio, 0.0]
    source = points[:, 0] + 1j * points[:, 1].astype(np.float64)
    target = template[:, 0] + 1j * template[:, 1]
    centred = source - source.mean()
    turn = np.vdot(centred, target - target.mean()) / np.vdot(centred, centred)
    shift = target.mean() - turn * source.mean()
    matrix = np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])
    return np.asarray(cv2.warpAffine(image, matrix, (side, side), borderValue=0.0), dtype=np.uint8)
