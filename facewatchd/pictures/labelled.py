"""A photo on which each face has its box, its number and, where it is known, its name.

The photo is turned upright and shown whole: at least `_LEAST` pixels on its longer side, so that there is room for the
labels, at most `_MOST`, and in between large enough that the smallest face can be seen. `placement` says where the
labels stand; one that stands apart from its box is joined to it by a line. In a PDF the picture fills a page of A4.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from PIL import Image, ImageDraw, ImageOps

from facewatchd.errors import UnreadablePhotoError
from facewatchd.matches import Box
from facewatchd.pictures import pdf, placement
from facewatchd.pictures import target as targets
from facewatchd.pictures.fonts import Line
from facewatchd.pictures.pages import A4, MILLIMETRES_PER_INCH, PRINTED, Page
from facewatchd.pictures.placement import Rectangle
from facewatchd.pictures.source import Source, pixels
from facewatchd.text import printable

_LEAST: Final = 1200
_MOST: Final = 8000
_SMALLEST_FACE: Final = 48
"""Pixels on the shorter side that the smallest face should have on the picture."""
_LONGEST_NAME: Final = 0.3
"""Parts of the picture's longer side that a label takes at most."""
_LEAST_NAME: Final = 4
"""Heights of the letters to which a name is cut at most, where there is little room."""
_MARGIN: Final = 10.0
"""Millimetres around the picture on a page."""
_FINEST: Final = 300
"""Pixels an inch that a page has at most."""
_EDGE: Final = "#ffffff"
_INK: Final = "#ffffff"
_COLOURS: Final = ("#1860c0", "#b03a2e", "#1e8449", "#7d3c98", "#a04000", "#117a8b")
"""Each gives white text a contrast of at least 4.5 (WCAG 2, level AA). Neighbours from left to right differ."""


class Labelled(NamedTuple):
    """A face and what stands beside it."""

    box: Box
    number: int
    name: str = ""


def write(target: Path, source: Source, faces: Sequence[Labelled], *, mode: int = targets.USUAL_MODE) -> None:
    """Draw the photo and put the picture in the file's place in one step, with what the umask leaves of ``mode``.

    Raises `UsageError` for a file that cannot be written, and `UnreadablePhotoError` for a photo that cannot be shown.
    """
    targets.check(target)
    photo = pixels(source)
    if isinstance(photo, str):
        raise UnreadablePhotoError(f"the photo cannot be drawn: it is {photo}", "ask again")
    picture = draw(Image.fromarray(photo), faces)
    if target.suffix.lower() == ".pdf":
        title = os.fsdecode(os.path.basename(source.path))
        targets.save_document(target, lambda file: pdf.write(file, [_page(picture)], title=title), mode=mode)
    else:
        targets.save(picture, target, mode=mode)


