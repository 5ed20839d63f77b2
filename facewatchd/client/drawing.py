"""The pictures that ``--sheet`` asks for. Pillow and numpy are imported when one is drawn."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from facewatchd.client.answer import Answer, QueryEntry, QueryFace, QueryPerson, path_of, reading_answer
from facewatchd.client.connection import Connection
from facewatchd.client.query import STDIN, QueryPhoto, local_path
from facewatchd.client.report import asks_for_dates
from facewatchd.console.streams import say, takes_drawing
from facewatchd.matches import Box, Match, Name, PhotoFace, any_date, any_other_person
from facewatchd.text import printable

if TYPE_CHECKING:
    from facewatchd.pictures.sheet import Tile


def check(options: argparse.Namespace) -> None:
    """Make a path of ``options.sheet``. Raises `UsageError` where no picture could be written to it."""
    from pathlib import Path

    from facewatchd.pictures import target

    options.sheet = Path(local_path(options.sheet))
    photos = [who.photo for each in (options.who, options.with_, options.without) for who in each if who.photo]
    target.check(options.sheet, [0 if photo == STDIN else photo for photo in photos])


def draw_faces(options: argparse.Namespace, photo: QueryPhoto, faces: Sequence[PhotoFace]) -> None:
    """Draw the photo with its faces' numbers and names."""
    from facewatchd.pictures import labelled, source

    drawn = [labelled.Labelled(face.box, number, _label(face.who)) for number, face in enumerate(faces)]
    labelled.write(options.sheet, source.Source(os.fsencode(photo.path), photo.data), drawn)


def _label(who: Name | None) -> str:
    """The name beside a face; a question mark stands behind one that is to be looked at."""
    if who is None:
        return ""
    doubtful = not who.confirmed and who.verdict == "look"
    return who.name + ("?" if who.name and doubtful else "")


def draw_sheet(options: argparse.Namespace, answer: Answer) -> None:
    """Draw the faces that were asked for, then the matches."""
    from facewatchd.pictures import sheet

    tiles = list(_asked(options, answer, answer.query, "query"))
    tiles += _asked(options, answer, answer.others.get("with", ()), "with")
    named, dated = any_other_person(answer.matches, answer.asked_names), asks_for_dates(options)
    dated = dated or any_date(answer.matches)
    tiles += [sheet.match_tile(match, named=named, dated=dated) for match in answer.matches]
    shows_progress = not options.quiet and takes_drawing(sys.stderr)
    left_out = sheet.write(options.sheet, tiles, _progress if shows_progress else None)
    if left_out and not options.quiet:
        say(f"{printable(str(options.sheet))} leaves out {_last(left_out)}; ask for fewer with --top")


def _asked(options: argparse.Namespace, answer: Answer, entries: Sequence[QueryEntry], heading: str) -> Iterator[Tile]:
    """The tiles of the people who are asked for; none where no photo is known that shows it."""
    from facewatchd.pictures import sheet

    for entry in entries:
        if isinstance(entry, QueryPerson):
            for path, box in _best_reference(options, entry.name):
                yield sheet.query_tile(os.fsdecode(path), None, os.fsdecode(path), box, f"{heading}: {entry.name}")
        elif isinstance(entry, QueryFace) and not entry.left_out:
            if (photo := entry.asked.photo) is not None:
                yield sheet.query_tile(photo.path, photo.data, photo.name, entry.box, heading)
            elif (own := _photo_of(answer, entry.asked.who.face_id)) is not None:
                yield sheet.query_tile(os.fsdecode(own), None, os.fsdecode(own), entry.box, heading)


def _photo_of(answer: Answer, face_id: int | None) -> bytes | None:
    """The photo that a face by its id is on: it is the first of the matches, unless it was not wanted."""
    return next((match.path for match in answer.matches if face_id in _face_ids(match)), None)


def _face_ids(match: Match) -> list[int | None]:
    return [match.face_id, *(term.face_id for term in match.terms)]


def _best_reference(options: argparse.Namespace, name: str) -> list[tuple[bytes, Box]]:
    """The largest face that was said to be a person, with a photo that it is on; none where there is no such face."""
    with Connection(options.socket) as daemon:
        document: Any = daemon.call("person", name=name)
    with reading_answer():
        faces = [
            (path_of(statement["paths"][0]), Box(*map(int, statement["box"])))
            for statement in document["statements"]
            if statement["is"] and statement["face_id"] is not None and statement["paths"] and statement["box"]
        ]
    return [max(faces, key=lambda face: face[1].w * face[1].h)] if faces else []


def _last(matches: int) -> str:
    return "the last match" if matches == 1 else f"the last {matches} matches"


def _progress(done: int, total: int) -> None:
    sys.stderr.write(f"\rdrawing {done}/{total}" if done < total else "\r\x1b[K")
    sys.stderr.flush()
