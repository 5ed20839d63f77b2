"""From an image to faces, the same for every backend: detect, align, embed.

1. The backend detects: boxes with scores, and five landmarks each.
2. Faces smaller than ``min_size`` are dropped before they are embedded.
3. Each face is turned and scaled by its landmarks to where ArcFace's template has them.
4. The backend embeds all crops of the photo, in as few runs as its recogniser allows.

The alignment is `insightface.utils.face_align.norm_crop` in closed form: that function builds a scikit-image object
for each face and calls a method of it that is deprecated, with a warning each time.

Threads: `PackModel.faces` holds no lock. OpenCV's thread pool, one for the process, is switched off: its threads would
not be in the caller's scheduling class.
"""

from __future__ import annotations

import logging
import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from facewatchd.config import CPU
from facewatchd.errors import ModelError
from facewatchd.matches import Box
from facewatchd.models import reference, sessions
from facewatchd.models.base import HINT, LEAST_SIDE, clipped, left_to_right, norm_of, unit_length
from facewatchd.models.devices import ON_PROCESSOR, Placement
from facewatchd.models.views import warped
from facewatchd.text import one_line
from facewatchd.values import Face, ModelInfo

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from facewatchd.config import Faces
    from facewatchd.values import Landmarks, Pixels

    Numbers = NDArray[np.floating[Any]]
    Detections = tuple[Numbers, Numbers]
    """(n, 5) left, top, right, bottom, score, and (n, 5, 2) landmarks, in pixels of the image."""

logger = logging.getLogger(__name__)

TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Where the landmarks are in a crop of 112 pixels: `insightface.utils.face_align.arcface_dst`."""
_NO_MEMORY = re.compile(r"Insufficient memory|Failed to allocate|bad_alloc|bad allocation")
"""In messages of OpenCV and ONNX Runtime."""
NOTHING: Detections = (np.empty((0, 5)), np.empty((0, 5, 2)))


class _Found(NamedTuple):
    box: Box
    score: float
    landmarks: Landmarks


class PackModel(ABC):
    """A detector and a recogniser, loaded from a pack's files. A backend says how both are loaded and run."""

    upright_score: float
    """See `Model.upright_score`."""
    devices = staticmethod(sessions.offered)

    def __init__(
        self,
        directory: Path,
        *,
        model_id: str,
        name: str,
        threshold: float,
        threads: int,
        faces: Faces,
        placement: Placement = ON_PROCESSOR,
        parallel: int = 1,
    ) -> None:
        """Load a pack's detector and recogniser, and run both once.

        ``directory`` holds the ONNX files; ``parallel`` threads call `faces` at the same time. Raises `ModelError`,
        with the pack's name and the reason, when one of the two is missing or damaged, or not on its device.
        """
        self._faces = faces
        self._name = name
        cv2.setNumThreads(1)
        try:
            self._side = self._load(directory, threads)
            self._move(placement, threads, parallel)
            self._detect(np.zeros((64, 64, 3), np.uint8))
            (probe,) = self._embed([picture(self._side)])
            if unit_length(probe) is None:
                raise ValueError("its embeddings are zero, or not finite")
        except ModelError as exc:
            raise ModelError(f"the model {name} cannot be loaded: {exc.message}", exc.hint) from exc
        # Not only ONNX Runtime's: a broken pack also comes as AssertionError, KeyError, IndexError and protobuf's.
        except Exception as exc:
            raise ModelError(f"the model {name} in {directory} cannot be loaded: {self._reason(exc)}", HINT) from exc
        self._info = ModelInfo(id=model_id, name=name, dim=np.size(probe), threshold=threshold)

    @property
    def info(self) -> ModelInfo:
        """The id, name, dimensions and threshold of this model."""
        return self._info

    def faces(self, image: Pixels) -> list[Face]:
        """Find and embed the faces of one upright image, left to right.

        Landmarks are the eyes, the nose and the corners of the mouth. Raises `ModelError` when inference fails, and
        MemoryError where it fails for lack of memory, which may be for the photos that other threads look at.
        """
        try:
            found = self._found(image)
            crops = [aligned(image, each.landmarks, self._side) for each in found]
            embeddings = self._embed(crops)
        except Exception as exc:
            if lacks_memory(exc):
                raise MemoryError from exc
            raise ModelError(
                f"the model {self._name} failed on an image of {image.shape[1]}x{image.shape[0]} pixels: "
                f"{one_line(exc)}",
                "see `facewatchd doctor`",
            ) from exc
        faces = []
        for (box, score, landmarks), crop, vector in zip(found, crops, embeddings, strict=True):
            embedding = unit_length(vector)
            if embedding is None:
                logger.warning("dropped a face at %s: its embedding is not finite or zero", tuple(box))
                continue
            sharpness = sharpness_of(crop)
            faces.append(Face(box, score, landmarks, embedding, norm_of(vector), sharpness=sharpness))
        return left_to_right(faces)

    def _move(self, placement: Placement, threads: int, parallel: int) -> None:
        """Have the devices of a placement compute the parts that it names for them. Raises `ModelError`."""
        for name, part in (self.parts() if placement.devices else {}).items():
            if (device := placement.of(name)) != CPU:
                self._use(name, sessions.on_device(device, part.model, threads, parallel))

    def _face_to_compare(self) -> Pixels:
        """A crop of the largest face on the reference photo; a picture without one where none is found."""
        photo = reference.pixels(LEAST_SIDE)
        largest = max(self._found(photo), key=lambda each: each.box.w * each.box.h, default=None)
        return picture(self._side) if largest is None else aligned(photo, largest.landmarks, self._side)

    def _found(self, image: Pixels) -> list[_Found]:
        """Detect faces that are large enough and can be aligned."""
        boxes, landmarks = self._detect(image)
        found = []
        for (*edges, score), points in zip(boxes.tolist(), landmarks, strict=True):
            box = clipped(edges, image)
            if box is not None and min(box.w, box.h) >= self._faces.min_size and _spread(points):
                found.append(_Found(box, score, points.astype(np.float32)))
        return found

    @abstractmethod
    def parts(self) -> dict[str, sessions.Part]:
        """Both networks by the names of `Placement`'s parts, before one is moved to another device."""

    @abstractmethod
    def _load(self, directory: Path, threads: int) -> int:
        """Load both networks on the processor; return the side of the recogniser's crops in pixels."""

    @abstractmethod
    def _use(self, name: str, session: Any) -> None:
        """Run a network, by its name in `parts`, with another session."""

    @abstractmethod
    def _detect(self, image: Pixels) -> Detections:
        """Find the faces that score at least ``min_score``."""

    @abstractmethod
    def _embed(self, crops: list[Pixels]) -> Sequence[Numbers]:
        """Return one embedding for each crop, not normalised."""

    def _reason(self, exc: Exception) -> str:
        """Why the pack cannot be loaded, on one line."""
        return one_line(exc)


