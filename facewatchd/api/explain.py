"""How far the matches of an answer can be trusted: a word each, how many are expected to be wrong, and reasons.

What is said of strangers comes from `facewatchd.expectation`: each person who is asked for is held against a sample of
the gallery. A match with the query photo's own bytes is the photo itself, and sure, and so is what the user said.
Copies of a photo have one word and make no other surer. Where several people are to be on the photo, the word is that
of the least sure of their faces, and the numbers of faces that are expected to be wrong are added, an upper bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from facewatchd.api import quality
from facewatchd.api.search import Answer
from facewatchd.api.who import Used
from facewatchd.expectation import calibration
from facewatchd.expectation.crowd import Basis, Crowd
from facewatchd.expectation.posterior import wrong_among
from facewatchd.expectation.sampler import Sampler
from facewatchd.expectation.verdicts import Verdict, verdicts
from facewatchd.matches import Box, Match
from facewatchd.store.gallery import Gallery
from facewatchd.store.result_reader import ResultReader
from facewatchd.store.scoring import Search, Wanted
from facewatchd.values import Face, ModelInfo

BLOCK = 1000
"""Matches of which the faces on their photos are in memory at once."""


class Reason(StrEnum):
    """Why a match may be wrong, besides what can be said against the face (`quality.words`).

    With others who are to be on the photo, it is about the face of the person who is asked for.
    """

    CHILD = "child"
    """It is a small child's face; they resemble each other."""
    RIVAL = "rival"
    """Another face on the same photo matches the same person too."""
    CLOSER = "closer"
    """The face matches another person in the gallery, and is more similar to that one than to the one asked for."""


@dataclass(frozen=True, slots=True)
class Near:
    """A face that is close."""

    face_id: int
    similarity: float
    path: bytes | None = None
    """A photo that the face is on, where it is on another than the match."""


@dataclass(frozen=True, slots=True)
class Explained:
    """What is said of one match."""

    verdict: Verdict
    reasons: tuple[str, ...] | None = None
    """None where they were not asked for."""
    rival: Near | None = None
    """The next most similar face on the same photo, of those that match where one does."""
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
    children: list[bool]
    """Whether each face that the query asked with (`Answer.used`) is a small child's."""


_SUREST_FIRST = list(Verdict)


class _Shown(NamedTuple):
    """The face of a match that was found for a person who is asked for."""

    face_id: int
    similarity: float
    box: Box
    norm: float | None
    of: int
    """Which way of asking for the person it matches."""
    is_said: bool
    """Whether the user said so, or asked with this very photo."""


def _way_of(entry: int, answer: Answer) -> Wanted:
    """The way of asking that an entry of the query belongs to."""
    entries = answer.who.entries
    return answer.wanted[entries.index(entry) if entry in entries else 0]


def _shown(match: Match, term: int = 0) -> _Shown | None:
    """Return the face of the person who is asked for, or of another ``term``; None where there is none."""
    found = match.terms[term] if match.terms else match
    if found.face_id is None or found.similarity is None or found.box is None:
        return None
    is_said = found.confirmed or (match.itself and term == 0)
    return _Shown(found.face_id, found.similarity, found.box, found.norm, found.of or 0, is_said)


class _Judged(NamedTuple):
    """What is said of the faces that were found for one person."""

    words: dict[int, Verdict]
    """By the position of the match."""
    wrong: float
    """How many of them are expected to be somebody else's."""
    basis: Basis


