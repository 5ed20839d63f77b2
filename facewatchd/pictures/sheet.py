"""The contact sheet: the question with its faces at the top, then the matches in their order, page by page.

A match's picture is a square of its photo, upright, with the face and enough of the scene to know the photo again
(`scenes`); of several people who are asked for together it holds all their faces. Below it stand the verdict and the
similarity, the day, the photo's name, and what differs in its directory. In place of a photo that is gone, cannot be
read, or has become smaller than its face's box, there is the daemon's own picture of the face, which may have another
copy of the photo; where it has none, one word says why. A photo of another machine is not looked for here, where its
path may be another photo's: its shape is drawn (`elsewhere`), with the machine's name.

A page is A4. A PDF holds all of them. A PNG, JPEG or WebP is one page, less high where the matches end; the other pages
lie beside it as ``-2``, ``-3`` and so on (`target`). One page is held at a time. For a page, each photo is decoded
once, a few of them at the same time.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

from PIL import Image

from facewatchd.matches import CONFIRMED, Box, Match
from facewatchd.pictures import elsewhere, pdf, scenes
from facewatchd.pictures import target as targets
from facewatchd.pictures.pages import A4, FAINT, INK, PRINTED, SHOWN, Page
from facewatchd.pictures.source import Source, reduced
from facewatchd.text import counted, printable, some

MOST_PICTURES: Final = 100
"""Pages that are written as pictures: each is a file. A PDF has no such limit."""
_DECODERS: Final = min(4, os.cpu_count() or 1)
"""Photos that are decoded at the same time."""

_MARGIN: Final = 12.0
_GAP: Final = 4.0
_RADIUS: Final = 1.4
_FOOT: Final = 9.0
"""Millimetres that the last line of a page takes."""
_PORTRAIT: Final = 27.0
_MOST_PORTRAITS: Final = 4
_TITLE, _LARGE, _MIDDLE, _SMALL = 6.2, 3.1, 2.9, 2.5
"""Sizes of letters in millimetres."""
_CAPTION: Final = 4.8
"""From a picture to the base line of the first line below it."""
_COLUMNS: Final = ((6, 3), (12, 4))
"""Up to so many matches, so many columns; five of more."""
_MOST_COLUMNS: Final = 5

Progress = Callable[[int, int], None]
Fetch = Callable[[int, int], bytes | None]
"""Returns the daemon's picture of a face with a margin, a JPEG of at most so many pixels; None where it has none."""


class Tile(NamedTuple):
    """One match."""

    source: Source
    boxes: tuple[Box, ...]
    """Of all faces that it shows; without any, the whole photo is shown."""
    name: str
    folder: str = ""
    verdict: str = ""
    number: str = ""
    """Its similarity; empty where only the user's word tells it."""
    date: str = ""
    notes: str = ""
    face_id: int | None = None
    """The daemon has a picture of it where the photo cannot be read here."""
    host: str = ""
    """The machine that has the photo; empty: this one."""
    size: tuple[int, int] = (0, 0)
    """Pixels of a photo of another machine; zeros where that is not known."""


class Portrait(NamedTuple):
    """A face that is asked for."""

    source: Source | None = None
    box: Box | None = None
    face_id: int | None = None
    """In place of both: the daemon's own picture is taken."""
    label: str = ""


class Question(NamedTuple):
    """What was asked, in words and faces."""

    title: str
    lines: tuple[str, ...] = ()
    """Below the title: what else was asked for, how many there are, where they are."""
    portraits: tuple[Portrait, ...] = ()
    day: str = ""
    """On which it was asked."""


class Layout(NamedTuple):
    """How the matches are spread over pages; lengths in millimetres."""

    columns: int
    side: float
    """Of a picture."""
    cell: float
    """From the top of a row to that of the next."""
    head: float
    """Height of the question, on the first page."""
    pages: tuple[range, ...]
    """The matches of each page."""

    def place(self, page: int, index: int) -> tuple[float, float]:
        """Return left and top of a picture: the match's ``index`` in all."""
        row, column = divmod(index - self.pages[page].start, self.columns)
        top = _MARGIN + (self.head if page == 0 else 0)
        return _MARGIN + column * (self.side + _GAP), top + row * self.cell


