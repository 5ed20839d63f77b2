"""Questions about several people, in a family's album: what with, without, only and the number of faces cost.

Of six relatives each is on a quarter of the photos, beside up to five strangers; two of the six are brothers, whose
faces are as alike as those of one person often are. The time of a question is taken apart: what the index and the
catalog find for each person, and what becomes of that (`results.found`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facewatchd.matches import Box
from facewatchd.store.candidates import Question, Unwanted
from facewatchd.store.catalog import Catalog, Outcome
from facewatchd.store.gallery import Gallery
from facewatchd.store.hnsw import HnswIndex
from facewatchd.store.index import Upkeep
from facewatchd.store.results import Found, found
from facewatchd.store.scoring import Search, Wanted, scored
from facewatchd.values import Face, Stamp
from tests.benchmarks import gallery as faces
from tests.benchmarks.library import MODEL
from tests.benchmarks.options import Options
from tests.benchmarks.report import Report, median, percentile

COLUMNS = ("question", "photos", "scoring: p50 ms", "the rest: p50 ms", "p99 ms", "all: p50 ms")
"""Milliseconds of processor time."""
FACES_A_PHOTO = 4
RELATIVES = 6
IS_THERE = 0.25
STRANGERS = 5
BROTHERS = (0, 1)
ALIKE = 0.6
"""Cosine of the brothers' centres."""
MOST_MS = 100.0
_LANDMARKS = np.zeros((5, 2), np.float32)
_BATCH = 1024


@dataclass(frozen=True)
class Asked:
    """A question, by the numbers of relatives."""

    words: str
    terms: tuple[int, ...]
    without: tuple[int, ...] = ()
    only: bool = False
    faces_max: int | None = None
    top: int = 20


QUESTIONS = (
    Asked("A", (2,)),
    Asked("A with B", (2, 3)),
    Asked("A with B and C", (2, 3, 4)),
    Asked("A with B and C, without D", (2, 3, 4), (5,)),
    Asked("the same, all of them", (2, 3, 4), (5,), top=0),
    Asked("A with B, without two others, at most 4 faces", (2, 3), (4, 5), faces_max=4),
    Asked("only A with B", (2, 3), only=True),
    Asked("two brothers", BROTHERS),
    Asked("two brothers, only they", BROTHERS, only=True),
    Asked("one brother without the other", BROTHERS[:1], BROTHERS[1:]),
)


def run(options: Options) -> Iterator[Report]:
    for count in options.faces:
        report = Report(f"Several people among {count:,} faces", COLUMNS)
        family = _Family(options, count)
        with_gallery = family.opened()
        try:
            for asked in QUESTIONS:
                _measure(with_gallery, family, asked, options.rounds(20), report)
        finally:
            with_gallery.catalog.close()
        report.notes.append(
            "Processor time. Each person is asked for with one face, another one each time. Scoring is what the index "
            "and the catalog find for each of them; the rest makes the photos of that, up to the paths and boxes of "
            "those that are shown: 20 unless all are."
        )
        yield report


def _measure(gallery: Gallery, family: _Family, asked: Asked, rounds: int, report: Report) -> None:
    search = Search(faces.THRESHOLD, top=asked.top, only=asked.only, faces_max=asked.faces_max)
    scoring, rest, total = [], [], 0
    for number in range(rounds):
        with gallery.catalog.reading() as reader:
            started = time.process_time()
            people = {
                each: [scored(gallery.index, reader, family.wanted(each, number), search)]
                for each in (*asked.terms, *asked.without)
            }
            between = time.process_time()
            question = Question(
                [people[each] for each in asked.terms], [Unwanted(people[each]) for each in asked.without]
            )
            answer: Found = found(reader, question, search)
            ended = time.process_time()
        scoring.append((between - started) * 1000)
        rest.append((ended - between) * 1000)
        total = answer.total
    both = [one + other for one, other in zip(scoring, rest, strict=True)]
    report.row(asked.words, total, median(scoring), median(rest), percentile(rest, 99), median(both))
    report.check(f"{asked.words}: p50 without scoring, ms", median(rest), MOST_MS)


class _Family:
    """The album. ``count``: about so many faces."""

    def __init__(self, options: Options, count: int) -> None:
        self._home = options.work / f"family-{count}"
        rng = np.random.default_rng(5)
        photos = count // FACES_A_PHOTO
        self._relatives = [faces.make_person(rng) for _ in range(RELATIVES)]
        one, other = (self._relatives[number] for number in BROTHERS)
        self._relatives[BROTHERS[1]] = _unit(ALIKE * one + np.sqrt(1 - ALIKE**2) * _unit(other - (other @ one) * one))
        there = rng.random((photos, RELATIVES)) < IS_THERE
        strangers = rng.integers(0, STRANGERS + 1, photos)
        self._photos = [
            [*np.flatnonzero(row).tolist(), *[-1] * extra] for row, extra in zip(there, strangers.tolist(), strict=True)
        ]
        self._rng = rng

    def wanted(self, person: int, number: int) -> Wanted:
        """A new photo of a relative."""
        face = faces.near(self._relatives[person][None], (0.75, 0.95), np.random.default_rng(number))
        return Wanted(face, (None,))

    def opened(self) -> Gallery:
        """Catalog and index, made where they are not there yet."""
        self._home.mkdir(parents=True, exist_ok=True)
        catalog = Catalog(self._home / "catalog.sqlite3", MODEL.id, MODEL.dim)
        gallery = Gallery(catalog, HnswIndex(catalog, self._home, threads=2))
        with catalog.reading() as reader:
            is_new = not reader.counts().photos
        if is_new:
            for start in range(0, len(self._photos), _BATCH):
                gallery.record(
                    [self._outcome(number) for number in range(start, min(start + _BATCH, len(self._photos)))]
                )
        gallery.index.maintain(Upkeep(threads=2))
        gallery.index.maintain(Upkeep(), last=True)
        return gallery

    def _outcome(self, number: int) -> Outcome:
        who = self._photos[number]
        centres = np.array([self._relatives[each] if each >= 0 else faces.make_person(self._rng) for each in who])
        rows: Sequence[NDArray[np.float32]] = list(faces.near(centres, faces.LIKENESS, self._rng)) if who else []
        found = [Face(Box(150 * at, 100, 120, 120), 0.9, _LANDMARKS, row) for at, row in enumerate(rows)]
        return Outcome(b"/album/%d.jpg" % number, Stamp(1, number + 1, 1, 1, 1), b"%032d" % number, 4000, 3000, found)


def _unit(row: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(row / np.linalg.norm(row), np.float32)
