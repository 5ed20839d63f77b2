"""People whose faces are known, for tests that need no file of statements: what is known is said directly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import cast

from facewatchd.api.scoring import Scorer
from facewatchd.people.known import KnownFaces, Resolver
from facewatchd.people.snapshot import Snapshot
from facewatchd.people.statements import Person, Statement, name_key
from facewatchd.store.gallery import Gallery
from facewatchd.values import ModelInfo

Ids = Mapping[int, Iterable[int]]


class PlayedResolver:
    """Answers with what it was given."""

    def __init__(self) -> None:
        self._known = KnownFaces()

    def known(self) -> KnownFaces:
        return self._known

    def require_readable(self) -> None:
        """What was given can be used."""

    def person(self, name: str) -> Person:
        return self._known.people.require(name)

    def current(self, person: int) -> Person | None:
        return self._known.people.current(person)

    def _kept(self, before: frozenset[int] | None, now: frozenset[int]) -> frozenset[int]:
        """The set that was there before, where nothing has changed, as `Resolver` keeps it."""
        return before if before == now and before is not None else now

    def call(self, names: Mapping[int, str], merged: Mapping[int, int]) -> None:
        """What each person is called, and who was merged into whom."""
        people = tuple(Person(number, name) for number, name in names.items())
        by_key = {name_key(each.name): each for each in people}
        self._known = replace(self._known, people=Snapshot(people=people, by_key=by_key, merged=merged))

    def say(self, confirmed: Ids, rejected: Ids | None = None, photos: Ids | None = None) -> None:
        """The faces that are each person, those that are not, and the contents that the person stands on."""
        before = (self._known.confirmed, self._known.rejected, self._known.photos)
        groups = [
            {person: self._kept(known.get(person), frozenset(ids)) for person, ids in (each or {}).items()}
            for each, known in zip((confirmed, rejected, photos), before, strict=True)
        ]
        named = tuple(Person(number, f"person {number}") for number in sorted({*confirmed, *(photos or {})}))
        people = Snapshot(people=named, by_key={name_key(each.name): each for each in named})
        person_of = {face: person for person, faces in groups[0].items() for face in faces}
        self._known = KnownFaces(people, *groups, person_of=person_of)

    def say_of(self, statements: tuple[Statement, ...]) -> None:
        """Statements on photos, beside what is known of the faces in the catalog."""
        by_digest = {each.digest: statements for each in statements}
        self._known = replace(self._known, people=replace(self._known.people, by_digest=by_digest))


def scorer(gallery: Gallery, info: ModelInfo, resolver: PlayedResolver | None = None) -> Scorer:
    """A scorer that knows nobody, or what a resolver says."""
    return Scorer(gallery, cast(Resolver, resolver or PlayedResolver()), info)
