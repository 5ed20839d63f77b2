"""Folds bursts (`bursts`): of the contents that are results, the sharpest frame of a burst stands for the others.

A photo that was asked with stands for its burst, and so does one of which the user said who is on it. How sharp a frame
is, the faces of the people who were asked for tell: where that is not known (`Face.sharpness`), the norms of their
embeddings do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facewatchd.store.bursts import Frames, bursts, near_in_time
from facewatchd.store.candidates import NO_ROW, Candidates
from facewatchd.store.catalog_reader import CatalogReader, Looks


def folded(
    reader: CatalogReader, candidates: Candidates, at: NDArray[np.float64], same_face: float
) -> tuple[Candidates, dict[int, list[int]]]:
    """Return the candidates that are left, and for each content that stands for others those, in the order of time.

    ``at``: when each was taken, NaN where that does not count. ``same_face``: see `bursts.bursts`.
    """
    kept, similar = np.ones(len(candidates.contents), np.bool_), dict[int, list[int]]()
    groups = _groups(candidates)
    for places in near_in_time(at, groups):
        part = candidates.where(places)
        looks = reader.looks(np.unique(part.faces).tolist())
        first = bursts(_frames(reader, part, looks, at[places], groups[places]), same_face)
        in_order = np.lexsort((_merits(part, looks), first))
        best = np.append(in_order[:-1][np.diff(first[in_order]) != 0], in_order[-1:])
        stands_for = np.empty(len(places), np.int64)
        stands_for[first[best]] = best
        for frame in np.flatnonzero(stands_for[first] != np.arange(len(places))).tolist():
            kept[places[frame]] = False
            similar.setdefault(int(part.contents[stands_for[first[frame]]]), []).append(int(part.contents[frame]))
    return candidates.where(kept), similar


def _groups(candidates: Candidates) -> NDArray[np.int64]:
    """Equal for contents on which each of the people was found in the same way. Shape (n,)."""
    groups = np.zeros(len(candidates.contents), np.int64)
    for rows, chosen in zip(candidates.terms, candidates.rows.T, strict=True):
        ways = np.append(rows.ways, NO_ROW)[chosen]
        groups = np.unique(groups * (ways.max(initial=0) + 2) + ways + 1, return_inverse=True)[1]
    return groups


def _frames(
    reader: CatalogReader, part: Candidates, looks: Looks, at: NDArray[np.float64], groups: NDArray[np.int64]
) -> Frames:
    sizes, pictures = reader.pictures(part.contents)
    rows = looks.rows(part.faces)
    areas = looks.boxes[rows] / np.tile(np.maximum(sizes, 1), 2)[:, None, :]
    has_picture = np.array([picture is not None for picture in pictures], np.bool_)
    stacked = np.frombuffer(b"".join(picture or bytes(8) for picture in pictures), np.uint8).reshape(-1, 8)
    return Frames(at, groups, stacked, has_picture, areas, looks.embeddings[rows])


def _merits(part: Candidates, looks: Looks) -> NDArray[np.intp]:
    """The place of each in the order of what makes a frame stand for others, from the worst. Shape (n,)."""
    rows = looks.rows(part.faces)
    keys = (
        part.contents,
        np.nan_to_num(part.least),
        _mean(looks.norms[rows, 0]),
        _mean(looks.sharpness[rows, 0]),
        part.confirmed.all(axis=1),
        part.own,
    )
    merits = np.empty(len(part.contents), np.intp)
    merits[np.lexsort(keys)] = np.arange(len(merits))
    return merits


def _mean(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each row the mean of the logarithms of those that are known: of several faces on a frame, one may be always
    sharper than the other. 0 where none is known."""
    known = ~np.isnan(numbers)
    logarithms = np.log(np.where(known, np.maximum(numbers, 1e-9), 1.0))
    return np.asarray(logarithms.sum(axis=1) / np.maximum(known.sum(axis=1), 1), np.float64)
