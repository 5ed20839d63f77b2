"""Photos to test with: those in ../shared, those that installed packages ship, and what is made of them."""

from __future__ import annotations

import csv
import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.support.paths import SHARED

PHOTOS = SHARED / "photos"
PACKS = SHARED / "insightface"

needs_shared = pytest.mark.skipif(not PHOTOS.is_dir(), reason="the labelled photos of ../shared are not here")
needs_packs = pytest.mark.skipif(not PACKS.is_dir(), reason="the InsightFace packs of ../shared are not here")


def people() -> dict[str, list[str]]:
    """Who is on each labelled photo, left to right."""
    with (PHOTOS / "people.csv").open(newline="") as file:
        return {row["file"]: row["people"].split() for row in csv.DictReader(file)}


def shipped(package: str, *parts: str) -> Path:
    """A file of an installed package, found without importing it."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0], *parts)


def group_photo() -> Path:
    """InsightFace's photo of six people, 1280 x 886."""
    return shipped("insightface", "data", "images", "t1.jpg")


def astronaut() -> Path:
    """scikit-image's portrait of Eileen Collins, 512 x 512."""
    return shipped("skimage", "data", "astronaut.png")


def save(image: Image.Image, path: Path, orientation: int = 1, **options: object) -> Path:
    """Write an image whose pixels are laid so that the EXIF orientation turns them upright again."""
    undo = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    exif = Image.Exif()
    if orientation != 1:
        image = image.transpose(undo[orientation])
        exif[0x0112] = orientation
    image.save(path, exif=exif, **options)
    return path


def derived(directory: Path, source: Path, name: str) -> list[Path]:
    """The same picture as six files with other bytes: encodings, EXIF turns, a scaling, a crop."""
    directory.mkdir(parents=True, exist_ok=True)
    image = Image.open(source).convert("RGB")
    width, height = image.size
    return [
        Path(shutil.copy(source, directory / f"{name}{source.suffix}")),
        save(image, directory / f"{name} low.jpg", quality=60),
        save(image, directory / f"{name} turned.jpg", 6, quality=90),
        save(image, directory / f"{name} upside down.webp", 3, quality=85),
        save(image.resize((width * 3 // 4, height * 3 // 4)), directory / f"{name} small.png"),
        save(image.crop((0, 0, width, height * 19 // 20)), directory / f"{name} cropped.JPEG", quality=90),
    ]


def noise(seed: int, width: int = 320, height: int = 240) -> NDArray[np.uint8]:
    """A picture without a face that no other seed gives."""
    small = np.random.default_rng(seed).integers(60, 200, (height // 20, width // 20, 3), dtype=np.uint8)
    return np.kron(small, np.ones((20, 20, 1), np.uint8))
