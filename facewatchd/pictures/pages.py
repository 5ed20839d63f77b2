"""A page that is drawn: its pixels, and the lines of text on it, which a PDF also holds as text.

Lengths are millimetres, so that a page looks the same at each resolution; a page is A4 in a PDF and has the same width
as a picture.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from PIL import Image, ImageDraw

from facewatchd.pictures.fonts import Line

A4: Final = (210.0, 297.0)
"""Width and height (ISO 216)."""
MILLIMETRES_PER_INCH: Final = 25.4
PRINTED, SHOWN = 200, 150
"""Pixels an inch of a PDF, which may be printed, and of a picture, which is looked at."""

PAPER: Final = "#ffffff"
INK: Final = "#1d1c1a"
FAINT: Final = "#5f5c56"
LINE: Final = "#dcd9d2"
EMPTY: Final = "#eceae5"
EDGE: Final = "#85827a"
BADGES: Final = {
    "confirmed": ("#174a94", "#dfe9fa"),
    "sure": ("#17603a", "#dcf1e3"),
    "likely": ("#6f4a00", "#fbeccb"),
    "look": ("#8f2a1c", "#fbe2de"),
}
"""Ink and ground of each verdict. All colours are those of ``look.css`` for light screens."""

_HEIGHT_OF_CAPITALS: Final = 0.72
"""Parts of a font's size, near enough for the fonts that are used."""


class Word(NamedTuple):
    """A line of text on a page, in pixels: the left end of its base line, the size of its letters, its length."""

    text: str
    left: float
    base: float
    size: float
    length: float


class Page:
    """A white page. ``words``: what was written on it, in that order, whole also where a line is cut."""

    def __init__(self, width: float, height: float, dpi: int) -> None:
        self.dpi = dpi
        self.width, self.height = width, height
        self.image = Image.new("RGB", (self.pixels(width), self.pixels(height)), PAPER)
        self.words: list[Word] = []
        self._pen = ImageDraw.Draw(self.image)

    def pixels(self, length: float) -> int:
        """Return a length in whole pixels."""
        return round(length * self.dpi / MILLIMETRES_PER_INCH)

    def write(
        self,
        text: str,
        left: float,
        base: float,
        size: float,
        *,
        width: float | None = None,
        colour: str = INK,
        bold: bool = False,
        to_right: bool = False,
    ) -> float:
        """Write a line and return its length. ``width``: to which it is cut; ``to_right``: ``left`` is its right end.

        ``base`` is its base line, ``size`` that of its letters.
        """
        room = None if width is None else width * self.dpi / MILLIMETRES_PER_INCH
        line = Line(text, self.pixels(size), room, bold=bold)
        x, y = left * self.dpi / MILLIMETRES_PER_INCH, self.pixels(base)
        if to_right:
            x -= line.length
        x = round(x)
        line.draw(self._pen, (x, y), colour)
        if text.strip():
            self.words.append(Word(text, x, y, line.size, line.length))
        return line.length * MILLIMETRES_PER_INCH / self.dpi

    def badge(self, word: str, left: float, base: float, size: float) -> float:
        """Write a verdict on its ground, and return the length of both."""
        ink, ground = BADGES.get(word, (INK, EMPTY))
        padding = size * 0.45
        length = Line(word, self.pixels(size), bold=True).length * MILLIMETRES_PER_INCH / self.dpi + 2 * padding
        middle, half = base - size * _HEIGHT_OF_CAPITALS / 2, size * 0.72
        corners = (left, middle - half, left + length, middle + half)
        self._pen.rounded_rectangle([self.pixels(at) for at in corners], self.pixels(half), fill=ground)
        self.write(word, left + padding, base, size, colour=ink, bold=True)
        return length

    def rule(self, left: float, right: float, at: float) -> None:
        """Draw a thin line across."""
        y = self.pixels(at)
        self._pen.line((self.pixels(left), y, self.pixels(right), y), fill=LINE, width=max(1, self.pixels(0.2)))

    def paste(self, picture: Image.Image, left: float, top: float, radius: float) -> None:
        """Put a picture on the page, with round corners."""
        mask = _rounded(picture.size, self.pixels(radius))
        self.image.paste(picture, (self.pixels(left), self.pixels(top)), mask)


def _rounded(size: tuple[int, int], radius: int) -> Image.Image:
    """Return the mask of a rectangle with round corners, drawn four times as large for smooth edges."""
    times = 4
    mask = Image.new("L", (size[0] * times, size[1] * times))
    pen = ImageDraw.Draw(mask)
    pen.rounded_rectangle((0, 0, mask.width - 1, mask.height - 1), radius * times, fill=255)
    return mask.resize(size, Image.Resampling.BOX)
