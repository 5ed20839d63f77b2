"""``facewatchd people import [DIR]``: names that other programs wrote, held against the faces that were found.

The daemon reads the files and judges each name, page by page. Nothing is said until all pages were read: Ctrl-C before
leaves everything as it was, and what is then said is one step of ``undo``.
"""

from __future__ import annotations

import argparse
import base64
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from facewatchd.client.answer import path_of, reading_answer
from facewatchd.client.connection import Connection
from facewatchd.client.query import local_path, path_param
from facewatchd.console.arguments import Parser
from facewatchd.console.output import size_and_place, tab_separated
from facewatchd.console.progress import advancing, bars_hidden
from facewatchd.console.streams import on_terminal, say, write, write_json
from facewatchd.matches import Box
from facewatchd.people.statements import name_key
from facewatchd.text import counted, printable

TIMEOUT = 600.0
"""Seconds for one page: where other programs always compute, the process that reads the files gets its turn late."""
MOST = 50_000
"""Statements that are said at once. One has up to 1.2 kB, with the longest name in letters that JSON escapes."""
_SOURCES = {
    "mwg": "XMP (MWG)",
    "microsoft": "XMP (Microsoft)",
    "picasa": "Picasa",
    "takeout": "Google Takeout",
}
_WORDS = {
    "new": "{name}: the face at {place}",
    "proposed": "{name}?: the face at {place}, the only one left",
    "no-face": "{name}: no face was found at {place}",
    "no-place": "{name}: which face that is cannot be told",
    "contradicts": "{name}: left out, {against}",
}
"""By verdict; what is known already is only counted."""


