"""The photos that show everyone who is asked for: which of their faces is whose, and what else is on them.

A question asks for one or several people, and for each of them (a *term*) perhaps in several ways, any of which will
do: with ``face`` "all", every face of a photo is one. A content is a candidate if each term takes a face of its own
there (`assignment`), so that one face is never two people:

- A face that the user said is the person comes before one that is only alike, and is nobody else's.
- A person who stands on the photo without a face takes none. A face that is alike is taken all the same, if no other
  term needs it: the user said that the person is there, whichever face is shown for that.
- The similarity of a candidate is the least of its terms; those without a face have none.

People who must not be on it: they are seen on a photo where a face matches them by the same rules, whatever its size,
and where the user said so. A face that was taken by a person who is asked for does not count if it is more like that
one, and the two people can be told from each other. A face may match both of two brothers, and a photo of one alone is
not one of both; but where their own faces match each other, as those of one person do, it cannot be told whose it is.

How many faces a photo has is counted with all that were found on it, also those that are too blurred to tell, if they
are of the size that the search asks for.

All of it is done for many contents at once: as sets of ids in sorted arrays. Photo by photo, faces are dealt only where
two terms want the same one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from facewatchd.store.assignment import Option, dealt
from facewatchd.store.result_reader import ResultReader
from facewatchd.store.scoring import Scored, Search
from facewatchd.values import SMALL_SIDE

Ids = NDArray[np.int64]
Mask = NDArray[np.bool_]

T = TypeVar("T", bound=np.generic)

NO_ROW = -1
"""In place of a row, of a term that stands on the photo without a face."""
_CONFIRMED = 2.0
"""Added to the similarity of a face that the user said is the person: more than any other has."""
_NO_FACE = -2.0
"""The weight of taking no face: less than any similarity."""


@dataclass(frozen=True, slots=True)
class Unwanted:
    """A person who is not to be on the photo."""

    ways: Sequence[Scored]
    """The person is seen where any of them matches."""
    cleared: frozenset[int] = frozenset()
    """Faces, by id, that are surely not this person: the user said so, or said that they are another one."""
    told_from: frozenset[int] = frozenset()
    """Positions of the terms whose own faces do not match this person's."""


@dataclass(frozen=True, slots=True)
class Question:
    """The people who are asked for, each in one or several ways."""

    terms: Sequence[Sequence[Scored]]
    """The first is the one that is asked for, the others are to be on the photo as well."""
    without: Sequence[Unwanted] = ()


@dataclass(frozen=True)
class Rows:
    """The faces that match one term: those that are confirmed first, then the most alike. Arrays of shape (n,)."""

    faces: Ids
    similarities: NDArray[np.float32]
    contents: Ids
    confirmed: Mask
    ways: Ids
    """Which way of asking for the person each face matches."""
    own: Ids
    """The contents of the photos of the question that match."""
    photos: Ids
    """Contents on which the person stands without a face."""
    stands: tuple[Ids, ...]
    """The same for each way of asking."""

    @classmethod
    def of(cls, ways: Sequence[Scored]) -> Rows:
        faces = np.concatenate([way.ids for way in ways])
        similarities = np.concatenate([way.similarities for way in ways])
        contents = np.concatenate([way.contents for way in ways])
        confirmed = np.concatenate([way.confirmed for way in ways])
        own = np.concatenate([way.own for way in ways])
        numbers = np.repeat(np.arange(len(ways)), [len(way.ids) for way in ways])
        order = np.lexsort((faces, -similarities, ~confirmed))
        stands = tuple(np.array(sorted(way.photos), np.int64) for way in ways)
        return cls(
            faces[order],
            similarities[order],
            contents[order],
            confirmed[order],
            numbers[order],
            np.unique(contents[own]),
            np.unique(np.concatenate(stands)),
            stands,
        )

    def where(self, mask: Mask) -> Rows:
        """Some of the faces."""
        return replace(
            self,
            faces=self.faces[mask],
            similarities=self.similarities[mask],
            contents=self.contents[mask],
            confirmed=self.confirmed[mask],
            ways=self.ways[mask],
        )

    @cached_property
    def weights(self) -> NDArray[np.float32]:
        """What counts where faces are dealt: a face that is confirmed more than all others."""
        similarities = np.nan_to_num(self.similarities, nan=-1.0)  # confirmed, of a person without references
        return similarities + np.where(self.confirmed, np.float32(_CONFIRMED), np.float32(0))

    @cached_property
    def best(self) -> tuple[Ids, Ids]:
        """The contents with a face that matches, ascending, and the row of the best face on each."""
        contents, first = np.unique(self.contents, return_index=True)
        return contents, first.astype(np.int64)

    def on(self, contents: Ids) -> Ids:
        """The row of the best face on each of some contents; `NO_ROW` where there is none."""
        known, rows = self.best
        if not len(known):
            return np.full(len(contents), NO_ROW, np.int64)
        at = np.searchsorted(known, contents).clip(max=len(known) - 1)
        return np.where(known[at] == contents, rows[at], NO_ROW)


