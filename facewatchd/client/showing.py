"""``--show``: the faces that were asked for and those that match, or those on a photo, as pictures in the terminal.

The daemon makes the pictures (``thumbnail``), but those for photos of other machines, of which there is only the shape
(`pictures.elsewhere`). A row is drawn as soon as its pictures are there. Pillow and numpy are imported when the first
one is.
"""

from __future__ import annotations

import argparse
import binascii
import itertools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from facewatchd.client import drawing
from facewatchd.client.answer import Answer, Faceless, QueryEntry, QueryGroup, QueryPerson, reading_answer
from facewatchd.client.arguments import PROG
from facewatchd.client.connection import RemoteError
from facewatchd.client.connections import Call, Connections
from facewatchd.client.query import QueryPhoto, path_param
from facewatchd.client.report import asks_for_dates
from facewatchd.console import terminal, tiles
from facewatchd.console.output import UNKNOWN
from facewatchd.console.streams import on_terminal, say, takes_colour, write
from facewatchd.console.terminal import Screen, Way
from facewatchd.matches import CONFIRMED, Box, Match, Name, PhotoFace, any_date, any_other_person
from facewatchd.text import printable

_BOLD, _FAINT, _BLUE = "1", "2", "1;34"
_STYLES = {CONFIRMED: "1;32", "sure": "1;32", "likely": "33", "look": "1;31"}
"""Of the verdicts: from what need not be looked at to what must be."""
_SIZES = (96, 192, 384)
"""Pixels of the pictures that are asked for: few sizes, as the daemon keeps what it made."""
_UPPER_HALF = "▀"


class Away(NamedTuple):
    """What is known of a photo of another machine, of which there is no picture."""

    size: tuple[int, int]
    boxes: tuple[Box, ...]


class Wanted(NamedTuple):
    """A picture to be shown."""

    params: dict[str, Any] | Away
    """Of ``thumbnail``, without the size; nothing is asked of the daemon for a photo of another machine."""
    caption: Sequence[tiles.Line]


def show(options: argparse.Namespace, answer: Answer) -> None:
    """Draw the faces of a question and its matches, or say why not. Raises as `Connections` does."""
    if not answer.matches:
        return
    dated = asks_for_dates(options) or any_date(answer.matches)
    lines = 2 + dated + any(match.host for match in answer.matches)

    def wanted(across: int) -> Iterator[Wanted]:
        yield from itertools.islice(_asked(options, answer), across)
        yield from _matches(options, answer, dated=dated)

    _draw(options, lines, wanted)


def show_faces(options: argparse.Namespace, photo: QueryPhoto, faces: Sequence[PhotoFace]) -> None:
    """Draw the faces on a photo, or say why not, each with its number and, where it was asked for, its name."""
    named = any(face.who is not None for face in faces)

    def wanted(_: int) -> Iterator[Wanted]:
        for number, face in enumerate(faces):
            caption = [(tiles.Words(f"face {number}", _BOLD),)]
            caption += [(_name(face.who),)] if face.who is not None else []
            yield Wanted({**photo.param(), "box": list(face.box)}, caption)

    if faces:
        _draw(options, 2 if named else 1, wanted)


def _name(who: Name) -> tiles.Words:
    if not who.name:
        return tiles.Words(UNKNOWN, _FAINT)
    verdict = CONFIRMED if who.confirmed else who.verdict
    return tiles.Words(printable(who.name), _STYLES.get(verdict, ""))


def _obstacle() -> str:
    """Why no picture can be shown at all; empty where one may be."""
    if not on_terminal():
        return "the output does not go to a terminal"
    return "the terminal is a dumb one (TERM)" if os.environ.get("TERM", "dumb") == "dumb" else ""


