"""Made-up faces for the tests of expected false matches: people without likeness, and small children, who are alike."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facewatchd.matches import Box
from facewatchd.photos import files
from facewatchd.store.catalog import Catalog, Outcome
from facewatchd.values import Face, Stamp
from tests.support.galleries import unit

Rows = NDArray[np.float32]


def people(rng: np.random.Generator, count: int, dim: int, alike: float = 0.0) -> Rows:
    """One face each of some people, whose similarities are ``alike`` on average. Shape (count, dim)."""
    own = unit(rng.normal(size=(count, dim)))
    common = unit(rng.normal(size=dim))
    return unit(np.sqrt(1 - alike) * own + np.sqrt(alike) * common)


def photos_of(rng: np.random.Generator, person: Rows, count: int, similarity: float = 0.7) -> Rows:
    """Some faces of one person, who are so similar to each other on average. Shape (count, dim)."""
    return unit(np.sqrt(similarity) * person + np.sqrt(1 - similarity) * unit(rng.normal(size=(count, len(person)))))


def record(directory: Path, root: Path, model_id: str, rows: Rows, norms: Sequence[float | None] = ()) -> None:
    """Make a catalog in the directory that knows files in ``root``, which are made too, with one face each.

    The files are named by their numbers, and hold nothing that could be decoded: a daemon that finds them as they were
    recorded does not read them.
    """
    root.mkdir(parents=True)
    directory.mkdir(parents=True, mode=0o700)
    catalog = Catalog(directory / "catalog.sqlite3", model_id, rows.shape[1])
    outcomes = []
    for number, row in enumerate(rows):
        path = root / f"{number:05}.jpg"
        path.write_text(f"{number}")
        face = Face(Box(100, 100, 80, 80), 0.9, np.zeros((5, 2), np.float32), row, norms[number] if norms else None)
        outcomes.append(
            Outcome(os.fsencode(path), Stamp.of(path.stat()), files.digest(path.read_bytes()), 1600, 1200, [face])
        )
    catalog.record(outcomes)
    catalog.close()
