"""The people whom a question names, each by one or several WHOs: which faces it asks with, and what is searched for.

Several WHOs are the same person. It is an error if they do not look like one (`linkage`): the user's word for it is not
enough. The embeddings of photos and faces are averaged. Where a person with a name is among them, they count as more
references of that person, for this question, and must look like one of those there are. With ``face`` "all" in one of
them, every face is a person of its own, any of whom will do: a *way* of asking.

A face that is too blurred to tell (`values.Quality`) stands for a person only where it was named, by its number or its
id, or where nothing else does. Otherwise it is left out, and the answer says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from facewatchd.api import linkage
from facewatchd.api.faces import FaceFinder
from facewatchd.api.parameters import MOST_OTHERS, QueryParameters, Source, Who
from facewatchd.api.scoring import Scorer
from facewatchd.errors import BadEmbeddingError, NoFaceError, UnknownFaceError, UnreadablePhotoError
from facewatchd.models.base import unit_length
from facewatchd.server.jsonrpc import ParamsError
from facewatchd.store.gallery import Gallery
from facewatchd.store.scoring import Wanted
from facewatchd.text import printable
from facewatchd.values import Face, ModelInfo, Quality

if TYPE_CHECKING:
    from facewatchd.values import Embedding


@dataclass(frozen=True, slots=True)
class Used:
    """A face or a person that a query asks with, or a photo without a face: an entry of the answer's ``query``."""

    who: int
    """Position of the WHO that it comes from."""
    face: Face | None
    content: int | None
    """The content in the catalog that the face is on; None where the photo is not recorded."""
    photo: Source | None = None
    index: int | None = None
    """Of the face on the photo, left to right."""
    count: int = 0
    """Faces on the photo."""
    face_id: int | None = None
    """Where the face was named by its id; of a group the clearest."""
    group: int | None = None
    """The group of unknown faces that was named,"""
    members: int = 0
    """and how many it has."""
    left_out: bool = False
    """Whether the face is not searched for, because it is too blurred."""
    person: str = ""
    """The name of a person,"""
    references: int = 0
    """how many faces the user said are that person,"""
    stands: int = 0
    """and on how many photos the person stands without a face."""
    digest: bytes = b""
    """Of the photo's bytes."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A person whom a question names."""

    used: list[Used]
    wanted: list[Wanted]
    """Each way of asking."""
    entries: list[int | None]
    """Index into ``used`` of each way; None for an embedding that the query gave."""
    apart: bool
    """Whether every face is a person of its own."""

    def matches(self, other: Asked, threshold: float) -> bool:
        """Whether the two may be the same person: so they are named, or their own faces match each other."""
        return any(
            (one.person is not None and one.person == another.person)
            or bool((one.references @ another.references.T >= threshold).any())
            for one in self.wanted
            for another in other.wanted
        )


@dataclass(frozen=True, slots=True)
class _Named:
    """One WHO, with what errors call it."""

    who: Who
    position: int
    """Among those of the same person."""
    face: int | str
    """Which face of its photo."""
    number: int | None
    """Of its photo among all photos of the question, from 1; None where it is no photo, or the only one."""

    @property
    def photo(self) -> Source | None:
        return None if self.who.path is None and self.who.data is None else Source(self.who.path, self.who.data)

    def words(self) -> str:
        if self.who.path is not None:
            return printable(self.who.path)
        if self.who.data is not None:
            return f"photo {self.number or 1}"
        if self.who.person is not None:
            return f"@{self.who.person}"
        if self.who.group is not None:
            return f"group:{self.who.group}"
        return "an embedding" if self.who.face_id is None else f"face {self.who.face_id}"


@dataclass(frozen=True, slots=True)
class _Evidence:
    """What a WHO tells of a person: a face, or that its photo has none, or what is known of a person with a name."""

    named: _Named
    used: Used | None
    """None for an embedding that the query gave."""
    wanted: Wanted | None
    """What to ask for if there were no other WHO; None without a face."""

    @property
    def counts(self) -> bool:
        return self.wanted is not None and not (self.used is not None and self.used.left_out)

    def is_blurred(self, quality: Quality) -> bool:
        """Whether the face is too blurred, and was picked on its photo."""
        is_picked = self.named.photo is not None and not isinstance(self.named.face, int)
        return is_picked and self.wanted is not None and quality.is_too_blurred(self.wanted.norms[0])


def _one_face(embedding: Embedding, norm: float | None = None) -> Wanted:
    return Wanted(embedding[None], (norm,))


