"""Fonts in which any file name and any person's name can be written, and text that is cut to a width.

A line is written in one font where one has all of its characters, because marks join what is before them, and text from
right to left is put in order within a font. Else it is cut into runs. A character that none of the usual fonts has is
looked up with fontconfig, which knows the fonts of the desktop; where it knows none either, a box stands for it.
"""

from __future__ import annotations

import subprocess
import unicodedata
from functools import cache, lru_cache
from typing import Final, NamedTuple

from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_FONTS: Final = ("NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "DejaVuSans.ttf")
_BOLD: Final = ("NotoSans-Bold.ttf", "LiberationSans-Bold.ttf", "DejaVuSans-Bold.ttf")
_NO_CHARACTER: Final = "\U0010ffff"
"""A noncharacter: a font draws for it what it draws for every character that it lacks."""
_BITMAP: Final = 109
"""The one size that coloured bitmap fonts have (Noto Color Emoji); it is reduced when it is drawn."""
_FONTCONFIG_TIMEOUT: Final = 5.0
"""Seconds for fontconfig, which may have to read all fonts first; else it takes 9 ms."""
_JOINED: Final = "\u200d\ufe0e\ufe0f"
"""Zero-width joiner and variation selectors."""


class Run(NamedTuple):
    """Text that one font has."""

    text: str
    font: Font
    factor: float = 1.0
    """By which it is reduced when it is drawn: below 1 for a coloured bitmap font."""

    @property
    def length(self) -> float:
        """Return its width in pixels."""
        return self.font.getlength(self.text) * self.factor


class Line:
    """One line of text in one size, drawn with as many fonts as its characters need."""

    def __init__(
        self, text: str, size: int, width: float | None = None, *, keep_end: bool = True, bold: bool = False
    ) -> None:
        """``width``: pixels to which the text is cut, in its middle: its beginning and, if wanted, its end stay."""
        self.text, self.size = text, size
        self._runs = _runs(text, size, bold=bold)
        if width is None or self.length <= width:
            return
        fits, too_long = 1, len(text)
        while too_long - fits > 1:
            kept = (fits + too_long) // 2
            runs = _runs(_shortened(text, kept, keep_end=keep_end), size, bold=bold)
            if sum(run.length for run in runs) > width:
                too_long = kept
            else:
                fits = kept
        self.text = _shortened(text, fits, keep_end=keep_end)
        self._runs = _runs(self.text, size, bold=bold)

    @property
    def length(self) -> float:
        """Return its width in pixels."""
        return sum(run.length for run in self._runs)

    def draw(self, pen: ImageDraw.ImageDraw, at: tuple[float, float], colour: str) -> None:
        """Draw it from a point on: the left end of its base line."""
        x, y = at
        for run in self._runs:
            if run.factor == 1:
                pen.text((x, y), run.text, fill=colour, font=run.font, anchor="ls")
            else:
                _draw_coloured(pen, run, (x, y))
            x += run.length


def _shortened(text: str, kept: int, *, keep_end: bool) -> str:
    end = kept // 2 if keep_end else 0
    return f"{text[: kept - end]}…{text[len(text) - end :]}"


def _draw_coloured(pen: ImageDraw.ImageDraw, run: Run, at: tuple[float, float]) -> None:
    left, top, right, bottom = map(int, run.font.getbbox(run.text, anchor="ls"))
    whole = Image.new("RGBA", (max(right - left, 1), max(bottom - top, 1)))
    ImageDraw.Draw(whole).text((-left, -top), run.text, font=run.font, anchor="ls", embedded_color=True)
    size = (max(1, round(whole.width * run.factor)), max(1, round(whole.height * run.factor)))
    small = whole.resize(size, Image.Resampling.LANCZOS)
    place = (round(at[0] + left * run.factor), round(at[1] + top * run.factor))
    pen._image.paste(small, place, small)


def _runs(text: str, size: int, *, bold: bool = False) -> list[Run]:
    """Cut text where another font is needed; marks and joiners stay with what is before them."""
    fonts = _fonts(size, bold)
    whole = next((font for font in fonts if _has_all(font, text)), None)
    if whole is not None:
        return [Run(text, whole)]
    runs: list[Run] = []
    for character in text:
        if runs and (character in _JOINED or unicodedata.combining(character)):
            runs[-1] = runs[-1]._replace(text=runs[-1].text + character)
            continue
        font, factor = _font_of(character, size, bold)
        if runs and runs[-1].font is font:
            runs[-1] = runs[-1]._replace(text=runs[-1].text + character)
        else:
            runs.append(Run(character, font, factor))
    return runs


@lru_cache(8192)
def _font_of(character: str, size: int, bold: bool) -> tuple[Font, float]:
    fonts = _fonts(size, bold)
    for font in fonts:
        if _has_all(font, character):
            return font, 1.0
    for name, index in _known_to_fontconfig(character):
        if (other := _font(name, size, index)) is not None and _has_all(other, character):
            return other, 1.0
        if (other := _font(name, _BITMAP, index)) is not None and _has_all(other, character):
            return other, size * 1.1 / _BITMAP
    return fonts[0], 1.0


@lru_cache(4096)
def _known_to_fontconfig(character: str) -> list[tuple[str, int]]:
    """Return the file of a font that has the character, and the font's index in it; nothing where there is none."""
    pattern = f"sans-serif:charset={ord(character):x}"
    command = ["fc-match", "--format=%{file}\t%{index}", pattern]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_FONTCONFIG_TIMEOUT, check=True, text=True)
        name, _, index = done.stdout.partition("\t")
        return [(name, int(index) & 0xFFFF)]  # above: the instance of a variable font
    except (OSError, ValueError, subprocess.SubprocessError):
        return []


@cache
def _fonts(size: int, bold: bool) -> list[Font]:
    names = (*_BOLD, *_FONTS) if bold else _FONTS
    found = [font for name in names if (font := _font(name, size)) is not None]
    return [*found, _default_font(size)]


@cache
def _font(name: str, size: int, index: int = 0) -> Font | None:
    try:
        return ImageFont.truetype(name, size, index)
    except (OSError, ValueError):
        return None


@cache
def _default_font(size: int) -> Font:
    return ImageFont.load_default(size)


def _has_all(font: Font, text: str) -> bool:
    return all(character.isspace() or _has(font, character) for character in set(text))


@lru_cache(8192)
def _has(font: Font, character: str) -> bool:
    return bytes(font.getmask(character)) != _missing(font)


@cache
def _missing(font: Font) -> bytes:
    return bytes(font.getmask(_NO_CHARACTER))
