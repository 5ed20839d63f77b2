"""The one object that knows both the catalog and the vectors, and keeps them saying the same.

The catalog is written first; the index follows, and whatever a crash left between them is made up for at the next
start. The writer thread alone calls what changes both (`record`, `set_aside`, `collect`, `adopt`); what takes long is
apart from that (`prepared`, `checkpoint`), for another thread; any may search. While there is no index (before the
first `adopt`) searches scan the catalog.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from facewatchd.errors import DamagedError, RefusedError
from facewatchd.models.base import is_unit
from facewatchd.store.catalog import Catalog, Outcome
from facewatchd.store.catalog_reader import CatalogReader
from facewatchd.store.checkpoint import Checkpoint, Origin
from facewatchd.store.graph import Graph, UnreachableError
from facewatchd.store.results import Above, Found, Search, found
from facewatchd.text import counted

if TYPE_CHECKING:
    from facewatchd.values import Embedding

log = logging.getLogger(__name__)

FIRST_K = 256
SMALL_K = 64
GROWTH = 2.5
"""How many neighbours are asked for first, fewer of few faces, and by how much more each time the last was still above
the threshold. Up to `graph.EF` more of them cost nothing; where it would be half of all, every face is compared."""
FEW = 8
"""Where the first answer has fewer faces above the threshold, more are asked for: the search becomes broader by that.
Of a million, one in a thousand of those who are on few photos is not found at first, and one in six thousand then."""
BATCH = 512
"""Faces in one statement."""
REBUILD_AT = 0.2
"""Share of tombstones from which the index is built anew: above it hnswlib loses recall (and at 0.99 it crashed)."""
PURGE_AFTER = 24 * 3600.0
"""Seconds after which an index with any tombstone is built anew: in it, and in its file, lie embeddings of faces that
were deleted."""
REBUILD_FROM = 500
"""Tombstones below this number never ask for a rebuild: a small index is searched exactly anyway."""
TOLERANCE = 1e-3
"""How far a component of a stored vector may be from the catalog's: hnswlib scales them to unit length again."""


KeepOn = Callable[[], bool]


def _always() -> bool:
    return True


