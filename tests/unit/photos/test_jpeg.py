"""The short way for ordinary JPEGs gives what Pillow gives, and leaves to Pillow what is not ordinary."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from facewatchd.photos import jpeg, upright

ORIENTATION = 0x0112
PICTURE = Image.fromarray(np.random.default_rng(1).integers(0, 256, (13, 21, 3), np.uint8)).resize((210, 131))


def _saved(picture: Image.Image = PICTURE, orientation: int = 1, **options: object) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    file = io.BytesIO()
    picture.save(file, "JPEG", exif=exif, **options)
    return file.getvalue()


def _by_pillow(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    "options",
    [{}, {"quality": 90, "subsampling": 0}, {"progressive": True}, {"subsampling": 1, "restart_marker_rows": 1}],
    ids=str,
)
def test_pixels_are_pillows(orientation: int, options: dict[str, object]) -> None:
    data = _saved(orientation=orientation, **options)
    stored = jpeg.decode(data)
    assert stored is not None
    pixels = upright.turned(stored, orientation)
    assert np.shares_memory(pixels, stored)
    expected = _by_pillow(data)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).max() <= 1  # versions of libjpeg-turbo may round otherwise


def test_what_follows_the_picture_does_no_harm() -> None:
    assert jpeg.decode(_saved() + b"a film of some seconds" * 100) is not None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        _saved()[:2],
        _saved()[:-2],
        _saved()[: len(_saved()) // 2],
        _saved()[:1500] + bytes(100) + _saved()[1600:],
    ],
    ids=["empty", "its first bytes", "without its end", "half", "damaged"],
)
def test_any_doubt_is_left_to_pillow(data: bytes) -> None:
    assert jpeg.decode(data) is None
