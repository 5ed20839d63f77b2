"""Several query photos: of one person they are one question, and of several people a mistake that is said."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from facewatchd.api import linkage
from facewatchd.models import registry
from tests.support.galleries import unit


@given(
    points=arrays.arrays(np.float64, st.tuples(st.integers(1, 12), st.just(3)), elements=st.floats(-1, 1, width=16)),
    limit=st.floats(-1, 1),
)
def test_faces_are_together_where_a_chain_of_links_joins_them(points: np.ndarray, limit: float) -> None:
    rows = unit(points + 1e-3)
    found = linkage.clusters(linkage.similarities(list(rows[:, None])), limit)
    assert sorted(itertools.chain(*found)) == list(range(len(rows)))
    together = {index: number for number, members in enumerate(found) for index in members}
    linked = rows @ rows.T >= limit
    for one, other in itertools.combinations(range(len(rows)), 2):
        assert not linked[one, other] or together[one] == together[other]
    for members in found:
        reached = {members[0]}
        for _ in members:
            reached |= {index for index in members if linked[sorted(reached), index].any()}
        assert reached == set(members)
    assert [members[0] for members in found] == sorted(members[0] for members in found)


def test_groups_are_as_alike_as_their_most_similar_faces() -> None:
    rows = unit(np.random.default_rng(2).normal(size=(6, 4)))
    groups = [rows[:1], rows[1:4], rows[4:]]
    found = linkage.similarities(groups)
    for (at, one), (to, other) in itertools.product(enumerate(groups), repeat=2):
        assert found[at, to] == pytest.approx(max(a @ b for a in one for b in other), abs=1e-6)


def test_the_limit_lies_between_strangers_and_a_match() -> None:
    for about in registry.KNOWN.values():
        assert 0.05 < linkage.limit(about.threshold) < about.threshold
