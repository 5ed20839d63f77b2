"""Groups of unknown faces: what belongs together, what never does, and which id it has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from facewatchd.api.parameters import GroupParameters, UnknownParameters
from facewatchd.errors import UnknownFaceError
from facewatchd.people import groups
from tests.support.galleries import DIM
from tests.support.grouped import CLEAR, Grouped, grouped, like, mixed, person

ANNA, BERT, CARA = person(0), person(1), person(2)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Grouped]:
    with grouped(tmp_path) as made:
        yield made


def shoot(place: Grouped, who: np.ndarray[tuple[int], np.dtype[np.float32]], name: str, count: int) -> list[int]:
    """Photos of one person, named by a letter and a number."""
    return [place.shoot(f"{name}{at}", [like(who, 0.95, seed=at)])[0] for at in range(count)]


def test_faces_of_one_person_are_a_group_and_those_on_most_photos_come_first(place: Grouped) -> None:
    berts, annas = shoot(place, BERT, "b", 2), shoot(place, ANNA, "a", 4)
    place.shoot("c", [CARA])
    place.settle()
    assert place.partition() == {frozenset(annas), frozenset(berts)}
    assert list(place.unknown().values()) == [4, 2]
    listed = place.api.unknown(UnknownParameters(limit=1))
    assert (listed["next"], listed["total"], listed["unseen"]) == (1, 2, 0)
    assert place.api.unknown(UnknownParameters(after=1))["next"] is None


def test_a_group_grows_and_keeps_its_id(place: Grouped) -> None:
    shoot(place, ANNA, "a", 2)
    place.settle()
    (number,) = place.by_id()
    new = place.shoot("later", [like(ANNA, 0.9, seed=9)])
    place.settle()
    assert place.by_id().keys() == {number}
    assert set(new) <= place.by_id()[number]


def test_two_faces_of_one_photo_are_two_people_unless_they_are_the_same_face_twice(place: Grouped) -> None:
    twin = like(ANNA, 0.6, seed=5)
    for at in range(3):
        place.shoot(f"twins {at}", [like(ANNA, 0.99, seed=at), like(twin, 0.99, seed=at + 100)])
    collage = place.shoot("collage", [BERT] * 5)
    place.settle()
    assert frozenset(collage) in place.partition()
    for faces in place.partition() - {frozenset(collage)}:
        assert len(faces) == 3, "one of each photo"


def test_small_and_blurred_faces_make_no_group_but_join_one(place: Grouped) -> None:
    for at in range(3):
        place.shoot(f"small {at}", [like(ANNA, 0.99, seed=at)], side=20)
        place.shoot(f"blurred {at}", [like(BERT, 0.99, seed=at)], norms=[8.0])
        place.shoot(f"too blurred {at}", [like(CARA, 0.99, seed=at)], norms=[3.0])
    place.settle()
    assert not place.partition()
    shoot(place, ANNA, "a", 2)
    shoot(place, BERT, "b", 2)
    shoot(place, CARA, "c", 2)
    place.settle()
    assert sorted(map(len, place.partition())) == [2, 5, 5], "what is too blurred joins none"


def test_a_named_group_is_gone_and_is_back_under_its_id_when_the_name_is_taken_back(place: Grouped) -> None:
    shoot(place, ANNA, "a", 4)
    shoot(place, BERT, "b", 3)
    place.settle()
    before = place.unknown()
    place.say("Anna", "a0")
    assert list(place.unknown().values()) == [3], "the others are recognised"
    place.settle()
    place.people.undo()
    assert place.unknown() == before
    place.settle()
    assert place.unknown() == before


def test_a_group_of_which_a_part_was_named_goes_on_with_the_rest(place: Grouped) -> None:
    near, far = (np.float32(0.69) * ANNA + np.float32(0.7238) * person(axis) for axis in (DIM - 1, DIM - 2))
    rows = (ANNA, near, far, like(near, 0.97, 5), like(far, 0.97, 6))
    parts = [place.shoot(f"p{at}", [row])[0] for at, row in enumerate(rows)]
    place.settle()
    (number,) = place.by_id()
    assert place.by_id()[number] == set(parts)
    place.say("Anna", "p1")
    assert set(place.unknown()) == {number}
    assert set(place.faces(number)) < set(parts)


def test_a_face_that_is_not_the_person_leaves_the_group_and_comes_back(place: Grouped) -> None:
    annas = shoot(place, ANNA, "a", 5)
    place.settle()
    (number,) = place.by_id()
    for at in range(4):
        place.say("Anna", f"a{at}")
    place.say("Anna", "a4", is_person=False)
    place.settle()
    assert place.by_id() == {number: set(annas[:4])}
    place.people.undo()
    place.settle()
    assert place.by_id() == {number: set(annas)}


def test_two_people_are_never_one_group(place: Grouped) -> None:
    annas = shoot(place, ANNA, "a", 6)
    place.settle()
    place.say("Anna", "a0")
    place.say("Bert", "a1")
    place.settle()
    parts = list(place.by_id().values())
    assert not any({annas[0], annas[1]} <= part for part in parts)
    place.restart()
    place.settle()
    assert list(place.by_id().values()) == parts


def test_what_was_said_while_nothing_was_grouped_counts_after_a_restart(place: Grouped) -> None:
    annas = shoot(place, ANNA, "a", 4)
    place.settle()
    place.say("Anna", "a0")
    place.say("Bert", "a1")
    place.restart()
    place.settle()
    assert not any({annas[0], annas[1]} <= part for part in place.by_id().values())


def test_groups_and_ids_outlast_a_restart_and_ids_are_not_given_again(place: Grouped) -> None:
    shoot(place, ANNA, "a", 3)
    shoot(place, BERT, "b", 2)
    place.settle()
    before = place.by_id()
    place.restart()
    place.settle()
    assert place.by_id() == before
    for at in range(2):
        place.delete(f"b{at}", wholly=True)
    place.settle()
    place.restart()
    shoot(place, CARA, "c", 2)
    place.settle()
    assert max(place.by_id()) > max(before)


def test_deleted_photos_leave_and_a_restored_one_is_back_in_its_group(place: Grouped) -> None:
    annas = shoot(place, ANNA, "a", 3)
    place.settle()
    (number,) = place.unknown()
    place.delete("a0")
    assert place.unknown() == {number: 2}
    assert annas[0] not in place.faces(number)
    place.delete("a0", wholly=True)
    place.settle()
    place.shoot("a0", [like(ANNA, 0.95, seed=0)])
    place.settle()
    assert place.unknown() == {number: 3}


def test_renamed_photos_change_nothing(place: Grouped) -> None:
    shoot(place, ANNA, "a", 2)
    place.settle()
    before = place.unknown()
    place.shoot("a0", [like(ANNA, 0.95, seed=0)])
    place.settle()
    assert place.unknown() == before


def test_an_ignored_group_is_listed_apart_and_what_joins_it_is_ignored_too(place: Grouped) -> None:
    shoot(place, ANNA, "a", 3)
    shoot(place, BERT, "b", 2)
    place.settle()
    anna, bert = place.unknown()
    place.ignore(["a0", "a1", "a2"])
    assert place.unknown() == {bert: 2}
    assert place.unknown(ignored=True) == {anna: 3}
    place.shoot("later", [like(ANNA, 0.9, seed=9)])
    place.settle()
    assert place.unknown() == {bert: 2}
    assert place.unknown(ignored=True) == {anna: 4}
    place.people.undo()
    assert place.unknown() == {anna: 4, bert: 2}


def test_an_ignored_group_is_brought_back_at_any_time_with_what_joined_it_and_what_is_hidden(place: Grouped) -> None:
    shoot(place, ANNA, "a", 4)
    place.settle()
    (anna,) = place.unknown()
    place.ignore(["a0", "a1", "a2", "a3"])
    joined = place.shoot("later", [like(ANNA, 0.9, seed=9)])
    place.delete("a0")
    place.settle()
    place.say("Bert", "b0")
    assert place.bring_back(anna) == 5
    assert place.unknown() == {anna: 4}
    assert place.unknown(ignored=True) == {}
    assert place.bring_back(anna) == 0
    place.shoot("a0", [like(ANNA, 0.95, seed=0)])
    place.settle()
    assert place.unknown() == {anna: 5}, "a face that comes back takes none with it"
    place.people.undo()
    assert place.unknown(ignored=True) == {anna: 5}
    place.bring_back_face(joined[0])
    assert place.unknown(ignored=True) == {anna: 4}
    assert place.faces(anna) == joined
    assert len(set(place.faces(anna, ignored=True)) - {*joined}) == 4
    place.restart()
    place.settle()
    assert place.unknown(ignored=True) == {anna: 4}
    with pytest.raises(UnknownFaceError):
        place.bring_back(99)


@pytest.mark.parametrize("ignored", [False, True])
def test_an_ignored_group_takes_no_other_group_with_it(place: Grouped, ignored: bool) -> None:
    for at in range(2):
        place.shoot(f"a{at}", [mixed({0: 1, 10 + at: 0.2})])
    place.settle()
    if ignored:
        place.ignore(["a0", "a1"])
    for at in range(2):
        place.shoot(f"b{at}", [mixed({0: 0.58, 20: 0.8, 12 + at: 0.1})])
    place.settle()
    assert sorted(map(len, place.partition())) == ([2, 2] if ignored else [4])
    if ignored:
        (number,) = place.unknown(ignored=True)
        place.bring_back(number)
        place.settle()
        assert sorted(map(len, place.partition())) == [4], "nothing keeps them apart any more"


def test_one_ignored_face_takes_no_group_with_it_and_a_name_counts_more(place: Grouped) -> None:
    annas = shoot(place, ANNA, "a", 4)
    place.settle()
    (number,) = place.unknown()
    place.ignore(["a0"], in_group=False)
    assert place.unknown() == {number: 3}
    place.say("Anna", "a0")
    assert annas[0] not in place.resolver.known().ignored


def test_changes_that_were_missed_are_read_again(place: Grouped, monkeypatch: pytest.MonkeyPatch) -> None:
    shoot(place, ANNA, "a", 2)
    place.settle()
    before = place.by_id()
    monkeypatch.setattr("facewatchd.store.hub.MOST", 2)
    berts = shoot(place, BERT, "b", 5)
    place.settle()
    assert {number: faces for number, faces in place.by_id().items() if number in before} == before
    assert frozenset(berts) in place.partition()


def test_a_sample_of_a_large_group_stands_for_it(place: Grouped, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "SAMPLE", 3)
    annas = shoot(place, ANNA, "a", 12)
    place.settle()
    assert place.partition() == {frozenset(annas)}


def test_a_group_that_is_not_there(place: Grouped) -> None:
    with pytest.raises(UnknownFaceError, match="no group 7"):
        place.api.group(GroupParameters(id=7))


def test_the_best_face_is_clear_and_examples_are_of_several_photos(place: Grouped) -> None:
    blurred = place.shoot("blurred", [like(ANNA, 0.97, seed=1)], norms=[9.0])
    collage = place.shoot("collage", [ANNA, ANNA, ANNA])
    clear = place.shoot("clear", [like(ANNA, 0.97, seed=2)], norms=[CLEAR])
    place.settle()
    (described,) = place.api.unknown(UnknownParameters())["groups"]  # type: ignore[misc, attr-defined]
    assert described["photos"] == 3
    assert described["best"] not in blurred
    examples = described["examples"]
    assert len(examples) == 3
    assert len(set(examples) & set(collage)) == 1
    assert set(clear) < set(examples)
