"""``facewatchd people unknown``: the groups of faces that have no name, those on most photos first.

Each has its id as a WHO, ``group:17``, which `people add` and a question take, and the clearest of its faces as another
WHO, ``PHOTO#N``. Groups come from the daemon in pages.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from facewatchd.client.answer import path_of, reading_answer
from facewatchd.client.connection import DEFAULT_TIMEOUT, Connection
from facewatchd.console.arguments import Parser
from facewatchd.console.output import tab_separated, table
from facewatchd.console.streams import on_terminal, say, takes_colour, write, write_json
from facewatchd.errors import UsageError
from facewatchd.text import counted, printable

TOP = 20
"""Groups that are printed on a terminal unless more are asked for."""


def add_options(parser: Parser) -> None:
    """Add the options of the command."""
    text = f"at most N groups, 0 for all (default: {TOP} on a terminal, else all)"
    parser.add_argument("-n", "--top", metavar="N", type=read_top, help=text)
    parser.add_argument("--ignored", action="store_true", help="those that are ignored, in place of the others")
    parser.add_argument("--show", action="store_true", help="also the clearest faces as pictures, in a terminal")
    parser.add_argument("-0", "--print0", action="store_true", help="print PHOTO#N of each only, NUL between them")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def read_top(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number")
    return int(text)


class _Group(NamedTuple):
    """A group, as it is printed."""

    id: int
    faces: int
    photos: int
    first: str
    last: str
    face: bytes
    """The clearest one, as PHOTO#N,"""
    face_id: int
    """and its id."""

    @classmethod
    def of(cls, item: Any) -> _Group:
        first, last = (str(item[name] or "")[:4] for name in ("first", "last"))
        face = path_of(item) + b"#%d" % int(item["face"])
        return cls(int(item["id"]), int(item["faces"]), int(item["photos"]), first, last, face, int(item["best"]))

    @property
    def years(self) -> str:
        """Like 2011-2019, or 2011."""
        return self.first if self.first == self.last else f"{self.first}-{self.last}"

    def line(self) -> bytes:
        """For a pipe."""
        return tab_separated(f"group:{self.id}", str(self.faces), str(self.photos), self.years, self.face)

    def row(self) -> tuple[str, ...]:
        """For a terminal."""
        return f"group:{self.id}", str(self.faces), str(self.photos), self.years, printable(self.face)


def check_output(options: argparse.Namespace) -> None:
    """Refuse ways to print that exclude each other. Raises `UsageError`."""
    if options.json and options.print0:
        raise UsageError("--json and --print0 exclude each other", "leave one out")
    if options.show and (options.json or options.print0):
        raise UsageError("--show goes with the table", "leave --json and --print0 out")


def list_unknown(options: argparse.Namespace) -> int:
    """Print the groups. That there is none is no error."""
    check_output(options)
    attended = on_terminal() and not (options.json or options.print0)
    top = options.top if options.top is not None else TOP if attended else 0
    pages = list(_pages(options, top))
    with reading_answer():
        items = [item for page in pages for item in page["groups"]]
        total, unseen = int(pages[-1]["total"]), int(pages[-1]["unseen"])
        found = [_Group.of(item) for item in items]
    if options.json:
        write_json({"groups": items, "total": total, "unseen": unseen})
    elif options.print0:
        write(b"".join(each.face + b"\0" for each in found))
    else:
        _print(options, found)
        if attended:
            _say_more(found, total, ignored=options.ignored)
    if unseen:
        say(f"facewatchd: {counted(unseen, 'face')} still to be looked at, which is done while nothing else is")
    return 0


def _print(options: argparse.Namespace, found: list[_Group]) -> None:
    heading = ("GROUP", "FACES", "PHOTOS", "YEARS", "CLEAREST FACE")
    if on_terminal():
        write(table(heading, [each.row() for each in found], colour=takes_colour(sys.stdout)))
    else:
        write(b"".join(each.line() for each in found))
    if options.show and found:
        _show(options, found)


def _show(options: argparse.Namespace, found: list[_Group]) -> None:
    """Draw the clearest face of each group, or say why not."""

    def caption(group: _Group) -> str:
        faces = counted(group.faces, "face")
        return f"{faces}, {group.years}" if group.years else faces

    show_faces(options, [(each.face_id, f"group:{each.id}", caption(each)) for each in found])


def show_faces(options: argparse.Namespace, faces: Sequence[tuple[int, str, str]]) -> None:
    """Draw faces, or say why not. Each is its id, the WHO above its caption, and the caption."""
    from facewatchd.client import showing
    from facewatchd.console.tiles import Words

    def wanted(_: int) -> Iterator[showing.Wanted]:
        for face_id, who, caption in faces:
            yield showing.Wanted({"face_id": face_id}, [(Words(who, "1"),), (Words(caption),)])

    if trouble := showing.draw(options.socket, 2, wanted):
        say(f"facewatchd: {trouble}")


def _say_more(found: list[_Group], total: int, *, ignored: bool) -> None:
    if not found:
        say("no face is ignored" if ignored else "no faces without a name belong together")
        return
    if len(found) < total:
        say(f"{len(found)} of {counted(total, 'group')}; -n 0 shows all")
    if ignored:
        say(f"to bring one back: facewatchd people ignore --not group:{found[0].id}")
        return
    say(f"to look at one: facewatch-query group:{found[0].id}")
    say(f"to name one: facewatchd people add NAME group:{found[0].id}")
    say(f"to leave one out: facewatchd people ignore group:{found[0].id}")


def _pages(options: argparse.Namespace, top: int) -> Iterator[Any]:
    after, left = 0, top
    with Connection(options.socket, DEFAULT_TIMEOUT) as daemon:
        while True:
            page = daemon.call(
                "unknown", after=after, ignored=options.ignored, **({"limit": min(left, 200)} if top else {})
            )
            yield page
            with reading_answer():
                after, left = page["next"], left - len(page["groups"])
            if after is None or (top and left <= 0):
                return