@dataclass(frozen=True)
class Candidates:
    """The contents that show everyone who is asked for."""

    terms: Sequence[Rows]
    contents: Ids
    """Ascending, until they are put in another order. Shape (n,)."""
    rows: Ids
    """The row in each of ``terms`` of the face that the term takes; `NO_ROW` for none. Shape (n, terms)."""

    def where(self, chosen: Mask | Ids | slice) -> Candidates:
        """Some of them: those of a mask, or those at some positions."""
        return Candidates(self.terms, self.contents[chosen], self.rows[chosen])

    @cached_property
    def faces(self) -> Ids:
        """The id of the face that each term takes; 0, which is no face's, for none. Shape (n, terms)."""
        return self._taken([np.append(rows.faces, 0) for rows in self.terms])

    @cached_property
    def similarities(self) -> NDArray[np.float32]:
        """The similarity of each term; NaN without a face. Shape (n, terms)."""
        return self._taken([np.append(rows.similarities, np.float32(np.nan)) for rows in self.terms])

    @cached_property
    def confirmed(self) -> Mask:
        """Whether the user said so, of each term: of its face, or that it stands there. Shape (n, terms)."""
        of_face = self._taken([np.append(rows.confirmed, True) for rows in self.terms])
        return of_face | np.stack([self._stands(term) for term in range(len(self.terms))], axis=1)

    def _stands(self, term: int) -> Mask:
        """Whether the one whose face a term takes stands on each content besides. Shape (n,)."""
        rows = self.terms[term]
        ways = np.append(rows.ways, NO_ROW)[self.rows[:, term]]
        of_each = [(ways == way) & np.isin(self.contents, contents) for way, contents in enumerate(rows.stands)]
        stands: Mask = np.logical_or.reduce(of_each)
        return stands

    @cached_property
    def least(self) -> NDArray[np.float32]:
        """The least similarity; NaN where no term has a face. Shape (n,)."""
        least: NDArray[np.float32] = np.fmin.reduce(self.similarities, axis=1)
        return least

    @cached_property
    def own(self) -> Mask:
        """Whether each is the content of a photo that was asked with. Shape (n,)."""
        return np.isin(self.contents, self.terms[0].own)

    def _taken(self, columns: Sequence[NDArray[T]]) -> NDArray[T]:
        """The values of the rows, one column a term; the last value of a column is that of `NO_ROW`."""
        return np.stack([column[rows] for column, rows in zip(columns, self.rows.T, strict=True)], axis=1)


def combined(terms: Sequence[Sequence[Scored]]) -> Candidates:
    """Return the contents on which each term takes a face of its own, or stands without one."""
    people = _exclusive([Rows.of(ways) for ways in terms])
    contents = reduce(np.intersect1d, [np.union1d(rows.best[0], rows.photos) for rows in people])
    rows = np.stack([each.on(contents) for each in people], axis=1)
    found = Candidates(people, contents, rows)
    return found if len(people) == 1 else _dealt(found)


def _exclusive(people: Sequence[Rows]) -> list[Rows]:
    """Leave out of each term the faces that the user said are another one of them."""
    confirmed = [rows.faces[rows.confirmed] for rows in people]
    kept = []
    for term, rows in enumerate(people):
        others = [faces for other, faces in enumerate(confirmed) if other != term]
        taken = np.isin(rows.faces, np.concatenate(others)) if others else np.zeros(len(rows.faces), np.bool_)
        kept.append(rows.where(rows.confirmed | ~taken) if taken.any() else rows)
    return kept


def _dealt(found: Candidates) -> Candidates:
    """Deal the faces anew where several terms want the same one; leave out the contents with too few faces."""
    ordered = np.sort(found.faces, axis=1)
    wanted_twice = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != 0)).any(axis=1)
    if not wanted_twice.any():
        return found
    kept = ~wanted_twice | _have_enough(found)
    wanted_twice &= kept
    contents = found.contents[wanted_twice]
    options = [_options(rows, contents, term) for term, rows in enumerate(found.terms)]
    rows = found.rows.copy()
    for at, offered in zip(np.flatnonzero(wanted_twice).tolist(), zip(*options, strict=True), strict=True):
        taken = dealt([[option for option, _ in person] for person in offered])
        if taken is None:
            kept[at] = False
        else:
            rows[at] = [person[position][1] for person, position in zip(offered, taken, strict=True)]
    return Candidates(found.terms, found.contents, rows).where(kept)


