"""How many of a question's matches are expected to be wrong, held against how many are, on labelled faces.

``python -m tests.benchmarks expectation FILE.npz`` prints it; ``python -m tests.benchmarks.expectation FILE.npz``
writes `facewatchd/expectation/calibration.json` from all of its sets. The file holds, for each detector D, arrays
``D_set``, ``D_person``, ``D_age`` (-1: unknown) and the embeddings ``D_sface``, ``D_mfn``, as they come out of the
recognisers. Every figure of a set comes from tables that were made without that set.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facewatchd.expectation import calibration
from facewatchd.expectation.calibration import Calibration
from facewatchd.expectation.crowd import QUANTILE, UNIT, Basis, Crowd
from facewatchd.expectation.posterior import wrong_among
from facewatchd.expectation.verdicts import Verdict, verdicts
from facewatchd.models import registry
from facewatchd.values import Quality
from tests.benchmarks.options import Options
from tests.benchmarks.report import Report

RECOGNISERS = {
    "sface": ("yunet_sface", 0.40, ("opencv",)),
    "mobilefacenet": ("scrfd25g_mfn", 0.57, ("scrfd25g_mfn", "scrfd500m_mfn")),
}
"""By name: the detector and the array of embeddings, the threshold, and the packs that have the recogniser."""
NOT_PEOPLE = ("masked",)
"""Sets whose labels are not people."""
LARGE = 200
"""Faces from which a set stands by itself; the smaller ones are one."""
SAME_CHILD, SAME = 0.6, 0.2
"""How far between the threshold and 1 two faces of different labels are one person, under two names, for small children
and for others: in the impostor sets such pairs have neighbouring numbers and the same age."""
CHILD, NO_CHILD = 8, 13
"""Years: up to which a face is a small child's, and from which it is none, for the probe."""
RIDGE = 10.0
SURER = 0.2
"""Taken from what the probe says, so that fewer grown faces are taken for children than children missed."""
RAREST = 1e-5
"""Share of strangers to which the tail table goes."""
AGES = ((0, 4), (5, 12), (13, 19), (20, 60), (61, 120))
FACTOR = 3.0
FEW = 20
"""False matches from which on a ratio says something: fewer come of three or four pairs of faces."""

Faces = NDArray[np.int64]
"""Positions in a `Labelled`."""


@dataclass(frozen=True)
class Labelled:
    """The faces of one recogniser, in random order."""

    threshold: float
    quality: Quality | None
    """What the product makes of norms, for the first pack that has the recogniser."""
    embeddings: NDArray[np.float32]
    norms: NDArray[np.float64]
    sets: NDArray[np.str_]
    people: NDArray[np.int32]
    ages: NDArray[np.int16]

    @classmethod
    def read(cls, file: Path, recogniser: str) -> Labelled:
        array, threshold, packs = RECOGNISERS[recogniser]
        detector = array.split("_")[0]
        with np.load(file) as arrays:
            sets = arrays[f"{detector}_set"]
            used = np.flatnonzero(~np.isin(sets, NOT_PEOPLE))
            np.random.default_rng(0).shuffle(used)
            sets = sets[used]
            rows = arrays[array].astype(np.float32)[used]
            people, ages = arrays[f"{detector}_person"][used], arrays[f"{detector}_age"][used]
        for name in np.unique(sets):
            if (sets == name).sum() < LARGE:
                sets = np.where(sets == name, "others", sets)
        norms = np.linalg.norm(rows, axis=1).astype(np.float64)
        quality = registry.known(packs[0]).quality
        return cls(threshold, quality, (rows.T / norms).T.astype(np.float32), norms, sets, people, ages)

    @cached_property
    def similarities(self) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self.embeddings @ self.embeddings.T
        return found

    @cached_property
    def extras(self) -> NDArray[np.float64]:
        """What each face adds to the threshold."""
        return np.zeros(len(self.norms)) if self.quality is None else self.quality.extras(self.norms)

    def told(self, gallery: Faces) -> Faces:
        """Those that are not too blurred to match anything."""
        return gallery if self.quality is None else gallery[self.norms[gallery] >= self.quality.floor]

    def scores(self, face: int, gallery: Faces) -> NDArray[np.float64]:
        """Similarities to some faces, less what their blur adds to the threshold."""
        scores: NDArray[np.float64] = self.similarities[face, gallery] - self.extras[gallery]
        return scores

    def crowd(self, gallery: Faces, known: Calibration) -> Crowd:
        return Crowd(gallery, self.embeddings[gallery], self.norms[gallery], self.threshold, known)

    @property
    def names(self) -> list[str]:
        return sorted(set(self.sets.tolist()))

    def all_but(self, name: str = "") -> Faces:
        return np.flatnonzero(self.sets != name)

    def strangers(self, face: int, gallery: Faces) -> Faces:
        """The faces of other people, without photos of the same face under another name."""
        ages = self.ages[gallery]
        small = ((ages >= 0) & (ages < NO_CHILD)) | (0 <= self.ages[face] < NO_CHILD)
        same = self.threshold + np.where(small, SAME_CHILD, SAME) * (1 - self.threshold)
        found: Faces = gallery[(self.people[gallery] != self.people[face]) & (self.similarities[face, gallery] < same)]
        return found


