"""When two groups of faces are one person's: the rule. Pure functions of a few numbers of each group.

**Groups are compared by the mean similarity of their faces**, one of each: of strangers it is near that of any two
people, however many faces there are, while the most alike pair of two large groups soon is alike by chance. So the
more pairs there are, the less is asked for (`Rule.asks`): `PAIR` times the model's threshold of two faces, and towards
`MANY` times of very many pairs, falling with the root of their number, as the deviation of a mean does.

**Faces that tell little ask for more**: a blurred face asks for as much more as it does in a question
(`values.Quality`), and the faces of two small children for `CHILDREN` of the threshold more, because small children
resemble each other.

**Only clear faces make a group**, those that are neither small nor blurred: others join one that has `FOUNDED` clear
faces, and do not count in its mean. A face that is too blurred to be told from others joins none.

`python -m tests.benchmarks groups` measured the numbers: tests/benchmarks/README.md has purity and counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from facewatchd.values import SMALL_SIDE, Quality

if TYPE_CHECKING:
    from facewatchd.values import Norms

PAIR = 1.35
"""Times the model's threshold: what two single faces ask for."""
MANY = 0.75
"""Times the model's threshold: what two groups ask for that have very many faces."""
CHILDREN = 0.7
"""Times the model's threshold: what two faces of small children ask for beyond that."""
FOUNDED = 2
"""Clear faces of a group that others may join."""


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """What counts of a group, or of a face alone: sums over its clear faces; of a face that is not clear, its own."""

    rows: NDArray[np.float32]
    """Sum of the embeddings. Shape (dim,)."""
    faces: float
    extra: float
    """Sum of what each asks for beyond the threshold."""
    children: float
    """Faces of small children."""
    clear: int
    """Clear faces of the group."""

    def __add__(self, other: Summary) -> Summary:
        """That of both together. What is not clear does not count beside what is."""
        if bool(self.clear) != bool(other.clear):
            return self if self.clear else other
        return Summary(
            self.rows + other.rows,
            self.faces + other.faces,
            self.extra + other.extra,
            self.children + other.children,
            self.clear + other.clear,
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """The rule for one model."""

    threshold: float
    """The model's own."""
    quality: Quality | None = None

    @property
    def least(self) -> float:
        """The similarity below which no two faces are looked at."""
        return MANY * self.threshold

    @property
    def pair(self) -> float:
        """What two single clear faces ask for."""
        return PAIR * self.threshold

    def are_clear(self, norms: Norms, sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each face may make a group. Shape (n,). ``sizes``: pixels of the boxes' shorter sides."""
        clear = sizes >= SMALL_SIDE
        return clear if self.quality is None else clear & (norms >= self.quality.clear)

    def can_tell(self, norms: Norms) -> NDArray[np.bool_]:
        """Whether each face may join a group. Shape (n,)."""
        return np.ones(len(norms), np.bool_) if self.quality is None else norms >= self.quality.floor

    def extras(self, norms: Norms) -> Norms:
        """What each face asks for beyond the threshold. Shape (n,)."""
        return np.zeros(len(norms)) if self.quality is None else self.quality.extras(norms)

    def asks(self, pairs: float) -> float:
        """The mean similarity that so many pairs of clear faces ask for."""
        return self.threshold * (MANY + (PAIR - MANY) / math.sqrt(pairs))

    def margin(self, one: Summary, other: Summary) -> float:
        """How much more alike two groups are than they must be to be one person's; negative where they are not."""
        if not (one.clear and other.clear) and max(one.clear, other.clear) < FOUNDED:
            return -1.0
        pairs = one.faces * other.faces
        mean = float(one.rows @ other.rows) / pairs
        children = CHILDREN * self.threshold * one.children * other.children / pairs
        return mean - one.extra / one.faces - other.extra / other.faces - children - self.asks(pairs)


def summary(
    rows: NDArray[np.float32], extras: NDArray[np.float64], children: NDArray[np.bool_], clear: NDArray[np.bool_]
) -> Summary:
    """Return what counts of a group with these faces. ``rows``: (n, dim); the others: (n,). n is at least 1."""
    counted = clear if clear.any() else np.ones(len(rows), np.bool_)
    return Summary(
        rows[counted].sum(axis=0),
        float(counted.sum()),
        float(extras[counted].sum()),
        float(children[counted].sum()),
        int(clear.sum()),
    )
