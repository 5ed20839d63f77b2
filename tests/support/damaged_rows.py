"""Ways to damage the row of a face, behind the daemon's back."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

DAMAGES = {
    "shorter": "embedding = substr(embedding, 1, 8)",
    "no whole number of floats": "embedding = substr(embedding, 1, 7)",
    "longer": "embedding = CAST(embedding || embedding AS BLOB)",
    "empty": "embedding = zeroblob(0)",
    "not a number": "embedding = CAST(x'0000c07f' || substr(embedding, 5) AS BLOB)",
    "infinite": "embedding = CAST(x'0000807f' || substr(embedding, 5) AS BLOB)",
    "zero": "embedding = zeroblob(length(embedding))",
    "far too long": "embedding = CAST(x'ffff7f7f' || substr(embedding, 5) AS BLOB)",
    "norm": "norm = -8.5",
    "landmarks": "landmarks = substr(landmarks, 1, 7)",
}


def damage(catalog: Path, change: str, where: str) -> None:
    """Change the rows of some faces, behind the daemon's back."""
    with contextlib.closing(sqlite3.connect(catalog, isolation_level=None)) as db:
        assert db.execute(f"UPDATE face SET {change} WHERE {where}").rowcount
