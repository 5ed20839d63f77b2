"""The photos on the contact sheet in the README: ``python -m tests.support.sheet_photos DIR`` writes them.

They are prints and scans made from scikit-image's astronaut, a portrait of Eileen Collins by NASA (public domain). The
sheet is what ``facewatch-query -n 9 --sheet sheet.webp DIR/portrait.jpg`` draws when DIR is watched with the model
opencv.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from tests.support import samples

PAPER = "#f4efe4"


def photos() -> dict[str, Image.Image]:
    """The photos by their file names."""
    portrait = Image.open(samples.astronaut()).convert("RGB")
    grey = ImageOps.grayscale(portrait)
    return {
        "portrait.jpg": portrait,
        "newspaper.jpg": grey,
        "sepia.jpg": ImageOps.colorize(grey, "#2b1a0e", "#f6e7c8"),
        "scan, crooked.jpg": portrait.rotate(12, Image.Resampling.BICUBIC, fillcolor="white"),
        "mirrored.webp": ImageOps.mirror(portrait),
        "faded print.png": ImageEnhance.Color(ImageEnhance.Brightness(portrait).enhance(1.25)).enhance(0.4),
        "underexposed.jpg": ImageEnhance.Brightness(portrait).enhance(0.35),
        "out of focus.jpg": portrait.filter(ImageFilter.GaussianBlur(3)),
        "web 2003.jpg": portrait.resize((128, 128)).resize((512, 512)),
        "on the wall.jpg": _on_the_wall(portrait),
        "album page.jpg": _album_page(portrait),
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


if __name__ == "__main__":
    for name, photo in photos().items():
        photo.save(Path(sys.argv[1], name))
