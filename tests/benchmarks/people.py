"""People with many references: what is added to the threshold for them, what is found, and what a question takes.

``python -m tests.benchmarks people FILE.npz``, with numbers of labelled faces as in `thresholds`.

**What many references ask for.** References are drawn at random from the faces of a person with enough of them; the
faces of everyone else are strangers. The share of strangers that match the best of n references is counted as in
`thresholds`: a person once, however many faces. From the similarity that a share of `RATES` reaches with one reference
to that with n is what n references ask for. It is measured where there are strangers to count, and not at the pack's
own threshold, which one in some ten thousand reaches. Uncertainty: 95 % of resamples of the people asked for.

**What is found** of the other faces of the people, with the threshold that n references have, and with that of one.

**Nearest.** People with references of other numbers at the same time. Of the faces that match their own person, how
many are nearer to another one: by similarity alone, and by what is left after what the number asks for. How often the
nearest is another person, by how far the runner-up is behind.

**Expected.** What is expected of strangers (`expectation`) for the question of n references, beside what is counted.

**Time** of a question with `REFERENCES` references, in a made-up gallery in which `OTHERS` other people have as many,
on the thread that asks and in all; beside a question with one photo.

**Judging** the references of all people, of whom none may be another's (`recognition.misplaced`): at first, and when
one person has one more.
"""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from facewatchd.expectation import calibration
from facewatchd.expectation.crowd import Crowd
from facewatchd.store import results
from facewatchd.store.candidates import Question
from facewatchd.store.catalog import Catalog
from facewatchd.store.catalog_index import CatalogIndex
from facewatchd.store.gallery import Gallery
from facewatchd.store.index import Upkeep
from facewatchd.store.references import MANY, different, extra, same_picture
from facewatchd.store.scoring import Search, Wanted
from facewatchd.values import Quality
from tests.benchmarks import gallery as faces
from tests.benchmarks.filling import portraits
from tests.benchmarks.library import MODEL, library
from tests.benchmarks.options import Options
from tests.benchmarks.report import Report, median
from tests.benchmarks.thresholds import Faces, Floats, read
from tests.support.crowds import people as people_of
from tests.support.crowds import photos_of
from tests.support.known_people import PlayedResolver, scorer

COUNTS = (1, 2, 5, 10, 18, 28)
"""Numbers of references that are tried."""
RATES = (1e-3, 3e-4, 1e-4)
GRID = np.arange(0.1, 0.95, 0.005)
DRAWS = 30
RESAMPLES = 300
GAPS = (0.0, 0.15, 0.3, 0.5, 9.0)
"""Edges of how far the runner-up is behind, in parts of the threshold."""
REFERENCES, OTHERS = 50, 30
PEOPLE = 20
"""Who are asked for."""


@dataclass(frozen=True)
class Known:
    """The faces that can tell, without people who have two numbers. Arrays of shape (n,), by person."""

    faces: Faces
    quality: Quality
    threshold: float
    extras: Floats
    """What each face adds to the threshold for its blur."""
    numbers: NDArray[np.int64]
    first: NDArray[np.intp]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, every: Faces) -> Known:
        known = every.known
        assert known is not None
        assert known.quality is not None
        doubles = [number for pair in every.doubles for number in pair]
        usable = every.are_people & ~np.isin(every.people, doubles) & (every.norms >= known.quality.floor)
        part = every.of(usable)
        numbers, first, counts = np.unique(part.people, return_index=True, return_counts=True)
        return cls(part, known.quality, known.threshold, known.quality.extras(part.norms), numbers, first, counts)

    def of_person(self, person: int) -> NDArray[np.intp]:
        return np.arange(self.first[person], self.first[person] + self.counts[person])

    def with_more_than(self, count: int) -> list[int]:
        """The people with more faces than that."""
        return np.flatnonzero(self.counts > count).tolist()

    def best(self, chosen: NDArray[np.intp]) -> Floats:
        """The similarity of each face to the best of some references, less what both add for their blur."""
        similarities = self.faces.rows @ self.faces.rows[chosen].T - self.extras[chosen]
        return np.asarray(similarities.max(axis=1) - self.extras)

    def strangers(self, scores: Floats, person: int) -> Floats:
        """The share of the other people that reaches each similarity of `GRID`."""
        hits = (scores[:, None] >= GRID).astype(np.float32)
        shares = np.add.reduceat(hits, self.first, axis=0) / self.counts[:, None]
        return np.asarray(np.delete(shares, person, axis=0).mean(axis=0))


def run(options: Options) -> Iterator[Report]:
    packs = [each for each in read(options.numbers) if each.known and each.known.quality]
    for every in packs:
        known = Known.of(every)
        yield _asked(known, options.rounds(DRAWS))
        yield _found(known, options.rounds(DRAWS))
        yield _nearest(known, options.rounds(60))
        yield _expected(known, options.rounds(10))
    yield _judging(options)
    yield _times(options)


