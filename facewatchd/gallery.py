"""The one object that knows both the catalog and the vectors, and keeps them saying the same.

The catalog is written first; the index follows, and whatever a crash left between them is made up for by `level` at
the next start. Only the writer thread calls what changes anything (`record`, `level`, `checkpoint`, ...); any thread
may search. While there is no index (before `level`, or without trust in the one on the disk) searches scan the
catalog.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from facewatchd.catalog import Catalog, Outcome
from facewatchd.catalog_reader import CatalogReader
from facewatchd.checkpoint import Checkpoint, Origin
from facewatchd.errors import DamagedError
from facewatchd.records import Match, is_within
from facewatchd.vectors import UnreachableError, Vectors

if TYPE_CHECKING:
    from facewatchd.records import Embedding

log = logging.getLogger(__name__)

FIRST_K = 64
GROWTH = 4
"""How many neighbours are asked for first, and by how much more each time the last was still above the threshold."""
REBUILD_AT = 0.2
"""Share of tombstones from which the index is built anew: above it hnswlib loses recall (and at 0.99 it crashed)."""
REBUILD_FROM = 500
"""Tombstones below this number never ask for a rebuild: a small index is searched exactly anyway."""
TOLERANCE = 1e-3
"""How far a component of a stored vector may be from the catalog's: hnswlib scales them to unit length again."""


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for. ``top`` 0: all; ``directories`` empty: everywhere."""

    threshold: float
    top: int = 0
    directories: tuple[bytes, ...] = ()
    min_size: int = 0
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """The matches, most alike first, and whether every face was compared."""

    matches: list[Match]
    exact: bool


class Gallery:
    """Photos, faces, and the search among them."""

    def __init__(self, catalog: Catalog, directory: Path, dim: int) -> None:
        self.catalog = catalog
        self.dim = dim
        self._checkpoint = Checkpoint(directory)
        self._vectors: Vectors | None = None
        self.unsaved = 0
        """Changes of the index since the last checkpoint."""
        self.unsaved_since = 0.0
        """When the first of them was made (monotonic clock)."""

    @property
    def ready(self) -> bool:
        """Whether the index is there and level with the catalog."""
        return self._vectors is not None

    @property
    def index_size(self) -> tuple[int, int]:
        """Live faces and tombstones in the index."""
        vectors = self._vectors
        return (0, 0) if vectors is None else (len(vectors), vectors.tombstones)

    # Writing (the writer thread only)

    def record(self, outcomes: Sequence[Outcome]) -> set[bytes]:
        """Make both tell the truth about some paths; return those that are to be looked at again: `Changes.unknown`."""
        changes = self.catalog.record(outcomes)
        self._change(changes.added, changes.embeddings, changes.removed)
        return changes.unknown

    def collect(self) -> None:
        """Let go of faces that no photo has shown for long."""
        self._change([], [], self.catalog.collect_orphans())

    def _change(self, added: Sequence[int], embeddings: Sequence[Embedding], removed: Sequence[int]) -> None:
        """Follow the catalog. An index that fails is given up, to be made again by `level`."""
        if self._vectors is None or not (added or removed):
            return
        try:
            self._vectors.delete(removed)
            if added:
                self._vectors.add(np.array(added, np.int64), np.stack(embeddings))
        except Exception as exc:  # noqa: BLE001 - whatever it is: the catalog is right, and the index can be made again
            log.error("the index failed (%s): it is built again from the catalog", exc)
            self._vectors = None
        self._note(len(added) + len(removed))

    def _note(self, changes: int) -> None:
        if not self.unsaved:
            self.unsaved_since = time.monotonic()
        self.unsaved += changes

    def level(self, keep_on: Callable[[], bool] = lambda: True, *, anew: bool = False) -> None:
        """Bring the index level with the catalog: load, check, add and delete, or build it anew.

        Searches go on with the index there was. Gives up, changing nothing, when ``keep_on`` says so.
        """
        with self.catalog.reading() as reader:
            vectors = None if anew else self._vectors
            if vectors is None and not anew:
                vectors = self._load(reader, keep_on)
            if vectors is None or self._worn(vectors):
                vectors = Vectors(self.dim)
            if keep_on() and self._bring_level(reader, vectors, keep_on):
                self._vectors = vectors

    def _load(self, reader: CatalogReader, keep_on: Callable[[], bool]) -> Vectors | None:
        origin = Origin(self.catalog.uuid, reader.last_face_id())
        try:
            vectors = self._checkpoint.load(self.dim, origin)
            self._compare(reader, vectors.live_ids(), keep_on)
        except DamagedError as exc:
            self._checkpoint.discard()
            if origin.last_face_id:
                log.warning("%s: it is built again from the catalog", exc.message)
            return None
        return vectors

    def _compare(self, reader: CatalogReader, live: set[int], keep_on: Callable[[], bool]) -> None:
        """Hold every vector that was stored against the catalog. Raises `DamagedError` for one that differs.

        All of them: two faces that a restored catalog numbered the other way round are found by no sample.
        """
        for ids, stored in self._checkpoint.stored(self.dim):
            known, embeddings = reader.embeddings_of(ids.tolist(), self.dim)
            if not live.issuperset(known.tolist()):
                raise DamagedError("faces that were deleted are back in the catalog")
            order = np.argsort(ids)
            rows = order[np.searchsorted(ids, known, sorter=order)]
            if not np.allclose(stored[rows], embeddings, atol=TOLERANCE):
                raise DamagedError("the index holds other faces than the catalog")
            if not keep_on():
                return

    def _bring_level(self, reader: CatalogReader, vectors: Vectors, keep_on: Callable[[], bool]) -> bool:
        known = vectors.labels()
        recorded = set(reader.face_ids().tolist())
        gone = vectors.live_ids() - recorded
        vectors.delete(gone)
        missing = len(recorded - known)
        if missing:
            for ids, embeddings in reader.embeddings(self.dim, batch=512):
                new = np.array([face_id not in known for face_id in ids.tolist()], bool)
                vectors.add(ids[new], embeddings[new])
                if not keep_on():
                    return False
        self._note(missing + len(gone))
        return True

    def _worn(self, vectors: Vectors) -> bool:
        dead = vectors.tombstones
        return dead >= REBUILD_FROM and dead > REBUILD_AT * (dead + len(vectors))

    @property
    def worn(self) -> bool:
        """Whether tombstones ask for a rebuild (by `level`)."""
        return self._vectors is not None and self._worn(self._vectors)

    def differences(self) -> list[str]:
        """Hold every vector of the index against the catalog; a line for each finding (the writer thread only)."""
        vectors = self._vectors
        if vectors is None:
            return ["the index is not there yet"]
        with self.catalog.reading() as reader:
            recorded = set(reader.face_ids().tolist())
            live = vectors.live_ids()
            in_both = np.array(sorted(recorded & live), np.int64)
            wrong = 0
            for ids, embeddings in reader.embeddings(self.dim):
                there = np.isin(ids, in_both)
                if there.any():
                    stored = vectors.get(ids[there].tolist())
                    wrong += int(np.count_nonzero(np.abs(stored - embeddings[there]).max(axis=1) > TOLERANCE))
        findings = {"missing from": recorded - live, "left over in": live - recorded}
        lines = [f"{len(ids)} faces are {what} the index" for what, ids in findings.items() if ids]
        return lines + ([f"{wrong} vectors of the index are not the catalog's"] if wrong else [])

    def checkpoint(self) -> None:
        """Write the index to the disk if it changed since it was written last."""
        if self._vectors is None or not self.unsaved:
            return
        with self.catalog.reading() as reader:
            origin = Origin(self.catalog.uuid, reader.last_face_id())
        self._checkpoint.save(self._vectors, origin)
        self.unsaved = 0

    # Searching (any thread)

    def nearest(self, embedding: Embedding, search: Search) -> Found:
        """The faces most alike to an embedding of unit length, on every photo that shows them."""
        vectors = self._vectors
        k = FIRST_K
        with self.catalog.reading() as reader:
            while not search.exact and vectors is not None and k <= len(vectors) // 2:
                try:
                    ids, similarities = vectors.nearest(embedding, k)
                except UnreachableError:
                    break
                matches = self._matches(reader, ids, similarities, search)
                if similarities[-1] < search.threshold or (search.top and len(matches) >= search.top):
                    return Found(matches, exact=False)
                k *= GROWTH
            ids, similarities = self._scan(reader, embedding, search.threshold)
            return Found(self._matches(reader, ids, similarities, search), exact=True)

    def _scan(
        self, reader: CatalogReader, embedding: Embedding, threshold: float
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        found_ids, found = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
        for ids, embeddings in reader.embeddings(self.dim):
            similarities = np.clip(embeddings @ embedding, -1.0, 1.0)
            above = similarities >= threshold
            found_ids.append(ids[above])
            found.append(similarities[above])
        similarities = np.concatenate(found)
        order = np.argsort(-similarities, kind="stable")
        return np.concatenate(found_ids)[order], similarities[order]

    def _matches(
        self, reader: CatalogReader, ids: NDArray[np.int64], similarities: NDArray[np.float32], search: Search
    ) -> list[Match]:
        above = int(np.count_nonzero(similarities >= search.threshold))
        matches: list[Match] = []
        for start in range(0, above, 256):
            part = slice(start, min(start + 256, above))
            sightings = reader.sightings(ids[part].tolist())
            for face_id, similarity in zip(ids[part].tolist(), similarities[part].tolist(), strict=True):
                for seen in sightings.get(face_id, ()):
                    if _wanted(seen.path, min(seen.box.w, seen.box.h), search):
                        matches.append(Match(seen.path, similarity, seen.box, seen.score, face_id))
            if search.top and len(matches) >= search.top:
                return matches[: search.top]
        return matches


def _wanted(path: bytes, size: int, search: Search) -> bool:
    if size < search.min_size:
        return False
    return not search.directories or any(is_within(path, directory) for directory in search.directories)
