"""The embeddings in the file that hnswlib wrote, read without hnswlib.

The file begins with a header (`HierarchicalNSW::saveIndex` of hnswlib 0.8), then come the elements of the lowest level,
all of one size: links, embedding, label. The upper levels of the graph follow. So the embeddings are a strided matrix.

It is read in blocks with preadv(2), and not mapped: at 400,000 faces of 512 dimensions both take 61 to 64 ms (one
thread, AMD EPYC, file in the page cache), but a file that was cut short, or a disk that fails, is an error here and
would be a SIGBUS there, and no page of the file counts as this process's memory.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facewatchd.errors import DamagedError
from facewatchd.store.index import Above, Embeddings, Hits, Ids, compared

BLOCK = 1 << 21
"""Bytes that are read at a time: they stay in a core's cache until they are compared. Half of it or twice it is no
slower; a tenth is, by half."""
PART = 8
"""Blocks from which on it is worth another thread."""
_HEADER = np.dtype(
    {
        "names": ["count", "size", "label", "data"],
        "formats": [np.uint64] * 4,
        "offsets": [16, 24, 32, 40],
        "itemsize": 96,
    }
)
"""How many elements there are, bytes of one, and where in it its label and its embedding begin."""


@dataclass(frozen=True, slots=True)
class Labels:
    """What hnswlib's file does not say of its labels: which are deleted, and which stand for other faces too."""

    tombstones: list[int] = field(default_factory=list)
    groups: list[list[int]] = field(default_factory=list)
    """Of each node that has duplicates: its label first, then their ids."""
    clean_at: float = 0.0
    """See `Graph.clean_at`."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the elements of the lowest level lie in the file."""

    element: np.dtype[np.void]
    """Fields ``embedding`` and ``label``."""
    count: int

    @classmethod
    def of(cls, header: bytes, dim: int) -> Layout:
        """Read the first 96 bytes of a file. Raises `DamagedError` where it is not of ``dim`` dimensions."""
        if len(header) < _HEADER.itemsize:
            raise DamagedError("the index has no header")
        (fields,) = np.frombuffer(header[: _HEADER.itemsize], _HEADER)
        size, label, data = (int(fields[name]) for name in ("size", "label", "data"))
        if not 0 < data < data + 4 * dim == label == size - 8:
            raise DamagedError(f"the index is not of {dim} dimensions")
        element = np.dtype(
            {
                "names": ["embedding", "label"],
                "formats": [(np.float32, (dim,)), np.uint64],
                "offsets": [data, label],
                "itemsize": size,
            }
        )
        return cls(element, int(fields["count"]))


def layout_of(path: Path, dim: int) -> Layout:
    """Raises `DamagedError`, OSError."""
    with path.open("rb") as file:
        return Layout.of(file.read(_HEADER.itemsize), dim)


class StoredVectors:
    """An open file, of which some faces may have been removed since it was written. Any thread may read.

    The file stays open, also when another takes its name, as long as there is a reference to this.
    """

    def __init__(self, path: Path, dim: int, labels: Labels) -> None:
        """Raises `DamagedError`, OSError. Whether the file is whole, and the one that the labels are of, the caller
        knows (`Checkpoint`)."""
        self.dim = dim
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)
        self._layout = Layout.of(os.pread(self._descriptor, _HEADER.itemsize, 0), dim)
        self._groups = {node: duplicates for node, *duplicates in labels.groups}
        self._heads = np.sort(np.fromiter(self._groups, np.int64, len(self._groups)))
        self._removed = np.zeros(0, np.bool_)
        """By id: a byte for each up to the last that was removed."""
        self.remove(np.array(labels.tombstones, np.int64))

    def __len__(self) -> int:
        """Elements in the file, tombstones included."""
        return self._layout.count

    def remove(self, ids: Ids) -> None:
        """Answer with these faces no more. Called by one thread at a time."""
        if (last := int(ids.max(initial=-1))) >= len(self._removed):
            removed = np.zeros(max(last + 1, 3 * len(self._removed) // 2), np.bool_)
            removed[: len(self._removed)] = self._removed
            removed[ids] = True
            self._removed = removed
        else:
            self._removed[ids] = True

    def is_removed(self, ids: Ids) -> NDArray[np.bool_]:
        """Shape (n,)."""
        removed = self._removed
        known = ids < len(removed)
        return known & removed[np.where(known, ids, 0)] if len(removed) else known

    def duplicates(self, nodes: Ids) -> tuple[Ids, Ids]:
        """The faces that stand under the labels of others, and for each the position of that label in ``nodes``."""
        at = np.flatnonzero(np.isin(nodes, self._heads))
        groups = [self._groups[node] for node in nodes[at].tolist()]
        members = np.array([face_id for group in groups for face_id in group], np.int64)
        return members, np.repeat(at, [len(group) for group in groups])

    def blocks(self, first: int = 0, end: int | None = None) -> Iterator[tuple[Ids, Embeddings]]:
        """All elements in the order of the file: labels (n,) and embeddings (n, dim), which the next block overwrites.

        Or those from ``first`` to before ``end``. Tombstones are among them, and no duplicates. Raises `DamagedError`,
        OSError.
        """
        size, left = self._layout.element.itemsize, (self._layout.count if end is None else end) - first
        buffer = bytearray(min(left, max(1, BLOCK // size)) * size)
        rows = np.frombuffer(buffer, self._layout.element)
        offset = _HEADER.itemsize + first * size
        while left:
            count = min(left, len(rows))
            if os.preadv(self._descriptor, [memoryview(buffer)[: count * size]], offset) < count * size:
                raise DamagedError("the index ends early")
            yield rows["label"][:count].astype(np.int64), rows["embedding"][:count]
            offset += count * size
            left -= count

    def live_ids(self) -> Ids:
        """All faces that are in it and were not removed, duplicates included, ascending. Raises as `blocks`."""
        labels = [ids for ids, _ in self.blocks()]
        duplicates = np.array([face_id for group in self._groups.values() for face_id in group], np.int64)
        ids = np.sort(np.concatenate([*labels, duplicates]))
        return ids[~self.is_removed(ids)]

    def above_each(self, asked: Embeddings, threshold: float, threads: int = 1) -> list[Above]:
        """For each of some embeddings the labels from the threshold on, also of tombstones and removed faces.

        A large file is shared by so many ``threads``: most of the time goes into reading, at the speed of memory.
        """
        count = self._layout.count
        parts = min(threads, 1 + count * self._layout.element.itemsize // (PART * BLOCK))
        bounds = [count * part // parts for part in range(parts + 1)]
        with ThreadPoolExecutor(parts, "exact search") as pool:
            parted = list(pool.map(lambda first, end: self._hits(asked, threshold, first, end), bounds, bounds[1:]))
        found = Hits(len(asked))
        for hits in parted:
            found.extend(hits)
        return found.above()

    def _hits(self, asked: Embeddings, threshold: float, first: int, end: int) -> Hits:
        found = Hits(len(asked))
        for labels, embeddings in self.blocks(first, end):
            found.add(labels, compared(embeddings, asked), threshold)
        return found
