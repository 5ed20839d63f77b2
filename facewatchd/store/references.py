"""Many faces that tell one person, the references: what they ask of a face, and which of them count.

A face is as similar to a person as it is to the best of the references. Each of them is one more chance for a stranger:
with n references as many more strangers are as similar as with one, as if the threshold were lower by `MANY` of it
times ln(n). So that is added to it (`extra`), and a stranger matches no more often than with one reference.

Frames of a burst and copies bring no new strangers, and no new photos of the person either. Of references that are the
same picture (`same_picture`), one counts (`different`). Of very many the `MOST` that differ most do.

`python -m tests.benchmarks people` measured the numbers; tests/benchmarks/README.md has its tables.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from facewatchd.values import Norms, Quality

MANY = 0.05
"""Times the model's threshold and the logarithm of the number of references: what that number asks for. Measured with 5
to 28 references: 0.047 to 0.056 for SFace, 0.049 to 0.059 for MobileFaceNet, as the mean over three rates of strangers.
So one rule holds for both, and is taken for recognisers that were not measured."""
COPIES = 0.25
"""A copy of a face is not as far from it, in cosine, as this part of the distance at which two faces match. Of 152
copies of 22 faces (JPEG of quality 60 and 30, scaled by 0.4 to 1.5, cropped, brightened) one is farther with SFace,
none with MobileFaceNet. Of the pairs of other photos of one person 0.5 % and 1 % are as near."""
ITSELF = 0.9999
"""Similarity from which on two faces are one: the same face of the same pixels, looked at twice."""
MOST = 64
"""References of one person that count. Each is compared with all that comes into question."""


CHANCES = 0.8
"""The exponent of the number of references with which the strangers grow that match at one threshold: 28 references
have 15 times as many as one where 28 ** 0.8 is 14 (SFace), and 11 times (MobileFaceNet)."""


def chances(count: int) -> float:
    """Return how many times as many strangers match so many references as one, at the same threshold."""
    return math.pow(max(count, 1), CHANCES)


def extra(count: int, threshold: float) -> float:
    """Return what so many references add to the model's threshold."""
    return MANY * threshold * math.log(max(count, 1))


def same_picture(threshold: float) -> float:
    """Return the similarity from which two faces are one picture: a copy in other bytes, or the next frame.

    ``threshold``: the model's own.
    """
    return 1.0 - COPIES * (1.0 - threshold)


def different(rows: NDArray[np.float32], norms: Norms, same: float, most: int = MOST) -> NDArray[np.intp]:
    """Return the references that differ: the clearest, and then always the one that is least like those before.

    ``rows``: (n, dim) of unit length; ``norms``: (n,). At most ``most`` indices; none that is alike to another of them
    by ``same``.
    """
    if not len(rows):
        return np.empty(0, np.intp)
    chosen = [int(norms.argmax())]
    nearest = rows @ rows[chosen[0]]
    while len(chosen) < most and nearest.min() < same:
        chosen.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, rows @ rows[chosen[-1]])
    return np.array(chosen, np.intp)


@dataclass(frozen=True, slots=True, eq=False)
class References:
    """The references of several people, those of one person in a row. Arrays of shape (m,); ``rows``: (m, dim)."""

    rows: NDArray[np.float32]
    """Unit length."""
    norms: Norms
    extras: NDArray[np.float32]
    """What the number of the person's references asks for."""
    people: NDArray[np.int64]
    """Ids."""

    def __len__(self) -> int:
        return len(self.rows)

    def chosen(self, which: NDArray[np.bool_]) -> References:
        return References(self.rows[which], self.norms[which], self.extras[which], self.people[which])

    def without(self, people: frozenset[int]) -> References:
        """Those of all others."""
        return self.chosen(~np.isin(self.people, sorted(people)))

    def spare(
        self, faces: NDArray[np.float32], quality: Quality | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return for each face and each person the similarity to the best reference, less what that asks for.

        ``faces``: (n, dim). The people's ids, shape (p,), and a matrix of shape (n, p).
        """
        if not len(self):
            return np.empty(0, np.int64), np.empty((len(faces), 0), np.float32)
        asks = self.extras if quality is None else self.extras + quality.extras(self.norms).astype(np.float32)
        people, starts = np.unique(self.people, return_index=True)
        order = np.argsort(starts)
        spare = np.maximum.reduceat(faces @ self.rows.T - asks, starts[order], axis=1)
        return people[order], np.asarray(spare, np.float32)


def none(dim: int) -> References:
    """Return no references."""
    return References(np.empty((0, dim), np.float32), np.empty(0), np.empty(0, np.float32), np.empty(0, np.int64))
