"""Checks before a catalog is opened for writing, so that a damaged one is kept as it was found.

SQLite pairs files by name: it lays the pages of ``catalog.sqlite3-wal`` over whatever ``catalog.sqlite3`` it finds.
Where the catalog was restored from a backup and a killed process left the log of the later one, this makes one catalog
of two, and SQLite's own checks may not notice. Therefore every opening writes a new random *session* through to the
catalog's file, and every transaction writes the page that holds it, so that each log contains the session. A log
belongs to a file if the session read with the log equals the one read without it.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import secrets
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from facewatchd.errors import DamagedError, StorageError
from facewatchd.store import schema

log = logging.getLogger(__name__)

DAMAGED_HINT = "start facewatchd again: it sets a damaged catalog aside and indexes anew"

COUNT = "UPDATE meta SET value = value + 1 WHERE key = 'transactions'"
"""Part of every transaction, so that the session is in its log: SQLite writes no page on which nothing changes."""


def examine(path: Path, model_id: str) -> None:
    """Check an existing catalog, without writing to it. Raises `DamagedError`, `StorageError` and SQLite's own errors.

    A log that does not belong to the file is renamed.
    """
    wal = path.with_name(path.name + "-wal")
    logged = wal.exists() and wal.stat().st_size > 0
    if logged and not _belongs(path):
        _set_aside(wal)
        logged = False
    with closing(schema.connect_reader(str(path))) as db:
        meta = _expect_ours(db, path, model_id)
        (pages,), (page_size,) = (db.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size"))
        if not logged and path.stat().st_size < pages * page_size:
            raise DamagedError("the catalog is damaged (its end is missing)", DAMAGED_HINT)
        if logged or meta.get("clean") == 0:  # reading it all takes seconds: only after an end that was not in order
            ((finding,), *_) = db.execute("PRAGMA quick_check(1)").fetchall()
            if finding != "ok":
                raise DamagedError(f"the catalog is damaged ({finding})", DAMAGED_HINT)


def begin_session(db: sqlite3.Connection, path: Path) -> None:
    """Empty the log into the file and give the file a new session. Neither is done while the disk is full, or while
    another process reads the catalog."""
    empty_log(db)
    _set_session(db, secrets.token_hex(16))
    empty_log(db)
    if (own := _own_session(path)) != _session(db):
        _set_session(db, own)


def empty_log(db: sqlite3.Connection) -> None:
    """Write the log's pages to the file and truncate the log, unless a reader uses it or the disk is full."""
    (patience,) = db.execute("PRAGMA busy_timeout").fetchone()
    db.execute("PRAGMA busy_timeout = 100")
    with contextlib.suppress(sqlite3.OperationalError):  # the disk is full: the next statement raises, or needs no room
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    db.execute(f"PRAGMA busy_timeout = {patience}")


def _set_session(db: sqlite3.Connection, session: object) -> None:
    db.execute("INSERT OR REPLACE INTO meta VALUES ('session', ?), ('transactions', 0)", (session,))


def _expect_ours(db: sqlite3.Connection, path: Path, model_id: str) -> dict[str, object]:
    (application,), (version,) = (
        db.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
    )
    if application != schema.APPLICATION_ID:
        raise DamagedError(f"{path} is not a catalog of facewatchd", "move it away")
    if version != schema.VERSION and version not in schema.MIGRATIONS:
        raise StorageError(
            f"{path} was written by another version (schema {version}, this one reads {schema.VERSION})",
            "install that version, or move the file away to index anew",
        )
    meta: dict[str, object] = dict(db.execute("SELECT key, value FROM meta"))
    if meta.get("model") != model_id:
        raise DamagedError(f"{path} belongs to model {meta.get('model')}", "move it away")
    return meta


def _belongs(path: Path) -> bool:
    """Whether a log belongs to its catalog; also True where the file alone cannot be read."""
    try:
        own = _own_session(path)
    except sqlite3.DatabaseError:
        return True
    with closing(schema.connect_reader(str(path))) as db:
        try:
            return _session(db) == own
        except sqlite3.DatabaseError as exc:
            if exc.sqlite_errorname.startswith(schema.DAMAGE):
                return False  # the pages of two catalogs are mixed
            raise


def _own_session(path: Path) -> object:
    """The session in the file itself, without the log."""
    with closing(schema.connect_reader(str(path), "immutable=1")) as db:
        db.execute("PRAGMA writable_schema = ON")  # a checkpoint that was killed may lack the last pages
        return _session(db)


def _session(db: sqlite3.Connection) -> object:
    row = db.execute("SELECT value FROM meta WHERE key = 'session'").fetchone()
    return row[0] if row else None


def _set_aside(wal: Path) -> None:
    aside = spare_name(wal, "foreign")
    log.warning("%s belongs to another state of the catalog, which seems to be a backup: it is kept as %s", wal, aside)
    wal.rename(aside)
    wal.with_name(wal.name.removesuffix("wal") + "shm").unlink(missing_ok=True)


def spare_name(path: Path, word: str) -> Path:
    """A path beside another that does not exist yet, with a word and the time in its name."""
    name = f"{path.name}.{word}-{time.strftime('%Y%m%d-%H%M%S')}"
    return next(
        spare
        for number in itertools.count(1)
        if not (spare := path.with_name(name if number == 1 else f"{name}-{number}")).exists()
    )
