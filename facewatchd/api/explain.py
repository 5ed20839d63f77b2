"""How far the matches of an answer can be trusted: a word each, how many are expected to be wrong, and reasons.

What is said of strangers comes from `facewatchd.expectation`: each person who is asked for is held against a sample of
the gallery. A match with the query photo's own bytes is the photo itself, and sure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from facewatchd.api import quality
from facewatchd.api.search import Answer
from facewatchd.expectation import calibration
from facewatchd.expectation.crowd import Basis, Crowd
from facewatchd.expectation.sampler import Sampler
from facewatchd.expectation.verdicts import Verdict, verdicts
from facewatchd.matches import Match
from facewatchd.store.gallery import Gallery
from facewatchd.values import Face, ModelInfo

if TYPE_CHECKING:
    from facewatchd.values import Embedding


class Reason(StrEnum):
    """Why a match may be wrong, besides what can be said against the face (`quality.words`)."""

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
    reasons: tuple[str, ...] = ()
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
        self._info = info
        self._calibration = calibration.of(info.name, info.dim)

    def explain(self, answer: Answer, faces: int) -> Explanation:
        """Explain the answer to a search in so many faces."""
        crowd, search = self._sampler.crowd(), answer.search
        matches, table = answer.found.matches, search.quality
        words = dict.fromkeys(range(len(matches)), Verdict.SURE)
        count, bases = 0.0, {Basis.ESTIMATE}
        if search.directories or search.min_size:  # the sample is of the whole gallery
            bases.add(Basis.AT_MOST)
        thresholds = search.thresholds(len(answer.embeddings)).tolist()
        for person, (embedding, threshold) in enumerate(zip(answer.embeddings, thresholds, strict=True)):
            strangers = crowd.strangers(embedding, faces, table)
            scores = {
                at: match.similarity - (table.extra(match.norm) if table else 0.0)
                for at, match in enumerate(matches)
                if match.of == person and not match.itself
            }
            own = sorted(scores, key=lambda at: -scores[at])
            if not own:
                continue
            extra = threshold - search.threshold  # what the blur of the person's own face asks for
            found = verdicts([scores[at] for at in own], strangers, self._info.threshold + extra)
            words |= dict(zip(own, found, strict=True))
            least = scores[own[-1]] if answer.found.total > len(matches) else threshold
            count += min(float(strangers.above([least])[0]), len(own))
            bases.add(strangers.basis)
        explained = self._explained(answer, list(words.values()), crowd)
        basis = next(each for each in (Basis.UNKNOWN, Basis.AT_MOST, Basis.ESTIMATE) if each in bases)
        return Explanation(explained, None if basis is Basis.UNKNOWN else count, basis)

    def _explained(self, answer: Answer, words: Sequence[Verdict], crowd: Crowd) -> list[Explained]:
        matches = answer.found.matches
        ids = [match.face_id for match in matches]
        with self._gallery.catalog.reading() as reader:
            shown = reader.contents_of(ids)
            contents = dict(zip(shown.ids.tolist(), shown.contents.tolist(), strict=True))
            on_photos = {content: reader.faces(content) or [] for content in sorted(set(contents.values()))}
        return [
            self._one(match, word, on_photos[contents[match.face_id]], answer, crowd)
            if match.face_id in contents
            else Explained(word)
            for match, word in zip(matches, words, strict=True)
        ]

    def _one(
        self, match: Match, word: Verdict, on_photo: Sequence[tuple[int, Face]], answer: Answer, crowd: Crowd
    ) -> Explained:
        """Explain one match. ``on_photo``: all faces of its photo."""
        asked = answer.embeddings[match.of or 0]
        face = next((face for face_id, face in on_photo if face_id == match.face_id), None)
        others = [(float(other.embedding @ asked), face_id) for face_id, other in on_photo if face_id != match.face_id]
        rival = Near(*max(others)[::-1]) if others else None
        closer = None if face is None or match.itself else _closer(match, face.embedding, asked, crowd)
        given = {
            Reason.CHILD: face is not None and self._calibration.is_child(face.embedding),
            Reason.RIVAL: rival is not None and rival.similarity >= answer.search.threshold,
            Reason.CLOSER: closer is not None,
        }
        against = quality.words(match.box, match.norm, self._info.quality)
        return Explained(word, (*against, *(reason for reason, holds in given.items() if holds)), rival, closer)


def _closer(match: Match, face: Embedding, asked: Embedding, crowd: Crowd) -> Near | None:
    """The person in the sample whom the face of a match resembles more than the one asked for."""
    found = crowd.nearest_other(match.face_id, face, asked)
    return Near(*found) if found is not None and found[1] > match.similarity else None
