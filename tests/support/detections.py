"""Models on photos that installed packages ship, and what every model promises of its answers."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from facewatchd.config import Faces
from facewatchd.models import registry
from facewatchd.models.base import Model, is_norm
from facewatchd.values import Face
from tests.support import samples

Image8 = NDArray[np.uint8]


def load(root: Path, name: str, **faces: float) -> Model:
    pack = registry.find(name, root)
    assert pack is not None
    return pack.load(2, Faces(**faces))  # type: ignore[arg-type]


def canvas(width: int = 800, height: int = 640) -> Image8:
    return np.random.default_rng(1).integers(60, 180, (height, width, 3)).astype(np.uint8)


def jpeg(image: Image8, quality: int = 75, scale: float = 1.0) -> Image8:
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    buffer = io.BytesIO()
    Image.fromarray(image).resize(size, Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def read(path: Path) -> Image8:
    with Image.open(path) as opened:
        return np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))


def group_of_six() -> Image8:
    return read(samples.group_photo())


def portrait() -> Image8:
    return read(samples.astronaut())


def overlap(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    across = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    down = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    shared = max(0, across) * max(0, down)
    return shared / (one[2] * one[3] + other[2] * other[3] - shared)


def assert_sound(faces: list[Face], image: Image8, dim: int) -> None:
    """What every backend promises of every answer."""
    height, width = image.shape[:2]
    assert [(face.box.x, face.box.y) for face in faces] == sorted((face.box.x, face.box.y) for face in faces)
    for face in faces:
        assert all(isinstance(value, int) for value in face.box)
        assert 0 <= face.box.x < face.box.x + face.box.w <= width
        assert 0 <= face.box.y < face.box.y + face.box.h <= height
        assert 0 < face.score <= 1
        assert face.landmarks.shape == (5, 2)
        assert face.landmarks.dtype == np.float32
        assert face.embedding.shape == (dim,)
        assert face.embedding.dtype == np.float32
        assert np.linalg.norm(face.embedding) == pytest.approx(1, abs=1e-5)
        assert face.norm is None or is_norm(face.norm)
