"""What many references ask for, on labelled faces: strangers match no more often, and more photos are found."""

from __future__ import annotations

import numpy as np
import pytest

from facewatchd.store.references import extra
from tests.benchmarks.options import SHARED_NUMBERS
from tests.benchmarks.people import Known, at_rate, curves_of
from tests.benchmarks.thresholds import read

pytestmark = pytest.mark.skipif(not SHARED_NUMBERS.is_file(), reason="the labelled faces of ../shared are not here")
COUNT, RATE = 9, 1e-3


@pytest.mark.parametrize("pack", ["opencv", "scrfd25g_mfn"])
def test_so_many_strangers_match_as_with_one_and_more_photos_are_found(pack: str) -> None:
    known = next(Known.of(each) for each in read([SHARED_NUMBERS]) if each.pack == pack)
    one, many = (curves_of(known, count, draws=2).mean(axis=0) for count in (1, COUNT))
    asked = at_rate(many, RATE) - at_rate(one, RATE)
    assert asked == pytest.approx(extra(COUNT, known.threshold), rel=0.3)
    rng = np.random.default_rng(0)
    found: dict[int, list[float]] = {1: [], COUNT: []}
    for person in known.with_more_than(18):
        rows = known.of_person(person)
        for count, shares in found.items():
            chosen = rng.choice(rows, count, replace=False)
            scores = known.best(chosen)[np.setdiff1d(rows, chosen)] - extra(count, known.threshold)
            shares.append(float((scores >= known.threshold).mean()))
    assert np.mean(found[COUNT]) > np.mean(found[1]) + 0.1
