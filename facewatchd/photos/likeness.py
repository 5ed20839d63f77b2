"""How alike two pictures are as a whole: a fingerprint of 63 bits, in which frames of one burst differ little.

The picture is averaged to 32 x 32 cells of grey, whatever its shape, and transformed (a discrete cosine transform of
the second kind). Of the 64 lowest frequencies all but the mean are compared with their median: a bit each. So
brightness, contrast and compression change nothing of it, and small movements of the camera few bits. Known as pHash:
Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010, chapter 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facewatchd.values import Pixels

BYTES: Final = 8
"""Of a fingerprint; the last bit is 0."""
_CELLS: Final = 32
_KEPT: Final = 8
"""Frequencies in each direction."""
_SAMPLES: Final = 256
"""Of the shorter side that are read at most: eight for each cell."""
_GREY: Final = np.array([0.299, 0.587, 0.114], np.float32)
_WAVES: Final = np.cos(np.pi * np.outer(np.arange(_KEPT), 2 * np.arange(_CELLS) + 1) / (2 * _CELLS))


def fingerprint(pixels: Pixels) -> bytes:
    """Return the fingerprint of an upright picture."""
    step = max(1, min(pixels.shape[:2]) // _SAMPLES)
    cells = _means(pixels[::step, ::step] @ _GREY)
    frequencies = (_WAVES @ cells @ _WAVES.T).ravel()[1:]
    return np.packbits(frequencies > np.median(frequencies)).tobytes()


def _means(grey: NDArray[np.float32]) -> NDArray[np.float64]:
    """The means of 32 x 32 cells. A picture with fewer pixels than that has each of them in several cells."""
    for axis, length in enumerate(grey.shape):
        if length < _CELLS:
            grey = np.repeat(grey, -(-_CELLS // length), axis=axis)
    rows, columns = (np.linspace(0, length, _CELLS + 1).astype(int) for length in grey.shape)
    sums = np.add.reduceat(np.add.reduceat(grey, rows[:-1], axis=0), columns[:-1], axis=1)
    return np.asarray(sums / np.outer(np.diff(rows), np.diff(columns)), np.float64)
