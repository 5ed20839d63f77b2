"""The text of answers: tables for a terminal, plain lines and bytes for a pipe.

On a terminal no file name may act as a control sequence: control characters are written as ``\\x1b``, and bytes that
are not UTF-8 as ``\\xff``. In a pipe a path is its own bytes: raw where only paths are written (``-l``, ``-0``), and
with tab, newline, carriage return and backslash escaped as ``\\t \\n \\r \\\\`` in a tab-separated line, so that one
match is one line.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from facewatchd.matches import CONFIRMED, Box, Match, Name, PhotoFace, any_date, any_other_person
from facewatchd.text import counted, printable

_TSV_ESCAPES = ((b"\\", b"\\\\"), (b"\t", b"\\t"), (b"\n", b"\\n"), (b"\r", b"\\r"))

UNKNOWN = "unknown"
"""In the place of a name: nobody who has one."""
NOTHING = "-"
"""Where a person stands on a photo without a face."""

_BOLD = "1"
_BOLD_GREEN = "1;32"


def size_and_place(box: Box) -> str:
    """Word a box: ``10,20 80x90``."""
    return f"{box.x},{box.y} {box.w}x{box.h}"


class Shown(NamedTuple):
    """Which columns a table of matches has beside those that every one has."""

    which: bool = False
    """For the query faces that the matches are of."""
    reasons: bool = False
    """Why a match may be wrong: behind its path."""
    dates: bool = False
    """For dates, also where no photo says when it was taken."""
    terms: Sequence[str] = ()
    """With others who are to be on the photo: a heading for each person's similarity."""
    asked: Collection[str] = ()
    """Names that were asked for: a column with nothing but these says nothing."""


def match_table(matches: Sequence[Match], shown: Shown, *, colour: bool) -> str:
    """Return matches as a table, empty without any.

    Verdicts, dates and persons have a column where there are any. A date with ``~`` behind it is only that of the
    file's last modification; where there are only such, they have a column if ``shown`` asks for dates.
    """
    verdicts = any(match.verdict or match.confirmed for match in matches)
    dates = shown.dates or any_date(matches)
    persons = not shown.terms and any_other_person(matches, shown.asked)
    columns = [("SIMILARITY", [_similarity(match.similarity) for match in matches])]
    for position, heading in enumerate(shown.terms):
        columns.append((heading, [_term(match, position) for match in matches]))
    if verdicts:
        columns.append(("VERDICT", [CONFIRMED if match.confirmed else match.verdict for match in matches]))
    if dates:
        columns.append(("DATE", [match.day for match in matches]))
    columns.append(("BOX", [NOTHING if match.box is None else size_and_place(match.box) for match in matches]))
    if shown.which:
        columns.append(("QUERY", [_entries(match) for match in matches]))
    if persons:
        columns.append(("PERSON", [printable(match.person) for match in matches]))
    columns.append(("PATH", [_place(match, match.reasons if shown.reasons else ()) for match in matches]))
    rows = [[cells[row] for _, cells in columns] for row in range(len(matches))]
    return table([heading for heading, _ in columns], rows, colour=colour)


def _similarity(similarity: float | None) -> str:
    return NOTHING if similarity is None else f"{similarity:.3f}"


def _term(match: Match, position: int) -> str:
    """The similarity of one of several people, with ``*`` where the user said that it is that person."""
    if position >= len(match.terms):
        return NOTHING
    term = match.terms[position]
    return _similarity(term.similarity) + ("*" if term.confirmed else "")


def _entries(match: Match) -> str:
    """The numbers of the query faces that a match shows, the most similar first."""
    return ",".join(str(number) for number in (match.of, *(also.of for also in match.also)) if number is not None)


def _place(match: Match, reasons: Sequence[str]) -> str:
    """The path, and what is to be known of the photo."""
    notes = ["the query photo"] if match.itself else []
    copies = len(match.copies) + sum(each.host == match.host for each in match.elsewhere)
    notes += [f"+{counted(copies, 'copy', 'copies')}"] if copies else []
    hosts = dict.fromkeys(printable(each.host) for each in match.elsewhere if each.host != match.host)
    notes += [f"also on {', '.join(hosts)}"] if hosts else []
    frames = len(match.similar) + len(match.similar_elsewhere)
    notes += [f"+{frames} in its burst"] if frames else []
    notes += map(printable, reasons)
    return printable(match.name) + (f"  ({', '.join(notes)})" if notes else "")


