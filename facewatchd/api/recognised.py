"""Which faces are a person's: those that the user confirmed, and those that a question for the person finds.

What is found of each person is kept until what is known of the person changes: the references, and what the user said
that the person is not. It is asked again as a question is (`scoring.scored`). Where another person has fewer faces
than before, all are asked again, as faces that were nearer to that person may now be this one's. Faces that came since
are compared by themselves, and so are few: all are asked again of the index where more than `MANY` came.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facewatchd.api.scoring import Scorer
from facewatchd.store.catalog_reader import CatalogReader
from facewatchd.store.flat import FlatIndex
from facewatchd.store.gallery import Gallery
from facewatchd.store.index import Index
from facewatchd.store.scoring import Search, Wanted
from facewatchd.values import ModelInfo

MANY = 4096
"""Faces that came since."""


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """What was found of one person."""

    wanted: Wanted
    ids: NDArray[np.int64]

    def is_of(self, wanted: Wanted) -> bool:
        """Whether it is what is wanted now."""
        before = self.wanted
        same = before.confirmed == wanted.confirmed and before.rejected == wanted.rejected
        return same and np.array_equal(before.references, wanted.references)


class Recognised:
    """Any thread may ask."""

    def __init__(self, gallery: Gallery, scorer: Scorer, info: ModelInfo) -> None:
        self._gallery = gallery
        self._scorer = scorer
        self._search = Search(info.threshold, quality=info.quality)
        self._dim = info.dim
        self._lock = threading.Lock()
        self._found: dict[int, _Found] = {}
        self._last = 0
        """The highest id of a face that was looked at."""
        self._faces = np.empty(0, np.int64)
        self._made_of: object = None

    def faces(self) -> NDArray[np.int64]:
        """Return the ids of the faces that are a person's, ascending. Raises `StorageError`."""
        people = self._scorer.people()
        with self._lock, self._gallery.catalog.reading() as reader:
            last = reader.last_face_id()
            if people is self._made_of and last == self._last:
                return self._faces
            self._update(reader, last)
            self._made_of, self._last = people, last
            every = [found.ids for found in self._found.values()]
            self._faces = np.unique(np.concatenate([np.empty(0, np.int64), *every]))
            return self._faces

    def _update(self, reader: CatalogReader, last: int) -> None:
        known = self._scorer.people().known
        wanted = {person: self._scorer.wanted_person(person) for person in known.confirmed}
        before = self._found
        fewer = any(
            person not in wanted or not found.wanted.confirmed <= wanted[person].confirmed
            for person, found in before.items()
        )
        few = FlatIndex(self._dim)
        anew = fewer or last - self._last > MANY
        if not anew and last > self._last:
            few.add(*reader.embeddings_of(range(self._last + 1, last + 1)))
        self._found = {}
        for person, each in wanted.items():
            found = before.get(person)
            if anew or found is None or not found.is_of(each):
                ids = self._ids(reader, each, self._gallery.index)
            elif len(few):
                ids = np.concatenate([found.ids, self._ids(reader, each, few)])
            else:
                ids = found.ids
            self._found[person] = _Found(each, ids)

    def _ids(self, reader: CatalogReader, wanted: Wanted, index: Index) -> NDArray[np.int64]:
        return self._scorer.scored(reader, wanted, self._search, index).ids
