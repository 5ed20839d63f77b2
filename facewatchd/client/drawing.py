"""The sheets that ``--sheet`` and ``--open`` ask for. Pillow and numpy are imported when one is drawn."""

from __future__ import annotations

import argparse
import binascii
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from facewatchd.client import machines
from facewatchd.client.answer import Answer, QueryEntry, QueryFace, QueryGroup, QueryPerson
from facewatchd.client.connection import Connection
from facewatchd.client.query import STDIN, QueryPhoto, local_path
from facewatchd.client.report import asks_for_dates, expected_wrong
from facewatchd.client.who import Who
from facewatchd.console.streams import say, takes_drawing
from facewatchd.errors import FacewatchError
from facewatchd.matches import Match, Name, PhotoFace, any_date, any_other_person
from facewatchd.text import counted, printable

if TYPE_CHECKING:
    from pathlib import Path

    from facewatchd.pictures.sheet import Fetch, Portrait, Question

_MOST_NAMED = 3
"""People and photos that a title names."""
_ORDERS = {"date": "oldest first", "-date": "newest first", "path": "by path"}


def check(options: argparse.Namespace) -> None:
    """Make a path of ``options.sheet``, if given. Raises `UsageError` where no sheet could be written to it."""
    if options.sheet is None:
        return
    from pathlib import Path

    from facewatchd.pictures import target

    options.sheet = Path(local_path(options.sheet))
    target.check(options.sheet, query_photos(options))


def query_photos(options: argparse.Namespace) -> list[str | int]:
    """Return the photos that a question names: paths, or a descriptor."""
    photos = [who.photo for each in (options.who, options.with_, options.without) for who in each if who.photo]
    return [0 if photo == STDIN else photo for photo in photos]


def draw_faces(options: argparse.Namespace, photo: QueryPhoto, faces: Sequence[PhotoFace]) -> Path:
    """Draw the photo with its faces' numbers and names, and return the file."""
    from facewatchd.pictures import labelled, source

    target, mode = _place(options, _name_of_photo(photo), ".png")
    drawn = [labelled.Labelled(face.box, number, _label(face.who)) for number, face in enumerate(faces)]
    labelled.write(target, source.Source(os.fsencode(photo.path), photo.data), drawn, mode=mode)
    return target


def _label(who: Name | None) -> str:
    """The name beside a face; a question mark stands behind one that is to be looked at."""
    if who is None:
        return ""
    doubtful = not who.confirmed and who.verdict == "look"
    return who.name + ("?" if who.name and doubtful else "")


def draw_sheet(options: argparse.Namespace, answer: Answer) -> Path:
    """Draw the faces that were asked for and the matches, and return the file of the first page."""
    from facewatchd.pictures import sheet

    root = sheet.shared_directory(answer.matches)
    named = any_other_person(answer.matches, answer.asked_names)
    dated = asks_for_dates(options) or any_date(answer.matches)
    notes = _notes_of_faces(options, answer)
    tiles = [
        sheet.match_tile(match, root, named=named, dated=dated, note=notes.get(match.of, ""))
        for match in answer.matches
    ]
    question = _question(options, answer, root)
    suffix = ".png" if len(sheet.layout(question, tiles).pages) == 1 else ".pdf"
    target, mode = _place(options, question.title, suffix)
    shows_progress = not options.quiet and takes_drawing(sys.stderr)
    written = sheet.write(target, question, tiles, _fetch(options), progress if shows_progress else None, mode=mode)
    if not options.quiet and len(written.files) > 1:
        first, last = (printable(str(file)) for file in (written.files[0], written.files[-1]))
        say(f"{counted(len(written.files), 'page')}: {first} to {last}; a .pdf holds them in one file")
    if written.left_out and not options.quiet:
        say(f"{last_of(written.left_out)} would not fit: ask for fewer with --top, or for a .pdf")
    return target


def _place(options: argparse.Namespace, title: str, suffix: str) -> tuple[Path, int]:
    """Return the file to draw to, and its permissions."""
    from facewatchd.client import opening
    from facewatchd.pictures import target

    if options.sheet is not None:
        return options.sheet, target.USUAL_MODE
    return opening.private_file(title, suffix), opening.PRIVATE


def _question(options: argparse.Namespace, answer: Answer, root: bytes) -> Question:
    """Return what was asked, as the sheet tells it."""
    import datetime

    from facewatchd.pictures import sheet

    day = datetime.datetime.now().astimezone().date().isoformat()
    where = f"{'in' if _is_one_directory(answer.matches) else 'below'} {_short_directory(root)}" if root else ""
    lines = (
        " · ".join(restrictions(options, answer)),
        " · ".join(filter(None, (*found(options, answer), where, machines.numbers(answer.matches)))),
        " · ".join(filter(None, (expected_wrong(answer), f"asked on {day}"))),
    )
    portraits = [*_portraits(options, answer.query, "")]
    portraits += _portraits(options, answer.others.get("with", ()), "with")
    return sheet.Question(title(answer), lines, tuple(portraits), day)


