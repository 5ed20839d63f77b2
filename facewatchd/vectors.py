"""The hnswlib index: a disposable cache of the catalog's embeddings that finds the most alike ones quickly.

Labels are face ids, space is cosine. hnswlib asks for care (version 0.8):

- Adding, searching and resizing at the same time is unsafe: one lock is held around every call.
- A label is added once and never again; a face that is gone is a tombstone until the next rebuild.
- `knn_query` raises when it cannot reach ``k`` live elements: callers keep ``k`` well below `len`, and what is
  raised all the same is an `UnreachableError`, to which the exact scan is the answer.
- `save_index` truncates in place and does not notice a full disk, `load_index` believes whatever it reads: `Checkpoint`
  sees to both.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import hnswlib
import numpy as np
from numpy.typing import NDArray

from facewatchd.errors import BadEmbeddingError, DamagedError, FacewatchError, StorageError

M = 16
EF_CONSTRUCTION = 200
EF = 200
"""Breadth of a search. At 512 dimensions and 100,000 faces M=16 and ef_construction=200 insert 2,300 faces a second."""
FIRST_CAPACITY = 1024

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
        self._lock = threading.Lock()
        self._index = _new_index(dim)
        self._index.init_index(FIRST_CAPACITY, M=M, ef_construction=EF_CONSTRUCTION)
        self._index.set_ef(EF)
        self._labels: set[int] = set()
        self._live: set[int] = set()

    def __len__(self) -> int:
        """Live elements."""
        return len(self._live)

    @property
    def tombstones(self) -> int:
        return len(self._labels) - len(self._live)

    def live_ids(self) -> set[int]:
        """A copy of the ids that a search can answer with."""
        with self._lock:
            return set(self._live)

    def labels(self) -> set[int]:
        """Live ids and tombstones."""
        with self._lock:
            return set(self._labels)

    def add(self, ids: NDArray[np.int64], embeddings: NDArray[np.float32]) -> None:
        """Add faces that were never in this index; raises `BadEmbeddingError` and adds none if one is not finite."""
        if len(ids) == 0:
            return
        if embeddings.shape != (len(ids), self.dim) or not np.isfinite(embeddings).all():
            raise BadEmbeddingError(f"embeddings must be finite and of {self.dim} dimensions")
        new = ids.tolist()
        with self._lock:
            if not self._labels.isdisjoint(new):
                raise ValueError("an id was in the index before")
            needed = len(self._labels) + len(ids)
            if needed > self._index.get_max_elements():
                self._index.resize_index(max(needed, self._index.get_max_elements() * 3 // 2))
            self._index.add_items(embeddings, ids, num_threads=1)
            self._labels.update(new)
            self._live.update(new)

    def delete(self, ids: Iterable[int]) -> None:
        """Turn faces into tombstones; ids that are not live are passed over."""
        with self._lock:
            for face_id in ids:
                if face_id in self._live:
                    self._index.mark_deleted(face_id)
                    self._live.discard(face_id)

    def nearest(self, embedding: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The ids of the ``k`` most alike and their cosine similarities, most alike first."""
        with self._lock:
            try:
                ids, distances = self._index.knn_query(embedding, k=k, num_threads=1)
            except RuntimeError as exc:
                raise UnreachableError(f"the index does not reach {k} faces") from exc
        return ids[0].astype(np.int64), np.clip(1.0 - distances[0], -1.0, 1.0)

    def get(self, ids: Iterable[int]) -> NDArray[np.float32]:
        """The stored embeddings of live ids. Shape (n, dim)."""
        with self._lock:
            return np.asarray(self._index.get_items(list(ids)), np.float32).reshape(-1, self.dim)

    # On the disk

    def write(self, path: Path) -> tuple[int, set[int]]:
        """Write hnswlib's file; return its size in bytes and its tombstones. Raises `StorageError`, OSError."""
        with self._lock:
            try:
                self._index.save_index(str(path))
            except RuntimeError as exc:
                raise StorageError(f"cannot write the index: {exc}", "free some disk space") from exc
            expected = int(self._index.index_file_size())
            tombstones = self._labels - self._live
        if path.stat().st_size != expected:
            raise StorageError("the index was written short", "free some disk space")
        return expected, tombstones

    @classmethod
    def read(cls, path: Path, dim: int, tombstones: Iterable[int]) -> Vectors:
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
        vectors._labels = set(index.get_ids_list())
        vectors._live = vectors._labels.difference(tombstones)
        return vectors


def stored(path: Path, dim: int, batch: int = 4096) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
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
