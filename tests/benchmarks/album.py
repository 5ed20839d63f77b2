"""Photos to measure with, put together from those at hand: always the same ones, and no two alike.

The pictures are the labelled photos beside the project where they are, else those that InsightFace and scikit-image
ship. Enlarged pictures are smooth, and cheap to decode: grain makes their files as large as a camera's.
"""

from __future__ import annotations

import importlib.util
import io
import itertools
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from tests.benchmarks.options import SHARED, Options

SUFFIXES = {".jpg", ".jpeg", ".png"}
"""What OpenCV reads as well, which has the word in the comparison."""
MIXED_PIXELS = 1_900_000
PHONE_SIZES = ((4000, 3000), (4032, 3024), (4624, 3468), (6000, 4000))
"""Of phone photos, in turn: 12, 12, 16 and 24 megapixels."""
_ROTATED = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270, 3: Image.Transpose.ROTATE_180}
"""EXIF orientation, and how pixels are laid so that it turns them upright."""
_GRAIN = 512


def mixed(options: Options, count: int = 64) -> list[Path]:
    """Photos of 1.9 megapixels, a few of them PNG, some turned by EXIF; or the user's own."""
    if options.photos:
        return _own(options.photos)[:count]
    directory = options.work / "mixed"
    return [_mixed(directory, number, source) for number, source in zip(range(count), _sources(), strict=False)]


def phone(options: Options, count: int = 16) -> list[Path]:
    """Photos of 12 to 24 megapixels, JPEG of quality 90, some turned by EXIF; or the user's own of that size."""
    if options.photos:
        large = [path for path in _own(options.photos) if pixels(path) >= 12_000_000]
        return large[:count]
    directory = options.work / "phone"
    return [_phone(directory, number, sources) for number, sources in zip(range(count), _groups(), strict=False)]


def marked(photo: bytes, mark: int) -> bytes:
    """The same picture as other bytes: a number in a comment, which all decoders skip."""
    text = b"%d" % mark
    if photo.startswith(b"\xff\xd8"):
        return photo[:2] + b"\xff\xfe" + struct.pack("!H", len(text) + 2) + text + photo[2:]
    header = 33  # the signature, and the chunk IHDR
    chunk = b"tEXtmark\0" + text
    chunk = struct.pack("!I", len(chunk) - 4) + chunk + struct.pack("!I", zlib.crc32(chunk))
    return photo[:header] + chunk + photo[header:]


def pixels(path: Path) -> int:
    """Width times height."""
    with Image.open(path) as image:
        return image.width * image.height


def _own(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def as_jpeg(image: Image.Image) -> NDArray[np.uint8]:
    """The pixels of an image after it was a JPEG of quality 90."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    with Image.open(file) as saved:
        return np.asarray(saved)


def pictures() -> list[Path]:
    """Files of pictures with one person or several."""
    if found := _own(SHARED / "photos") if (SHARED / "photos").is_dir() else []:
        return found
    shipped = [_package("insightface") / "data" / "images", _package("skimage") / "data"]
    names = ["t1.jpg", "Tom_Hanks_54745.png", "mask_black.jpg", "mask_blue.jpg", "astronaut.png", "chelsea.png"]
    return [path for directory in shipped for name in names if (path := directory / name).is_file()]


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else Path()


def _sources() -> Iterator[tuple[int, Image.Image]]:
    """All pictures again and again: how often they were given before, and the picture."""
    found = pictures()
    for number in itertools.count():
        turn, at = divmod(number, len(found))
        yield turn, Image.open(found[at]).convert("RGB")


def _groups() -> Iterator[list[Image.Image]]:
    sources = (image for _, image in _sources())
    while True:
        yield list(itertools.islice(sources, 3))


def _mixed(directory: Path, number: int, source: tuple[int, Image.Image]) -> Path:
    turn, image = source
    path = directory / f"{number:03}.{'png' if number % 8 == 5 else 'jpg'}"
    if not path.exists():
        scale = (MIXED_PIXELS * (1 - 0.02 * turn) / (image.width * image.height)) ** 0.5
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
        _save(ImageOps.mirror(image) if turn % 2 else image, path, number, orientation=6 if number % 7 == 3 else 1)
    return path


def _phone(directory: Path, number: int, pictures: list[Image.Image]) -> Path:
    """One picture that fills the photo, or three side by side on a plain wall."""
    path = directory / f"{number:03}.jpg"
    if not path.exists():
        size = PHONE_SIZES[number % len(PHONE_SIZES)]
        if number % 3 == 0:
            image = ImageOps.fit(pictures[0], size, Image.Resampling.LANCZOS)
        else:
            image = Image.new("RGB", size, (150 + number, 140, 120 + number))
            for place, picture in enumerate(pictures):
                part = ImageOps.contain(picture, (size[0] // 3, size[1] // 2), Image.Resampling.LANCZOS)
                image.paste(part, (place * size[0] // 3, size[1] // 4))
        _save(image, path, number, orientation=(1, 6, 1, 8, 3)[number % 5])
    return path


def _save(image: Image.Image, path: Path, seed: int, orientation: int) -> None:
    image = _grained(image, seed)
    exif = Image.Exif()
    if orientation != 1:
        image = image.transpose(_ROTATED[orientation])
        exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, exif=exif, quality=90, compress_level=3)  # each format takes what it knows


def _grained(image: Image.Image, seed: int) -> Image.Image:
    grain = np.random.default_rng(seed).normal(0, 4, (_GRAIN, _GRAIN)).astype(np.int16)
    pixels: NDArray[np.int16] = np.asarray(image).astype(np.int16)
    repeats = [-(-side // _GRAIN) for side in pixels.shape[:2]]
    pixels += np.tile(grain, repeats)[: pixels.shape[0], : pixels.shape[1], np.newaxis]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
