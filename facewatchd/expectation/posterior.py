"""How many of the matches that were found are wrong, where it is known how many strangers to expect among them.

A question that finds one photo, where a tenth of a stranger was to be expected, found either the person or a stranger.
Which of the two is more likely depends on how often people are on another photo at all. Bayes' rule answers with:

- the number of strangers: negative binomial, with the expected mean. It is a Poisson number whose mean is itself known
  within a factor of 3 or so, a gamma distribution of shape `SHAPE`;
- the number of photos of the person: j of them are `OFTEN` / j times as likely as none.

Without it, the number for a person who is nowhere else is too low, because nothing is said of those questions in which
no stranger was found. `SHAPE` and `OFTEN` were chosen with the cases of tests/benchmarks/README.md, "Expected false
matches", in sight; what they give is in its first table.
"""

from __future__ import annotations

import numpy as np

from facewatchd.expectation.crowd import Basis

SHAPE = 2.0
OFTEN = 0.2
_HARDLY = 1e-4
"""Strangers, below which they are as many as were to be expected."""


def wrong_among(found: int, expected: float, basis: Basis, certain: int = 0) -> float:
    """Return how many of so many matches are strangers.

    ``expected``: strangers among all matches, before anything was found; ``certain``: how many matches are surely the
    person. NaN where ``expected`` is; where that is a bound, so is this.
    """
    wrong = _posterior(found, expected, certain)
    return max(wrong, min(expected, found - certain)) if basis is Basis.AT_MOST else wrong


def _posterior(found: int, expected: float, certain: int) -> float:
    if found == certain or expected < _HARDLY:
        return 0.0 if found == certain else expected
    wrong = np.arange(found - certain + 1)
    steps = (wrong[:-1] + SHAPE) / (wrong[:-1] + 1) * expected / (SHAPE + expected)
    weights = np.concatenate([[0.0], np.cumsum(np.log(steps))])
    own = found - wrong
    weights[own > 0] += np.log(OFTEN) - np.log(own[own > 0])
    chances = np.exp(weights - weights.max())
    return float(wrong @ chances / chances.sum())
