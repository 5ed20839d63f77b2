"""``facewatchd people``: the people with names, the faces of each, and taking statements back.

What changed is one line a person on standard output. A face that would be a poor reference is left out of it; that is
said on standard error, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from facewatchd.client.answer import path_of, reading_answer
from facewatchd.client.connection import DEFAULT_TIMEOUT, Connection
from facewatchd.client.query import STDIN, ask
from facewatchd.client.who import Asked, Who, read_who
from facewatchd.console.arguments import Parser, read_date
from facewatchd.console.output import size_and_place, tab_separated, table
from facewatchd.console.streams import agrees, is_attended, on_terminal, say, takes_colour, write, write_json
from facewatchd.errors import FacewatchError, UsageError
from facewatchd.matches import Box
from facewatchd.text import counted, printable

FAILED = 1
FEW = 3
"""People who are named in a line about several."""


def add_options(name: str, parser: Parser) -> None:
    """Add the arguments of one of the commands."""
    add = parser.add_argument
    if name in ("add", "not", "describe", "forget", "rename", "merge", "show"):
        add("name", metavar="NAME", type=person_name, help="the person, with or without '@'")
    if name in ("add", "not", "ignore"):
        _add_faces(name, parser)
    if name == "describe":
        _add_description(parser)
    if name == "rename":
        add("new", metavar="NEW", type=person_name, help="the name from now on")
    if name == "merge":
        add("into", metavar="INTO", type=person_name, help="the name of the same person that stays")
    if name == "forget":
        add("--yes", action="store_true", help="do not ask")
    add("--json", action="store_true", help="print one JSON document")


def _add_faces(name: str, parser: Parser) -> None:
    parser.add_argument(
        "who", metavar="WHO", nargs="+", help="a photo, PHOTO#N (its Nth face), face:ID, group:ID or '-'"
    )
    parser.words["WHO"] = "a photo, PHOTO#N, face:ID or group:ID"
    if name == "ignore":
        text = "bring them back: they are ignored no more, with a group all of it"
        parser.add_argument("--not", dest="back", action="store_true", help=text)
        parser.set_defaults(whole=False, box=None)
        return
    if name == "add":
        text = "take faces that would be poor references as well"
        parser.add_argument("--anyway", action="store_true", help=text)
    where = parser.add_mutually_exclusive_group()
    text = "where on the one photo the face is, if it was not found"
    where.add_argument("--box", metavar="X,Y,W,H", type=_box, help=text)
    text = f"say that the person is {'' if name == 'add' else 'not '}on the photos, whatever faces they have"
    where.add_argument("--whole", action="store_true", help=text)


def _add_description(parser: Parser) -> None:
    text = "the year, month or day of birth, such as 2019, 2019-06 or 2019-06-30"
    parser.add_argument("--born", metavar="DATE|none", type=_born, help=text)
    shown = parser.add_mutually_exclusive_group()
    text = "name no face after this person; questions for @NAME are answered"
    shown.add_argument("--hide", dest="hidden", action="store_true", default=None, help=text)
    shown.add_argument("--show", dest="hidden", action="store_false", default=None, help="name faces again")


def person_name(text: str) -> str:
    """Read a name, which may be written as in a question."""
    name = text.removeprefix("@").strip()
    if not name:
        raise argparse.ArgumentTypeError(f"{text!r} is no name")
    if any("\ud800" <= character <= "\udfff" for character in name):
        raise argparse.ArgumentTypeError(f"{text!r} is no name in UTF-8")
    return name


def _born(text: str) -> str:
    return text if text == "none" else read_date(text)


def _box(text: str) -> list[int]:
    """Read a box, written as in a pipe, or as in a table: ``10,20 80x90``."""
    numbers = re.split("[, x]", text)
    if len(numbers) != 4 or not all(each.isascii() and each.isdigit() and len(each) < 10 for each in numbers):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a box of four numbers: left, top, width and height in pixels"
        )
    box = [int(each) for each in numbers]
    if not box[2] or not box[3]:
        raise argparse.ArgumentTypeError(f"the box {text!r} is empty")
    return box


# Who there is


def list_people(options: argparse.Namespace) -> int:
    """Print the people, each with its references, and the photos on which it was confirmed.

    In a pipe, where one of them was said, the date of birth and ``hidden`` are two more fields.
    """
    document = _call(options, "people")
    if options.json:
        write_json(document)
        return 0
    with reading_answer():
        people = list(document["people"])
        rows = [(str(each["name"]), f"{each['references']:d}", f"{each['photos']:d}") for each in people]
        away = [str(each["name"]) for each in people if each["unplaced"] and not each["references"]]
        notes = [_in_brackets((*_described(each), *_away(int(each["unplaced"])))) for each in people]
    if on_terminal():
        cells = [
            (printable(name), references, photos + note)
            for (name, references, photos), note in zip(rows, notes, strict=True)
        ]
        write(table(("PERSON", "REFERENCES", "PHOTOS"), cells, colour=takes_colour(sys.stdout)))
    else:
        write(b"".join(tab_separated(*row, *_described_fields(each)) for row, each in zip(rows, people, strict=True)))
    if away:
        few = ", ".join(map(printable, away[:FEW])) + (f" and {len(away) - FEW} more" if away[FEW:] else "")
        say(f"facewatchd: no face of {few} is found now: wait until the photos are indexed, or add one again")
    if not rows and on_terminal():
        say("no person has a name; to give one: facewatchd people add NAME PHOTO")
    return 0


def _described(item: Any) -> tuple[str, ...]:
    """When a person was born, and whether the person is hidden; each only where it was said."""
    born = () if item["born"] is None else (f"born {item['born']}",)
    return (*born, "hidden") if item["hidden"] else born


def _described_fields(item: Any) -> tuple[str, ...]:
    fields = (item["born"] or "", "hidden" if item["hidden"] else "")
    return fields if any(fields) else ()


def _in_brackets(notes: Sequence[str]) -> str:
    return f"  ({', '.join(map(printable, notes))})" if notes else ""


def _away(statements: int) -> tuple[str, ...]:
    return (f"{counted(statements, 'face')} not found now",) if statements else ()


def show(options: argparse.Namespace) -> int:
    """Print what was said of one person."""
    pages = list(_pages(options))
    with reading_answer():
        statements = [statement for page in pages for statement in page["statements"]]
        said = [_Statement.of(each) for each in statements]
        document = {name: value for name, value in pages[0].items() if name != "next"} | {"statements": statements}
        if options.json:
            write_json(document)
        elif on_terminal():
            references = counted(int(document["references"]), "reference")
            photos = counted(int(document["photos"]), "photo")
            parts = (f"{printable(document['name'])}: {references}", f"confirmed on {photos}", *_described(document))
            write(f"{', '.join(parts)}\n")
            rows = [each.row() for each in said]
            write(table(("FACE", "BOX", "SAID BY", "ON", "PATH"), rows, colour=takes_colour(sys.stdout)))
        else:
            write(b"".join(each.line() for each in said))
    return 0


def _pages(options: argparse.Namespace) -> Iterator[Any]:
    after: object = None
    while True:
        page = _call(options, "person", name=options.name, **({} if after is None else {"after": after}))
        yield page
        with reading_answer():
            after = page["next"]
        if after is None:
            return


class _Statement(NamedTuple):
    """What was said, as it is printed."""

    says: str
    box: Box | None
    is_of_face: bool
    """Whether it is about one face; else about the whole photo."""
    source: str
    day: str
    path: bytes
    """Empty where there is no photo now."""
    note: str
    """What is amiss with it."""

    @classmethod
    def of(cls, item: Any) -> _Statement:
        paths = [path_of(path) for path in item["paths"]]
        note = "" if item["placed"] else "no face found there now"
        return cls(
            "is" if item["is"] else "is not",
            None if item["box"] is None else Box(*map(int, item["box"])),
            item["relative_box"] is not None,
            str(item["source"]),
            time.strftime("%Y-%m-%d", time.localtime(float(item["at"]))),
            paths[0] if paths else b"",
            note if paths else f"no photo now, b2sum -l 256: {item['digest'][:12]}",
        )

    def row(self) -> list[str]:
        """For a terminal."""
        box = "" if self.box is None else size_and_place(self.box)
        where = printable(self.path) + _in_brackets([self.note] if self.note else [])
        cells = [self.says, box if self.is_of_face else "whole photo", printable(self.source), self.day]
        return [*cells, where.lstrip()]

    def line(self) -> bytes:
        """For a pipe."""
        box = "" if self.box is None else ",".join(map(str, self.box))
        return tab_separated(self.says, box, self.source, self.day, self.path, *([self.note] if self.note else []))


# Saying


def add(options: argparse.Namespace) -> int:
    """Say that faces are a person, who is made when new."""
    return _assign(options, _added, **({"anyway": True} if options.anyway else {}))


def say_not(options: argparse.Namespace) -> int:
    """Say that faces are not a person, whatever they score."""
    return _assign(options, _excluded, **{"is": False})


def _assign(options: argparse.Namespace, words: Callable[[Any, tuple[str, str]], str], **params: Any) -> int:
    faces = [Asked(who) for who in _faces(options)]
    whole = {"face": "none"} if options.whole else {}
    if options.box:
        params["box"] = options.box
    photos = [asked.photo for asked in faces if asked.photo is not None]
    with Connection(options.socket, DEFAULT_TIMEOUT * len(faces)) as daemon:

        def call() -> Any:
            return daemon.call("assign", name=options.name, who=[asked.param() | whole for asked in faces], **params)

        result = ask(call, photos)
    with reading_answer():
        refused = [_refused(faces, each) for each in result["refused"]]
        line = words(result, _noun(faces, result["without_face"]))
        remarks = [_largest(faces, each, is_person=result["is"]) for each in result["largest"]]
        if not options.whole:
            remarks += [_without_face(result, faces[int(index)]) for index in result["without_face"]]
    _print(options, result, line)
    for remark in [*remarks, *refused]:
        say(f"facewatchd: {remark}")
    return FAILED if refused else 0


def _faces(options: argparse.Namespace) -> list[Who]:
    faces = [read_who(text) for text in options.who]
    for who in faces:
        if (options.whole or options.box) and (who.photo is None or who.face is not None):
            raise UsageError(
                f"{who.text} is no whole photo", f"{'--whole' if options.whole else '--box'} goes with photos alone"
            )
        if who.person is not None:
            raise UsageError(f"{who.text} is a person, and no face", "name a photo, PHOTO#N or face:ID")
    if options.box and len(faces) > 1:
        raise UsageError("--box is of one photo", "name each photo with its box in a call of its own")
    if sum(who.photo == STDIN for who in faces) > 1:
        raise UsageError("standard input holds one photo", "give '-' once")
    return faces


def _noun(faces: Sequence[Asked], without_face: Sequence[Any]) -> tuple[str, str]:
    """Return the word for one and for several of what was named: faces, or photos on which none was found."""
    if not without_face:
        return "face", "faces"
    return ("photo", "photos") if len(without_face) == len(faces) else ("face or photo", "faces and photos")


def _added(result: Any, noun: tuple[str, str]) -> str:
    said = int(result["said"])
    parts = [f"{counted(said, *noun)} added" if said or result["new"] else f"no {noun[0]} added"]
    if result["known"]:
        parts.append(f"{int(result['known'])} known already")
    if result["moved"]:
        parts.append(f"taken from {', '.join(map(printable, result['moved']))}")
    return f"{printable(result['name'])}{' is new' if result['new'] else ''}: {', '.join(parts)}"


def _excluded(result: Any, noun: tuple[str, str]) -> str:
    name = printable(result["name"])
    known = f", {int(result['known'])} known already" if result["known"] else ""
    verb = "show" if noun[0] == "photo" else "be"
    return f"{name}: {counted(int(result['said']), *noun)} said not to {verb} {name}{known}"


def _largest(faces: Sequence[Asked], item: Any, *, is_person: bool) -> str:
    text = printable(faces[int(item["who"])].who.text)
    others = "" if is_person else "; --whole says it of them all"
    return f"{text} shows {int(item['faces'])} faces, and the largest was taken: {text}#{int(item['face'])}{others}"


def _refused(faces: Sequence[Asked], item: Any) -> str:
    face = "" if item["face"] is None else f", face {int(item['face'])}"
    name = printable(faces[int(item["who"])].name)
    return f"{name}{face} is left out: {printable(item['reason'])}; --anyway takes it"


def _without_face(result: Any, asked: Asked) -> str:
    name = printable(result["name"])
    is_on = "is on it" if result["is"] else "is not on it"
    return f"no face was found on {printable(asked.name)}: it is said that {name} {is_on}"


# Changing who there is


def rename(options: argparse.Namespace) -> int:
    """Give a person another name."""
    result = _call(options, "rename_person", name=options.name, new=options.new)
    with reading_answer():
        _print(options, result, f"{printable(result['before'])} is now {printable(result['name'])}")
    return 0


def describe(options: argparse.Namespace) -> int:
    """Say when a person was born, and whether the person is hidden."""
    params = {name: getattr(options, name) for name in ("born", "hidden") if getattr(options, name) is not None}
    if not params:
        raise UsageError("nothing is said of the person", "give --born DATE, --hide or --show")
    result = _call(options, "describe_person", name=options.name, **params)
    with reading_answer():
        words = (
            *(_described({**result, "hidden": False}) or ("no date of birth",)),
            "hidden" if result["hidden"] else "not hidden",
        )
        _print(options, result, f"{printable(result['name'])}: {', '.join(map(printable, words))}")
    return 0


def merge(options: argparse.Namespace) -> int:
    """Make one person of two."""
    result = _call(options, "merge_people", name=options.name, into=options.into)
    with reading_answer():
        of_both = counted(int(result["statements"]), "statement")
        _print(options, result, f"{printable(result['before'])} is now {printable(result['name'])}: {of_both}")
    return 0


def forget(options: argparse.Namespace) -> int:
    """Delete a person and all that was said of it, for good, and the sheets that ``facewatch-query --open`` drew."""
    from facewatchd.client import opening

    if not options.yes and is_attended() and not _agrees(_call(options, "person", name=options.name, limit=1)):
        say("facewatchd: nothing was changed")
        return FAILED
    result = _call(options, "forget_person", name=options.name)
    opening.remove_private()
    with reading_answer():
        backups = f" and {counted(int(result['backups']), 'backup')}" if result["backups"] else ""
        statements = counted(int(result["statements"]), "statement")
        _print(options, result, f"forgot {printable(result['name'])}: {statements}{backups} deleted")
    return 0


def _agrees(person: Any) -> bool:
    """Ask on a terminal whether a person, as the daemon describes it, is to be deleted."""
    with reading_answer():
        name = printable(person["name"])
    return agrees(f"delete {name}, all that was said of that person, and the backups with it?")


def undo(options: argparse.Namespace) -> int:
    """Take back the last change."""
    result = _call(options, "undo")
    with reading_answer():
        if result["action"] is None:
            if options.json:
                write_json(result)
            raise FacewatchError("there is nothing to take back", "what a person was before it was forgotten is gone")
        names = ", ".join(map(printable, result["names"]))
        statements = int(result["statements"])
        if result["action"] == "ignore":
            _print(options, result, f"took back that {counted(statements, 'face')} {_are(statements)} ignored")
            return 0
        if result["action"] == "bring back":
            _print(options, result, f"{counted(statements, 'face')} {_are(statements)} ignored again")
            return 0
        said = f"{counted(statements, 'statement')} about" if statements else _UNDONE["describe"]  # by an import
        what = _UNDONE.get(str(result["action"]), said)
        _print(options, result, f"took back {what} {names}")
    return 0


_UNDONE = {"rename": "the renaming of", "merge": "the merging of", "describe": "the description of"}


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def ignore(options: argparse.Namespace) -> int:
    """Say that faces are of people who do not matter, or matter again."""
    faces = [Asked(who) for who in _faces(options)]
    photos = [asked.photo for asked in faces if asked.photo is not None]
    with Connection(options.socket, DEFAULT_TIMEOUT * len(faces)) as daemon:
        more = {"is": False} if options.back else {}
        result = ask(lambda: daemon.call("ignore", who=[asked.param() for asked in faces], **more), photos)
    with reading_answer():
        said, known = int(result["said"]), int(result["known"])
        if options.back:
            before = f", {known} {'was' if known == 1 else 'were'} not ignored" if known else ""
            _print(options, result, f"{counted(said, 'face')} brought back{before}")
        else:
            before = f", {known} {_are(known)} already" if known else ""
            _print(options, result, f"{counted(said, 'face')} {_are(said)} ignored from now on{before}")
    return 0


def _print(options: argparse.Namespace, result: Any, line: str) -> None:
    if options.json:
        write_json(result)
    else:
        write(f"{line}\n")


def _call(options: argparse.Namespace, method: str, /, **params: Any) -> Any:
    with Connection(options.socket, DEFAULT_TIMEOUT) as daemon:
        return daemon.call(method, **params)
