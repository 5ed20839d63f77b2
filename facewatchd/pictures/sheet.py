"""The contact sheet: the query's faces first, then the matches in their order, cut from the photos themselves.

A tile shows about twice the face's box, upright, with the box drawn into it (of several people who are asked for
together, all their boxes), and three lines below it: ``query`` or
the similarity (with the person and the date where they say something), the photo's name, and its directory. The tile of
a photo that is gone, cannot be read, or has become smaller than its face's box has one word in place of the picture.
Tiles are drawn photo by photo, not in their order, so that each photo is decoded once and one is held at a time.
`photos.decode` decodes; Pillow only draws here.

`target` says which files a sheet replaces.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from PIL import Image, ImageDraw

from facewatchd.matches import CONFIRMED, Box, Match
from facewatchd.pictures import target as targets
from facewatchd.pictures.fonts import Line
from facewatchd.pictures.source import Source, pixels
from facewatchd.text import printable

if TYPE_CHECKING:
    from facewatchd.values import Pixels

MAX_TILES: Final = 500
"""Ten columns of these stay below WebP's 16383 pixels, and the canvas at about 100 MB."""
_COLUMNS: Final = range(5, 11)
"""Fewest and most columns of a sheet that has enough tiles for them."""

_PICTURE: Final = 200
_GAP: Final = 16
_LINE_HEIGHT: Final = 19
_LARGE, _MIDDLE, _SMALL = 16, 13, 11
"""Heights of the caption's letters."""
_CAPTION: Final = 3 * _LINE_HEIGHT
_CELL_WIDTH: Final = _PICTURE + _GAP
_CELL_HEIGHT: Final = _PICTURE + _CAPTION + _GAP

_PAPER: Final = "#ffffff"
_INK: Final = "#202020"
_FAINT: Final = "#707070"
_EMPTY: Final = "#e4e4e4"
_QUERY_COLOUR: Final = "#1860c0"
_MATCH_COLOUR: Final = "#30c040"

Progress = Callable[[int, int], None]


class Tile(NamedTuple):
    """One face of the sheet."""

    source: Source
    boxes: tuple[Box, ...]
    """Of all faces that it shows; without any, the whole photo is shown."""
    heading: str
    name: str
    directory: str
    is_query: bool
    date: str = ""


class Region(NamedTuple):
    """A rectangle in pixels, right and bottom excluded."""

    left: int
    top: int
    right: int
    bottom: int


def query_tile(path: str, data: bytes | None, name: str, box: Box, heading: str = "query") -> Tile:
    """Make the tile of a face that was searched for; ``name`` is the photo's name as the user gave it."""
    directory = "" if data is not None else os.path.dirname(path)
    return Tile(Source(os.fsencode(path), data), (box,), heading, os.path.basename(name), directory, is_query=True)


def match_tile(match: Match, *, named: bool = False, dated: bool = False) -> Tile:
    """Make the tile of a match, with the person's name and the day on which it was taken where that is asked for."""
    directory, name = (part.decode("utf-8", "surrogateescape") for part in os.path.split(match.path))
    words = [match.person] if named and match.person else []
    words += [CONFIRMED] if match.confirmed else []
    words += [f"{match.similarity:.3f}"] if match.similarity is not None and not match.confirmed else []
    words += [f"+{len(match.similar)}"] if match.similar else []
    date = match.day if dated else ""
    boxes = tuple(face.box for face in (match.terms or (match,)) if face.box is not None)
    return Tile(Source(match.path), boxes, " ".join(words), name, directory, is_query=False, date=date)


def write(target: Path, tiles: Sequence[Tile], progress: Progress | None = None) -> int:
    """Draw the tiles and put the picture in the file's place in one step.

    Returns how many tiles at the end are left out, for there being more than `MAX_TILES`. Raises `UsageError` for a
    file that cannot be written.
    """
    targets.check(target)
    sheet = draw(tiles[:MAX_TILES], progress)
    targets.save(sheet, target)
    return max(0, len(tiles) - MAX_TILES)