def at_rate(shares: Floats, rate: float) -> float:
    """The similarity that this share of strangers reaches."""
    return float(np.interp(-np.log(rate), -np.log(shares + 1e-12), GRID))


def curves_of(known: Known, count: int, draws: int) -> Floats:
    """For each person with enough faces the share of strangers along `GRID`, over draws of so many references."""
    rng = np.random.default_rng(count)
    curves = []
    for person in known.with_more_than(max(count, 9)):
        drawn = [
            known.strangers(known.best(rng.choice(known.of_person(person), count, replace=False)), person)
            for _ in range(draws)
        ]
        curves.append(np.mean(drawn, axis=0))
    return np.array(curves)


def _asked(known: Known, draws: int) -> Report:
    report = Report(
        f"People: what many references ask for, {known.faces.name}",
        ["references", "people", *(f"at {rate:g}" for rate in RATES), "of the threshold and ln(n)", "95 %", "used"],
    )
    rng = np.random.default_rng(1)
    one = curves_of(known, 1, draws)
    for count in COUNTS[1:]:
        curves = curves_of(known, count, draws)
        alone = one[: len(curves)] if len(one) == len(curves) else _same(known, one, count)
        shifts = [at_rate(curves.mean(axis=0), rate) - at_rate(alone.mean(axis=0), rate) for rate in RATES]
        parts = []
        for _ in range(RESAMPLES):
            chosen = rng.integers(0, len(curves), len(curves))
            both = [[at_rate(each[chosen].mean(axis=0), rate) for rate in RATES] for each in (curves, alone)]
            parts.append(np.mean(np.array(both[0]) - np.array(both[1])) / (known.threshold * np.log(count)))
        low, high = np.quantile(parts, [0.025, 0.975])
        share = float(np.mean(shifts)) / (known.threshold * np.log(count))
        report.row(
            count,
            len(curves),
            *(f"{shift:.3f}" for shift in shifts),
            f"{share:.3f}",
            f"{low:.3f} to {high:.3f}",
            f"{extra(count, known.threshold):.3f}",
        )
    report.notes.append(f"Used: {MANY} of the threshold times ln(n). {len(known.numbers)} people are strangers.")
    two, eight = (_burst(known, count, draws) for count in (2, 8))
    report.notes.append(f"Of made-up frames that are alike by 0.95, 2 ask for {two:.3f} and 8 for {eight:.3f}.")
    return report


def _same(known: Known, one: Floats, count: int) -> Floats:
    """The curves of one reference for those who have enough faces for ``count``."""
    people, enough = known.with_more_than(9), set(known.with_more_than(max(count, 9)))
    return one[[person in enough for person in people]]


def _burst(known: Known, count: int, draws: int) -> float:
    rng = np.random.default_rng(count)
    curves: list[list[Floats]] = [[], []]
    for person in known.with_more_than(18):
        for _ in range(draws):
            at = int(rng.choice(known.of_person(person)))
            row = np.repeat(known.faces.rows[at][None], count, axis=0)
            frames = faces.near(row, (np.sqrt(0.95), np.sqrt(0.95)), rng)
            for each, rows in zip(curves, (known.faces.rows[at][None], frames), strict=True):
                scores = (known.faces.rows @ rows.T).max(axis=1) - known.extras - known.extras[at]
                each.append(known.strangers(scores, person))
    alone, together = (np.mean(each, axis=0) for each in curves)
    return float(np.mean([at_rate(together, rate) - at_rate(alone, rate) for rate in RATES]))


def _found(known: Known, draws: int) -> Report:
    report = Report(
        f"People: what is found, {known.faces.name}",
        [
            *("references", "people", "found with the threshold of one", "strangers, one in"),
            *("found with their own", "strangers, one in", "by their mean", "strangers, one in"),
        ],
    )
    for most in (18, 28):
        for count in (count for count in COUNTS if count <= most):
            report.row(count, len(known.with_more_than(most)), *_shares(known, count, most, draws))
    report.notes.append("Of the other faces of the same people, who have more than 18 faces, and more than 28.")
    return report


