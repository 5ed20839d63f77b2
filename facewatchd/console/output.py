"""The text of answers: tables for a terminal, plain lines and bytes for a pipe.

On a terminal no file name may act as a control sequence: control characters are written as ``\\x1b``, and bytes that
are not UTF-8 as ``\\xff``. In a pipe a path is its own bytes: raw where only paths are written (``-l``, ``-0``), and
with tab, newline, carriage return and backslash escaped as ``\\t \\n \\r \\\\`` in a tab-separated line, so that one
match is one line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from facewatchd.matches import Box, Match, PhotoFace
from facewatchd.text import counted, printable

_TSV_ESCAPES = ((b"\\", b"\\\\"), (b"\t", b"\\t"), (b"\n", b"\\n"), (b"\r", b"\\r"))

_BOLD = "1"
_BOLD_GREEN = "1;32"


def size_and_place(box: Box) -> str:
    """Word a box: ``10,20 80x90``."""
    return f"{box.x},{box.y} {box.w}x{box.h}"


def match_table(matches: Sequence[Match], *, which: bool = False, reasons: bool = False, colour: bool) -> str:
    """Return matches as a table, empty without any. ``which``: with a column for the query faces that they are of.

    The verdicts have a column where there are any; ``reasons``: why a match may be wrong stands behind its path.
    """
    words = any(match.verdict for match in matches)
    rows = [
        (
            "" if match.similarity is None else f"{match.similarity:.3f}",
            *([match.verdict] if words else []),
            "" if match.box is None else size_and_place(match.box),
            *([_entries(match)] if which else []),
            printable(match.path) + _notes(match, match.reasons if reasons else ()),
        )
        for match in matches
    ]
    return table(
        ("SIMILARITY", *(["VERDICT"] if words else []), "BOX", *(["QUERY"] if which else []), "PATH"),
        rows,
        colour=colour,
    )


def _entries(match: Match) -> str:
    """The numbers of the query faces that a match shows, the most similar first."""
    return ",".join(str(number) for number in (match.of, *(also.of for also in match.also)) if number is not None)


def _notes(match: Match, reasons: Sequence[str]) -> str:
    notes = ["the query photo"] if match.itself else []
    notes += [f"+{counted(len(match.copies), 'copy', 'copies')}"] if match.copies else []
    notes += map(printable, reasons)
    return f"  ({', '.join(notes)})" if notes else ""


def face_table(faces: Sequence[PhotoFace], *, colour: bool) -> str:
    """Return the faces of one photo as a table: the number that ``--face`` takes, box and score.

    Where something can be said against one, it has a column.
    """
    last = ["QUALITY"] if any(face.quality for face in faces) else []
    rows = [
        (str(number), size_and_place(face.box), f"{face.score:.3f}", *([printable(face.quality)] if last else []))
        for number, face in enumerate(faces)
    ]
    return table(("FACE", "BOX", "SCORE", *last), rows, colour=colour)


def match_lines(matches: Iterable[Match]) -> bytes:
    """Return ``similarity<TAB>x,y,w,h<TAB>path`` a line; the first two are empty where there is no face."""

    def fields(match: Match) -> tuple[bytes, bytes, bytes]:
        similarity = b"" if match.similarity is None else b"%.3f" % match.similarity
        return similarity, b"" if match.box is None else b"%d,%d,%d,%d" % match.box, _tsv(match.path)

    return b"".join(b"%s\t%s\t%s\n" % fields(match) for match in matches)


def face_lines(faces: Iterable[PhotoFace]) -> bytes:
    """Return ``number<TAB>x,y,w,h<TAB>score`` a line, and where something can be said against the face, that behind
    another tab."""
    return b"".join(
        b"%d\t%d,%d,%d,%d\t%.3f%s\n" % (number, *face.box, face.score, b"\t%s" % words if words else b"")
        for number, face in enumerate(faces)
        for words in [printable(face.quality).encode()]
    )


def listed_line(path: bytes, reason: str) -> bytes:
    """Return ``path<TAB>reason``, a line."""
    return b"%s\t%s\n" % (_tsv(path), printable(reason).encode())


def path_lines(matches: Iterable[Match], end: bytes) -> bytes:
    """Return each photo's path once, the most similar first, as raw bytes with ``end`` after each."""
    return b"".join(path + end for path in dict.fromkeys(match.path for match in matches))


def path_list(matches: Iterable[Match]) -> str:
    """Return the same for a terminal."""
    return "".join(f"{printable(path)}\n" for path in dict.fromkeys(match.path for match in matches))


def table(heading: Sequence[str], rows: Sequence[Sequence[str]], *, colour: bool) -> str:
    """Align all columns but the last under a heading; the first is coloured. Without rows the table is empty."""
    if not rows:
        return ""
    widths = [max(len(row[column]) for row in (heading, *rows)) for column in range(len(heading) - 1)]
    lines = [_line(heading, widths, [_BOLD] * len(heading) if colour else [])]
    lines += [_line(row, widths, [_BOLD_GREEN] if colour else []) for row in rows]
    return "".join(f"{line}\n" for line in lines)


def _line(cells: Sequence[str], widths: Sequence[int], styles: Sequence[str]) -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=False)] + [cells[-1]]
    painted = [f"\x1b[{style}m{cell}\x1b[0m" for cell, style in zip(padded, styles, strict=False)]
    return "  ".join(painted + padded[len(painted) :])


def _tsv(path: bytes) -> bytes:
    for special, escaped in _TSV_ESCAPES:  # the backslash first
        path = path.replace(special, escaped)
    return path
