"""``facewatchd people suggest NAME``: faces that may be a person and of which nothing was said.

That of which an answer teaches most comes first. Each is printed as a WHO, ``face:17``, which `people add` and
`people not` take.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from facewatchd.cli.people_unknown import check_output, read_top, show_faces
from facewatchd.client.answer import path_of, reading_answer
from facewatchd.client.connection import DEFAULT_TIMEOUT, Connection
from facewatchd.console.arguments import Parser
from facewatchd.console.output import tab_separated, table
from facewatchd.console.streams import on_terminal, say, takes_colour, write, write_json
from facewatchd.text import counted, printable

TOP = 20
"""Faces that are printed unless more are asked for."""
_PAGE = 200
"""Faces that are asked for at once."""


def add_options(parser: Parser) -> None:
    """Add the options of the command, besides the name."""
    text = f"at most N faces, 0 for all (default: {TOP})"
    parser.add_argument("-n", "--top", metavar="N", type=read_top, default=TOP, help=text)
    parser.add_argument("--show", action="store_true", help="also the faces as pictures, in a terminal")
    parser.add_argument("-0", "--print0", action="store_true", help="print face:ID of each only, NUL between them")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


class _Face(NamedTuple):
    """A face, as it is printed."""

    id: int
    similarity: float
    path: bytes

    @classmethod
    def of(cls, item: Any) -> _Face:
        return cls(int(item["face_id"]), float(item["similarity"]), path_of(item))

    @property
    def who(self) -> str:
        return f"face:{self.id}"


def list_suggestions(options: argparse.Namespace) -> int:
    """Print the faces. That there is none is no error."""
    check_output(options)
    pages = list(_pages(options))
    with reading_answer():
        items = [item for page in pages for item in page["suggestions"]]
        name, total = str(pages[0]["name"]), int(pages[0]["total"])
        found = [_Face.of(item) for item in items]
    if options.json:
        write_json({"name": name, "suggestions": items, "total": total})
    elif options.print0:
        write("".join(f"{each.who}\0" for each in found))
    else:
        _print(options, name, found, total)
    return 0


def _print(options: argparse.Namespace, name: str, found: list[_Face], total: int) -> None:
    if not on_terminal():
        write(b"".join(tab_separated(each.who, f"{each.similarity:.3f}", each.path) for each in found))
        return
    rows = [(each.who, f"{each.similarity:.3f}", printable(each.path)) for each in found]
    write(table(("FACE", "SIMILARITY", "PATH"), rows, colour=takes_colour(sys.stdout)))
    if options.show and found:
        show_faces(options, [(each.id, each.who, f"{each.similarity:.3f}") for each in found])
    if not found:
        say(f"no face is left that may be {printable(name)}")
        return
    if len(found) < total:
        say(f"{len(found)} of {counted(total, 'face')}; -n 0 shows all")
    say(f"to answer: facewatchd people add NAME {found[0].who}, or people not NAME {found[0].who}")


def _pages(options: argparse.Namespace) -> Iterator[Any]:
    skip, left = 0, options.top
    with Connection(options.socket, DEFAULT_TIMEOUT) as daemon:
        while True:
            limit = min(left, _PAGE) if options.top else _PAGE
            page = daemon.call("suggestions", person=options.name, skip=skip, limit=limit)
            yield page
            with reading_answer():
                count = len(page["suggestions"])
            skip, left = skip + count, left - count
            if not count or (options.top and left <= 0):
                return
