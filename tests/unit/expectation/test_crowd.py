"""How many strangers a question is to expect: held against faces whose people are known."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from facewatchd.expectation import calibration
from facewatchd.expectation.calibration import Calibration, ChildProbe
from facewatchd.expectation.crowd import FEWEST, Basis, Crowd
from facewatchd.values import Quality
from tests.benchmarks import expectation
from tests.benchmarks.options import SHARED_NUMBERS
from tests.support.crowds import people, photos_of

DIM, THRESHOLD = 128, 0.40
NORMAL = Calibration(calibration.of("opencv", DIM).tail, measured=True)
"""The tables of a recogniser, without the probe for children: made-up embeddings have no age."""


def crowd(rows: NDArray[np.float32], known: Calibration = NORMAL, norms: NDArray[np.float64] | None = None) -> Crowd:
    unknown = np.full(len(rows), np.inf)
    return Crowd(np.arange(len(rows)), rows, unknown if norms is None else norms, THRESHOLD, known)


def counted(rows: NDArray[np.float32], asked: NDArray[np.float32], threshold: float = THRESHOLD) -> int:
    return int((rows @ asked >= threshold).sum())


@pytest.mark.parametrize("alike", [0.2, 0.3, 0.38])
def test_the_number_follows_how_alike_everyone_is(alike: float) -> None:
    """A gallery of children, say: a table by similarity alone would give one number for all three."""
    rng = np.random.default_rng(1)
    gallery = people(rng, 3000, DIM, alike)
    sample, asked = crowd(gallery[:1024]), gallery[2000:2040]
    expected = sum(sample.strangers(row, len(gallery), None).above([THRESHOLD])[0] for row in asked)
    found = sum(counted(gallery, row) - 1 for row in asked)
    assert found > 0
    assert 1 / 3 < expected / found < 3


def test_a_person_who_is_a_fifth_of_the_sample_is_no_crowd_of_strangers() -> None:
    rng = np.random.default_rng(2)
    person = people(rng, 1, DIM)[0]
    sample = crowd(np.concatenate([people(rng, 800, DIM), photos_of(rng, person, 200, 0.6)]))
    seen = sample.strangers(photos_of(rng, person, 1, 0.6)[0], 100_000, None)
    assert seen.basis is Basis.AT_MOST, "what of the person did not link may be a part of the others"
    assert seen.above([THRESHOLD])[0] < 100, "of 20,000 photos of the person"


def test_another_person_counts_as_often_as_there_are_photos() -> None:
    rng = np.random.default_rng(3)
    sister = people(rng, 1, DIM)[0]
    others = people(rng, 700, DIM)
    asked = photos_of(rng, sister, 1, 0.3)[0]
    with_her = crowd(np.concatenate([others, photos_of(rng, sister, 300, 0.6)]))
    assert with_her.strangers(asked, 1000, None).above([THRESHOLD])[0] > 10


@pytest.mark.parametrize("count", [0, 1, FEWEST - 1])
def test_few_faces_tell_nothing(count: int) -> None:
    rows = people(np.random.default_rng(4), count, DIM)
    seen = crowd(rows).strangers(np.eye(DIM, dtype=np.float32)[0], 1000, None)
    assert seen.basis is Basis.UNKNOWN
    assert np.isnan(seen.above([0.1, 0.9])).all()


def test_where_all_but_a_few_are_the_person_nothing_can_be_told() -> None:
    rng = np.random.default_rng(5)
    person = people(rng, 1, DIM)[0]
    rows = np.concatenate([photos_of(rng, person, 500), people(rng, FEWEST - 1, DIM)])
    assert crowd(rows).strangers(person, 1000, None).basis is Basis.UNKNOWN


def test_copies_of_one_face_are_one_group() -> None:
    rng = np.random.default_rng(6)
    person = people(rng, 1, DIM)[0]
    rows = np.concatenate([np.repeat(person[None], 300, axis=0), people(rng, 700, DIM)])
    seen = crowd(rows).strangers(person, 10_000, None)
    assert seen.above([THRESHOLD])[0] < 10


def test_a_recogniser_that_was_not_measured_has_upper_bounds() -> None:
    rows = people(np.random.default_rng(7), 500, DIM)
    unmeasured = calibration.of("unheard of", DIM)
    assert not unmeasured.measured
    seen, bound = (crowd(rows, known).strangers(rows[0], 1000, None) for known in (NORMAL, unmeasured))
    assert (seen.basis, bound.basis) == (Basis.ESTIMATE, Basis.AT_MOST)
    assert bound.above([THRESHOLD])[0] > seen.above([THRESHOLD])[0]


def test_another_dimension_is_another_recogniser() -> None:
    assert calibration.of("opencv", 128).measured
    assert calibration.of("OpenCV", 128).measured
    assert not calibration.of("opencv", 512).measured


def test_the_share_falls_with_the_similarity_and_never_ends() -> None:
    shares = NORMAL.share(np.linspace(-5, 30, 200))
    assert (np.diff(shares) <= 0).all()
    assert (np.diff(shares[30:]) < 0).all()
    assert shares.max() <= 1
    assert 0 < shares[-1] < 1e-15


def test_blurred_faces_need_more_and_those_below_the_floor_match_nothing() -> None:
    rng = np.random.default_rng(8)
    rows = people(rng, 600, DIM, 0.3)
    quality = Quality(clear=9.0, slope=0.04, floor=5.0)

    def expected(norm: float, quality: Quality | None) -> float:
        seen = crowd(rows, norms=np.full(len(rows), norm)).strangers(people(rng, 1, DIM, 0.3)[0], 600, quality)
        return float(seen.above([THRESHOLD])[0]) if seen.parts else 0.0

    rng = np.random.default_rng(9)
    clear, blurred, gone = (expected(norm, quality) for norm in (12.0, 6.0, 4.0))
    assert gone == 0 < blurred < clear / 2


@pytest.mark.parametrize("usable", [0, 3, FEWEST - 1])
def test_too_few_faces_above_the_floor_tell_nothing(usable: int) -> None:
    rows = people(np.random.default_rng(10), 600, DIM, 0.3)
    norms = np.where(np.arange(600) < usable, 12.0, 4.0)
    seen = crowd(rows, norms=norms).strangers(rows[0], 600, Quality(clear=9.0, slope=0.04, floor=5.0))
    assert seen.basis is Basis.UNKNOWN
    assert np.isnan(seen.above([THRESHOLD])).all()


def test_other_children_who_are_like_the_child_asked_for_can_be_closer() -> None:
    """In many small groups, none of which is the child: strangers and the nearest others have one rule."""
    rng = np.random.default_rng(11)
    common = people(rng, 1, DIM)[0]
    children = [photos_of(rng, child, 2, 0.9) for child in photos_of(rng, common, 20, 0.4)]
    everyone = ChildProbe(np.zeros(DIM, np.float32), 1.0, 0.4, 0.1)
    known = Calibration(NORMAL.tail, measured=True, child=everyone)
    rows = np.concatenate([*children, people(rng, 200, DIM)])
    asked, match = photos_of(rng, common, 1, 0.97)[0], photos_of(rng, children[0][0], 1, 0.95)
    (near,) = crowd(rows, known).nearest_others([-1], match, asked)
    assert near is not None
    assert near[0] in (0, 1)
    (near,) = crowd(rows).nearest_others([-1], match, asked)
    assert near is None or near[0] > 1, "grown, the group is linked with the person asked for"


@cache
def labelled(recogniser: str) -> expectation.Labelled:
    return expectation.Labelled.read(SHARED_NUMBERS, recogniser)


@pytest.mark.skipif(not SHARED_NUMBERS.is_file(), reason="the labelled faces in ../shared are not here")
@pytest.mark.parametrize(
    ("recogniser", "name", "case"),
    [
        ("sface", "utk", "utk of 0 to 4 years, in all sets"),
        ("sface", "utk", "utk of 5 to 12 years, in its own set"),
        ("sface", "aaf", "aaf of 13 to 19 years, in all sets"),
        ("mobilefacenet", "aaf", "aaf of 0 to 4 years, in its own set"),
        ("mobilefacenet", "aaf", "aaf of 61 to 120 years, in its own set"),
    ],
)
def test_it_is_right_within_a_factor_of_3_on_sets_that_the_tables_were_not_made_from(
    recogniser: str, name: str, case: str
) -> None:
    faces = labelled(recogniser)
    known = made_without(recogniser, name)
    (found,) = [expectation.tally(faces, each, known) for each in expectation.cases(faces, name) if each.name == case]
    assert found.estimates >= 0.7 * found.questions
    assert found.counted <= 3 * found.predicted
    assert found.predicted <= 3 * max(found.counted, expectation.FEW)


@cache
def made_without(recogniser: str, name: str) -> Calibration:
    return calibration.read(expectation.fit(labelled(recogniser), name))
