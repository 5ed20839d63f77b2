"""Who a face is, of people with several references; and which references tell another person."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from facewatchd.people.recognition import JUDGES, Candidate, candidates, misplaced, refusal
from facewatchd.store.references import MOST, References, different, extra, none
from facewatchd.values import Quality
from tests.support.galleries import DIM, unit

THRESHOLD = 0.5
QUALITY = Quality(clear=10, slope=0.02, floor=7)
NAMES = {1: "Anna", 2: "Ben"}
ANNA, BEN = np.eye(2, DIM, dtype=np.float32)

people_of_references = st.lists(st.integers(1, 3), min_size=1, max_size=12)
seeds = st.integers(0, 1 << 16)


def made(people: list[int], seed: int) -> References:
    """References of these people, who are alike."""
    rng = np.random.default_rng(seed)
    owners = np.sort(people)
    centres = unit(rng.normal(size=(4, DIM)) + 1.0)
    rows = unit(centres[owners] + 0.6 * unit(rng.normal(size=(len(owners), DIM))))
    counts = Counter(people)
    extras = np.array([extra(counts[each], THRESHOLD) for each in owners.tolist()], np.float32)
    return References(rows, rng.choice([np.inf, 12.0, 8.0], len(owners)), extras, owners.astype(np.int64))


@given(people_of_references, seeds, st.sampled_from([None, QUALITY]), st.sets(st.integers(1, 3)))
@settings(max_examples=60, deadline=None)
def test_the_people_come_by_what_their_best_reference_leaves(
    people: list[int], seed: int, quality: Quality | None, excluded: set[int]
) -> None:
    references = made(people, seed)
    face = unit(np.random.default_rng(seed + 1).normal(size=(1, DIM)) + 1.0)[0]
    expected: dict[int, tuple[float, float]] = {}
    for row, norm, asked, person in zip(
        references.rows, references.norms, references.extras, references.people.tolist(), strict=True
    ):
        similarity = float(row @ face)
        left = similarity - float(asked) - (quality.extra(float(norm)) if quality else 0.0)
        before = expected.get(person, (-9.0, -9.0))
        expected[person] = max(left, before[0]), max(similarity, before[1])
    found = candidates(face, references, quality, frozenset(excluded))
    assert {each.person for each in found} == set(people) - excluded
    assert [each.spare for each in found] == sorted((each.spare for each in found), reverse=True)
    for each in found:
        assert (each.spare, each.similarity) == pytest.approx(expected[each.person], abs=1e-5)


@given(people_of_references, seeds)
@settings(max_examples=60, deadline=None)
def test_a_reference_is_misplaced_where_most_around_it_are_of_one_other_person(people: list[int], seed: int) -> None:
    references = made(people, seed)
    for at, wrong in enumerate(misplaced(references, THRESHOLD).tolist()):
        others = [other for other in range(len(references)) if other != at]
        others.sort(key=lambda other: -float(references.rows[at] @ references.rows[other]))
        near = [other for other in others[:JUDGES] if references.rows[at] @ references.rows[other] >= THRESHOLD]
        counts = Counter(references.people[near].tolist())
        del counts[int(references.people[at])]
        assert wrong == (len(references) > JUDGES and max(counts.values(), default=0) > JUDGES // 2)


def test_nobody_is_known() -> None:
    assert candidates(ANNA, none(DIM), QUALITY) == []
    assert misplaced(none(DIM), THRESHOLD).tolist() == []


@pytest.mark.parametrize(
    ("own", "others", "against", "reason"),
    [
        ([ANNA], [], ["small", "too blurred to tell"], "it is small and too blurred to tell"),
        ([], [], [], ""),
        ([ANNA], [Candidate(2, 0.7, 0.7)], [], ""),
        ([BEN], [], [], "it does not look like Anna's other faces (similarity 0.00)"),
        ([BEN - 0.004 * ANNA], [], [], "it does not look like Anna's other faces (similarity 0.00)"),
        ([BEN], [Candidate(2, 0.45, 0.45)], [], "it does not look like Anna's other faces (similarity 0.00)"),
        ([BEN], [Candidate(2, 0.7, 0.7)], [], "it is more like Ben (similarity 0.70) than Anna (0.00)"),
        ([], [Candidate(2, 0.7, 0.7)], [], "it is like Ben (similarity 0.70)"),
        ([], [Candidate(2, 0.7, 0.45)], [], ""),
    ],
)
def test_the_words_of_a_refusal(
    own: list[NDArray[np.float32]], others: list[Candidate], against: list[str], reason: str
) -> None:
    rows = np.array(own, np.float32).reshape(-1, DIM)
    given = refusal(ANNA, "Anna", rows, others, NAMES, against=against, threshold=THRESHOLD, limit=0.2)
    assert given == reason


def test_of_very_many_references_those_count_that_differ_most() -> None:
    rows = unit(np.random.default_rng(2).normal(size=(300, DIM)))
    chosen = different(rows, np.full(300, np.inf), 2.0)
    assert len(set(chosen.tolist())) == MOST
    for count in range(1, MOST):
        assert chosen[count] == (rows @ rows[chosen[:count]].T).max(axis=1).argmin(), "the least like those before"
    assert len(different(rows[:0], np.empty(0), 0.9)) == 0
