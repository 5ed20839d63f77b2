"""The dlib pack: HOG detector, five landmarks, ResNet embeddings. pip installs all of it; nothing is downloaded later.

Detection. HOG's window is 80 pixels wide and finds faces of that size or larger. So there are up to three passes:

* over the photo at its own size, shrunk to `PIXEL_LIMIT` where it is larger;
* over the photo at 320 pixels in a black frame, for a face that fills the photo or leaves it;
* over the photo enlarged up to twice, for faces of 40 to 80 pixels, as far as `PIXEL_LIMIT` and ``min_size`` go. Only
  boxes that the first pass was too coarse for count: enlarging also brings false ones.

4 megapixels take 0.25 s on one core. A photo of 12 is shrunk to 0.58 of its size, and gives faces from 140 pixels.
Of two boxes that overlap the one with the higher score stays.

Scores: HOG's is a signed distance, 0 its own default threshold. It is reported as ``1 / (1 + exp(-score))``, so that
a ``min_score`` of 0.5 is HOG's default. ``detector_size`` and ``threads`` mean nothing here: HOG runs on one core.

Landmarks are dlib's, not ArcFace's: the outer and the inner corner of the eye at the image's right, the same of the
eye at its left, and the base of the nose.

Threads: dlib's detector keeps working memory in the object, so each call borrows a detector of its own; there are as
many as calls were made at once. The recogniser does the same, but holds the interpreter's lock for 60 ms a face, so one
is enough; faces are embedded one a call, so that other threads can run in between. All files are read when the model
is loaded, as the process may give up the right to read files after that.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from facewatchd.errors import ModelError
from facewatchd.matches import Box
from facewatchd.models.base import clipped, left_to_right, unit_length
from facewatchd.system import installation
from facewatchd.text import one_line
from facewatchd.values import Face, ModelInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from facewatchd.config import Faces
    from facewatchd.values import Pixels

DIM = 128
WEIGHTS = {
    "shape_predictor_5_face_landmarks.dat": "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
    "dlib_face_recognition_resnet_model_v1.dat": "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
}
"""The files used, and their SHA-256: those of face-recognition-models 0.3.0, which are http://dlib.net/files/'s."""
PIXEL_LIMIT = 4_000_000
"""Pixels of the largest image that one pass is run on."""

_WINDOW = 80
_ENLARGED = 2.0
_NEAR_SIDE = 320
_NEAR_FRAME = 0.25
"""Width of the black frame on each side, as a share of the longest side."""
_LOWEST_HOG = -0.5
"""Lowest score that is asked for: below it there are thousands of detections, nearly all of them false."""
_OVERLAP = 0.5
"""Share of the smaller box's area from which two boxes are of one face."""


def install(*, again: bool = False) -> str:
    """The command that installs the packages with dlib and its weights. ``again``: also if they are installed."""
    return installation.extra("offline", again=again)


class _Pass(NamedTuple):
    scale: float
    frame: float
    largest: float
    """Boxes with this side or a longer one, in pixels of the photo, are not used."""