def _page(picture: Image.Image) -> Page:
    """Return the picture in the middle of a page, which lies across where that makes it larger."""
    short, long = A4
    width, height = (long, short) if picture.width > picture.height else (short, long)
    wide, tall = width - 2 * _MARGIN, height - 2 * _MARGIN
    inches = min(wide, tall * picture.width / picture.height) / MILLIMETRES_PER_INCH
    page = Page(width, height, round(min(max(picture.width / inches, PRINTED), _FINEST)))
    size = page.pixels(wide), page.pixels(tall)
    scaled = ImageOps.contain(picture, size, Image.Resampling.LANCZOS)
    page.image.paste(scaled, ((page.image.width - scaled.width) // 2, (page.image.height - scaled.height) // 2))
    return page


def draw(photo: Image.Image, faces: Sequence[Labelled]) -> Image.Image:
    """Return the upright photo with the faces drawn on it, in the size that `scale` gives."""
    factor = scale(photo.size, [face.box for face in faces])
    size = (max(1, round(photo.width * factor)), max(1, round(photo.height * factor)))
    picture = photo.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    boxes = [_scaled(face.box, factor, size) for face in faces]
    text_size = _text_size(size)
    padding = max(2, text_size // 4)
    lines = [_lines(face, text_size, size, box) for face, box in zip(faces, boxes, strict=True)]
    sizes = [[(round(line.length) + 2 * padding, text_size + 2 * padding) for line in each] for each in lines]
    places = placement.place(boxes, sizes, size)
    pen = ImageDraw.Draw(picture)
    colours = [_COLOURS[position % len(_COLOURS)] for position in range(len(faces))]
    for box, placed, colour in zip(boxes, places, colours, strict=True):
        _draw_box(pen, box, placed.place, colour, max(2, text_size // 8))
    for each, placed, colour in zip(lines, places, colours, strict=True):
        at = placed.place
        pen.rounded_rectangle((at.left, at.top, at.right - 1, at.bottom - 1), padding, fill=colour, outline=_EDGE)
        each[placed.which].draw(pen, (at.left + padding, at.bottom - padding - text_size * 0.15), _INK)
    return picture


def scale(size: tuple[int, int], boxes: Sequence[Box]) -> float:
    """Return the factor by which a photo is enlarged or reduced."""
    longest = max(size)
    smallest = min((min(box.w, box.h) for box in boxes), default=longest)
    wanted = max(min(1.0, 2 * _LEAST / longest), min(1.0, _SMALLEST_FACE / max(smallest, 1)))
    return min(max(wanted, _LEAST / longest), _MOST / longest)


def _scaled(box: Box, factor: float, picture: tuple[int, int]) -> Rectangle:
    left, top = (min(max(round(at * factor), 0), side - 1) for at, side in zip(box[:2], picture, strict=True))
    right, bottom = round((box.x + box.w) * factor), round((box.y + box.h) * factor)
    return Rectangle(left, top, min(max(right, left + 1), picture[0]), min(max(bottom, top + 1), picture[1]))


def _text_size(picture: tuple[int, int]) -> int:
    """Return the height of the letters: a sixtieth of the longer side, and what fits into a panorama."""
    return max(8, min(max(picture) // 60, min(picture) // 8))


def _lines(face: Labelled, text_size: int, picture: tuple[int, int], box: Rectangle) -> list[Line]:
    """Return the label with the name, with as much of it as is as wide as the box, and with the number alone."""
    number = Line(str(face.number), text_size)
    if not face.name:
        return [number]
    text = f"{face.number} {printable(face.name)}"
    widest = min(max(picture) * _LONGEST_NAME, picture[0] - text_size)
    cut = max(box.right - box.left, _LEAST_NAME * text_size)
    return [Line(text, text_size, widest), Line(text, text_size, min(cut, widest), keep_end=False), number]


def _draw_box(pen: ImageDraw.ImageDraw, box: Rectangle, label: Rectangle, colour: str, width: int) -> None:
    """Draw the box, and a line to a label that stands apart, both with an edge that sets them off the photo."""
    if placement.distances([label], box)[0] > 0:
        start, end = _nearest_points(box, label)
        pen.line((*start, *end), fill=_EDGE, width=width + 2)
        pen.line((*start, *end), fill=colour, width=width)
    radius = min(2 * width, (box.right - box.left) // 2, (box.bottom - box.top) // 2)
    outer = (box.left - 1, box.top - 1, box.right, box.bottom)
    pen.rounded_rectangle(outer, radius, outline=_EDGE, width=width + 2)
    pen.rounded_rectangle((box.left, box.top, box.right - 1, box.bottom - 1), radius, outline=colour, width=width)


def _nearest_points(one: Rectangle, other: Rectangle) -> tuple[tuple[float, float], tuple[float, float]]:
    (x1, x2), (y1, y2) = (
        _nearest(one.left, one.right, other.left, other.right),
        _nearest(one.top, one.bottom, other.top, other.bottom),
    )
    return (x1, y1), (x2, y2)


def _nearest(low: int, high: int, other_low: int, other_high: int) -> tuple[float, float]:
    if high <= other_low:
        return high, other_low
    if other_high <= low:
        return low, other_high
    middle = (max(low, other_low) + min(high, other_high)) / 2
    return middle, middle
