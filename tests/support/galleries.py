"""Small galleries of made-up faces for the tests of catalog, gallery and search."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facewatchd.matches import Box
from facewatchd.store.candidates import Question
from facewatchd.store.catalog import Catalog, Outcome
from facewatchd.store.gallery import Gallery
from facewatchd.store.hnsw import HnswIndex
from facewatchd.store.index import Index
from facewatchd.store.results import Found, found
from facewatchd.store.scoring import Search, Wanted, scored
from facewatchd.values import Face, Stamp

DIM = 24
BOX = Box(1, 2, 60, 80)
OPENED: list[Catalog] = []
"""What `opened` opened and `close_all` is to close; closing twice does no harm."""


def unit(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rows scaled to length 1. Shape (n, dim)."""
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def face(embedding: NDArray[np.float32], box: Box = BOX, norm: float | None = None) -> Face:
    return Face(box, 0.9, np.zeros((5, 2), np.float32), embedding, norm)


def stamp(inode: int, ctime_ns: int = 1) -> Stamp:
    return Stamp(1, inode, 100, 1, ctime_ns)


def photo(path: bytes, digest: bytes, embeddings: Iterable[NDArray[np.float32]], inode: int = 1) -> Outcome:
    """A photo of new content with these faces."""
    return Outcome(path, stamp(inode), digest, 640, 480, [face(row) for row in embeddings])


def gallery_with(directory: Path, index: Index | None = None) -> Gallery:
    """A gallery on a catalog in the directory; without an ``index``, with the daemon's, which is not level yet."""
    catalog = Catalog(directory / "catalog.sqlite3", "test-00000000", DIM)
    OPENED.append(catalog)
    return Gallery(catalog, HnswIndex(catalog, directory) if index is None else index)


def opened(directory: Path) -> Gallery:
    """A gallery on a catalog in the directory, brought level."""
    gallery = gallery_with(directory)
    hnsw(gallery).level()
    return gallery


def hnsw(gallery: Gallery) -> HnswIndex:
    """The gallery's index, of which tests know more than the gallery does."""
    assert isinstance(gallery.index, HnswIndex)
    return gallery.index


def nearest(
    gallery: Gallery,
    rows: NDArray[np.float32],
    search: Search,
    *,
    norms: Sequence[float | None] = (),
    own: Iterable[int] = (),
) -> Found:
    """The photos of one person, or of several: an embedding of shape (dim,) or (n, dim). ``own``: contents."""
    people = np.atleast_2d(rows)
    wanted = [
        Wanted(row[None], (norm,), own=frozenset(own))
        for row, norm in zip(people, norms or [None] * len(people), strict=True)
    ]
    with gallery.catalog.reading() as reader:
        ways = [scored(gallery.index, reader, each, search) for each in wanted]
        return found(reader, Question([ways]), search)


def index_size(gallery: Gallery) -> tuple[int, int]:
    """Live faces and tombstones in the index."""
    status = gallery.index.status()
    return status.faces, status.tombstones


def close_all() -> None:
    while OPENED:
        OPENED.pop().close()
