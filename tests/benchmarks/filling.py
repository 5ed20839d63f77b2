"""Photos and catalogs that are made up: many files in no time, and what a daemon would have recorded of them."""

from __future__ import annotations

import importlib.util
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facewatchd.matches import Box
from facewatchd.models.registry import Pack
from facewatchd.photos import files
from facewatchd.store.catalog import Catalog, Outcome
from facewatchd.values import Face, Stamp
from tests.benchmarks.daemons import running

BATCH = 64
"""Outcomes in a transaction, as many as the writer takes at most."""


def picture(number: int) -> bytes:
    """Make a valid BMP file of one pixel, different for each number."""
    header = struct.pack("<2sIII", b"BM", 58, number, 54)
    return (
        header + struct.pack("<IiiHHIIiiII", 40, 1, 1, 1, 24, 0, 4, 0, 0, 0, 0) + struct.pack("<I", number % (1 << 24))
    )


def make_files(root: Path, count: int, directories: int) -> list[bytes]:
    """Write so many files, evenly into so many directories below the root; return their paths."""
    names = []
    for number in range(count):
        directory = root / f"{number % directories:04d}"
        if number < directories:
            directory.mkdir(parents=True)
        path = os.fsencode(directory / f"IMG_{number:06d}.bmp")
        with open(path, "wb") as file:
            file.write(picture(number))
        names.append(path)
    return names


def fill_catalog(home: Path, root: Path, pack: Pack, paths: Sequence[bytes], *, faces: bool = False) -> None:
    """Record the files in the data directory of a `Daemon` at ``home``, as photos without a face, or with one each."""
    with running(home, [root], pack) as daemon:
        model = daemon.call("status")["model"]
        daemon.call("pause")
    catalog = Catalog(home / "data" / model["id"] / "catalog.sqlite3", model["id"], model["dim"])
    for start in range(0, len(paths), 5000):
        part = paths[start : start + 5000]
        vectors = embeddings(len(part), model["dim"], seed=start) if faces else [None] * len(part)
        catalog.record([_recorded(path, vector) for path, vector in zip(part, vectors, strict=True)])
    catalog.close()


def _recorded(path: bytes, vector: NDArray[np.float32] | None) -> Outcome:
    with open(path, "rb") as file:
        digest = files.digest(file.read())
    return Outcome(path, Stamp.of(os.stat(path)), digest, 1600, 1200, [] if vector is None else [_face(vector)])


def _face(vector: NDArray[np.float32]) -> Face:
    return Face(Box(100, 100, 80, 80), 0.9, np.zeros((5, 2), np.float32), vector)


def embeddings(count: int, dim: int, seed: int = 0) -> NDArray[np.float32]:
    """Make random embeddings of unit length. Shape (count, dim)."""
    rows = np.random.default_rng(seed).standard_normal((count, dim), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def portraits(first: int, vectors: NDArray[np.float32]) -> Iterator[Outcome]:
    """Outcomes of photos with one face each, 500 of them in a directory, of files that are nowhere."""
    for number, vector in enumerate(vectors, first):
        path = b"/photos/%04d/IMG_%07d.jpg" % (number // 500, number)
        stamp = Stamp(1, number + 1000, 2_000_000, number, number)
        yield Outcome(path, stamp, files.digest(picture(number)), 1600, 1200, [_face(vector)])


def copies(root: Path, count: int, source: Path | None = None) -> list[Path]:
    """Write one photo as so many files of different bytes: decoders do not look at what follows a JPEG's end.

    Without a ``source`` it is InsightFace's picture of six people, of 1.1 megapixels.
    """
    data = (source or _group_photo()).read_bytes()
    root.mkdir(parents=True, exist_ok=True)
    paths = [root / f"IMG_{number:05d}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(data + number.to_bytes(4, "big"))
    return paths


def _group_photo() -> Path:
    spec = importlib.util.find_spec("insightface")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0], "data", "images", "t1.jpg")
