"""TIFF files: which of their pages are pictures, and a decoder of those that Pillow does not read or reads wrongly.

The one module that imports tifffile. Raw files are TIFFs with a mosaic in one page and a thumbnail before it. A reduced
image is taken for a picture only if the file has no other.
"""

from __future__ import annotations

import codecs
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facewatchd.values import Pixels

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK = 0, 1, 2, 3, 5
_COLOURS: Final = {_RGB: 3, _CMYK: 4}
"""Samples of a pixel that are colours, where they are more than one."""
_USUAL_RANGES: Final = (2.0**8 - 1, 2.0**16 - 1, 2.0**24 - 1, 2.0**32 - 1)
_MOSAICS: Final = frozenset({32803, 34892})
"""Photometric interpretations of raw files: colour filter array and linear raw."""
_UNKNOWN_TO_PILLOW: Final = frozenset({34925, 50000, 50001, 34927})
"""LZMA, ZSTD and WebP as compressions: Pillow's libtiff may lack them."""
_CHECKED: Final = frozenset({1, 5, 8, 32773, 32946}) | _UNKNOWN_TO_PILLOW
"""Compressions whose decoders notice that something is missing."""
_NEW_SUBFILE_TYPE, _SUBFILE_TYPE, _ORIENTATION, _EXTRA_SAMPLES = 254, 255, 274, 338
_REDUCED, _MASK = 1, 4

logging.getLogger("tifffile").setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class Page:
    """One page, for as long as its file is open."""

    number: int
    """In the chain of pages; -1 for one beside it."""
    is_raw: bool
    pixels: int
    tile_pixels: int
    page: Any

    @property
    def needs_second_decoder(self) -> bool:
        """Whether Pillow does not read it, or reads it wrongly: floats and depths, negatives, alpha."""
        page = self.page
        photometric = int(page.photometric)
        if self.number < 0 or int(page.compression) in _UNKNOWN_TO_PILLOW:
            return True
        bits = page.bitspersample if isinstance(page.bitspersample, int) else max(page.bitspersample)
        extra = page.samplesperpixel > _COLOURS.get(photometric, 1)
        if photometric == _WHITE_IS_ZERO:
            return bits > 8 or extra
        if photometric == _BLACK_IS_ZERO:
            return (bits > 8 and bits not in (12, 16)) or extra or (bits == 16 and page.sampleformat == 3)
        if photometric == _RGB:
            unsigned = page.sampleformat in (1, None)
            return bits not in (8, 16) or not unsigned or (bits == 16 and page.planarconfig == 2)
        return (photometric == _CMYK and (bits not in (8, 16) or extra)) or (photometric == _PALETTE and extra)

    @property
    def orientation(self) -> int:
        value = self.page.tags.valueof(_ORIENTATION, 1)
        return value if isinstance(value, int) and 1 <= value <= 8 else 1

    def decode(self) -> Pixels:
        """Decode to RGB as it is stored: uint8 (height, width, 3).

        Raises NotImplementedError for a kind that is not read, ImportError where a codec is not installed, and whatever
        a codec raises for damage.
        """
        page = self.page
        if int(page.compression) not in _CHECKED or int(page.photometric) not in (0, 1, 2, 3, 5):
            raise NotImplementedError("a kind of TIFF")
        end = page.parent.filehandle.size
        if any(not count or at + count > end for at, count in zip(page.dataoffsets, page.databytecounts, strict=False)):
            raise EOFError("a strip is not there")
        try:
            samples = np.asarray(page.asarray(maxworkers=1))
        except ValueError as exc:
            if "imagecodecs" in str(exc):
                raise ImportError(str(exc)) from exc
            raise
        if page.planarconfig == 2 and page.samplesperpixel > 1:
            samples = np.moveaxis(samples, 0, -1)
        samples = samples.reshape(*samples.shape[-2 - (page.samplesperpixel > 1) :])
        return _rgb(samples if samples.ndim == 3 else samples[:, :, None], page)


def load() -> None:
    """Import tifffile, and what it imports only for some files."""
    import tifffile  # noqa: F401

    codecs.lookup("cp1252")  # of texts that are not UTF-8


def pages(file: BinaryIO, limit: int) -> Iterator[Page]:
    """The pages that are pictures, in their order; none where tifffile cannot read the file.

    Where all are reduced images, the first.
    """
    import tifffile

    file.seek(0)
    try:
        document = tifffile.TiffFile(file)
        chain = list(islice(document.pages, limit))
        below = [page for one in chain for page in _below(one, limit)]
    except (
        tifffile.TiffFileError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        OSError,
        AssertionError,
        StopIteration,
    ):
        return
    everything = [(number, page) for number, page in enumerate(chain)] + [(-1, page) for page in below]
    raw = any(int(page.photometric) in _MOSAICS for _, page in everything)
    main = [(number, page) for number, page in everything if number >= 0 and not _is_reduced(page)]
    main = main or [(number, page) for number, page in everything if not _is_reduced(page)] or everything[:1]
    for number, page in main:
        area = max(page.imagewidth * page.imagelength * max(page.imagedepth, 1), 0)
        yield Page(number, raw, area, page.tilewidth * page.tilelength if page.is_tiled else 0, page)


