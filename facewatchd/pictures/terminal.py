"""Pictures as bytes for a terminal: kitty's graphics protocol, sixel, or coloured characters.

Each function takes a picture and returns the lines to be written one below the other, where each begins at the left
edge of the picture. A picture in pixels is one line, which is to be written where its upper left corner is to be; where
the cursor is then differs from terminal to terminal.

Libraries that do this were looked at, and none fits: term-image 0.7.2 holds Pillow below 11, textual-image and chafa.py
are under the LGPL (and the first needs rich), rich-pixels, climage and timg know characters only or do not ask the
terminal, libsixel-python has no wheel and had its last release in 2018.

- Kitty: https://sw.kovidgoyal.net/kitty/graphics-protocol/. A PNG in base64, in pieces of at most 4096 bytes; the
  terminal is told to answer nothing (q=2) and to leave the cursor where it is (C=1).
- Sixel: https://vt100.net/docs/vt3xx-gp/chapter14.html. A palette, then bands of six rows, in which each colour that
  occurs is drawn in one pass from the left edge. Pixels that are not drawn keep what is behind them. An octree chooses
  the colours: of 256, its mean error on one face of 180 by 180 pixels is 3.1 of 255, and that of the median cut, which
  takes 100 times as long, 2.5.
- Characters: each stands for two by two pixels, of which those of one colour are the letter (a block element of
  Unicode) and the others what is behind it. Of the ways to part four pixels in two, the one is taken that changes them
  least. A Linux console has no letters but those that part them into halves.
"""

from __future__ import annotations

import base64
import io
import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_PIECE: Final = 4096
"""Bytes of base64 in one command of kitty's protocol."""
_BAND: Final = 6
"""Rows of pixels that a sixel holds."""
_RUN: Final = re.compile(rb"(.)\1{3,}", re.DOTALL)
"""A sixel that is repeated often enough to be counted."""
_LETTERS: Final = " ▘▝▀▖▌▞▛"
"""By the number of a letter: bit 0 is its upper left quarter, bit 1 the upper right one, bit 2 the lower left one."""
_HALVES: Final = (0, 3, 5)
"""The letters that part a character into halves, or not at all."""
_MISSING: Final = "#808080"
"""Seen on a bright and on a dark terminal."""
_RESET: Final = "\x1b[0m"
_LEVELS: Final = (0, 95, 135, 175, 215, 255)
"""Red, green and blue of the colours 16 to 231 of 256, as xterm defines them."""
_FIRST_COLOUR: Final = 16
"""The colours before are what a user set them to."""

_Pixels = npt.NDArray[np.uint8]


def missing(side: int) -> Image.Image:
    """Return what stands in a picture's place."""
    return Image.new("RGB", (side, side), _MISSING)


