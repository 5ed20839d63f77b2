"""Any order of photos, words of the user, and restarts: what holds of the groups whatever happens."""

from __future__ import annotations

import shutil
import tempfile
from itertools import combinations
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.support.grouped import THRESHOLD, Grouped, grouped, like, person

PHOTOS = st.sampled_from([f"p{number}" for number in range(6)])
SHOWN = st.lists(st.sampled_from([0, 0, 0, 1]), min_size=1, max_size=2)
"""The people on a photo."""
NAMES = st.sampled_from(["Anna", "Bert"])


class Machine(RuleBasedStateMachine):
    @initialize(shown=st.lists(SHOWN, min_size=3, max_size=6))
    def begin(self, shown: list[list[int]]) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="facewatch-groups-"))
        self.place = Grouped(self.directory)
        self.owner: dict[int, int] = {}
        """Whose face each is."""
        self.ended: set[int] = set()
        self.groups: dict[int, set[int]] = {}
        for number, people in enumerate(shown):
            self.shoot(f"p{number}", people)

    @rule(name=PHOTOS, people=SHOWN)
    def shoot(self, name: str, people: list[int]) -> None:
        """A photo that is new, or is embedded again: its faces get other ids."""
        seed = len(self.owner)
        faces = self.place.shoot(name, [like(person(who), 0.9, seed + at) for at, who in enumerate(people)])
        self.owner |= dict(zip(faces, people, strict=True))
        self.settle()

    @rule(name=PHOTOS, wholly=st.booleans())
    def delete(self, name: str, wholly: bool) -> None:
        self.place.delete(name, wholly=wholly)
        self.settle()

    @rule(name=NAMES, photo=PHOTOS, is_person=st.booleans(), at=st.integers(0, 1))
    def say(self, name: str, photo: str, is_person: bool, at: int) -> None:
        self.place.say(name, photo, at, is_person=is_person)
        self.settle()

    @rule(photo=PHOTOS, in_group=st.booleans())
    def ignore(self, photo: str, in_group: bool) -> None:
        self.place.ignore([photo], in_group=in_group)
        self.settle()

    @rule(which=st.integers(0, 3))
    def bring_back(self, which: int) -> None:
        """A group that is ignored, or a part of one, is unknown from then on."""
        if listed := list(self.place.unknown(ignored=True)):
            group = listed[which % len(listed)]
            faces = set(self.place.faces(group, ignored=True))
            self.place.bring_back(group)
            assert group not in self.place.unknown(ignored=True)
            assert set(self.place.faces(group)) >= faces
            self.settle()

    @rule(how=st.sampled_from(["undo", "forget", "merge"]))
    def change(self, how: str) -> None:
        names = {each.name for each in self.place.people.people().people}
        if how == "undo":
            self.place.people.undo()
        elif how == "forget" and "Anna" in names:
            self.place.people.forget("Anna")
        elif how == "merge" and len(names) == 2:
            self.place.people.merge("Bert", "Anna")
        self.settle()

    @rule(wholly=st.booleans())
    def restart(self, wholly: bool) -> None:
        """Also one before everything was looked at."""
        before = self.place.by_id()
        if wholly:
            self.place.restart()
            self.settle()
            assert self.place.by_id() == before
        else:
            self.place.shoot("late", [like(person(0), 0.9, len(self.owner))])
            self.place.restart()
            self.settle(known=False)

    def settle(self, *, known: bool = True) -> None:
        self.place.settle()
        self.ended |= self.groups.keys() - self.place.by_id().keys()
        self.groups = self.place.by_id()
        if not known:
            with self.place.catalog.reading() as reader:
                self.owner |= dict.fromkeys(set(reader.face_ids().tolist()) - self.owner.keys(), 0)

    @invariant()
    def groups_are_of_one_person_each(self) -> None:
        for faces in self.groups.values():
            assert len({self.owner[face] for face in faces}) == 1

    @invariant()
    def an_id_that_ended_is_not_given_again(self) -> None:
        assert not self.ended & self.groups.keys()

    @invariant()
    def a_face_is_in_one_group_and_in_the_catalog(self) -> None:
        faces = [face for each in self.groups.values() for face in each]
        assert len(faces) == len(set(faces))
        with self.place.catalog.reading() as reader:
            ids, numbers, last = reader.grouped()
            assert set(ids.tolist()) == set(reader.face_ids().tolist()), "all were looked at"
        written = {face: group for face, group in zip(ids.tolist(), numbers.tolist(), strict=True) if group}
        assert written == {face: group for group, each in self.groups.items() for face in each}
        assert last >= max(self.groups, default=0)

    @invariant()
    def no_group_contradicts_what_was_said(self) -> None:
        known = self.place.resolver.known()
        for faces in self.groups.values():
            people = {known.person_of[face] for face in faces if face in known.person_of}
            assert len(people) <= 1
            for who in people:
                assert not known.rejected.get(who, frozenset()) & faces

    @invariant()
    def two_faces_of_a_photo_are_one_group_only_where_they_are_alike(self) -> None:
        for faces in self.groups.values():
            with self.place.catalog.reading() as reader:
                shown = reader.contents_of(sorted(faces))
                ids, rows = reader.embeddings_of(shown.ids.tolist())
            assert ids.tolist() == shown.ids.tolist()
            for one, other in combinations(range(len(ids)), 2):
                if shown.contents[one] == shown.contents[other]:
                    assert float(rows[one] @ rows[other]) >= THRESHOLD

    @invariant()
    def what_is_listed_is_unknown(self) -> None:
        known = self.place.resolver.known()
        for group in self.place.unknown():
            faces = set(self.place.faces(group))
            assert faces <= self.groups[group]
            assert not faces & (known.person_of.keys() | known.ignored)

    def teardown(self) -> None:
        if hasattr(self, "place"):
            self.place.close()
            shutil.rmtree(self.directory)


TestGroups = Machine.TestCase
TestGroups.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)


@settings(max_examples=15, deadline=None)
@given(order=st.permutations([0] * 4 + [1] * 3 + [2] * 2 + [3]), pause=st.integers(1, 4))
def test_well_told_people_are_the_groups_of_any_order(order: list[int], pause: int) -> None:
    with tempfile.TemporaryDirectory() as directory, grouped(Path(directory)) as place:
        found: dict[int, set[int]] = {}
        for number, who in enumerate(order):
            found.setdefault(who, set()).update(place.shoot(f"p{number}", [like(person(who), 0.9, number)]))
            if not number % pause:
                place.settle()
        place.settle()
        linked = {frozenset(faces) for faces in found.values() if len(faces) > 1}
        assert place.partition() == linked == _components(place)


def _components(place: Grouped) -> set[frozenset[int]]:
    """Faces that a chain of matches joins, found by comparing all."""
    with place.catalog.reading() as reader:
        ids, rows = reader.embeddings_of(reader.face_ids().tolist())
    reached = np.linalg.matrix_power((rows @ rows.T >= THRESHOLD).astype(np.int64), 8) > 0
    parts = {frozenset(ids[row].tolist()) for row in reached}
    return {part for part in parts if len(part) > 1}
