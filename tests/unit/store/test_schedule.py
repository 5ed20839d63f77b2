"""When a checkpoint is worth its cost, by a clock that the test sets."""

from __future__ import annotations

import pytest

from facewatchd.store.schedule import REST, SECONDS, CheckpointSchedule


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("unsaved", "size", "rests", "due"),
    [
        (0, 100, True, False),
        (1, 999, True, True),
        (1, 1_000_000, True, False),
        (1001, 1_000_000, True, True),
        (4999, 10_000, False, False),
        (5000, 10_000, False, True),
        (5000, 1_000_000, False, False),
        (20_001, 1_000_000, False, True),
    ],
)
def test_a_checkpoint_is_worth_its_while(unsaved: int, size: int, rests: bool, due: bool) -> None:
    clock = Clock()
    schedule = CheckpointSchedule(clock)
    schedule.is_due(unsaved if rests else unsaved - 1, 10**9)
    assert schedule.is_due(unsaved, size) is due
    schedule.saved(20.0)
    clock.now += 20 * REST - 1
    assert not schedule.is_due(unsaved, size), "the last one took long"


def test_few_changes_are_saved_after_some_minutes_while_others_go_on() -> None:
    clock = Clock()
    schedule = CheckpointSchedule(clock)
    assert not schedule.is_due(99, 100)
    clock.now += SECONDS + 1
    assert schedule.is_due(100, 100)


def test_the_last_checkpoint_is_left_out_where_the_next_start_makes_up_for_it() -> None:
    cases = ((0, 0), (1, 9_999), (1, 10_000), (99, 1_000_000), (101, 1_000_000))
    assert [case for case in cases if CheckpointSchedule().is_due_last(*case)] == [(1, 9_999), (101, 1_000_000)]