def add_options(parser: Parser) -> None:
    """Add the arguments of the command."""
    parser.description = (
        "Read the names that other programs wrote: face regions of the Metadata Working Group (digiKam, Lightroom,"
        " Picasa, Apple) and of Microsoft in photos, in `a.jpg.xmp` and in `a.xmp`, Picasa's `.picasa.ini`, and the"
        " names in Google Takeout's JSON files. Each is held against the faces that were found, and against what you"
        " said before, which it never replaces. Without --apply it is only shown."
    )
    parser.add_argument("directory", metavar="DIR", nargs="?", help="only photos below it, or one photo (default: all)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--dry-run", action="store_true", help="only show what would be said (the default)")
    what.add_argument("--apply", action="store_true", help="say it; `facewatchd people undo` takes all of it back")
    parser.add_argument(
        "--proposals",
        action="store_true",
        help="with --apply, also names without a place, where one face and one name are left",
    )
    parser.add_argument(
        "--without-face",
        action="store_true",
        help="with --apply, also names where no face was found: the person is then on the photo without a face",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


@dataclass(slots=True)
class _Found:
    """What all pages say."""

    photos: list[dict[str, Any]] = field(default_factory=list)
    """Kept for --json only."""
    names: dict[str, str] = field(default_factory=dict)
    """The first spelling of each name, by key."""
    spellings: dict[str, set[str]] = field(default_factory=dict)
    statements: dict[tuple[str, str, int], bytes] = field(default_factory=dict)
    """What is to be said, as lines of an export, by name, content and face: copies of a photo say the same."""
    verdicts: Counter[str] = field(default_factory=Counter)
    read: int = 0
    named: int = 0
    left_out: int = 0

    def take(self, photo: dict[str, Any], wanted: frozenset[str]) -> None:
        """Note what is to be said of one photo. ``wanted``: the verdicts with which it is."""
        self.named += bool(photo["findings"])
        for each in photo["findings"]:
            key = name_key(str(each["name"]))
            self.spellings.setdefault(key, set()).add(str(each["name"]))
            place = key, str(photo["digest"]), int(each["face_id"] or 0)
            if place in self.statements:
                continue
            self.verdicts[str(each["verdict"])] += 1
            if each["verdict"] in wanted:
                name = self.names.setdefault(key, str(each["name"]))
                self.statements[place] = _line(
                    {
                        "statement": name,
                        "is": True,
                        "digest": photo["digest"],
                        "box": each["relative"] if all(each["relative"][2:]) else None,  # a point has no sides
                        "source": each["source"],
                        "at": round(time.time(), 3),
                    }
                )


def import_people(options: argparse.Namespace) -> int:
    """Show what the names in photos, and in files beside them, would say; with --apply, say it."""
    chosen = {"new": True, "proposed": options.proposals, "no-face": options.without_face}
    wanted = frozenset(verdict for verdict, is_chosen in chosen.items() if is_chosen)
    where = {} if options.directory is None else {"dir": path_param(local_path(options.directory))}
    found = _Found()
    with Connection(options.socket, TIMEOUT) as daemon:
        with advancing("people import", " photos") as progress:
            for page in _pages(daemon, where):
                with reading_answer():
                    for photo in page["photos"]:
                        found.take(photo, wanted)
                        if options.json:
                            found.photos.append(photo)
                    found.read += int(page["read"])
                    found.left_out += int(page["left_out"])
                    with bars_hidden():
                        if not options.json and not write(_lines(page["photos"])):
                            return 0
                if progress:
                    progress(found.read, 0)
        said = _said(daemon, found) if options.apply and found.statements else None
        with reading_answer():
            pending = int(daemon.call("status")["pending"])
    if options.json:
        numbers = {"read": found.read, "left_out": found.left_out, **found.verdicts}
        write_json({"photos": found.photos, "counts": numbers, "said": said})
    _say_summary(found, options, said)
    if pending:
        say(f"{counted(pending, 'photo')} pending, of which the faces are not known yet: import again later")
    return 0


def _pages(daemon: Connection, where: dict[str, Any]) -> Iterator[Any]:
    after: object = None
    while True:
        page = daemon.call("regions", **where, **({} if after is None else {"after": after}))
        yield page
        with reading_answer():
            after = page["next"]
        if after is None:
            return


def _lines(photos: list[dict[str, Any]]) -> str | bytes:
    if on_terminal():
        return "".join(
            f"{printable(path_of(photo))}: {line}\n" for photo in photos for line in (*_findings(photo), *_aside(photo))
        )
    return b"".join(
        tab_separated(
            path_of(photo),
            str(each["verdict"]),
            str(each["name"]),
            ",".join(map(str, each["box"] or ())),
            str(each["source"]),
            str(each["against"]),
        )
        for photo in photos
        for each in photo["findings"]
    )


def _findings(photo: dict[str, Any]) -> Iterator[str]:
    for each in photo["findings"]:
        if words := _WORDS.get(each["verdict"]):
            place = size_and_place(Box(*each["box"])) if each["box"] else ""
            name, against = printable(str(each["name"])), printable(str(each["against"]))
            source = printable(_SOURCES.get(each["source"], str(each["source"])))
            yield f"{words.format(name=name, place=place, against=against)}, from {source}"


def _aside(photo: dict[str, Any]) -> Iterator[str]:
    for reason in photo["aside"]:
        yield f"left out: {printable(str(reason))}"


def _said(daemon: Connection, found: _Found) -> dict[str, int]:
    """Say it, in one step of ``undo``, or in as many as the protocol's longest line asks for."""
    people = b"".join(_line({"person": name, "born": None, "hidden": False}) for name in found.names.values())
    numbers: Counter[str] = Counter()
    for block in _blocks(list(found.statements.values())):
        data = base64.b64encode(people + block).decode("ascii")
        result = daemon.call("import_people", data=data, keep=True)
        with reading_answer():
            numbers.update({name: int(result[name]) for name in ("added", "known", "kept")})
    return dict(numbers)


def _blocks(lines: Sequence[bytes]) -> Iterator[bytes]:
    for start in range(0, len(lines), MOST):
        yield b"".join(lines[start : start + MOST])


def _line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, separators=(",", ":")).encode("ascii") + b"\n"


def _say_summary(found: _Found, options: argparse.Namespace, said: dict[str, int] | None) -> None:
    number = found.verdicts
    parts = [
        f"{counted(len(found.statements), 'name')} of {counted(len(found.names), 'person', 'people')} to be said",
        *_part(number["known"], "{} named before"),
        *_part(0 if options.without_face else number["no-face"], "{} where no face was found (--without-face)"),
        *_part(number["no-place"], "{} without a place"),
        *_part(number["contradicts"], "{} contradicted"),
        *_part(0 if options.proposals else number["proposed"], "{} proposed (--proposals)"),
    ]
    say(f"{counted(found.read, 'photo')} read, {found.named} with names: {', '.join(parts)}")
    if found.left_out:
        say(f"{counted(found.left_out, 'photo')} left out: changed since indexed, or not to be read now")
    for spellings in found.spellings.values():
        if len(spellings) > 1:
            say(f"taken for one person: {', '.join(map(printable, sorted(spellings)))}")
    if said is not None:
        kept = f", {said['kept']} left out, as something else was said before" if said["kept"] else ""
        undo = "; `facewatchd people undo` takes that back" if said["added"] else ""
        say(f"{counted(said['added'], 'name')} said{kept}{undo}")
    elif found.statements and not options.apply:
        say("nothing was said; to say it, add --apply")


def _part(number: int, words: str) -> list[str]:
    return [words.format(number)] if number else []
