"""The method ``suggestions``: faces that may be a person and of which the user said nothing, what teaches most first.

The order is worked out of at most `POOL` faces that match, those that match least, and as many that do not quite, those
that are most alike (`people.suggesting`); what else matches follows, the least alike first. It is the same until
something is said or photos come.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facewatchd.api import replies
from facewatchd.api.parameters import SuggestionsParameters
from facewatchd.api.scoring import Scorer
from facewatchd.api.unknown import shown
from facewatchd.people import suggesting
from facewatchd.people.groups import Groups
from facewatchd.store.catalog_reader import CatalogReader
from facewatchd.store.gallery import Gallery
from facewatchd.store.scoring import Search, Wanted
from facewatchd.values import ModelInfo

POOL = 128
"""Faces of each kind: to work their order out takes 10 ms."""


@dataclass(frozen=True, slots=True, eq=False)
class _Pool:
    """Faces whose order is worked out. Arrays of shape (n,)."""

    ids: NDArray[np.int64]
    rows: NDArray[np.float32]
    """Shape (n, dim)."""
    similarities: NDArray[np.float32]
    spare: NDArray[np.float32]
    """How much more alike each is than a match must be."""
    extras: NDArray[np.float64]
    """What each asks for beyond the threshold."""
    are_together: NDArray[np.bool_]
    """Whether each shares a group with faces of which most are the person's."""


class _Suggestion(NamedTuple):
    face_id: int
    similarity: float
    matches: bool


class Suggestions:
    """Any thread may call the method."""

    def __init__(self, gallery: Gallery, scorer: Scorer, groups: Groups, info: ModelInfo) -> None:
        self._gallery = gallery
        self._scorer = scorer
        self._groups = groups
        self._info = info

    def suggestions(self, params: SuggestionsParameters) -> dict[str, object]:
        """Return a page of the ``suggestions``. Raises `UnknownPersonError` and `StorageError`."""
        person = self._scorer.person(params.person)
        wanted = self._scorer.wanted_person(person.id)
        with self._gallery.catalog.reading() as reader:
            found = self._found(reader, wanted)
            page = found[params.skip : params.skip + params.limit]
            ids = [each.face_id for each in page]
            where = {each["face_id"]: each for each in shown(reader, np.array(ids, np.int64))}
            faces = reader.faces_of(ids)
        suggestions = [
            {
                **where[each.face_id],
                **replies.seen(faces[each.face_id], self._info.quality),
                "similarity": round(each.similarity, 4),
                "matches": each.matches,
            }
            for each in page
            if each.face_id in where and each.face_id in faces
        ]
        return {"name": person.name, "suggestions": suggestions, "total": len(found)}

    def _found(self, reader: CatalogReader, wanted: Wanted) -> list[_Suggestion]:
        """All suggestions in their order."""
        search = Search((1.0 - suggesting.BELOW) * self._info.threshold, quality=self._info.quality)
        scored = self._scorer.scored(reader, wanted, search)
        ignored = np.fromiter(self._scorer.people().known.ignored, np.int64)
        hidden = scored.confirmed | np.isin(scored.ids, ignored) | np.isin(scored.contents, reader.orphans())
        threshold = self._info.threshold + wanted.threshold_extra
        near = np.nan_to_num(scored.similarities, nan=-1.0)
        above, below = np.flatnonzero(~hidden & (near >= threshold)), np.flatnonzero(~hidden & (near < threshold))
        beside = self._beside(scored.ids[scored.confirmed | (near >= threshold)], wanted, ignored)
        in_pool = scored.ids[np.concatenate([above[-POOL:], below[:POOL]])]
        pool = self._pool(reader, wanted, np.union1d(in_pool, beside), beside)
        first = [_Suggestion(*each) for each in self._ordered(pool)]
        rest = above[:-POOL][::-1]  # the least alike first
        return first + [
            _Suggestion(face_id, similarity, True)
            for face_id, similarity in zip(scored.ids[rest].tolist(), near[rest].tolist(), strict=True)
        ]

    def _beside(self, own: NDArray[np.int64], wanted: Wanted, ignored: NDArray[np.int64]) -> NDArray[np.int64]:
        """The faces that share a group with a person's, where at least half of the group is the person's."""
        now = self._groups.now()
        groups, mine = np.unique(now.groups[np.isin(now.faces, own)], return_counts=True)
        numbers, sizes = np.unique(now.groups[np.isin(now.groups, groups)], return_counts=True)
        assert len(groups) == len(numbers)
        faces = now.faces[np.isin(now.groups, numbers[2 * mine >= sizes])]
        rejected = np.fromiter(wanted.rejected, np.int64, len(wanted.rejected))
        return faces[~np.isin(faces, np.concatenate([own, rejected, ignored]))][:POOL]

    def _pool(self, reader: CatalogReader, wanted: Wanted, ids: NDArray[np.int64], beside: NDArray[np.int64]) -> _Pool:
        """What is known of some faces; those that no photo shows are left out."""
        about = reader.contents_of(ids.tolist())
        there = np.isin(about.contents, reader.orphans(), invert=True)
        ids, rows = reader.embeddings_of(about.ids[there].tolist())
        norms = about.norms[np.searchsorted(about.ids, ids)]
        quality = self._info.quality
        similarities, spare = wanted.compared(rows, Search(self._info.threshold, quality=quality))
        extras = np.zeros(len(ids)) if quality is None else quality.extras(norms)
        left = np.nan_to_num(spare - extras, nan=-1.0).astype(np.float32)
        return _Pool(ids, rows, np.nan_to_num(similarities), left, extras, np.isin(ids, beside))

    def _ordered(self, pool: _Pool) -> Iterator[tuple[int, float, bool]]:
        threshold = self._info.threshold
        chances = suggesting.chance(pool.spare, threshold, pool.are_together)
        for at in suggesting.order(pool.rows, pool.extras, pool.spare, chances, threshold):
            yield int(pool.ids[at]), float(pool.similarities[at]), bool(pool.spare[at] >= 0)