def draw(tiles: Sequence[Tile], progress: Progress | None = None) -> Image.Image:
    """Return the sheet. ``progress`` is called after each tile with the number of tiles drawn and that of all."""
    columns = min(max(len(tiles), 1), min(max(_COLUMNS[0], math.isqrt(len(tiles))), _COLUMNS[-1]))
    rows = max(1, math.ceil(len(tiles) / columns))
    sheet = Image.new("RGB", (columns * _CELL_WIDTH + _GAP, rows * _CELL_HEIGHT + _GAP), _PAPER)
    done = 0
    for source, positions in _by_source(tiles).items():
        photo = pixels(source)
        for position in positions:
            row, column = divmod(position, columns)
            place = (column * _CELL_WIDTH + _GAP, row * _CELL_HEIGHT + _GAP)
            sheet.paste(_picture(tiles[position], photo), place)
            _write_caption(ImageDraw.Draw(sheet), tiles[position], place[0], place[1] + _PICTURE)
            done += 1
            if progress:
                progress(done, len(tiles))
    return sheet


def crop_region(boxes: Sequence[Box], width: int, height: int) -> Region | None:
    """Return the part of a photo of this size to show: a square around the boxes, the whole photo without any.

    Its side is that of the boxes together and once more that of the largest: of one face, twice its longer side. It is
    moved into the photo at its edges, and less high or wide where the photo is. None if a box is empty or does not lie
    in the photo, which then is not the one in which the faces were found.
    """
    if not boxes:
        return Region(0, 0, width, height)
    if any(min(box) < 0 or not box.w or not box.h or box.x + box.w > width or box.y + box.h > height for box in boxes):
        return None
    x, y = min(box.x for box in boxes), min(box.y for box in boxes)
    wide, tall = max(box.x + box.w for box in boxes) - x, max(box.y + box.h for box in boxes) - y
    side = max(wide, tall) + max(max(box.w, box.h) for box in boxes)
    across, down = min(side, width), min(side, height)
    left = min(max(x + (wide - across) // 2, 0), width - across)
    top = min(max(y + (tall - down) // 2, 0), height - down)
    return Region(left, top, left + across, top + down)


def _by_source(tiles: Sequence[Tile]) -> dict[Source, list[int]]:
    grouped: dict[Source, list[int]] = {}
    for position, tile in enumerate(tiles):
        grouped.setdefault(tile.source, []).append(position)
    return grouped


def _picture(tile: Tile, photo: Pixels | str) -> Image.Image:
    if isinstance(photo, str):
        return _placeholder(photo)
    height, width = photo.shape[:2]
    region = crop_region(tile.boxes, width, height)
    if region is None:
        return _placeholder("changed")
    cut = Image.fromarray(photo[region.top : region.bottom, region.left : region.right])
    scale = _PICTURE / max(cut.size)
    size = (max(1, round(cut.width * scale)), max(1, round(cut.height * scale)))
    left, top = (_PICTURE - size[0]) // 2, (_PICTURE - size[1]) // 2
    picture = Image.new("RGB", (_PICTURE, _PICTURE), _EMPTY)
    picture.paste(cut.resize(size, Image.Resampling.LANCZOS), (left, top))
    pen = ImageDraw.Draw(picture)
    for box in tile.boxes:
        x, y = left + (box.x - region.left) * scale, top + (box.y - region.top) * scale
        outline = (round(x), round(y), round(x + box.w * scale) - 1, round(y + box.h * scale) - 1)
        pen.rectangle(outline, outline=_QUERY_COLOUR if tile.is_query else _MATCH_COLOUR, width=2)
    if tile.is_query:
        pen.rectangle((0, 0, _PICTURE - 1, _PICTURE - 1), outline=_QUERY_COLOUR, width=4)
    return picture


def _placeholder(reason: str) -> Image.Image:
    picture = Image.new("RGB", (_PICTURE, _PICTURE), _EMPTY)
    pen = ImageDraw.Draw(picture)
    line = Line(reason, 18)
    line.draw(pen, ((_PICTURE - line.length) / 2, _PICTURE / 2 + 5), _FAINT)
    return picture


def _write_caption(pen: ImageDraw.ImageDraw, tile: Tile, x: int, y: int) -> None:
    """Write three lines; the date stands at the right end of the first."""
    base = y + 3 + round(_LARGE * 0.93)
    date = Line(tile.date, _MIDDLE)
    date.draw(pen, (x + _PICTURE - date.length, base), _FAINT)
    room = _PICTURE - (date.length + _SMALL if tile.date else 0)
    Line(printable(tile.heading), _LARGE, room).draw(pen, (x, base), _QUERY_COLOUR if tile.is_query else _INK)
    for number, text, size, colour in ((1, tile.name, _MIDDLE, _INK), (2, tile.directory, _SMALL, _FAINT)):
        base = y + 3 + number * _LINE_HEIGHT + round(size * 0.93)
        Line(printable(text), size, _PICTURE).draw(pen, (x, base), colour)
