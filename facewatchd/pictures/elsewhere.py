"""A photo of another machine as a picture: its outline, and the machine's name where there is room for words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from PIL import Image, ImageDraw

from facewatchd.matches import Box
from facewatchd.pictures.fonts import Line
from facewatchd.pictures.outline import NOT_HERE, Area, outline
from facewatchd.pictures.pages import EDGE, EMPTY, FAINT, INK, PAPER
from facewatchd.text import printable

_WITH_WORDS: Final = (0.66, 0.46, 0.37)
"""Width, height and middle of the room for the frame, in parts of the picture's side,"""
_ALONE: Final = (0.8, 0.7, 0.5)
"""and where there are no words."""
_TIMES: Final = 4
"""The frame is drawn so many times as large, for smooth edges."""


class Colours(NamedTuple):
    """Of a drawing."""

    ground: str
    frame: str
    edge: str
    disc: str


ON_PAPER: Final = Colours(EMPTY, PAPER, EDGE, "#b9b5ab")
ON_TERMINAL: Final = Colours("#808080", "#909090", "#d8d8d8", "#d8d8d8")
"""Seen on a bright and on a dark terminal."""


def picture(size: tuple[int, int], boxes: Sequence[Box], side: int, host: str = "") -> Image.Image:
    """Return a square picture of ``side`` pixels; with a ``host`` for paper and with its name, else for a terminal."""
    colours = ON_PAPER if host else ON_TERMINAL
    image = _frame(size, boxes, side, _WITH_WORDS if host else _ALONE, colours)
    if host:
        pen = ImageDraw.Draw(image)
        name = Line(printable(host), max(9, side // 11), side * 0.88, bold=True)
        name.draw(pen, ((side - name.length) / 2, side * 0.79), INK)
        words = Line(NOT_HERE, max(8, side // 16), side * 0.92)
        words.draw(pen, ((side - words.length) / 2, side * 0.9), FAINT)
    return image


def _frame(
    size: tuple[int, int], boxes: Sequence[Box], side: int, room: tuple[float, float, float], colours: Colours
) -> Image.Image:
    large = side * _TIMES
    width, height, middle = (part * large for part in room)
    drawn = outline(size, boxes, Area((large - width) / 2, middle - height / 2, width, height))
    image = Image.new("RGB", (large, large), colours.ground)
    pen = ImageDraw.Draw(image)
    line = max(_TIMES, round(large / 140))
    pen.rounded_rectangle(_corners(drawn.frame), 2.5 * line, colours.frame, colours.edge, line)
    for disc in drawn.discs:
        pen.ellipse(_corners(disc), colours.disc)
    return image.resize((side, side), Image.Resampling.BOX)


def _corners(place: Area) -> tuple[float, float, float, float]:
    return place.left, place.top, place.left + place.width, place.top + place.height
