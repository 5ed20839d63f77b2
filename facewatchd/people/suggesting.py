"""Which faces the user is asked about first, of those that may be a person: those that teach most. Pure functions.

**What an answer teaches.** A face that is confirmed finds the faces that are as alike to it as a match must be: those
that no reference finds yet (weight 1), and those that one does, of which it makes sure (`SURE`). It teaches that times
the `chance` that the answer is yes. So a face that is surely the person's and alike to the references teaches little,
one that is hardly the person's too, and the middle of a cluster teaches more than its edge. What a face would find
counts less once that face is in the list, so the next one is of another cluster, and near duplicates never follow each
other.

**Who is asked about**: the faces that match, those that are up to `BELOW` of the threshold below that, and those that
share a group (`groups`) with the person, however alike they are.

`python -m tests.benchmarks groups` plays users, beside other orders: tests/benchmarks/README.md has how many of a
person's faces are found after 5, 10 and 20 answers, and how often the answer is yes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BELOW = 0.15
"""Part of the threshold. With 0.25 of it, no more is found, and 74 to 82 % of the answers are yes, not 80 to 86 %."""
STEEP = 12.0
"""How fast the chance grows with what is to spare: 0.86 where that is 0.15 of the threshold."""
SURE = 0.1
CAREFULLY = 64
"""Faces that are chosen one after another; of the others, what each teaches beside these counts."""
TOGETHER = 0.9
"""The chance of a face in a group of which most are the person's."""


def chance(spare: NDArray[np.float32], threshold: float, are_together: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return how likely each face is the person's. Shape (n,).

    ``spare``: how much more alike each is than a match must be. ``are_together``: whether it shares a group.
    """
    alone = 1.0 / (1.0 + np.exp(-STEEP * np.clip(np.asarray(spare, np.float64) / threshold, -4.0, 4.0)))
    return np.where(are_together, np.maximum(alone, TOGETHER), alone)


def order(
    rows: NDArray[np.float32],
    extras: NDArray[np.float64],
    spare: NDArray[np.float32],
    chances: NDArray[np.float64],
    threshold: float,
) -> list[int]:
    """Return the positions of the faces, that which teaches most first.

    ``rows``: embeddings (n, dim). ``extras``: what each asks for beyond the threshold. ``spare`` and ``chances``: as of
    `chance`. The others: shape (n,).
    """
    finds = (rows @ rows.T - extras[:, None] - extras[None] >= threshold).astype(np.float32)
    np.fill_diagonal(finds, 1.0)
    weights = np.where(spare < 0, 1.0, SURE).astype(np.float32)
    left = np.ones(len(rows), np.bool_)
    chosen: list[int] = []
    while len(chosen) < min(CAREFULLY, len(rows)):
        best = int(np.where(left, chances * (finds @ weights), -1.0).argmax())
        chosen.append(best)
        left[best] = False
        weights -= finds[best] * weights * np.float32(chances[best])
    rest = np.flatnonzero(left)
    chosen += rest[np.argsort(-(chances * (finds @ weights))[rest], kind="stable")].tolist()
    return chosen
