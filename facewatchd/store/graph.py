"""The graph of hnswlib 0.8: finds the embeddings that are most alike to one, without comparing all of them.

Labels are face ids, the space is cosine. A *node* is an embedding in the graph.

Equal embeddings are one node. hnswlib links a node to its nearest neighbours, and thousands of nodes at one place link
to each other only, so that nothing else that lies around is reached through them. A face whose embedding is that of a
node already (`SAME`) becomes a *duplicate* of that node, and a search that meets the node answers with all its faces.
When the face of the node itself is deleted, one of the duplicates becomes a node in its place (`successors`).

What hnswlib demands of its caller:

- Searching is unsafe while something is added or the index grows: a `ReadersWriterLock` keeps them apart, a few
  faces at a time.
- A label is added once and never again; a face that is deleted is a tombstone until the graph is built anew.
- `knn_query` raises when it cannot reach ``k`` live elements. Callers keep ``k`` well below `nodes`, and compare with
  all faces where it raises all the same (`UnreachableError`).
- `save_index` truncates in place, does not notice a full disk, and holds the interpreter's lock for seconds;
  `load_index` believes whatever it reads. `Checkpoint` writes in a forked copy, and checks before it loads.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facewatchd.errors import BadEmbeddingError, DamagedError, FacewatchError, StorageError
from facewatchd.store.index import Ids
from facewatchd.store.stored import Labels, layout_of
from facewatchd.threads.readers_writer import ReadersWriterLock

M = 48
"""Links of a node. The faces of a person form a star: those far from its middle are linked to by few nodes, and with 16
links one in thirty is linked to by none, so that no search finds it (`python -m tests.benchmarks parameters`)."""
EF_CONSTRUCTION = 200
EF = 300
"""Breadth of a search. With 200, one in some thousands of the faces that resemble no other is not found among a
million; with more than 300, only the time grows."""
FIRST_CAPACITY = 1024
STEP = 8
"""Faces that are added or deleted while the lock is held: about 10 ms at a million faces, for which searches wait."""
_BULK = 512
"""The same with several threads, when no search uses the graph yet."""
_TOGETHER = 16
"""Embeddings that are searched for at a time: what waits to be added waits for as many searches."""
SAME = 9e-4
"""Euclidean distance of two unit embeddings up to which they are one node; their cosine differs by 4e-7 from 1.
Embeddings that differ by the rounding of float32 do the same harm as equal ones: beside 12,000 faces within 3e-4 of
each other, a tenth of the faces that resemble no other is not found. From 1e-3 on hardly any is missed."""
_NEAR = 1e-5
"""Cosine distance up to which the Euclidean one is computed; hnswlib's errs by up to 1e-6."""
EF_SAME = 32
"""Breadth of the search for an equal node. One in two thousand is missed, and becomes a second node."""
_UNKNOWN, _LIVE, _DELETED = 0, 1, 2


class UnreachableError(FacewatchError):
    """The graph does not reach as many live elements as were asked for."""


