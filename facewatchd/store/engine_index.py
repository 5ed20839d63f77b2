"""An index that is on another machine: the shared engine has the faces that this one sent to it.

For archives that do not fit this machine's memory. The engine is only asked which faces are near, by id. An id is never
given twice, and the embedding of a face never changes; so the similarities are those of the catalog's embeddings, and
an answer lacks at most what the engine's own index misses. Beside them all faces are compared that the engine cannot
have: those on contents that are still to be sent, and on those that no photo shows.

Where the engine does not answer, or lacks more than `MOST_UNSENT` contents, every face of the catalog is compared, as
`CatalogIndex` does: at a million faces that takes 2 s. `status` says so. So it is where the engine has lost this
machine's faces, as after the machine was removed or an older dump was restored: it says with each answer how many it
has, and that is held against the catalog.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from facewatchd.errors import StorageError
from facewatchd.store.catalog import Catalog
from facewatchd.store.catalog_index import CatalogIndex
from facewatchd.store.catalog_reader import CatalogReader
from facewatchd.store.index import Above, Embeddings, Hits, Ids, Status, compared

if TYPE_CHECKING:
    from facewatchd.values import Embedding

MOST: Final = 200_000
"""Faces that the engine is asked for, for each embedding; where more are near, every face is compared."""
MOST_UNSENT: Final = 2000
"""Contents: comparing the faces on them takes some 20 ms."""
SLACK: Final = 0.001
"""By how much less is asked for: the engine's similarities err by up to 0.00017."""
AGAIN_AFTER: Final = 10.0
"""Seconds in which the engine is not asked after it did not answer: each question would wait for it anew."""
BLOCK: Final = 4096
"""Faces whose embeddings are in memory at once."""
LEAST_KEPT: Final = 0.99
"""The part of the faces that were sent that the engine must have; of a content with a damaged row it may have none.
A smaller part that an older dump lacks is found when facewatch-share compares."""
AWAY: Final = "the shared engine does not answer: every face is compared here, which takes long"
BEHIND: Final = "the shared engine lacks many photos of this machine: until they are sent, every face is compared here"

LOST: Final = "the shared engine has lost faces of this machine: every face is compared here; facewatchd shared resync"


@dataclass(frozen=True, slots=True)
class Near:
    """The faces of this machine that the engine finds alike to each of some embeddings."""

    ids: Sequence[Ids]
    exact: bool
    """Whether it compared all that it has."""
    cut: bool
    """Whether there are more."""
    faces: int | None
    """How many it has of this machine; None: it does not know this machine."""


@dataclass(frozen=True, slots=True)
class Unsent:
    """What the engine cannot have."""

    faces: Ids
    is_all: bool
    """False: there are more on contents that no photo shows."""


Find = Callable[[Embeddings, float, int], Near | None]
"""Asks the engine for at most so many faces from a threshold on, the most alike; None where it does not answer."""


class EngineIndex(CatalogIndex):
    """Any thread may ask; one calls `add` and `remove`."""

    def __init__(self, catalog: Catalog, find: Find) -> None:
        super().__init__(catalog)
        self._find = find
        self._lock = threading.Lock()
        self._faces: int | None = None
        """Of the catalog; None: they are still to be counted."""
        self._away_until = -math.inf
        self._is_behind = False
        self._has_lost = False

    def add(self, ids: Ids, embeddings: Embeddings) -> None:
        self._count(len(ids))

    def remove(self, ids: Ids) -> None:
        self._count(-len(ids))

    def _count(self, more: int) -> None:
        with self._lock:
            self._faces = None if self._faces is None else self._faces + more

    def above(self, embedding: Embedding, threshold: float, *, exact: bool = False) -> Above:
        return self.above_each(embedding[None], threshold, exact=exact)[0]

    def above_each(self, embeddings: Embeddings, threshold: float, *, exact: bool = False) -> list[Above]:
        near = None if exact else self._asked(embeddings, threshold, MOST)
        if near is None or near.cut:
            return super().above_each(embeddings, threshold)
        return self._compared(near, embeddings, threshold)

    def nearest(self, embedding: Embedding, threshold: float, most: int) -> Above:
        """Raises `StorageError` where every face would have to be compared: this is for work that can wait."""
        near = self._asked(embedding[None], threshold, most)
        if near is None:
            raise StorageError(self.status().problem or AWAY, "start facewatch-share, or wait")
        return self._compared(near, embedding[None], threshold)[0].first(most)

    def _asked(self, embeddings: Embeddings, threshold: float, most: int) -> Near | None:
        """What the engine finds, and what it cannot have; None where every face is to be compared."""
        with self._catalog.reading() as reader:  # before the engine is asked: what is sent meanwhile is found twice
            unsent = _unsent(reader)
        self._is_behind = unsent is None
        if unsent is None or time.monotonic() < self._away_until:
            return None
        near = self._find(embeddings, threshold - SLACK, most)
        if near is None:
            self._away_until = time.monotonic() + AGAIN_AFTER
            return None
        self._has_lost = self._lacks(near, unsent)
        if self._has_lost:
            return None
        return replace(near, ids=[np.concatenate([ids, unsent.faces]) for ids in near.ids])

    def _lacks(self, near: Near, unsent: Unsent) -> bool:
        """Whether the engine has fewer faces of this machine than were sent to it."""
        sent = self._in_catalog() - len(unsent.faces)
        if near.faces is None:
            return sent > 0
        return unsent.is_all and near.faces < LEAST_KEPT * sent

    def _compared(self, near: Near, embeddings: Embeddings, threshold: float) -> list[Above]:
        """The similarities of the catalog's embeddings; faces that are not there any more are left out."""
        hits = Hits(len(embeddings))
        every = np.unique(np.concatenate([np.empty(0, np.int64), *near.ids]))
        with self._catalog.reading() as reader:
            for start in range(0, len(every), BLOCK):
                ids, rows = reader.embeddings_of(every[start : start + BLOCK].tolist())
                hits.add(ids, compared(rows, embeddings), threshold)
        return [replace(above, exact=near.exact) for above in hits.above()]

    def _in_catalog(self) -> int:
        with self._lock:
            if self._faces is None:
                self._faces = super().status().faces
            return self._faces

    def status(self) -> Status:
        return Status(self._in_catalog(), 0, ready=True, problem=self._doubt())

    def _doubt(self) -> str:
        if self._is_behind:
            return BEHIND
        if time.monotonic() < self._away_until:
            return AWAY
        return LOST if self._has_lost else ""


def _unsent(reader: CatalogReader) -> Unsent | None:
    """The faces that the engine cannot have: on contents that are to be sent, or that no photo shows.

    None where they are too many.
    """
    changes = reader.outbox.first(MOST_UNSENT + 1)
    if reader.outbox.rest() is not None or len(changes) > MOST_UNSENT:
        return None
    contents = list(reader.contents_with({digest for _, digest in changes}).values())
    hidden = reader.orphans()
    if len(hidden) <= MOST_UNSENT:  # of more, as after an import, those that are not shown are not found
        contents = sorted({*contents, *hidden.tolist()})
    return Unsent(np.array(reader.faces_on(contents), np.int64), len(hidden) <= MOST_UNSENT)
