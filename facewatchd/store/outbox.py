"""The outbox: the contents of which the shared engine is to be told, in the catalog's own file.

A content is *shown* where a photo and a face point at it, and the engine is told of shown contents alone. What it is
told is what is true of a content when it is sent (`CatalogReader.shown`), and not what was done to it. So the outbox
holds digests, each once: a later change of the same content takes the place of the earlier one, under a new number. An
engine that is away for a year costs one row for each content that changed in it. The rows that were sent are deleted by
their numbers; a content that changed while it was on its way has another number by then, and is sent again.

**No change is missed.** Triggers fill the outbox in the transaction of the change, whichever statement makes it. What
is sent of a content depends on its row, its faces and its photos. A change of one of the three matters only if the
content is shown before or after it, so the other two are there while it happens. That is the condition of each trigger,
and it keeps contents out that no photo ever showed. The triggers are those of the one connection that writes (TEMP): a
daemon that sends nothing has none, and pays nothing. When it writes, the outbox is not true any more, and is emptied
(`Outbox.end`); when it is to send again, everything is.

**Everything is to be sent** at the first start with an engine, and where the engine or the catalog was restored from a
backup. Rows of a million digests come in random order, and SQLite, which caches 2 MB, would write a page of 16 KB for
almost each of them. Therefore only a place among the contents is kept, by id, and the contents behind it are put into
the outbox `REST` at a time, as it is emptied.

**A catalog that was made anew**, as after damage, does not know yet what the engine rightly has of this machine. So a
digest that is marked and that the catalog does not know is *held*: it has a number below 0, counts, and is not sent.
When its photo comes, the content is sent; when everything that is configured has been seen, what is still held is sent
as gone (`Outbox.release`). Until then this machine, too, can take over what it found before (`indexing.fetching`).

**Lineages** tell whether the engine holds what this catalog sent. A push has a token of its own, which is noted here
before it is sent (`Outbox.sending`), written by the engine in the transaction of the push, and after its answer it is
the only one that counts (`Outbox.sent`). Until then the engine may hold any of those that were noted. Where it holds
another one, either side is a backup that was restored.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

from facewatchd.errors import NotReadyError
from facewatchd.store.catalog_rows import LACKS_FACES

TABLE: Final = f"""
CREATE TABLE outbox(seq INTEGER PRIMARY KEY AUTOINCREMENT, digest BLOB NOT NULL UNIQUE) STRICT;
CREATE INDEX IF NOT EXISTS content_lacking ON content(id) WHERE width = {LACKS_FACES};
"""
REST: Final = 2000
"""Contents that are put into the outbox at once where everything is to be sent."""
MOST_LINEAGES: Final = 32
"""Tokens of pushes that are kept. One that is left out costs, at worst, that everything is compared."""

_MARK = """
DELETE FROM outbox WHERE digest = (SELECT digest FROM content WHERE id = {0});
INSERT INTO outbox(digest) SELECT digest FROM content WHERE id = {0};
"""
"""Not INSERT OR REPLACE: in a trigger, the conflict clause of the statement that fires it would count instead."""
_HAS_FACE = "EXISTS (SELECT 1 FROM face WHERE content_id = {0})"
_HAS_PHOTO = "EXISTS (SELECT 1 FROM photo WHERE content_id = {0})"
_SENT_OF_CONTENT = ("width", "height", "second_look", "taken", "taken_offset", "taken_from", "picture", "error")
"""The columns of which something is sent; a digest is never changed."""


def _trigger(name: str, when: str, condition: str, content: str) -> str:
    """A trigger that puts a content into the outbox; ``content`` and the condition name columns of OLD or NEW."""
    return f"CREATE TEMP TRIGGER outbox_{name} AFTER {when} WHEN {condition} BEGIN {_MARK.format(content)} END;"


def _of_photo(name: str, when: str, side: str, condition: str = "1") -> str:
    content = f"{side}.content_id"
    return _trigger(f"photo_{name}", f"{when} ON photo", f"({condition}) AND {_HAS_FACE.format(content)}", content)


def _of_face(when: str, side: str) -> str:
    content = f"{side}.content_id"
    return _trigger(f"face_{when}", f"{when} ON face", _HAS_PHOTO.format(content), content)


_MOVED = "OLD.content_id IS NOT NEW.content_id OR OLD.path IS NOT NEW.path"
_CHANGED = " OR ".join(f"OLD.{column} IS NOT NEW.{column}" for column in _SENT_OF_CONTENT)
_TRIGGERS = (
    _trigger(
        "content",
        f"UPDATE OF {', '.join(_SENT_OF_CONTENT)} ON content",
        f"({_CHANGED}) AND {_HAS_FACE.format('NEW.id')} AND {_HAS_PHOTO.format('NEW.id')}",
        "NEW.id",
    ),
    _of_face("INSERT", "NEW"),
    _of_face("UPDATE", "NEW"),
    _of_face("DELETE", "OLD"),
    _of_photo("insert", "INSERT", "NEW"),
    _of_photo("delete", "DELETE", "OLD"),
    _of_photo("lost", "UPDATE OF content_id, path", "OLD", _MOVED),
    _of_photo("got", "UPDATE OF content_id, path", "NEW", _MOVED),
    _of_photo("written", "UPDATE OF mtime_ns", "NEW", "OLD.mtime_ns IS NOT NEW.mtime_ns"),
)
_SHOWN = f"{_HAS_FACE} AND {_HAS_PHOTO}".format("content.id")
_LINEAGES, _AFTER, _LAST = "outbox_lineages", "outbox_after", "outbox_last"
"""Rows of ``meta``: the tokens in their order, separated by blanks, and there as long as the outbox is kept; the ids of
the contents after which, and up to which, all are still to be put into the outbox."""
_META = f"('{_LINEAGES}', '{_AFTER}', '{_LAST}')"


_UNSENT = f"""
SELECT content.id FROM outbox CROSS JOIN content ON content.digest = outbox.digest
UNION SELECT id FROM content WHERE orphaned IS NOT NULL
UNION SELECT id FROM content WHERE width = {LACKS_FACES} LIMIT ?
"""


class OutboxReader:
    """The outbox in the state of the catalog that its reader sees."""

    def __init__(self, rows: Callable[..., list[Any]]) -> None:
        """``rows`` carries out a statement with some values."""
        self._rows = rows

    def first(self, limit: int, after: int = 0) -> list[tuple[int, bytes]]:
        """The numbers and digests of the earliest changes that are not held, and come after a number."""
        return self._rows("SELECT seq, digest FROM outbox WHERE seq > ? ORDER BY seq LIMIT ?", max(0, after), limit)

    def unsent(self, limit: int) -> list[int]:
        """The contents, by id, that the engine has not as they are, and at most so many, while there is no `rest`.

        They are in the outbox, or nothing is sent of them: no photo shows them, or faces of them are to be found again.
        """
        return [content for (content,) in self._rows(_UNSENT, limit)]

    def holds(self) -> bool:
        """Whether some are held."""
        return bool(self._rows("SELECT EXISTS (SELECT 1 FROM outbox WHERE seq < 0)")[0][0])

    def count(self) -> int:
        """How many there are."""
        return int(self._rows("SELECT count(*) FROM outbox")[0][0])

    def rest(self) -> tuple[int, int] | None:
        """The ids after which, and up to which, all contents are to be put into the outbox; None: none are."""
        found = dict(self._rows(f"SELECT key, value FROM meta WHERE key IN ('{_AFTER}', '{_LAST}')"))
        return (int(found[_AFTER]), int(found[_LAST])) if len(found) == 2 else None

    def count_rest(self, rest: tuple[int, int]) -> int:
        """The number of contents there that have faces: of some of them the last photo may be gone."""
        faces = "face INDEXED BY face_content WHERE content_id > ? AND content_id <= ?"
        return int(self._rows(f"SELECT count(DISTINCT content_id) FROM {faces}", *rest)[0][0])

    def lineages(self) -> list[str]:
        """The tokens of which the engine may hold one; empty where nothing was sent yet."""
        found = self._rows("SELECT value FROM meta WHERE key = ?", _LINEAGES)
        return str(found[0][0]).split() if found else []


class Outbox:
    """What changes the outbox. The catalog's writer alone calls the methods, but for `wait`, `close` and `changes`."""

    def __init__(self, db: sqlite3.Connection, transaction: Callable[[str], AbstractContextManager[None]]) -> None:
        """``transaction`` begins and commits one on the connection ``db``; it is given what is done."""
        self._db = db
        self._transaction = transaction
        self._committed = threading.Condition()
        self._closed = False
        self.changes = 0
        """Transactions that were committed since the catalog was opened."""

    @classmethod
    def begin(cls, db: sqlite3.Connection, transaction: Callable[[str], AbstractContextManager[None]]) -> Outbox:
        """Keep the outbox from now on. Where the run before did not, everything is to be sent."""
        outbox = cls(db, transaction)
        for trigger in _TRIGGERS:
            db.execute(trigger)
        if not _is_kept(db):
            with transaction("begin an outbox"):
                outbox._write_all()
                outbox._write_lineages([])
        return outbox

    @staticmethod
    def end(db: sqlite3.Connection, transaction: Callable[[str], AbstractContextManager[None]]) -> None:
        """Forget the outbox, where the run before kept one: changes are not noted from now on."""
        if _is_kept(db):
            with transaction("give up the outbox"):
                db.execute("DELETE FROM outbox")
                db.execute(f"DELETE FROM meta WHERE key IN {_META}")

    def committed(self) -> None:
        """Called after each transaction of the catalog, on the thread that writes."""
        with self._committed:
            self.changes += 1
            self._committed.notify_all()

    def wait(self, changes: int, seconds: float) -> bool:
        """Wait for a transaction after so many; return False where none came. Any thread may call."""
        with self._committed:
            self._committed.wait_for(lambda: self._closed or self.changes != changes, seconds)
            return not self._closed and self.changes != changes

    def close(self) -> None:
        """Let no thread wait any more. Any thread may call."""
        with self._committed:
            self._closed = True
            self._committed.notify_all()

    def sending(self, lineage: str) -> None:
        """Note the token of a push that is about to be sent."""
        with self._transaction("note a push"):
            known = [each for each in self._lineages() if each != lineage]
            self._write_lineages([*known[:1], *known[1:][2 - MOST_LINEAGES :], lineage])

    def sent(self, seqs: Iterable[int], lineage: str) -> None:
        """Delete the changes that a push brought to the engine. Saying so twice changes nothing.

        Raises `NotReadyError` where no such push was noted: the catalog was restored from a backup meanwhile.
        """
        with self._transaction("note what was sent"):
            known = self._lineages()
            if lineage not in known:
                raise NotReadyError(f"no push {lineage!r} was noted", "compare with the engine, and send again")
            self._write_lineages(known[known.index(lineage) :])
            self._db.executemany("DELETE FROM outbox WHERE seq = ?", [(seq,) for seq in seqs])

    def drop(self, seqs: Iterable[int]) -> None:
        """Delete changes that cannot be told: their rows are damaged."""
        with self._transaction("drop damaged changes"):
            self._db.executemany("DELETE FROM outbox WHERE seq = ?", [(seq,) for seq in seqs])

    def mark(self, digests: Sequence[bytes]) -> None:
        """Have some contents sent; those that the catalog does not know are held.

        Where everything is to be sent, those that will come then are not marked.
        """
        with self._transaction("mark what is to be sent"):
            after, last = self._rest() or (0, 0)
            sql = f"SELECT id > ? AND id <= ? AND {_SHOWN} FROM content WHERE digest = ?"
            for digest in digests:
                row = self._db.execute(sql, (after, last, digest)).fetchone()
                if row is None:
                    sql_of_held = "INSERT OR IGNORE INTO outbox SELECT min(0, coalesce(min(seq), 0)) - 1, ? FROM outbox"
                    self._db.execute(sql_of_held, (digest,))
                elif not row[0]:
                    self._write([digest])

    def release(self) -> None:
        """Have some of what is held sent: everything has been seen, and the catalog still does not know it."""
        with self._transaction("mark what is to be sent"):
            found = self._db.execute("SELECT digest FROM outbox WHERE seq < 0 LIMIT ?", (REST,)).fetchall()
            self._write([digest for (digest,) in found])

    def mark_all(self) -> None:
        """Have everything sent that is shown. What is in the outbox of it is left out there, or it would go twice."""
        with self._transaction("mark what is to be sent"):
            self._db.execute(
                f"DELETE FROM outbox WHERE EXISTS (SELECT 1 FROM content WHERE digest = outbox.digest AND {_SHOWN})"
            )
            self._write_all()

    def mark_rest(self) -> None:
        """Put more of it into the outbox, where everything is to be sent."""
        with self._transaction("mark what is to be sent"):
            if (rest := self._rest()) is None:
                return
            sql = f"SELECT id, digest FROM content WHERE id > ? AND id <= ? AND {_SHOWN} ORDER BY id LIMIT ?"
            found = self._db.execute(sql, (*rest, REST)).fetchall()
            self._write([digest for _, digest in found])
            if len(found) == REST:
                self._note({_AFTER: found[-1][0]})
            else:
                self._db.execute(f"DELETE FROM meta WHERE key IN ('{_AFTER}', '{_LAST}')")

    def _write(self, digests: Iterable[bytes]) -> None:
        """Put contents into the outbox, under new numbers."""
        self._db.executemany("INSERT OR REPLACE INTO outbox(digest) VALUES (?)", [(digest,) for digest in digests])

    def _write_all(self) -> None:
        (last,) = self._db.execute("SELECT coalesce(max(id), 0) FROM content").fetchone()
        self._note({_AFTER: 0, _LAST: last})

    def _rest(self) -> tuple[int, int] | None:
        return OutboxReader(self._rows).rest()

    def _lineages(self) -> list[str]:
        return OutboxReader(self._rows).lineages()

    def _write_lineages(self, lineages: Sequence[str]) -> None:
        self._note({_LINEAGES: " ".join(lineages)})

    def _rows(self, sql: str, *values: object) -> list[Any]:
        return self._db.execute(sql, values).fetchall()

    def _note(self, values: dict[str, object]) -> None:
        self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", list(values.items()))


def _is_kept(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM meta WHERE key = ?", (_LINEAGES,)).fetchone() is not None
