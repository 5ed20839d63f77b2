"""Fonts in which any file name and any person's name can be written, and text that is cut to a width."""

from __future__ import annotations

from functools import cache
from typing import Final

from PIL import ImageFont

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


def elide(text: str, font: Font, width: float) -> str:
    """Remove characters from the middle until the text is at most ``width`` pixels wide; beginning and suffix stay."""
    shown, kept = text, len(text)
    while kept > 1 and font.getlength(shown) > width:
        kept -= 1
        shown = f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"
    return shown


@cache
def _font(name: str, size: int) -> Font | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


def font_for(text: str, size: int) -> Font:
    """Return the first font there is that has every character, else the first there is, else Pillow's own."""
    fonts = [font for name in _FONTS if (font := _font(name, size)) is not None]
    fonts.append(_default_font(size))
    return next((font for font in fonts if _has_all(font, text)), fonts[0])


@cache
def _default_font(size: int) -> Font:
    return ImageFont.load_default(size)


def _has_all(font: Font, text: str) -> bool:
    missing = bytes(font.getmask(_NO_CHARACTER))
    return all(character.isspace() or bytes(font.getmask(character)) != missing for character in set(text))
