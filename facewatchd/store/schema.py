"""The tables of the catalog, and the settings of its connections.

Faces belong to content and photos point at content, so that a rename, a copy or a restored file costs one read and no
inference. Face ids are never used twice (AUTOINCREMENT): they are the labels of the vector index.
"""

from __future__ import annotations

import sqlite3

from facewatchd.photos import taken
from facewatchd.store import outbox

APPLICATION_ID = 0x66776361  # "fwca"
VERSION = 7
DAMAGE = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
"""Prefixes of the names of the errors that SQLite raises for a damaged file."""
REFUSED = frozenset({sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_RANGE})
"""Primary codes of the errors that SQLite raises for a value or a row that can never be written."""

TABLES = f"""
CREATE TABLE meta(key TEXT PRIMARY KEY, value ANY) STRICT;
CREATE TABLE root(path BLOB PRIMARY KEY, device INTEGER NOT NULL, inode INTEGER NOT NULL) STRICT;
CREATE TABLE content(
    id INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    width INTEGER NOT NULL,     -- -1: a damaged face was removed, and the faces are to be found again
    height INTEGER NOT NULL,
    error TEXT,                 -- why no face can be had from these bytes
    unsupported INTEGER NOT NULL DEFAULT 0,  -- 1: nothing is wrong with them, but they are of a kind that is not read
    second_look INTEGER NOT NULL DEFAULT 0,  -- values.Ways in which one is to be taken; negative: was taken; -4: failed
    orphaned REAL,              -- Unix time since which no photo points here
    taken REAL,                 -- values.Taken.at, of the date in the bytes
    taken_offset INTEGER,       -- values.Taken.offset
    taken_from TEXT,            -- values.TakenFrom; '': no date is in the bytes; NULL: they were not read for it
    picture BLOB,               -- photos.likeness.fingerprint; NULL: not known
    fetched INTEGER NOT NULL DEFAULT 0  -- 1: another machine embedded it, and the shared engine told what it found
) STRICT;
CREATE INDEX content_orphaned ON content(orphaned) WHERE orphaned IS NOT NULL;
CREATE INDEX content_failed ON content(unsupported, id) WHERE error IS NOT NULL;
CREATE INDEX content_second_look ON content(second_look, orphaned) WHERE second_look != 0;
CREATE INDEX content_undated ON content(orphaned) WHERE taken_from IS NULL AND error IS NULL;
CREATE TABLE photo(
    id INTEGER PRIMARY KEY,
    path BLOB NOT NULL UNIQUE,
    directory BLOB NOT NULL,
    device INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    content_id INTEGER REFERENCES content(id),
    error TEXT,                 -- why this file could not be read; without content and error it is no photo
    named REAL                  -- values.Taken.at, of the date in its name
) STRICT;
CREATE INDEX photo_shown ON photo(path, content_id, error) WHERE content_id IS NOT NULL OR error IS NOT NULL;
CREATE INDEX photo_excluded ON photo(content_id, path) WHERE content_id IS NULL AND error IS NULL;
CREATE INDEX photo_directory ON photo(directory);
CREATE INDEX photo_content ON photo(content_id);
CREATE INDEX photo_inode ON photo(inode);
CREATE TABLE face(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    content_id INTEGER NOT NULL REFERENCES content(id) ON DELETE CASCADE,
    x INTEGER NOT NULL, y INTEGER NOT NULL, w INTEGER NOT NULL, h INTEGER NOT NULL,
    score REAL NOT NULL,
    landmarks BLOB NOT NULL,    -- 5 x 2 float32
    embedding BLOB NOT NULL,    -- dim float32, unit length
    norm REAL,                  -- its length as the recogniser gave it; NULL: not known
    look TEXT,                  -- values.Look of a second look; NULL: the first found it
    sharpness REAL,             -- values.Face.sharpness
    arrival INTEGER NOT NULL DEFAULT 0  -- the line of the journal that says that it came; 0: with its content
) STRICT;
CREATE INDEX face_content ON face(content_id);
CREATE INDEX face_shown ON face(id, content_id, w, h, norm);
CREATE TABLE journal(           -- store/journal.py
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,           -- Unix time
    content_id INTEGER NOT NULL,
    path BLOB,                  -- NULL: the content got faces
    shown INTEGER NOT NULL      -- 1: from now on the path shows the content; 2: so too, and it has the faces of the one
                                -- that the path showed before; 0: no more
) STRICT;
CREATE INDEX journal_content ON journal(content_id, seq);
CREATE TABLE grouped(           -- people/groups.py; a face that has no row is still to be looked at
    face_id INTEGER PRIMARY KEY REFERENCES face(id) ON DELETE CASCADE,
    group_id INTEGER NOT NULL   -- 0: it is in no group
) STRICT;
{outbox.TABLE}
"""

