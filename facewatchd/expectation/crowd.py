"""How many strangers are as similar to one face as its matches are: estimated from a sample of the gallery.

A threshold that passes one stranger in 2,500 passes one small child in three, ten times more strangers of one's own
descent than of another, and with a blurred face more than with a sharp one. What does not change is the shape of the
upper tail. So each question is measured by itself: the median m of its similarities to the strangers in a sample, and
their quantile q of `QUANTILE`, say how alike everyone is to this face. With z = (t - m) / ((q - m) / g), where g is the
same quantile of the normal distribution, a table of one column gives the share of strangers from the similarity t on
(`Calibration.share`).

Strangers are those of the sample who are not in a group (`groups`) whose mean similarity to the face is at least
`LINKED` of the threshold: such a group is the person asked for. Without that, a person who is on a fifth of the photos
would count as a stranger to himself. The faces of another person count as often as they are in the sample, because each
of them may be a false match.

A small child among few others would not be noticed in a quantile of 7 %. Where a child can be told from the embedding,
the children in the sample are therefore a part of their own, with m and q of their own, or with the constants of the
calibration where they are few. A child is also linked with many other children, in small groups: only a group that is
`MAIN` of all that are linked is the child asked for.

Where the sample cannot say more, the number is an upper bound (`Basis.AT_MOST`), the largest of the estimates at hand:

- the recogniser was not measured;
- the face is a small child's, and fewer than `FEWEST_CHILDREN` others are: the constants are of children up to 4 years;
- the person asked for is `OFTEN` of the sample or more, or there are fewer than `ENOUGH` groups of strangers: parts of
  a person's photos that did not link may be a large share of the strangers;
- the quantile of `UPPER` leads to more than `AGREE` times as many: a few of the sample resemble the face far more than
  the others, and may be parts of the person as well as a family.

A bound is `CAUTION` times the estimate in the first two cases and for every small child, of whom a third more match
than the estimates say. With fewer than `FEWEST` strangers that can match there is no number.

A person with n references is asked for with each of them, and the best counts. Their estimates, of up to `VOICES` of
them, are averaged, and as many strangers as `references.chances` says for n are expected. What is linked with any of
the references is the person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from facewatchd.expectation.calibration import Calibration
from facewatchd.expectation.groups import average_linkage
from facewatchd.store.references import chances

if TYPE_CHECKING:
    from facewatchd.values import Embedding, Norms, Quality

LINKED = 1.15
"""Times the threshold: the mean similarity from which groups are one person."""
QUANTILE, UPPER = 0.93, 0.98
UNIT = NormalDist().inv_cdf(QUANTILE)
"""Standard deviations from the median to the quantile, of a normal distribution."""
_UPPER_UNIT = NormalDist().inv_cdf(UPPER)
AGREE = 3.0
OFTEN = 0.05
CAUTION = 2.0
FEWEST, ENOUGH = 50, 150
FEWEST_CHILDREN = 30
MAIN = 0.2
SEEN = 2
"""Faces in the sample from which a group is another person: of one face, many are similar to any."""
ASKED = 100
VOICES = 8
"""References of a person whose similarities to strangers are looked at."""
_NO_GROUP = -2.0
"""Below every mean."""
_NO_SPREAD = 1e-3
"""The least unit of z: a sample of made-up faces may have none."""


class Basis(StrEnum):
    """What an expected number is worth."""

    ESTIMATE = "estimate"
    """Right within a factor of 3, as measured on sets that the tables were not made from."""
    AT_MOST = "at-most"
    UNKNOWN = "unknown"
    """There are too few other faces to tell."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Strangers of one kind."""

    share: float
    """Of the gallery."""
    median: float
    spread: float


