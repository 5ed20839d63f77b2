"""Scaling and cutting of images that are views give what they give of a copy, and copy nothing themselves."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from facewatchd.models.views import resized, warped
from facewatchd.photos.upright import turned

Image8 = NDArray[np.uint8]

VIEWS: dict[str, Callable[[Image8], Image8]] = {
    **{f"orientation {number}": lambda image, number=number: turned(image, number) for number in range(1, 9)},
    "a tile": lambda image: image[100:400, 30:610],
    "a tile, turned": lambda image: np.rot90(image)[20:300, 100:400],
    "a tile of one, turned twice": lambda image: np.rot90(turned(image, 6)[50:, 50:], -1),
}
views = pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())


def image() -> Image8:
    rows, columns = np.mgrid[:480, :640]
    grain = np.random.default_rng(3).integers(0, 40, (480, 640))
    return np.stack([rows / 2.4, columns / 3.2, grain + 100], axis=-1).astype(np.uint8)


def distance(one: Image8, other: Image8) -> int:
    return int(np.abs(one.astype(int) - other).max())


@views
def test_a_view_is_scaled_like_a_copy(view: Callable[[Image8], Image8]) -> None:
    seen = view(image())
    for size in ((200, 150), (130, 260), (900, 700)):
        small = resized(seen, *size)
        assert small.flags.c_contiguous
        assert distance(small, cv2.resize(np.ascontiguousarray(seen), size)) <= 1


@views
def test_a_view_is_cut_like_a_copy(view: Callable[[Image8], Image8]) -> None:
    seen = view(image())
    matrix = np.array([[0.4, -0.15, 10.0], [0.15, 0.4, -60.0]])
    crop = warped(seen, matrix, 112)
    expected = cv2.warpAffine(np.ascontiguousarray(seen), matrix, (112, 112), borderValue=0.0)
    assert np.ptp(expected) > 1
    assert distance(crop, expected) <= 8  # OpenCV rounds places to 1/32 of a pixel; the grain is 40 apart
    assert np.abs(crop.astype(int) - expected).mean() < 0.5


@views
def test_nothing_of_the_size_of_the_image_is_copied(view: Callable[[Image8], Image8]) -> None:
    seen = view(np.zeros((1500, 2000, 3), np.uint8))
    tracemalloc.start()
    try:
        resized(seen, 64, 48)
        warped(seen, np.eye(3)[:2], 112)
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()
