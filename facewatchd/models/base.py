"""What all models have in common: the protocol `Model`, and rules for boxes and embeddings.

Each library that runs models (a backend) has a module of its own, which keeps these rules:

* Images are upright and RGB; boxes and landmarks are in pixels of that image, faces ordered from left to right.
* Embeddings are unit length and finite, so that a dot product of two is their cosine similarity.
* A face without such an embedding is dropped: its similarity to every other face would be undefined.
* Exceptions of the library become a `ModelError`, on one line.
* `Model.faces` may be called from several threads at once.

This module imports no backend, which takes a second: `registry.Pack.load` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from facewatchd.matches import Box
from facewatchd.values import Face, ModelInfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from facewatchd.values import Embedding, Pixels


HINT = (
    "fetch it again with `facewatchd models fetch NAME`, from a file with `facewatchd models fetch FILE.zip`, "
    "or choose another with `--model`"
)
"""What to do about a pack that cannot be loaded."""
INCOMPLETE = "install what is missing, or facewatchd again; `facewatchd doctor` says more"
"""What to do where a library cannot be imported."""


class Model(Protocol):
    """A detector and a recogniser, loaded."""

    @property
    def info(self) -> ModelInfo:
        """The id, name, dimensions and threshold of this model."""
        ...

    @property
    def upright_score(self) -> float:
        """The score from which a face is upright: the detector gives less to one that is upside down or sideways."""
        ...

    def faces(self, image: Pixels) -> list[Face]:
        """Find and embed the faces of one upright image, left to right; raises `ModelError`, and MemoryError."""
        ...

    def parts(self) -> Mapping[str, Any]:
        """The networks that `sessions.placed` decides about."""
        ...


LEAST_SIDE: Final = 640
"""Pixels of the detector's side for small photos: the size that SCRFD is trained and measured with."""
STEP: Final = 32
"""Both sides of a detector's input are multiples of this: the coarsest stride of SCRFD and YuNet."""


def detector_side(width: int, height: int, configured: int | None, most: int) -> int:
    """Return the side in pixels, a multiple of `STEP`, of the square in which a detector sees a photo.

    ``configured``, the key ``detector_size``, fixes it. Else it is the photo's longest side, rounded up: at least
    `LEAST_SIDE`, at most ``most``, above which the model finds little more for its time.
    """
    if configured is not None:
        return configured
    return min(max(-(-max(width, height) // STEP) * STEP, LEAST_SIDE), most)


def clipped(edges: Sequence[float], image: Pixels) -> Box | None:
    """Round a box's left, top, right and bottom edge to whole pixels inside the image.

    None where nothing of the box is inside, or an edge is not finite.
    """
    exact = np.asarray(edges, dtype=np.float64)
    if not np.isfinite(exact).all():
        return None
    height, width = image.shape[:2]
    x0, y0, x1, y1 = np.clip(np.rint(exact), 0, [width, height, width, height]).astype(int).tolist()
    return Box(x0, y0, x1 - x0, y1 - y0) if x1 > x0 and y1 > y0 else None


def unit_length(vector: ArrayLike) -> Embedding | None:
    """Scale a vector of any shape to a flat one of length 1; None where it has no direction or is not finite."""
    flat = np.asarray(vector, dtype=np.float64).ravel()
    length = float(np.linalg.norm(flat))
    if not np.isfinite(length) or length < 1e-9:
        return None
    return (flat / length).astype(np.float32)


UNIT_TOLERANCE = 1e-3
"""How far the length of an embedding may be from 1; float32 in some hundred dimensions errs by less than 1e-6."""


def is_unit(embedding: Embedding, dim: int) -> bool:
    """Whether an embedding has ``dim`` numbers, finite, and unit length."""
    return embedding.shape == (dim,) and bool(are_unit(embedding[None])[0])


def are_unit(embeddings: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether each row of (n, dim) is finite and has unit length. Shape (n,)."""
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("ij,ij->i", embeddings, embeddings)
        unit: NDArray[np.bool_] = np.abs(squares - 1.0) <= 2 * UNIT_TOLERANCE  # false for a NaN
    return unit


MOST_NORM = 1e6
"""Longest embedding whose length is kept; recognisers give 5 to 200."""


def norm_of(vector: ArrayLike) -> float | None:
    """Return the length of an embedding as its recogniser gave it: `Face.norm`.

    None where it says nothing of the face, because the recogniser scales its embeddings to length 1, and where it is
    longer than `MOST_NORM`.
    """
    norm = float(np.linalg.norm(np.asarray(vector, dtype=np.float64)))
    return norm if is_norm(norm) and abs(norm - 1.0) > UNIT_TOLERANCE else None


def is_norm(value: float) -> bool:
    """Whether a number may be a face's norm: more than 0, at most `MOST_NORM`, and so finite."""
    return 0.0 < value <= MOST_NORM


def left_to_right(faces: Iterable[Face]) -> list[Face]:
    """Order faces as the protocol counts them: by the left edge, then by the upper one."""
    return sorted(faces, key=lambda face: (face.box.x, face.box.y))
