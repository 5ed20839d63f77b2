"""Copies of people.sqlite3 in the same directory: one before each migration, and one a week while it changes.

A copy is made by SQLite's backup API beside its place and renamed there when it is whole. It is a database without a
log, that only its owner may read: to go back to it, stop the daemon and copy it over people.sqlite3.

The copies of weeks are named by the day, and the `KEPT` newest of them are kept. The next one is due a week after the
newest, or before it where the clock was set back by a week, if the file has changed since. A copy holds the file's
number of changes, so that is known without a note of it.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

from facewatchd.store import schema as catalog_schema
from facewatchd.system import atomic_files

KEPT = 4
"""Copies of weeks that are kept: a month."""
EVERY = timedelta(days=7)


class Backups:
    """The copies of the file at ``path``. Not thread-safe."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._weekly = re.compile(rf"{re.escape(path.stem)}-(\d{{4}}-\d\d-\d\d){re.escape(path.suffix)}")

    def weekly(self) -> list[Path]:
        """The copies of weeks, the oldest first. Raises OSError."""
        return sorted(path for path in self._path.parent.iterdir() if self._day(path) is not None)

    def _day(self, path: Path) -> date | None:
        if found := self._weekly.fullmatch(path.name):
            with contextlib.suppress(ValueError):
                return date.fromisoformat(found.group(1))
        return None

    def newest(self) -> Path | None:
        """The copy to go back to where the file is lost; None where there is none."""
        with contextlib.suppress(OSError):
            copies = [*self.weekly(), *self._before_migrations()]
            return max(copies, key=lambda path: path.stat().st_mtime_ns, default=None)
        return None

    def _before_migrations(self) -> list[Path]:
        return self._beside(f"{self._path.name}.before-v*")

    def _beside(self, pattern: str) -> list[Path]:
        return list(self._path.parent.glob(pattern))

    def is_due(self, today: date, changes: int) -> bool:
        """Whether a copy is to be made of the file, which has so many changes. Raises OSError."""
        if not changes:
            return False
        weekly = self.weekly()
        if not weekly:
            return True
        day = self._day(weekly[-1])
        assert day is not None
        return abs(today - day) >= EVERY and _changes(weekly[-1]) != changes

    def make(self, db: sqlite3.Connection, today: date) -> None:
        """Make the copy of a day, and delete those that are too many. Raises OSError, and SQLite's errors."""
        self._copy(db, self._path.with_name(f"{self._path.stem}-{today}{self._path.suffix}"))
        for path in self.weekly()[:-KEPT]:
            path.unlink(missing_ok=True)

    def make_before_migration(self, db: sqlite3.Connection, version: int) -> None:
        """Make the copy of a file that is about to become one of that ``version``. Raises as `make`."""
        self._copy(db, self._path.with_name(f"{self._path.name}.before-v{version}"))

    def _copy(self, db: sqlite3.Connection, path: Path) -> None:
        new = atomic_files.aside(path)
        os.close(atomic_files.create(new))
        try:
            with closing(sqlite3.connect(new, isolation_level=None)) as copy:
                db.backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE")  # else opening it would need a log beside it
            atomic_files.sync(new)
            atomic_files.put(new, path)
        finally:
            new.unlink(missing_ok=True)

    def remove_all(self) -> int:
        """Delete every copy, what a killed process left of one, and logs that were set aside.

        Returns how many there were. Raises OSError.
        """
        copies = [*self.weekly(), *self._before_migrations(), *self._beside(f"{self._path.name}-wal.foreign-*")]
        for path in [*copies, *self._beside(f"{self._path.stem}*.new*")]:
            path.unlink(missing_ok=True)
        atomic_files.sync(self._path.parent)
        return len(copies)


def _changes(path: Path) -> int | None:
    """The number of changes in a copy; None where it cannot be read."""
    with contextlib.suppress(sqlite3.Error), closing(catalog_schema.connect_reader(str(path), "immutable=1")) as db:
        row = db.execute("SELECT value FROM meta WHERE key = 'changes'").fetchone()
        return int(row[0]) if row else None
    return None
