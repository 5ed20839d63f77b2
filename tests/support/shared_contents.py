"""Contents as they go to the shared engine, made up from numbers."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from facewatchd.matches import Box
from facewatchd.shared.values import SharedContent
from facewatchd.store.embedded import Embedded
from facewatchd.values import Face, Taken, TakenFrom

DIM = 8


def digest(number: int) -> bytes:
    """The digest of the content of a number."""
    return hashlib.blake2b(str(number).encode(), digest_size=32).digest()


def embedded(number: int, faces: int = 1, dim: int = DIM) -> Embedded:
    """A content; the same number has the same faces."""
    generator = np.random.default_rng(number)
    made = []
    for position in range(faces):
        vector = generator.standard_normal(dim).astype(np.float32)
        vector /= np.linalg.norm(vector)
        landmarks = generator.uniform(0, 100, (5, 2)).astype(np.float32)
        made.append(Face(Box(10 * position, 5, 20, 20), 0.9, landmarks, vector, norm=20.0, sharpness=3.0))
    return Embedded(digest(number), 640, 480, 0, Taken(1e9 + number, None, TakenFrom.EXIF), True, None, made)


def content(number: int, faces: int = 1, paths: tuple[bytes, ...] = (), dim: int = DIM) -> SharedContent:
    """A content with the photos that show it, by default one."""
    ids = tuple(range(100 * number + 1, 100 * number + 1 + faces))
    paths = paths or (b"/photos/%d.jpg" % number,)
    return SharedContent(digest(number), embedded(number, faces, dim), ids, paths, written=10**18 + number)


def embeddings(one: SharedContent) -> NDArray[np.float32]:
    """Those of a content's faces. Shape (m, dim)."""
    assert one.embedded is not None
    return np.array([face.embedding for face in one.embedded.faces], np.float32)