class Gallery:
    """Photos, faces, and the search among them."""

    def __init__(self, catalog: Catalog, directory: Path) -> None:
        self.catalog = catalog
        self.dim = catalog.dim
        self._checkpoint = Checkpoint(directory)
        self._vectors: Graph | None = None
        self.changed = threading.Event()
        """Set when the index changes, or a damaged face is read, for the thread that looks after both."""
        catalog.on_damaged_face = self.changed.set

    @property
    def ready(self) -> bool:
        """Whether the index is there and level with the catalog."""
        return self._vectors is not None

    @property
    def index_size(self) -> tuple[int, int]:
        """Live faces and tombstones in the index."""
        vectors = self._vectors
        return (0, 0) if vectors is None else (len(vectors), vectors.tombstones)

    @property
    def unsaved(self) -> int:
        """Changes of the index since the last checkpoint."""
        vectors = self._vectors
        return 0 if vectors is None else vectors.unsaved

    # Writing (the writer thread only)

    def record(self, outcomes: Sequence[Outcome]) -> set[bytes]:
        """Make both tell the truth about some paths; return those that are to be looked at again: `Changes.unknown`.

        Raises `RefusedError` for an embedding that is not one of this model, and what `Catalog.record` raises.
        """
        for face in (face for outcome in outcomes for face in outcome.faces or ()):
            if not is_unit(face.embedding, self.dim):
                raise RefusedError(f"an embedding is not {self.dim} finite numbers of unit length", "please report it")
        changes = self.catalog.record(outcomes)
        self._change(changes.added, changes.embeddings, changes.removed)
        return changes.unknown

    def set_aside(self, face_ids: Sequence[int]) -> list[bytes]:
        """Let go of faces whose rows are damaged; return the photos that are to be looked at: `Catalog.set_aside`."""
        removed, photos = self.catalog.set_aside(face_ids)
        self._change([], [], removed)
        return photos

    def collect(self) -> None:
        """Let go of faces that no photo has shown for long."""
        self._change([], [], self.catalog.collect_orphans())

    def _change(self, added: Sequence[int], embeddings: Sequence[Embedding], removed: Sequence[int]) -> None:
        """Follow the catalog. An index that fails is given up, to be made again by `level`."""
        if self._vectors is None or not (added or removed):
            return
        try:
            if not self._vectors.tombstones:
                self._vectors.clean_at = time.time()
            self._delete(self._vectors, np.array(removed, np.int64))
            if added:
                self._vectors.add(np.array(added, np.int64), np.stack(embeddings))
        except Exception as exc:  # noqa: BLE001 - whatever it is: the catalog is right, and the index can be made again
            log.error("the index failed (%s): it is built again from the catalog", exc)
            self._vectors = None
        self.changed.set()

    def _delete(self, vectors: Graph, ids: NDArray[np.int64]) -> None:
        """Delete faces from an index. Nodes that stand for other faces too are replaced by one of those."""
        heirs = vectors.heirs(ids)
        while len(heirs):
            with self.catalog.reading() as reader:
                there, embeddings = reader.embeddings_of(heirs.tolist())
            if len(there) == len(heirs):
                return vectors.delete(ids, there, embeddings)
            ids = np.union1d(ids, np.setdiff1d(heirs, there))  # they were removed from the catalog meanwhile
            heirs = vectors.heirs(ids)
        return vectors.delete(ids)

    def adopt(self, vectors: Graph, keep_on: KeepOn = _always) -> None:
        """Take over what was `prepared`, once it has what was recorded meanwhile."""
        if self._catch_up(vectors, keep_on, threads=1):
            self._vectors = vectors

    def level(self, keep_on: KeepOn = _always, *, anew: bool = False) -> None:
        """`prepared` and `adopt` in one, while nothing is recorded."""
        vectors = self.prepared(keep_on, anew=anew)
        if vectors is not None:
            self.adopt(vectors, keep_on)

    # What takes long (one thread)

    def prepared(self, keep_on: KeepOn = _always, *, anew: bool = False, threads: int = 1) -> Graph | None:
        """An index that is level with the catalog: the one on the disk, checked and caught up, or one built anew.

        It is built anew where there is an index already. Searches and recording may go on meanwhile. None as soon as
        ``keep_on`` says so.
        """
        vectors = None if anew or self.ready else self._load(keep_on)
        if vectors is None or vectors.tombstones > vectors.nodes:  # else it will do until a new one is built
            vectors = Graph(self.dim)
        return vectors if keep_on() and self._catch_up(vectors, keep_on, threads) else None

    def _load(self, keep_on: KeepOn) -> Graph | None:
        with self.catalog.reading() as reader:
            origin = Origin(self.catalog.uuid, reader.last_face_id())
            try:
                vectors = self._checkpoint.load(self.dim, origin)
                self._compare(reader, vectors, keep_on)
            except DamagedError as exc:
                self._checkpoint.discard()
                if origin.last_face_id:
                    log.warning("%s: it is built again from the catalog", exc.message)
                return None
        return vectors

    def _compare(self, reader: CatalogReader, vectors: Graph, keep_on: KeepOn) -> None:
        """Hold every vector that was stored against the catalog. Raises `DamagedError` for one that differs.

        All of them: two faces that a restored catalog numbered the other way round are found by no sample.
        """
        live = vectors.live_ids()
        for ids, stored in self._checkpoint.stored(self.dim):
            known, embeddings = reader.embeddings_of(ids.tolist())
            if not np.isin(known, live, assume_unique=True).all():
                raise DamagedError("faces that were deleted are back in the catalog")
            _expect_equal(ids, stored, known, embeddings)
            followers, at = vectors.followers(ids)
            for start in range(0, len(followers), BATCH):
                part = slice(start, start + BATCH)
                known, embeddings = reader.embeddings_of(followers[part].tolist())
                _expect_equal(followers[part], stored[at[part]], known, embeddings)
            if not keep_on():
                return

    def _catch_up(self, vectors: Graph, keep_on: KeepOn, threads: int) -> bool:
        """Delete what the catalog lacks and add what it has; False when ``keep_on`` ended it.

        Read in parts, and not in one state: hours of building would keep SQLite's log from being emptied.
        """
        with self.catalog.reading() as reader:
            recorded = reader.face_ids()
        self._delete(vectors, np.setdiff1d(vectors.live_ids(), recorded, assume_unique=True))
        missing = np.setdiff1d(recorded, vectors.labels(), assume_unique=True)
        for start in range(0, len(missing), BATCH):
            with self.catalog.reading() as reader:
                ids, embeddings = reader.embeddings_of(missing[start : start + BATCH].tolist())
            vectors.add(ids, embeddings, threads)
            if not keep_on():
                return False
        return True

    @property
    def worn(self) -> bool:
        """Whether tombstones ask for an index that is built anew."""
        return self._vectors is not None and _worn(self._vectors)

    def checkpoint(self, keep_on: KeepOn = _always) -> None:
        """Write the index to the disk if it changed since it was written last. Raises `StorageError`."""
        vectors = self._vectors
        if vectors is None or not vectors.unsaved:
            return
        with self.catalog.reading() as reader:
            origin = Origin(self.catalog.uuid, reader.last_face_id())
        self._checkpoint.save(vectors, origin, keep_on)

    # Asking

    def differences(self, keep_on: KeepOn = _always) -> list[str]:
        """Hold every vector of the index against the catalog; a line for each finding.

        On another thread than the writer's, what is recorded meanwhile is found too, and `UnreachableError` is raised
        for a face that is deleted meanwhile. As soon as ``keep_on`` says so, those that were not looked at yet count as
        right.
        """
        vectors = self._vectors
        if vectors is None:
            return ["the index is not there yet"]
        with self.catalog.reading() as reader:
            recorded, live = reader.face_ids(), vectors.live_ids()
            wrong = 0
            for ids, embeddings in reader.embeddings(BATCH):
                if not keep_on():
                    break
                there = np.isin(ids, live, assume_unique=True)
                if there.any():
                    stored = vectors.get(ids[there])
                    wrong += int(np.count_nonzero(np.abs(stored - embeddings[there]).max(axis=1) > TOLERANCE))
        missing = np.setdiff1d(recorded, live, assume_unique=True)
        left_over = np.setdiff1d(live, recorded, assume_unique=True)
        findings = {"missing from": missing, "left over in": left_over}
        lines = [
            f"{counted(len(ids), 'face')} {'is' if len(ids) == 1 else 'are'} {what} the index"
            for what, ids in findings.items()
            if len(ids)
        ]
        return lines + (
            [f"{counted(wrong, 'vector')} of the index {'is' if wrong == 1 else 'are'} not the catalog's"]
            if wrong
            else []
        )

    def nearest(self, embeddings: NDArray[np.float32], search: Search) -> Found:
        """The photos of whom the embeddings are: one of unit length, shape (dim,), or several people, (n, dim)."""
        with self.catalog.reading() as reader:
            people = [self._above(reader, embedding, search) for embedding in np.atleast_2d(embeddings)]
            return found(reader, people, search)

    def _above(self, reader: CatalogReader, embedding: Embedding, search: Search) -> Above:
        """Every face from the threshold on."""
        vectors = self._vectors
        k = 0 if vectors is None else min(FIRST_K, max(SMALL_K, vectors.nodes // 4))
        while not search.exact and vectors is not None and k <= vectors.nodes // 2:
            try:
                ids, similarities = vectors.nearest(embedding, k)
            except UnreachableError:
                break
            above = int(np.count_nonzero(similarities >= search.threshold))
            more = int(k * GROWTH)
            if above < len(ids) and (above >= FEW or k > FIRST_K or more > vectors.nodes // 2):
                return Above(ids[:above], similarities[:above], exact=False)
            k = more
        return self._scan(reader, embedding, search.threshold)

    def _scan(self, reader: CatalogReader, embedding: Embedding, threshold: float) -> Above:
        found_ids, found = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
        for ids, embeddings in reader.embeddings():
            similarities = np.clip(embeddings @ embedding, -1.0, 1.0)
            above = similarities >= threshold
            found_ids.append(ids[above])
            found.append(similarities[above])
        return Above(np.concatenate(found_ids), np.concatenate(found), exact=True)


def _expect_equal(
    ids: NDArray[np.int64], stored: NDArray[np.float32], known: NDArray[np.int64], embeddings: NDArray[np.float32]
) -> None:
    """Raise `DamagedError` where what the index has stored for the known ids is not what the catalog has."""
    order = np.argsort(ids)
    rows = order[np.searchsorted(ids, known, sorter=order)]
    if not np.allclose(stored[rows], embeddings, atol=TOLERANCE):
        raise DamagedError("the index holds other faces than the catalog")


def _worn(vectors: Graph) -> bool:
    dead = vectors.tombstones
    if dead and time.time() - vectors.clean_at > PURGE_AFTER:
        return True
    return dead >= REBUILD_FROM and dead > REBUILD_AT * (dead + vectors.nodes)
