"""From which similarity a match counts, and what norms tell, measured on labelled faces.

``python -m tests.benchmarks thresholds FILE.npz ...``. A file holds numbers of faces, no pictures; `labelling`
makes one. For each detector D and recogniser R the array ``D_R`` has the embeddings as the recogniser gives them,
shape (n, dim), and of the same faces

- ``D_person``: a number a person. Two numbers are two people, also in different sets of the file;
- ``D_set``: a name for where the face comes from. Labels in the sets `NOT_PEOPLE` are no people;
- ``D_age``: years, -1 where it is not known.

**Different people.** A pair of people counts once, however many faces they have: its share of false matches is the mean
over their pairs of faces. So 500 people of one face each say as much as in a gallery, and a person with 40 faces does
not stand for 40 people. Faces of `ADULT` years, and of unknown age, count; those of known age have a table of their
own. Labels err: some people have two numbers. Two numbers are taken for one person, and their pairs left out, where two
grown faces are more similar than the median pair of one person, for every recogniser of the file at once: recognisers
that were trained apart take two people for one at different places.

**One person.** All pairs of faces with one number, each counting the same, and beside it the mean over people, each
counting the same. Sets of portraits with one face a person have no such pair.

**Uncertainty.** 95 % of resamples of the people, drawn with replacement: pairs are not independent, people are.

**Norms** (`values.Quality`). Blurred faces resemble each other, so they are judged where such faces are: in the sets
that have pairs of one person, and in those of `NOT_PEOPLE`, where two labels count as two people for this alone. The
table that finds most is chosen on one half of the people and judged on the other.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facewatchd.models import registry
from facewatchd.values import Quality
from tests.benchmarks.options import Options
from tests.benchmarks.report import Report

NOT_PEOPLE = ("masked",)
"""Sets of faces with covered mouths, labelled by something else than the person."""
ADULT = 18
AGES = ((0, 4), (5, 12), (13, 17), (18, 64), (65, 120))
RATES = (1 / 1000, 1 / 2500, 1 / 10_000)
FEWEST = 5
"""False matches from which on a threshold says something."""
LEAST_PEOPLE = 40
"""People from whom on halves of them say something."""
JUDGED = 3e-4
"""Rate of false matches at which norms are judged."""
PACKS = {("yunet", "sface"): "opencv", ("scrfd25g", "mfn"): "scrfd25g_mfn"}
"""The packs of a detector and a recogniser; another pack has the detector's name."""
GRID = np.arange(20, 95) / 100
"""Similarities at which the shares of pairs are known."""
CLEAR = (0.1, 0.2, 0.3, 0.4)
EXTRA = (0.0, 0.04, 0.08, 0.16)
"""What is tried for the table: the share of faces that are not clear, and what a face at half of that norm adds."""
LESS_CLEAR = "of the pack, by the less clear face alone"
FOUND_BELOW_FLOOR = 0.02
"""The floor is the highest norm below which at most this share of the pairs of one person is found."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Faces:
    """The faces of one detector and one recogniser. Arrays of shape (n,) and (n, dim)."""

    detector: str
    recogniser: str
    sets: NDArray[np.str_]
    people: NDArray[np.int64]
    ages: NDArray[np.int64]
    rows: NDArray[np.float32]
    """Of unit length."""
    norms: Floats
    doubles: frozenset[tuple[int, int]] = frozenset()
    """Numbers that are taken for one person, the smaller first."""

    @property
    def name(self) -> str:
        return f"{self.detector} + {self.recogniser}"

    def of(self, chosen: NDArray[np.bool_]) -> Faces:
        return Faces(
            self.detector, self.recogniser, self.sets[chosen], self.people[chosen], self.ages[chosen],
            self.rows[chosen], self.norms[chosen], self.doubles,
        )  # fmt: skip

    @cached_property
    def are_people(self) -> NDArray[np.bool_]:
        return ~np.isin(self.sets, NOT_PEOPLE)

    @cached_property
    def adults(self) -> Faces:
        return self.of(self.are_people & ((self.ages < 0) | (self.ages >= ADULT)))

    @cached_property
    def similarities(self) -> NDArray[np.float32]:
        """Shape (n, n)."""
        return self.rows @ self.rows.T

    @cached_property
    def same(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The pairs of one person."""
        one = np.triu(self.people[:, None] == self.people, 1) & self.are_people
        i, j = np.nonzero(one)
        return i, j

    @cached_property
    def numbers(self) -> NDArray[np.int64]:
        """Each person's number, ascending. Shape (people,)."""
        return np.unique(self.people)

    @property
    def pack(self) -> str:
        """The name of the pack with these two."""
        return PACKS.get((self.detector, self.recogniser), self.detector)

    @property
    def known(self) -> registry.Known | None:
        """What is known of it."""
        return registry.KNOWN.get(self.pack.lower())

    @property
    def threshold(self) -> float | None:
        """That of the pack."""
        return self.known.threshold if self.known else None


