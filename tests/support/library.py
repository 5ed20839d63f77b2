"""Photos, and what a daemon had recorded of them at several times: directories to start from, each on a copy."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.albums import shoot
from tests.support.prober import Prober
from tests.support.processes import Daemon

FACES = 3
"""Faces on each photo: with so many of them the index is asked, not only the catalog."""
NO_CHECKPOINT = """
import sys
if "run" in sys.argv:
    from facewatchd.store.schedule import CheckpointSchedule
    CheckpointSchedule.is_due = lambda *_: False
"""
"""A hook: no checkpoint is made but at the end."""


@dataclass(frozen=True)
class Library:
    """The photos, and the data directories."""

    root: Path
    early: Path
    """When there were only some of the photos; ended in order."""
    killed: Path
    """When they were as they are; ended by kill -9, so that the last transactions are in the write-ahead log."""
    late: Path
    """The same; ended in order."""
    other: Path
    """Another catalog: as many photos of other people."""
    model_root: Path

    @property
    def photo(self) -> Path:
        """One that was there all the time."""
        return self.root / "a" / "040.jpg"


def build(place: Path, model_root: Path) -> Library:
    """Make the photos, and have daemons record them."""
    library = Library(place / "photos", *(place / name for name in ("early", "killed", "late", "other")), model_root)
    daemon = Daemon(place / "home", library.root, model="tiny", model_root=model_root)
    portray(library.root / "a", 50, 0)
    with daemon:
        _import(daemon, library.early)
        portray(library.root / "b", 60, 100)
        for n in range(5):
            shoot(library.root / "a" / f"{n:03d}.jpg", [11], 900 + n)
            (library.root / "a" / f"{10 + n:03d}.jpg").unlink()
        _import(daemon, library.killed, kill=True)
        _import(daemon, library.late)
    portray(place / "other photos", 50, 500)
    with Daemon(place / "other home", place / "other photos", model="tiny", model_root=model_root) as daemon:
        _import(daemon, library.other)
    return library


def _import(daemon: Daemon, copy: Path, *, kill: bool = False) -> None:
    daemon.start()
    daemon.settle()
    if kill:
        daemon.kill()
    else:
        assert daemon.stop() == 0
    shutil.copytree(daemon.data, copy)


def portray(directory: Path, count: int, first_seed: int) -> None:
    """Photos of several people each."""
    for n in range(count):
        persons = [1 + (first_seed + n + 3 * k) % 10 for k in range(FACES)]
        shoot(directory / f"{n:03d}.jpg", persons, first_seed + n)


def files_of(data: Path) -> Path:
    """The directory of the one model below a data directory."""
    (directory,) = (path for path in data.iterdir() if path.is_dir())
    return directory


def committed(directory: Path) -> set[str]:
    """The contents that a catalog knows, in hexadecimal. It is read from a copy, and stays as it was left."""
    with tempfile.TemporaryDirectory() as place:
        for name in ("catalog.sqlite3", "catalog.sqlite3-wal"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copy(directory / name, place)
        with contextlib.closing(sqlite3.connect(Path(place) / "catalog.sqlite3")) as db:
            if not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'content'").fetchone():
                return set()
            return {digest.hex() for (digest,) in db.execute("SELECT digest FROM content")}


def embeddings(daemon: Daemon) -> Counter[str]:
    """`Daemon.embeddings`, also where nothing was embedded."""
    return daemon.embeddings() if (daemon.home / "embedded").exists() else Counter()


def expect_not_embedded(daemon: Daemon, known: set[str]) -> None:
    """None of these contents went through the model, and none of the others twice."""
    counts = embeddings(daemon)
    again = known & counts.keys()
    assert not again, f"{len(again)} contents that were committed were embedded again"
    assert set(counts.values()) <= {1}


@contextlib.contextmanager
def asked(daemon: Daemon, photo: Path) -> Iterator[None]:
    """Queries come all the time, and every one is answered once the daemon listens."""
    with Prober(daemon, photo) as prober:
        yield
        prober.answered(2)
    prober.expect()