def lacks_memory(exc: Exception) -> bool:
    """Whether numpy, OpenCV or ONNX Runtime could not allocate something: only numpy has an exception of its own."""
    return isinstance(exc, MemoryError) or _NO_MEMORY.search(str(exc)) is not None


def with_new(seen: Detections, more: Detections, most: float) -> Detections:
    """Add the faces of a second look that are of no face seen: whose box overlaps none by more than ``most``."""
    boxes, landmarks = seen
    new = [not _overlaps(box, boxes, most) for box in more[0]]
    return np.concatenate([boxes, more[0][new]]), np.concatenate([landmarks, more[1][new]])


def _overlaps(box: Numbers, boxes: Numbers, most: float) -> bool:
    """Whether one of the boxes is of the same face: intersection over union above ``most``, counted as SCRFD does."""
    if not len(boxes):
        return False
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:4], boxes[:, 2:4])
    shared = np.prod(np.maximum(high - low + 1, 0), axis=1)
    areas = np.prod(boxes[:, 2:4] - boxes[:, :2] + 1, axis=1) + np.prod(box[2:4] - box[:2] + 1)
    return bool((shared / (areas - shared) > most).any())


def aligned(image: Pixels, points: Landmarks, side: int) -> Pixels:
    """Crop a face of ``side`` pixels, its landmarks as close to ArcFace's template as a similarity brings them.

    With points as complex numbers a similarity is ``z -> a z + b``, and its least squares fit has a closed form: what
    Umeyama's method gives in two dimensions. The template's shift for sides that 128 divides is InsightFace's.
    """
    ratio = side / (112 if side % 112 == 0 else 128)
    template = TEMPLATE * ratio + [0.0 if side % 112 == 0 else 8.0 * ratio, 0.0]
    source = points[:, 0] + 1j * points[:, 1].astype(np.float64)
    target = template[:, 0] + 1j * template[:, 1]
    centred = source - source.mean()
    turn = np.vdot(centred, target - target.mean()) / np.vdot(centred, centred)
    shift = target.mean() - turn * source.mean()
    matrix = np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])
    return warped(image, matrix, side)


def sharpness_of(crop: Pixels) -> float:
    """How much detail an aligned crop of a face has: the variance of the Laplacian of its grey. 0 to some 10,000.

    It orders the frames of one burst, and is not to be compared between people or lights.
    """
    return float(cv2.Laplacian(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.CV_32F).var())


def _spread(points: Numbers) -> bool:
    return bool(np.isfinite(points).all() and np.ptp(points, axis=0).max() > 0)


def picture(side: int) -> Pixels:
    """A picture to try a network with: always the same, and not of one colour."""
    ramp = np.linspace(0, 255, side, dtype=np.uint8)
    return np.ascontiguousarray(np.stack(np.broadcast_arrays(ramp, ramp[:, None], ramp[::-1]), axis=-1))