def read(files: Sequence[Path]) -> Iterator[Faces]:
    """Read what the files hold together. Numbers of people count within one file."""
    found: dict[tuple[str, str], list[Faces]] = {}
    for place, file in enumerate(files):
        with np.load(file) as arrays:
            for detector in (name.removesuffix("_set") for name in arrays if name.endswith("_set")):
                about = {f"{detector}_{what}" for what in ("set", "person", "age", "score", "side")}
                for name in (name for name in arrays if name.startswith(f"{detector}_") and name not in about):
                    faces = _faces(arrays, detector, name.removeprefix(f"{detector}_"), place << 32)
                    found.setdefault((detector, faces.recogniser), []).append(faces)
    by_detector: dict[str, list[Faces]] = {}
    for parts in found.values():
        faces = _joined(parts)
        by_detector.setdefault(faces.detector, []).append(faces)
    for group in by_detector.values():
        doubles = _doubles(group)
        yield from (replace(faces, doubles=doubles) for faces in group)


def _faces(arrays: np.lib.npyio.NpzFile, detector: str, recogniser: str, first: int) -> Faces:
    rows = arrays[f"{detector}_{recogniser}"].astype(np.float64)
    norms = np.linalg.norm(rows, axis=1)
    people = arrays[f"{detector}_person"].astype(np.int64) + first
    ages = arrays[f"{detector}_age"].astype(np.int64) if f"{detector}_age" in arrays else np.full(len(rows), -1)
    unit = (rows / norms[:, None]).astype(np.float32)
    return Faces(detector, recogniser, arrays[f"{detector}_set"], people, ages, unit, norms)


def _joined(parts: Sequence[Faces]) -> Faces:
    people = np.concatenate([each.people for each in parts])
    order = np.argsort(people, kind="stable")
    sets, ages = np.concatenate([each.sets for each in parts]), np.concatenate([each.ages for each in parts])
    rows, norms = np.concatenate([each.rows for each in parts]), np.concatenate([each.norms for each in parts])
    first = parts[0]
    return Faces(first.detector, first.recogniser, sets[order], people[order], ages[order], rows[order], norms[order])


def _doubles(group: Sequence[Faces]) -> frozenset[tuple[int, int]]:
    """The numbers that every recogniser takes for one person; none where there is one recogniser, or no pair."""
    if len(group) < 2 or not len(group[0].same[0]):
        return frozenset()
    people = group[0].adults.people
    alike = np.triu(people[:, None] != people, 1)
    for faces in group:
        alike &= faces.adults.similarities >= np.median(faces.similarities[faces.same])
    return frozenset((int(people[i]), int(people[j])) for i, j in zip(*np.nonzero(alike), strict=True))


# ----------------------------------------------------------------------------------------- shares of pairs of people


def _shares(faces: Faces, threshold: float) -> Floats:
    """For each two people, the share of their pairs of faces that match. Shape (people, people), 0 on the diagonal."""
    starts = np.searchsorted(faces.people, faces.numbers)
    hits = (faces.similarities >= threshold).astype(np.float64)
    counts = np.diff([*starts, len(faces.people)])
    shares = np.add.reduceat(np.add.reduceat(hits, starts, axis=0), starts, axis=1) / np.outer(counts, counts)
    np.fill_diagonal(shares, 0.0)
    return np.asarray(shares * _are_two(faces))


def _are_two(faces: Faces) -> NDArray[np.bool_]:
    """Whether two people are two. Shape (people, people)."""
    two = ~np.eye(len(faces.numbers), dtype=np.bool_)
    for pair in faces.doubles:
        if np.isin(pair, faces.numbers).all():
            one, other = np.searchsorted(faces.numbers, pair)
            two[one, other] = two[other, one] = False
    return two