def fit(faces: Labelled, left_out: str = "") -> dict[str, Any]:
    """Return what `calibration.read` reads, made without one set."""
    used = faces.all_but(left_out)
    child = _fit_child(faces, used)
    untabled = calibration.read({"tail": [0.0, -1.0], "child": child})
    galleries, curves = [used], []
    for own in _by_set(faces, used):
        if (faces.ages[own] >= 0).any():  # of the sets with ages, nobody is there twice: each is a gallery of its own
            galleries.append(own)
    for gallery in galleries:
        crowd = faces.crowd(gallery, untabled)
        for own in _by_set(faces, gallery):
            curves.append(np.mean([_curve(faces, face, gallery, crowd, untabled) for face in own[:250]], axis=0))
    shares = np.mean(curves, axis=0)
    tail = np.log(shares[shares >= RAREST])
    return {"tail": [round(float(each), 3) for each in [*tail, tail[-1] + (tail[-1] - tail[-5]) / 4]], "child": child}


GRID = calibration.FIRST + calibration.STEP * np.arange(40)
"""The z of a tail table's numbers."""


def _by_set(faces: Labelled, gallery: Faces) -> list[Faces]:
    return [gallery[faces.sets[gallery] == name] for name in np.unique(faces.sets[gallery])]


def _curve(faces: Labelled, face: int, gallery: Faces, crowd: Crowd, known: Calibration) -> NDArray[np.float64]:
    """The share of strangers from each z of the grid on, as one question sees them."""
    parts = crowd.strangers(faces.embeddings[face], len(gallery), faces.quality).parts
    strangers = faces.told(faces.strangers(face, gallery))
    of_part = np.zeros(len(strangers), np.int64)
    if len(parts) == 2:
        assert known.child is not None
        of_part[~known.child.of(faces.embeddings[strangers])] = 1
    medians, spreads = (np.array([getattr(part, name) for part in parts]) for name in ("median", "spread"))
    z = (faces.scores(face, strangers) - medians[of_part]) / spreads[of_part]
    shares: NDArray[np.float64] = (z >= GRID[:, None]).mean(axis=1)
    return shares


def _fit_child(faces: Labelled, used: Faces) -> dict[str, Any]:
    """A linear probe for small children's faces: ridge regression on -1 and 1, both kinds weighing the same."""
    ages = faces.ages[used]
    small, grown = used[(ages >= 0) & (ages <= CHILD)], used[ages >= NO_CHILD]
    rows = faces.embeddings[np.concatenate([small, grown])].astype(np.float64)
    wanted = np.repeat([1.0, -1.0], [len(small), len(grown)])
    weight = np.repeat([0.5 / len(small), 0.5 / len(grown)], [len(small), len(grown)]) * len(rows)
    mean = weight @ rows / weight.sum()
    centred = rows - mean
    matrix = centred.T @ (weight[:, None] * centred) + RIDGE * np.eye(rows.shape[1])
    weights = np.linalg.solve(matrix, centred.T @ (weight * wanted))
    youngest = small[faces.ages[small] <= AGES[0][1]]  # who are the most alike
    near = faces.similarities[np.ix_(youngest, youngest)]
    median = np.median(near, axis=1)
    spread = (np.quantile(near, QUANTILE, axis=1) - median) / UNIT
    return {
        "weights": [round(float(each), 4) for each in weights],
        "bias": round(float(-mean @ weights - SURER), 4),
        "median": round(float(median.mean()), 3),
        "spread": round(float(spread.mean()), 3),
    }


