"""The faces that match one person, with their similarities: what results are made of.

A person is wanted by one face or by several, the references; a face is as similar as it is to the best of them. Where
norms mean something (`Search.quality`), the two match from the threshold on and what each of them adds to it, and a
face below the floor matches nothing. The faces on the photos of the question are not held to that: they were asked for.

Every face above the threshold is looked up in an index of SQLite that holds no embeddings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facewatchd.store.catalog_reader import CatalogReader
from facewatchd.store.index import Above, Index
from facewatchd.values import Quality


@dataclass(frozen=True, slots=True)
class Search:
    """A search. ``top`` 0: all results; ``directories`` empty: everywhere."""

    threshold: float
    top: int = 0
    directories: tuple[bytes, ...] = ()
    min_size: int = 0
    exact: bool = False
    collapse: bool = True
    own_paths: frozenset[bytes] = frozenset()
    """The photos of the query, by name."""
    quality: Quality | None = None
    """None: the threshold counts for all faces alike."""
    strict: bool = False
    """Whether photos are left out where it cannot be told that an unwanted person is not on them."""
    only: bool = False
    """Whether no other face may be on the photo."""
    faces_min: int = 0
    faces_max: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """A person who is asked for."""

    references: NDArray[np.float32]
    """Shape (n, dim), unit length."""
    norms: tuple[float | None, ...]
    """`Face.norm` of each reference."""
    threshold_extra: float = 0.0
    """What is added to the threshold for the number of references."""
    person: int | None = None
    """Id of a named person."""
    confirmed: frozenset[int] = frozenset()
    """Faces that are this person, whatever they score, by id."""
    rejected: frozenset[int] = frozenset()
    """Faces that are not, by id."""
    photos: frozenset[int] = frozenset()
    """Contents on which the person stands and no face is known."""
    own: frozenset[int] = frozenset()
    """The contents of the photos of the query."""

    def thresholds(self, search: Search) -> NDArray[np.float32]:
        """The similarity that each reference asks of a clear face. Shape (n,)."""
        blur = [search.quality.extra(norm) for norm in self.norms] if search.quality else [0.0] * len(self.norms)
        return search.threshold + self.threshold_extra + np.array(blur, np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """The faces that match a person: those that are confirmed first, then the most alike. Arrays of shape (n,)."""

    ids: NDArray[np.int64]
    similarities: NDArray[np.float32]
    """To the best reference."""
    contents: NDArray[np.int64]
    norms: NDArray[np.float64]
    confirmed: NDArray[np.bool_]
    own: NDArray[np.bool_]
    """Whether each is on a photo of the query."""
    exact: bool
    """Whether every face was compared."""
    person: int | None = None
    """`Wanted.person`, as ``photos``."""
    photos: frozenset[int] = frozenset()


def scored(index: Index, reader: CatalogReader, wanted: Wanted, search: Search) -> Scored:
    """Return the faces that match a person, those too small for the search left out."""
    thresholds = wanted.thresholds(search)
    found = _best(
        [
            index.above(row, threshold, exact=search.exact)
            for row, threshold in zip(wanted.references, thresholds.tolist(), strict=True)
        ],
        thresholds,
    )
    shown = reader.contents_of(found.ids.tolist(), search.min_size)
    kept = np.isin(found.ids, shown.ids)
    ids, similarities, spare = found.ids[kept], found.similarities[kept], found.spare[kept]
    at = np.searchsorted(shown.ids, ids)
    contents, norms = shown.contents[at], shown.norms[at]
    own = np.isin(contents, np.array(sorted(wanted.own), np.int64))
    told = np.ones(len(ids), np.bool_)
    if search.quality is not None:
        told = own | ((spare >= search.quality.extras(norms)) & (norms >= search.quality.floor))
    order = np.flatnonzero(told)[np.lexsort((ids[told], -similarities[told]))]
    return Scored(
        ids[order],
        similarities[order],
        contents[order],
        norms[order],
        np.zeros(len(order), np.bool_),
        own[order],
        found.exact,
        wanted.person,
        wanted.photos,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Best:
    """Faces by ascending id, each with its best reference."""

    ids: NDArray[np.int64]
    similarities: NDArray[np.float32]
    spare: NDArray[np.float32]
    """Similarity less what the reference asks for."""
    exact: bool


def _best(parts: list[Above], thresholds: NDArray[np.float32]) -> _Best:
    """The faces that are above the threshold of a reference, for any of them."""
    ids = np.concatenate([part.ids for part in parts])
    similarities = np.concatenate([part.similarities for part in parts])
    spare = similarities - np.repeat(thresholds, [len(part.ids) for part in parts])
    order = np.lexsort((-spare, ids))
    first = order[np.unique(ids[order], return_index=True)[1]]
    return _Best(ids[first], similarities[first], spare[first], all(part.exact for part in parts))
