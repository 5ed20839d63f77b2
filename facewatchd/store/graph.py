"""The hnswlib index: a disposable cache of the catalog's embeddings that finds the most alike ones quickly.

Labels are face ids, space is cosine.

Equal embeddings are indexed once. hnswlib links a node to its nearest neighbours, and thousands of nodes at one place
link to each other only: whatever else lies around is not reached through them. So a face whose embedding is that of a
node already (`SAME`) becomes a *follower* of that node, and a search that meets the node answers with all of its
faces. When the node's own face is deleted, one of its followers becomes a node in its place (`heirs`).

hnswlib asks for care (version 0.8):

- Searching is unsafe while something is added or the index grows: a `ReadersWriterLock` keeps them apart, a few
  faces at a time.
- A label is added once and never again; a face that is gone is a tombstone until the next rebuild.
- `knn_query` raises when it cannot reach ``k`` live elements: callers keep ``k`` well below `len`, and what is
  raised all the same is an `UnreachableError`, to which the exact scan is the answer.
- `save_index` truncates in place, does not notice a full disk, and holds the interpreter's lock for seconds;
  `load_index` believes whatever it reads: `Checkpoint` sees to all of it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from facewatchd.errors import BadEmbeddingError, DamagedError, FacewatchError, StorageError
from facewatchd.threads.readers_writer import ReadersWriterLock

M = 48
"""Links of a face. A person's faces form a star: those far from its middle are linked to by few, and with 16 links one
in thirty is linked to by none, so that no search finds it. `python -m tests.benchmarks searching` has the table."""
EF_CONSTRUCTION = 200
EF = 300
"""Breadth of a search. With 200, one in some thousands of the faces that are alone is not found among a million; with
more, only the time grows."""
FIRST_CAPACITY = 1024
STEP = 8
"""Faces that are added or deleted in one turn: about ten milliseconds at a million, for which searches wait."""
_BULK = 512
"""Faces in one turn of several threads, where nobody searches yet."""
SAME = 9e-4
"""Euclidean distance of two unit embeddings up to which they are one: 4e-7 of cosine. What differs by the rounding of
float32 does harm like equal ones: among 12,000 faces within 3e-4 of each other, a tenth of those who are alone is not
found; from 1e-3 on, crowds of nearly equal ones hide hardly anybody."""
_NEAR = 1e-5
"""Cosine distance by hnswlib, which errs by up to 1e-6, up to which `SAME` is tried."""
EF_SAME = 32
"""Breadth of the search for an equal node. One that is missed is only indexed twice: one in two thousand is."""
_UNKNOWN, _LIVE, _DELETED = 0, 1, 2

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


@dataclass(frozen=True, slots=True)
class Labels:
    """What is known of the labels in hnswlib's file beside it: which are deleted, and which stand for others too."""

    tombstones: list[int] = field(default_factory=list)
    groups: list[list[int]] = field(default_factory=list)
    """Of each node that has followers: its label first, then theirs."""
    clean_at: float = 0.0
    """See `Graph.clean_at`."""


class UnreachableError(FacewatchError):
    """The graph does not reach as many live elements as were asked for."""


