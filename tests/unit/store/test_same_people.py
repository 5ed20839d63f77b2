"""Whether two frames show the same people, against a search of one pair at a time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facewatchd.store import same_people as module
from facewatchd.store.bursts import SAME_PLACE
from facewatchd.store.same_people import EDGE, INSIDE, People, same_people

SAME_PERSON = 0.5
ROWS = np.linalg.qr(np.random.default_rng(2).normal(size=(8, 8)))[0].astype(np.float32)


class Seen(NamedTuple):
    """A face on a frame of 16 by 16."""

    person: int
    x: int
    y: int
    side: int
    is_blurred: bool
    was_asked: bool

    @property
    def area(self) -> tuple[float, float, float, float]:
        return self.x / 16, self.y / 16, self.side / 16, self.side / 16


RARELY = st.integers(0, 3).map(lambda number: number == 3)
FACES = st.builds(Seen, st.integers(0, 1), st.integers(0, 9), st.integers(1, 9), st.integers(1, 6), RARELY, RARELY)
FRAMES = st.lists(st.lists(FACES, max_size=4), min_size=1, max_size=6)


def people(frames: list[list[Seen]]) -> People:
    every = [(number, face) for number, faces in enumerate(frames) for face in faces]
    return People.beside(
        len(frames),
        np.array([number for number, _ in every], np.int64),
        np.array([face.area for _, face in every], np.float64).reshape(-1, 4),
        np.array([ROWS[face.person] for _, face in every], np.float32).reshape(-1, 8),
        np.array([face.is_blurred for _, face in every], np.bool_),
        np.array([face.was_asked for _, face in every], np.bool_),
    )


Area = tuple[float, float, float, float]


def shared(one: Area, other: Area) -> float:
    sides = (min(one[i] + one[i + 2], other[i] + other[i + 2]) - max(one[i], other[i]) for i in (0, 1))
    width, height = (max(0.0, side) for side in sides)
    return width * height


def may_be_missed(face: Seen, frame: list[Seen]) -> bool:
    size = face.area[2] ** 2
    return face.is_blurred or any(
        other.side > face.side and shared(face.area, other.area) >= INSIDE * size for other in frame
    )


def cut(area: Area) -> bool:
    return any(area[i] <= EDGE or area[i] + area[i + 2] >= 1 - EDGE for i in (0, 1))


def expected(one: list[Seen], other: list[Seen], move: tuple[float, float]) -> bool:
    """The rule as it is worded, face by face."""
    some, others = ([face for face in frame if not face.was_asked] for frame in (one, other))

    def moved(face: Seen, sign: int) -> Area:
        return face.area[0] + sign * move[0], face.area[1] + sign * move[1], face.area[2], face.area[3]

    merits = np.full((len(some), len(others)), -np.inf)
    for i, face in enumerate(some):
        for j, partner in enumerate(others):
            both = shared(moved(face, 1), partner.area)
            part = both / (face.area[2] ** 2 + partner.area[2] ** 2 - both)
            alike = float(face.person == partner.person)
            if alike or ((face.is_blurred or partner.is_blurred) and part >= SAME_PLACE):
                merits[i, j] = alike + part
    chosen = (merits > -np.inf) & (merits >= merits.max(axis=1, initial=-np.inf, keepdims=True) - 1e-6)
    chosen &= merits >= merits.max(axis=0, initial=-np.inf, keepdims=True) - 1e-6
    missing = [
        face
        for i, face in enumerate(some)
        if not (chosen[i].any() or may_be_missed(face, one) or cut(face.area) or cut(moved(face, 1)))
    ] + [
        face
        for j, face in enumerate(others)
        if not (chosen[:, j].any() or may_be_missed(face, other) or cut(face.area) or cut(moved(face, -1)))
    ]
    return not missing


@pytest.mark.parametrize("together", [1, module.TOGETHER])
@settings(deadline=None, max_examples=150)
@given(FRAMES, st.tuples(st.integers(-2, 2), st.integers(-2, 2)))
def test_all_pairs_at_once_are_as_each_alone(together: int, frames: list[list[Seen]], steps: tuple[int, int]) -> None:
    move = steps[0] / 32, steps[1] / 32
    pairs = [(one, other) for one in range(len(frames)) for other in range(len(frames))]
    some, others = (np.array(column, np.intp) for column in zip(*pairs, strict=True))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "TOGETHER", together)
        found = same_people(people(frames), some, others, np.tile(move, (len(pairs), 1)), SAME_PERSON)
    assert found.tolist() == [expected(frames[one], frames[other], move) for one, other in pairs]