class WhoReader:
    """Any thread may ask."""

    def __init__(self, gallery: Gallery, finder: FaceFinder, scorer: Scorer, info: ModelInfo) -> None:
        self._gallery = gallery
        self._finder = finder
        self._scorer = scorer
        self._info = info
        self._limit = linkage.limit(info.threshold)
        """From which similarity on two faces may be one person's."""

    def read(self, asked: QueryParameters, quality: Quality | None) -> tuple[Asked, list[Asked], list[Asked]]:
        """Return the person who is asked for, those who are to be on the photo too, and those who are not to be on it.

        ``quality``: of the search. Raises `UnreadablePhotoError`, `NoFaceError`, `UnknownFaceError`,
        `UnknownPersonError`, `BadEmbeddingError`, `ParamsError` or `StorageError`.
        """
        groups = _groups(asked)
        faces = self._faces([each.who.face_id for group in groups for each in group if each.who.face_id is not None])
        people = [self._asked(group, quality, faces) for group in groups]
        first_unwanted = 1 + len(asked.with_)
        return people[0], people[1:first_unwanted], people[first_unwanted:]

    def _faces(self, face_ids: Sequence[int]) -> Mapping[int, Used]:
        """The faces with these ids. Raises `UnknownFaceError`."""
        with self._gallery.catalog.reading() as reader:
            known = reader.faces_of(face_ids)
            shown = reader.contents_of(face_ids)
            contents = dict(zip(shown.ids.tolist(), shown.contents.tolist(), strict=True))
        for face_id in face_ids:
            if face_id not in known:
                raise UnknownFaceError(f"there is no face {face_id}", "face ids change when a photo is embedded again")
        return {
            face_id: Used(0, known[face_id], contents.get(face_id), face_id=face_id)
            for face_id in dict.fromkeys(face_ids)
        }

    def _asked(self, group: Sequence[_Named], quality: Quality | None, faces: Mapping[int, Used]) -> Asked:
        if len({each.who.person for each in group} - {None}) > MOST_OTHERS:  # each has many references to compare
            raise ParamsError(f"at most {MOST_OTHERS} names can be one person", "name a person once")
        told = [evidence for named in group for evidence in self._evidence(named, quality, faces)]
        if quality is not None:
            told = _without_blurred(told, quality)
        counted = [each for each in told if each.counts]
        if not counted:
            raise _no_face(group)
        used = [each.used for each in told if each.used is not None]
        own = frozenset(each.content for each in used if each.content is not None)
        if apart := any(named.face == "all" for named in group):
            ways = [[each] for each in counted]
        else:
            self._require_one_person(counted)
            ways = [counted]
        places = {id(each): entry for entry, each in enumerate(used)}
        entries = [next((places[id(each.used)] for each in way if each.used is not None), None) for way in ways]
        return Asked(used, [self._wanted(way, own) for way in ways], entries, apart=apart)

    def _evidence(self, named: _Named, quality: Quality | None, faces: Mapping[int, Used]) -> Iterator[_Evidence]:
        if (photo := named.photo) is not None:
            yield from self._on_photo(named, photo, quality)
        elif named.who.face_id is not None:
            used = replace(faces[named.who.face_id], who=named.position)
            assert used.face is not None
            yield _Evidence(named, used, _one_face(used.face.embedding, used.face.norm))
        elif named.who.person is not None:
            person = self._scorer.person(named.who.person)
            wanted = self._scorer.wanted_person(person.id)
            references, stands = len(wanted.confirmed), len(wanted.photos)
            used = Used(named.position, None, None, person=person.name, references=references, stands=stands)
            yield _Evidence(named, used, wanted)
        elif named.who.group is not None:
            yield self._of_group(named, named.who.group)
        else:
            yield _Evidence(named, None, _one_face(self._given(named.who.embedding or ())))

    def _of_group(self, named: _Named, group: int) -> _Evidence:
        """A group is asked for as a person is, with all its faces that differ."""
        members = self._scorer.members(group)
        with self._gallery.catalog.reading() as reader:
            faces = reader.faces_of(members)
        if not faces:
            raise UnknownFaceError(f"there is no group {group}", "`facewatchd people unknown` lists them")
        best = next(face_id for face_id in members if face_id in faces)
        used = Used(named.position, faces[best], None, face_id=best, group=group, members=len(faces))
        return _Evidence(named, used, self._scorer.wanted_faces(list(faces.values())))

    def _on_photo(self, named: _Named, photo: Source, quality: Quality | None) -> Iterator[_Evidence]:
        try:
            seen, picked = self._finder.pick(photo, named.face, quality)
        except (UnreadablePhotoError, NoFaceError) as exc:
            if photo.path is not None or named.number is None:
                raise
            raise type(exc)(f"photo {named.number}: {exc.message}", exc.hint) from exc
        if not picked:
            yield _Evidence(named, Used(named.position, None, seen.content, photo, digest=seen.digest), None)
        for index in picked:
            face = seen.faces[index]
            used = Used(named.position, face, seen.content, photo, index, len(seen.faces), digest=seen.digest)
            yield _Evidence(named, used, _one_face(face.embedding, face.norm))

    def _given(self, values: Sequence[float]) -> Embedding:
        with np.errstate(over="ignore"):  # too large for a float32 is infinite, which `unit_length` refuses
            unit = unit_length(np.array(values, np.float32))
        if len(values) != self._info.dim or unit is None:
            raise BadEmbeddingError(
                f"the embedding must be {self._info.dim} finite numbers, not all zero",
                f"the model is {self._info.name}",
            )
        return unit

    def _wanted(self, way: Sequence[_Evidence], own: frozenset[int]) -> Wanted:
        """One way of asking. Several faces count as their mean, and as the clearest of them."""
        parts = [each.wanted for each in way if each.wanted is not None]
        if len(parts) == 1:
            return replace(parts[0], own=own)
        if any(part.person is not None or len(part.references) > 1 for part in parts):
            return replace(self._scorer.joined(parts), own=own)
        mean = unit_length(np.mean([part.references[0] for part in parts], axis=0))
        if mean is None:
            raise BadEmbeddingError("the faces have nothing in common", "query them one at a time")
        known = [part.norms[0] for part in parts if part.norms[0] is not None]
        return Wanted(mean[None], (max(known) if len(known) == len(parts) else None,), own=own)

    def _require_one_person(self, told: Sequence[_Evidence]) -> None:
        """Raise `ParamsError` where the faces do not look like one person: their mean would be like no person."""
        told = [each for each in told if each.wanted is not None and len(each.wanted.references)]
        if len(told) < 2:
            return
        alike = linkage.similarities([each.wanted.references for each in told if each.wanted is not None])
        clusters = linkage.clusters(alike, self._limit)
        if len(clusters) == 1:
            return
        (one, *_) = most = max(clusters, key=len)
        other = next(index for index in range(len(told)) if index not in most)
        similarity = round(float(alike[one, other]), 2) + 0.0  # which is no -0.0
        pair = _words(*(told[index].named for index in sorted((one, other))))
        raise ParamsError(
            f"{pair} do not look like one person (similarity {similarity:.2f})",
            "ask for photos of both with --with, or of either with --face all",
        )