class Written(NamedTuple):
    """The files that hold a sheet, and how many matches none of them shows."""

    files: list[Path]
    left_out: int


def shared_directory(matches: Sequence[Match]) -> bytes:
    """Return the directory that all photos of this machine lie below; empty where there is none."""
    directories = [os.path.dirname(match.path) for match in matches if not match.host]
    return os.path.commonpath(directories) if directories else b""


def match_tile(match: Match, root: bytes = b"/", *, named: bool = False, dated: bool = False, note: str = "") -> Tile:
    """Make the tile of a match, with the person's name and the day on which it was taken where that is asked for.

    ``root``: the directory below which all matches of this machine lie; only what differs is written. ``note``: what
    else is said.
    """
    directory, name = os.path.split(match.path)
    folder = os.fsdecode(os.path.relpath(directory, root)) if not match.host and directory != root else ""
    if match.host:
        folder = f"{match.host}:{os.fsdecode(directory)}"
    notes = [match.person] if named and match.person else []
    notes += [note] if note else []
    notes += ["the query photo"] if match.itself else []
    burst = len(match.similar) + len(match.similar_elsewhere)
    notes += [f"{burst} more of its burst"] if burst else []
    copies = len(match.copies) + sum(each.host == match.host for each in match.elsewhere)
    notes += [counted(copies, "copy", "copies")] if copies else []
    notes += [f"also on {some(match.hosts)}"] if match.hosts else []
    return Tile(
        Source(match.path),
        match.boxes,
        os.fsdecode(name),
        folder,
        CONFIRMED if match.confirmed else match.verdict,
        "" if match.similarity is None or match.confirmed else f"{match.similarity:.3f}",
        match.day if dated else "",
        " · ".join(notes),
        match.face_id,
        match.host,
        match.size,
    )


def layout(question: Question, tiles: Sequence[Tile]) -> Layout:
    """Spread the matches over pages: as large as they fit, in as few columns as their number allows."""
    columns = next((columns for most, columns in _COLUMNS if len(tiles) <= most), _MOST_COLUMNS)
    side = (A4[0] - 2 * _MARGIN + _GAP) / columns - _GAP
    cell = side + _CAPTION + sum(_line_heights(tiles)) + 1.0 + _GAP
    head = _PORTRAIT + 2 * _GAP
    room = A4[1] - 2 * _MARGIN - _FOOT + _GAP
    first, others = (max(1, math.floor(height / cell)) * columns for height in (room - head, room))
    pages = [range(min(first, len(tiles)))]
    pages += [range(start, min(start + others, len(tiles))) for start in range(first, len(tiles), others)]
    return Layout(columns, side, cell, head, tuple(pages))


def _line_heights(tiles: Sequence[Tile]) -> tuple[float, float, float]:
    """Return the heights of the lines below the first one: name, directory and notes, 0 where no match has one."""
    folders, notes = any(tile.folder for tile in tiles), any(tile.notes for tile in tiles)
    return 4.1, 3.5 if folders else 0.0, 3.5 if notes else 0.0


