"""The hnswlib index: a disposable cache of the catalog's embeddings that finds the most alike ones quickly.

Labels are face ids, space is cosine. hnswlib asks for care (version 0.8):

- Searching is unsafe while something is added or the index grows: `Turns` keeps them apart, a few faces at a time.
- A label is added once and never again; a face that is gone is a tombstone until the next rebuild.
- `knn_query` raises when it cannot reach ``k`` live elements: callers keep ``k`` well below `len`, and what is
  raised all the same is an `UnreachableError`, to which the exact scan is the answer.
- `save_index` truncates in place, does not notice a full disk, and holds the interpreter's lock for seconds;
  `load_index` believes whatever it reads: `Checkpoint` sees to all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import hnswlib
import numpy as np
from numpy.typing import NDArray

from facewatchd.errors import BadEmbeddingError, DamagedError, FacewatchError, StorageError
from facewatchd.turns import Turns

M = 48
"""Links of a face. A person's faces form a star: those far from its middle are linked to by few, and with 16 links one
in thirty is linked to by none, so that no search finds it. `python -m benchmarks searching` has the table."""
EF_CONSTRUCTION = 200
EF = 300
"""Breadth of a search. With 200, one in some thousands of the faces that are alone is not found among a million; with
more, only the time grows."""
FIRST_CAPACITY = 1024
STEP = 8
"""Faces that are added or deleted in one turn: about ten milliseconds at a million, for which searches wait."""
_BULK = 512
"""Faces in one turn of several threads, where nobody searches yet."""
_LIVE, _DELETED = 1, 2

Ids = NDArray[np.int64]

_HEADER = np.dtype(
    {
        "names": ["count", "size", "label", "data"],
        "formats": [np.uint64] * 4,
        "offsets": [16, 24, 32, 40],
        "itemsize": 96,
    }
)
"""What is read of the head of hnswlib's file (`HierarchicalNSW::saveIndex`). After it come ``count`` elements of
``size`` bytes, with a label and an embedding at these offsets, then the upper levels of the graph."""


class UnreachableError(FacewatchError):
    """The graph does not reach as many live elements as were asked for."""


class Vectors:
    """An index in memory. Shapes: ids (n,) int64, embeddings (n, dim) float32, unit length."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.unsaved = 0
        """Faces added and deleted since it was read or written."""
        self._turns = Turns()
        self._index = _new_index(dim)
        self._index.init_index(FIRST_CAPACITY, M=M, ef_construction=EF_CONSTRUCTION)
        self._index.set_ef(EF)
        self._states = np.zeros(FIRST_CAPACITY, np.uint8)
        """By id: ids only grow, and a byte for each that ever was is less than a set of those that are."""
        self._live = self._deleted = 0

    def __len__(self) -> int:
        """Live elements."""
        return self._live

    @property
    def tombstones(self) -> int:
        return self._deleted

    @property
    def last_id(self) -> int:
        """The highest id that was ever added."""
        labels = np.flatnonzero(self._states)
        return int(labels[-1]) if len(labels) else 0

    def live_ids(self) -> Ids:
        """The ids that a search can answer with, ascending."""
        with self._turns.reading():
            return np.flatnonzero(self._states == _LIVE)

    def labels(self) -> Ids:
        """Live ids and tombstones, ascending."""
        with self._turns.reading():
            return np.flatnonzero(self._states)

    def add(self, ids: Ids, embeddings: NDArray[np.float32], threads: int = 1) -> None:
        """Add faces that were never in this index; raises `BadEmbeddingError` and adds none if one is not finite.

        Several ``threads`` are for an index that nobody searches yet.
        """
        if embeddings.shape != (len(ids), self.dim) or not np.isfinite(embeddings).all():
            raise BadEmbeddingError(f"embeddings must be finite and of {self.dim} dimensions")
        self._note_room(int(ids.max(initial=0)))
        if self._states[ids].any() or len(np.unique(ids)) < len(ids):
            raise ValueError("an id was in the index before")
        step = STEP if threads == 1 else _BULK
        for start in range(0, len(ids), step):
            part = ids[start : start + step]
            with self._turns.changing():
                self._make_room(len(part))
                self._index.add_items(embeddings[start : start + step], part, num_threads=threads)
                self._states[part] = _LIVE
                self._live += len(part)
                self.unsaved += len(part)

    def _note_room(self, face_id: int) -> None:
        if face_id >= len(self._states):
            states = np.zeros(max(face_id + 1, len(self._states) * 3 // 2), np.uint8)
            states[: len(self._states)] = self._states
            self._states = states

    def _make_room(self, count: int) -> None:
        needed, capacity = self._live + self._deleted + count, self._index.get_max_elements()
        if needed > capacity:
            self._index.resize_index(max(needed, capacity * 3 // 2))

    def delete(self, ids: Ids) -> None:
        """Turn faces into tombstones; ids that are not live are passed over."""
        ids = ids[ids < len(self._states)]
        live = np.unique(ids[self._states[ids] == _LIVE])
        for start in range(0, len(live), _BULK):
            with self._turns.changing():
                for face_id in live[start : start + _BULK].tolist():
                    self._index.mark_deleted(face_id)
                    self._states[face_id] = _DELETED
                    self._live -= 1
                    self._deleted += 1
                    self.unsaved += 1

    def nearest(self, embedding: NDArray[np.float32], k: int) -> tuple[Ids, NDArray[np.float32]]:
        """The ids of the ``k`` most alike and their cosine similarities, most alike first."""
        with self._turns.reading():
            try:
                ids, distances = self._index.knn_query(embedding, k=k, num_threads=1)
            except RuntimeError as exc:
                raise UnreachableError(f"the index does not reach {k} faces") from exc
        return ids[0].astype(np.int64), np.clip(1.0 - distances[0], -1.0, 1.0)

    def get(self, ids: Ids) -> NDArray[np.float32]:
        """The stored embeddings of live ids. Shape (n, dim)."""
        with self._turns.reading():
            return np.asarray(self._index.get_items(ids), np.float32).reshape(-1, self.dim)

    # On the disk

    @contextmanager
    def at_rest(self) -> Iterator[Ids]:
        """Have nothing change meanwhile, while searches go on. Gives the tombstones."""
        with self._turns.reading():
            yield np.flatnonzero(self._states == _DELETED)

    def write(self, path: Path) -> int:
        """Write hnswlib's file while the index is `at_rest`; return its bytes. Raises `StorageError`, OSError."""
        try:
            self._index.save_index(str(path))
        except RuntimeError as exc:
            raise StorageError(f"cannot write the index: {exc}", "free some disk space") from exc
        expected = int(self._index.index_file_size())
        if path.stat().st_size != expected:
            raise StorageError("the index was written short", "free some disk space")
        return expected

    @classmethod
    def read(cls, path: Path, dim: int, tombstones: Ids) -> Vectors:
        """Read hnswlib's file, which must be whole: the caller knows its digest. Raises `DamagedError`, OSError."""
        with path.open("rb") as file:
            _layout(file, dim)
        vectors = cls(dim)
        index = _new_index(dim)
        try:
            index.load_index(str(path))
        except RuntimeError as exc:
            raise DamagedError(f"the index cannot be loaded ({exc})") from exc
        index.set_ef(EF)
        vectors._index = index
        labels = np.array(index.get_ids_list(), np.int64)
        vectors._note_room(int(labels.max(initial=0)))
        vectors._states[labels] = _LIVE
        vectors._states[tombstones] = _DELETED
        vectors._deleted = len(tombstones)
        vectors._live = len(labels) - len(tombstones)
        return vectors


def stored(path: Path, dim: int, batch: int = 4096) -> Iterator[tuple[Ids, NDArray[np.float32]]]:
    """Everything in hnswlib's file, tombstones too: labels (n,) and embeddings (n, dim), n at most ``batch``.

    hnswlib's own `get_items` makes Python numbers of them, 27 s for a million of 512 dimensions, with the GIL held.
    """
    with path.open("rb") as file:
        row, left = _layout(file, dim)
        while left:
            rows = np.fromfile(file, row, min(batch, left))
            if not len(rows):
                raise DamagedError("the index ends early")
            left -= len(rows)
            yield rows["label"].astype(np.int64), rows["embedding"]


def _layout(file: BinaryIO, dim: int) -> tuple[np.dtype[np.void], int]:
    """Read the header; return what one element looks like, and how many follow. Raises `DamagedError`."""
    header = np.fromfile(file, _HEADER, 1)
    if not len(header):
        raise DamagedError("the index has no header")
    size, label, data = (int(header[0][name]) for name in ("size", "label", "data"))
    if not 0 < data < data + 4 * dim == label == size - 8:
        raise DamagedError(f"the index is not of {dim} dimensions")
    row = np.dtype(
        {
            "names": ["embedding", "label"],
            "formats": [(np.float32, (dim,)), np.uint64],
            "offsets": [data, label],
            "itemsize": size,
        }
    )
    return row, int(header[0]["count"])


def _new_index(dim: int) -> Any:
    return hnswlib.Index(space="cosine", dim=dim)
