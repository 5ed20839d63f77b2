"""Embeddings in memory, all of which are compared.

The daemon keeps in one what was added since the last checkpoint (`exact`). Tests use it as a whole `Index`.

A change may be applied twice, and an addition after the removal of the same face: as ids are never given twice, what
was removed once stays away.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from facewatchd.store.index import Above, Embeddings, Ids, KeepOn, Status, Upkeep, always

if TYPE_CHECKING:
    from facewatchd.values import Embedding

_FIRST_CAPACITY = 64
_GONE = -1


class FlatIndex:
    """An `Index` that needs no maintenance. Any thread may do anything."""

    def __init__(self, dim: int) -> None:
        # A search takes a view of the rows under the lock and compares after it. Rows in use are never written again:
        # what grows or shrinks is copied, and a row that was removed only loses its id.
        self._lock = threading.Lock()
        self._rows = np.empty((_FIRST_CAPACITY, dim), np.float32)
        self._ids = np.empty(_FIRST_CAPACITY, np.int64)
        self._count = 0
        self._row_of: dict[int, int] = {}
        self._removed: set[int] = set()

    def __len__(self) -> int:
        return len(self._row_of)

    @property
    def removed(self) -> Ids:
        """Every id that was removed, also of faces that were never added."""
        with self._lock:
            return np.fromiter(self._removed, np.int64, len(self._removed))

    def add(self, ids: Ids, embeddings: Embeddings) -> None:
        with self._lock:
            new = [
                at for at, face_id in enumerate(ids.tolist())
                if face_id not in self._row_of and face_id not in self._removed
            ]  # fmt: skip
            end = self._count + len(new)
            if end > len(self._ids):
                self._move(np.arange(self._count), max(end, 3 * len(self._ids) // 2))
            self._rows[self._count : end] = embeddings[new]
            self._ids[self._count : end] = ids[new]
            self._row_of.update(zip(ids[new].tolist(), range(self._count, end), strict=True))
            self._count = end

    def remove(self, ids: Ids) -> None:
        with self._lock:
            self._removed.update(ids.tolist())
            for face_id in ids.tolist():
                if (row := self._row_of.pop(face_id, None)) is not None:
                    self._ids[row] = _GONE
            if self._count > max(_FIRST_CAPACITY, 2 * len(self._row_of)):
                live = np.flatnonzero(self._ids[: self._count] != _GONE)
                self._move(live, max(len(live), _FIRST_CAPACITY))
                self._row_of = {face_id: row for row, face_id in enumerate(self._ids[: self._count].tolist())}

    def _move(self, rows: Ids, capacity: int) -> None:
        """Copy some rows to new arrays."""
        before, ids = self._rows, self._ids
        self._rows = np.empty((capacity, before.shape[1]), np.float32)
        self._ids = np.empty(capacity, np.int64)
        self._rows[: len(rows)], self._ids[: len(rows)] = before[rows], ids[rows]
        self._count = len(rows)

    def above(self, embedding: Embedding, threshold: float, *, exact: bool = True) -> Above:
        with self._lock:
            rows, ids = self._rows[: self._count], self._ids[: self._count]
        similarities = np.clip(rows @ embedding, -1.0, 1.0)
        found = np.flatnonzero(similarities >= threshold)
        found_ids = ids[found]
        live = found_ids != _GONE
        return Above(found_ids[live], similarities[found[live]], exact=True)

    def above_each(self, embeddings: Embeddings, threshold: float, *, exact: bool = True) -> list[Above]:
        return [self.above(embedding, threshold, exact=exact) for embedding in embeddings]

    def nearest(self, embedding: Embedding, threshold: float, most: int) -> Above:
        return self.above(embedding, threshold).first(most)

    def maintain(self, upkeep: Upkeep, *, rebuild: bool = False, last: bool = False) -> None:
        """Nothing is ever due."""

    def status(self) -> Status:
        return Status(len(self), 0, ready=True)

    def differences(self, keep_on: KeepOn = always) -> list[str]:
        return []