class Explainer:
    """Any thread may ask."""

    def __init__(self, gallery: Gallery, sampler: Sampler, info: ModelInfo) -> None:
        self._gallery = gallery
        self._sampler = sampler
        self._info = info
        self._calibration = calibration.of(info.name, info.dim)

    def explain(self, answer: Answer, faces: int, *, reasons: bool) -> Explanation:
        """Explain the answer to a search in so many faces; with ``reasons``, the faces of all matches are read."""
        crowd, search, matches = self._sampler.crowd(), answer.search, answer.found.matches
        words = [Verdict.SURE] * len(matches)
        count, bases = 0.0, {Basis.ESTIMATE}
        if search.directories or search.min_size or search.only or search.faces_min or search.faces_max is not None:
            bases.add(Basis.AT_MOST)  # the sample is of the whole gallery
        if answer.with_ or answer.without:
            bases.add(Basis.AT_MOST)  # nor are those of the sample on photos of others
        for term, asked in enumerate((answer.who, *answer.with_)):
            for way, wanted in enumerate(asked.wanted):
                shown = {
                    at: face
                    for at, face in enumerate(_shown(match, term) for match in matches)
                    if face is not None and face.of == way and not face.is_said
                }
                judged = self._judged(shown, wanted, answer, crowd, faces)
                count += judged.wrong
                bases |= {judged.basis} if matches else set()  # else none of them is wrong
                for at, word in judged.words.items():
                    words[at] = max(words[at], word, key=_SUREST_FIRST.index)
        count = min(count, float(len(matches)))
        explained = self._explained(answer, words, crowd) if reasons else [Explained(word) for word in words]
        basis = next(each for each in (Basis.UNKNOWN, Basis.AT_MOST, Basis.ESTIMATE) if each in bases)
        children = [self._is_child(each, _way_of(entry, answer)) for entry, each in enumerate(answer.used)]
        return Explanation(explained, None if basis is Basis.UNKNOWN else count, basis, children)

    def _is_child(self, used: Used, wanted: Wanted) -> bool:
        """Whether what was asked with is a small child's face; of a person by name, whether most references are."""
        rows = wanted.references if used.face is None else used.face.embedding[None]
        asked = len(rows) and (used.face is not None or used.person)
        return bool(asked) and 2 * sum(map(self._calibration.is_child, rows)) > len(rows)

    def _judged(self, shown: Mapping[int, _Shown], wanted: Wanted, answer: Answer, crowd: Crowd, faces: int) -> _Judged:
        """Judge the faces that were found for one person. ``shown``: by the position of the match."""
        search, table = answer.search, answer.search.quality
        if not len(wanted.references):
            return _Judged({}, 0.0, Basis.ESTIMATE)
        threshold = float(wanted.thresholds(search).min())
        scores = {  # copies have one face
            face.face_id: face.similarity - (table.extra(face.norm) if table else 0.0) for face in shown.values()
        }
        own = sorted(scores, key=lambda face_id: -scores[face_id])
        strangers = crowd.strangers(wanted.references, faces, table)
        if not own:  # of what the user said, nothing is wrong
            return _Judged({}, 0.0, Basis.ESTIMATE if wanted.confirmed else strangers.basis)
        extra = threshold - search.threshold  # what the person's own faces ask for
        found = verdicts([scores[face_id] for face_id in own], strangers, self._info.threshold + extra)
        word_of = dict(zip(own, found, strict=True))
        least = scores[own[-1]] if answer.found.total > len(answer.found.matches) else threshold
        expected = float(strangers.above([least])[0])
        doubtful = [face.face_id for face in shown.values() if word_of[face.face_id] is not Verdict.SURE]
        copies = len(doubtful) / max(len(set(doubtful)), 1)
        wrong = copies * wrong_among(len(own), expected, strangers.basis, certain=found.count(Verdict.SURE))
        return _Judged({at: word_of[face.face_id] for at, face in shown.items()}, wrong, strangers.basis)

    def _explained(self, answer: Answer, words: Sequence[Verdict], crowd: Crowd) -> list[Explained]:
        """Add to the words why the matches may be wrong. A face whose row is gone or damaged meanwhile has no more."""
        explained: list[Explained] = []
        for first in range(0, len(words), BLOCK):
            block = slice(first, first + BLOCK)
            explained += self._explained_block(answer, answer.found.matches[block], words[block], crowd)
        return explained

    def _explained_block(
        self, answer: Answer, matches: Sequence[Match], words: Sequence[Verdict], crowd: Crowd
    ) -> list[Explained]:
        with self._gallery.catalog.reading() as own:
            reader = answer.reader(own)
            photos = reader.beside([face.face_id for face in map(_shown, matches) if face is not None])
            closer = _with_paths(reader, self._closer(answer, matches, photos, crowd))
        explained = []
        for at, (match, word) in enumerate(zip(matches, words, strict=True)):
            face = _shown(match)
            if face is None:
                explained.append(Explained(word, ()))
                continue
            on_photo = photos.get(face.face_id, {})
            rival, is_match = _rival(face.face_id, on_photo, answer.wanted[face.of], answer.search)
            given = {
                Reason.CHILD: at in closer and self._calibration.is_child(on_photo[face.face_id].embedding),
                Reason.RIVAL: is_match,
                Reason.CLOSER: closer.get(at) is not None,
            }
            reasons = [reason for reason, holds in given.items() if holds]
            against = quality.words(face.box, face.norm, self._info.quality)
            explained.append(Explained(word, (*against, *reasons), rival, closer.get(at)))
        return explained

    def _closer(
        self, answer: Answer, matches: Sequence[Match], photos: Mapping[int, Mapping[int, Face]], crowd: Crowd
    ) -> dict[int, Near | None]:
        """For each match whose face could be read, by its position: whom it resembles more."""
        found: dict[int, Near | None] = {}
        for person, wanted in enumerate(answer.wanted):
            own = {
                at: face
                for at, match in enumerate(matches)
                for face in [_shown(match)]
                if face is not None and face.of == person and face.face_id in photos.get(face.face_id, {})
            }
            if not own or not len(wanted.references):
                continue
            ids = [face.face_id for face in own.values()]
            rows = np.stack([photos[face_id][face_id].embedding for face_id in ids])
            for (at, face), near in zip(own.items(), crowd.nearest_others(ids, rows, wanted.references), strict=True):
                found[at] = None
                if near is not None and not face.is_said:
                    is_closer = near[1] > max(face.similarity, self._info.threshold)
                    found[at] = Near(*near) if is_closer else None
        return found


