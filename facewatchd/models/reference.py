"""The photo that a model is tried with: InsightFace's group photo of six people, which its package installs."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from facewatchd.errors import ModelError

if TYPE_CHECKING:
    from facewatchd.values import Pixels

_HINT = "install facewatchd again"


def photo() -> Path:
    """Return the photo's path, found without importing InsightFace. Raises `ModelError` where it is not installed."""
    spec = importlib.util.find_spec("insightface")
    if spec is None or not spec.submodule_search_locations:
        raise ModelError("the package insightface is not installed", _HINT)
    return Path(spec.submodule_search_locations[0], "data", "images", "t1.jpg")


def pixels(side: int) -> Pixels:
    """Return the photo in a square of that side, RGB, black where the photo is not. Raises `ModelError`."""
    import cv2  # not where only the path is asked for
    import numpy as np

    path = photo()
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ModelError(f"{path} is missing or damaged", _HINT)
    scale = side / max(image.shape[:2])
    scaled = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    square = np.zeros((side, side, 3), np.uint8)
    square[: scaled.shape[0], : scaled.shape[1]] = cv2.cvtColor(scaled, cv2.COLOR_BGR2RGB)
    return square
