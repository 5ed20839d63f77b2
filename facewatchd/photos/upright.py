"""Upright RGB pixels: from a loaded Pillow image, band by band, or as a view of pixels that are there.

Besides what the decoder needs, the memory is that of the decoded image and of the result, whatever the conversion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from facewatchd.photos.exif import SIDEWAYS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facewatchd.values import Pixels

TRANSPOSITIONS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How an image is turned upright, by its EXIF orientation."""
_BOTTOM_FIRST: Final = frozenset({3, 4, 6, 7})
"""Orientations by which the first row comes last."""
_UPSIDE_DOWN: Final = frozenset({3, 4, 7, 8})
"""Orientations whose rows run upwards, once rows and columns are exchanged where `SIDEWAYS` says so."""
_MIRRORED: Final = frozenset({2, 3, 6, 7})
"""Orientations whose columns run to the left, likewise."""
_BAND_PIXELS: Final = 1 << 16
"""Pixels of a band: what is done to it stays in the processor's cache, which halves the time of a decoding."""


def upright_rgb(image: Image.Image, orientation: int, depth: int) -> Pixels:
    """Convert and turn an image band by band: whole ones in between would take four times the memory."""
    width, height = image.size
    sideways, method = orientation in SIDEWAYS, TRANSPOSITIONS.get(orientation)
    to_rgb = _conversion(image, depth)
    pixels = np.empty((width, height, 3) if sideways else (height, width, 3), np.uint8)
    for top, bottom, stored in _bands(image):
        band = to_rgb(stored)
        start, end = (height - bottom, height - top) if orientation in _BOTTOM_FIRST else (top, bottom)
        place = pixels[:, start:end] if sideways else pixels[start:end]
        place[:] = np.asarray(band if method is None else band.transpose(method))
    return pixels


def turned(pixels: Pixels, orientation: int) -> Pixels:
    """Return a view of pixels that is upright, by their EXIF orientation.

    Nothing is copied: of a photo of 12 megapixels that would take as long as half of its decoding, and a model looks at
    it once and at its faces (`models.views`).
    """
    if orientation in SIDEWAYS:
        pixels = pixels.transpose(1, 0, 2)
    return pixels[:: -1 if orientation in _UPSIDE_DOWN else 1, :: -1 if orientation in _MIRRORED else 1]


def _bands(image: Image.Image) -> Iterator[tuple[int, int, Image.Image]]:
    """Cut an image into bands of about `_BAND_PIXELS`: first row, the row after the last, and the band itself."""
    width, height = image.size
    rows = max(1, _BAND_PIXELS // max(1, width))
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        yield top, bottom, image.crop((0, top, width, bottom))


def _conversion(image: Image.Image, depth: int) -> Callable[[Image.Image], Image.Image]:
    """What turns a band of the image into RGB."""
    if image.mode.startswith("I") or image.mode == "F":
        full = _full_scale(image, depth)
        return lambda band: Image.fromarray(_to_8_bits(np.asarray(band), full)).convert("RGB")
    if image.has_transparency_data:
        return over_white
    return lambda band: band if band.mode == "RGB" else band.convert("RGB")


def over_white(image: Image.Image) -> Image.Image:
    """As RGB, with white where the image is transparent."""
    rgba = image.convert("RGBA")
    if rgba.getchannel("A").getextrema() == (255, 255):
        return rgba.convert("RGB")
    canvas = Image.new("RGB", rgba.size, "white")
    canvas.paste(rgba, mask=rgba)
    return canvas


def contrast(image: Image.Image) -> int:
    """How far apart the darkest and the lightest parts of an image are, 0 to 255, by 64 x 64 samples of it.

    Of images of more than 8 bits only whether they differ: 0 or 255.
    """
    small = image.resize((64, 64), Image.Resampling.NEAREST)
    if small.mode.startswith("I") or small.mode == "F":
        samples = np.asarray(small)
        return 255 * int(bool((samples != samples[0, 0]).any()))
    low, high = np.percentile(np.asarray(over_white(small)), (1, 99))
    return int(high - low)


def _full_scale(image: Image.Image, depth: int) -> float:
    """The value of white in a greyscale image of more than 8 bits.

    Unsigned samples use ``depth`` bits. Of others only the values tell the range: 1.0 (floats, which may overshoot),
    8 bits, 16 bits, else the largest value.
    """
    if image.mode.startswith("I;16"):
        return float((1 << depth) - 1)
    top = max(float(_samples(np.asarray(band)).max(initial=0.0)) for _, _, band in _bands(image))
    if image.mode == "F" and top <= 10:
        return 1.0
    return next((full for full in (255.0, 65535.0) if top <= full), top)


def _to_8_bits(grey: NDArray[np.generic], full: float) -> NDArray[np.uint8]:
    """Scale greyscale samples (height, width) from 0..``full`` to 0..255."""
    if grey.dtype.kind == "u":
        return np.asarray(grey >> np.uint16(int(full).bit_length() - 8), dtype=np.uint8)  # type: ignore[operator]
    return np.asarray((_samples(grey) * np.float32(255 / full) + np.float32(0.5)).clip(0, 255), dtype=np.uint8)


def _samples(grey: NDArray[np.generic]) -> NDArray[np.float32]:
    """As floats; negative and non-finite samples are 0."""
    return np.nan_to_num(np.asarray(grey, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0).clip(0)
