"""Faces dealt to people: held against every way in which they can be dealt."""

from __future__ import annotations

from itertools import permutations

from hypothesis import example, given
from hypothesis import strategies as st

from facewatchd.store.assignment import Option, dealt

weights = st.sampled_from([-2.0, -0.3, 0.0, 0.2, 0.4, 0.5, 0.6, 0.9, 2.4])
offers = st.lists(st.dictionaries(st.integers(1, 5), weights, max_size=5), min_size=1, max_size=4)


@given(offers)
@example([{1: 0.9, 2: 0.5}, {1: 0.8, 2: 0.7}])
@example([{1: 0.9}, {1: 0.8}])
def test_no_other_way_has_a_higher_least_weight(offered: list[dict[int, float]]) -> None:
    options = [[Option(weight, face) for face, weight in each.items()] for each in offered]
    faces = sorted({face for each in offered for face in each})
    best = max(
        (
            min(each[face] for each, face in zip(offered, chosen, strict=True))
            for chosen in permutations(faces, len(offered))
            if all(face in each for each, face in zip(offered, chosen, strict=True))
        ),
        default=None,
    )
    positions = dealt(options)
    if best is None:
        assert positions is None
        return
    assert positions is not None
    taken = [options[person][position] for person, position in enumerate(positions)]
    assert len({option.face for option in taken}) == len(offered), "each another face"
    assert min(option.weight for option in taken) == best


def test_a_face_that_is_offered_twice_is_taken_once_and_for_its_higher_weight() -> None:
    assert dealt([[Option(0.5, 1), Option(0.6, 1), Option(0.4, 2)], [Option(0.9, 2)]]) == [1, 0]
    assert dealt([[Option(0.5, 1), Option(0.6, 1)], [Option(0.9, 1)]]) is None


def test_nobody_takes_less_than_needed() -> None:
    """The third has one face only, with a low weight; the others keep their best ones."""
    options = [
        [Option(0.9, 1), Option(0.4, 2)],
        [Option(0.8, 2), Option(0.4, 1)],
        [Option(0.3, 3), Option(0.2, 4)],
    ]
    assert dealt(options) == [0, 0, 0]


def test_fifty_people_who_are_all_alike() -> None:
    options = [[Option(1 - abs(face - person) / 100, face) for face in range(60)] for person in range(50)]
    assert dealt(options) == list(range(50))
    assert dealt([each[:49] for each in options]) is None
