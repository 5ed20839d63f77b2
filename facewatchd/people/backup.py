"""Copies of people.sqlite3 in the same directory: one before each migration, and one a day while it changes.

A copy is made by SQLite's backup API beside its place and renamed there when it is whole. It is a database without a
log, that only its owner may read: to go back to it, stop the daemon and copy it over people.sqlite3.

A copy is named by its day. It is due on each day on which the file is not what it was at the last copy: a copy holds
the file's number of changes, so that is known without a note of it. Of the copies before the one of today those stay
that are a week apart, the `KEPT` newest.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

from facewatchd.store import schema as catalog_schema
from facewatchd.system import atomic_files

KEPT = 4
"""Earlier copies that are kept: a month."""
APART = timedelta(days=7)


class Backups:
    """The copies of the file at ``path``. Not thread-safe."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._daily = re.compile(rf"{re.escape(path.stem)}-(\d{{4}}-\d\d-\d\d){re.escape(path.suffix)}")

    def daily(self) -> dict[date, Path]:
        """The copies of days, the oldest first. Raises OSError."""
        days = ((self._day(path), path) for path in self._path.parent.iterdir())
        return dict(sorted((day, path) for day, path in days if day is not None))

    def _day(self, path: Path) -> date | None:
        if found := self._daily.fullmatch(path.name):
            with contextlib.suppress(ValueError):
                return date.fromisoformat(found.group(1))
        return None

    def newest(self) -> Path | None:
        """The copy to go back to where the file is lost; None where there is none."""
        with contextlib.suppress(OSError):
            copies = [*self.daily().values(), *self._before_migrations()]
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
        daily = self.daily()
        before = [path for day, path in daily.items() if day < today]
        return today not in daily and not (before and _changes(before[-1]) == changes)

    def make(self, db: sqlite3.Connection, today: date) -> None:
        """Make the copy of a day, and delete those that are too many. Raises OSError, and SQLite's errors."""
        self._copy(db, self._path.with_name(f"{self._path.stem}-{today}{self._path.suffix}"))
        daily = self.daily()
        kept = _apart(day for day in daily if day != today)[-KEPT:]
        for day, path in daily.items():
            if day not in (today, *kept):
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
        copies = [*self.daily().values(), *self._before_migrations(), *self._beside(f"{self._path.name}-wal.foreign-*")]
        for path in [*copies, *self._beside(f"{self._path.stem}*.new*")]:
            path.unlink(missing_ok=True)
        atomic_files.sync(self._path.parent)
        return len(copies)


def _apart(days: Iterable[date]) -> list[date]:
    """The first of some days in their order, and each that comes `APART` after the one before."""
    apart: list[date] = []
    for day in days:
        if not apart or day - apart[-1] >= APART:
            apart.append(day)
    return apart


def _changes(path: Path) -> int | None:
    """The number of changes in a copy; None where it cannot be read."""
    with contextlib.suppress(sqlite3.Error), closing(catalog_schema.connect_reader(str(path), "immutable=1")) as db:
        row = db.execute("SELECT value FROM meta WHERE key = 'changes'").fetchone()
        return int(row[0]) if row else None
    return None
