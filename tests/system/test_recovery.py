"""Catalogs and write-ahead logs that were not made for each other."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from facewatchd.errors import DamagedError
from facewatchd.store import recovery
from facewatchd.store.catalog import Catalog
from tests.support.galleries import DIM, opened, photo, unit

WRITE = """
import os, sys
from pathlib import Path
import numpy as np
from tests.support.galleries import DIM, opened, photo, unit
gallery = opened(Path(sys.argv[1]))
first, count = int(sys.argv[2]), int(sys.argv[3])
rows = unit(np.random.default_rng(first).normal(size=(count, DIM)))
for n, row in enumerate(rows, first):
    gallery.record([photo(b"/%d" % n, b"%d" % n, [row])])
os.kill(os.getpid(), 9)
"""


def record(directory: Path, first: int, count: int) -> None:
    """Record photos, one a transaction, in a process that is killed then."""
    path = os.pathsep.join(sys.path)
    command = [sys.executable, "-c", WRITE, str(directory), str(first), str(count)]
    assert subprocess.run(command, env={**os.environ, "PYTHONPATH": path}).returncode == -signal.SIGKILL


def close(directory: Path) -> Path:
    """End in order; return the catalog, which is one file then."""
    opened(directory).catalog.close()
    assert not (directory / "catalog.sqlite3-wal").exists()
    return directory / "catalog.sqlite3"


def photos(directory: Path) -> int:
    catalog = Catalog(directory / "catalog.sqlite3", "test-00000000", DIM)
    with catalog.reading() as reader:
        count = reader.counts().photos
        assert reader.check() == []
    catalog.close()
    with closing(sqlite3.connect(directory / "catalog.sqlite3")) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return count


def foreign(directory: Path) -> list[Path]:
    return list(directory.glob("catalog.sqlite3-wal.foreign-*"))


@pytest.mark.parametrize("count", [1, 10, 300, 1000])
def test_a_log_of_its_own_is_read_however_long_it_grew(tmp_path: Path, count: int) -> None:
    record(tmp_path, 0, count)
    record(tmp_path, 5000, 3)
    assert photos(tmp_path) == count + 3
    assert foreign(tmp_path) == []


@pytest.mark.parametrize(("early", "late"), [(0, 1), (1, 1), (1, 300), (50, 10), (100, 100), (300, 700)])
def test_a_log_of_a_later_catalog_is_not_laid_over_a_backup(tmp_path: Path, early: int, late: int) -> None:
    if early:
        record(tmp_path, 0, early)
    backup = shutil.copy(close(tmp_path), tmp_path / "backup")
    record(tmp_path, 1000, late)
    log = (tmp_path / "catalog.sqlite3-wal").read_bytes()
    shutil.copy(backup, tmp_path / "catalog.sqlite3")
    assert photos(tmp_path) == early
    (kept,) = foreign(tmp_path)
    assert kept.read_bytes() == log


def test_a_checkpoint_that_was_broken_off_is_no_reason_to_doubt(tmp_path: Path) -> None:
    """The file says how long it is to be, and is not yet: the disk was full, or the process killed."""
    record(tmp_path, 0, 200)
    close(tmp_path)
    size = (tmp_path / "catalog.sqlite3").stat().st_size
    record(tmp_path, 1000, 100)
    catalog, log = tmp_path / "catalog.sqlite3", tmp_path / "catalog.sqlite3-wal"
    content = log.read_bytes()
    with closing(sqlite3.connect(catalog)) as db:
        db.execute("PRAGMA wal_checkpoint(PASSIVE)")
        pages = catalog.read_bytes()
        assert len(pages) > size
    log.write_bytes(content)
    catalog.write_bytes(pages[:size])
    assert photos(tmp_path) == 300
    assert foreign(tmp_path) == []


def test_while_somebody_reads_the_session_stays_and_nothing_is_lost(tmp_path: Path) -> None:
    record(tmp_path, 0, 20)
    with closing(sqlite3.connect(f"file:{tmp_path}/catalog.sqlite3?mode=ro", uri=True)) as db:
        db.execute("BEGIN")
        assert db.execute("SELECT count(*) FROM photo").fetchone() == (20,)
        record(tmp_path, 1000, 20)
        record(tmp_path, 2000, 20)
    assert photos(tmp_path) == 60
    assert foreign(tmp_path) == []


def test_examining_changes_nothing(tmp_path: Path) -> None:
    record(tmp_path, 0, 20)
    catalog, log = tmp_path / "catalog.sqlite3", tmp_path / "catalog.sqlite3-wal"
    before = catalog.read_bytes(), log.read_bytes()
    recovery.examine(catalog, "test-00000000")
    with pytest.raises(DamagedError, match="belongs to model"):
        recovery.examine(catalog, "another model")
    assert (catalog.read_bytes(), log.read_bytes()) == before


def test_a_catalog_that_lost_its_end_is_noticed_though_it_was_closed_in_order(tmp_path: Path) -> None:
    gallery = opened(tmp_path)
    rows = unit(np.random.default_rng(1).normal(size=(200, DIM)))
    gallery.record([photo(b"/%d" % n, b"%d" % n, [row]) for n, row in enumerate(rows)])
    gallery.catalog.close()
    path = tmp_path / "catalog.sqlite3"
    os.truncate(path, path.stat().st_size - 16384)
    with pytest.raises(DamagedError, match=r"end is missing|malformed"):
        Catalog(path, "test-00000000", DIM)


def test_a_spare_name_is_nobodys(tmp_path: Path) -> None:
    names = set()
    for _ in range(3):
        name = recovery.spare_name(tmp_path / "file", "damaged")
        name.touch()
        names.add(name)
    assert len(names) == 3
