"""Exact answers: an embedding is compared with every face.

Where the embeddings are read from:

1. The file of the last checkpoint (`StoredVectors`), without those that were removed since it was written.
2. Memory (`FlatIndex`), for those that were added since.
3. The catalog, for duplicates: faces whose embedding differs from that of another by no more than `graph.SAME`. The
   file holds one embedding for all of them, which is near enough to tell that they are to be looked at.

Which of them are faces still, the caller looks up in the catalog. There may be neither file nor memory: at the start,
until the file's digest was computed and its embeddings were compared with the catalog's; after a file was refused; when
more was added since the last checkpoint than is to be held in memory. Then `above_each` returns None, and SQLite is
asked.

A new file replaces the old one while faces are added and removed. From the moment whose faces the new file holds
(`begin`), changes are applied to the old state and collected for the new one too; then `use` takes the new one. A face
may so be both in the file and among those that were added since: it is found once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from facewatchd.errors import DamagedError
from facewatchd.store.flat import FlatIndex
from facewatchd.store.index import Above, Embeddings, Ids
from facewatchd.store.stored import StoredVectors

if TYPE_CHECKING:
    from facewatchd.values import Embedding

log = logging.getLogger(__name__)

MOST_IN_MEMORY = 16_384
SHARE_IN_MEMORY = 1 / 16
"""At most so many faces that were added since the last checkpoint are held in memory, 32 MB at 512 dimensions, or so
many for each in the file, whichever is more. A checkpoint is due long before, from 2 % on."""

Catalogued = Callable[[Iterable[int]], tuple[Ids, Embeddings]]
"""Reads the embeddings of some faces from the catalog: `CatalogReader.embeddings_of`."""


@dataclass(frozen=True, slots=True)
class _State:
    stored: StoredVectors | None
    recent: FlatIndex

    def most_recent(self) -> int:
        """How many faces may be in memory."""
        return max(MOST_IN_MEMORY, int(SHARE_IN_MEMORY * len(self.stored or ())))


class ExactSearch:
    """One thread calls `add` and `remove`, one `begin` and `use`; any may call `forget` and `above_each`."""

    def __init__(self, dim: int, catalogued: Catalogued, same: float, threads: int) -> None:
        """``same``: how much the similarity of a duplicate may differ from that of its node.

        ``threads`` compare at a time for one question.
        """
        self._dim = dim
        self._catalogued = catalogued
        self._same = same
        self._threads = threads
        self._lock = threading.Lock()
        """Held while the state is replaced and while a change is applied."""
        self._state: _State | None = None
        self._next: FlatIndex | None = None

    @property
    def ready(self) -> bool:
        return self._state is not None

    def add(self, ids: Ids, embeddings: Embeddings) -> None:
        with self._lock:
            for recent in self._collecting():
                recent.add(ids, embeddings)
            if self._state is not None and len(self._state.recent) > self._state.most_recent():
                self._state = None

    def remove(self, ids: Ids) -> None:
        with self._lock:
            for recent in self._collecting():
                recent.remove(ids)
            if self._state is not None and self._state.stored is not None:
                self._state.stored.remove(ids)

    def _collecting(self) -> list[FlatIndex]:
        current = [] if self._state is None else [self._state.recent]
        return current if self._next is None else [*current, self._next]

    def begin(self) -> None:
        """Collect changes from now on for the state that `use` takes."""
        with self._lock:
            self._next = FlatIndex(self._dim)

    def use(self, stored: StoredVectors | None, missing: Ids | None = None) -> None:
        """Answer from a file, or without one, that holds every face there was when `begin` was called.

        All but those that are ``missing``, which are read from the catalog unless they are too many. No effect where
        `forget` was called since `begin`: what was collected is not complete then.
        """
        recent = self._next
        if recent is None:
            return None
        state = _State(stored, recent)
        ids = np.empty(0, np.int64) if missing is None else missing
        if len(ids) > state.most_recent():
            return self.forget()
        for start in range(0, len(ids), 512):
            recent.add(*self._catalogued(ids[start : start + 512].tolist()))
        with self._lock:
            if self._next is recent:
                if stored is not None:
                    stored.remove(recent.removed)
                self._state, self._next = state, None
        return None

    def abandon(self) -> None:
        """End the collecting, where `use` was not called."""
        with self._lock:
            self._next = None

    def forget(self) -> None:
        """Answer no more, until there is a new state; give up what was collected for one."""
        with self._lock:
            self._state = self._next = None

    def above_each(self, asked: Embeddings, threshold: float) -> list[Above] | None:
        """For each of some embeddings the faces from the threshold on; None where that cannot be told from here."""
        state = self._state
        if state is None:
            return None
        recent = state.recent.above_each(asked, threshold)
        if state.stored is None:
            return recent
        try:
            stored = self._stored(state.stored, asked, threshold)
        except (DamagedError, OSError) as exc:
            log.error("the index's file cannot be read any more (%s): exact answers come from the catalog", exc)
            with self._lock:
                self._state = None if self._state is state else self._state
            return None
        return [_joined(*pair) for pair in zip(stored, recent, strict=True)]

    def _stored(self, stored: StoredVectors, asked: Embeddings, threshold: float) -> list[Above]:
        found = stored.above_each(asked, threshold - self._same, self._threads)
        return [self._with_duplicates(stored, *pair, threshold) for pair in zip(asked, found, strict=True)]

    def _with_duplicates(self, stored: StoredVectors, embedding: Embedding, found: Above, threshold: float) -> Above:
        """Add the faces that stand under the labels of others; leave out those that were removed."""
        duplicates, _ = stored.duplicates(found.ids)
        duplicates, embeddings = self._catalogued(duplicates[~stored.is_removed(duplicates)].tolist())
        ids = np.concatenate([found.ids, duplicates])
        every = np.concatenate([found.similarities, np.clip(embeddings @ embedding, -1.0, 1.0)])
        wanted = (every >= threshold) & ~stored.is_removed(ids)
        return Above(ids[wanted], every[wanted], exact=True)


def _joined(stored: Above, recent: Above) -> Above:
    """What was found in the file and in memory; a face that is in both once."""
    new = ~np.isin(recent.ids, stored.ids)
    return Above(
        np.concatenate([stored.ids, recent.ids[new]]),
        np.concatenate([stored.similarities, recent.similarities[new]]),
        exact=True,
    )