def _have_enough(found: Candidates) -> Mask:
    """Whether each content has as many faces that match as there are terms that do not stand there without one."""
    _, first = np.unique(np.concatenate([rows.faces for rows in found.terms]), return_index=True)
    contents = np.concatenate([rows.contents for rows in found.terms])[first]
    contents = contents[np.isin(contents, found.contents)]
    enough = np.bincount(np.searchsorted(found.contents, contents), minlength=len(found.contents))
    for rows in found.terms:
        enough += np.isin(found.contents, rows.photos)
    return np.asarray(enough >= len(found.terms), np.bool_)


def _options(rows: Rows, contents: Ids, term: int) -> Iterable[list[tuple[Option, int]]]:
    """For each of some contents: what a term may take there, and the row of each; `NO_ROW` for no face."""
    order = np.argsort(rows.contents, kind="stable")
    ordered = rows.contents[order]
    first, last = np.searchsorted(ordered, contents), np.searchsorted(ordered, contents, side="right")
    stands = np.isin(contents, rows.photos)
    for start, end, without_face in zip(first.tolist(), last.tolist(), stands.tolist(), strict=True):
        part = order[start:end]
        weights, faces = rows.weights[part].tolist(), rows.faces[part].tolist()
        found = [(Option(*pair), row) for *pair, row in zip(weights, faces, part.tolist(), strict=True)]
        yield [*found, (Option(_NO_FACE, -1 - term), NO_ROW)] if without_face else found


def without(found: Candidates, unwanted: Sequence[Unwanted]) -> Candidates:
    """Leave out the contents on which one of these people was seen."""
    kept = np.ones(len(found.contents), np.bool_)
    for person in unwanted:
        rows = Rows.of(person.ways)
        seen = rows.contents[_counts(rows, found, person.told_from)]
        kept &= ~np.isin(found.contents, seen) & ~np.isin(found.contents, rows.photos)
    return found.where(kept)


def _counts(rows: Rows, found: Candidates, told_from: frozenset[int]) -> Mask:
    """Whether each face is not taken by a person who is asked for and more like that one."""
    taken, weights = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    for number in told_from:
        term, chosen = found.terms[number], found.rows[:, number]
        chosen = chosen[chosen != NO_ROW]
        taken.append(term.faces[chosen])
        weights.append(term.weights[chosen])
    faces, held = np.concatenate(taken), np.concatenate(weights)
    if not len(faces):
        return np.ones(len(rows.faces), np.bool_)
    order = np.argsort(faces)
    at = order[np.searchsorted(faces, rows.faces, sorter=order).clip(max=len(faces) - 1)]
    counts: Mask = (faces[at] != rows.faces) | (rows.weights >= held[at])
    return counts


def counted(reader: ResultReader, found: Candidates, search: Search) -> Candidates:
    """Leave out the contents, ascending, that have more or fewer faces than the search asks for."""
    if not (search.only or search.faces_min or search.faces_max is not None):
        return found
    shown = reader.shown_on(found.contents.tolist(), search.min_size)
    faces = np.bincount(np.searchsorted(found.contents, shown.contents), minlength=len(found.contents))
    kept = faces >= search.faces_min
    if search.faces_max is not None:
        kept &= faces <= search.faces_max
    if search.only:
        kept &= faces == (found.faces != 0).sum(axis=1)
    return found.where(kept)


def undecided(reader: ResultReader, found: Candidates, unwanted: Sequence[Unwanted], search: Search) -> Mask:
    """Whether each of the contents has a face that is too poor to tell, and so may be an unwanted person's.

    That is a face below the recogniser's floor, where the search goes by norms, or one of fewer than `SMALL_SIDE`
    pixels. No such face is one that was taken by a person who is asked for, or is surely not the unwanted one.
    """
    doubtful = np.zeros(len(found.contents), np.bool_)
    if not unwanted:
        return doubtful
    shown = reader.shown_on(found.contents.tolist())
    poor = shown.sizes < SMALL_SIDE
    if search.quality is not None:
        poor |= shown.norms < search.quality.floor
    cleared = frozenset.intersection(*(person.cleared for person in unwanted))
    poor &= ~np.isin(shown.ids, found.faces) & ~np.isin(shown.ids, np.array(sorted(cleared), np.int64))
    return np.isin(found.contents, shown.contents[poor])
