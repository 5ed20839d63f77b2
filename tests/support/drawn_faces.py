"""Faces that are drawn: squares in two purples that photographs do not have, a 4 x 4 pattern tells each person.

A face may have a collar, a yellow stripe along its lower edge: then `drawn_model` sees it only where that is below, as
a detector of real faces does not see those that are turned.

They survive JPEG, scaling and EXIF turns like real ones. Patterns are rows of a Hadamard matrix: two persons'
similarity is 0. Two models see them: `tiny_pack` through InsightFace, and `drawn_model` without it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PERSONS = range(1, 16)
DIM = 64
FIELDS = 4
"""Fields of the pattern in a row and in a column."""
LEAST_KEY = 0.35
"""How purple a cell of a face is at least; 1 is the purple of a face that is drawn with full strength."""
COLLAR = 4
"""A collar's height is this part of the face's."""
YELLOW = (255, 255, 0)
WARM, _COLD = (255, 0, 128), (128, 0, 255)
TEMPLATE = (
    (38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041),
)  # fmt: skip
"""`insightface.utils.face_align.arcface_dst`, for crops of 112 pixels: eyes, nose, corners of the mouth."""


def draw_face(
    image: NDArray[np.uint8],
    box: tuple[int, int, int, int],
    person: int | None,
    strength: float = 1.0,
    *,
    collar: bool = False,
) -> None:
    """Draw a face into an RGB image: ``box`` is x, y, w, h, 24 pixels and more as the detector sees them.

    ``person`` is one of `PERSONS`, or None for a face whose embedding is zero. ``strength`` is about its score.
    Between two faces there must be 8 pixels as the detector sees them, or they are one.
    """
    x, y, w, h = box
    columns = np.arange(w) * FIELDS // w
    rows = np.arange(h) * FIELDS // h
    if person is None:
        mean = [(warm + cold) // 2 for warm, cold in zip(WARM, _COLD, strict=True)]
        face = np.broadcast_to(np.array(mean, float), (h, w, 3))
    else:
        pattern = _hadamard(FIELDS**2)[person].reshape(FIELDS, FIELDS)[np.ix_(rows, columns)]
        face = np.where(pattern[:, :, None] > 0, np.array(WARM, float), np.array(_COLD, float))
    image[y : y + h, x : x + w] = np.rint(face * strength).astype(np.uint8)
    if collar:
        image[y + h : y + h + h // COLLAR, x : x + w] = YELLOW


def embedding(person: int, seed: int = 0) -> NDArray[np.float32]:
    """Return the unit-length embedding of a person as drawn; after JPEG and scaling it is close to it."""
    pattern = _hadamard(FIELDS**2)[person] / FIELDS
    return np.asarray(pattern @ projection(seed), dtype=np.float32)


def projection(seed: int) -> NDArray[np.float64]:
    """Return a matrix (fields, `DIM`) with orthonormal rows, which keeps cosines as they are."""
    random = np.random.default_rng(seed).standard_normal((DIM, FIELDS**2))
    return np.asarray(np.linalg.qr(random)[0].T)


def _hadamard(size: int) -> NDArray[np.int64]:
    matrix = np.array([[1]])
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix
