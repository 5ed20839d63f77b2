"""The word of a match follows the chance that it is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from facewatchd.expectation.calibration import Calibration
from facewatchd.expectation.crowd import Basis, Strangers, _Part
from facewatchd.expectation.verdicts import Verdict, chances_of_error, verdicts

SURE, LIKELY, LOOK = Verdict
LINEAR = Calibration(np.log(np.array([0.5, 0.05])), measured=True)
"""A tenth of the strangers from each quarter of a z to the next, from one half at -1 on."""


def strangers(faces: int) -> Strangers:
    """Of whom 0.5 at similarity 0, then a tenth of it every 0.1."""
    return Strangers(Basis.ESTIMATE, faces, (_Part(1.0, 0.4, 0.4),), LINEAR)


def test_a_match_that_hardly_a_stranger_reaches_is_sure() -> None:
    seen = strangers(1000)
    assert seen.above([0.0, 0.1, 0.5]) == pytest.approx([500, 50, 0.005])
    assert verdicts([0.9, 0.7, 0.6, 0.5, 0.36, 0.1], seen, 0.1) == [SURE, SURE, SURE, SURE, LIKELY, LOOK]


def test_more_faces_make_it_less_sure() -> None:
    assert verdicts([0.6], strangers(1000), 0.1) == [SURE]
    assert verdicts([0.6], strangers(20_000), 0.1) == [LIKELY]
    assert verdicts([0.6], strangers(1_000_000), 0.1) == [LOOK]


def test_a_match_alone_is_less_sure_than_one_beside_others() -> None:
    """A person may be on no other photo."""
    assert verdicts([0.5], strangers(1000), 0.1) == [LIKELY]
    assert verdicts([0.9, 0.8, 0.5], strangers(1000), 0.1) == [SURE] * 3


def test_among_many_matches_a_few_strangers_do_not_make_each_doubtful() -> None:
    many = [0.6] * 99 + [0.42]
    assert strangers(1000).above([0.42])[0] == pytest.approx(0.03, rel=0.1)
    assert set(verdicts(many, strangers(1000), 0.1)) == {SURE}


def test_the_end_of_a_long_list_is_worse_than_the_whole() -> None:
    """Some 50 strangers are expected among the last ten, which are a twentieth of all."""
    long = np.array([0.8] * 190 + [0.1] * 10)
    chances = chances_of_error(long, strangers(1000))
    assert chances[:190].max() < 0.001
    assert chances[-1] == 1.0


def test_no_match_has_a_better_word_than_one_that_is_more_similar() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        found = np.sort(rng.uniform(0.1, 0.9, rng.integers(1, 60)))[::-1]
        words = [list(Verdict).index(word) for word in verdicts(found.tolist(), strangers(20_000), 0.1)]
        assert words == sorted(words)


def test_without_a_sample_nothing_is_sure() -> None:
    nothing = Strangers(Basis.UNKNOWN, 13)
    assert verdicts([0.99, 0.51, 0.49, 0.2], nothing, 0.40) == [LIKELY, LIKELY, LOOK, LOOK]
    assert verdicts([], nothing, 0.40) == []
    assert verdicts([], strangers(10), 0.40) == []
