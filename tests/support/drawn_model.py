"""A model that sees `drawn_faces` without InsightFace, for tests whose subject is not the model.

InsightFace takes half a second of a processor to import, and each daemon starts two processes that do. This one finds
the same faces as `tiny_pack` with numpy alone: where a cell of the grid is most purple, the run of purple cells in its
row and its column is the box, and the means of red minus blue over the pattern's fields tell the person.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facewatchd.config import Faces
from facewatchd.matches import Box
from facewatchd.models.base import clipped, detector_side, left_to_right, norm_of, unit_length
from facewatchd.values import Face, ModelInfo
from tests.support.drawn_faces import DIM, FIELDS, LEAST_KEY, TEMPLATE, projection

CELL = 4
"""Pixels of a cell of `tiny_pack`, as its detector sees them."""
MOST_SIDE = 1280
"""Pixels of its detector's side at most: its file is small."""
_SAMPLES = 8
"""Pixels of a larger cell's row and column that are looked at."""
REPLACES = "facewatchd.models.insightface"


def replace_insightface() -> None:
    """Have this process take this module for the one that loads InsightFace packs."""
    sys.modules[REPLACES] = sys.modules[__name__]


class InsightFaceModel:
    """What stands in for the class of this name in `facewatchd.models.insightface`; the pack's files are not read."""

    upright_score = 0.75

    @staticmethod
    def devices() -> tuple[str, ...]:
        """Say that nothing but the processor computes."""
        return ()

    def __init__(
        self, directory: Path, *, model_id: str, name: str, threshold: float, faces: Faces, **_: object
    ) -> None:
        self.info = ModelInfo(id=model_id, name=name, dim=DIM, threshold=threshold)
        self._faces = faces
        self._projection = projection(0)

    def faces(self, image: NDArray[np.uint8]) -> list[Face]:
        """Find and embed the faces of one upright image, left to right."""
        height, width = image.shape[:2]
        cells = detector_side(width, height, self._faces.detector_size, MOST_SIDE) // CELL
        side = -(-max(width, height) // cells)
        side = -(-side // _SAMPLES) * _SAMPLES if side > _SAMPLES else side
        cells = _cells(image, side)
        key = np.clip(np.minimum(cells[..., 0], cells[..., 2]) / 128 - cells[..., 1] / 64, 0, 1)
        least = _least_around(np.where(key > LEAST_KEY, key, 0))
        found = []
        while least.size and least.max() >= self._faces.min_score:
            row, column = np.unravel_index(least.argmax(), least.shape)
            top, bottom = _run(key[:, column] > LEAST_KEY, int(row))
            left, right = _run(key[row] > LEAST_KEY, int(column))
            score = float(least[row, column]) * (1 - 0.5 / (right - left))
            least[top:bottom, left:right] = 0
            box = clipped([side * edge for edge in (left, top, right, bottom)], image)
            is_wanted = box is not None and min(box.w, box.h) >= self._faces.min_size
            if box is not None and is_wanted and score >= self._faces.min_score and not _is_turned(image, box):
                found.append((box, score))
        seen = [(box, score, self._embedding(image, box)) for box, score in found]
        return left_to_right(
            Face(box, score, _landmarks(box), unit, norm_of(embedding))
            for box, score, embedding in seen
            if (unit := unit_length(embedding)) is not None
        )

    def _embedding(self, image: NDArray[np.uint8], box: Box) -> NDArray[np.float32]:
        """Project the means of red minus blue, which are zero where only noise tells them from an even purple."""
        face = image[box.y : box.y + box.h, box.x : box.x + box.w]
        difference = face[..., 0].astype(np.float32) - face[..., 2]
        rows = np.array_split(difference, FIELDS)
        fields = np.array([field.mean() for row in rows for field in np.array_split(row, FIELDS, axis=1)])
        fields[np.abs(fields) < 8] = 0
        return np.asarray(7 / 127.5 * fields @ self._projection, dtype=np.float32)


def _cells(image: NDArray[np.uint8], side: int) -> NDArray[np.float64]:
    """Return the mean colours of squares of ``side`` pixels, from a few pixels of each. Shape (rows, columns, 3)."""
    rows, columns = image.shape[0] // side, image.shape[1] // side
    step, count = (side // _SAMPLES, _SAMPLES) if side > _SAMPLES else (1, side)
    picked = image[: rows * side : step, : columns * side : step].reshape(rows, count, columns, count, 3)
    return np.asarray(picked.mean(axis=(1, 3)))


def _least_around(key: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the least of each cell and its eight neighbours; beyond the image there are none."""
    for axis in (0, 1):
        before, after = [(0, 0), (0, 0)], [slice(None), slice(None)]
        before[axis] = (1, 1)
        padded = np.pad(key, before, constant_values=np.inf)
        shifted = []
        for start in range(3):
            after[axis] = slice(start, start + key.shape[axis])
            shifted.append(padded[tuple(after)])
        key = np.minimum.reduce(shifted)
    return key


def _run(inside: NDArray[np.bool_], place: int) -> tuple[int, int]:
    """Return where the run of true values around a place starts and ends."""
    outside = np.flatnonzero(~inside)
    after = np.searchsorted(outside, place)
    return (
        int(outside[after - 1]) + 1 if after else 0,
        int(outside[after]) if after < len(outside) else len(inside),
    )


def _is_turned(image: NDArray[np.uint8], box: Box) -> bool:
    """Whether a face has its collar at another edge than the lower one."""
    x, y, w, h = box
    outside = [(x + w // 2, y - h // 8), (x - w // 8, y + h // 2), (x + w + w // 8, y + h // 2)]
    seen = [image[b, a] for a, b in outside if 0 <= a < image.shape[1] and 0 <= b < image.shape[0]]
    return any(min(pixel[0], pixel[1]) > 180 and pixel[2] < 80 for pixel in seen)


def _landmarks(box: Box) -> NDArray[np.float32]:
    return np.array([(box.x + box.w * x / 112, box.y + box.h * y / 112) for x, y in TEMPLATE], np.float32)
