"""Photos with dates in their EXIF data, and catalogs as the version before dates left them."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from PIL import Image

from tests.support.albums import shoot

TO_4 = """
DROP INDEX content_lacking; DROP TABLE outbox; ALTER TABLE content DROP COLUMN fetched;
DROP TABLE grouped;
DROP INDEX content_undated; DROP INDEX journal_content; DROP TABLE journal;
ALTER TABLE content DROP COLUMN taken; ALTER TABLE content DROP COLUMN taken_offset;
ALTER TABLE content DROP COLUMN taken_from; ALTER TABLE content DROP COLUMN picture;
ALTER TABLE photo DROP COLUMN named;
ALTER TABLE face DROP COLUMN sharpness; ALTER TABLE face DROP COLUMN arrival;
PRAGMA user_version = 4;
"""
"""What makes a catalog of version 7 one of version 4."""


def dated(path: Path, taken: str, offset: str = "") -> Path:
    """Write a date, such as 2019:06:30 12:00:00, into a JPEG. Its picture stays as it is."""
    tags = Image.Exif()
    tags.get_ifd(0x8769).update({0x9003: taken} | ({0x9011: offset} if offset else {}))
    body, data = tags.tobytes(), path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + data[2:])
    return path


def shoot_on(path: Path, persons: list[int], seed: int, taken: str, offset: str = "") -> Path:
    """A photo of some people (`shoot`), taken then."""
    return dated(shoot(path, persons, seed), taken, offset)


def age(catalog: Path) -> None:
    """Make a catalog that is closed one of version 4."""
    with contextlib.closing(sqlite3.connect(catalog)) as db:
        db.executescript(TO_4)