def face_table(faces: Sequence[PhotoFace], *, colour: bool) -> str:
    """Return the faces of one photo as a table: the number that ``--face`` takes, box and score.

    Where it was asked for, it has who they are; where something can be said against one, that.
    """
    columns = [
        ("FACE", [str(number) for number in range(len(faces))]),
        ("BOX", [size_and_place(face.box) for face in faces]),
        ("SCORE", [f"{face.score:.3f}" for face in faces]),
    ]
    names = [face.who for face in faces if face.who is not None]
    if names:
        columns += [
            ("NAME", [printable(who.name) or UNKNOWN for who in names]),
            ("SIMILARITY", [_similarity(who.similarity) for who in names]),
            ("VERDICT", [CONFIRMED if who.confirmed else who.verdict if who.name else NOTHING for who in names]),
            ("RUNNER-UP", [_runner_up(who) for who in names]),
        ]
    if any(face.quality for face in faces):
        columns.append(("QUALITY", [printable(face.quality) for face in faces]))
    rows = [[cells[row] for _, cells in columns] for row in range(len(faces))]
    return table([heading for heading, _ in columns], rows, colour=colour)


def _runner_up(who: Name) -> str:
    return f"{printable(who.runner_up)} {_similarity(who.runner_up_similarity)}" if who.runner_up else NOTHING


def match_lines(matches: Iterable[Match]) -> bytes:
    """Return ``similarity<TAB>x,y,w,h<TAB>path`` a line; the first two are empty where there is no face.

    The path of a photo on another machine is ``host:path``; those of this machine begin with a slash.
    """

    def fields(match: Match) -> tuple[bytes, bytes, bytes]:
        similarity = b"" if match.similarity is None else b"%.3f" % match.similarity
        return similarity, b"" if match.box is None else b"%d,%d,%d,%d" % match.box, _tsv(match.name)

    return b"".join(b"%s\t%s\t%s\n" % fields(match) for match in matches)


def face_lines(faces: Iterable[PhotoFace]) -> bytes:
    """Return ``number<TAB>x,y,w,h<TAB>score`` a line.

    Where it was asked for, name, similarity, verdict, runner-up and its similarity follow, each empty where there is
    none; where something can be said against the face, that is behind another tab.
    """
    lines = []
    for number, face in enumerate(faces):
        fields = [str(number), ",".join(map(str, face.box)), f"{face.score:.3f}"]
        if face.who is not None:
            who = face.who
            fields += [who.name, _plain(who.similarity), CONFIRMED if who.confirmed else who.verdict]
            fields += [who.runner_up, _plain(who.runner_up_similarity)]
        fields += [printable(face.quality)] if face.quality else []
        lines.append(tab_separated(*fields))
    return b"".join(lines)


def _plain(similarity: float | None) -> str:
    return "" if similarity is None else f"{similarity:.3f}"


def listed_line(path: bytes, reason: str) -> bytes:
    """Return ``path<TAB>reason``, a line."""
    return b"%s\t%s\n" % (_tsv(path), printable(reason).encode())


def tab_separated(*fields: str | bytes) -> bytes:
    """Return fields with tabs between them, a line."""
    encoded = (field.encode("utf-8", "surrogateescape") if isinstance(field, str) else field for field in fields)
    return b"\t".join(map(_tsv, encoded)) + b"\n"


def path_lines(matches: Iterable[Match], end: bytes) -> bytes:
    """Return each photo's path once, the most similar first, as raw bytes with ``end`` after each."""
    return b"".join(path + end for path in dict.fromkeys(match.name for match in matches))


def path_list(matches: Iterable[Match]) -> str:
    """Return the same for a terminal."""
    return "".join(f"{printable(path)}\n" for path in dict.fromkeys(match.name for match in matches))


def table(heading: Sequence[str], rows: Sequence[Sequence[str]], *, colour: bool) -> str:
    """Align all columns but the last under a heading; the first is coloured. Without rows the table is empty."""
    if not rows:
        return ""
    widths = [max(columns_of(row[column]) for row in (heading, *rows)) for column in range(len(heading) - 1)]
    lines = [_line(heading, widths, [_BOLD] * len(heading) if colour else [])]
    lines += [_line(row, widths, [_BOLD_GREEN] if colour else []) for row in rows]
    return "".join(f"{line}\n" for line in lines)


def _line(cells: Sequence[str], widths: Sequence[int], styles: Sequence[str]) -> str:
    padded = [cell + " " * (width - columns_of(cell)) for cell, width in zip(cells, widths, strict=False)] + [cells[-1]]
    painted = [f"\x1b[{style}m{cell}\x1b[0m" for cell, style in zip(padded, styles, strict=False)]
    return "  ".join(painted + padded[len(painted) :])


def columns_of(text: str) -> int:
    """Return the columns of a terminal that a text takes: characters of East Asia take two, marks none."""
    if text.isascii():
        return len(text)
    import unicodedata  # here, because most tables are plain ASCII but for their paths

    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(map(bool, map(unicodedata.combining, text)))


def _tsv(path: bytes) -> bytes:
    for special, escaped in _TSV_ESCAPES:  # the backslash first
        path = path.replace(special, escaped)
    return path
