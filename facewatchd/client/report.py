"""An answer as ``facewatch-query`` prints it: results on standard output, remarks on standard error."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Iterator, Sequence

from facewatchd.client import machines
from facewatchd.client.answer import CHILD, Answer, Faceless, QueryEntry, QueryFace, QueryGroup, QueryPerson, Undecided
from facewatchd.client.who import Who
from facewatchd.console import output
from facewatchd.console.streams import on_terminal, say, takes_colour, write, write_json
from facewatchd.matches import TOO_BLURRED, Match
from facewatchd.text import counted, printable

_HEADING = 16
"""Characters of a column's heading that is a name."""
_MOST_NAMED = 3
"""Photos that are named in a line about several."""


def print_answer(options: argparse.Namespace, answer: Answer, *, late: bool) -> bool:
    """Print the results and the remarks; False where nobody reads the results.

    ``late``: the caller reports an incomplete answer itself, as an error.
    """
    chatty = not options.quiet and (options.verbose or (on_terminal() and not options.json))
    doubtful = not (options.quiet or options.json)
    _say_asked(options, answer, chatty=chatty, doubtful=doubtful)
    is_read = _print_matches(options, answer)
    if (chatty or options.explain) and not options.quiet and not options.json:
        for line in _expected_false(answer, explain=options.explain):
            say(line)
    if doubtful and answer.undecided is not None and answer.undecided.number:
        say(_undecided(answer.undecided, strict=options.strict))
    if chatty:
        say(_summary(answer, verbose=options.verbose))
    elif answer.total > len(answer.matches) and doubtful:
        say(_shown(answer))
    if doubtful and leaves_hosts_out(options) and (number := sum(bool(match.host) for match in answer.matches)):
        say(f"{counted(number, 'photo')} on other machines left out; --hosts prints their names as host:/path")
    if not options.quiet and (chatty or not options.json):
        for line in _why_incomplete(answer, late=late):
            say(line)
    return is_read


def _say_asked(options: argparse.Namespace, answer: Answer, *, chatty: bool, doubtful: bool) -> None:
    """Write which faces were asked for; ``doubtful``: only those that may be of any person, and who is not known."""
    for number, entry in enumerate(answer.query):
        if chatty or (doubtful and isinstance(entry, QueryFace) and TOO_BLURRED in entry.quality):
            say(_entry_line(f"query {number}" if options.face == "all" else "query", entry))
    for name, entries in answer.others.items() if chatty else ():
        for entry in entries:
            say(_entry_line(name, entry))
    for entry in (*answer.query, *(each for entries in answer.others.values() for each in entries)) if doubtful else ():
        if isinstance(entry, QueryPerson) and not entry.references and not entry.photos:
            say(f"no face of {printable(entry.name)} is known now: see facewatchd people show {printable(entry.name)}")


def _print_matches(options: argparse.Namespace, answer: Answer) -> bool:
    if options.json:
        return write_json(answer.document)
    return write(as_text(options, answer, answer.matches))


def as_text(options: argparse.Namespace, answer: Answer, matches: Sequence[Match]) -> str | bytes:
    """Return matches of an answer, or that came after it, as the options ask for them without ``--json``."""
    if leaves_hosts_out(options):
        matches = [match for match in matches if not match.host]
    if options.print0:
        return output.path_lines(matches, b"\0")
    if options.paths:
        return output.path_list(matches) if on_terminal() else output.path_lines(matches, b"\n")
    if shows_table(options):
        return output.match_table(matches, _columns(options, answer), colour=takes_colour(sys.stdout))
    return output.match_lines(matches)


def leaves_hosts_out(options: argparse.Namespace) -> bool:
    """Whether only photos of this machine are printed: a program that is given paths must find files there."""
    return bool((options.paths or options.print0) and not options.hosts)


def _columns(options: argparse.Namespace, answer: Answer) -> output.Shown:
    first, *more = options.who
    others = [_short(who) for who in options.with_]
    return output.Shown(
        which=options.face == "all",
        reasons=options.explain,
        dates=asks_for_dates(options),
        terms=[_short(first) + (f"+{len(more)}" if more else ""), *others] if others else [],
        asked=answer.asked_names,
    )


def asks_for_dates(options: argparse.Namespace) -> bool:
    """Whether the question is about dates."""
    return bool(options.since or options.until or "date" in (options.sort or ""))


def _short(who: Who) -> str:
    """Return the heading of a person's column: a name, or a photo's without its directory."""
    text = printable(os.path.basename(who.text) or who.text)
    return text if len(text) <= _HEADING else f"{text[: _HEADING - 1]}…"


def shows_table(options: argparse.Namespace) -> bool:
    """Whether the matches are printed as a table, in which each has its verdict."""
    return on_terminal() and not (options.json or options.paths or options.print0)


def remarks(options: argparse.Namespace, answer: Answer) -> list[str]:
    """Return what is to be known of an answer as a whole, as lines of text."""
    lines = []
    for entry in (*answer.query, *(each for entries in answer.others.values() for each in entries)):
        if isinstance(entry, Faceless):
            lines.append(f"no face on {printable(entry.asked.name)}, which is left out")
        elif isinstance(entry, QueryFace) and TOO_BLURRED in entry.quality:
            end = "it is left out" if entry.left_out else "the matches may be of any person"
            lines.append(f"{_which_face(entry)} is {printable(entry.quality)}: {end}")
    lines += _expected_false(answer, explain=options.explain)
    if answer.undecided is not None and answer.undecided.number:
        lines.append(_undecided(answer.undecided, strict=options.strict))
    lines += _why_incomplete(answer, late=False)
    return lines


