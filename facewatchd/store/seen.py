"""What was shown already, by name: the digests of the contents that earlier questions with a name have printed.

A question with ``new`` leaves these contents out, and what it printed is noted once the client says so. So nothing is
lost where a client dies in between, or prints a part of the answer only, or where the same name is used for several
questions. A content is noted and not a path: a photo that is renamed or copied is not new. Nor is one whose bytes
change while its faces stay the same (`SeenStore.carry`).

The file belongs to no model and no catalog: what was shown stays so when the model is changed, and when photos are
embedded again. It holds no names but those that the user gave to his questions, and no face. A damaged file is set
aside; then everything is new once.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from facewatchd.errors import StorageError
from facewatchd.store.recovery import spare_name
from facewatchd.store.schema import DAMAGE
from facewatchd.system import ownership

log = logging.getLogger(__name__)

MOST_NAMES = 1000
"""Names that are kept; one more takes the place of the one that was not used for longest."""
_BATCH = 500
"""Variables in one statement."""
_TABLES = """
CREATE TABLE IF NOT EXISTS name(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, used REAL NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS seen(
    name_id INTEGER NOT NULL REFERENCES name(id) ON DELETE CASCADE, digest BLOB NOT NULL, PRIMARY KEY(name_id, digest)
) STRICT, WITHOUT ROWID;
"""


class SeenStore:
    """Any thread may call the methods. They raise `StorageError`."""

    def __init__(self, path: Path) -> None:
        """The file is opened, or made, when it is first needed: a daemon starts without it."""
        self._path = path
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None

    def close(self) -> None:
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None

    def of(self, name: str, digests: Sequence[bytes]) -> set[bytes]:
        """Those of some contents that were shown under a name."""
        found: set[bytes] = set()
        with self._using("read") as db:
            for start in range(0, len(digests), _BATCH):
                part = digests[start : start + _BATCH]
                marks = ",".join("?" * len(part))
                sql = f"SELECT digest FROM seen JOIN name ON id = name_id WHERE name = ? AND digest IN ({marks})"
                found.update(digest for (digest,) in db.execute(sql, (_key(name), *part)))
        return found

    def note(self, name: str, digests: Sequence[bytes]) -> int:
        """Note that contents were shown under a name; return how many of them were not noted before."""
        with self._using("write") as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                noted = _note(db, name, digests)
                db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                raise
        return noted

    def carry(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        """Note under each name that later contents were shown where the earlier ones, with which they come, were.

        Where that fails, they are new once.
        """
        if self._db is None and not self._path.exists():
            return
        known = "EXISTS (SELECT 1 FROM seen WHERE name_id = id AND digest = ?)"
        with contextlib.suppress(StorageError), self._using("write") as db:
            for before, now in pairs:
                db.execute(f"INSERT OR IGNORE INTO seen SELECT id, ? FROM name WHERE {known}", (now, before))

    @contextlib.contextmanager
    def _using(self, doing: str) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._db = self._db or self._opened()
                yield self._db
            except sqlite3.Error as exc:
                raise StorageError(
                    f"cannot {doing} what was printed before: {exc}", f"free some disk space, or check {self._path}"
                ) from exc

    def _opened(self) -> sqlite3.Connection:
        try:
            return _connect(self._path)
        except sqlite3.DatabaseError as exc:
            if not str(getattr(exc, "sqlite_errorname", "")).startswith(DAMAGE):
                raise
        aside = spare_name(self._path, "damaged")
        log.error("%s is damaged, and kept as %s: what earlier questions have printed is new again", self._path, aside)
        self._path.rename(aside)
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        return _connect(self._path)


def _key(name: str) -> str:
    """A name in the form in which it is kept: however its accents were typed."""
    return unicodedata.normalize("NFC", name)


def _connect(path: Path) -> sqlite3.Connection:
    ownership.make_private(path)
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    try:
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
            db.execute(f"PRAGMA {pragma}")
        db.executescript(_TABLES)
        path.chmod(0o600)
    except BaseException:
        db.close()
        raise
    return db


def _note(db: sqlite3.Connection, name: str, digests: Sequence[bytes]) -> int:
    sql = "INSERT INTO name(name, used) VALUES (?, ?) ON CONFLICT DO UPDATE SET used = excluded.used RETURNING id"
    (name_id,) = db.execute(sql, (_key(name), time.time())).fetchone()
    stays = "SELECT id FROM name ORDER BY id = ? DESC, used DESC LIMIT ?"
    db.execute(f"DELETE FROM name WHERE id NOT IN ({stays})", (name_id, MOST_NAMES))
    before = db.total_changes
    db.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?)", [(name_id, digest) for digest in digests])
    return db.total_changes - before
