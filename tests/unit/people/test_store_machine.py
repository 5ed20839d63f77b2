"""Any order of saying, taking back, renaming, merging, forgetting and restarting, held against a plain model."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from facewatchd.errors import NameTakenError, UnknownPersonError
from facewatchd.people.statements import NewStatement, RelativeBox
from facewatchd.people.store import PeopleStore

EVERY = ("Anna", "anna", "Bert", "Çelik", "ÇELIK", "Zoë", "x' OR 1")
NAMES = st.sampled_from(EVERY)
DIGESTS = (b"one", b"two")
BOXES = (RelativeBox(0.1, 0.1, 0.2, 0.2), RelativeBox(0.6, 0.1, 0.2, 0.2), None)
FACES = st.tuples(st.booleans(), st.sampled_from(DIGESTS), st.sampled_from(BOXES))
FROM_THE_PAST = 1.0


@dataclass(frozen=True)
class Fact:
    person: int
    is_person: bool
    digest: bytes
    box: RelativeBox | None
    at: float


@dataclass(frozen=True)
class World:
    """What a user would expect: the people, and the facts in the order in which they were said."""

    people: dict[int, str] = field(default_factory=dict)
    facts: tuple[Fact, ...] = ()

    def find(self, name: str) -> int | None:
        return next((number for number, own in self.people.items() if own.casefold() == name.casefold()), None)

    def with_fact(self, new: Fact) -> World:
        return replace(self, facts=(*(fact for fact in self.facts if not self._ends(new, fact)), new))

    @staticmethod
    def _ends(new: Fact, old: Fact) -> bool:
        if new.digest != old.digest:
            return False
        same_person, same_box = new.person == old.person, new.box == old.box
        if same_person and same_box:
            return True
        if same_person and new.box is None and not new.is_person:
            return old.is_person
        if same_person and old.box is None and not old.is_person:
            return new.is_person
        return same_box and new.box is not None and new.is_person and old.is_person

    def merged(self, person: int, into: int) -> World:
        world = World({number: name for number, name in self.people.items() if number != person})
        for fact in self.facts:
            world = world.with_fact(replace(fact, person=into) if fact.person == person else fact)
        return world

    def without(self, person: int) -> World:
        people = {number: name for number, name in self.people.items() if number != person}
        return World(people, tuple(fact for fact in self.facts if fact.person != person))


class Machine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="facewatch-people-"))
        self.now = 1_800_000_000.0
        self.store = self._opened()
        self.world = World()
        self.history: list[World] = []
        self.made = 0

    def _opened(self) -> PeopleStore:
        return PeopleStore(self.directory / "people.sqlite3", self._clock)

    def _clock(self) -> float:
        self.now += 1
        return self.now

    def _become(self, world: World) -> None:
        self.history.append(self.world)
        self.world = world

    @rule(name=NAMES, faces=st.lists(FACES, max_size=3), at=st.sampled_from([None, FROM_THE_PAST]))
    def say(self, name: str, faces: list[tuple[bool, bytes, RelativeBox | None]], at: float | None) -> None:
        self.say_all([(name, faces)], at)

    @rule(
        said=st.lists(st.tuples(NAMES, st.lists(FACES, max_size=2)), min_size=2, max_size=3),
        at=st.sampled_from([None, FROM_THE_PAST]),
    )
    def say_all(
        self, said: Iterable[tuple[str, list[tuple[bool, bytes, RelativeBox | None]]]], at: float | None
    ) -> None:
        world = self.world
        told = {(self.world.find(name), *face[:2]) for name, faces in said for face in faces}
        for name, faces in said:
            known, adds = world.find(name), not faces
            self.made += known is None
            person = self.made if known is None else known
            for face in faces:
                new = Fact(person, *face, at or self.now + 0.5)
                if any(replace(fact, at=new.at) == new for fact in world.facts):
                    continue
                if at is not None and self._is_said_or_contradicted(world, new, told):
                    continue
                world, adds = world.with_fact(new), True
            if known is None and adds:
                world = replace(world, people={**world.people, person: name})
        statements = [(name, [NewStatement(*face, at=at) for face in faces]) for name, faces in said]
        self.store.say_all(statements, "test")
        if world != self.world:
            self._become(world)

    def _is_said_or_contradicted(self, world: World, new: Fact, told: set[tuple[object, ...]]) -> bool:
        """Whether what was said before the call, at the same time or later, leaves nothing to be said."""
        before = [fact for fact in world.facts if fact in self.world.facts]
        same = (fact for fact in before if replace(fact, person=new.person) == new)
        if any((fact.person, fact.is_person, fact.digest) not in told for fact in same):
            return True
        return any(World._ends(new, fact) for fact in before)

    @rule(name=NAMES, new=NAMES)
    def rename(self, name: str, new: str) -> None:
        person, other = self.world.find(name), self.world.find(new)
        if person is None:
            with pytest.raises(UnknownPersonError):
                self.store.rename(name, new)
        elif other not in (None, person):
            with pytest.raises(NameTakenError):
                self.store.rename(name, new)
        else:
            self.store.rename(name, new)
            if self.world.people[person] != new:
                self._become(replace(self.world, people={**self.world.people, person: new}))

    @rule(name=NAMES, into=NAMES)
    def merge(self, name: str, into: str) -> None:
        person, other = self.world.find(name), self.world.find(into)
        if person is None or other is None:
            with pytest.raises(UnknownPersonError):
                self.store.merge(name, into)
        elif person == other:
            with pytest.raises(NameTakenError):
                self.store.merge(name, into)
        else:
            self.store.merge(name, into)
            self._become(self.world.merged(person, other))

    @rule()
    def undo(self) -> None:
        undone = self.store.undo()
        assert (undone is None) == (not self.history)
        if self.history:
            self.world = self.history.pop()

    @precondition(lambda self: self.world.people)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        person = data.draw(st.sampled_from(sorted(self.world.people)))
        self.store.forget(self.world.people[person])
        self.world, self.history = self.world.without(person), []
        gone = {name.encode() for name in EVERY} - {name.encode() for name in self.world.people.values()}
        for path in self.directory.iterdir():
            assert not any(name in path.read_bytes() for name in gone), "also names that were given up before"

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = self._opened()
        assert self.store.trouble == ""

    @invariant()
    def it_is_as_the_model(self) -> None:
        people = self.store.people()
        assert sorted(person.name for person in people.people) == sorted(self.world.people.values())
        names = {person.id: person.name for person in people.people}
        said = sorted((names[each.person], each.is_person, each.digest, str(each.box)) for each in people.statements)
        assert said == sorted(
            (self.world.people[fact.person], fact.is_person, fact.digest, str(fact.box)) for fact in self.world.facts
        )

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.directory)


TestStore = Machine.TestCase
TestStore.settings = settings(deadline=None, max_examples=25, stateful_step_count=20)