def title(answer: Answer) -> str:
    """Name those who are asked for."""
    names = list(dict.fromkeys(name_of(entry) for entry in answer.query))
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def found(options: argparse.Namespace, answer: Answer) -> Iterator[str]:
    """Word how many photos were found, and their order."""
    shown, total = len(answer.matches), counted(answer.total, "photo")
    if not shown:
        yield "no photo found"
        return
    yield f"{shown} of {total}" if shown < answer.total else total
    if shown > 1:
        yield _ORDERS.get(options.sort, "most alike first")


def restrictions(options: argparse.Namespace, answer: Answer) -> Iterator[str]:
    """Word what else is asked for."""
    for word in ("with", "without"):
        yield from (f"{word} {name_of(entry)}" for entry in answer.others.get(word, ()))
    if options.only:
        yield "nobody else"
    if options.faces:
        fewest, most = options.faces
        number = f"{fewest}" if fewest == most else f"{fewest} or more" if most is None else f"{fewest} to {most}"
        yield f"{number} {'face' if number == '1' else 'faces'}"
    if options.since:
        yield f"since {options.since}"
    if options.until:
        yield f"until {options.until}"
    if options.min_size:
        yield f"from {options.min_size} pixels"
    if options.new:
        yield f"new for {options.new}"


def _name_of(who: Who) -> str:
    if who.photo is None:
        return who.person or who.text
    return "a photo" if who.photo == STDIN else os.path.basename(who.text)


def _name_of_photo(photo: QueryPhoto) -> str:
    return "a photo" if photo.argument == STDIN else os.path.basename(photo.argument)


def name_of(entry: QueryEntry) -> str:
    """Name a person, or a photo without its directory."""
    return entry.name if isinstance(entry, QueryPerson) else _name_of(entry.asked.who)


def _is_one_directory(matches: Sequence[Match]) -> bool:
    return len({os.path.dirname(match.path) for match in matches if not match.host}) == 1


def _short_directory(directory: bytes) -> str:
    """Return a directory, with ~ for the user's own."""
    text, home = os.fsdecode(directory), os.path.expanduser("~").rstrip("/")
    return f"~{text.removeprefix(home)}" if home and (text == home or text.startswith(f"{home}/")) else text


def _notes_of_faces(options: argparse.Namespace, answer: Answer) -> dict[int | None, str]:
    """With ``--face all``, by the index of a query face which one it is."""
    labels = _labels(options, answer.query)
    return {position: f"face {label}" for position, label in labels.items()}


def _labels(options: argparse.Namespace, entries: Sequence[QueryEntry]) -> dict[int | None, str]:
    if options.face != "all" or len(entries) < 2:
        return {}
    numbers = {at: entry.number for at, entry in enumerate(entries) if isinstance(entry, QueryFace)}
    return {at: str(number) for at, number in numbers.items() if number is not None}


def _portraits(options: argparse.Namespace, entries: Sequence[QueryEntry], label: str) -> Iterator[Portrait]:
    """The faces that are asked for: of a person, and of a group, the clearest one."""
    from facewatchd.pictures.sheet import Portrait
    from facewatchd.pictures.source import Source

    labels = _labels(options, entries)
    for position, entry in enumerate(entries):
        text = label or labels.get(position, "")
        if isinstance(entry, (QueryPerson, QueryGroup)):
            if (face_id := clearest_face(options, entry)) is not None:
                yield Portrait(face_id=face_id, label=text)
        elif isinstance(entry, QueryFace) and not entry.left_out:
            if (photo := entry.asked.photo) is not None:
                yield Portrait(Source(os.fsencode(photo.path), photo.data), entry.box, label=text)
            else:
                yield Portrait(face_id=entry.asked.who.face_id, label=text)


def clearest_face(options: argparse.Namespace, entry: QueryPerson | QueryGroup) -> int | None:
    """Return the clearest face of a person, or of a group; None where none is known."""
    try:
        with Connection(options.socket) as daemon:
            if isinstance(entry, QueryPerson):
                return _face_id(daemon.call("person", name=entry.name, limit=1)["best"])
            return _face_id(daemon.call("group", id=entry.asked.who.group, limit=1)["faces"][0]["face_id"])
    except (FacewatchError, LookupError, TypeError):  # of an earlier version; the sheet has no face there
        return None


def _face_id(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _fetch(options: argparse.Namespace) -> Fetch:
    """Return how a face is had from the daemon, by several threads at once: a JPEG, or None where it has none."""

    def fetch(face_id: int, side: int) -> bytes | None:
        try:
            with Connection(options.socket) as daemon:
                return binascii.a2b_base64(daemon.call("thumbnail", face_id=face_id, size=side)["jpeg"])
        except (FacewatchError, AttributeError, LookupError, TypeError, ValueError):
            return None

    return fetch


def last_of(matches: int) -> str:
    """Word the matches at the end that are left out."""
    return "the last match" if matches == 1 else f"the last {matches} matches"


def progress(done: int, total: int) -> None:
    """Write how much is drawn; at the end the line is gone."""
    sys.stderr.write(f"\rdrawing {done}/{total}" if done < total else "\r\x1b[K")
    sys.stderr.flush()
