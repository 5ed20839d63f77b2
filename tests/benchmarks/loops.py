"""What the daemon is compared with: the loops of ordinary scripts, and decoding and inference alone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from unittest.mock import patch

import cv2
import numpy as np
import onnxruntime
from insightface.app import FaceAnalysis
from numpy.typing import NDArray

from facewatchd.config import Faces
from facewatchd.models import registry, zoo
from facewatchd.models.base import detector_side
from facewatchd.photos import decode

MIN_SIZE = 40
"""Pixels: smaller faces are not indexed unless configured, and not compared here."""
CORES = len(os.sched_getaffinity(0))


class Seen(NamedTuple):
    """A face of one photo."""

    box: NDArray[np.float64]
    """Left, top, right, bottom."""
    embedding: NDArray[np.float32]
    """Unit length."""


class PlainLoop(Protocol):
    """What a script does: one photo after the other, with everything that its libraries take by default."""

    words: str
    """What is called for a photo."""

    def faces(self, path: Path) -> list[Seen]:
        """Read a photo; find and embed its faces."""
        ...


def plain_loop(pack: registry.Pack) -> PlainLoop:
    """The loop of a script that uses the same files, and the same side of the detector's square for each photo."""
    assert pack.files is not None
    return OpenCVLoop(pack.files) if zoo.is_pack(pack.files) else InsightFaceLoop(pack.files)


def seen(loop: PlainLoop, photos: list[Path]) -> list[list[Seen]]:
    """The faces of each photo, those of `MIN_SIZE`."""
    found = map(loop.faces, photos)
    return [[face for face in faces if min(face.box[2:] - face.box[:2]) >= MIN_SIZE] for faces in found]


class InsightFaceLoop:
    """`FaceAnalysis.get`."""

    words = "`cv2.imread`, `FaceAnalysis.get`"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._by_side: dict[int, Any] = {}

    def faces(self, path: Path) -> list[Seen]:
        image = _image(path)
        return [
            Seen(np.asarray(face.bbox, np.float64), face.normed_embedding) for face in self._analysis(image).get(image)
        ]

    def _analysis(self, image: NDArray[Any]) -> Any:
        side = detector_side(image.shape[1], image.shape[0], None, self._most_side)
        if side not in self._by_side:
            self._by_side[side] = analysis = self._loaded()
            analysis.prepare(ctx_id=0, det_size=(side, side))
        return self._by_side[side]

    @cached_property
    def _most_side(self) -> int:
        from facewatchd.models import insightface

        return insightface.most_side(self._loaded().det_model)

    def _loaded(self) -> Any:
        return FaceAnalysis(name=str(self._directory), allowed_modules=["detection", "recognition"])


class OpenCVLoop:
    """`FaceDetectorYN` and `FaceRecognizerSF`."""

    words = "`cv2.imread`, `FaceDetectorYN.detect`, `FaceRecognizerSF.alignCrop` and `feature`"

    def __init__(self, directory: Path) -> None:
        from facewatchd.models import opencv

        self._most_side = opencv.MOST_SIDE
        self._detector = cv2.FaceDetectorYN.create(str(directory / zoo.DETECTOR.name), "", (640, 640), opencv.SURE)
        self._recogniser = cv2.FaceRecognizerSF.create(str(directory / zoo.RECOGNISER.name), "")

    def faces(self, path: Path) -> list[Seen]:
        image = _image(path)
        height, width = image.shape[:2]
        scale = detector_side(width, height, None, self._most_side) / max(height, width)
        size = (round(width * scale), round(height * scale))
        self._detector.setInputSize(size)
        _, rows = self._detector.detect(cv2.resize(image, size))
        found = []
        for row in () if rows is None else rows:
            row[0:14:2] *= width / size[0]
            row[1:14:2] *= height / size[1]
            embedding = self._recogniser.feature(self._recogniser.alignCrop(image, row))[0]
            box = np.array([row[0], row[1], row[0] + row[2], row[1] + row[3]], np.float64)
            found.append(Seen(box, embedding / np.linalg.norm(embedding)))
        return found


def _image(path: Path) -> NDArray[Any]:
    image = cv2.imread(str(path))
    assert image is not None, path
    return image


class Limit:
    """The daemon's own decoder and its networks, perfectly overlapped.

    What the networks are given is noted before, and is what they are given for these very photos: a recogniser takes
    nearly twice as long for a face as for black.
    """

    def __init__(self, pack: registry.Pack, photos: list[Path], threads: int = 1, callers: int = CORES) -> None:
        """``threads``: of one inference."""
        self._callers = callers
        self._runs: list[list[tuple[Any, Any]]] = []
        """For each photo the sessions that are run, each with what it is given."""
        with _threads_of_opencv():
            model = pack.load(threads, Faces())
            with _noted() as noted:
                for path in photos:
                    model.faces(_decoded(path))
                    self._runs.append(noted[:])
                    noted.clear()

    def run(self, photos: list[Path]) -> None:
        with ThreadPoolExecutor(self._callers) as pool:
            list(pool.map(self.one, photos, range(len(photos))))

    def one(self, path: Path, number: int) -> None:
        _decoded(path)
        for run, inputs in self._runs[number]:
            run(None, inputs)


def _decoded(path: Path) -> Any:
    with path.open("rb") as file:
        return decode.decode(file)


@contextlib.contextmanager
def _threads_of_opencv() -> Iterator[None]:
    """Give OpenCV its threads back in the end: loading a model takes them, and the plain loop is to have them."""
    threads = cv2.getNumThreads()
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


@contextlib.contextmanager
def _noted() -> Iterator[list[tuple[Any, Any]]]:
    """Have every run of a session noted: what runs it, and what it is given."""
    noted: list[tuple[Any, Any]] = []
    original = onnxruntime.InferenceSession.run

    def note(self: Any, names: Any, inputs: Any, options: Any = None) -> Any:
        noted.append((lambda *given: original(self, *given), {name: value.copy() for name, value in inputs.items()}))
        return original(self, names, inputs, options)

    with patch.object(onnxruntime.InferenceSession, "run", note):
        yield noted