def _rival(own: int, on_photo: Mapping[int, Face], wanted: Wanted, search: Search) -> tuple[Near | None, bool]:
    """The next face on the photo of a match that is like the person, one that matches before others; and whether it
    does. Faces that the user said are not the person are none."""
    others = {face_id: face for face_id, face in on_photo.items() if face_id != own and face_id not in wanted.rejected}
    if not others or not len(wanted.references):
        return None, False
    found = wanted.compared(np.stack([face.embedding for face in others.values()]), search)
    is_match, similarity, face_id = max(
        (_matches(face, spare, search), similarity, face_id)
        for (face_id, face), similarity, spare in zip(others.items(), *(each.tolist() for each in found), strict=True)
    )
    return Near(face_id, similarity), is_match


def _matches(face: Face, spare: float, search: Search) -> bool:
    """Whether a face is a match by the rules of a search. ``spare``: its similarity less what the references ask."""
    if min(face.box.w, face.box.h) < search.min_size:
        return False
    if search.quality is None:
        return spare >= 0
    return spare >= search.quality.extra(face.norm) and not search.quality.is_too_blurred(face.norm)


def _with_paths(reader: ResultReader, closer: Mapping[int, Near | None]) -> dict[int, Near | None]:
    """Add to each face the shortest path of its photo, or the first by name."""
    shown = reader.contents_of([near.face_id for near in closer.values() if near is not None])
    contents = dict(zip(shown.ids.tolist(), shown.contents.tolist(), strict=True))
    paths = {
        content: min(copies, key=lambda path: (len(path), path))
        for content, copies in reader.copies(sorted(set(contents.values()))).items()
    }
    return {
        at: None if near is None else replace(near, path=paths.get(contents.get(near.face_id, -1)))
        for at, near in closer.items()
    }