def fitted(jpeg: bytes, side: int) -> Image.Image:
    """Return a JPEG in the middle of a transparent square, as large as fits."""
    with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as picture:
        scale = side / max(picture.size)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        small = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    if size == (side, side):
        return small
    whole = Image.new("RGBA", (side, side))
    whole.paste(small, ((side - size[0]) // 2, (side - size[1]) // 2))
    return whole


def grey(picture: Image.Image) -> Image.Image:
    """Return the picture without colours, its brightness stretched over the whole range."""
    return ImageOps.autocontrast(picture.convert("L"), cutoff=1).convert("RGB")


def kitty(picture: Image.Image, cells: tuple[int, int] | None) -> list[bytes]:
    """``cells``: columns and rows to which the terminal fits the picture; None: it is shown pixel by pixel."""
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=1)
    data = base64.b64encode(file.getvalue())
    place = b",c=%d,r=%d" % cells if cells else b""
    pieces = [data[start : start + _PIECE] for start in range(0, len(data), _PIECE)]
    commands = [b"m=%d" % (number < len(pieces)) for number in range(1, len(pieces) + 1)]
    commands[0] = b"a=T,f=100,q=2,C=1%s,%s" % (place, commands[0])
    return [b"".join(b"\x1b_G%s;%s\x1b\\" % pair for pair in zip(commands, pieces, strict=True))]


def sixel(picture: Image.Image, colours: int) -> list[bytes]:
    """``colours``: how many of them the terminal can show at once."""
    indexed = picture.convert("RGB").quantize(colours, Image.Quantize.FASTOCTREE)
    palette = indexed.getpalette() or []
    pixels = np.asarray(indexed).astype(np.int16)
    if "A" in picture.getbands():
        pixels[np.asarray(picture.getchannel("A")) == 0] = -1
    height, width = pixels.shape
    used = [int(colour) for colour in np.unique(pixels) if colour >= 0]
    head = b'\x1bP0;1;0q"1;1;%d;%d' % (width, height)
    names = (b"#%d;2;%d;%d;%d" % (colour, *_percent(palette, colour)) for colour in used)
    bands = (_band(pixels[top : top + _BAND]) for top in range(0, height, _BAND))
    return [head + b"".join(names) + b"-".join(bands) + b"\x1b\\"]


def _percent(palette: list[int], colour: int) -> tuple[int, int, int]:
    red, green, blue = (round(value * 100 / 255) for value in palette[3 * colour : 3 * colour + 3])
    return red, green, blue


def _band(pixels: npt.NDArray[np.int16]) -> bytes:
    """Up to six rows: for each colour its number, then a byte a column, whose bits say which rows have it."""
    colours = np.unique(pixels)
    colours = colours[colours >= 0]
    weights = (1 << np.arange(len(pixels))).astype(np.uint8)
    has = (pixels[None] == colours[:, None, None]).astype(np.uint8)
    sixels = 63 + np.einsum("crx,r->cx", has, weights)
    passes = zip(colours.tolist(), sixels, strict=True)
    return b"$".join(b"#%d%s" % (colour, _RUN.sub(_counted, row.tobytes().rstrip(b"?"))) for colour, row in passes)


def _counted(run: re.Match[bytes]) -> bytes:
    return b"!%d%s" % (len(run[0]), run[1])


def blocks(picture: Image.Image, *, millions: bool, quarters: bool) -> list[bytes]:
    """Return a line for every two rows of pixels, of a square picture with an even side.

    ``millions`` of colours, or 256. ``quarters``: whether there are letters for quarters of a character.
    """
    behind = Image.new("RGB", picture.size)
    behind.paste(picture, mask=picture.getchannel("A") if "A" in picture.getbands() else None)
    rows, columns = picture.height // 2, picture.width
    pixels = np.asarray(behind.resize((2 * columns, 2 * rows), Image.Resampling.LANCZOS), np.float32)
    cells = pixels.reshape(rows, 2, columns, 2, 3).swapaxes(1, 2).reshape(rows, columns, 4, 3)
    letters, front, back = _parted(cells, range(len(_LETTERS)) if quarters else _HALVES)
    fronts, backs = _names(front, millions=millions), _names(back, millions=millions)
    return ["".join(_line(*row)).encode() for row in zip(letters.tolist(), fronts, backs, strict=True)]


def _parted(cells: npt.NDArray[np.float32], letters: Iterable[int]) -> tuple[npt.NDArray[Any], _Pixels, _Pixels]:
    """Return for each cell of four pixels, in two dimensions, the letter and the colours of it and behind it."""
    least = np.full(cells.shape[:2], np.inf)
    best = np.zeros(cells.shape[:2], np.int8)
    front, back = np.zeros((2, *cells.shape[:2], 3))
    for letter in letters:
        inside = np.array([bool(letter >> quarter & 1) for quarter in range(4)])
        means = [cells[:, :, part].mean(axis=2) if part.any() else cells[:, :, 0] for part in (inside, ~inside)]
        drawn = np.where(inside[:, None], means[0][:, :, None], means[1][:, :, None])
        change = ((drawn - cells) ** 2).sum(axis=(2, 3))
        better = change < least
        least[better], best[better] = change[better], letter
        front[better], back[better] = means[0][better], means[1][better]
    return best, _whole(front), _whole(back)


def _whole(colours: npt.NDArray[Any]) -> _Pixels:
    return colours.round().clip(0, 255).astype(np.uint8)


def _line(letters: Sequence[int], fronts: Sequence[str], backs: Sequence[str]) -> Iterator[str]:
    front_before = back_before = ""
    for letter, front, back in zip(letters, fronts, backs, strict=True):
        colours = [] if back == back_before else [f"48;{back}"]
        back_before = back
        if letter and front != front_before:
            colours.append(f"38;{front}")
            front_before = front
        if colours:
            yield f"\x1b[{';'.join(colours)}m"
        yield _LETTERS[letter]
    yield _RESET


def _names(pixels: _Pixels, *, millions: bool) -> list[list[str]]:
    """The colour of each pixel as a terminal is told it."""
    if millions:
        return [[f"2;{red};{green};{blue}" for red, green, blue in row] for row in pixels.tolist()]
    return [[f"5;{colour}" for colour in row] for row in _nearest_of_256(pixels).tolist()]


def _nearest_of_256(pixels: _Pixels) -> npt.NDArray[Any]:
    """The number of the colour that is nearest to each pixel."""
    cube = np.stack(np.meshgrid(_LEVELS, _LEVELS, _LEVELS, indexing="ij"), axis=-1).reshape(-1, 3)
    greys = np.repeat(8 + 10 * np.arange(24), 3).reshape(-1, 3)
    known = np.concatenate([cube, greys])
    apart = ((pixels.reshape(-1, 1, 3).astype(np.int32) - known) ** 2).sum(axis=-1)
    nearest: npt.NDArray[Any] = _FIRST_COLOUR + apart.argmin(axis=-1).reshape(pixels.shape[:2])
    return nearest
