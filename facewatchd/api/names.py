"""Who the faces on a photo are, of the people whom the user named.

A face that the user said is a person is that one. Any other is the person whose references leave most to spare
(`people.recognition`), if that is a match by the rules of a question, and nobody else otherwise: "unknown" is an
answer. A face that the user said is not a person is not that one, nor is a copy of it.

**The word** for how sure it is comes from the chance that it is wrong, as of a question that finds one face
(`posterior`) where so many strangers were to be expected: the share of strangers in the gallery who are so similar to
that person, times as many as match all people where they match one (`references.chances`). It is no better than

- `likely` where the runner-up is less than `NEAR` of the model's threshold behind, and `look` where that is `CLOSE`: of
  the faces of people with 1 to 18 references, 23 % and 10 % were another's within `CLOSE` (65 and 112 faces, SFace and
  MobileFaceNet), 2 % and 0.8 % between the two (388 and 719), and 0.04 % and 0.003 % beyond (33,166 and 29,138):
  `python -m tests.benchmarks people`;
- `look` where another face on the same photo is more like that person.

People who are hidden are named to nobody: a face that is one of theirs is unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from facewatchd.api.faces import PhotoFaces
from facewatchd.api.scoring import People, Scorer
from facewatchd.expectation.crowd import Basis, Crowd
from facewatchd.expectation.posterior import wrong_among
from facewatchd.expectation.sampler import Sampler
from facewatchd.expectation.verdicts import WITHOUT_SAMPLE, Verdict, word
from facewatchd.people import recognition
from facewatchd.people.known import KnownFaces, placed
from facewatchd.people.recognition import Candidate
from facewatchd.people.statements import RelativeBox
from facewatchd.store.references import chances
from facewatchd.values import Face, ModelInfo

CLOSE, NEAR = 0.15, 0.3
UNKNOWN = "unknown"
"""The word for a face that is nobody who was named."""


@dataclass(frozen=True, slots=True)
class Similar:
    """A person, and how similar a face is."""

    name: str
    similarity: float | None
    """To the best reference; None where there is none that can tell."""


@dataclass(frozen=True, slots=True)
class Named:
    """The person that a face is, or may be."""

    person: Similar | None
    verdict: str
    """One of `Verdict`, or `UNKNOWN`."""
    confirmed: bool
    """Whether the user said so."""
    runner_up: Similar | None
    """The next person; of an unknown face, the nearest."""

    def is_outdone_by(self, other: Named) -> bool:
        """Whether another face of the photo is more surely the same person."""
        if self.person is None or other.person is None or self.confirmed or self.person.name != other.person.name:
            return False
        return other.confirmed or (other.person.similarity or 0.0) > (self.person.similarity or 0.0)


class _Told(NamedTuple):
    """What the user said of a face."""

    person: int | None
    """Who it is,"""
    excluded: frozenset[int]
    """and who it is not."""


class Namer:
    """Any thread may ask."""

    def __init__(self, scorer: Scorer, sampler: Sampler, info: ModelInfo) -> None:
        self._scorer = scorer
        self._sampler = sampler
        self._info = info

    def names(self, seen: PhotoFaces) -> list[Named]:
        """Return who each face of a photo is. Raises `StorageError`, also where the names cannot be read."""
        self._scorer.require_names()
        people, crowd = self._scorer.people(), self._sampler.crowd()
        told = _told(seen, people.known)
        named = [self._named(face, said, people, crowd) for face, said in zip(seen.faces, told, strict=True)]
        return [_doubted(each) if any(map(each.is_outdone_by, named)) else each for each in named]

    def _named(self, face: Face, told: _Told, people: People, crowd: Crowd) -> Named:
        described = {person.id: person for person in people.known.people.people}
        excluded = told.excluded | {person for person in people.unlike if people.is_rejected(person, face.embedding)}
        found = recognition.candidates(face.embedding, people.references, self._info.quality, excluded)
        said = [each for each in found if not described[each.person].hidden]
        similar = [Similar(described[each.person].name, each.similarity) for each in said]
        own = told.person
        if own is not None and not described[own].hidden:
            name = described[own].name
            itself = next((each for each in similar if each.name == name), Similar(name, None))
            runner_up = next((each for each in similar if each.name != name), None)
            return Named(itself, Verdict.SURE, confirmed=True, runner_up=runner_up)
        runner_up, is_match = next(iter(similar), None), bool(found) and self._matches(face, found[0])
        if own is not None or not is_match or found[0] not in said:
            return Named(None, UNKNOWN, confirmed=False, runner_up=runner_up)
        verdict = self._verdict(face, found, people, crowd)
        return Named(similar[0], verdict, confirmed=False, runner_up=next(iter(similar[1:]), None))

    def _matches(self, face: Face, candidate: Candidate) -> bool:
        """Whether a face is a match by the rules of a question."""
        quality, threshold = self._info.quality, self._info.threshold
        if quality is None:
            return candidate.spare >= threshold
        return candidate.spare >= threshold + quality.extra(face.norm) and not quality.is_too_blurred(face.norm)

    def _verdict(self, face: Face, found: Sequence[Candidate], people: People, crowd: Crowd) -> Verdict:
        """The word for the first of the people whom a face may be."""
        verdict = self._by_strangers(face, found[0], people, crowd)
        behind = found[0].spare - found[1].spare if len(found) > 1 else np.inf
        if behind < CLOSE * self._info.threshold:
            return Verdict.LOOK
        return Verdict.LIKELY if verdict is Verdict.SURE and behind < NEAR * self._info.threshold else verdict

    def _by_strangers(self, face: Face, best: Candidate, people: People, crowd: Crowd) -> Verdict:
        quality, references = self._info.quality, people.references
        own = references.rows[references.people == best.person]
        strangers = crowd.strangers(own, 1, quality)
        similarity = best.similarity - (quality.extra(face.norm) if quality else 0.0)
        if strangers.basis is Basis.UNKNOWN:
            return Verdict.LIKELY if similarity >= WITHOUT_SAMPLE * self._info.threshold else Verdict.LOOK
        _, counts = np.unique(references.people, return_counts=True)
        others = sum(map(chances, counts.tolist())) / chances(len(own))
        expected = float(strangers.above([similarity])[0]) * others
        return word(wrong_among(1, expected, strangers.basis))


def _doubted(named: Named) -> Named:
    return replace(named, verdict=Verdict.LOOK)


def _told(seen: PhotoFaces, known: KnownFaces) -> list[_Told]:
    """What the user said of each face of a photo, also of one that is not recorded."""
    if seen.ids:
        return [
            _Told(known.person_of.get(face), frozenset(each for each in known.rejected if face in known.rejected[each]))
            for face in seen.ids
        ]
    statements = known.people.by_digest.get(seen.digest, ())
    boxes = [(number, RelativeBox.of(face.box, seen.width, seen.height)) for number, face in enumerate(seen.faces)]
    found = placed(statements, boxes)
    not_there = {each.person for each in statements if each.box is None and not each.is_person}
    return [
        _Told(
            next((each.person for each in statements if each.is_person and found.get(each.id) == number), None),
            frozenset({each.person for each in statements if not each.is_person and found.get(each.id) == number})
            | not_there,
        )
        for number in range(len(seen.faces))
    ]
