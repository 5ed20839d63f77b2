"""Which photos are frames of one burst: the camera was held at the same people and released several times. Pure.

Frames belong together where all of this holds:

- The same people are on them (`same_people`): those who were asked for, and all others.
- They were taken within `SECONDS` of each other, by a date with a time of day that is a camera's (EXIF, XMP) or in the
  name. Files that were copied have thousands of times the same modification time, and dates of the last change say
  when photos were exported: neither counts.
- They look the same: either each of the people who were asked for has nearly the same face (`ModelInfo.same_face`) at
  nearly the same place (`SAME_PLACE`), or the pictures as a whole are nearly the same (`SAME_PICTURE`).

Either alone merges what does not belong together: in ten seconds people are photographed one after the other, and a
passport photo is like itself for years. `python -m tests.benchmarks bursts` measures the numbers.

A burst is at most `SECONDS` long, counted from its first frame. A frame is compared with the `COMPARED` photos before
it. It joins the burst of the last one that looks the same: a person who turns the head slowly stays in one burst. It
does not where any frame of that burst shows other people: one frame in between on which somebody is blurred is no
bridge. All pairs are compared as arrays: an answer may have 100,000 photos.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

SECONDS = 10.0
SAME_PLACE = 0.25
"""The area that two boxes share, as a part of what they cover together; each as parts of its photo's sides."""
SAME_PICTURE = 14
"""Bits, of 63, in which two fingerprints (`photos.likeness`) differ at most."""
COMPARED = 8
"""Photos before a frame that it is compared with: so many cameras may be released in turns."""
BLOCK = 10_000
"""Photos whose faces are in memory at once. A burst ends where a block does: one so large has a date that is none."""
_BITS = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """Photos that may be frames of bursts, in the order of `near_in_time`. n photos, p people who were asked for."""

    at: NDArray[np.float64]
    """`values.Taken.at`. Shape (n,)."""
    groups: NDArray[np.int64]
    """Equal where the same of the people who were asked for are on the photos. Shape (n,)."""
    pictures: NDArray[np.uint8]
    """Fingerprints. Shape (n, 8)."""
    has_picture: NDArray[np.bool_]
    """Whether each is known. Shape (n,)."""
    areas: NDArray[np.float64]
    """x, y, w and h of the faces, as parts of the sides of their photo. Shape (n, p, 4)."""
    embeddings: NDArray[np.float32]
    """Shape (n, p, dim); NaN where a person stands on the photo without a face."""


def near_in_time(at: NDArray[np.float64], groups: NDArray[np.int64]) -> Iterator[NDArray[np.intp]]:
    """Positions of photos that may be frames of bursts, by group and time, in blocks of at most `BLOCK`.

    Those are of one group, and within `SECONDS` of the one before or after. ``at``: NaN where no date counts.
    """
    order = np.lexsort((at, groups))
    order = order[~np.isnan(at[order])]
    follows, precedes = np.zeros((2, len(order)), np.bool_)
    follows[1:] = precedes[:-1] = (np.diff(at[order]) <= SECONDS) & (np.diff(groups[order]) == 0)
    near = follows | precedes
    places, begins = order[near], np.flatnonzero(~follows[near])
    start = 0
    while start < len(places):
        end = start + BLOCK
        if end < len(places):
            fitting = begins[(begins > start) & (begins <= end)]
            end = int(fitting[-1]) if len(fitting) else end
        yield places[start:end]
        start = end


def close_pairs(frames: Frames) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return all pairs of frames that may be of one burst: the later ones, ascending, and for each the earlier ones,
    the last first. Shape (pairs,)."""
    count = len(frames.at)
    is_close = np.zeros((count, COMPARED + 1), np.bool_)
    for before in range(1, min(COMPARED, count - 1) + 1):
        near = frames.groups[before:] == frames.groups[:-before]
        near &= frames.at[before:] - frames.at[:-before] <= SECONDS
        is_close[before:, before] = near
    later, distance = np.nonzero(is_close)
    return later, later - distance


def chained(
    at: NDArray[np.float64],
    later: NDArray[np.intp],
    earlier: NDArray[np.intp],
    looks: NDArray[np.bool_],
    people: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Return for each frame the position of the first frame of its burst, its own where it is none or the first.

    ``later``, ``earlier``: `close_pairs`. ``looks``, ``people``: whether the pairs look the same, and show the same
    people. Shape (n,).
    """
    moments, first = at.tolist(), list(range(len(at)))
    pairs = zip(later.tolist(), earlier.tolist(), looks.tolist(), people.tolist(), strict=True)
    for frame, before in groupby(pairs, key=itemgetter(0)):
        compared = [(first[other], look, same) for _, other, look, same in before]
        refused = {burst for burst, _, same in compared if not same}
        fitting = (burst for burst, look, _ in compared if look and burst not in refused)
        first[frame] = next((burst for burst in fitting if moments[frame] - moments[burst] <= SECONDS), frame)
    return np.array(first, np.int64)


def look_same(frames: Frames, some: NDArray[np.intp], others: NDArray[np.intp], same_face: float) -> NDArray[np.bool_]:
    """Whether pairs of photos, by position, show nearly the same, whenever they were taken. Shape (pairs,)."""
    same = frames.has_picture[some] & frames.has_picture[others]
    same &= _BITS[frames.pictures[some] ^ frames.pictures[others]].sum(axis=1) <= SAME_PICTURE
    rest = np.flatnonzero(~same)
    rest = rest[(overlaps(frames.areas[some[rest]], frames.areas[others[rest]]) >= SAME_PLACE).all(axis=1)]
    one, other = frames.embeddings[some[rest]], frames.embeddings[others[rest]]
    same[rest] = (np.einsum("npd,npd->np", one, other) >= same_face).all(axis=1)
    return same


def overlaps(some: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """The area that boxes share, as a part of the area that they cover together. Shapes (..., 4), (...)."""
    low = np.maximum(some[..., :2], others[..., :2])
    high = np.minimum(some[..., :2] + some[..., 2:], others[..., :2] + others[..., 2:])
    shared = np.maximum(high - low, 0).prod(axis=-1)
    both = some[..., 2:].prod(axis=-1) + others[..., 2:].prod(axis=-1) - shared
    return np.asarray(np.divide(shared, both, out=np.zeros_like(shared), where=both > 0), np.float64)
