"""A word for each match: how sure it is that it shows the person who was asked for.

The chance that a match is wrong is the larger of two shares: of all matches down to it, those that are strangers; and
of the last `NEAR` of them, because the end of a long list is worse than the whole. A match has no better word than one
that is more similar. tests/benchmarks/README.md says how often each word was right, on sets that were left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from facewatchd.expectation.crowd import Strangers
from facewatchd.expectation.posterior import wrong_among

NEAR = 10
FEW = 20
"""Matches of which it counts that the person may be on none of them; of more, it hardly does."""
SURE, LIKELY = 0.01, 0.15
"""Chances of being wrong, below which a match has the word."""
WITHOUT_SAMPLE = 1.25
"""Times the model's threshold: from there a match is `likely` where strangers cannot be counted. Two small children
reach it in one pair of eight (SFace, 118 children of 0 to 4), adults in one of 4,000. Nothing is `sure` then."""


class Verdict(StrEnum):
    """The words, the surest first."""

    SURE = "sure"
    LIKELY = "likely"
    LOOK = "look"


def verdicts(similarities: Sequence[float], strangers: Strangers, threshold: float) -> list[Verdict]:
    """Return a word for each match of one person. ``similarities``: descending. ``threshold``: the model's own."""
    given = np.asarray(similarities, np.float64)
    if strangers.calibration is None:
        return [Verdict.LIKELY if each >= WITHOUT_SAMPLE * threshold else Verdict.LOOK for each in given.tolist()]
    return [word(chance) for chance in chances_of_error(given, strangers).tolist()]


def chances_of_error(similarities: NDArray[np.float64], strangers: Strangers) -> NDArray[np.float64]:
    """Return the chance that each match is wrong. ``similarities``: descending. The same shape."""
    expected = strangers.above(similarities)
    first = min(FEW, len(expected))
    expected[:first] = [wrong_among(at + 1, float(expected[at]), strangers.basis) for at in range(first)]
    chances = expected / np.arange(1, len(expected) + 1)
    chances[NEAR:] = np.maximum(chances[NEAR:], (expected[NEAR:] - expected[:-NEAR]) / NEAR)
    worst: NDArray[np.float64] = np.minimum(np.maximum.accumulate(chances), 1.0)
    return worst


def word(chance: float) -> Verdict:
    """Return the word for a chance of being wrong."""
    if chance < SURE:
        return Verdict.SURE
    return Verdict.LIKELY if chance < LIKELY else Verdict.LOOK