class Curve:
    """Shares of false matches at the similarities of `GRID`, for the people and for resamples of them."""

    def __init__(self, faces: Faces, resamples: int) -> None:
        random = np.random.default_rng(0)
        people = len(faces.numbers)
        drawn = random.multinomial(people, np.full(people, 1 / people), size=resamples).astype(np.float64)
        self._weights = np.vstack([np.ones(people), drawn])
        all_pairs = np.maximum(self._count(_are_two(faces).astype(np.float64)), 1.0)
        self._rates = np.stack([self._count(_shares(faces, at)) / all_pairs for at in GRID], axis=1)

    def _count(self, pairs: Floats) -> Floats:
        """The sum over pairs of people, for each resample."""
        return np.asarray(((self._weights @ pairs) * self._weights).sum(axis=1))

    def rate(self, threshold: float) -> Floats:
        """The share of false matches: of all people first, then of each resample."""
        return np.array([np.interp(threshold, GRID, rates) for rates in self._rates])

    def threshold(self, rate: float) -> Floats:
        """The similarity that this share of different people reaches, as `rate`."""
        tiny = 1e-9  # where no pair is left: the logarithm must fall
        return np.array([np.interp(-np.log(rate), -np.log(rates + tiny), GRID) for rates in self._rates])


def found(faces: Faces, threshold: float, resamples: int) -> tuple[Floats, Floats]:
    """The share of the pairs of one person that match: of all pairs, and as the mean over people.

    Of all people first, then of each resample. NaN where there is no such pair.
    """
    i, j = faces.same
    if not len(i):
        return np.full(resamples + 1, np.nan), np.full(resamples + 1, np.nan)
    numbers, person = np.unique(faces.people[i], return_inverse=True)
    hits = np.bincount(person, faces.similarities[i, j] >= threshold)
    pairs = np.bincount(person).astype(np.float64)
    random = np.random.default_rng(1)
    drawn = random.multinomial(len(numbers), np.full(len(numbers), 1 / len(numbers)), size=resamples)
    weights = np.vstack([np.ones(len(numbers)), drawn])
    return weights @ hits / (weights @ pairs), weights @ (hits / pairs) / weights.sum(axis=1)


# ------------------------------------------------------------------------------------------------------------- norms


@dataclass(frozen=True)
class Pairs:
    """Pairs of faces: similarity, both norms, weight. Arrays of shape (n,)."""

    similarities: Floats
    norms: tuple[Floats, Floats]
    weights: Floats

    def least(self, table: Quality | None, *, alone: bool = False) -> Floats:
        """Similarity less what both faces add to the threshold; ``alone``: what the less clear of them does."""
        if table is None:
            return self.similarities
        extras = table.extras(self.norms[0]), table.extras(self.norms[1])
        return np.asarray(self.similarities - (np.maximum(*extras) if alone else extras[0] + extras[1]))

    @property
    def worse(self) -> Floats:
        return np.asarray(np.minimum(*self.norms))


def labelled(faces: Faces) -> Faces:
    """The faces of the sets that have pairs of one person, and of those that are `NOT_PEOPLE`."""
    return faces.of(np.isin(faces.sets, [*np.unique(faces.sets[faces.same[0]]), *NOT_PEOPLE]))


def pairs_of(faces: Faces) -> tuple[Pairs, Pairs]:
    """Pairs of one person, and of two, each two people together of weight 1."""
    _, person, counts = np.unique(faces.people, return_inverse=True, return_counts=True)
    i, j = faces.same
    one = Pairs(faces.similarities[i, j].astype(np.float64), (faces.norms[i], faces.norms[j]), np.ones(len(i)))
    i, j = np.nonzero(np.triu(_are_two(faces)[np.ix_(person, person)], 1))
    weights = 1.0 / (counts[person[i]] * counts[person[j]])
    return one, Pairs(faces.similarities[i, j].astype(np.float64), (faces.norms[i], faces.norms[j]), weights)


def found_at(one: Pairs, two: Pairs, table: Quality | None, rate: float, *, alone: bool = False) -> float:
    """The share of pairs of one person that is found where ``rate`` of the others match."""
    against = two.least(table, alone=alone)
    order = np.argsort(-against)
    last = np.searchsorted(np.cumsum(two.weights[order]), rate * two.weights.sum())
    return float((one.least(table, alone=alone) >= against[order[min(last, len(order) - 1)]]).mean())