def _obstacle_to_blocks() -> str:
    """Why no picture can be shown by coloured characters, which is all that the terminal can; empty where it can."""
    if not takes_colour(sys.stdout):
        return "this terminal shows them only by colours, and NO_COLOR is set"
    try:
        _UPPER_HALF.encode(sys.stdout.encoding)
    except UnicodeError:
        return f"this terminal shows them only by characters that {sys.stdout.encoding} lacks"
    return ""


def _draw(options: argparse.Namespace, lines: int, wanted: Callable[[int], Iterator[Wanted]]) -> None:
    trouble = draw(options.socket, lines, wanted)
    if trouble and not options.quiet:
        say(f"{PROG}: {trouble}")


def draw(socket: str | os.PathLike[str] | None, lines: int, wanted: Callable[[int], Iterator[Wanted]]) -> str:
    """Draw pictures with captions of so many lines; return why there are none, or not all, to be told in a line.

    ``wanted`` takes how many there are in a row. Raises as `Connections` does.
    """
    if reason := _obstacle():
        return f"no pictures are shown, as {reason}"
    with terminal.asked() as screen:
        if screen.way is Way.BLOCKS and (reason := _obstacle_to_blocks()):
            return f"no pictures are shown, as {reason}"
        layout = tiles.grid(screen, lines)
        failures = _draw_rows(socket, screen, layout, wanted(layout.across))
    if not failures:
        return ""
    are = "picture is" if len(failures) == 1 else "pictures are"
    return f"{len(failures)} {are} missing: {printable(str(failures[0]))}"


def _draw_rows(
    socket: str | os.PathLike[str] | None, screen: Screen, layout: tiles.Grid, wanted: Iterator[Wanted]
) -> list[RemoteError]:
    """Draw the pictures; return the errors of those that could not be made."""
    coloured = takes_colour(sys.stdout)
    encoded = _encoder(screen, layout)
    size = next((size for size in _SIZES if size >= layout.side), _SIZES[-1])
    failures: list[RemoteError] = []
    with Connections(socket) as daemon:
        is_read = write("\n")
        while is_read and (some := list(itertools.islice(wanted, layout.across))):
            documents = _documents(daemon, some, size)
            shown = [
                tiles.Tile(encoded(document), (*each.caption, *_note(document)))
                for document, each in zip(documents, some, strict=True)
            ]
            with terminal.ended_in_sequence():
                is_read = write(tiles.row(screen, layout, shown, coloured=coloured))
            failures += [document for document in documents if isinstance(document, RemoteError)]
    return failures


def _documents(daemon: Connections, some: Sequence[Wanted], size: int) -> list[Any]:
    """What each picture is made of: a result of ``thumbnail`` or its error, or what is known of a photo elsewhere."""
    calls = [Call("thumbnail", {**each.params, "size": size}) for each in some if not isinstance(each.params, Away)]
    results = daemon.results(calls)
    documents = [each.params if isinstance(each.params, Away) else next(results) for each in some]
    assert next(results, None) is None  # only then are all connections free again
    return documents


def _note(document: Any) -> list[tiles.Line]:
    return [(tiles.Words("no picture", _FAINT),)] if isinstance(document, RemoteError) else []


def _encoder(screen: Screen, layout: tiles.Grid) -> Callable[[Any], Sequence[bytes]]:
    """Return what turns the daemon's document, or its error, into a picture for the terminal."""
    from facewatchd.pictures import elsewhere
    from facewatchd.pictures import terminal as encoding

    cells = None if screen.is_cell_known else (layout.columns, layout.rows)

    def encode(document: Any) -> Sequence[bytes]:
        if isinstance(document, RemoteError):
            picture = encoding.missing(layout.side)
        elif isinstance(document, Away):
            picture = elsewhere.picture(document.size, document.boxes, layout.side)
        else:
            with reading_answer():
                picture = encoding.fitted(binascii.a2b_base64(document["jpeg"]), layout.side)
        if screen.way is Way.KITTY:
            return encoding.kitty(picture, cells)
        if screen.way is Way.SIXEL:
            return encoding.sixel(picture, screen.colours)
        if screen.has_few_colours:
            picture = encoding.grey(picture)
        return encoding.blocks(picture, millions=screen.has_any_colour, quarters=screen.has_quarters)

    return encode