def _shares(known: Known, count: int, most: int, draws: int) -> list[str]:
    rng = np.random.default_rng(count)
    own = extra(count, known.threshold)
    hits: dict[int, list[float]] = {0: [], 1: [], 2: []}
    wrong: dict[int, list[float]] = {0: [], 1: [], 2: []}
    for person in known.with_more_than(most):
        rows = known.of_person(person)
        for _ in range(draws):
            chosen = rng.choice(rows, count, replace=False)
            mean = known.faces.rows[chosen].mean(axis=0)
            by_mean = known.faces.rows @ (mean / np.linalg.norm(mean)) - known.extras
            best = known.best(chosen)
            for way, scores in enumerate((best, best - own, by_mean)):
                hits[way].append(float((scores[np.setdiff1d(rows, chosen)] >= known.threshold).mean()))
                shares = np.add.reduceat((scores >= known.threshold).astype(float), known.first) / known.counts
                wrong[way].append(float(np.delete(shares, person).mean()))
    cells = []
    for way in range(3):
        rate = np.mean(wrong[way])
        cells += [f"{np.mean(hits[way]):.3f}", f"{1 / rate:,.0f}" if rate else "none"]
    return cells


def _nearest(known: Known, rounds: int) -> Report:
    report = Report(
        f"People: the nearest of several, {known.faces.name}",
        ["references", "faces", "match another too", "nearer to another: by similarity", "by what is left"],
    )
    behind: list[Floats] = []
    is_wrong: list[NDArray[np.bool_]] = []
    for sizes in ((1, 18), (1, 5), (5,), (1, 2, 5, 9, 18)):
        rng = np.random.default_rng(0)
        seen = matched = 0
        another, nearer = 0, [0, 0]
        for _ in range(rounds):
            left, raw, person = _identified(known, sizes, rng)
            at = np.arange(len(person))
            asked = known.threshold
            own = left[at, person] >= asked
            seen, matched = seen + len(person), matched + int(own.sum())
            others = left.copy()
            others[at, person] = -1
            another += int((others >= asked).any(axis=1).sum())
            for way, scores in enumerate((raw, left)):
                nearer[way] += int((own & (scores.argmax(axis=1) != person)).sum())
            if len(sizes) > 2:
                ordered = np.sort(left, axis=1)
                named = ordered[:, -1] >= asked
                behind.append((ordered[:, -1] - ordered[:, -2])[named] / known.threshold)
                is_wrong.append((left.argmax(axis=1) != person)[named])
        shares = [f"{1000 * each / matched:.2f}" for each in nearer]
        report.row(", ".join(map(str, sizes)), seen, f"{1000 * another / seen:.2f}", *shares)
    gaps, wrong = np.concatenate(behind), np.concatenate(is_wrong)
    words = []
    for low, high in itertools.pairwise(GAPS):
        band = (gaps >= low) & (gaps < high)
        words.append(f"{low:g} to {high:g}: {wrong[band].mean():.2%} of {band.sum():,}")
    report.notes.append("Of a thousand faces, of people with 9 faces or more, at the pack's threshold.")
    report.notes.append(f"Named wrongly, by how far the runner-up is behind, of the threshold: {'; '.join(words)}.")
    return report


def _identified(
    known: Known, sizes: Sequence[int], rng: np.random.Generator
) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """Scores of the rest of the faces for each person, by what is left and by similarity; and whose each face is."""
    chosen, owner, rest, person = [], [], [], []
    people = known.with_more_than(8)
    for number, each in enumerate(people):
        rows = rng.permutation(known.of_person(each))
        count = min(int(rng.choice(sizes)), len(rows) - 3)
        chosen.append(rows[:count])
        owner += [number] * count
        rest.append(rows[count:])
        person += [number] * (len(rows) - count)
    own, tested = np.concatenate(chosen), np.concatenate(rest)
    starts = np.searchsorted(owner, np.arange(len(people)))
    raw = known.faces.rows[tested] @ known.faces.rows[own].T - known.extras[own] - known.extras[tested][:, None]
    best = np.maximum.reduceat(raw, starts, axis=1)
    asked = np.array([extra(len(each), known.threshold) for each in chosen])
    return best - asked, best, np.array(person)


def _expected(known: Known, draws: int) -> Report:
    report = Report(
        f"People: expected of strangers, {known.faces.name}", ["references", "questions", "expected", "counted"]
    )
    rng = np.random.default_rng(3)
    every = known.faces
    of_pack = calibration.of(every.pack, every.rows.shape[1])
    sample = rng.permutation(len(every.rows))[:1024]
    crowd = Crowd(sample.astype(np.int64), every.rows[sample], every.norms[sample], known.threshold, of_pack)
    for count in (1, 5, 18):
        expected, counted = [], []
        for person in known.with_more_than(count):
            for _ in range(draws if known.counts[person] > 9 else 0):
                chosen = rng.choice(known.of_person(person), count, replace=False)
                asked = known.threshold - 0.1  # where there are strangers to count
                seen = crowd.strangers(every.rows[chosen], len(every.rows), known.quality)
                expected.append(float(seen.above([asked + known.extras[chosen].min()])[0]))
                hits = known.best(chosen) >= asked
                hits[known.of_person(person)] = False
                counted.append(int(hits.sum()))
        report.row(count, len(counted), f"{np.nanmean(expected):.2f}", f"{np.mean(counted):.2f}")
    report.notes.append("A question, 0.1 below the pack's threshold, in a gallery of all sets.")
    return report