class Graph:
    """A graph in memory. Ids are int64 (n,), embeddings float32 (n, dim) of unit length.

    One thread changes it; any may search.
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.unsaved = 0
        """Faces that were added and deleted since it was read or written."""
        self._lock = ReadersWriterLock()
        self._index = _new_index(dim)
        self._index.init_index(FIRST_CAPACITY, M=M, ef_construction=EF_CONSTRUCTION)
        self._index.set_ef(EF)
        self._states = np.zeros(FIRST_CAPACITY, np.uint8)
        """By id, a byte each. Ids only grow, so this takes less memory than a set of those that are live."""
        self._nodes = self._deleted = 0
        self.clean_at = time.time()
        """Unix time at which it was last known to hold no tombstone. A tombstone is the embedding of a deleted face."""
        self._node_of: dict[int, int] = {}
        """The node of each duplicate."""
        self._duplicates: dict[int, dict[int, None]] = {}
        """The duplicates of each node that has any, in the order in which they were added."""

    def __len__(self) -> int:
        """Live faces."""
        return self._nodes + len(self._node_of)

    @property
    def nodes(self) -> int:
        """Live nodes, each of another embedding."""
        return self._nodes

    @property
    def tombstones(self) -> int:
        """Nodes of faces that were deleted."""
        return self._deleted

    @property
    def last_id(self) -> int:
        """The highest id of a live face or tombstone."""
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

    def add(self, ids: Ids, embeddings: NDArray[np.float32], threads: int = 1) -> None:
        """Add faces that were never in this graph. Raises `BadEmbeddingError`, and adds none, if one is not finite.

        Several ``threads`` are for a graph that no search uses yet.
        """
        if embeddings.shape != (len(ids), self.dim) or not np.isfinite(embeddings).all():
            raise BadEmbeddingError(f"embeddings must be finite and of {self.dim} dimensions")
        self._reserve_states(int(ids.max(initial=0)))
        if self._states[ids].any() or len(np.unique(ids)) < len(ids):
            raise ValueError("an id was in the index before")
        for start in range(0, len(ids), _BULK):
            self._add_part(ids[start : start + _BULK], embeddings[start : start + _BULK], threads)

    def _add_part(self, ids: Ids, embeddings: NDArray[np.float32], threads: int) -> None:
        """Compare the faces with each other first: the first of each group of equal ones stands for the group."""
        first = _first_equal(embeddings)
        heads = np.flatnonzero(first == np.arange(len(ids)))
        order = np.argsort(first, kind="stable")
        bounds = np.searchsorted(first[order], [*heads.tolist(), len(ids)])
        step = STEP if threads == 1 else _BULK
        for start in range(0, len(heads), step):
            part = slice(start, start + step)
            with self._lock.writing():
                nodes = self._nodes_for(ids[heads[part]], embeddings[heads[part]], threads)
                for at, node in enumerate(nodes, start):
                    members = ids[order[bounds[at] : bounds[at + 1]]]
                    self._note_duplicates(node, members[members != node].tolist())
                    self._states[members] = _LIVE
                    self.unsaved += len(members)

    def _nodes_for(self, ids: Ids, embeddings: NDArray[np.float32], threads: int) -> list[int]:
        """For each face the node of its embedding: an existing one, or a new one under the id of the face."""
        nodes = self._equals(embeddings, threads)
        new = np.flatnonzero(nodes < 0)
        if len(new):
            self._reserve_nodes(len(new))
            self._index.add_items(embeddings[new], ids[new], num_threads=threads)
            self._nodes += len(new)
            nodes[new] = ids[new]
        return [int(node) for node in nodes]

    def _equals(self, embeddings: NDArray[np.float32], threads: int) -> Ids:
        """For each embedding the existing node with the same; -1 where none is found."""
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

    def _note_duplicates(self, node: int, members: list[int]) -> None:
        if members:
            self._duplicates.setdefault(node, {}).update(dict.fromkeys(members))
            self._node_of.update(dict.fromkeys(members, node))

    def _reserve_states(self, face_id: int) -> None:
        if face_id >= len(self._states):
            states = np.zeros(max(face_id + 1, len(self._states) * 3 // 2), np.uint8)
            states[: len(self._states)] = self._states
            self._states = states

    def _reserve_nodes(self, count: int) -> None:
        needed, capacity = self._nodes + self._deleted + count, self._index.get_max_elements()
        if needed > capacity:
            self._index.resize_index(max(needed, capacity * 3 // 2))

    def successors(self, ids: Ids) -> Ids:
        """Duplicates that become nodes if these faces are deleted: one for each node whose group loses it and goes on.

        They are chosen at random. So few of a group are nodes once, in whatever order its faces are deleted.
        """
        leaving = set(ids.tolist())
        with self._lock.reading():
            groups = [self._duplicates[node] for node in leaving & self._duplicates.keys()]
        staying = [[face_id for face_id in group if face_id not in leaving] for group in groups]
        return np.array([random.choice(group) for group in staying if group], np.int64)

    def delete(self, ids: Ids, successors: Ids | None = None, embeddings: NDArray[np.float32] | None = None) -> None:
        """Delete faces; ids that are not live are passed over.

        A node becomes a tombstone. Its duplicates that stay go to the one of ``successors`` that is among them, which
        becomes a node with its row of ``embeddings``; where none is, they are deleted too.
        """
        ids = ids[ids < len(self._states)]
        live = np.unique(ids[self._states[ids] == _LIVE]).tolist()
        new = (
            {} if successors is None or embeddings is None else dict(zip(successors.tolist(), embeddings, strict=True))
        )
        duplicates = [face_id for face_id in live if face_id in self._node_of]
        nodes = [face_id for face_id in live if face_id not in self._node_of]
        for start in range(0, len(duplicates), _BULK):
            with self._lock.writing():
                for face_id in duplicates[start : start + _BULK]:
                    self._delete_duplicate(face_id)
        successor_of = {self._node_of[face_id]: face_id for face_id in new if face_id in self._node_of}
        step = STEP if successor_of else _BULK
        for start in range(0, len(nodes), step):
            with self._lock.writing():
                for node in nodes[start : start + step]:
                    successor = successor_of.get(node)
                    self._delete_node(node, successor, None if successor is None else new[successor])

    def _delete_duplicate(self, face_id: int) -> None:
        node = self._node_of.pop(face_id)
        group = self._duplicates[node]
        del group[face_id]
        if not group:
            del self._duplicates[node]
        self._states[face_id] = _UNKNOWN  # it never was a label of hnswlib's, so it may become one
        self.unsaved += 1

    def _delete_node(self, node: int, successor: int | None, embedding: NDArray[np.float32] | None) -> None:
        """Make a tombstone of a node, and a node of its successor."""
        self._index.mark_deleted(node)
        self._states[node] = _DELETED
        self._nodes -= 1
        self._deleted += 1
        self.unsaved += 1
        group = list(self._duplicates.get(node, ()))
        for face_id in group:
            self._delete_duplicate(face_id)
        if successor is not None and embedding is not None:
            self._reserve_nodes(1)
            self._index.add_items(embedding[None], np.array([successor]), num_threads=1)
            self._nodes += 1
            self._note_duplicates(successor, [face_id for face_id in group if face_id != successor])
            self._states[group] = _LIVE

    def nearest(self, embedding: NDArray[np.float32], k: int) -> tuple[Ids, NDArray[np.float32]]:
        """The ids of all faces of the ``k`` most alike nodes, and their cosine similarities: the most alike first.

        A duplicate has the similarity of its node: its own differs by at most `SAME`, and by less than 1e-4 as a rule.
        Raises `UnreachableError`.
        """
        return self._nearest(embedding[None], k, 1)[0]

    def nearest_each(
        self, embeddings: NDArray[np.float32], k: int, threads: int
    ) -> list[tuple[Ids, NDArray[np.float32]]]:
        """`nearest` for each of several embeddings (n, dim), by several threads."""
        parts = [embeddings[start : start + _TOGETHER] for start in range(0, len(embeddings), _TOGETHER)]
        return [found for part in parts for found in self._nearest(part, k, threads)]

    def _nearest(self, embeddings: NDArray[np.float32], k: int, threads: int) -> list[tuple[Ids, NDArray[np.float32]]]:
        with self._lock.reading():
            try:
                labels, distances = self._index.knn_query(embeddings, k=k, num_threads=threads)
            except RuntimeError as exc:
                raise UnreachableError(f"the index does not reach {k} faces") from exc
            nodes, similarities = labels.astype(np.int64), np.clip(1.0 - distances, -1.0, 1.0)
            return [self._with_duplicates(*pair) for pair in zip(nodes, similarities, strict=True)]

    def _with_duplicates(self, nodes: Ids, similarities: NDArray[np.float32]) -> tuple[Ids, NDArray[np.float32]]:
        """All faces of some nodes. The lock is held."""
        groups = [self._duplicates.get(node, ()) for node in nodes.tolist()] if self._duplicates else []
        if not any(groups):
            return nodes, similarities
        faces = [face_id for node, group in zip(nodes.tolist(), groups, strict=True) for face_id in (node, *group)]
        return np.array(faces, np.int64), np.repeat(similarities, [1 + len(group) for group in groups])

    def get(self, ids: Ids) -> NDArray[np.float32]:
        """The stored embeddings of live ids, shape (n, dim); of a duplicate, that of its node.

        Raises `UnreachableError` where one has been deleted.
        """
        with self._lock.reading():
            try:
                return self._stored(ids)
            except RuntimeError as exc:
                raise UnreachableError("a face is not in the index any more") from exc

    def _stored(self, ids: Ids) -> NDArray[np.float32]:
        nodes = np.array([self._node_of.get(face_id, face_id) for face_id in ids.tolist()], np.int64)
        unique, at = np.unique(nodes, return_inverse=True)
        return np.asarray(self._index.get_items(unique), np.float32).reshape(-1, self.dim)[at]

    # On the disk

    @contextmanager
    def at_rest(self) -> Iterator[Labels]:
        """Keep the graph from changing, while searches go on. Gives what hnswlib's file does not hold."""
        with self._lock.reading():
            if not self._deleted:
                self.clean_at = time.time()
            groups = [[node, *group] for node, group in self._duplicates.items()]
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
        """Read hnswlib's file, whose digest the caller has checked. Raises `DamagedError`, OSError."""
        layout_of(path, dim)
        graph = cls(dim)
        index = _new_index(dim)
        try:
            index.load_index(str(path))
        except RuntimeError as exc:
            raise DamagedError(f"the index cannot be loaded ({exc})") from exc
        index.set_ef(EF)
        graph._index = index
        graph._take(np.array(index.get_ids_list(), np.int64), known)
        return graph

    def _take(self, labels: Ids, known: Labels) -> None:
        """Note which labels of hnswlib's file are nodes. Raises `DamagedError` where they do not fit ``known``."""
        duplicates = np.array([face_id for _, *group in known.groups for face_id in group], np.int64)
        self._reserve_states(int(max(labels.max(initial=0), duplicates.max(initial=0))))
        self._states[labels] = _LIVE
        dead = np.array(known.tombstones, np.int64)
        nodes = np.array([group[0] for group in known.groups], np.int64)
        if not np.isin(dead, labels).all() or not np.isin(nodes, labels).all() or np.isin(duplicates, labels).any():
            raise DamagedError("the index has other labels than its manifest")
        self._states[dead] = _DELETED
        self._states[duplicates] = _LIVE
        self._deleted = len(dead)
        self._nodes = len(labels) - len(dead)
        self.clean_at = min(known.clean_at, self.clean_at)
        for node, *group in known.groups:
            self._note_duplicates(node, group)


def _first_equal(embeddings: NDArray[np.float32]) -> NDArray[np.intp]:
    """For each row the first row that is the `SAME`; the row itself where none before it is. Shape (n,)."""
    rows = _unit(embeddings)
    first = np.arange(len(rows))
    close = np.triu(rows @ rows.T > 1 - _NEAR, 1)
    for at in np.flatnonzero(close.any(axis=1)):
        if first[at] == at:
            others = np.flatnonzero(close[at] & (first == np.arange(len(rows))))
            first[others[np.linalg.norm(rows[others] - rows[at], axis=1) <= SAME]] = at
    return first


def _unit(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows to length 1, as hnswlib does."""
    return np.asarray(embeddings / (np.linalg.norm(embeddings, axis=1, keepdims=True) + 1e-30), np.float32)


def _new_index(dim: int) -> Any:
    import hnswlib  # not before it is needed: it may not run on this processor (`hnsw_trial`)

    return hnswlib.Index(space="cosine", dim=dim)
