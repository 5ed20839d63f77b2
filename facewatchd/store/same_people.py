"""Whether two frames show the same people, those beside the people who were asked for included. Pure.

In ten seconds one person takes another's place in front of the camera, so every face counts. Two faces of two frames
are one person's where the model says so (`ModelInfo.threshold`), or where they are at the same place and one of them is
poor: too small or too blurred to be told from others. Each face has one partner at most: of the pairs that are
possible, one is made where each face suits the other best, by similarity and place. Places are compared as if the
camera had not moved: the people who were asked for tell how far it did.

A face without a partner is one that the other frame lacks, unless the detector may have missed it there: it is poor,
is inside another face, where detectors see some that are none, or is cut by the edge of either frame. The
detector's score tells nothing: with `opencv`, what is seen on some frames only has 0.5 to 0.64, and norms below the
floor; with SCRFD 2.5G clear faces have 0.63.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facewatchd.store.bursts import SAME_PLACE, overlaps

TOGETHER = 10_000
"""Pairs of faces whose embeddings are in memory at once."""
INSIDE = 0.9
"""The part of a face's box that lies in the box of another face, from which it is inside that."""
EDGE = 0.005
"""The part of a photo's sides within which the box of a face that the edge cuts ends: detectors end it there or a
little before."""


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """The faces on frames of the people who were not asked for, in the order of the frames. n frames, f faces."""

    begins: NDArray[np.int64]
    """The first face of each frame, and f. Shape (n + 1,)."""
    areas: NDArray[np.float64]
    """x, y, w and h, as parts of the sides of the frame. Shape (f, 4)."""
    embeddings: NDArray[np.float32]
    """Shape (f, dim)."""
    is_poor: NDArray[np.bool_]
    """Whether each is too small or too blurred to be told from others. Shape (f,)."""
    may_lack: NDArray[np.bool_]
    """Whether another frame may lack it, as detectors see it or not. Shape (f,)."""

    @classmethod
    def beside(
        cls,
        count: int,
        frames: NDArray[np.intp],
        areas: NDArray[np.float64],
        embeddings: NDArray[np.float32],
        is_poor: NDArray[np.bool_],
        was_asked: NDArray[np.bool_],
    ) -> People:
        """Those beside the people who were asked for.

        ``count``: of the frames. The rest is of all faces on them: ``frames`` has their positions, ascending, and
        ``was_asked`` whether a face is of a person who was asked for.
        """
        others = np.flatnonzero(~was_asked)
        begins = np.searchsorted(frames[others], np.arange(count + 1))
        may_lack = is_poor | _are_inside(count, frames, areas)
        return cls(begins, areas[others], embeddings[others], is_poor[others], may_lack[others])


def _are_inside(count: int, frames: NDArray[np.intp], areas: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether each face is inside a larger one of its frame."""
    one, other = _combined(frames, frames, count)
    low = np.maximum(areas[one, :2], areas[other, :2])
    high = np.minimum(areas[one, :2] + areas[one, 2:], areas[other, :2] + areas[other, 2:])
    sizes = areas[:, 2:].prod(axis=1)
    inside = (np.maximum(high - low, 0).prod(axis=1) >= INSIDE * sizes[one]) & (sizes[other] > sizes[one])
    return np.bincount(one[inside], minlength=len(frames)) > 0


def same_people(
    people: People,
    some: NDArray[np.intp],
    others: NDArray[np.intp],
    moves: NDArray[np.float64],
    same_person: float,
) -> NDArray[np.bool_]:
    """Whether pairs of frames, by position, show the same people. Shape (pairs,).

    ``moves``: how far what the first shows is from where the second shows it, x and y as parts of the sides. Shape
    (pairs, 2). ``same_person``: the cosine from which two faces are one person's.
    """
    same = np.ones(len(some), np.bool_)
    counts = np.diff(people.begins)
    for part in _parts(counts[some], counts[others]):
        same[part] = _same(people, some[part], others[part], moves[part], same_person)
    return same


def _parts(some: NDArray[np.int64], others: NDArray[np.int64]) -> Iterator[NDArray[np.intp]]:
    """Positions of pairs of frames with faces, of which there are so many on each, in parts of some `TOGETHER`."""
    pairs = np.flatnonzero(some + others)
    number = np.cumsum(some[pairs] * others[pairs] + 1) // TOGETHER
    yield from np.split(pairs, np.flatnonzero(np.diff(number)) + 1) if len(pairs) else ()


def _same(
    people: People,
    some: NDArray[np.intp],
    others: NDArray[np.intp],
    moves: NDArray[np.float64],
    same_person: float,
) -> NDArray[np.bool_]:
    pair_of, faces = _faces_of(people, some)
    other_pair_of, other_faces = _faces_of(people, others)
    moved, moved_back = people.areas[faces].copy(), people.areas[other_faces].copy()
    moved[:, :2] += moves[pair_of]
    moved_back[:, :2] -= moves[other_pair_of]
    one, other = _combined(pair_of, other_pair_of, len(some))
    alike = np.einsum("nd,nd->n", people.embeddings[faces[one]], people.embeddings[other_faces[other]])
    shared = overlaps(moved[one], people.areas[other_faces[other]])
    poor = people.is_poor[faces[one]] | people.is_poor[other_faces[other]]
    merits = np.where((alike >= same_person) | (poor & (shared >= SAME_PLACE)), np.nan_to_num(alike) + shared, -np.inf)
    best, other_best = np.full(len(faces), -np.inf), np.full(len(other_faces), -np.inf)
    np.maximum.at(best, one, merits)
    np.maximum.at(other_best, other, merits)
    chosen = (merits > -np.inf) & (merits == best[one]) & (merits == other_best[other])
    same = np.ones(len(some), np.bool_)
    same[np.delete(pair_of, _excused(people, faces, moved, one[chosen]))] = False
    same[np.delete(other_pair_of, _excused(people, other_faces, moved_back, other[chosen]))] = False
    return same


def _faces_of(people: People, frames: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The faces on frames: the position of each one's frame, ascending, and its row."""
    counts = np.diff(people.begins)[frames]
    position = np.repeat(np.arange(len(frames)), counts)
    number = np.arange(len(position)) - np.repeat(np.cumsum(counts) - counts, counts)
    return position, people.begins[frames][position] + number


def _combined(
    some: NDArray[np.intp], others: NDArray[np.intp], count: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Positions in two ascending arrays of numbers below ``count``, of all pairs of equal ones."""
    ends = np.searchsorted(others, np.arange(count), side="right")
    counts = np.bincount(others, minlength=count)[some]
    one = np.repeat(np.arange(len(some)), counts)
    number = np.arange(len(one)) - np.repeat(np.cumsum(counts) - counts, counts)
    return one, (ends - np.bincount(others, minlength=count))[some][one] + number


def _excused(
    people: People, faces: NDArray[np.intp], moved: NDArray[np.float64], partnered: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Positions of the faces that have a partner or need none. ``moved``: where the other frame would show them."""
    excused = people.may_lack[faces] | _is_cut(people.areas[faces]) | _is_cut(moved)
    excused[partnered] = True
    return np.flatnonzero(excused)


def _is_cut(areas: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether boxes end at an edge of the photo, or beyond it."""
    beyond = (areas[:, :2] <= EDGE) | (areas[:, :2] + areas[:, 2:] >= 1 - EDGE)
    return np.asarray(beyond.any(axis=1), np.bool_)