@dataclass(frozen=True, slots=True)
class Strangers:
    """The strangers in a gallery as one question sees them."""

    basis: Basis
    faces: int
    """In the gallery."""
    parts: tuple[_Part, ...] = ()
    calibration: Calibration | None = None

    def above(self, similarities: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how many strangers are expected from each similarity on; NaN where that cannot be told."""
        asked = np.asarray(similarities, np.float64)
        if self.calibration is None:
            return np.full(asked.shape, np.nan)
        return self.faces * sum(
            (part.share * self.calibration.share((asked - part.median) / part.spread) for part in self.parts),
            start=np.zeros(asked.shape),
        )


class Crowd:
    """A sample of the gallery's faces, grouped. It is not changed; any thread may ask."""

    def __init__(
        self,
        ids: NDArray[np.int64],
        embeddings: NDArray[np.float32],
        norms: Norms,
        threshold: float,
        calibration: Calibration,
    ) -> None:
        """``ids``: of the faces; ``embeddings``: (n, dim) of unit length; ``norms``: (n,). ``threshold``: the model's
        own, by which groups are linked."""
        self.ids = ids
        self._rows = {face_id: row for row, face_id in enumerate(ids.tolist())}
        self.embeddings = embeddings
        self._norms = norms
        self._calibration = calibration
        self._linked = LINKED * threshold
        self._threshold = threshold
        self.groups = average_linkage(embeddings, self._linked)
        self._sizes = np.bincount(self.groups)
        self._by_group = np.argsort(self.groups)
        self._starts = np.cumsum(self._sizes) - self._sizes
        """Where each group begins in that order."""
        child = calibration.child
        self._children = np.zeros(len(embeddings), np.bool_) if child is None else child.of(embeddings)

    def __len__(self) -> int:
        return len(self.embeddings)

    def strangers(self, references: NDArray[np.float32], faces: int, quality: Quality | None) -> Strangers:
        """Return how a person sees the strangers in a gallery of so many faces.

        ``references``: one face (dim,), or several of the person (n, dim), of which the best counts. With ``quality``,
        a similarity is meant less what the blur of the other face adds to the threshold.
        """
        if len(self) < FEWEST:
            return Strangers(Basis.UNKNOWN, faces)
        rows = np.atleast_2d(references)
        linked = self._linked_with(rows)
        asked = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), VOICES)).astype(np.intp))]
        seen = [self._strangers_of(row, linked, faces, quality) for row in asked]
        basis = max((each.basis for each in seen), key=list(Basis).index)
        if len(seen) == 1 or basis is Basis.UNKNOWN:
            return next(each for each in seen if each.basis is basis)
        share = chances(len(rows)) / len(asked)
        parts = (_Part(share * part.share, part.median, part.spread) for each in seen for part in each.parts)
        return Strangers(basis, faces, tuple(parts), self._calibration)

    def _strangers_of(
        self, embedding: Embedding, linked: NDArray[np.bool_], faces: int, quality: Quality | None
    ) -> Strangers:
        """How one face of a person sees the strangers. ``linked``: the groups that are the person."""
        similarities = self.embeddings @ embedding
        child = self._calibration.is_child(embedding)
        others = ~linked[self.groups]
        count = int(others.sum())
        if quality is not None:
            similarities = similarities - quality.extras(self._norms)
            others &= self._norms >= quality.floor  # the rest match nothing
        if others.sum() < FEWEST:
            return Strangers(Basis.UNKNOWN, faces)
        few = child and (others & self._children).sum() < FEWEST_CHILDREN
        parts, upper = self._parts(similarities, others, child=child, few=few)
        usual, most = (Strangers(Basis.ESTIMATE, faces, each, self._calibration) for each in (parts, upper))
        low, high = (float(each.above([self._threshold])[0]) for each in (usual, most))
        cautious = few or not self._calibration.measured
        known = len(np.unique(self.groups[others])) >= ENOUGH and count > (1 - OFTEN) * len(self)
        if known and not cautious and high <= AGREE * low:
            return usual
        larger = parts if low > high else upper
        if child or cautious:
            larger = tuple(_Part(CAUTION * part.share, part.median, part.spread) for part in larger)
        return Strangers(Basis.AT_MOST, faces, larger, self._calibration)

    def usual(self, similarities: NDArray[np.float64], quality: Quality | None) -> NDArray[np.float64]:
        """Return the share of the gallery that are strangers from each similarity on, for the median question.

        The questions are some `ASKED` faces of the sample. Zeros where there are too few faces to tell.
        """
        seen = [self.strangers(embedding, 1, quality) for embedding in self.embeddings[:ASKED]]
        shares = [each.above(similarities) for each in seen if each.basis is not Basis.UNKNOWN]
        return np.median(shares, axis=0) if shares else np.zeros(len(similarities))

    def nearest_others(
        self, face_ids: Sequence[int], faces: NDArray[np.float32], references: NDArray[np.float32]
    ) -> list[tuple[int, float] | None]:
        """For each of some faces, the group that it resembles most, of those not linked with the person asked for.

        Groups of fewer than `SEEN` faces are left out, and a face of the sample does not count as one of its own group.
        The group is told by its face that is the most similar, by id, and the mean similarity to it. ``faces``: (n,
        dim); up to 12 kB of memory are taken for each. ``references``: as in `strangers`.
        """
        if not len(self):
            return [None] * len(faces)
        similarities = self.embeddings @ faces.T
        means = np.add.reduceat(similarities[self._by_group], self._starts, axis=0)
        means /= self._sizes[:, None].astype(means.dtype)
        means[(self._sizes < SEEN) | self._linked_with(np.atleast_2d(references))] = _NO_GROUP
        for at, face_id in enumerate(face_ids):
            row = self._rows.get(face_id)
            if row is not None and means[group := self.groups[row], at] != _NO_GROUP:
                size = self._sizes[group]
                without = (means[group, at] * size - similarities[row, at]) / (size - 1)
                means[group, at] = without if size > SEEN else _NO_GROUP
                similarities[row, at] = _NO_GROUP  # it is not its own nearest
        found: list[tuple[int, float] | None] = []
        for at, group in enumerate(means.argmax(axis=0).tolist()):
            members = self._by_group[self._starts[group] :][: self._sizes[group]]
            nearest = members[int(similarities[members, at].argmax())]
            mean = float(means[group, at])
            found.append(None if mean == _NO_GROUP else (int(self.ids[nearest]), mean))
        return found

    def _linked_with(self, references: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Whether each group is the person with one of these faces, (n, dim)."""
        found = np.zeros(len(self._sizes), np.bool_)
        for embedding in references:
            linked = self._means(self.embeddings @ embedding) >= self._linked
            if self._calibration.is_child(embedding):
                linked &= self._sizes >= MAIN * self._sizes[linked].sum()
            found |= linked
        return found

    def _means(self, similarities: NDArray[np.floating]) -> NDArray[np.float64]:
        """The mean of each group."""
        means: NDArray[np.float64] = np.bincount(self.groups, weights=similarities) / self._sizes
        return means

    def _parts(
        self, similarities: NDArray[np.floating], others: NDArray[np.bool_], *, child: bool, few: bool
    ) -> tuple[tuple[_Part, ...], tuple[_Part, ...]]:
        """The strangers by their kinds: measured at `QUANTILE`, and at `UPPER`."""
        usual, upper = [], []
        for kind in (self._children, ~self._children) if child else (np.ones(len(self), np.bool_),):
            of_kind = others & kind
            share = float(of_kind.sum()) / len(self)
            if few and kind is self._children:
                probe = self._calibration.child
                assert probe is not None
                usual.append(_Part(share, probe.median, probe.spread))
                upper.append(usual[-1])
            elif share:
                median, *quantiles = np.quantile(similarities[of_kind], (0.5, QUANTILE, UPPER)).tolist()
                spreads = [
                    max((each - median) / unit, _NO_SPREAD)
                    for each, unit in zip(quantiles, (UNIT, _UPPER_UNIT), strict=True)
                ]
                usual.append(_Part(share, median, spreads[0]))
                upper.append(_Part(share, median, spreads[1]))
        return tuple(usual), tuple(upper)
