"""``facewatchd photos``: the files that are in one state, each with the reason.

They come from the daemon in pages, and each page is written before the next is asked for: the memory that a million
files take is that of one page.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from facewatchd.client.answer import path_of, reading_answer
from facewatchd.client.connection import Connection
from facewatchd.console.arguments import Parser, did_you_mean
from facewatchd.console.output import listed_line
from facewatchd.console.streams import on_terminal, say, write
from facewatchd.errors import UsageError
from facewatchd.text import printable
from facewatchd.values import LISTED_STATES

if TYPE_CHECKING:
    from collections.abc import Callable

    Page = list[dict[str, Any]]

_STATES = f"{', '.join(LISTED_STATES[:-1])} or {LISTED_STATES[-1]}"


def add_options(parser: Parser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "--state",
        metavar="STATE",
        type=_state,
        choices=tuple(map(str, LISTED_STATES)),
        required=True,
        help=f"which: {_STATES}",
    )
    parser.add_argument("-0", "--print0", action="store_true", help="print paths only, NUL between them")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _state(text: str) -> str:
    if text not in LISTED_STATES:
        raise argparse.ArgumentTypeError(f"{text!r} is not {_STATES}{did_you_mean(text, LISTED_STATES)}")
    return text


def list_photos(options: argparse.Namespace) -> int:
    """Print the files in a state, by path. That there is none is no error."""
    if options.json and options.print0:
        raise UsageError("--json and --print0 exclude each other", "leave one out")
    with Connection(options.socket) as daemon:
        pages = _pages(daemon, options.state)
        if options.json:
            _write_document(pages)
        elif not _write_pages(pages, _as_paths if options.print0 else _as_lines) and on_terminal():
            say(f"no file is in the state {options.state}")
    return 0


def _pages(daemon: Connection, state: str) -> Iterator[Page]:
    after: object = None
    while True:
        answer = daemon.call("photos", state=state, after=after)
        with reading_answer():
            page, after = list(answer["photos"]), answer["next"]
        yield page
        if after is None:
            return


def _write_pages(pages: Iterator[Page], format_page: Callable[[Page], bytes | str]) -> bool:
    """Write pages until the reader is gone; return whether any had a file."""
    any_file = False
    for page in pages:
        with reading_answer():
            words = format_page(page)
        any_file = any_file or bool(page)
        if not write(words):
            break
    return any_file


def _as_paths(page: Page) -> bytes:
    return b"".join(path_of(photo) + b"\0" for photo in page)


def _as_lines(page: Page) -> bytes | str:
    found = [(path_of(photo), str(photo["reason"])) for photo in page]
    if on_terminal():
        return "".join(f"{printable(path)}: {printable(reason)}\n" for path, reason in found)
    return b"".join(listed_line(path, reason) for path, reason in found)


def _write_document(pages: Iterator[Page]) -> None:
    """Write ``{"photos": [...]}``: all on one line, or on a terminal a photo a line."""
    gap = "\n" if on_terminal() else ""
    start = f'{{"photos": [{gap}'
    for page in pages:
        text = f",{gap or ' '}".join(map(json.dumps, page))
        if text and not write(start + text):
            return
        start = f",{gap or ' '}" if text else start
    write(f"{gap}]}}\n" if start.startswith(",") else f"{start}]}}\n")
