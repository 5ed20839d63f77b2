"""The photos on the contact sheet in the README: ``python -m tests.support.sheet_photos DIR`` writes them.

They are prints and scans made from scikit-image's astronaut, a portrait of Eileen Collins by NASA (public domain), with
made-up dates. The sheet is what ``facewatch-query -n 8 --sheet sheet.webp "@Eileen Collins"`` draws when DIR is
``Pictures`` in the home, is watched with the model opencv, and the name was given to ``portrait.jpg`` and ``on the
wall.jpg``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import ExifTags, Image, ImageEnhance, ImageFilter, ImageOps

from tests.support import samples

PAPER = "#f4efe4"


def photos() -> dict[str, Image.Image]:
    """The photos by their file names."""
    portrait = Image.open(samples.astronaut()).convert("RGB")
    grey = ImageOps.grayscale(portrait)
    return {
        "portrait.jpg": portrait,
        "scans/newspaper.jpg": grey,
        "scans/sepia.jpg": ImageOps.colorize(grey, "#2b1a0e", "#f6e7c8"),
        "scans/crooked.jpg": portrait.rotate(12, Image.Resampling.BICUBIC, fillcolor="white"),
        "scans/faded print.jpg": ImageEnhance.Color(ImageEnhance.Brightness(portrait).enhance(1.25)).enhance(0.4),
        "web/mirrored.jpg": ImageOps.mirror(portrait),
        "web/small.jpg": portrait.resize((128, 128)).resize((512, 512)),
        "1999/underexposed.jpg": ImageEnhance.Brightness(portrait).enhance(0.35),
        "1999/out of focus.jpg": portrait.filter(ImageFilter.GaussianBlur(3)),
        "2005/on the wall.jpg": _on_the_wall(portrait),
        "2005/album page.jpg": _album_page(portrait),
        "2005/two prints.jpg": _two_prints(portrait),
    }


def _on_the_wall(portrait: Image.Image) -> Image.Image:
    wall = Image.open(samples.shipped("skimage", "data", "brick.png")).convert("RGB").resize((1400, 1400))
    framed = ImageOps.expand(ImageOps.expand(portrait.resize((330, 330)), 18, "white"), 10, "#3a2a1a")
    wall.paste(framed, (760, 250))
    return wall.crop((0, 0, 1400, 933))


def _album_page(portrait: Image.Image) -> Image.Image:
    page = Image.new("RGB", (1240, 900), PAPER)
    rocket = Image.open(samples.shipped("skimage", "data", "rocket.jpg")).convert("RGB")
    page.paste(rocket.resize((560, 374)), (40, 60))
    turned = portrait.resize((480, 480)).rotate(-6, Image.Resampling.BICUBIC, expand=True, fillcolor=PAPER)
    page.paste(turned, (680, 220))
    return page


def _two_prints(portrait: Image.Image) -> Image.Image:
    table = Image.open(samples.shipped("skimage", "data", "gravel.png")).convert("RGB").resize((1200, 1200))
    coffee = Image.open(samples.shipped("skimage", "data", "coffee.png")).convert("RGB").resize((450, 300))
    for picture, angle, place in ((coffee, 8, (60, 320)), (portrait.resize((380, 380)), -4, (620, 180))):
        framed = ImageOps.expand(picture, 16, "white").convert("RGBA")
        turned = framed.rotate(angle, Image.Resampling.BICUBIC, expand=True)
        table.paste(turned, place, turned)
    return table.crop((0, 0, 1200, 800))


def write(directory: Path) -> None:
    """Write the photos below a directory, each with a date of its own."""
    for number, (name, photo) in enumerate(photos().items()):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        year = path.parent.name if path.parent.name.isdecimal() else "2003"
        exif = Image.Exif()
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = f"{year}:06:{10 + number} 12:00:00"
        photo.save(path, exif=exif, quality=92)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