def tables(faces: Faces) -> list[Quality]:
    """What is tried. A floor at half of the norm from which a face is clear: it bounds what is added."""
    clears = np.quantile(faces.norms, CLEAR).round(1).tolist()
    return [Quality(clear, extra / (clear / 2), clear / 2) for clear, extra in itertools.product(clears, EXTRA)]


def fitted(one: Pairs, two: Pairs, tried: Sequence[Quality]) -> Quality:
    """The table with which most is found at `JUDGED`."""
    return max(tried, key=lambda table: found_at(one, two, table, JUDGED))


def halves(faces: Faces, seed: int) -> tuple[Faces, Faces]:
    """The faces of two halves of the people."""
    chosen = np.random.default_rng(seed).permutation(faces.numbers)[: len(faces.numbers) // 2]
    is_in = np.isin(faces.people, chosen)
    return faces.of(is_in), faces.of(~is_in)


# ----------------------------------------------------------------------------------------------------------- reports


def run(options: Options) -> list[Report]:
    if not options.numbers:
        return [Report("Thresholds", ["nothing was measured: name a file of labelled faces (FILE.npz)"])]
    every = list(read(options.numbers))
    packs = [faces for faces in every if faces.threshold]
    reports = [_sets(packs or every), _thresholds(every, options.rounds(1000)), _ages(packs)]
    return [*reports, _norms(packs, options.rounds(10)), *map(_bands, packs)]


def _sets(every: Sequence[Faces]) -> Report:
    report = Report("Thresholds: the sets", ["detector + recogniser", "set", "faces", "people", "pairs", "found"])
    for faces in every:
        for name in np.unique(faces.sets).tolist():
            part = faces.of(faces.sets == name)
            pairs = len(part.same[0])
            share = f"{found(part, faces.threshold, 0)[0][0]:.2f}" if pairs and faces.threshold else ""
            people = "" if name in NOT_PEOPLE else len(part.numbers)
            report.row(faces.name, name, len(part.people), people, pairs, share)
    doubles = {len(faces.doubles) for faces in every}
    report.notes.append(f"Pairs of numbers that are one person: {', '.join(map(str, sorted(doubles)))}.")
    report.notes.append("Found: of the pairs of one person, at the pack's threshold.")
    return report


def _thresholds(every: Sequence[Faces], resamples: int) -> Report:
    report = Report(
        "Thresholds: adults",
        ["detector + recogniser", "people", "threshold", "one false match in", "of pairs found", "mean over people"],
    )
    for faces in every:
        curve = Curve(faces.adults, resamples)
        pairs_of_people = int(_are_two(faces.adults).sum()) // 2
        for threshold, is_packs in [
            *((float(curve.threshold(rate)[0]), False) for rate in RATES if rate * pairs_of_people >= FEWEST),
            *([(faces.threshold, True)] if faces.threshold else []),
        ]:
            pairs, people = found(faces, threshold, resamples)
            rates = curve.rate(threshold)
            text = f"{threshold:.3f}" if not is_packs else f"**{threshold:.2f}**"
            most = float(np.quantile(rates, 0.975))
            often = f"none of {pairs_of_people:,} pairs" if not most else ""
            often = often or _range(1 / np.maximum(rates, 1 / (100 * pairs_of_people)), ",.0f", rounded=100)
            report.row(faces.name, len(faces.adults.numbers), text, often, _range(pairs, ".2f"), _range(people, ".2f"))
    report.notes.append("In brackets: 95 % of resamples of the people. Bold: the threshold of the pack.")
    return report


def _range(values: Floats, form: str, rounded: float = 0.0) -> str:
    low, high = np.quantile(values[1:], [0.025, 0.975]) if len(values) > 1 else (values[0], values[0])
    first, low, high = (round(each / rounded) * rounded if rounded else each for each in (values[0], low, high))
    return f"{first:{form}} ({low:{form}} to {high:{form}})"


def _ages(every: Sequence[Faces]) -> Report:
    report = Report(
        "Thresholds: two people of one age", ["detector + recogniser", "threshold", "years", "people", "match"]
    )
    for faces in every:
        for first, last in AGES:
            part = faces.of(faces.are_people & (faces.ages >= first) & (faces.ages <= last))
            if len(part.numbers) > 1:
                shares = _shares(part, faces.threshold or 0.0)
                rate = shares.sum() / _are_two(part).sum()
                report.row(faces.name, faces.threshold or 0.0, f"{first} to {last}", len(part.numbers), f"{rate:.2%}")
    return report


def _norms(every: Sequence[Faces], seeds: int) -> Report:
    report = Report(
        "Thresholds: norms",
        ["detector + recogniser", "table", "clear", "slope", "floor", "judged", "without", "with", "better in"],
    )
    for faces in every:
        part = labelled(faces)
        if len(part.numbers) < LEAST_PEOPLE:
            report.notes.append(f"{faces.name}: too few people for halves.")
            continue
        known, tried = faces.known.quality if faces.known else None, tables(part)
        without: list[float] = []
        found_with: dict[str, list[float]] = {}
        for seed, swap in itertools.product(range(seeds), (False, True)):
            one, other = halves(part, seed)[:: -1 if swap else 1]
            judged = pairs_of(other)
            without.append(found_at(*judged, None, JUDGED))
            for name, table in (("fitted", fitted(*pairs_of(one), tried)), ("of the pack", known), (LESS_CLEAR, known)):
                share = found_at(*judged, table, JUDGED, alone=name == LESS_CLEAR)
                found_with.setdefault(name, []).append(share)
        for name, shares in found_with.items():
            numbers = ("", "", "") if name == "fitted" or not known else (known.clear, known.slope, known.floor)
            better = f"{np.mean(np.array(shares) > without):.0%} of {len(shares)}"
            means = float(np.mean(without)), float(np.mean(shares))
            report.row(faces.name, name, *numbers, f"other half, at {JUDGED:g}", *means, better)
        if known:
            at = faces.threshold or 0.0
            one_person, two = pairs_of(part)
            cells = []
            for table in (None, known):
                share = (one_person.least(table) >= at).mean()
                hits = two.weights[two.least(table) >= at].sum() / two.weights.sum()
                cells.append(f"{share:.3f}, one in {1 / hits:,.0f}" if hits else f"{share:.3f}, none")
            report.row(faces.name, "of the pack", known.clear, known.slope, known.floor, f"at {at}", *cells, "")
        best = fitted(*pairs_of(part), tried)
        report.row(faces.name, "fitted on all", best.clear, best.slope, best.floor, "", "", "", "")
    report.notes.append(f"The share of pairs of one person that is found, where {JUDGED:g} of two people match.")
    return report


def _bands(faces: Faces) -> Report:
    """What is found, and how often strangers match, by the less clear of the two faces."""
    report = Report(
        f"Thresholds: by norm, {faces.name} at {faces.threshold:.2f}",
        ["norm of the less clear face", "faces", "pairs of one person", "found", "pairs of two", "one false match in"],
    )
    part = labelled(faces)
    one, two = pairs_of(part)
    edges = [0.0, *np.quantile(part.norms, [0.02, 0.05, 0.1, 0.2, 0.4]).round(1).tolist(), np.inf]
    assert faces.threshold is not None
    for low, high in itertools.pairwise(edges):
        mine, theirs = ((pairs.worse >= low) & (pairs.worse < high) for pairs in (one, two))
        share = f"{(one.similarities[mine] >= faces.threshold).mean():.3f}" if mine.any() else ""
        hits = two.weights[theirs & (two.similarities >= faces.threshold)].sum()
        often = f"{two.weights[theirs].sum() / hits:,.0f}" if hits else ""
        count = int(((part.norms >= low) & (part.norms < high)).sum())
        name = f"{low:g} to {high:g}" if np.isfinite(high) else f"from {low:g}"
        report.row(name, count, int(mine.sum()), share, int(theirs.sum()), often)
    report.notes.append(f"At most {FOUND_BELOW_FLOOR:.0%} is found below a norm of {_floor(one, faces.threshold):.1f}.")
    return report


def _floor(one: Pairs, threshold: float) -> float:
    """The highest norm below which at most `FOUND_BELOW_FLOOR` of the pairs of one person is found."""
    order = np.argsort(one.worse)
    share = np.cumsum(one.similarities[order] >= threshold) / np.arange(1, len(order) + 1)
    below = np.flatnonzero(share <= FOUND_BELOW_FLOOR)
    return float(one.worse[order[below[-1]]]) if len(below) else 0.0