class _Found(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float
    hog: float


class DlibModel:
    """dlib's detector and recogniser, with working memory of their own."""

    upright_score = 0.0

    def __init__(self, *, model_id: str, name: str, threshold: float, threads: int, faces: Faces) -> None:
        """Load the weights of the installed packages.

        Raises `ModelError` when a package is missing or a file is not what it should be. ``threads`` is not used.
        """
        del threads
        landmarks, recogniser = checked_weights()
        prepare(name)
        import _dlib_pybind11 as dlib

        try:
            self._dlib: Any = dlib
            self._landmarks = dlib.shape_predictor(str(landmarks))
            self._recogniser = dlib.face_recognition_model_v1(str(recogniser))
            self._detectors = [dlib.get_frontal_face_detector()]
        except RuntimeError as exc:
            raise ModelError(f"the model {name} cannot be loaded: {one_line(exc)}", install()) from exc
        self._faces = faces
        self._lock = Lock()
        self._recognising = Lock()
        self._info = ModelInfo(id=model_id, name=name, dim=DIM, threshold=threshold)

    @property
    def info(self) -> ModelInfo:
        """The id, name, dimensions and threshold of this model."""
        return self._info

    def faces(self, image: Pixels) -> list[Face]:
        """Find and embed the faces of one upright image, left to right. Raises `ModelError` when dlib fails."""
        image = np.ascontiguousarray(image)
        try:
            with self._borrowed() as detector:
                found = self._detect(detector, image)
            faces = [self._face(image, box, detection) for box, detection in found]
        except RuntimeError as exc:
            raise ModelError(f"the model {self._info.name} failed: {one_line(exc)}", "see `facewatchd doctor`") from exc
        return left_to_right(face for face in faces if face is not None)

    @contextmanager
    def _borrowed(self) -> Iterator[Any]:
        with self._lock:
            detector = self._detectors.pop() if self._detectors else None
        detector = detector or self._dlib.get_frontal_face_detector()
        try:
            yield detector
        finally:
            with self._lock:
                self._detectors.append(detector)

    def _detect(self, detector: Any, image: Pixels) -> list[tuple[Box, _Found]]:
        probability = min(self._faces.min_score, 1 - 1e-9)
        lowest = max(math.log(probability / (1 - probability)), _LOWEST_HOG)
        found: list[_Found] = []
        for run in _passes(image.shape[0], image.shape[1], self._faces.min_size):
            found += [each for each in self._run(detector, image, run, lowest) if each.right - each.left < run.largest]
        boxes = []
        for each in _without_overlaps(found):
            box = clipped(each[:4], image)
            if box is not None and min(box.w, box.h) >= self._faces.min_size:
                boxes.append((box, each))
        return boxes

    def _run(self, detector: Any, image: Pixels, run: _Pass, lowest: float) -> Iterator[_Found]:
        seen = self._resized(image, run.scale)
        across, down = image.shape[1] / seen.shape[1], image.shape[0] / seen.shape[0]
        frame = round(run.frame * max(seen.shape[:2]))
        if frame:
            seen = np.pad(seen, ((frame, frame), (frame, frame), (0, 0)))
        boxes, scores, _ = detector.run(seen, 0, lowest)
        for box, score in zip(boxes, scores, strict=True):
            yield _Found(
                (box.left() - frame) * across,
                (box.top() - frame) * down,
                (box.right() + 1 - frame) * across,
                (box.bottom() + 1 - frame) * down,
                score,
            )

    def _resized(self, image: Pixels, scale: float) -> Pixels:
        """Scale an image: by the mean of whole blocks as far as that goes, and bilinearly for the rest."""
        height, width = image.shape[:2]
        step = min(int(1 / scale), height, width) if scale < 1 else 1
        if step > 1:
            total = np.zeros((height // step, width // step, 3), np.uint32)
            for row in range(step):
                for column in range(step):
                    total += image[row::step, column::step][: height // step, : width // step]
            image = (total // step**2).astype(np.uint8)
        rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
        if image.shape[:2] == (rows, columns):
            return image
        return np.asarray(self._dlib.resize_image(image, rows, columns), dtype=np.uint8)

    def _face(self, image: Pixels, box: Box, found: _Found) -> Face | None:
        rectangle = self._dlib.rectangle(*(round(edge) for edge in found[:4]))
        shape = self._landmarks(image, rectangle)
        with self._recognising:
            vector = self._recogniser.compute_face_descriptor(image, shape)
        embedding = unit_length(vector)
        if embedding is None:
            return None
        points = np.array([(point.x, point.y) for point in shape.parts()], dtype=np.float32)
        return Face(box, 1 / (1 + math.exp(-found.hog)), points, embedding)


def _passes(height: int, width: int, min_size: int) -> list[_Pass]:
    affordable = math.sqrt(PIXEL_LIMIT / (height * width))
    plain = min(1.0, affordable, _WINDOW / min_size)
    passes = [_Pass(plain, 0, math.inf), _Pass(_NEAR_SIDE / max(height, width), _NEAR_FRAME, math.inf)]
    enlarged = min(_ENLARGED, affordable, _WINDOW / min_size)
    if enlarged > plain:
        passes.append(_Pass(enlarged, 0, _WINDOW / plain))
    return passes


def _without_overlaps(found: list[_Found]) -> list[_Found]:
    kept: list[_Found] = []
    for each in sorted(found, key=lambda each: -each.hog):
        if all(_overlap(each, other) < _OVERLAP for other in kept):
            kept.append(each)
    return kept


def _overlap(one: _Found, other: _Found) -> float:
    """Return the part of the smaller box that lies in the larger one."""
    across = min(one.right, other.right) - max(one.left, other.left)
    down = min(one.bottom, other.bottom) - max(one.top, other.top)
    areas = [(box.right - box.left) * (box.bottom - box.top) for box in (one, other)]
    return max(0.0, across) * max(0.0, down) / min(areas)


def prepare(name: str) -> None:
    """Import dlib. Raises `ModelError` for the model of that name."""
    try:
        import _dlib_pybind11  # noqa: F401
    except ImportError as exc:
        raise ModelError(f"the model {name} needs dlib, which cannot be imported: {one_line(exc)}", install()) from exc


def installed() -> bool:
    """Whether dlib and the weights are installed; the digests of the weights are checked when they are loaded."""
    files = weight_files()
    return importlib.util.find_spec("_dlib_pybind11") is not None and bool(files) and all(map(Path.is_file, files))


def weight_files() -> list[Path]:
    """The paths of the weights, in the order of `WEIGHTS`; empty where face-recognition-models is not installed.

    The package is found without importing it: its ``__init__`` needs pkg_resources, which setuptools no longer has.
    """
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or not spec.submodule_search_locations:
        return []
    return [Path(spec.submodule_search_locations[0], "models", name) for name in WEIGHTS]


def checked_weights() -> tuple[Path, Path]:
    """Return the landmark and the recognition weights, their digests checked. Raises `ModelError`."""
    files = weight_files()
    if not files:
        raise ModelError("the model dlib is not installed: the package face-recognition-models is missing", install())
    for file, expected in zip(files, WEIGHTS.values(), strict=True):
        try:
            with file.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as exc:
            raise ModelError(
                f"the model dlib cannot be loaded: {one_line(exc)}", f"install it again: {install(again=True)}"
            ) from exc
        if digest != expected:
            raise ModelError(
                f"the model dlib cannot be loaded: {file} is not the file that face-recognition-models ships",
                f"install it again: {install(again=True)}",
            )
    return files[0], files[1]
