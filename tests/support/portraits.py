"""Photos of real people over the years, as many as are wanted, made of the few that are at hand.

Each is one of the photos with labelled faces in ../shared, or of those that InsightFace and scikit-image ship, taken
otherwise: mirrored, in another light, cut or turned a little. No two are the same picture, so none is a copy of
another, and each has a date of its own in its EXIF data, so none is of a burst.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from PIL import Image, ImageEnhance, ImageOps

from tests.support import samples

FIRST = datetime.fromisoformat("2009-03-01T11:30")
"""When the first photo was taken,"""
EVERY = timedelta(days=83, hours=1)
"""and how long after that each other."""
ASTRONAUT = "eileen"
GROUP = {
    "first": (0, 190, 235, 560),
    "second": (215, 70, 450, 420),
    "third": (405, 190, 650, 540),
    "fourth": (665, 270, 925, 640),
    "fifth": (835, 0, 1085, 330),
    "sixth": (1065, 200, 1280, 560),
}
"""The people on InsightFace's photo of six, and the part of it that shows one alone: left, top, right, bottom."""


@dataclass(frozen=True)
class Source:
    """A photo with the people on it."""

    image: Image.Image
    people: Sequence[str]


def shipped() -> list[Source]:
    """What installed packages have: a portrait, six people together, and each of these alone."""
    group = Image.open(samples.group_photo()).convert("RGB")
    alone = [Source(group.crop(part).resize((470, 700)), [name]) for name, part in GROUP.items()]
    portrait = Source(Image.open(samples.astronaut()).convert("RGB"), [ASTRONAUT])
    return [portrait, Source(group, list(GROUP)), *alone]


def labelled() -> list[Source]:
    """The photos of ../shared, where they are."""
    found = samples.people() if samples.PHOTOS.is_dir() else {}
    return [Source(Image.open(samples.PHOTOS / name).convert("RGB"), people) for name, people in found.items()]


def write(directory: Path, sources: Sequence[Source], count: int, first: int = 0) -> dict[Path, Sequence[str]]:
    """Write so many photos, made of the sources in turn; return who is on each.

    ``first``: the number of the first, where a call before this one wrote others of the same sources.
    """
    written: dict[Path, Sequence[str]] = {}
    for number in range(first, first + count):
        turn, at = divmod(number, len(sources))
        taken = FIRST + number * EVERY
        path = directory / f"{taken:%Y}" / f"IMG_{number:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9003] = f"{taken:%Y:%m:%d %H:%M:%S}"
        image = otherwise(sources[at].image, turn)
        image.save(path, quality=90, exif=exif)
        written[path] = sources[at].people
    return written


def otherwise(image: Image.Image, number: int) -> Image.Image:
    """The same scene as another photo; the first 70 numbers give pictures of which no two are the same."""
    image = _LIGHTS[number % len(_LIGHTS)](_SHAPES[number % len(_SHAPES)](image))
    return ImageOps.mirror(image) if number % 2 else image


def alone(people: dict[Path, Sequence[str]]) -> Iterator[tuple[Path, str]]:
    """The photos with one person, and who it is."""
    return ((path, who[0]) for path, who in people.items() if len(who) == 1)


def _turned(image: Image.Image) -> Image.Image:
    width, height = image.size
    turned = image.rotate(4, Image.Resampling.BICUBIC)
    return turned.crop((width // 20, height // 20, width - width // 20, height - height // 20))


_SHAPES: Sequence[Callable[[Image.Image], Image.Image]] = (
    lambda image: image,
    lambda image: image.crop((image.width // 25, image.height // 25, image.width, image.height)),
    lambda image: image.resize((image.width * 4 // 5, image.height * 4 // 5), Image.Resampling.LANCZOS),
    _turned,
    lambda image: image.crop((0, 0, image.width - image.width // 25, image.height)),
)
_LIGHTS: Sequence[Callable[[Image.Image], Image.Image]] = (
    lambda image: image,
    lambda image: ImageEnhance.Brightness(image).enhance(1.25),
    lambda image: ImageOps.grayscale(image).convert("RGB"),
    lambda image: ImageEnhance.Brightness(image).enhance(0.75),
    lambda image: ImageOps.colorize(ImageOps.grayscale(image), "#2b1a0e", "#f6e7c8"),
    lambda image: ImageEnhance.Contrast(image).enhance(1.3),
    lambda image: ImageEnhance.Color(image).enhance(0.5),
)
