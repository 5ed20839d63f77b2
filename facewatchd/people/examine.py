"""What is found of people.sqlite3 before it is opened for writing. Nothing here writes.

SQLite pairs files by name: it lays the pages of people.sqlite3-wal over whatever people.sqlite3 it finds. Where that is
a backup, and a killed process left the log of a later state, it makes one file of both, and no check may notice.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from facewatchd.errors import DamagedError, StorageError
from facewatchd.people import schema
from facewatchd.people.backup import Backups
from facewatchd.store import schema as catalog_schema
from facewatchd.store.catalog import translated
from facewatchd.system import ownership
from facewatchd.text import one_line

_HEADER = ("application_id", "user_version")


def log_of(path: Path) -> Path:
    """Return where SQLite keeps the log of a file."""
    return path.with_name(f"{path.name}-wal")


def has_log(path: Path) -> bool:
    """Return whether the log of a file holds anything."""
    log_file = log_of(path)
    return log_file.exists() and log_file.stat().st_size > 0


def log_belongs(path: Path) -> bool:
    """Whether SQLite may lay the log over the file. It pairs them by name, also where the file is an older backup.

    Each transaction notes the version that the file had when the log was last empty (``base``). A checkpoint that was
    killed may have written the log's own version to the file.
    """
    if not path.exists() or not has_log(path):
        return True
    try:
        with closing(catalog_schema.connect_reader(str(path), "immutable=1")) as db:
            own = _numbers(db)
    except sqlite3.Error:  # of which `examine` tells
        return True
    try:
        with closing(catalog_schema.connect_reader(str(path))) as db:
            logged = _numbers(db)
    except sqlite3.DatabaseError as exc:
        name = getattr(exc, "sqlite_errorname", "") or ""
        return not name.startswith(catalog_schema.DAMAGE)  # else the pages of two states are mixed
    changes = own.get("changes")
    return changes in (logged.get("base", changes), logged.get("changes"))


def _numbers(db: sqlite3.Connection) -> dict[str, int]:
    return dict(db.execute("SELECT key, value FROM meta WHERE key IN ('changes', 'base')"))


def examine(path: Path) -> int | None:
    """Return the version of people.sqlite3, which is ours and whole; None where there is none. Nothing is written.

    Raises `StorageError`, and OSError.
    """
    ownership.check_files(path.parent, (path.name, f"{path.name}-wal", f"{path.name}-shm"))
    if not path.exists():
        if (backup := Backups(path).newest()) is not None:
            raise StorageError(
                f"{path} is missing, and so are all names",
                f"stop facewatchd and copy {backup.name} over it, or move its backups away to begin anew",
            )
        return None
    if not path.stat().st_size:
        raise DamagedError(f"{path} is empty, where the names should be", way_back(path))
    with translated(f"read {path}", "it", way_back(path)), closing(catalog_schema.connect_reader(str(path))) as db:
        (application,), (version,) = (db.execute(f"PRAGMA {name}").fetchone() for name in _HEADER)
        if application != schema.APPLICATION_ID:
            raise DamagedError(f"{path} is another program's: no names are known", "move it away")
        if version != schema.VERSION and version not in schema.MIGRATIONS:
            raise StorageError(
                f"{path} was written by another version (schema {version}, this one reads {schema.VERSION}):"
                " no names are known",
                "install that version",
            )
        ((finding,), *_) = db.execute("PRAGMA integrity_check(1)").fetchall()
        if finding != "ok":
            raise DamagedError(f"{path} is damaged ({one_line(finding)}): no names are known", way_back(path))
    return int(version)


def way_back(path: Path) -> str:
    """Return what is to be done where the file is damaged, in words."""
    backup = Backups(path).newest()
    return f"stop facewatchd, and copy {backup.name} over it" if backup else "move it away to begin anew"
