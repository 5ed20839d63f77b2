"""The tables of people.sqlite3, and the settings of its connection.

Rows are only added, each by a *step*, which is one call. Taking back the last call deletes its step, and with that, by
foreign keys, its rows. What counts is worked out from all rows in their order (`statements`, `store`). A row without a
step was settled when a person was forgotten: it cannot be taken back any more.
"""

from __future__ import annotations

import sqlite3

APPLICATION_ID = 0x66777070  # "fwpp"
VERSION = 3

TABLES = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value ANY) STRICT;
CREATE TABLE step(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    action TEXT NOT NULL,       -- store.Action
    at REAL NOT NULL            -- Unix time
) STRICT;
CREATE TABLE person(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    step INTEGER REFERENCES step(id) ON DELETE CASCADE
) STRICT;
CREATE TABLE description(       -- the last one of a person counts
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    step INTEGER REFERENCES step(id) ON DELETE CASCADE,
    person INTEGER NOT NULL REFERENCES person(id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    born TEXT,
    hidden INTEGER NOT NULL
) STRICT;
CREATE TABLE merger(            -- of a person into another, who has its statements from then on
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    step INTEGER NOT NULL REFERENCES step(id) ON DELETE CASCADE,
    person INTEGER NOT NULL UNIQUE REFERENCES person(id) ON DELETE CASCADE,
    into_person INTEGER NOT NULL REFERENCES person(id) ON DELETE CASCADE
) STRICT;
CREATE TABLE statement(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    step INTEGER REFERENCES step(id) ON DELETE CASCADE,
    person INTEGER NOT NULL REFERENCES person(id) ON DELETE CASCADE,
    is_person INTEGER NOT NULL,
    digest BLOB NOT NULL,
    x REAL, y REAL, w REAL, h REAL,  -- in parts of the photo's width and height; NULL: no face is named
    source TEXT NOT NULL,
    at REAL NOT NULL
) STRICT;
CREATE TABLE ignored(           -- whether the user does not care about a face; what was said last counts
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    step INTEGER REFERENCES step(id) ON DELETE CASCADE,
    digest BLOB NOT NULL,
    x REAL NOT NULL, y REAL NOT NULL, w REAL NOT NULL, h REAL NOT NULL,  -- as of a statement
    in_group INTEGER NOT NULL,  -- 1: it was said of its whole group
    at REAL NOT NULL,
    is_ignored INTEGER NOT NULL DEFAULT 1  -- 0: it is not any more
) STRICT;
CREATE INDEX ignored_step ON ignored(step);
CREATE INDEX person_step ON person(step);
CREATE INDEX description_step ON description(step);
CREATE INDEX description_person ON description(person);
CREATE INDEX merger_step ON merger(step);
CREATE INDEX merger_into ON merger(into_person);
CREATE INDEX statement_step ON statement(step);
CREATE INDEX statement_person ON statement(person);
INSERT INTO meta VALUES ('changes', 0);
"""

MIGRATIONS: dict[int, str] = {
    1: """
    CREATE TABLE ignored(id INTEGER PRIMARY KEY AUTOINCREMENT, step INTEGER REFERENCES step(id) ON DELETE CASCADE,
        digest BLOB NOT NULL, x REAL NOT NULL, y REAL NOT NULL, w REAL NOT NULL, h REAL NOT NULL,
        in_group INTEGER NOT NULL, at REAL NOT NULL) STRICT;
    CREATE INDEX ignored_step ON ignored(step);
    """,
    2: "ALTER TABLE ignored ADD COLUMN is_ignored INTEGER NOT NULL DEFAULT 1;",
}
"""By version: the statements that make a file of it one of the next version."""


def connect(path: str) -> sqlite3.Connection:
    """Open the one connection that reads and writes."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=2)
    try:
        for pragma in (
            "trusted_schema = OFF",
            "temp_store = MEMORY",  # else a name could be written to a temporary file
            "secure_delete = ON",
            "foreign_keys = ON",
            "journal_mode = WAL",
            "synchronous = FULL",
        ):
            db.execute(f"PRAGMA {pragma}")
    except BaseException:
        db.close()
        raise
    return db


def create(path: str) -> None:
    """Make the tables in an empty file, which is whole and no log beside it when this returns."""
    db = sqlite3.connect(path, isolation_level=None)
    try:
        db.execute("PRAGMA synchronous = FULL")
        db.executescript(
            f"BEGIN; {TABLES} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; COMMIT;"
        )
    finally:
        db.close()


def migrate(db: sqlite3.Connection, version: int) -> None:
    """Bring a file of an earlier version up to this one, in one transaction."""
    steps = "".join(MIGRATIONS[step] for step in range(version, VERSION))
    db.executescript(f"BEGIN IMMEDIATE; {steps} PRAGMA user_version = {VERSION}; COMMIT;")