MIGRATIONS = {
    # Photos in hand were marked in `work` while they were decoded in the daemon's own process.
    1: "DROP TABLE work; CREATE INDEX photo_inode ON photo(inode);",
    # What failed is forgotten, and so looked at again: more is read than before, and the reasons are worded otherwise.
    # Counting all that match read the pages of their embeddings, and listing what failed those of all contents.
    2: """
    CREATE INDEX face_shown ON face(id, content_id, w, h);
    ALTER TABLE content ADD COLUMN unsupported INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX content_failed ON content(unsupported, id) WHERE error IS NOT NULL;
    CREATE INDEX photo_excluded ON photo(content_id, path) WHERE content_id IS NULL AND error IS NULL;
    DELETE FROM photo WHERE content_id IN (SELECT id FROM content WHERE error IS NOT NULL);
    DELETE FROM content WHERE error IS NOT NULL;
    """,
    # The first look was at 640 pixels, by a SCRFD: 0.75 is the `upright_score` of each. How faces lean is in their
    # landmarks: a doubtful score is taken for it.
    3: """
    ALTER TABLE face ADD COLUMN look TEXT;
    ALTER TABLE content ADD COLUMN second_look INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX content_second_look ON content(second_look, orphaned) WHERE second_look != 0;
    WITH seen AS (SELECT content_id, max(score) AS best, min(min(w, h)) AS smallest FROM face GROUP BY content_id)
    UPDATE content SET second_look = (SELECT (coalesce(best, 0) < 0.75)
        + 2 * (max(width, height) > 2400
               AND (coalesce(smallest, 0) * 640 < 24 * max(width, height) OR max(width, height) > 5120))
        FROM (SELECT content.id AS own) LEFT JOIN seen ON content_id = own)
    WHERE error IS NULL AND width > 0;
    ALTER TABLE face ADD COLUMN norm REAL;
    DROP INDEX face_shown;
    CREATE INDEX face_shown ON face(id, content_id, w, h, norm);
    """,
    # The dates in the files are read by and by (`indexing.dates`), those in their names at once.
    4: """
    ALTER TABLE content ADD COLUMN taken REAL;
    ALTER TABLE content ADD COLUMN taken_offset INTEGER;
    ALTER TABLE content ADD COLUMN taken_from TEXT;
    ALTER TABLE content ADD COLUMN picture BLOB;
    CREATE INDEX content_undated ON content(orphaned) WHERE taken_from IS NULL AND error IS NULL;
    ALTER TABLE photo ADD COLUMN named REAL;
    WITH dated AS MATERIALIZED (SELECT id, date_in_name(path) AS at FROM photo WHERE content_id IS NOT NULL)
    UPDATE photo SET named = at FROM dated WHERE dated.id = photo.id AND at IS NOT NULL;
    ALTER TABLE face ADD COLUMN sharpness REAL;
    ALTER TABLE face ADD COLUMN arrival INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE journal(seq INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, content_id INTEGER NOT NULL,
        path BLOB, shown INTEGER NOT NULL) STRICT;
    CREATE INDEX journal_content ON journal(content_id, seq);
    """,
    # The faces are put into groups by and by (`indexing.group_faces`).
    5: """
    CREATE TABLE grouped(face_id INTEGER PRIMARY KEY REFERENCES face(id) ON DELETE CASCADE,
        group_id INTEGER NOT NULL) STRICT;
    """,
    # It is empty until a shared engine is configured, and then everything is to be sent.
    6: f"{outbox.TABLE} ALTER TABLE content ADD COLUMN fetched INTEGER NOT NULL DEFAULT 0;",
}
"""By version: the statements that make a catalog of it one of the next version."""


def connect_writer(path: str) -> sqlite3.Connection:
    """Open the one connection that writes. It alone checkpoints the write-ahead log."""
    return _prepared(
        sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10),
        "page_size = 16384",  # blobs of 2 KB fit badly in 4096; only counts before the first table
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        "wal_autocheckpoint = 256",  # pages: 4 MB, as SQLite's own default is with pages of 4096
        "journal_size_limit = 16777216",
        "secure_delete = ON",  # what is deleted is overwritten: embeddings are biometric data
    )


def connect_reader(path: str, option: str = "mode=ro") -> sqlite3.Connection:
    """Open a connection that can only read and never checkpoints; with "immutable=1" it leaves the log unread too."""
    uri = f"file:{_quoted(path)}?{option}"
    return _prepared(sqlite3.connect(uri, uri=True, check_same_thread=False, timeout=10), "query_only = ON")


def _prepared(db: sqlite3.Connection, *pragmas: str) -> sqlite3.Connection:
    try:
        for pragma in pragmas:
            db.execute(f"PRAGMA {pragma}")
    except BaseException:
        db.close()
        raise
    return db


def _quoted(path: str) -> str:
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def create(db: sqlite3.Connection, model_id: str) -> None:
    """Create the tables of an empty catalog for one model."""
    db.executescript(f"BEGIN; {TABLES} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};")
    db.execute("INSERT INTO meta VALUES ('model', ?), ('uuid', lower(hex(randomblob(16))))", (model_id,))
    db.execute("COMMIT")


def migrate(db: sqlite3.Connection) -> None:
    """Bring a catalog of an earlier version up to this one, in one transaction."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version != VERSION:
        db.create_function("date_in_name", 1, taken.in_name)
        steps = "".join(MIGRATIONS[step] for step in range(version, VERSION))
        db.executescript(f"BEGIN IMMEDIATE; {steps} PRAGMA user_version = {VERSION}; COMMIT;")
