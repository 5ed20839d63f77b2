"""Folds bursts (`bursts`): of the contents that are results, the sharpest frame of a burst stands for the others.

A photo that was asked with stands for its burst, then a frame of this machine before any of another, then one of which
the user said who is on it. How sharp a frame is, the faces of the people who were asked for tell: where that is not
known (`Face.sharpness`), the norms of their embeddings do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facewatchd.store.bursts import Frames, chained, close_pairs, look_same, near_in_time
from facewatchd.store.candidates import NO_ROW, Candidates
from facewatchd.store.catalog_rows import Looks
from facewatchd.store.result_reader import ELSEWHERE, ResultReader
from facewatchd.store.same_people import People, same_people
from facewatchd.store.scoring import Search
from facewatchd.values import SMALL_SIDE

TOGETHER = 1000
"""Photos all of whose faces are in memory at once."""


def folded(
    reader: ResultReader, candidates: Candidates, at: NDArray[np.float64], search: Search
) -> tuple[Candidates, dict[int, list[int]]]:
    """Return the candidates that are left, and for each content that stands for others those, in the order of time.

    ``at``: when each was taken, NaN where that does not count.
    """
    kept, similar = np.ones(len(candidates.contents), np.bool_), dict[int, list[int]]()
    groups = _groups(candidates)
    for places in near_in_time(at, groups):
        part = candidates.where(places)
        looks = reader.looks(np.unique(part.faces).tolist())
        first = _bursts(reader, part, _frames(reader, part, looks, at[places], groups[places]), search)
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
    reader: ResultReader, part: Candidates, looks: Looks, at: NDArray[np.float64], groups: NDArray[np.int64]
) -> Frames:
    sizes, pictures = reader.pictures(part.contents)
    rows = looks.rows(part.faces)
    areas = looks.boxes[rows] / np.tile(np.maximum(sizes, 1), 2)[:, None, :]
    has_picture = np.array([picture is not None for picture in pictures], np.bool_)
    stacked = np.frombuffer(b"".join(picture or bytes(8) for picture in pictures), np.uint8).reshape(-1, 8)
    return Frames(at, groups, stacked, has_picture, areas, looks.embeddings[rows])


def _bursts(reader: ResultReader, part: Candidates, frames: Frames, search: Search) -> NDArray[np.int64]:
    """What `chained` returns."""
    later, earlier = close_pairs(frames)
    looks = look_same(frames, later, earlier, search.same_face)
    people = np.ones(len(later), np.bool_)
    for start in range(0, len(frames.at), TOGETHER):
        pairs = slice(*np.searchsorted(later, [start, start + TOGETHER]))
        if looks[pairs].any():
            people[pairs] = _same_people(reader, part, frames, later[pairs], earlier[pairs], search)
    return chained(frames.at, later, earlier, looks, people)


def _same_people(
    reader: ResultReader,
    part: Candidates,
    frames: Frames,
    later: NDArray[np.intp],
    earlier: NDArray[np.intp],
    search: Search,
) -> NDArray[np.bool_]:
    """Whether pairs of frames show the same people. Shape (pairs,)."""
    photos, numbers = np.unique(np.concatenate([earlier, later]), return_inverse=True)
    some, others = np.split(numbers, 2)
    people = _people(reader, part.where(photos), search)
    return same_people(people, some, others, moves(frames, earlier, later), search.same_person)


def _people(reader: ResultReader, part: Candidates, search: Search) -> People:
    """The faces on the photos that are not of the people who were asked for."""
    shown = reader.shown_on(part.contents.tolist())
    poor = shown.sizes < SMALL_SIDE
    if search.quality is not None:
        poor |= shown.norms < search.quality.floor
    was_asked = np.isin(shown.ids, part.faces)
    several = np.flatnonzero(np.isin(shown.contents, shown.contents[~was_asked]))
    by_content = np.argsort(part.contents)
    photos = by_content[np.searchsorted(part.contents, shown.contents[several], sorter=by_content)]
    faces = several[np.argsort(photos, kind="stable")]
    photos = np.sort(photos)
    looks = reader.looks(shown.ids[faces].tolist())
    rows = looks.rows(shown.ids[faces])
    sizes, _ = reader.pictures(part.contents)
    areas = looks.boxes[rows] / np.tile(np.maximum(sizes, 1), 2)[photos]
    is_poor = poor[faces] | (rows == 0)  # no row: it is damaged
    return People.beside(len(part.contents), photos, areas, looks.embeddings[rows], is_poor, was_asked[faces])


def moves(frames: Frames, some: NDArray[np.intp], others: NDArray[np.intp]) -> NDArray[np.float64]:
    """How far the people who were asked for are moved from some frames to others, on average; 0 where they have no
    faces. Shape (pairs, 2)."""
    centres = frames.areas[:, :, :2] + frames.areas[:, :, 2:] / 2
    moves = centres[others] - centres[some]
    has_faces = ~np.isnan(frames.embeddings[some, :, 0] + frames.embeddings[others, :, 0])[:, :, None]
    total = np.where(has_faces, moves, 0).sum(axis=1)
    return np.asarray(total / np.maximum(has_faces.sum(axis=1), 1), np.float64)


def _merits(part: Candidates, looks: Looks) -> NDArray[np.intp]:
    """The place of each in the order of what makes a frame stand for others, from the worst. Shape (n,).

    One of this machine stands before any of another: it can be looked at, and which one it is must not change when the
    shared engine is away.
    """
    rows = looks.rows(part.faces)
    keys = (
        part.contents,
        np.nan_to_num(part.least),
        _mean(looks.norms[rows, 0]),
        _mean(looks.sharpness[rows, 0]),
        part.confirmed.all(axis=1),
        part.contents < ELSEWHERE,
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