@dataclass
class Tally:
    """What was predicted and counted over some questions."""

    name: str
    gallery: int
    """Faces in it."""
    questions: int = 0
    estimates: int = 0
    """Questions whose number is an estimate; the others have an upper bound."""
    predicted: float = 0.0
    counted: int = 0
    """Of those, the strangers that were expected, and those among the matches."""
    kept: int = 0
    """Questions with an upper bound that holds."""
    words: dict[Verdict, list[int]] = field(default_factory=lambda: {word: [0, 0] for word in Verdict})
    """Right and wrong matches that have each word."""

    @property
    def ratio(self) -> float:
        return self.predicted / max(self.counted, 1)


@dataclass(frozen=True)
class Case:
    """Some faces that are asked for in a gallery."""

    name: str
    askers: Faces
    gallery: Faces
    sample: int = 1 << 30
    """Faces of the gallery that are looked at, at most."""
    photos: int = 1
    """Faces of one person that a question is asked with."""


def tally(faces: Labelled, case: Case, known: Calibration) -> Tally:
    """Ask for each face, or each few of one person, in the gallery without them, at the model's threshold."""
    crowd = faces.crowd(case.gallery[: case.sample], known)
    result = Tally(case.name, len(case.gallery))
    for asked in _questions(faces, case):
        person = np.mean(faces.embeddings[asked], axis=0)
        person /= np.linalg.norm(person)
        seen = crowd.strangers(person, len(case.gallery), faces.quality)
        if seen.basis is Basis.UNKNOWN:
            continue
        others = faces.told(np.setdiff1d(case.gallery, asked))
        scores = faces.embeddings[others] @ person - faces.extras[others]
        threshold = faces.threshold + faces.extras[asked].min()  # as the product takes the clearest of them
        order = np.flatnonzero(scores >= threshold)[np.argsort(-scores[scores >= threshold])]
        wrong = np.isin(others[order], faces.strangers(asked[0], others[order]))
        words = verdicts(scores[order].tolist(), seen, threshold)
        before = float(seen.above([threshold])[0])
        expected = wrong_among(len(order), before, seen.basis, words.count(Verdict.SURE))
        result.questions += 1
        if seen.basis is Basis.ESTIMATE:
            result.estimates += 1
            result.predicted += expected
            result.counted += int(wrong.sum())
        else:
            result.kept += int(wrong.sum()) <= np.ceil(expected)
        for word, bad in zip(words, wrong.tolist(), strict=True):
            result.words[word][bad] += 1
    return result


