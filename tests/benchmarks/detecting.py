"""How many faces are found, and in which time, by the side of the square in which the detector sees a photo.

Faces of the pictures at hand are pasted into photos of 12 megapixels, each in a place of its own and scaled down, so
that it is known where they are and how large.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facewatchd.config import Faces
from facewatchd.models.base import Model
from facewatchd.values import Face
from tests.benchmarks import album
from tests.benchmarks.options import Options
from tests.benchmarks.report import Report, median

SIDES = (640, 960, 1280, 1600)
SIZE = (4032, 3024)
BANDS = (40, 56, 80, 112, 160, 200)
"""Pixels of the shorter side of a face's box: where each column of the table begins, and the last one ends."""
PHOTOS = 10
FACES = 28
"""Places of a photo with a face in them, where it is large enough."""
MIN_SIZE = 20
"""Of the daemon's `min_size`: a face of 40 pixels may be seen as a smaller one."""
SURROUNDINGS = 0.45
"""What is cut beside a face's box, in its longer sides."""


class Cut(NamedTuple):
    picture: Image.Image
    side: int
    """Of the box of the face in the middle."""


class Shown(NamedTuple):
    """A face of a photo."""

    x: float
    y: float
    side: float

    def is_at(self, face: Face) -> bool:
        """Whether it is what the detector found."""
        box = face.box
        away = max(abs(box.x + box.w / 2 - self.x), abs(box.y + box.h / 2 - self.y))
        return away < 0.8 * self.side and 0.4 < box.w / self.side < 2


def run(options: Options) -> Iterator[Report]:
    cuts = list(_cuts(options))
    random = np.random.default_rng(5)
    photos = [_photo(random, cuts) for _ in range(options.rounds(PHOTOS))]
    bands = [f"{low} to {high} pixels" for low, high in itertools.pairwise(BANDS)]
    report = Report("Faces found, by the detector's side", ["side", "found %", *bands, "others", "ms to detect"])
    for side in SIDES:
        model = options.pack.load(1, Faces(detector_size=side, min_size=MIN_SIZE))
        found, others = Counter[int](), 0
        for image, shown in photos:
            faces = model.faces(image)
            hits = [any(face_shown.is_at(face) for face in faces) for face_shown in shown]
            found.update(_band(each) for each, hit in zip(shown, hits, strict=True) if hit)
            others += sum(not any(each.is_at(face) for each in shown) for face in faces)
        every = Counter(_band(each) for _, shown in photos for each in shown)
        shares = [f"{found[band]} of {every[band]}" for band in range(len(bands))]
        empty = np.full_like(photos[0][0], 128)
        report.row(side, 100 * found.total() / every.total(), *shares, others, _processor_ms(model, empty))
    report.notes.append(
        f"{len(photos)} photos of {SIZE[0]} x {SIZE[1]} pixels, JPEG of quality 90, with {every.total()} faces of "
        f"{len(cuts)} pictures. Detecting: processor time for a photo of that size without a face, with one thread."
    )
    yield report


def _cuts(options: Options) -> Iterator[Cut]:
    model = options.pack.load(1, Faces(min_size=80))
    for path in album.pictures():
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        for face in model.faces(np.asarray(picture)):
            x, y, w, h = face.box
            beside = int(SURROUNDINGS * max(w, h))
            yield Cut(picture.crop((x - beside, y - beside, x + w + beside, y + h + beside)), min(w, h))


def _photo(random: np.random.Generator, cuts: list[Cut]) -> tuple[NDArray[np.uint8], list[Shown]]:
    """Faces before a soft, coloured pattern: the photo as it is decoded, and where they are."""
    width, height = SIZE
    pattern = random.normal(0, 25, (height // 16, width // 16, 3)) + random.uniform(70, 180, 3)
    photo = Image.fromarray(pattern.clip(0, 255).astype(np.uint8)).resize(SIZE, Image.Resampling.BICUBIC)
    place = int(BANDS[-1] * 2.4)
    columns = width // place
    shown = []
    for number in random.permutation(columns * (height // place))[:FACES]:
        cut = cuts[random.integers(len(cuts))]
        side = min(float(np.exp(random.uniform(np.log(BANDS[0]), np.log(BANDS[-1])))), cut.side)
        size = [round(length * side / cut.side) for length in cut.picture.size]
        if max(size) <= place:
            x, y = (
                int(corner * place + random.integers(0, place - length + 1))
                for corner, length in zip((number % columns, number // columns), size, strict=True)
            )
            photo.paste(cut.picture.resize(size, Image.Resampling.BOX), (x, y))
            shown.append(Shown(x + size[0] / 2, y + size[1] / 2, side))
    return album.as_jpeg(photo), shown


def _band(face: Shown) -> int:
    return int(np.clip(np.searchsorted(BANDS, face.side, side="right") - 1, 0, len(BANDS) - 2))


def _processor_ms(model: Model, image: NDArray[np.uint8]) -> float:
    times = []
    for _ in range(5):
        started = time.process_time()
        model.faces(image)
        times.append(1000 * (time.process_time() - started))
    return median(times)
