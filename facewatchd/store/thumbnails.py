"""Thumbnails that were made, in one SQLite file beside the catalog: a cache, which answers, keeps or forgets.

- Nothing here raises. A file that cannot be read or written keeps no thumbnails; one that is damaged is deleted, and a
  new one is begun. A thumbnail whose bytes are not those that were kept is made again: each row has their digest.
- A thumbnail belongs to a content, by its digest, and is removed with it. SQLite overwrites what is deleted
  (`secure_delete`), and its log is emptied: no bytes of a face stay in the file after the photo was forgotten.
- The pages that are in use take at most so many bytes. What was made while indexing, and was not asked for since, comes
  last: it goes first where another needs room, photos before faces, and then what was not used for longest. A face that
  is pictured while indexing takes the room of such photos alone, and a photo takes none.
- A kill leaves a transaction whole or not done. After a power failure the last ones may be missing
  (``synchronous = NORMAL``): a cache need not wait for the disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final, TypeVar

from facewatchd.photos.crops import Crop, Thumbnail
from facewatchd.store.schema import DAMAGE
from facewatchd.system import ownership

log = logging.getLogger(__name__)

T = TypeVar("T")

KEPT_SIZE: Final = 640
"""The largest `Crop.size` of a thumbnail that is kept. Larger ones are looked at one at a time, and each takes as much
room as a hundred faces."""
_PAGE: Final = 4096
_PRAGMAS: Final = (
    f"page_size = {_PAGE}",
    "journal_mode = WAL",
    "synchronous = NORMAL",
    "wal_autocheckpoint = 256",  # pages: 1 MB
    "journal_size_limit = 1048576",
    "secure_delete = ON",
)
_SPARE_PAGES: Final = 4
_ROOM: Final = 0.05
"""What is freed at once where room is needed, as a part of all."""
_BATCH: Final = 500
"""Variables in one statement."""
_DAY: Final = 86400
_NEVER: Final = 0
"""In place of the day of use, of a face that was pictured while indexing and that nothing has asked for."""
_LEAST: Final = -1
"""The same of a photo."""
_ALL: Final = 1 << 62
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS thumbnail(
    id INTEGER PRIMARY KEY,
    digest BLOB NOT NULL,       -- of the photo's bytes
    crop TEXT NOT NULL,         -- what it shows, and how large: _name
    width INTEGER NOT NULL, height INTEGER NOT NULL,
    used INTEGER NOT NULL,      -- day since 1970 on which it was asked for last; 0: never, -1: nor is it of a face
    sum BLOB NOT NULL,          -- digest of the JPEG
    jpeg BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS thumbnail_crop ON thumbnail(digest, crop);
CREATE INDEX IF NOT EXISTS thumbnail_used ON thumbnail(used);
"""


