"""Made-up galleries of faces that are as hard to search as real ones.

Embeddings of a recogniser spread around a person's centre by pose, light and age; what different people share makes
some strangers more alike than chance would. On top of that come bursts, whose shots are nearly the same picture, and
outliers: blurred and false faces that nobody else looks like.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

DIM = 512
THRESHOLD = 0.41
"""From which two faces are the same person: that of buffalo_l, whose dimensions these are."""
MOST = 500
"""Faces of the person who is photographed most."""
OUTLIERS = 0.1
"""Share of the faces that are alone."""
IN_BURSTS = 0.4
"""Share of each person's faces that belong to a burst."""
EFFECTIVE_DIM = 200
"""Directions in which people differ: two strangers' similarity has a deviation of ``1 / sqrt(200)``, 0.07."""
LIKENESS = (0.62, 0.95)
"""Least and greatest cosine of a face to its person's centre: two faces of a person have 0.38 to 0.90."""
BURST_LIKENESS = (0.985, 0.9995)
"""Of a shot to its burst: two shots have a cosine of 0.97 to 0.999."""


@dataclass(frozen=True)
class People:
    """``vectors`` (n, 512) of unit length in random order, as photos of years come in; ``identity`` (n,)."""

    vectors: Floats
    identity: NDArray[np.int32]

    def of(self, identity: int) -> NDArray[np.intp]:
        """The rows of one person."""
        return np.flatnonzero(self.identity == identity)


def make(count: int, seed: int = 1) -> People:
    """Make ``count`` faces; equal arguments give equal faces."""
    rng = np.random.default_rng(seed)
    spectrum = _spectrum()
    sizes = _sizes(count, rng)
    vectors = np.empty((count, DIM), np.float32)
    start = 0
    for size in sizes:
        vectors[start : start + size] = _person(size, spectrum, rng)
        start += size
    order = rng.permutation(count)
    identity = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    return People(vectors[order], identity[order])


def _sizes(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """How many faces each person has: many few, few many."""
    alone = int(count * OUTLIERS)
    draws = np.exp(rng.uniform(0, np.log(MOST), count)).astype(np.int64) + 1
    crowd = draws[: int(np.searchsorted(np.cumsum(draws), count - alone))]
    return np.concatenate([crowd, np.ones(count - int(crowd.sum()), np.int64)])


def make_person(rng: np.random.Generator) -> Floats:
    """Make the centre of a person's faces. Shape (512,)."""
    return np.asarray(_centre(_spectrum(), rng)[0], np.float32)


def _centre(spectrum: Floats, rng: np.random.Generator) -> Floats:
    return _unit(rng.standard_normal((1, DIM), np.float32) * spectrum)


def _person(size: int, spectrum: Floats, rng: np.random.Generator) -> Floats:
    centre = _centre(spectrum, rng)
    if size == 1:
        return centre
    faces = near(np.repeat(centre, size, axis=0), LIKENESS, rng)
    at, end = 0, int(size * IN_BURSTS)
    while at < end:
        shots = min(2 + int(rng.geometric(0.2)), end - at)
        faces[at : at + shots] = near(np.repeat(faces[at : at + 1], shots, axis=0), BURST_LIKENESS, rng)
        at += shots
    return faces


def near(centres: Floats, likeness: tuple[float, float], rng: np.random.Generator) -> Floats:
    """A vector for each centre, with a cosine to it between the two."""
    noise = rng.standard_normal(centres.shape, np.float32)
    noise = _unit(noise - (noise * centres).sum(axis=1, keepdims=True) * centres)
    cosine = rng.uniform(*likeness, (len(centres), 1)).astype(np.float32)
    return np.asarray(centres * cosine + noise * np.sqrt(1 - cosine**2), np.float32)


@cache
def _spectrum() -> Floats:
    """How far people differ in each direction: deviations that fall so that `EFFECTIVE_DIM` of them count."""
    steps = np.arange(DIM)
    low, high = 0.0, 4.0
    for _ in range(40):
        power = (low + high) / 2
        variance = (1.0 + steps) ** -power
        low, high = (power, high) if variance.sum() ** 2 / (variance**2).sum() > EFFECTIVE_DIM else (low, power)
    return np.asarray(np.sqrt(variance), np.float32)


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)
