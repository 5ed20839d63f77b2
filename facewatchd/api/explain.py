"""How far the matches of an answer can be trusted: a word each, how many are expected to be wrong, and reasons.

What is said of strangers comes from `facewatchd.expectation`: each person who is asked for is held against a sample of
the gallery. A match with the query photo's own bytes is the photo itself, and sure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from facewatchd.api.search import Answer
from facewatchd.expectation import calibration
from facewatchd.expectation.crowd import Basis, Crowd
from facewatchd.expectation.sampler import Sampler
from facewatchd.expectation.verdicts import Verdict, verdicts
from facewatchd.matches import Match
from facewatchd.store.gallery import Gallery
from facewatchd.store.results import Search
from facewatchd.values import Face, ModelInfo

if TYPE_CHECKING:
    from facewatchd.values import Embedding

SMALL = 56
"""Pixels of a face's shorter side, below which it is small: half of those in which recognisers see a face."""


class Reason(StrEnum):
    """Why a match may be wrong, as the protocol names it."""

    SMALL = "small"
    """The face is less than `SMALL` pixels wide or high."""
    CHILD = "child"
    """It is a small child's face; they resemble each other."""
    RIVAL = "rival"
    """Another face on the same photo matches too."""
    CLOSER = "closer"
    """The face is more similar to another person in the gallery than to the one asked for."""


@dataclass(frozen=True, slots=True)
class Near:
    """A face that is close: its id and a similarity."""

    face_id: int
    similarity: float


@dataclass(frozen=True, slots=True)
class Explained:
    """What is said of one match."""

    verdict: Verdict
    reasons: tuple[Reason, ...] = ()
    rival: Near | None = None
    """The face on the same photo that is the next most similar to the person asked for."""
    closer: Near | None = None
    """A face of the person in the gallery whom the match resembles more, with the mean similarity to that person."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is said of an answer."""

    matches: list[Explained]
    """One for each of the answer's."""
    count: float | None
    """How many of the matches are expected to be wrong; None where that cannot be told."""
    basis: Basis


class Explainer:
    """Any thread may ask."""

    def __init__(self, gallery: Gallery, sampler: Sampler, info: ModelInfo) -> None:
        self._gallery = gallery
        self._sampler = sampler
        self._threshold = info.threshold
        self._calibration = calibration.of(info.name, info.dim)

    def explain(self, answer: Answer, search: Search, faces: int) -> Explanation:
        """Explain an answer to a search in so many faces."""
        crowd = self._sampler.crowd()
        matches = answer.found.matches
        words = [Verdict.SURE] * len(matches)
        count, bases = 0.0, {Basis.ESTIMATE}
        if search.directories or search.min_size:  # the sample is of the whole gallery
            bases.add(Basis.AT_MOST)
        for person, embedding in enumerate(answer.embeddings):
            own = [at for at, match in enumerate(matches) if match.of == person and not match.itself]
            if not own:
                continue
            strangers = crowd.strangers(embedding, faces)
            similarities = [matches[at].similarity for at in own]  # descending, as the matches are
            for at, word in zip(own, verdicts(similarities, strangers, self._threshold), strict=True):
                words[at] = word
            is_cut = answer.found.total > len(matches)
            least = similarities[-1] if is_cut else search.threshold
            count += min(float(strangers.above([least])[0]), len(own))
            bases.add(strangers.basis)
        explained = self._explained(answer, words, crowd, search.threshold)
        basis = next(each for each in (Basis.UNKNOWN, Basis.AT_MOST, Basis.ESTIMATE) if each in bases)
        return Explanation(explained, None if basis is Basis.UNKNOWN else count, basis)

    def _explained(self, answer: Answer, words: Sequence[Verdict], crowd: Crowd, threshold: float) -> list[Explained]:
        matches = answer.found.matches
        ids = [match.face_id for match in matches]
        with self._gallery.catalog.reading() as reader:
            contents = dict(zip(*(column.tolist() for column in reader.contents_of(ids)), strict=True))
            on_photos = {content: reader.faces(content) or [] for content in sorted(set(contents.values()))}
        return [
            self._one(
                match, word, on_photos[contents[match.face_id]], answer.embeddings[match.of or 0], crowd, threshold
            )
            if match.face_id in contents
            else Explained(word)
            for match, word in zip(matches, words, strict=True)
        ]

    def _one(
        self,
        match: Match,
        word: Verdict,
        on_photo: Sequence[tuple[int, Face]],
        asked: Embedding,
        crowd: Crowd,
        threshold: float,
    ) -> Explained:
        """Explain one match. ``on_photo``: all faces of its photo."""
        face = next((face for face_id, face in on_photo if face_id == match.face_id), None)
        others = [(float(other.embedding @ asked), face_id) for face_id, other in on_photo if face_id != match.face_id]
        rival = Near(*max(others)[::-1]) if others else None
        closer = None if face is None or match.itself else _closer(face.embedding, asked, match.similarity, crowd)
        given = {
            Reason.SMALL: min(match.box.w, match.box.h) < SMALL,
            Reason.CHILD: face is not None and self._calibration.is_child(face.embedding),
            Reason.RIVAL: rival is not None and rival.similarity >= threshold,
            Reason.CLOSER: closer is not None,
        }
        return Explained(word, tuple(reason for reason, holds in given.items() if holds), rival, closer)


def _closer(face: Embedding, asked: Embedding, similarity: float, crowd: Crowd) -> Near | None:
    """The person in the sample, seen there more than once, whom a face resembles more than the one asked for."""
    found = crowd.nearest_other(face, asked)
    return Near(*found) if found is not None and found[1] > similarity else None