class Graph:
    """An index in memory. Shapes: ids (n,) int64, embeddings (n, dim) float32, unit length."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.unsaved = 0
        """Faces added and deleted since it was read or written."""
        self._lock = ReadersWriterLock()
        self._index = _new_index(dim)
        self._index.init_index(FIRST_CAPACITY, M=M, ef_construction=EF_CONSTRUCTION)
        self._index.set_ef(EF)
        self._states = np.zeros(FIRST_CAPACITY, np.uint8)
        """By id: ids only grow, and a byte for each that ever was is less than a set of those that are."""
        self._nodes = self._deleted = 0
        self.clean_at = time.time()
        """Unix time at which it was last known to hold no tombstone: theirs are embeddings of deleted faces."""
        self._followed: dict[int, int] = {}
        """The node that a follower's embedding is that of."""
        self._followers: dict[int, dict[int, None]] = {}
        """The followers of a node, in the order in which they came; no node without any."""

    def __len__(self) -> int:
        """Live faces."""
        return self._nodes + len(self._followed)

    @property
    def nodes(self) -> int:
        """Live nodes: different embeddings."""
        return self._nodes

    @property
    def tombstones(self) -> int:
        """Nodes of faces that were deleted."""
        return self._deleted

    @property
    def last_id(self) -> int:
        """The highest id of a face that is in it or was."""
        labels = np.flatnonzero(self._states)
        return int(labels[-1]) if len(labels) else 0

    def live_ids(self) -> Ids:
        """The ids that a search can answer with, ascending."""
        with self._lock.reading():
            return np.flatnonzero(self._states == _LIVE)

    def labels(self) -> Ids:
        """Ids that cannot be added: live ones and tombstones, ascending."""
        with self._lock.reading():
            return np.flatnonzero(self._states)

    def followers(self, nodes: Ids) -> tuple[Ids, Ids]:
        """The followers of some nodes, and for each the position of its node in ``nodes``."""
        with self._lock.reading():
            groups = [self._followers.get(node, {}) for node in nodes.tolist()]
            at = np.repeat(np.arange(len(nodes)), [len(group) for group in groups])
            return np.fromiter((face_id for group in groups for face_id in group), np.int64, len(at)), at

    def add(self, ids: Ids, embeddings: NDArray[np.float32], threads: int = 1) -> None:
        """Add faces that were never in this index; raises `BadEmbeddingError` and adds none if one is not finite.

        Several ``threads`` are for an index that nobody searches yet.
        """
        if embeddings.shape != (len(ids), self.dim) or not np.isfinite(embeddings).all():
            raise BadEmbeddingError(f"embeddings must be finite and of {self.dim} dimensions")
        self._note_room(int(ids.max(initial=0)))
        if self._states[ids].any() or len(np.unique(ids)) < len(ids):
            raise ValueError("an id was in the index before")
        for start in range(0, len(ids), _BULK):
            self._add_part(ids[start : start + _BULK], embeddings[start : start + _BULK], threads)

    def _add_part(self, ids: Ids, embeddings: NDArray[np.float32], threads: int) -> None:
        """Add what is compared with each other first: the first of each group of equal ones stands for the group."""
        first = _first_equal(embeddings)
        heads = np.flatnonzero(first == np.arange(len(ids)))
        order = np.argsort(first, kind="stable")
        bounds = np.searchsorted(first[order], [*heads.tolist(), len(ids)])
        step = STEP if threads == 1 else _BULK
        for start in range(0, len(heads), step):
            part = slice(start, start + step)
            with self._lock.writing():
                nodes = self._placed(ids[heads[part]], embeddings[heads[part]], threads)
                for at, node in enumerate(nodes, start):
                    members = ids[order[bounds[at] : bounds[at + 1]]]
                    self._follow(node, members[members != node].tolist())
                    self._states[members] = _LIVE
                    self.unsaved += len(members)

    def _placed(self, ids: Ids, embeddings: NDArray[np.float32], threads: int) -> list[int]:
        """For each face the node of its embedding: one that there is, or a new one under the face's id."""
        nodes = self._equals(embeddings, threads)
        new = np.flatnonzero(nodes < 0)
        if len(new):
            self._make_room(len(new))
            self._index.add_items(embeddings[new], ids[new], num_threads=threads)
            self._nodes += len(new)
            nodes[new] = ids[new]
        return [int(node) for node in nodes]

    def _equals(self, embeddings: NDArray[np.float32], threads: int) -> Ids:
        """For each embedding the node that has it already; -1 where none is found."""
        nodes = np.full(len(embeddings), -1, np.int64)
        if not self._nodes:
            return nodes
        self._index.set_ef(EF_SAME)
        try:
            labels, distances = self._index.knn_query(embeddings, k=1, num_threads=threads)
        except RuntimeError:  # none can be reached among the tombstones
            return nodes
        finally:
            self._index.set_ef(EF)
        near = np.flatnonzero(distances[:, 0] < _NEAR)
        if len(near):
            found = labels[near, 0].astype(np.int64)
            gaps = np.linalg.norm(self._stored(found) - _unit(embeddings[near]), axis=1)
            nodes[near[gaps <= SAME]] = found[gaps <= SAME]
        return nodes

    def _follow(self, node: int, members: list[int]) -> None:
        if members:
            self._followers.setdefault(node, {}).update(dict.fromkeys(members))
            self._followed.update(dict.fromkeys(members, node))

    def _note_room(self, face_id: int) -> None:
        if face_id >= len(self._states):
            states = np.zeros(max(face_id + 1, len(self._states) * 3 // 2), np.uint8)
            states[: len(self._states)] = self._states
            self._states = states

    def _make_room(self, count: int) -> None:
        needed, capacity = self._nodes + self._deleted + count, self._index.get_max_elements()
        if needed > capacity:
            self._index.resize_index(max(needed, capacity * 3 // 2))

    def heirs(self, ids: Ids) -> Ids:
        """Followers that become nodes if these faces are deleted: one for each node that leaves others behind.

        They are chosen by chance: whatever the order in which a group is deleted, few of its faces are nodes once.
        """
        leaving = set(ids.tolist())
        with self._lock.reading():
            groups = [self._followers[node] for node in leaving & self._followers.keys()]
        staying = [[face_id for face_id in group if face_id not in leaving] for group in groups]
        return np.array([random.choice(group) for group in staying if group], np.int64)

    def delete(self, ids: Ids, heirs: Ids | None = None, embeddings: NDArray[np.float32] | None = None) -> None:
        """Delete faces; ids that are not live are passed over.

        A node becomes a tombstone. Its followers that stay go to the one of ``heirs`` that is among them, which becomes
        a node with its row of ``embeddings``; where none is, they leave the index too.
        """
        ids = ids[ids < len(self._states)]
        live = np.unique(ids[self._states[ids] == _LIVE]).tolist()
        successors = {} if heirs is None or embeddings is None else dict(zip(heirs.tolist(), embeddings, strict=True))
        followers = [face_id for face_id in live if face_id in self._followed]
        nodes = [face_id for face_id in live if face_id not in self._followed]
        for start in range(0, len(followers), _BULK):
            with self._lock.writing():
                for face_id in followers[start : start + _BULK]:
                    self._leave(face_id)
        heir_of = {self._followed[heir]: heir for heir in successors if heir in self._followed}
        step = STEP if heir_of else _BULK
        for start in range(0, len(nodes), step):
            with self._lock.writing():
                for node in nodes[start : start + step]:
                    heir = heir_of.get(node)
                    self._bury(node, heir, None if heir is None else successors[heir])

    def _leave(self, follower: int) -> None:
        node = self._followed.pop(follower)
        group = self._followers[node]
        del group[follower]
        if not group:
            del self._followers[node]
        self._states[follower] = _UNKNOWN  # it has no label that could not be given again
        self.unsaved += 1

    def _bury(self, node: int, heir: int | None, embedding: NDArray[np.float32] | None) -> None:
        """Make a tombstone of a node, and a node of its heir."""
        self._index.mark_deleted(node)
        self._states[node] = _DELETED
        self._nodes -= 1
        self._deleted += 1
        self.unsaved += 1
        group = list(self._followers.get(node, ()))
        for follower in group:
            self._leave(follower)
        if heir is not None and embedding is not None:
            self._make_room(1)
            self._index.add_items(embedding[None], np.array([heir]), num_threads=1)
            self._nodes += 1
            self._follow(heir, [follower for follower in group if follower != heir])
            self._states[group] = _LIVE

    def nearest(self, embedding: NDArray[np.float32], k: int) -> tuple[Ids, NDArray[np.float32]]:
        """The ids of all faces of the ``k`` most alike nodes and their cosine similarities, most alike first.

        A follower is as alike as its node: within 1e-3, and most often within 1e-4.
        """
        with self._lock.reading():
            try:
                labels, distances = self._index.knn_query(embedding, k=k, num_threads=1)
            except RuntimeError as exc:
                raise UnreachableError(f"the index does not reach {k} faces") from exc
            ids, similarities = labels[0].astype(np.int64), np.clip(1.0 - distances[0], -1.0, 1.0)
            groups = [self._followers.get(node, ()) for node in ids.tolist()] if self._followers else []
        if not any(groups):
            return ids, similarities
        faces = [face_id for node, group in zip(ids.tolist(), groups, strict=True) for face_id in (node, *group)]
        return np.array(faces, np.int64), np.repeat(similarities, [1 + len(group) for group in groups])

    def get(self, ids: Ids) -> NDArray[np.float32]:
        """The stored embeddings of live ids: a follower's is its node's. Shape (n, dim).

        Raises `UnreachableError` where one has been deleted.
        """
        with self._lock.reading():
            try:
                return self._stored(ids)
            except RuntimeError as exc:
                raise UnreachableError("a face is not in the index any more") from exc

    def _stored(self, ids: Ids) -> NDArray[np.float32]:
        nodes = np.array([self._followed.get(face_id, face_id) for face_id in ids.tolist()], np.int64)
        unique, at = np.unique(nodes, return_inverse=True)
        return np.asarray(self._index.get_items(unique), np.float32).reshape(-1, self.dim)[at]

    # On the disk

    @contextmanager
    def at_rest(self) -> Iterator[Labels]:
        """Have nothing change meanwhile, while searches go on. Gives what hnswlib's file does not hold."""
        with self._lock.reading():
            if not self._deleted:
                self.clean_at = time.time()
            groups = [[node, *group] for node, group in self._followers.items()]
            yield Labels(np.flatnonzero(self._states == _DELETED).tolist(), groups, self.clean_at)

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
    def read(cls, path: Path, dim: int, known: Labels) -> Graph:
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
        vectors._take(np.array(index.get_ids_list(), np.int64), known)
        return vectors

    def _take(self, labels: Ids, known: Labels) -> None:
        """Note what the labels of hnswlib's file are. Raises `DamagedError` where that cannot be."""
        followers = np.array([face_id for _, *group in known.groups for face_id in group], np.int64)
        self._note_room(int(max(labels.max(initial=0), followers.max(initial=0))))
        self._states[labels] = _LIVE
        dead = np.array(known.tombstones, np.int64)
        nodes = np.array([group[0] for group in known.groups], np.int64)
        if not np.isin(dead, labels).all() or not np.isin(nodes, labels).all() or np.isin(followers, labels).any():
            raise DamagedError("the index has other labels than its manifest")
        self._states[dead] = _DELETED
        self._states[followers] = _LIVE
        self._deleted = len(dead)
        self._nodes = len(labels) - len(dead)
        self.clean_at = min(known.clean_at, self.clean_at)
        for node, *group in known.groups:
            self._follow(node, group)


def _first_equal(embeddings: NDArray[np.float32]) -> NDArray[np.intp]:
    """For each row the first of the rows that stand for others and are the `SAME`: itself where there is none."""
    rows = _unit(embeddings)
    first = np.arange(len(rows))
    close = np.triu(rows @ rows.T > 1 - _NEAR, 1)
    for at in np.flatnonzero(close.any(axis=1)):
        if first[at] == at:
            others = np.flatnonzero(close[at] & (first == np.arange(len(rows))))
            first[others[np.linalg.norm(rows[others] - rows[at], axis=1) <= SAME]] = at
    return first


def _unit(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scaled to length 1, as hnswlib does."""
    return np.asarray(embeddings / (np.linalg.norm(embeddings, axis=1, keepdims=True) + 1e-30), np.float32)


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
    import hnswlib  # not before it is needed: it may not run on this processor (`hnsw_trial`)

    return hnswlib.Index(space="cosine", dim=dim)
