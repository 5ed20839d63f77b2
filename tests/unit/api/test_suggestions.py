"""What is asked about a person first, and whose faces are known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from facewatchd.api.parameters import SuggestionsParameters
from facewatchd.errors import UnknownPersonError
from facewatchd.people import suggesting
from tests.support.galleries import DIM
from tests.support.grouped import Grouped, Row, grouped, like, mixed, person

ANNA, BERT = person(0), person(1)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Grouped]:
    with grouped(tmp_path) as made:
        yield made


def toward(similarity: float, axis: int) -> Row:
    """A face of so much similarity to Anna's, in a direction of its own."""
    return np.float32(similarity) * ANNA + np.float32(np.sqrt(1 - similarity**2)) * person(DIM - axis)


def test_a_person_who_is_not_there(place: Grouped) -> None:
    with pytest.raises(UnknownPersonError):
        place.suggested("Anna")


def test_what_was_said_is_not_asked_again(place: Grouped) -> None:
    faces = [place.shoot(f"a{at}", [like(ANNA, 0.8, at)])[0] for at in range(5)]
    place.settle()
    place.say("Anna", "a0")
    assert set(place.suggested("Anna")) == set(faces[1:])
    place.say("Anna", "a1")
    place.say("Anna", "a2", is_person=False)
    place.say("Bert", "a3")
    assert place.suggested("Anna") == [faces[4]]
    place.ignore(["a4"], in_group=False)
    assert not place.suggested("Anna")


def test_a_deleted_photo_is_not_asked_about(place: Grouped) -> None:
    faces = [place.shoot(f"a{at}", [like(ANNA, 0.8, at)])[0] for at in range(3)]
    place.say("Anna", "a0")
    place.delete("a1")
    assert place.suggested("Anna") == [faces[2]]


def test_the_middle_of_what_is_not_found_yet_comes_first_and_copies_never_follow_each_other(place: Grouped) -> None:
    place.shoot("a", [ANNA])
    near = place.shoot("near", [mixed({0: 1, 10: 0.2})])[0]
    clusters = [
        [place.shoot(f"c{axis} {at}", [mixed({0: 0.46, axis: 0.88, 11 + at: 0.1})])[0] for at in range(3)]
        for axis in (20, 21)
    ]
    place.settle()
    place.say("Anna", "a")
    first, second, *_ = order = place.suggested("Anna")
    assert near in order
    assert {first, second} & set(clusters[0])
    assert {first, second} & set(clusters[1])
    assert order == place.suggested("Anna"), "the order stays"


def test_a_face_of_the_same_group_is_asked_about_however_alike_it_is(place: Grouped) -> None:
    path = [ANNA, toward(0.69, 1)]
    place.shoot("a0", [path[0]])
    between = place.shoot("a1", [path[1]])[0]
    far = place.shoot("a2", [like(path[1], 0.7, 3)])[0]
    others = [place.shoot(f"b{at}", [like(path[1], 0.97, at)])[0] for at in range(3)]
    place.settle()
    (faces,) = place.partition()
    assert far in faces
    place.say("Anna", "a0")
    order = place.suggested("Anna")
    assert {between, *others} <= set(order)


def test_pages(place: Grouped) -> None:
    for at in range(5):
        place.shoot(f"a{at}", [like(ANNA, 0.8, at)])
    place.say("Anna", "a0")
    every = place.suggested("Anna")
    page = place.suggesting.suggestions(SuggestionsParameters(person="anna", skip=1, limit=2))
    assert [each["face_id"] for each in page["suggestions"]] == every[1:3]  # type: ignore[attr-defined]
    assert (page["total"], page["name"]) == (4, "Anna")


def test_more_than_the_pool_are_listed_and_each_once(place: Grouped, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facewatchd.api.suggestions.POOL", 3)
    faces = [place.shoot(f"a{at}", [like(ANNA, 0.9, at)])[0] for at in range(12)]
    place.say("Anna", "a0")
    assert sorted(place.suggested("Anna")) == faces[1:]


def test_a_face_that_finds_many_comes_before_one_that_finds_none() -> None:
    rows = np.concatenate([np.repeat(np.eye(4, dtype=np.float32)[:1], 3, axis=0), np.eye(4, dtype=np.float32)[1:2]])
    spare = np.array([-0.1, -0.1, -0.1, -0.1], np.float32)
    chances = suggesting.chance(spare, 0.5, np.zeros(4, np.bool_))
    order = suggesting.order(rows, np.zeros(4), spare, chances, 0.5)
    assert order[0] in (0, 1, 2)
    assert sorted(order) == [0, 1, 2, 3]


def test_the_chance_grows_with_what_is_to_spare() -> None:
    chances = suggesting.chance(np.array([-0.2, 0.0, 0.2], np.float32), 0.5, np.array([False, False, False]))
    assert (np.diff(chances) > 0).all()
    assert chances[1] == pytest.approx(0.5)
    assert suggesting.chance(np.array([-0.2], np.float32), 0.5, np.array([True]))[0] == suggesting.TOGETHER


def test_new_faces_are_recognised_and_what_a_person_lost_is_unknown_again(
    place: Grouped, monkeypatch: pytest.MonkeyPatch
) -> None:
    for many in (4096, 0):
        monkeypatch.setattr("facewatchd.api.recognised.MANY", many)
        place.shoot(f"a {many}", [ANNA])
        place.say("Anna", f"a {many}")
        first = set(place.recognised.faces().tolist())
        new = place.shoot(f"new {many}", [like(ANNA, 0.9, many)])
        place.shoot(f"b {many}", [BERT])
        assert set(place.recognised.faces().tolist()) == {*first, *new}
        place.people.undo()
        assert not len(place.recognised.faces())
