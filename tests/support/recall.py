"""How many of the faces above a threshold a shared engine finds, held against an exact scan of the same faces."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facewatchd.shared.postgres.engine import PostgresEngine
from facewatchd.shared.values import Detail, SharedContent, Whose
from tests.benchmarks.gallery import THRESHOLD, People
from tests.support.shared_faces import content

Ask = Callable[[NDArray[np.float32]], NDArray[np.int64]]
"""Returns the rows of the gallery that are found above `THRESHOLD`."""

ROUNDING = 2e-4
"""By how much half precision changes a similarity: faces so near the threshold are neither missed nor too many."""
FACES_A_PHOTO = 2


@dataclass(frozen=True)
class Recall:
    """Parts of one, over all questions and for the person for whom it is worst."""

    every: float
    worst: float
    strangers: int
    """Faces that are found and are not above the threshold."""


def measured(people: People, questions: int, ask: Ask, seed: int = 5) -> Recall:
    """Ask with a face of each of so many people, who are spread evenly from those with 2 faces to those with most."""
    rng = np.random.default_rng(seed)
    counts = np.bincount(people.identity)
    several = np.flatnonzero(counts >= 2)
    several = several[np.argsort(counts[several], kind="stable")]
    chosen = several[np.linspace(0, len(several) - 1, min(questions, len(several))).astype(int)]
    stored = people.vectors.astype(np.float16).astype(np.float32)
    hits = wanted = strangers = 0
    worst = 1.0
    for person in chosen.tolist():
        asked = people.vectors[rng.choice(people.of(person))]
        similarities = stored @ asked
        truth = np.flatnonzero(similarities >= THRESHOLD + ROUNDING)
        found = ask(asked)
        hit = len(np.intersect1d(truth, found))
        strangers += int((similarities[found] < THRESHOLD - ROUNDING).sum())
        hits, wanted = hits + hit, wanted + len(truth)
        worst = min(worst, hit / len(truth))
    return Recall(hits / wanted, worst, strangers)


def asking(engine: PostgresEngine) -> Ask:
    """Ask the real engine for all faces above the threshold."""

    def ask(embedding: NDArray[np.float32]) -> NDArray[np.int64]:
        near = engine.nearest(embedding[None], [THRESHOLD], 1_000_000, Whose.ALL, Detail.HITS)
        return near.hits[0].face_ids - 1

    return ask


def contents_of(people: People) -> Iterator[SharedContent]:
    """The gallery as photos with `FACES_A_PHOTO` faces; the id of each face is its row, counted from 1."""
    for number, first in enumerate(range(0, len(people.vectors), FACES_A_PHOTO)):
        yield content(number, people.vectors[first : first + FACES_A_PHOTO], first_id=first + 1)


def push_all(engine: PostgresEngine, people: People, together: int = 500) -> None:
    """Push the gallery, so many photos at a time."""
    batch: list[SharedContent] = []
    for each in contents_of(people):
        batch.append(each)
        if len(batch) == together:
            engine.push(batch, secrets.token_hex(16), 0, 0)
            batch = []
    engine.push(batch, secrets.token_hex(16), 0, 0)