def write(
    target: Path,
    question: Question,
    tiles: Sequence[Tile],
    fetch: Fetch | None = None,
    progress: Progress | None = None,
    *,
    mode: int = targets.USUAL_MODE,
) -> Written:
    """Draw the sheet and put each file in its place in one step, with what the umask leaves of ``mode``.

    Raises `UsageError` for a file that cannot be written; where that is known before, nothing is drawn.
    """
    targets.check(target)
    if target.suffix.lower() == ".pdf":
        pages = draw(question, tiles, PRINTED, fetch, progress)
        targets.save_document(target, lambda file: pdf.write(file, pages, title=question.title), mode=mode)
        return Written([target], 0)
    whole = layout(question, tiles)
    shown = sum(map(len, whole.pages[:MOST_PICTURES]))
    numbers = range(1, 1 + min(len(whole.pages), MOST_PICTURES))
    files = [targets.page_path(target, number) for number in numbers]
    for number, file in zip(numbers, files, strict=True):
        targets.check(file, page=number)
    pages = draw(question, tiles[:shown], SHOWN, fetch, progress, as_pictures=True)
    for number, (file, page) in enumerate(zip(files, pages, strict=True), start=1):
        targets.save(page.image, file, page=number, mode=mode)
    targets.remove_pages(target, after=len(files))
    return Written(files, len(tiles) - shown)


def draw(
    question: Question,
    tiles: Sequence[Tile],
    dpi: int,
    fetch: Fetch | None = None,
    progress: Progress | None = None,
    *,
    as_pictures: bool = False,
) -> Iterator[Page]:
    """Draw page after page. ``as_pictures``: each is only as high and wide as what is on it.

    ``progress`` is called with the number of matches drawn and that of all.
    """
    whole, heights = layout(question, tiles), _line_heights(tiles)
    with ThreadPoolExecutor(_DECODERS, "decode") as pool:
        for number, indices in enumerate(whole.pages):
            page = _empty_page(whole, number, dpi, as_pictures=as_pictures)
            if number == 0:
                _draw_question(page, question, pool, fetch)
            if not as_pictures or len(whole.pages) > 1:
                _draw_foot(page, question, number + 1, len(whole.pages))
            shown = [tiles[index] for index in indices]
            for done, (at, picture) in enumerate(_pictures(pool, page, shown, whole.side, fetch), start=1):
                left, top = whole.place(number, indices[at])
                page.paste(picture, left, top, _RADIUS)
                _write_caption(page, shown[at], left, top + whole.side, whole.side, heights)
                if progress:
                    progress(indices.start + done, len(tiles))
            yield page


def _empty_page(whole: Layout, number: int, dpi: int, *, as_pictures: bool) -> Page:
    width, height = A4
    if as_pictures:
        indices = whole.pages[number]
        columns = min(max(len(whole.pages[0]), 2), whole.columns)
        width = 2 * _MARGIN + columns * (whole.side + _GAP) - _GAP
        rows = math.ceil(len(indices) / whole.columns)
        height = 2 * _MARGIN - _GAP + (whole.head if number == 0 else 0) + rows * whole.cell
        height += _FOOT if len(whole.pages) > 1 else 0
    return Page(width, height, dpi)


def _draw_question(page: Page, question: Question, pool: ThreadPoolExecutor, fetch: Fetch | None) -> None:
    shown = question.portraits[:_MOST_PORTRAITS]
    side = page.pixels(_PORTRAIT)
    left = _MARGIN
    pictures = pool.map(lambda portrait: _portrait(portrait, side, fetch), shown)
    for portrait, picture in zip(shown, pictures, strict=True):
        page.paste(picture, left, _MARGIN, _RADIUS * 1.5)
        if portrait.label:
            page.badge(printable(portrait.label), left + 1.5, _MARGIN + _PORTRAIT - 2.2, _SMALL)
        left += _PORTRAIT + _GAP / 2
    if more := len(question.portraits) - len(shown):
        left += page.write(f"+{more}", left, _MARGIN + _PORTRAIT / 2, _LARGE, colour=FAINT)
    left += _GAP if shown else 0
    width = page.width - _MARGIN - left
    lines = [line for line in question.lines if line]
    height = _TITLE + 5.0 * len(lines)
    base = _MARGIN + max(0.0, _PORTRAIT - height) / 2 + _TITLE * 0.8
    page.write(printable(question.title), left, base, _TITLE, width=width, bold=True)
    for line in lines:
        base += 5.2
        page.write(printable(line), left, base, _LARGE, width=width, colour=FAINT)