def named(asked: QueryParameters) -> tuple[Who, ...]:
    """Return the WHOs of the person who is asked for, in whichever way they were given."""
    if asked.who:
        return asked.who
    if asked.photos:
        return tuple(Who(path=photo.path, data=photo.data) for photo in asked.photos)
    return tuple(Who(face_id=face_id) for face_id in asked.faces) or (Who(embedding=asked.embedding),)


def _groups(asked: QueryParameters) -> list[list[_Named]]:
    """The WHOs of each person: of the one who is asked for, of each in ``with``, and of each in ``without``."""
    people = [(named(asked), asked.face), *(((who,), "largest") for who in (*asked.with_, *asked.without))]
    photos = [who for whos, _ in people for who in whos if who.path is not None or who.data is not None]
    numbers = {id(who): number for number, who in enumerate(photos, 1)} if len(photos) > 1 else {}
    return [
        [
            _Named(who, position, face if who.face is None else who.face, numbers.get(id(who)))
            for position, who in enumerate(whos)
        ]
        for whos, face in people
    ]


def _without_blurred(told: Sequence[_Evidence], quality: Quality) -> list[_Evidence]:
    """Mark the faces that are too blurred as left out, unless nothing else tells of the person."""
    if not any(each.wanted is not None and not each.is_blurred(quality) for each in told):
        return list(told)
    return [
        each if each.used is None else replace(each, used=replace(each.used, left_out=each.is_blurred(quality)))
        for each in told
    ]


def _words(one: _Named, other: _Named) -> str:
    """Name two WHOs."""
    if one.who.face_id is not None and other.who.face_id is not None:
        return f"faces {one.who.face_id} and {other.who.face_id}"
    if one.photo and other.photo and None in (one.who.path, other.who.path):
        return f"photos {one.number} and {other.number}"
    return f"{one.words()} and {other.words()}"


def _no_face(group: Sequence[_Named]) -> NoFaceError:
    hint = "try one where the face is larger and in focus"
    if len(group) > 1:
        return NoFaceError(f"no face was found on any of the {len(group)} photos", hint)
    (named,) = group
    if named.who.path is not None:
        return NoFaceError(f"{printable(named.who.path)}: no face was found", hint)
    number = "" if named.number is None else f"photo {named.number}: "
    return NoFaceError(f"{number}no face was found", hint)
