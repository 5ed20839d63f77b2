"""What an album says of an answer as a whole, and of each match, beside what a sheet says too."""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Iterator, Sequence

from facewatchd import __version__
from facewatchd.client import drawing, machines
from facewatchd.client.answer import Answer, QueryEntry, QueryFace, QueryGroup, QueryPerson
from facewatchd.matches import Match
from facewatchd.text import counted, printable


def title(options: argparse.Namespace, answer: Answer) -> str:
    """Return the heading: who is asked for."""
    text = printable(drawing.title(answer))
    if any(entry.asked.photo is None for entry in answer.query):
        return text
    return f"The {'people' if options.face == 'all' and len(answer.query) > 1 else 'person'} on {text}"


def leads(options: argparse.Namespace, answer: Answer) -> tuple[str, ...]:
    """Return what else is asked for, and how many photos there are in which order: a line each."""
    found = (*drawing.found(options, answer), *filter(None, [machines.numbers(answer.matches)]))
    lines = (drawing.restrictions(options, answer), found)
    return tuple(printable(text) for text in (" · ".join(line) for line in lines) if text)


def about(answer: Answer) -> str:
    """Return how the answer came to be."""
    faces, shared = answer.faces, answer.shared
    searched = counted(faces, "face") if shared is None else machines.searched(faces, shared)
    today = datetime.datetime.now().astimezone().date().isoformat()
    return (
        f"facewatch-query {__version__}, {today}. Model {printable(answer.model)}, threshold {answer.threshold:.3g}, "
        f"{searched} searched."
    )


def face(entry: QueryEntry) -> tuple[str, str]:
    """Return the name of a face that was asked for, and what is to be known of it."""
    words = []
    if isinstance(entry, QueryPerson):
        words.append(counted(entry.references, "reference"))
    elif isinstance(entry, QueryGroup):
        words.append(counted(entry.faces, "face"))
    elif isinstance(entry, QueryFace):
        if entry.number is not None and entry.faces > 1:
            words.append(f"face {entry.number} of 0 to {entry.faces - 1}")
        words += [printable(entry.quality)] if entry.quality else []
    return printable(drawing.name_of(entry)), ", ".join(words)


def people(answer: Answer) -> tuple[str, ...]:
    """Return the name of the person that is asked for, then of those of --with; empty for one that has none."""
    entries = [*answer.query[:1], *answer.others.get("with", ())]
    return tuple(entry.name if isinstance(entry, QueryPerson) else "" for entry in entries)


def remarks(options: argparse.Namespace, match: Match, names: Sequence[str], *, named: bool) -> Iterator[str]:
    """Say of a match what its verdict and date do not. ``names``: as `people`. ``named``: also other people's names."""
    if match.itself:
        yield "the query photo"
    for number, term in enumerate(match.terms):
        name = names[number] if number < len(names) else ""
        similarity = "no face found" if term.similarity is None else f"{term.similarity:.3f}"
        yield f"{name or f'person {number + 1}'}: {similarity}"
    if named and match.person and not match.terms:
        yield match.person
    if options.face == "all":
        numbers = [str(of) for of in (match.of, *(also.of for also in match.also)) if of is not None]
        yield f"face {', '.join(numbers)}"
    if options.explain:
        yield from match.reasons