def _questions(faces: Labelled, case: Case) -> Iterator[Faces]:
    """The faces that each question is asked with, all of one person."""
    askers = faces.told(case.askers)
    if case.photos == 1:
        yield from askers[:, None]
        return
    for person in np.unique(faces.people[askers]):
        own = askers[faces.people[askers] == person]
        yield from own[: len(own) // case.photos * case.photos].reshape(-1, case.photos)


def cases(faces: Labelled, name: str) -> Iterator[Case]:
    """The questions of one set: in the whole gallery, by age where that is known, and in galleries that are hard."""
    every = faces.all_but()
    own = every[faces.sets == name]
    if (faces.ages[own] < 0).all():
        yield Case(f"{name}, in all sets", own, every)
        yield Case(f"{name}, in all sets, 400 sampled", own, every, sample=400)
        yield Case(f"{name}, three photos a question, in all sets", own, every, photos=3)
        yield Case(f"{name}, in its own set of {len(np.unique(faces.people[own]))} people", own, own)
        return
    for low, high in AGES:
        of_age = own[(faces.ages[own] >= low) & (faces.ages[own] <= high)]
        yield Case(f"{name} of {low} to {high} years, in its own set", of_age, own)
        yield Case(f"{name} of {low} to {high} years, in all sets", of_age, every)
    grown, babies = own[faces.ages[own] >= NO_CHILD], own[faces.ages[own] <= AGES[0][1]]
    rare = np.concatenate([grown, babies[:12]])
    yield Case(f"{name}, 12 small children among those from {NO_CHILD} years on", babies[:12], rare)
    yield Case(f"{name}, those from {NO_CHILD} years on with 12 small children", grown, rare)
    yield Case(f"{name}, small children only", babies, babies)


def run(options: Options) -> list[Report]:
    if not options.numbers:
        return [Report("Expected false matches", ["nothing was measured: name a file of labelled faces (FILE.npz)"])]
    reports: list[Report] = []
    for file in options.numbers:
        for recogniser in RECOGNISERS:
            reports += _reports(recogniser, Labelled.read(file, recogniser))
    return reports


def _reports(recogniser: str, faces: Labelled) -> Iterator[Report]:
    sets = ", ".join(f"{name} {(faces.sets == name).sum()}" for name in faces.names)
    predicted = Report(
        f"Expected false matches: {recogniser} at {faces.threshold:.2f}",
        ["asked for", "questions", "gallery", "estimated", "expected", "counted", "ratio", "with a bound", "kept"],
        notes=[f"Faces: {sets}. The tables for each set were made without it."],
    )
    words = Report(
        f"The words, right of all: {recogniser}",
        ["asked for", *Verdict],
        notes=["The sets with ages have one face a person: their right matches are photos under two names."],
    )
    for name in faces.names:
        known = calibration.read(fit(faces, name))
        for case in cases(faces, name):
            found = tally(faces, case, known)
            if not found.questions:
                continue
            estimates, bounds = found.estimates, found.questions - found.estimates
            predicted.row(
                case.name,
                found.questions,
                found.gallery,
                estimates,
                round(found.predicted / max(estimates, 1), 2),
                round(found.counted / max(estimates, 1), 2),
                round(found.ratio, 2) if found.counted else "-",
                bounds,
                f"{found.kept / bounds:.0%}" if bounds else "-",
            )
            if found.counted >= FEW:
                predicted.check(f"{case.name}: ratio, or its inverse", max(found.ratio, 1 / found.ratio), FACTOR)
            if "in all sets" in case.name:
                words.row(case.name, *(f"{right:,} of {right + wrong:,}" for right, wrong in found.words.values()))
    yield predicted
    yield words
    yield _probe_report(recogniser, faces)


def _probe_report(recogniser: str, faces: Labelled) -> Report:
    report = Report(
        f"A small child's face, told from the embedding: {recogniser}",
        ["probe made without", "faces to 8 years", "found", "faces from 13 years on", "taken for children", "AUC"],
    )
    for name in faces.names:
        probe = calibration.read({"tail": [0.0, -1.0], "child": _fit_child(faces, faces.all_but(name))}).child
        assert probe is not None
        own = np.flatnonzero(faces.sets == name)
        said = faces.embeddings[own] @ probe.weights + probe.bias
        small, grown = (faces.ages[own] >= 0) & (faces.ages[own] <= CHILD), faces.ages[own] >= NO_CHILD
        if not small.any():  # web photos and crops of grown people
            grown = np.ones(len(own), np.bool_)
        report.row(
            name,
            int(small.sum()),
            f"{(said[small] > 0).mean():.0%}" if small.any() else "-",
            int(grown.sum()),
            f"{(said[grown] > 0).mean():.1%}",
            round(float((said[small][:, None] > said[grown]).mean()), 3) if small.any() else "-",
        )
    return report


def write(file: Path) -> None:
    """Make `calibration.FILE` from all sets of a file."""
    document = {
        name: {"packs": list(packs), **fit(Labelled.read(file, name))} for name, (_, _, packs) in RECOGNISERS.items()
    }
    text = json.dumps(document, indent=1)
    calibration.FILE.write_text(
        re.sub(r"\[\s+([^]]*?)\s+\]", lambda part: f"[{' '.join(part[1].split())}]", text) + "\n"
    )


if __name__ == "__main__":
    write(Path(sys.argv[1]))
