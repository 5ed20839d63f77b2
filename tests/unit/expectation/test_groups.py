"""Average linkage: the chain finds the groups that the textbook's algorithm finds."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from facewatchd.expectation.groups import average_linkage
from tests.support.crowds import people, photos_of

DIM = 16


def joined_by_the_textbook(rows: NDArray[np.float32], limit: float) -> set[frozenset[int]]:
    """Join the two nearest groups until none are as near as the limit."""
    near = rows @ rows.T
    groups = [[at] for at in range(len(rows))]
    while len(groups) > 1:
        means = np.array([[near[np.ix_(a, b)].mean() if a is not b else -2 for b in groups] for a in groups])
        one, other = np.unravel_index(means.argmax(), means.shape)
        if means[one, other] < limit:
            break
        groups[one] += groups[other]
        del groups[other]
    return {frozenset(group) for group in groups}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("limit", [0.1, 0.4, 0.7])
def test_the_groups_are_those_of_the_textbook(seed: int, limit: float) -> None:
    rng = np.random.default_rng(seed)
    some = [photos_of(rng, person, 4, 0.6) for person in people(rng, 6, DIM, alike=0.3)]
    rows = rng.permutation(np.concatenate([*some, people(rng, 10, DIM)]))
    numbers = average_linkage(rows, limit)
    assert sorted(set(numbers.tolist())) == list(range(numbers.max() + 1))
    groups = {frozenset(np.flatnonzero(numbers == number).tolist()) for number in set(numbers.tolist())}
    assert groups == joined_by_the_textbook(rows, limit)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_faces(count: int) -> None:
    rows = np.eye(DIM, dtype=np.float32)[:count]
    assert average_linkage(rows, 0.5).tolist() == list(range(count))


def test_equal_faces_are_one_group() -> None:
    rows = np.repeat(np.eye(2, DIM, dtype=np.float32), 50, axis=0)
    assert average_linkage(rows, 0.99).tolist() in ([0] * 50 + [1] * 50, [1] * 50 + [0] * 50)


def test_children_of_whom_two_in_five_match_do_not_become_one_group() -> None:
    """With single linkage they would."""
    rows = people(np.random.default_rng(0), 150, 128, alike=0.38)
    matches = (rows @ rows.T >= 0.40).mean()
    assert 0.3 < matches < 0.5
    assert average_linkage(rows, 0.46).max() > 40
