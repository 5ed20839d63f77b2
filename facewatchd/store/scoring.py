"""The faces that match one person, with their similarities: what results are made of.

**Similar.** A person is wanted by one face or by several, the references (`references`); a face is as similar as it is
to the best of them. Where norms mean something (`Search.quality`), the two match from the threshold on and what each of
them adds to it, and a face below the floor matches nothing. The faces on the photos of the question are not held to
that: they were asked for.

**Said.** What the user said of a face counts more than its similarity:

- The faces that are confirmed come first, whatever they score.
- A face that is rejected is not found, nor is a copy of it in other bytes or the next frame (`same_picture`), unless
  that is more alike to the person.
- A face that another person's references leave more to spare than this one's (`References.spare`) is that person's, as
  is one that is confirmed as that person.

Every face above the threshold is looked up in an index of SQLite that holds no embeddings. Embeddings are read where
there are other people or rejected faces to compare with.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from facewatchd.store.index import Above, Embeddings, Searchable
from facewatchd.store.references import References
from facewatchd.store.result_reader import ResultReader
from facewatchd.values import Quality

TOGETHER, LOW = 8, 0.2
"""References that are searched for at a time where the threshold is lower than that, as each finds very many faces."""
BLOCK = 4096
"""Faces whose embeddings are in memory at once."""
ROUNDING = 1e-5
"""By how much similarities of the same two faces may differ."""


class Sort(StrEnum):
    """The order of results."""

    SIMILARITY = "similarity"
    DATE = "date"
    LATEST = "-date"
    PATH = "path"

    @property
    def is_by_date(self) -> bool:
        return self in (Sort.DATE, Sort.LATEST)


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
    counts_references: bool = True
    """Whether the threshold rises with the number of references."""
    since: float | None = None
    """`values.Taken.at` before which no photo was taken, and from ``until`` on; None: whenever."""
    until: float | None = None
    sort: Sort = Sort.SIMILARITY
    same_face: float = 1.0
    """Similarity from which two faces are nearly the same: `ModelInfo.same_face`."""
    same_person: float = 1.0
    """Similarity from which two clear faces are one person's: `ModelInfo.threshold`."""
    skip: int = 0
    """Results that are left out before the first."""
    folds: bool = True
    """Whether the frames of a burst are one result, where the search collapses."""
    seen: Callable[[Sequence[bytes]], Collection[bytes]] | None = None
    """Says which of some contents, by digest, are left out because they were shown before."""
    tells_all: bool = False
    """Whether `Found.every` is wanted,"""
    tells_years: bool = False
    """and `Found.years`."""

    @property
    def is_about_dates(self) -> bool:
        """Whether the answer depends on when photos were taken."""
        return self.since is not None or self.until is not None or self.sort.is_by_date


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """A person who is asked for."""

    references: NDArray[np.float32]
    """Shape (n, dim), unit length; n is 0 where the person is known by ``photos`` alone."""
    norms: tuple[float | None, ...]
    """`Face.norm` of each reference."""
    threshold_extra: float = 0.0
    """What the number of references adds to the threshold."""
    person: int | None = None
    """Id of a named person."""
    confirmed: frozenset[int] = frozenset()
    """Faces that are this person, whatever they score, by id."""
    rejected: frozenset[int] = frozenset()
    """Faces that are not, by id: those that are rejected, and those that are confirmed as another person."""
    unlike: NDArray[np.float32] | None = None
    """The embeddings of the faces that are rejected, (k, dim); None: there are none."""
    same_picture: float = 1.0
    """The similarity from which a face is a copy of one that is rejected."""
    others: References | None = None
    """The references of all other people; None or empty: there are none."""
    photos: frozenset[int] = frozenset()
    """Contents on which the person stands and no face is known."""
    own: frozenset[int] = frozenset()
    """The contents of the photos of the query."""

    def thresholds(self, search: Search) -> NDArray[np.float32]:
        """The similarity that each reference asks of a clear face. Shape (n,)."""
        blur = [search.quality.extra(norm) for norm in self.norms] if search.quality else [0.0] * len(self.norms)
        extra = self.threshold_extra if search.counts_references else 0.0
        return search.threshold + extra + np.array(blur, np.float32)

    def compared(self, faces: NDArray[np.float32], search: Search) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the similarity of each face to the reference that leaves most to spare, and what is to spare.

        ``faces``: (n, dim). Two arrays of shape (n,), NaN where there is no reference.
        """
        if not len(self.references):
            nothing = np.full(len(faces), np.nan, np.float32)
            return nothing, nothing
        similarities = np.clip(faces @ self.references.T, -1.0, 1.0)
        spare = similarities - self.thresholds(search)
        best = spare.argmax(axis=1), np.arange(len(faces))
        return similarities[best[::-1]], spare[best[::-1]]


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """The faces that match a person: those that are confirmed first, then the most alike. Arrays of shape (n,)."""

    ids: NDArray[np.int64]
    similarities: NDArray[np.float32]
    """To the best reference; NaN where there is none."""
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


def scored(index: Searchable, reader: ResultReader, wanted: Wanted, search: Search) -> Scored:
    """Return the faces that match a person, those too small for the search left out."""
    found = _found(index, reader, wanted, search)
    shown = reader.contents_of(found.ids.tolist(), search.min_size)
    found = found.chosen(np.isin(found.ids, shown.ids))
    at = np.searchsorted(shown.ids, found.ids)
    contents, norms = shown.contents[at], shown.norms[at]
    own = np.isin(contents, np.array(sorted(wanted.own), np.int64))
    confirmed = _among(found.ids, wanted.confirmed)
    told = np.ones(len(found.ids), np.bool_)
    if search.quality is not None:
        told = (found.spare >= search.quality.extras(norms)) & (norms >= search.quality.floor)
    likely = (own | told) & ~confirmed & ~_among(found.ids, wanted.rejected)
    likely[likely] = _is_own(reader, found.chosen(likely), wanted, search)
    told = confirmed | likely
    ids, similarities = found.ids[told], found.similarities[told]
    order = np.flatnonzero(told)[np.lexsort((ids, -similarities, ~confirmed[told]))]
    return Scored(
        found.ids[order],
        found.similarities[order],
        contents[order],
        norms[order],
        confirmed[order],
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

    @classmethod
    def of(cls, parts: Sequence[Above], thresholds: NDArray[np.float32]) -> _Best:
        """The faces that reach the threshold of a reference. ``parts``: what is near each of them."""
        asks = np.repeat(thresholds, [len(part.ids) for part in parts])
        similarities = np.concatenate([part.similarities for part in parts])
        is_above = similarities >= asks
        ids, similarities = np.concatenate([part.ids for part in parts])[is_above], similarities[is_above]
        return cls(ids, similarities, similarities - asks[is_above], all(part.exact for part in parts))

    def chosen(self, which: NDArray[np.bool_]) -> _Best:
        return _Best(self.ids[which], self.similarities[which], self.spare[which], self.exact)

    def joined(self, other: _Best) -> _Best:
        """Both, each face once."""
        ids = np.concatenate([self.ids, other.ids])
        spare = np.concatenate([self.spare, other.spare])
        order = np.lexsort((-spare, ids))
        first = order[np.unique(ids[order], return_index=True)[1]]
        similarities = np.concatenate([self.similarities, other.similarities])
        return _Best(ids[first], similarities[first], spare[first], self.exact and other.exact)


_NOTHING = _Best(np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.float32), exact=True)


def _found(index: Searchable, reader: ResultReader, wanted: Wanted, search: Search) -> _Best:
    """The faces above the threshold, and those that are confirmed."""
    thresholds = wanted.thresholds(search)
    found = _NOTHING
    step = TOGETHER if search.threshold < LOW else len(thresholds)
    for start in range(0, len(thresholds), max(step, 1)):
        rows, asked = (each[start : start + step] for each in (wanted.references, thresholds))
        found = found.joined(_Best.of(_near(index, rows, asked, search), asked))
    if missing := wanted.confirmed.difference(found.ids.tolist()):
        ids, rows = reader.embeddings_of(missing)
        found = found.joined(_Best(ids, *wanted.compared(rows, search), exact=True))
    return found


def _near(
    index: Searchable, references: Embeddings, thresholds: NDArray[np.float32], search: Search
) -> Sequence[Above]:
    """For each of some references the faces from the least threshold on."""
    least = float(thresholds.min())
    if len(references) == 1:
        return [index.above(references[0], least, exact=search.exact)]
    return index.above_each(references, least, exact=search.exact)


def _among(ids: NDArray[np.int64], these: frozenset[int]) -> NDArray[np.bool_]:
    return np.isin(ids, np.fromiter(these, np.int64, len(these)))


def are_copies(
    faces: Embeddings, similarities: NDArray[np.float32], unlike: NDArray[np.float32], same_picture: float
) -> NDArray[np.bool_]:
    """Whether each face is a copy of one that is rejected for a person, and no more alike to the person. Shape (n,).

    ``similarities``: to the person. ``unlike`` and ``same_picture``: as `Wanted` has them.
    """
    nearest = (faces @ unlike.T).max(axis=1)
    copies: NDArray[np.bool_] = (nearest >= same_picture) & ~(nearest < similarities - ROUNDING)
    return copies


def _is_own(reader: ResultReader, found: _Best, wanted: Wanted, search: Search) -> NDArray[np.bool_]:
    """Whether each face is neither alike to a rejected one nor nearer to another person."""
    own = np.ones(len(found.ids), np.bool_)
    others = wanted.others or None
    if not len(own) or (others is None and wanted.unlike is None):
        return own
    own[:] = False  # of which the row is damaged or gone
    not_counted = 0.0 if search.counts_references else wanted.threshold_extra
    for start in range(0, len(own), BLOCK):
        ids, rows = reader.embeddings_of(found.ids[start : start + BLOCK].tolist())
        at = np.searchsorted(found.ids, ids)
        kept = np.ones(len(ids), np.bool_)
        if wanted.unlike is not None:
            kept &= ~are_copies(rows, found.similarities[at], wanted.unlike, wanted.same_picture)
        if others is not None:
            _, spare = others.spare(rows, search.quality)
            kept &= spare.max(axis=1) <= found.spare[at] + search.threshold - not_counted + ROUNDING
        own[at] = kept
    return own
