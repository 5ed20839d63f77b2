"""How many of the matches that were found are wrong, by how many strangers were to be expected."""

from __future__ import annotations

import numpy as np
import pytest

from facewatchd.expectation.crowd import Basis
from facewatchd.expectation.posterior import wrong_among


def wrong(found: int, expected: float, basis: Basis = Basis.ESTIMATE, certain: int = 0) -> float:
    return wrong_among(found, expected, basis, certain)


def test_it_is_part_of_what_was_found_and_grows_with_what_was_expected() -> None:
    for found in (1, 3, 20, 400):
        numbers = [wrong(found, expected) for expected in (1e-9, 0.01, 0.5, 3, 50, 5000)]
        assert numbers == sorted(numbers)
        assert 0 <= numbers[0] < 1e-6
        assert 0.9 * found < numbers[-1] <= found
    assert wrong(0, 5) == 0
    assert wrong(5, 0) == 0


def test_one_match_alone_is_more_doubtful_than_what_was_expected() -> None:
    """The person may be on no other photo."""
    assert 0.3 < wrong(1, 0.1) < 0.5
    assert wrong(1, 1) > 0.7


def test_among_many_matches_it_is_what_was_expected() -> None:
    for expected in (0.1, 1, 5):
        assert wrong(200, expected) == pytest.approx(expected, rel=0.15)


def test_where_about_as_many_strangers_were_expected_all_are_wrong() -> None:
    assert wrong(60, 44) > 50


def test_what_is_certain_is_not_wrong() -> None:
    assert wrong(24, 18) > 19
    assert 10 < wrong(24, 18, certain=5) < 19
    assert wrong(24, 500, certain=5) <= 19
    assert wrong(24, 500, Basis.AT_MOST, certain=5) == 19
    assert wrong(5, 3, certain=5) == 0


def test_a_bound_is_no_less_than_what_was_expected() -> None:
    assert wrong(60, 55, Basis.AT_MOST) >= 55
    assert wrong(60, 80, Basis.AT_MOST) == 60
    assert wrong(1, 0.1, Basis.AT_MOST) == wrong(1, 0.1)


def test_what_cannot_be_told_is_no_number() -> None:
    assert np.isnan(wrong(3, np.nan, Basis.UNKNOWN))
    assert wrong(0, np.nan, Basis.UNKNOWN) == 0
