"""A library of made-up faces on the disk: catalog, index and checkpoint, written by the daemon's own code.

A fifth of the photos was embedded again with other faces, so that as many faces were deleted and replaced. A library
is kept in the working directory and found again there.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facewatchd.matches import Box
from facewatchd.store.catalog import Catalog, Outcome
from facewatchd.store.data_directory import LastRun
from facewatchd.store.gallery import Gallery
from facewatchd.store.hnsw import HnswIndex
from facewatchd.store.index import Upkeep
from facewatchd.values import Face, ModelInfo, Stamp
from tests.benchmarks import gallery as faces
from tests.benchmarks.options import Options

MODEL = ModelInfo("made-up-00000000", "made-up", faces.DIM, faces.THRESHOLD)
REPLACED = 0.2
"""Share of the faces that were deleted and replaced."""
_BATCH = 2048
_LANDMARKS = np.zeros((5, 2), np.float32)


@dataclass(frozen=True)
class Library:
    """Photo number p shows one face, row ``current[p]`` of ``people``."""

    home: Path
    people: faces.People
    current: NDArray[np.int64]
    figures: dict[str, float]
    """What was measured when it was made, seconds and faces a second."""

    @property
    def root(self) -> Path:
        """Where its photos would lie: nothing is there, so the daemon holds them for those of a disk that is away."""
        return self.home / "photos"

    @property
    def data(self) -> Path:
        return self.home / "data"

    def path(self, photo: int) -> bytes:
        return b"%s/%d.jpg" % (bytes(self.root), photo)

    def photo(self, path: bytes) -> int:
        return int(path.rpartition(b"/")[2][:-4])

    @contextmanager
    def opened(self) -> Iterator[Gallery]:
        """Open catalog and index, without a daemon; the index is not there yet."""
        directory = self.data / MODEL.id
        directory.mkdir(parents=True, exist_ok=True)
        catalog = Catalog(directory / "catalog.sqlite3", MODEL.id, MODEL.dim)
        try:
            yield Gallery(catalog, HnswIndex(catalog, directory, threads=2))
        finally:
            catalog.close()


def library(options: Options, count: int) -> Library:
    """Find or make a library of so many faces."""
    home = options.work / f"library-{count}"
    people = faces.make(count + int(count * REPLACED))
    current = np.arange(count)
    replaced = np.random.default_rng(2).permutation(count)[: int(count * REPLACED)]
    current[replaced] = np.arange(count, count + len(replaced))
    note = home / "figures.json"
    figures = json.loads(note.read_text()) if note.exists() else {}
    made = Library(home, people, current, figures)
    if not figures:
        made.root.mkdir(parents=True, exist_ok=True)
        figures.update(_make(made, count, replaced))
        LastRun(None, (str(made.root),)).remember(made.data)
        note.write_text(json.dumps(figures))
    return made


def _make(library: Library, count: int, replaced: NDArray[np.int64]) -> dict[str, float]:
    with library.opened() as gallery:
        _record(library, gallery, np.arange(count), np.arange(count))
        started = time.perf_counter()
        gallery.index.maintain(Upkeep(threads=2))
        built = time.perf_counter() - started
        _say(f"{count:,} faces: the index is built, {count / built:,.0f} a second")
        started = time.perf_counter()
        _record(library, gallery, replaced, library.current[replaced])
        churned = time.perf_counter() - started
        started = time.perf_counter()
        gallery.index.maintain(Upkeep(), last=True)
        saved = time.perf_counter() - started
    return {"built": count / built, "replaced": len(replaced) / churned, "saved": saved}


def _record(library: Library, gallery: Gallery, photos: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
    for start in range(0, len(photos), _BATCH):
        part = slice(start, start + _BATCH)
        pairs = zip(photos[part].tolist(), rows[part].tolist(), strict=True)
        gallery.record([outcome(library.path(photo), photo, library.people.vectors[row]) for photo, row in pairs])


def outcome(path: bytes, photo: int, vector: NDArray[np.float32]) -> Outcome:
    """What is recorded of a photo with one face."""
    face = Face(Box(100, 100, 200, 200), 0.9, _LANDMARKS, vector)
    return Outcome(path, Stamp(1, photo + 1, 1, 1, 1), b"%032d" % photo, 4000, 3000, [face])


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
