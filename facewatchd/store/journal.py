"""The journal of the catalog: which path began or ceased to show which content, and which content got faces, in order.

A transaction of the catalog that changes one of these appends a line for each, under a number that is never given again
(`Entry.seq`). So a reader that keeps the number of the last line that it dealt with misses nothing, over restarts too:
it reads the lines after it. The number, with what tells that it is of this journal, is a `Cursor`.

The journal tells what the catalog was like at an earlier line: `Journal.shown_at` takes back the lines after it from
what the catalog is like now. The difference between two states says what happened, however many lines it took and in
whatever order they came: a content that no path showed is new, one that another path shows is moved or copied, one
that no path shows any more is gone.

Where a path shows other bytes than before, but the same picture, as after a program has written a rating or a caption
into the photo, the line says so (`Entry.again`).

Lines are kept for as long as the faces of content without photos are (`catalog.KEEP_ORPHANS`), because a reader asks
whether what is gone had matched; and there are at most `MOST`. The last line always stays. A cursor whose line is
pruned is of no use any more (`Journal.knows`): its reader has to look at everything again.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

MOST = 100_000
"""Lines that are kept: 19 MB with paths of 100 bytes, and a folder of 50,000 photos can be renamed."""
_BATCH = 500
"""Variables in one statement."""
_AGAIN = 2
"""In the column ``shown``."""
_FORM = re.compile(r"([0-9a-f]{1,64})\.(\d{1,18})\.(\d{1,18})")


class Entry(NamedTuple):
    """A line."""

    seq: int
    """Its number, from 1."""
    at: float
    """Unix time."""
    content_id: int
    path: bytes | None
    """None: the content got faces that it did not have before."""
    shown: bool
    """Whether the path shows the content from now on, or does so no more."""
    again: bool = False
    """Whether the content that the path showed until now has the same faces."""


class Cursor(NamedTuple):
    """A place in the journal of one catalog: behind a line."""

    catalog: str
    """`Catalog.uuid`."""
    seq: int
    """Of the line; 0 is the beginning."""
    at: int
    """`Entry.at` of the line, in milliseconds: in a catalog that was restored, a number may stand for another line."""

    def __str__(self) -> str:
        """Return it as clients keep it."""
        return f"{self.catalog}.{self.seq}.{self.at}"

    @classmethod
    def of(cls, text: str) -> Cursor:
        """Read what `__str__` returned. Raises ValueError."""
        form = _FORM.fullmatch(text)
        if form is None:
            raise ValueError(f"{text!r} is no cursor")
        return cls(form[1], int(form[2]), int(form[3]))


def append(db: sqlite3.Connection, content_id: int, path: bytes | None, *, shown: bool, again: bool = False) -> int:
    """Append a line in the transaction that is open, and return its number. Lines above `MOST` are removed."""
    sql = "INSERT INTO journal(at, content_id, path, shown) VALUES (?, ?, ?, ?) RETURNING seq"
    (seq,) = db.execute(sql, (time.time(), content_id, path, _AGAIN if again else shown)).fetchone()
    db.execute("DELETE FROM journal WHERE seq <= ?", (seq - MOST,))
    return int(seq)


def prune(db: sqlite3.Connection, before: float) -> None:
    """Remove the lines from before a Unix time, and those of the contents that no photo has shown since then.

    The last line stays, without its path: a content's id may be given again.
    """
    stays = "SELECT coalesce(min(seq), (SELECT max(seq) FROM journal)) FROM journal WHERE at >= ?"
    db.execute(f"DELETE FROM journal WHERE seq < ({stays})", (before,))
    gone = "content_id IN (SELECT id FROM content WHERE orphaned < ?)"
    db.execute(f"DELETE FROM journal WHERE {gone} AND seq < (SELECT max(seq) FROM journal)", (before,))
    db.execute(f"UPDATE journal SET content_id = 0, path = NULL WHERE {gone}", (before,))


class Journal:
    """Reads the journal in the state of the catalog that its reader sees."""

    def __init__(self, rows: Callable[..., list[Any]], catalog: str) -> None:
        """``rows`` carries out a statement with some values. ``catalog``: its uuid."""
        self._rows = rows
        self._catalog = catalog

    def last(self) -> int:
        """The highest number that was given to a line."""
        rows = self._rows("SELECT seq FROM sqlite_sequence WHERE name = 'journal'")
        return int(rows[0][0]) if rows else 0

    def cursor(self, seq: int | None = None) -> Cursor:
        """The place behind a line, or behind an earlier one where that is not there; by default the last."""
        rows = self._rows(
            "SELECT seq, at FROM journal WHERE seq <= ? ORDER BY seq DESC LIMIT 1", self.last() if seq is None else seq
        )
        seq, at = rows[0] if rows else (0, 0.0)
        return Cursor(self._catalog, seq, int(at * 1000))

    def knows(self, cursor: Cursor) -> bool:
        """Whether every line behind a cursor is here: its own line is, or none was removed yet."""
        if cursor.catalog != self._catalog:
            return False
        if not cursor.seq:
            return self._rows("SELECT min(seq) FROM journal")[0][0] == 1 or self.last() == 0
        rows = self._rows("SELECT at FROM journal WHERE seq = ?", cursor.seq)
        return bool(rows) and int(rows[0][0] * 1000) == cursor.at

    def reaches(self, seq: int) -> bool:
        """Whether every line behind one is here."""
        rows = self._rows("SELECT (SELECT min(seq) FROM journal), EXISTS (SELECT 1 FROM journal WHERE seq = ?)", seq)
        first, is_there = rows[0]
        return bool(is_there) or first == seq + 1 or self.last() <= seq

    def after(self, seq: int, limit: int) -> list[Entry]:
        """The first ``limit`` lines after one, in order."""
        rows = self._rows(f"{_ENTRY} WHERE seq > ? ORDER BY seq LIMIT ?", seq, limit)
        return [
            Entry(number, at, content, path, bool(shown), shown == _AGAIN) for number, at, content, path, shown in rows
        ]

    def shown_at(self, seq: int, now: Mapping[int, Iterable[bytes]], contents: Sequence[int]) -> dict[int, set[bytes]]:
        """The paths that showed each of some contents just after a line. ``now``: those that show them."""
        shown = {content: set(now.get(content, ())) for content in contents}
        for part in _batches(contents):
            marks = ",".join("?" * len(part))
            # Unary plus: else SQLite may walk all lines after the number instead of those of the contents.
            where = f"content_id IN ({marks}) AND +seq > ? AND path IS NOT NULL ORDER BY seq DESC"
            for _, _, content, path, began in self._rows(f"{_ENTRY} WHERE {where}", *part, seq):
                if began:
                    shown[content].discard(path)
                else:
                    shown[content].add(path)
        return shown


_ENTRY = "SELECT seq, at, content_id, path, shown FROM journal"


def _batches(values: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(values), _BATCH):
        yield values[start : start + _BATCH]
