"""Who is wanted, and which faces match: the answers of the index and the catalog for one person of a question.

**The references of a person** are the confirmed faces that can tell: not small, not too blurred (`quality`), not
another person's by those around them (`recognition.misplaced`), and different from each other (`references.different`).
Where no face of a person can tell, all of them are taken. They are read anew where what is known of the person changed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from facewatchd.api import linkage, quality
from facewatchd.people import recognition
from facewatchd.people.known import KnownFaces, Resolver
from facewatchd.people.statements import Person
from facewatchd.store import references, scoring
from facewatchd.store.catalog_reader import CatalogReader
from facewatchd.store.gallery import Gallery
from facewatchd.store.index import Searchable
from facewatchd.store.references import References, same_picture
from facewatchd.store.result_reader import ResultReader
from facewatchd.store.scoring import Scored, Search, Wanted, are_copies
from facewatchd.values import Face, ModelInfo

if TYPE_CHECKING:
    from facewatchd.values import Embedding, Norms

FEW = 256
"""References of all people: up to so many, all are judged anew when one is added."""


@dataclass(frozen=True, slots=True, eq=False)
class _Told:
    """The faces of one person that can tell. ``rows``: (n, dim); ``norms``: (n,)."""

    confirmed: frozenset[int]
    """What they were chosen from."""
    rows: NDArray[np.float32]
    norms: Norms


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    """What was found of the faces of all people."""

    told: Mapping[int, _Told]
    misplaced: Mapping[int, NDArray[np.bool_]]
    """Whether each of them tells another person. Shape (n,)."""


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """The people as the running model sees them."""

    known: KnownFaces
    references: References
    """Those of all people who have any."""
    unlike: Mapping[int, NDArray[np.float32]]
    """The embeddings of the faces that are rejected for each person who has any, (k, dim)."""
    same_picture: float
    """The similarity from which a face is a copy of another."""

    def is_rejected(self, person: int, embedding: Embedding) -> bool:
        """Whether a face is a copy of one that is rejected, and no more alike to the person."""
        unlike = self.unlike.get(person)
        if unlike is None:
            return False
        own = self.references.rows[self.references.people == person]
        similarity = (own @ embedding).max(initial=-1.0, keepdims=True)
        return bool(are_copies(embedding[None], similarity, unlike, self.same_picture)[0])


class Scorer:
    """Any thread may ask."""

    def __init__(self, gallery: Gallery, resolver: Resolver, info: ModelInfo) -> None:
        self._gallery = gallery
        self._resolver = resolver
        self._info = info
        self.members: Callable[[int], Sequence[int]] = lambda group: ()
        """Returns the unknown faces of a group, the clearest first (`Unknown.members`)."""
        self._lock = threading.Lock()
        self._judged = _Judged({}, {})
        self._people = People(KnownFaces(), references.none(info.dim), {}, same_picture(info.threshold))

    def scored(self, reader: ResultReader, wanted: Wanted, search: Search, index: Searchable | None = None) -> Scored:
        """Return the faces that match a person. ``reader``: the state of the catalog that results are made from.

        ``index``: the faces that count, where those of the gallery do not.
        """
        return scoring.scored(index or self._gallery.index, reader, wanted, search)

    # The people

    def people(self) -> People:
        """Return the people and their references as they are now. Raises `StorageError`.

        One thread works out what has changed, as a rule `KeepKnown`; others wait for that.
        """
        with self._lock:
            known, before = self._resolver.known(), self._people
            if known is not before.known:
                same = known.confirmed is before.known.confirmed
                self._people = People(
                    known,
                    before.references if same else self._references(known),
                    self._unlike(known, before),
                    before.same_picture,
                )
            return self._people

    def _unlike(self, known: KnownFaces, before: People) -> dict[int, NDArray[np.float32]]:
        unlike: dict[int, NDArray[np.float32]] = {}
        with self._gallery.catalog.reading() as reader:
            for person, rejected in known.rejected.items():
                same = rejected is before.known.rejected.get(person) and person in before.unlike
                rows = before.unlike[person] if same else reader.embeddings_of(rejected)[1]
                if len(rows):
                    unlike[person] = rows
        return unlike

    def _references(self, known: KnownFaces) -> References:
        before = self._judged
        told: dict[int, _Told] = {}
        with self._gallery.catalog.reading() as reader:
            for person, confirmed in sorted(known.confirmed.items()):
                same = before.told.get(person)
                told[person] = same if same and same.confirmed is confirmed else self._read(reader, confirmed)
        every = _stacked(told, self._info)
        wrong = self._misplaced(every, told, before)
        self._judged = _Judged(told, {person: wrong[every.people == person] for person in told})
        kept = ~wrong
        for person in set(told) - set(every.people[kept].tolist()):
            kept |= every.people == person
        return _counted(every.chosen(kept), self._info.threshold)

    def _misplaced(self, every: References, told: Mapping[int, _Told], before: _Judged) -> NDArray[np.bool_]:
        """`recognition.misplaced` of all references, worked out anew for those that a change concerns.

        These are the references of the people whose faces changed, and the references that match one of those, before
        or after: a reference that is less similar than the threshold judges no other.
        """
        threshold = self._info.threshold
        if len(every) <= FEW:
            return recognition.misplaced(every, threshold)
        changed = {each for each in told.keys() | before.told.keys() if told.get(each) is not before.told.get(each)}
        rows = [state[each].rows for state in (told, before.told) for each in changed if each in state]
        concerned = np.isin(every.people, sorted(changed))
        for part in rows:
            concerned |= (every.rows @ part.T).max(axis=1, initial=-1.0) >= threshold
        wrong = recognition.misplaced(every, threshold, concerned)
        for person in told.keys() - changed:
            wrong[(every.people == person) & ~concerned] = before.misplaced[person][~concerned[every.people == person]]
        return wrong

    def _read(self, reader: CatalogReader, confirmed: frozenset[int]) -> _Told:
        """The faces of one person that can tell and differ; all that differ, where none can."""
        faces = [face for _, face in sorted(reader.faces_of(sorted(confirmed)).items())]
        good = [face for face in faces if not self._against(face)] or faces
        rows = np.array([face.embedding for face in good], np.float32).reshape(len(good), self._info.dim)
        norms = np.array([np.inf if face.norm is None else face.norm for face in good])
        chosen = references.different(rows, norms, same_picture(self._info.threshold))
        return _Told(confirmed, rows[chosen], norms[chosen])

    def _against(self, face: Face) -> list[str]:
        """Why a face is too poor to tell a person, in words; empty where it is not."""
        words = quality.words(face.box, face.norm, self._info.quality)
        return [word for word in words if word != quality.BLURRED]

    def refusal(
        self,
        face: Face,
        name: str,
        person: Person | None,
        taken: Sequence[Face] = (),
        moved: Mapping[int, Face] | None = None,
    ) -> str:
        """Return why a face would be a poor reference for a person, in words; empty where it would be a good one.

        ``person``: None where no person has that name yet. ``taken``: other faces that count as the person's.
        ``moved``: faces by id that may be another person's until now, and speak for that one no more. Raises
        `StorageError`.
        """
        people, info = self.people(), self._info
        own, others = people.references.rows[:0], people.references
        if person is not None:
            own = others.rows[others.people == person.id]
            others = others.without(frozenset({person.id}))
        for face_id, each in (moved or {}).items():
            if face_id in people.known.person_of:
                others = others.chosen(others.rows @ each.embedding < references.ITSELF)
        own = np.concatenate([own, *(each.embedding[None] for each in taken)])
        return recognition.refusal(
            face.embedding,
            name,
            own,
            recognition.candidates(face.embedding, others, info.quality),
            {each.id: each.name for each in people.known.people.people},
            against=self._against(face),
            threshold=info.threshold + (info.quality.extra(face.norm) if info.quality else 0.0),
            limit=linkage.limit(info.threshold),
            asked=references.extra(len(own), info.threshold),
        )

    # Who is wanted

    def require_names(self) -> None:
        """Raise `StorageError` where it cannot be read which people there are."""
        self._resolver.require_readable()

    def person(self, name: str) -> Person:
        """Return the person of a name. Raises `UnknownPersonError` and `StorageError`."""
        return self._resolver.person(name)

    def current(self, person: int) -> Person | None:
        """Return a person by id, or the one it was merged into; None where it is gone. Raises `StorageError`."""
        return self._resolver.current(person)

    def wanted_person(self, person: int) -> Wanted:
        """Return what to ask for a person by id. Raises `StorageError`."""
        people = self.people()
        known, own = people.known, people.references.chosen(people.references.people == person)
        others = frozenset(face for face, other in known.person_of.items() if other != person)
        return Wanted(
            own.rows,
            tuple(own.norms.tolist()),
            references.extra(len(own), self._info.threshold),
            person,
            known.confirmed.get(person, frozenset()),
            known.rejected.get(person, frozenset()) | others,
            people.unlike.get(person),
            people.same_picture,
            people.references.without(frozenset({person})),
            known.photos.get(person, frozenset()),
        )

    def wanted_faces(self, faces: Sequence[Face]) -> Wanted:
        """Return what to ask for several faces that are one person's, of whom no name is known."""
        rows = np.array([face.embedding for face in faces], np.float32).reshape(len(faces), self._info.dim)
        norms = np.array([np.inf if face.norm is None else face.norm for face in faces])
        chosen = references.different(rows, norms, same_picture(self._info.threshold))
        return Wanted(
            rows[chosen],
            tuple(faces[at].norm for at in chosen.tolist()),
            references.extra(len(chosen), self._info.threshold),
            others=self.people().references,
        )

    def joined(self, parts: Sequence[Wanted]) -> Wanted:
        """Return what to ask for several that are one person: named people, and faces of photos."""
        people = frozenset(part.person for part in parts if part.person is not None)
        rows = np.concatenate([part.references for part in parts])
        norms = [norm for part in parts for norm in part.norms]
        known = np.array([np.inf if norm is None else norm for norm in norms])
        chosen = references.different(rows, known, same_picture(self._info.threshold))
        confirmed = frozenset[int]().union(*(part.confirmed for part in parts))
        unlike = [part.unlike for part in parts if part.unlike is not None]
        others = next((part.others for part in parts if part.others), None)
        return Wanted(
            rows[chosen],
            tuple(norms[at] for at in chosen.tolist()),
            references.extra(len(chosen), self._info.threshold),
            next(iter(people)) if len(people) == 1 else None,
            confirmed,
            frozenset[int]().union(*(part.rejected for part in parts)) - confirmed,
            np.concatenate(unlike) if unlike else None,
            same_picture(self._info.threshold),
            others and others.without(people),
            frozenset[int]().union(*(part.photos for part in parts)),
            frozenset[int]().union(*(part.own for part in parts)),
        )


def _stacked(told: dict[int, _Told], info: ModelInfo) -> References:
    """The faces of all people, before any is left out."""
    if not told:
        return references.none(info.dim)
    rows = np.concatenate([each.rows for each in told.values()]).reshape(-1, info.dim)
    norms = np.concatenate([each.norms for each in told.values()])
    people = np.repeat(np.array(list(told), np.int64), [len(each.rows) for each in told.values()])
    return References(rows, norms, np.zeros(len(rows), np.float32), people)


def _counted(chosen: References, threshold: float) -> References:
    """The same with what the number of each person's references asks for."""
    _, at, counts = np.unique(chosen.people, return_inverse=True, return_counts=True)
    extras = np.array([references.extra(count, threshold) for count in counts.tolist()], np.float32)
    return References(chosen.rows, chosen.norms, extras[at], chosen.people)
