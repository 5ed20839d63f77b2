"""Pictures side by side on a terminal, each with its caption below. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from facewatchd.console.output import columns_of
from facewatchd.console.terminal import Screen, Way

GAP: Final = 2
"""Columns between two tiles."""
_USUAL: Final = {Way.KITTY: 20, Way.SIXEL: 20, Way.BLOCKS: 30}
"""Columns of a tile and its gap, which grow until the tiles fill the window. A picture of characters needs more of them
to show a face."""
_FEWEST: Final = 4
"""Columns of a tile in the smallest window."""
_RESET: Final = "\x1b[0m"


class Grid(NamedTuple):
    """How tiles are laid out."""

    across: int
    """Tiles in a row."""
    columns: int
    """Of each tile."""
    rows: int
    """Of each picture."""
    side: int
    """Width and height of each picture in pixels."""


class Words(NamedTuple):
    """A part of a caption's line, in a style of SGR (ECMA-48), such as ``1;32``."""

    text: str
    style: str = ""


Line = Sequence[Words]


class Tile(NamedTuple):
    """What is shown of a face."""

    picture: Sequence[bytes]
    """The lines of a picture in characters, or as the only one a picture in pixels."""
    caption: Sequence[Line]


def grid(screen: Screen, captions: int) -> Grid:
    """Return the layout for a window: as many in a row as fit, and at least one row of them in the window.

    ``captions``: lines of each caption.
    """
    across = max(1, (screen.columns + GAP) // _USUAL[screen.way])
    columns = max(_FEWEST, (screen.columns + GAP) // across - GAP)
    wide, high = (1, 2) if screen.way is Way.BLOCKS else screen.cell
    most = max(1, screen.rows - captions - 2)
    side = min(columns * wide, most * high)
    side -= side % 2
    return Grid(across, columns, -(-side // high), side)


def row(screen: Screen, layout: Grid, tiles: Sequence[Tile], *, coloured: bool) -> bytes:
    """Return what is to be written for one row of tiles, which ends at the beginning of a line."""
    pictures = _characters(layout, tiles) if screen.way is Way.BLOCKS else _pixels(layout, tiles)
    lines = max(len(tile.caption) for tile in tiles)
    captions = [
        _joined(layout, [tile.caption[line] if line < len(tile.caption) else () for tile in tiles], coloured=coloured)
        for line in range(lines)
    ]
    return pictures + "".join(f"{caption}\n" for caption in (*captions, "")).encode()


def _pixels(layout: Grid, tiles: Sequence[Tile]) -> bytes:
    """Make room, which may scroll the window, then draw each picture from the same line on."""
    drawn = [b"\n" * layout.rows, b"\x1b[%dA\x1b7" % layout.rows]
    for position, tile in enumerate(tiles):
        left = position * (layout.columns + GAP)
        drawn.append(b"\x1b8" + (b"\x1b[%dC" % left if left else b"") + b"".join(tile.picture))
    return b"".join(drawn) + b"\x1b8\x1b[%dB" % layout.rows


def _characters(layout: Grid, tiles: Sequence[Tile]) -> bytes:
    missing = b" " * layout.side
    between = b" " * (layout.columns - layout.side + GAP)
    return b"".join(
        between.join(tile.picture[line] if line < len(tile.picture) else missing for tile in tiles) + b"\n"
        for line in range(layout.rows)
    )


def _joined(layout: Grid, parts: Sequence[Line], *, coloured: bool) -> str:
    text = ""
    for line in parts:
        left, styled = layout.columns, ""
        for words in line:
            fitting = cut(words.text, left)
            left -= columns_of(fitting)
            styled += f"\x1b[{words.style}m{fitting}{_RESET}" if words.style and coloured else fitting
        text += styled + " " * (left + GAP)
    return text.rstrip()


def cut(text: str, columns: int) -> str:
    """Return text of at most so many columns: more of its end is left, where names differ, than of its beginning."""
    short, kept = text, len(text)
    while short and columns_of(short) > columns:
        kept -= 1
        start = kept // 3
        short = f"{text[:start]}…{text[len(text) - (kept - start) :]}" if kept > 0 else ""
    return short