class ThumbnailStore:
    """Any thread may call the methods."""

    def __init__(self, path: Path, most: int, clock: Callable[[], float] = time.time) -> None:
        """``most``: bytes that the file may take, besides the log of 1 MB; 0: no file is kept.

        The file is opened, or made, when it is first needed: a daemon starts without it.
        """
        self._path = path
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._is_in_trouble = False
        """Whether an error was logged since something was kept last."""
        if not most:
            self._delete()

    def close(self) -> None:
        with self._lock:
            self._close()

    def get(self, digest: bytes, crop: Crop) -> Thumbnail | None:
        """The thumbnail of a content; None where it is not kept."""

        def read(db: sqlite3.Connection) -> Thumbnail | None:
            sql = "SELECT id, jpeg, width, height, sum, used FROM thumbnail WHERE digest = ? AND crop = ?"
            row = db.execute(sql, (digest, _name(crop))).fetchone()
            if row is None:
                return None
            number, jpeg, width, height, sum_, used = row
            if _sum(jpeg) != sum_:
                db.execute("DELETE FROM thumbnail WHERE id = ?", (number,))
                return None
            if used != self._today():
                with contextlib.suppress(sqlite3.OperationalError):  # the disk is full
                    db.execute("UPDATE thumbnail SET used = ? WHERE id = ?", (self._today(), number))
            return Thumbnail(jpeg, width, height)

        return self._with(read, None)

    def put(self, digest: bytes, crop: Crop, thumbnail: Thumbnail) -> None:
        """Keep a thumbnail that was asked for, if it is small enough; others may have to make room for it."""
        if crop.size > KEPT_SIZE:
            return

        def write(db: sqlite3.Connection) -> None:
            if self._make_room(db, len(thumbnail.jpeg), _ALL):
                _insert(db, digest, crop, thumbnail, self._today())
                self._is_in_trouble = False

        self._with(write, None)

    def fill(self, digest: bytes, thumbnails: Sequence[tuple[Crop, Thumbnail]]) -> None:
        """Keep thumbnails of a content that nothing has asked for yet, if there is room: all of its faces or none."""
        faces = [each for each in thumbnails if each[0].box is not None]
        photos = [each for each in thumbnails if each[0].box is None]

        def write(db: sqlite3.Connection) -> None:
            kept: list[tuple[Crop, Thumbnail, int]] = []
            if self._make_room(db, needed := _bytes_of(faces), _LEAST):
                kept += [(*each, _NEVER) for each in faces]
                if self._free(db) >= needed + _bytes_of(photos):
                    kept += [(*each, _LEAST) for each in photos]
            if not kept:
                return
            db.execute("BEGIN")
            for crop, thumbnail, used in kept:
                _insert(db, digest, crop, thumbnail, used)
            db.execute("COMMIT")
            self._is_in_trouble = False

        self._with(write, None)

    def digests(self) -> set[bytes]:
        """The contents of which thumbnails are kept."""
        sql = "SELECT DISTINCT digest FROM thumbnail"
        return self._with(lambda db: {digest for (digest,) in db.execute(sql)}, set())

    def remove(self, digests: Collection[bytes]) -> None:
        """Delete the thumbnails of some contents, and overwrite their bytes."""
        listed = sorted(digests)

        def delete(db: sqlite3.Connection) -> None:
            removed = 0
            for start in range(0, len(listed), _BATCH):
                part = listed[start : start + _BATCH]
                marks = ",".join("?" * len(part))
                removed += db.execute(f"DELETE FROM thumbnail WHERE digest IN ({marks})", part).rowcount
            if removed:
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the log has older pages

        self._with(delete, None)

    def _today(self) -> int:
        return int(self._clock() // _DAY)

    def _free(self, db: sqlite3.Connection) -> int:
        """Bytes that are free for more thumbnails; some pages are left for the tables' own."""
        (pages,), (free,) = (db.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "freelist_count"))
        return self._most - int(pages - free + _SPARE_PAGES) * _PAGE

    def _make_room(self, db: sqlite3.Connection, needed: int, latest: int) -> bool:
        """Delete what was not used for longest, nor after a day, until there is room; False where that does not do."""
        while self._free(db) < needed:
            (count,) = db.execute("SELECT count(*) FROM thumbnail WHERE used <= ?", (latest,)).fetchone()
            if not count:
                return False
            oldest = "SELECT id FROM thumbnail WHERE used <= ? ORDER BY used, id LIMIT ?"
            db.execute(f"DELETE FROM thumbnail WHERE id IN ({oldest})", (latest, max(1, int(count * _ROOM))))
        return True

    def _with(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """What a function of the open file returns, or the second value where there is no file, or it fails."""
        if not self._most:
            return otherwise
        with self._lock:
            try:
                self._db = self._db or self._opened()
                return work(self._db)
            except (sqlite3.Error, OSError) as exc:
                self._note(exc)
                return otherwise

    def _opened(self) -> sqlite3.Connection:
        ownership.make_private(self._path)
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=10)
        try:
            for pragma in _PRAGMAS:
                db.execute(f"PRAGMA {pragma}")
            db.executescript(_TABLES)
            self._path.chmod(0o600)
            if self._path.stat().st_size > self._most:  # more was allowed before
                self._make_room(db, 0, _ALL)
                db.execute("VACUUM")
        except BaseException:
            db.close()
            raise
        return db

    def _note(self, error: sqlite3.Error | OSError) -> None:
        """Close the file after an error, and delete a damaged one. It is logged once until something is kept again."""
        self._close()
        if str(getattr(error, "sqlite_errorname", "")).startswith(DAMAGE):
            log.warning("%s is damaged (%s): it is deleted, and pictures are made again", self._path, error)
            self._delete()
        elif not self._is_in_trouble:
            log.warning("pictures are not kept in %s: %s", self._path, error)
        self._is_in_trouble = True

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _delete(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)


def _insert(db: sqlite3.Connection, digest: bytes, crop: Crop, thumbnail: Thumbnail, used: int) -> None:
    """Keep a thumbnail in place of the one there may be, which may have been used later."""
    db.execute(
        "INSERT INTO thumbnail(digest, crop, width, height, used, sum, jpeg) VALUES (?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT(digest, crop) DO UPDATE SET width = excluded.width, height = excluded.height, "
        "used = max(used, excluded.used), sum = excluded.sum, jpeg = excluded.jpeg",
        (digest, _name(crop), thumbnail.width, thumbnail.height, used, _sum(thumbnail.jpeg), thumbnail.jpeg),
    )


def _bytes_of(thumbnails: Sequence[tuple[Crop, Thumbnail]]) -> int:
    """That they take at most."""
    return sum(len(thumbnail.jpeg) + _PAGE for _, thumbnail in thumbnails)


def _name(crop: Crop) -> str:
    """A crop as it is kept."""
    return " ".join(map(str, (crop.size, *(crop.box or ()))))


def _sum(jpeg: bytes) -> bytes:
    return hashlib.blake2b(jpeg, digest_size=8).digest()