def _draw_foot(page: Page, question: Question, number: int, pages: int) -> None:
    base, right = page.height - _MARGIN + 2.0, page.width - _MARGIN
    page.rule(_MARGIN, right, base - 5.0)
    length = page.write(f"page {number} of {pages}", right, base, _SMALL, colour=FAINT, to_right=True)
    text = " · ".join(filter(None, (question.title, question.day)))
    page.write(printable(text), _MARGIN, base, _SMALL, colour=FAINT, width=right - _MARGIN - length - _GAP)


def _pictures(
    pool: ThreadPoolExecutor, page: Page, tiles: Sequence[Tile], side: float, fetch: Fetch | None
) -> Iterator[tuple[int, Image.Image]]:
    """Yield the index and the picture of each tile, photo by photo; those of other machines first."""
    grouped: dict[Source, list[int]] = {}
    pixels, line = page.pixels(side), max(1, page.pixels(0.3))
    for position, tile in enumerate(tiles):
        if tile.host:
            yield position, elsewhere.picture(tile.size, tile.boxes, pixels, tile.host)
        else:
            grouped.setdefault(tile.source, []).append(position)

    def cut(source: Source) -> list[Image.Image]:
        shown = [tiles[at] for at in grouped[source]]
        pictures = _scenes(source, [tile.boxes for tile in shown], pixels, scenes.SCENE, line)
        return [
            _or_fetched(picture, tile.face_id, pixels, fetch) for picture, tile in zip(pictures, shown, strict=True)
        ]

    for positions, pictures in zip(grouped.values(), pool.map(cut, grouped), strict=True):
        yield from zip(positions, pictures, strict=True)


def _portrait(portrait: Portrait, side: int, fetch: Fetch | None) -> Image.Image:
    if portrait.source is None or portrait.box is None:
        return _or_fetched("missing", portrait.face_id, side, fetch)
    (picture,) = _scenes(portrait.source, [(portrait.box,)], side, scenes.PORTRAIT, 0)
    return _or_fetched(picture, portrait.face_id, side, fetch)


def _scenes(
    source: Source, boxes: Sequence[tuple[Box, ...]], side: int, sides: float, line: int
) -> list[Image.Image | str]:
    """Return the pictures of a photo, or a word for each that there is not."""

    def least(width: int, height: int) -> float:
        return max(scenes.least_scale(each, width, height, side, sides) for each in boxes)

    photo = reduced(source, least)
    if isinstance(photo, str):
        return [photo for _ in boxes]
    return [scenes.scene(photo, each, side, sides, line) or "changed" for each in boxes]


def _or_fetched(picture: Image.Image | str, face_id: int | None, side: int, fetch: Fetch | None) -> Image.Image:
    """Return a picture; in place of a word that of the daemon, or an empty one with the word."""
    if not isinstance(picture, str):
        return picture
    jpeg = fetch(face_id, side) if fetch is not None and face_id is not None else None
    return (jpeg and scenes.fetched(jpeg, side)) or scenes.placeholder(picture, side)


def _write_caption(
    page: Page, tile: Tile, left: float, below: float, width: float, heights: tuple[float, float, float]
) -> None:
    base = below + _CAPTION
    room = width
    if tile.date:
        room -= page.write(tile.date, left + width, base, _SMALL, colour=FAINT, to_right=True) + 1.5
    start = left
    if tile.verdict:
        start += page.badge(tile.verdict, left, base, _SMALL) + 1.5
    if tile.number and start + _LARGE * 2.4 <= left + room:
        page.write(tile.number, start, base, _LARGE, width=left + room - start)
    lines = ((tile.name, _MIDDLE, INK), (tile.folder, _SMALL, FAINT), (tile.notes, _SMALL, FAINT))
    for (text, size, colour), height in zip(lines, heights, strict=True):
        if text:
            base += height
            page.write(printable(text), left, base, size, width=width, colour=colour)