def _expected_false(answer: Answer, *, explain: bool) -> Iterator[str]:
    """Word how many of the matches are expected to show somebody else, where that can be told or was asked for."""
    if all(match.itself or match.confirmed for match in answer.matches):
        return
    asked = any(isinstance(face, QueryFace) and face.child for face in answer.query)
    if asked or any(CHILD in match.reasons for match in answer.matches):
        yield "small children look alike to the model: at its threshold about one pair in three matches"
    if text := expected_wrong(answer):
        yield text
    elif answer.expected_false is not None and explain:
        yield "how many of them are somebody else cannot be told: too few other faces are known"


def expected_wrong(answer: Answer) -> str:
    """Word how many of the matches are to be expected wrong; empty where that cannot be told, or the user said it."""
    expected = answer.expected_false
    if expected is None or expected.number is None or all(match.itself or match.confirmed for match in answer.matches):
        return ""
    return worded_wrong(len(answer.matches), expected.number, at_most=expected.at_most)


def worded_wrong(shown: int, number: float, *, at_most: bool) -> str:
    """Word an expected number, rounded; a bound is rounded up, from a tenth on."""
    wrong = min(math.ceil(number - 0.1) if at_most else round(number), shown)
    if not wrong:
        return "probably none of them is somebody else" if shown > 1 else "it is probably the same person"
    if shown == 1:
        return "it may well be somebody else"
    are = "is" if wrong == 1 else "are"
    return f"{'up to' if at_most else 'about'} {wrong} of these {shown} {are} somebody else"


def _entry_line(query: str, entry: QueryEntry) -> str:
    """Word what was searched for."""
    if isinstance(entry, Faceless):
        return f"{query}: no face on {printable(entry.asked.name)}, which is left out"
    if isinstance(entry, QueryPerson):
        return f"{query}: {printable(entry.name)}, {counted(entry.references, 'reference')}"
    if isinstance(entry, QueryGroup):
        return f"{query}: {printable(entry.asked.name)}, {counted(entry.faces, 'unknown face')}"
    words = f", {printable(entry.quality)}" if entry.quality else ""
    if entry.left_out:
        words += ", which is left out"
    elif TOO_BLURRED in entry.quality:
        words += ": the matches may be of any person"
    return f"{query}: {_which_face(entry)} at {output.size_and_place(entry.box)}, score {entry.score:.2f}{words}"


def _which_face(face: QueryFace) -> str:
    name = printable(face.asked.name)
    if face.number is None:
        return name
    if face.faces == 1:
        return f"the one face on {name}"
    return f"face {face.number} (of 0 to {face.faces - 1}, left to right) on {name}"


def _undecided(undecided: Undecided, *, strict: bool) -> str:
    """Word which photos have a face that is too poor to tell."""
    names = ", ".join(map(printable, undecided.paths[:_MOST_NAMED]))
    rest = undecided.number - min(len(undecided.paths), _MOST_NAMED)
    names += f" and {rest} more" if rest else ""
    photos = counted(undecided.number, "photo")
    start, end = ("left out", "") if strict else ("undecided", " (--strict leaves them out)")
    return f"{start}: a face is too poor to tell on {photos}{end}: {names}"


def _summary(answer: Answer, *, verbose: bool) -> str:
    if answer.shared is None:
        searched = f"{counted(answer.faces, 'face')} searched, {answer.pending} pending"
    else:
        searched = machines.searched(answer.faces, answer.shared)
    text = f"{_shown(answer)}; {searched}, {answer.elapsed_ms:.0f} ms"
    if verbose:
        way = "every face compared" if answer.exact else "by the index"
        text += f"; model {printable(answer.model)}, threshold {answer.threshold:.3g}, {way}"
    return text


def _shown(answer: Answer) -> str:
    at_least = "at least " if answer.shared is not None and answer.shared.cut else ""
    text = f"{len(answer.matches)} of {at_least}{counted(answer.total, 'photo')}"
    return f"{text}; -n 0 shows all" if answer.total > len(answer.matches) else text


def _why_incomplete(answer: Answer, *, late: bool) -> Iterator[str]:
    """Word what was not searched: on this machine (``late``: the caller says it), and on others."""
    missing = unread(answer)
    lacks = machines.lacks_photos(answer) and not late
    if lacks and missing:
        them = "it" if answer.pending + answer.undated == 1 else "them"
        yield f"not complete: {missing}; --wait waits for {them}"
    elif lacks:
        yield "not complete: a directory is out of reach, or only looked at now and then; see: facewatchd status"
    if answer.shared is not None and (text := machines.not_searched(answer.shared)):
        yield text


def unread(answer: Answer) -> str:
    """Word what the daemon has still to read; empty where that is nothing."""
    if not answer.undated:
        return f"{pending_photos(answer.pending)} not searchable yet" if answer.pending else ""
    dates, one = ("the date", "is") if answer.undated == 1 else ("the dates", "are")
    text = f"{dates} of {counted(answer.undated, 'photo')} {one} still to be read"
    return f"{pending_photos(answer.pending)} not searchable yet, and {text}" if answer.pending else text


def pending_photos(photos: int) -> str:
    """Word a number as the subject of a sentence: ``1 photo is``, ``2 photos are``."""
    return f"{counted(photos, 'photo')} {'is' if photos == 1 else 'are'}"
