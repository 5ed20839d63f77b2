"""What a second look finds, what it takes for a face that is none, what it replaces, and what it costs.

Photos: those of ../shared, or of ``--photos DIR``, each with faces that the first look finds upright; and pictures
without a face that scikit-image ships.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

from facewatchd.config import Faces
from facewatchd.models import second_look
from facewatchd.models.base import Model
from facewatchd.values import Face, Look, Ways
from tests.benchmarks.options import SHARED, Options
from tests.benchmarks.report import Report, median
from tests.support import samples

Pixels = NDArray[np.uint8]
LONGEST = 1280
"""Photos are scaled down to so many pixels."""
SIZES = (48, 60, 80, 110)
"""Pixels of the faces of a group photo."""
GROUP = (5200, 3900)
WITH_FACES = {"astronaut.png", "camera.png"}
CONFIG = Faces()
TURNS = {"upright": 0, "turned by 90°": 1, "upside down": 2, "turned by 270°": 3}


def run(options: Options) -> Iterator[Report]:
    model = options.pack.load(1, CONFIG)
    photos = [opened(path) for path in photos_of(options)]
    yield _turned(options, model, photos)
    yield _small(options, model, photos)
    yield _without_faces(options, model)
    yield _worse(options, model, photos)


def photos_of(options: Options) -> list[Path]:
    place = options.photos or SHARED / "photos"
    found = sorted(path for path in place.iterdir() if path.suffix in (".jpg", ".png")) if place.is_dir() else []
    return (found or [samples.group_photo(), samples.astronaut()])[: options.rounds(100)]


def opened(path: Path, longest: int = LONGEST) -> Pixels:
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    upright.thumbnail((longest, longest))
    return np.asarray(upright)


@dataclass
class _Both:
    """What both looks made of a photo."""

    first: list[Face]
    ways: Ways
    after: list[Face]
    added: list[Face]
    replaced: int
    cost: tuple[float, float]
    """Seconds of the two."""


def _look(model: Model, image: Pixels, ways: Ways | None = None) -> _Both:
    began = time.process_time()
    first = model.faces(image)
    between = time.process_time()
    if ways is None:
        ways = second_look.worth(image.shape[1], image.shape[0], first, model, CONFIG)
    found = second_look.look_again(model, image, ways, CONFIG, lambda: True)
    cost = between - began, time.process_time() - between
    added, replaced = second_look.news(dict(enumerate(first)), found)
    kept = [face for place, face in enumerate(first) if place not in replaced]
    return _Both(first, ways, kept + added, added, len(replaced), cost)


def _is_found(truth: Face, faces: Sequence[Face], threshold: float) -> bool:
    return any(float(truth.embedding @ face.embedding) >= threshold for face in faces)


def _turned(options: Options, model: Model, photos: Sequence[Pixels]) -> Report:
    report = Report(
        f"Photos that lie, {options.pack.name}",
        ("photos", "faces", "matched after the first look", "after the second", "with one", "ms first", "ms second"),
    )  # fmt: skip
    threshold = model.info.threshold
    truths = [model.faces(photo) for photo in photos]
    for name, quarters in TURNS.items():
        seen = [_look(model, np.ascontiguousarray(np.rot90(photo, -quarters))) for photo in photos]
        pairs = [(face, both) for truth, both in zip(truths, seen, strict=True) for face in truth]
        matched = [
            sum(_is_found(face, getattr(both, when), threshold) for face, both in pairs) for when in ("first", "after")
        ]
        costs = [
            1000 * median([both.cost[place] for both in seen if both.ways or not place] or [0.0]) for place in (0, 1)
        ]
        report.row(name, len(pairs), *matched, sum(bool(both.ways) for both in seen), *costs)
        if quarters:
            report.check(
                f"% of the faces of photos {name} that are found", 100 * matched[1] / len(pairs), 90, at_least=True
            )
    report.notes = [
        f"{len(photos)} photos of at most {LONGEST} pixels. A face is matched if it is as similar to that of the",
        "upright photo as a match must be. Processor time; of the second look where one is taken.",
    ]
    return report


def _small(options: Options, model: Model, photos: Sequence[Pixels]) -> Report:
    report = Report(
        f"Small faces on a photo of {GROUP[0]} x {GROUP[1]} pixels, {options.pack.name}",
        (
            "pixels",
            "lies",
            "faces",
            "matched after the first look",
            "after the second",
            "false",
            "ms first",
            "ms second",
        ),
    )
    groups = {size: _group(model, photos, size) for size in SIZES}
    for size, lies in [*((size, "upright") for size in SIZES), *((SIZES[0], lies) for lies in list(TURNS)[1:])]:
        image, truth = groups[size]
        both = _look(model, np.ascontiguousarray(np.rot90(image, -TURNS[lies])))
        known = [face.embedding for face in truth]
        matched = [
            sum(max(float(one @ face.embedding) for face in faces) >= model.info.threshold for one in known)
            if faces
            else 0
            for faces in (both.first, both.after)
        ]
        none = sum(not _is_found(face, truth, model.info.threshold) for face in both.added)
        report.row(size, lies, len(truth), *matched, none, *(1000 * seconds for seconds in both.cost))
    report.notes = ["The faces of the photos, cut out, scaled, and laid on a photo without a face."]
    return report


def _group(model: Model, photos: Sequence[Pixels], size: int) -> tuple[Pixels, list[Face]]:
    """A large photo of faces that are ``size`` pixels on their shorter side, and what they look like close by."""
    with Image.open(samples.shipped("skimage", "data", "gravel.png")) as ground:
        image = ground.convert("RGB").resize(GROUP)
    faces = [(photo, face) for photo in photos for face in model.faces(photo) if min(face.box.w, face.box.h) >= size]
    for place, (photo, face) in enumerate(faces):
        x, y, w, h = face.box
        edge = max(w, h) // 2
        cut = Image.fromarray(photo).crop((x - edge, y - edge, x + w + edge, y + h + edge))
        scale = size / min(w, h)
        left, top = 137 + 611 * (place % 8), 151 + 577 * (place // 8)
        image.paste(
            cut.resize((round(cut.width * scale), round(cut.height * scale)), Image.Resampling.LANCZOS), (left, top)
        )
    return np.asarray(image), [face for _, face in faces]


def _without_faces(options: Options, model: Model) -> Report:
    report = Report(
        f"Pictures without a face, {options.pack.name}",
        ("pictures", "number", "false faces of the first look", "of the second, turned", "in tiles"),
    )
    pictures = {"that scikit-image ships": list(_shipped()), "noise and clouds": list(_noise())}
    total = 0
    for name, images in pictures.items():
        turned = [_look(model, image, Ways.TURNED) for image in images[: options.rounds(100)]]
        large = [np.asarray(Image.fromarray(image).resize((3000, 3000))) for image in images[: options.rounds(100)]]
        tiles = sum(len(second_look.look_again(model, image, Ways.TILES, CONFIG, lambda: True)) for image in large)
        added = sum(len(both.added) for both in turned)
        report.row(name, len(turned), sum(len(both.first) for both in turned), added, tiles)
        total += added + tiles
    report.check("false faces of second looks", total, 2)
    report.notes = ["For tiles, each picture is scaled up to 3,000 pixels."]
    return report


def _shipped() -> Iterator[Pixels]:
    place = samples.shipped("skimage", "data")
    for path in sorted([*place.glob("*.png"), *place.glob("*.jpg")]):
        if path.name not in WITH_FACES:
            yield opened(path)


def _noise() -> Iterator[Pixels]:
    random = np.random.default_rng(0)
    for rows in (6, 12, 24, 48, 96, 192, 700):
        grain = random.integers(0, 256, (rows, rows * 4 // 3, 3)).astype(np.uint8)
        yield np.asarray(Image.fromarray(grain).resize((1200, 900), Image.Resampling.BICUBIC))


def _worse(options: Options, model: Model, photos: Sequence[Pixels]) -> Report:
    """Upright faces that score little: a second look must not take them for others."""
    report = Report(
        f"Upright photos of poor quality, {options.pack.name}",
        ("quality", "faces of the first look", "photos that were turned", "faces replaced", "added"),
    )
    for name, spoil in (("blurred", _blurred), ("coarse", _coarse), ("noisy", _noisy), ("dark", _dark)):
        seen = [_look(model, spoil(photo)) for photo in photos]
        replaced, added = sum(both.replaced for both in seen), sum(len(both.added) for both in seen)
        turned = sum(Ways.TURNED in both.ways for both in seen)
        report.row(name, sum(len(both.first) for both in seen), turned, replaced, added - replaced)
        wrong = sum(face.look is not Look.TILE for both in seen for face in both.added)
        report.check(f"faces of photos that are {name} that a turned photo replaces or adds", wrong, 1)
    return report


def _blurred(photo: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(photo).filter(ImageFilter.GaussianBlur(max(photo.shape) / 200)))


def _coarse(photo: Pixels) -> Pixels:
    image = Image.fromarray(photo)
    return np.asarray(image.reduce(max(1, max(image.size) // 160)).resize(image.size, Image.Resampling.BICUBIC))


def _noisy(photo: Pixels) -> Pixels:
    grain = np.random.default_rng(0).normal(0, 45, photo.shape)
    return np.asarray(np.clip(photo + grain, 0, 255), np.uint8)


def _dark(photo: Pixels) -> Pixels:
    return np.asarray(photo * 0.12, np.uint8)
