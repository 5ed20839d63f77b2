"""Fonts in which any file name and any person's name can be written, and text that is cut to a width."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Final

from PIL import ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_FONTS: Final = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "DroidSansFallbackFull.ttf",
    "wqy-microhei.ttc",
)
_NO_CHARACTER: Final = "\U0010ffff"
"""A noncharacter: a font draws for it what it draws for every character that it lacks."""


class Line:
    """One line of text in one size, drawn with as many fonts as its characters need."""

    def __init__(self, text: str, size: int, width: float | None = None, *, keep_end: bool = True) -> None:
        """``width``: pixels to which the text is cut, in its middle: its beginning and, if wanted, its end stay."""
        self.text, self.size = text, size
        self._runs = _runs(text, size)
        kept = len(text)
        while width is not None and kept > 1 and self.length > width:
            kept -= 1
            end = kept // 2 if keep_end else 0
            self.text = f"{text[: kept - end]}…{text[len(text) - end :]}"
            self._runs = _runs(self.text, size)

    @property
    def length(self) -> float:
        """Return its width in pixels."""
        return sum(font.getlength(run) for run, font in self._runs)

    def draw(self, pen: ImageDraw.ImageDraw, at: tuple[float, float], colour: str) -> None:
        """Draw it from a point on: the left end of its base line."""
        x, y = at
        for run, font in self._runs:
            pen.text((x, y), run, fill=colour, font=font, anchor="ls")
            x += font.getlength(run)


def _runs(text: str, size: int) -> list[tuple[str, Font]]:
    """Cut text where another font is needed: none where one has all characters, as marks join what is before them."""
    fonts = [font for name in _FONTS if (font := _font(name, size)) is not None]
    fonts.append(_default_font(size))
    whole = next((font for font in fonts if _has_all(font, text)), None)
    if whole is not None:
        return [(text, whole)]
    runs: list[tuple[str, Font]] = []
    for character in text:
        font = next((font for font in fonts if _has_all(font, character)), fonts[0])
        if runs and runs[-1][1] is font:
            runs[-1] = (runs[-1][0] + character, font)
        else:
            runs.append((character, font))
    return runs


@cache
def _font(name: str, size: int) -> Font | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


@cache
def _default_font(size: int) -> Font:
    return ImageFont.load_default(size)


def _has_all(font: Font, text: str) -> bool:
    return all(character.isspace() or _has(font, character) for character in set(text))


@lru_cache(4096)
def _has(font: Font, character: str) -> bool:
    return bytes(font.getmask(character)) != _missing(font)


@cache
def _missing(font: Font) -> bytes:
    return bytes(font.getmask(_NO_CHARACTER))
