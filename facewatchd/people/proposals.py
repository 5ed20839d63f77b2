"""What the names that other programs wrote say about the faces on one photo, and what speaks against it. Pure.

Each file says its names by itself, each source in it by itself: all regions of one source are read the same way up
(`photos.regions.readings`), the way in which more of them are about a face. Then all are held together:

- A face that is given two names, and a name that is given to two faces, is said of neither.
- What was said before stays: a face that is somebody else, a face that is not this person, another face on the photo
  that is this person, and that the person is not on the photo, each speak against a name.
- A name without a place is proposed for a face where it is the only such name that is left on the photo, and the face
  the only one without a name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from facewatchd.people.placing import placed
from facewatchd.people.statements import RelativeBox, name_key, same_face

_NOT_THERE = "the person was said not to be there"


class Verdict(StrEnum):
    """What is to be said of a name on a photo."""

    NEW = "new"
    """The face is that person."""
    KNOWN = "known"
    """That was said before."""
    PROPOSED = "proposed"
    """The face may be that person: the name has no place, but no other face is left for it, and no other name."""
    NO_FACE = "no-face"
    """No face was found there."""
    NO_PLACE = "no-place"
    """The name has no place, and it cannot be told which face it is."""
    CONTRADICTS = "contradicts"
    """Something else was said before, or another name is given to the same face."""


@dataclass(frozen=True, slots=True)
class Name:
    """One name in a file."""

    name: str
    source: str
    readings: tuple[RelativeBox, ...]
    """Where it may stand on the upright photo, the likeliest first; empty where the file does not say."""


@dataclass(frozen=True, slots=True)
class OnPhoto:
    """The faces on a photo, and what was said of them."""

    faces: Sequence[tuple[int, RelativeBox]]
    """Ids and boxes."""
    person_of: Mapping[int, str]
    """The key of the name of the person that each face is, where that was said; by face id."""
    rejected: Mapping[int, frozenset[str]] = field(default_factory=dict)
    """The keys of the people that each face is not."""
    standing: frozenset[str] = frozenset()
    """The keys of the people who were said to be on the photo, where no face is found."""
    absent: Mapping[str, Sequence[RelativeBox | None]] = field(default_factory=dict)
    """Where people were said not to be, where no face is found, by key; None: nowhere on the photo."""

    def is_absent(self, key: str, area: RelativeBox | None = None) -> bool:
        """Whether a person was said not to be on the photo, or not in an area of it."""
        places = self.absent.get(key, ())
        return None in places or (area is not None and any(same_face(area, place) for place in places))


@dataclass(frozen=True, slots=True)
class Finding:
    """What is to be said of a name on a photo."""

    name: str
    source: str
    verdict: Verdict
    face: int | None = None
    """The id of the face that it is about."""
    box: RelativeBox | None = None
    """Of the face; else where the name stands."""
    against: str = ""
    """What speaks against it, in words."""


@dataclass(slots=True)
class _Claims:
    """The faces that names are given to, by the indices of the faces."""

    names: dict[str, Name] = field(default_factory=dict)
    """The first of each name, by key."""
    faces: dict[str, dict[int, None]] = field(default_factory=dict)
    """By key."""
    nowhere: dict[str, RelativeBox] = field(default_factory=dict)
    """Where names stand at which no face is, by key."""

    def at(self, face: int) -> list[str]:
        """The keys of the names that are given to a face."""
        return [key for key, faces in self.faces.items() if face in faces]


def findings(files: Iterable[Sequence[Name]], photo: OnPhoto) -> list[Finding]:
    """Return what the names in some files say of the people on a photo, each name once."""
    files = list(files)
    claims = _claimed(files, [box for _, box in photo.faces])
    found = list(_placed_findings(claims, photo))
    placeless = {name_key(each.name): each for names in files for each in names if not each.readings}
    found += _placeless_findings([each for key, each in placeless.items() if key not in claims.names], claims, photo)
    return found


def _claimed(files: Sequence[Sequence[Name]], boxes: Sequence[RelativeBox]) -> _Claims:
    claims = _Claims()
    for names in files:
        for source in dict.fromkeys(each.source for each in names):
            group = [each for each in names if each.source == source and each.readings]
            areas, faces = _best_reading(group, boxes)
            for each, area, face in zip(group, areas, faces, strict=True):
                key = name_key(each.name)
                claims.names.setdefault(key, each)
                if face is None:
                    claims.nowhere.setdefault(key, area)
                else:
                    claims.faces.setdefault(key, {})[face] = None
    return claims


def _best_reading(names: Sequence[Name], boxes: Sequence[RelativeBox]) -> tuple[list[RelativeBox], list[int | None]]:
    """The places of names and the faces there, by the reading with which most of them are about a face."""
    best: tuple[list[RelativeBox], list[int | None]] = ([], [])
    most = -1
    for reading in range(max((len(each.readings) for each in names), default=0)):
        areas = [each.readings[min(reading, len(each.readings) - 1)] for each in names]
        faces = placed(areas, boxes)
        number = sum(face is not None for face in faces)
        if number > most:
            most, best = number, (areas, faces)
    return best


def _placed_findings(claims: _Claims, photo: OnPhoto) -> Iterator[Finding]:
    for key, each in claims.names.items():
        faces = claims.faces.get(key, {})
        if not faces:
            yield _without_face(each, claims.nowhere[key], photo)
        elif len(faces) > 1:
            yield Finding(each.name, each.source, Verdict.CONTRADICTS, against="it is given to several faces")
        else:
            (index,) = faces
            others = [claims.names[other].name for other in claims.at(index) if other != key]
            yield _judged(each, *photo.faces[index], photo, others)


def _without_face(each: Name, area: RelativeBox, photo: OnPhoto) -> Finding:
    key = name_key(each.name)
    if key in photo.standing or key in photo.person_of.values():
        return Finding(each.name, each.source, Verdict.KNOWN, box=area)
    if photo.is_absent(key, area):
        return Finding(each.name, each.source, Verdict.CONTRADICTS, box=area, against=_NOT_THERE)
    return Finding(each.name, each.source, Verdict.NO_FACE, box=area)


def _judged(each: Name, face: int, box: RelativeBox, photo: OnPhoto, others: Sequence[str]) -> Finding:
    key = name_key(each.name)
    if photo.person_of.get(face) == key:
        return Finding(each.name, each.source, Verdict.KNOWN, face, box)
    against = _against(key, face, photo)
    if not against and others:
        against = f"{' and '.join(others)} is given to the same face"
    return Finding(each.name, each.source, Verdict.CONTRADICTS if against else Verdict.NEW, face, box, against)


def _against(key: str, face: int, photo: OnPhoto) -> str:
    """Why what was said before speaks against a face being a person; empty where nothing does."""
    if face in photo.person_of:
        return "the face was said to be somebody else"
    if key in photo.rejected.get(face, ()):
        return "the face was said not to be that person"
    if key in photo.person_of.values():
        return "another face on the photo was said to be that person"
    return _NOT_THERE if photo.is_absent(key) else ""


def _placeless_findings(names: Sequence[Name], claims: _Claims, photo: OnPhoto) -> Iterator[Finding]:
    here = {*photo.person_of.values(), *photo.standing}
    left = [each for each in names if name_key(each.name) not in here and not photo.is_absent(name_key(each.name))]
    named = {photo.faces[face][0] for faces in claims.faces.values() for face in faces}
    free = [(face, box) for face, box in photo.faces if face not in photo.person_of and face not in named]
    for each in names:
        key = name_key(each.name)
        if key in here:
            yield Finding(each.name, each.source, Verdict.KNOWN)
        elif photo.is_absent(key):
            yield Finding(each.name, each.source, Verdict.CONTRADICTS, against=_NOT_THERE)
        elif len(left) == 1 and len(free) == 1 and key not in photo.rejected.get(free[0][0], ()):
            yield Finding(each.name, each.source, Verdict.PROPOSED, *free[0])
        else:
            yield Finding(each.name, each.source, Verdict.NO_PLACE)