def largest(file: BinaryIO) -> int:
    """Pixels of the largest page that `pages` may lead to."""
    return max((page.pixels for page in pages(file, 8)), default=0)


def _below(page: Any, limit: int) -> Sequence[Any]:
    """The pages that a page holds beside the chain: raw files and exports of photo programs have them."""
    if not page.subifds:
        return ()
    return list(islice(page.pages or (), limit))


def _is_reduced(page: Any) -> bool:
    kind, old_kind = page.tags.valueof(_NEW_SUBFILE_TYPE, 0), page.tags.valueof(_SUBFILE_TYPE, 1)
    return bool(isinstance(kind, int) and kind & (_REDUCED | _MASK)) or old_kind == 2


def _rgb(samples: NDArray[Any], page: Any) -> Pixels:
    """Samples (height, width, channels) as RGB over white."""
    photometric = int(page.photometric)
    count = _COLOURS.get(photometric, 1)
    if samples.shape[2] < count:
        raise NotImplementedError("too few samples")
    full = _full_scale(samples[:, :, :count], page)
    shown = _looked_up(samples[:, :, 0], page) if photometric == _PALETTE else _bytes(samples[:, :, :count], full)
    if photometric == _WHITE_IS_ZERO:
        shown = np.uint8(255) - shown
    elif photometric == _CMYK:
        shown = _from_inks(shown)
    if shown.shape[2] == 1:
        shown = np.repeat(shown, 3, axis=2)
    kinds = page.tags.valueof(_EXTRA_SAMPLES, ())
    kind = next(iter(kinds if isinstance(kinds, tuple) else (kinds,)), 0)
    if int(kind) in (1, 2) and samples.shape[2] > count:
        premultiplied = int(kind) == 1 and photometric != _PALETTE
        shown = _over_white(shown, _bytes(samples[:, :, count : count + 1], full), premultiplied=premultiplied)
    return np.ascontiguousarray(shown)


def _looked_up(indices: NDArray[Any], page: Any) -> Pixels:
    """The colours of a palette image."""
    if page.colormap is None or indices.dtype.kind != "u":
        raise NotImplementedError("a palette without colours")
    wide = np.asarray(page.colormap, np.uint16).T
    colours: Pixels = (wide >> np.uint16(8 if wide.max(initial=0) > 255 else 0)).astype(np.uint8)
    shown: Pixels = colours[indices]
    return shown


def _from_inks(inks: Pixels) -> Pixels:
    """CMYK (height, width, 4) as RGB, as Pillow converts it."""
    light = np.uint16(255) - inks[:, :, 3]
    shown = np.empty((*inks.shape[:2], 3), np.uint8)
    for channel in range(3):  # one at a time, as they are twice as wide in between
        shown[:, :, channel] = (255 - inks[:, :, channel]) * light // 255
    return shown


def _full_scale(samples: NDArray[Any], page: Any) -> float:
    """The value of white: by the bits of whole numbers up to 16, else the smallest usual range that holds them all.

    Signed numbers and floats have none above 16 bits: the largest is white.
    """
    bits = page.bitspersample if isinstance(page.bitspersample, int) else max(page.bitspersample)
    if samples.dtype.kind in "bu" and bits <= 16:
        return float((1 << bits) - 1)
    top = float(np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0).max(initial=0))
    if samples.dtype.kind == "f" and top <= 10:
        return 1.0
    ranges = _USUAL_RANGES if samples.dtype.kind == "u" else _USUAL_RANGES[:2]
    return next((full for full in ranges if top <= full), top)


def _bytes(samples: NDArray[Any], full: float) -> Pixels:
    """Scale 0..``full`` to 0..255, a band at a time; what is negative or no number is 0."""
    scaled = np.empty(samples.shape, np.uint8)
    rows = max(1, (1 << 18) // max(1, math.prod(samples.shape[1:])))
    for top in range(0, len(samples), rows):
        band = np.nan_to_num(samples[top : top + rows].astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        scaled[top : top + rows] = (band * (255 / full) + 0.5).clip(0, 255)
    return scaled


def _over_white(shown: Pixels, alpha: Pixels, *, premultiplied: bool) -> Pixels:
    wide = alpha.astype(np.uint16)
    under = shown if premultiplied else shown * wide // 255
    mixed: Pixels = np.minimum(255, under + (255 - wide)).astype(np.uint8)
    return mixed