def _judging(options: Options) -> Report:
    report = Report(
        "People: judging references", ["people", "references of each", "at first, processor s", "one more, ms"]
    )
    rng = np.random.default_rng(7)
    for count, each in ((20, 20), (100, 20), (200, 60)):
        rows = np.concatenate([photos_of(rng, person, each + 1, 0.6) for person in people_of(rng, count, 192)])
        directory = options.work / f"judging-{count}-{each}"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        catalog = Catalog(directory / "catalog.sqlite3", MODEL.id, 192)
        gallery = Gallery(catalog, CatalogIndex(catalog))
        catalog.record(list(portraits(0, rows)))
        with catalog.reading() as reader:
            ids = reader.face_ids().reshape(count, each + 1)
        resolver = PlayedResolver()
        asks = scorer(gallery, replace(MODEL, dim=192), resolver)
        seconds = []
        for more in range(6):
            resolver.say({person: own[: each + (person <= more)].tolist() for person, own in enumerate(ids, 1)})
            started = time.process_time()
            asks.people()
            seconds.append(time.process_time() - started)
        catalog.close()
        report.row(count, each, round(seconds[0], 2), round(median(seconds[1:]) * 1000))
    return report


def _times(options: Options) -> Report:
    report = Report(
        "People: time of a question",
        ["faces", "references", "others", "matches", "p50 ms", "processor ms", "one photo: p50 ms", "processor ms"],
    )
    for count in options.faces:
        made = library(options, count)
        with made.opened() as gallery:
            gallery.index.maintain(Upkeep())
            asked, photos, rows, others = _asking(gallery, made.people.identity[made.current])
            times, single = [_timed(gallery, wanted) for wanted in asked], [_timed(gallery, each) for each in photos]
            matches = float(np.mean([matches for *_, matches in times]))
            figures = [median([each[way] for each in part]) for part in (times, single) for way in (0, 1)]
            report.row(count, rows, others, round(matches), *figures)
            if count >= 1_000_000:
                report.check("a person among a million faces, p50 ms", figures[0], 100)
    report.notes.append(f"{PEOPLE} people; every match is compared with the references of all others.")
    return report


def _asking(gallery: Gallery, identity: NDArray[np.int32]) -> tuple[list[Wanted], list[Wanted], int, int]:
    """Questions for people of a made-up gallery; and for one photo of each of them."""
    people, counts = np.unique(identity, return_counts=True)
    chosen = people[np.argsort(-counts)][: PEOPLE + OTHERS]
    with gallery.catalog.reading() as reader:
        ids = reader.face_ids()
    resolver = PlayedResolver()
    rng = np.random.default_rng(5)
    photo_of = _photos(gallery, ids)
    confirmed = {}
    for person in chosen.tolist():
        own = ids[np.isin(photo_of, np.flatnonzero(identity == person))]
        with gallery.catalog.reading() as reader:
            known, rows = reader.embeddings_of(rng.permutation(own)[: 4 * REFERENCES].tolist())
        confirmed[person] = known[
            different(rows, np.full(len(rows), np.inf), same_picture(MODEL.threshold), REFERENCES)
        ].tolist()
    resolver.say(confirmed)
    asks = scorer(gallery, MODEL, resolver)
    wanted = [asks.wanted_person(person) for person in chosen[:PEOPLE].tolist()]
    photos = [Wanted(each.references[:1], each.norms[:1]) for each in wanted]
    return wanted, photos, round(np.mean([len(each.references) for each in wanted])), len(wanted[0].others or ())


def _photos(gallery: Gallery, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number of the photo that each face is on."""
    with gallery.catalog.reading() as reader:
        shown = reader.contents_of(ids.tolist())
        paths = reader.copies(np.unique(shown.contents).tolist())
    number = {content: int(names[0].rpartition(b"/")[2][:-4]) for content, names in paths.items()}
    return np.array([number[content] for content in shown.contents.tolist()])


def _timed(gallery: Gallery, wanted: Wanted) -> tuple[float, float, int]:
    """Milliseconds, those of the processor, and the photos found."""
    asks = scorer(gallery, MODEL)
    search = Search(MODEL.threshold, top=20)
    started, used = time.perf_counter(), time.process_time()
    with gallery.catalog.reading() as reader:
        found = results.found(reader, Question([[asks.scored(reader, wanted, search)]]), search)
    return (time.perf_counter() - started) * 1000, (time.process_time() - used) * 1000, found.total
