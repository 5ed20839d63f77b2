"""The fingerprint of a picture: like for like pictures, whatever their size and light."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from facewatchd.photos.likeness import BYTES, fingerprint


def pictures() -> list[Image.Image]:
    """Clouds of colour, each its own."""
    rng = np.random.default_rng(0)
    small = [rng.integers(0, 255, (9, 12, 3), np.uint8) for _ in range(8)]
    return [Image.fromarray(each).resize((480, 360), Image.Resampling.BICUBIC) for each in small]


def distance(one: Image.Image, other: Image.Image) -> int:
    bits = [int.from_bytes(fingerprint(np.asarray(image.convert("RGB"))), "big") for image in (one, other)]
    return (bits[0] ^ bits[1]).bit_count()


def test_the_same_picture_in_another_size_light_or_crop_is_near_and_others_are_far() -> None:
    first, *others = pictures()
    changes = [
        first.resize((1920, 1440)),
        first.resize((160, 120)),
        ImageEnhance.Brightness(first).enhance(0.8),
        ImageEnhance.Contrast(first).enhance(0.7),
        first.crop((5, 4, 480, 360)),
    ]
    assert max(distance(first, change) for change in changes) <= 6
    assert min(distance(first, other) for other in others) >= 20


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (31, 33), (257, 1023)])
def test_a_picture_of_any_shape_and_of_one_colour_has_one(shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (*shape, 3), np.uint8)
    assert len(fingerprint(noise)) == len(fingerprint(np.zeros((*shape, 3), np.uint8))) == BYTES
    turned = noise.transpose(1, 0, 2)[::-1]
    assert fingerprint(turned) == fingerprint(np.ascontiguousarray(turned))