def _asked(options: argparse.Namespace, answer: Answer) -> Iterator[Wanted]:
    """The faces that were asked for, also those that are to be on the photo with them."""
    for heading, entries in (("query", answer.query), ("with", answer.others.get("with", ()))):
        for entry in entries:
            params = _face_of(options, entry)
            if params is not None:
                name = tiles.Words(printable(drawing.name_of(entry)))
                yield Wanted(params, [(tiles.Words(heading, _BLUE),), (name,)])


def _face_of(options: argparse.Namespace, entry: QueryEntry) -> dict[str, Any] | None:
    """What names the picture of a face that was asked for; None where there is none."""
    if isinstance(entry, (QueryPerson, QueryGroup)):
        face_id = drawing.clearest_face(options, entry)
        return None if face_id is None else {"face_id": face_id}
    if isinstance(entry, Faceless) or entry.left_out:
        return None
    if entry.asked.photo is None:
        return {"face_id": entry.asked.who.face_id}
    return {**entry.asked.photo.param(), "box": list(entry.box)}


def _matches(options: argparse.Namespace, answer: Answer, *, dated: bool) -> Iterator[Wanted]:
    names = _names(answer.matches)
    named = any_other_person(answer.matches, answer.asked_names)
    for match, name in zip(answer.matches, names, strict=True):
        caption = [_heading(match, named=named)]
        caption += [(tiles.Words(match.day),)] if dated else []
        caption += [(tiles.Words(printable(name), _FAINT),)]
        caption += [(tiles.Words(f"on {printable(match.host)}"),)] if match.host else []
        yield Wanted(_picture_of(match), caption)


def _names(matches: Sequence[Match]) -> list[bytes]:
    """What is written below each picture: of a photo of another machine the whole path."""
    short = iter(short_names([match.path for match in matches if not match.host]))
    return [match.path if match.host else next(short) for match in matches]


def _heading(match: Match, *, named: bool) -> tiles.Line:
    """The verdict, the similarity, and what else is to be said of a match."""
    verdict = CONFIRMED if match.confirmed else match.verdict
    words = [tiles.Words(verdict, _STYLES.get(verdict, ""))] if verdict else []
    notes = [] if match.similarity is None or match.confirmed else [f"{match.similarity:.3f}"]
    notes += [printable(match.person)] if named and match.person else []
    burst = len(match.similar) + len(match.similar_elsewhere)
    notes += [f"+{burst}"] if burst else []
    return [*words, tiles.Words(" ".join(["", *notes] if words else notes), _BOLD)]


def _picture_of(match: Match) -> dict[str, Any] | Away:
    """What names the picture of a match: its face, the part of it with everyone who was asked for, or all of it."""
    boxes = [term.box for term in match.terms if term.box is not None]
    if match.host:
        return Away(match.size, match.boxes)
    if len(boxes) > 1:
        return {**path_param(os.fsdecode(match.path)), "box": list(_around(boxes))}
    if match.face_id is not None:
        return {"face_id": match.face_id}
    return path_param(os.fsdecode(match.path))


def _around(boxes: Sequence[Box]) -> Box:
    left, top = min(box.x for box in boxes), min(box.y for box in boxes)
    return Box(left, top, max(box.x + box.w for box in boxes) - left, max(box.y + box.h for box in boxes) - top)


def short_names(paths: Sequence[bytes]) -> list[bytes]:
    """Return the part of each path in which they differ: a photo's name, and directories where they are not one."""
    if len(paths) < 2:
        return [os.path.basename(path) for path in paths]
    shared = os.path.commonpath([os.path.dirname(path) for path in paths])
    return [os.path.relpath(path, shared) for path in paths]
