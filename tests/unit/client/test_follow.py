"""What a follower leaves out when everything comes again."""

from __future__ import annotations

import pytest

from facewatchd.client import follow
from facewatchd.client.follow import _Before

ONE, TWO, THREE = (bytes([number]).hex() * 32 for number in (1, 2, 3))


def test_what_there_was_and_what_came_is_left_out_once_when_everything_comes_again() -> None:
    before = _Before([ONE], collapse=True)
    assert not before.is_again(ONE), "nothing was to come again: it was gone, and has come back"
    before.note(TWO)
    before.note(TWO)
    for _ in range(2):
        before.expect_all()
        assert [before.is_again(each) for each in (TWO, THREE, ONE)] == [True, False, True]
        assert not any(map(before.is_again, (ONE, TWO))), "what comes back is new"


def test_where_copies_are_photos_each_is_left_out_once() -> None:
    before = _Before([ONE, ONE], collapse=False)
    before.note(ONE)
    before.expect_all()
    assert [before.is_again(ONE) for _ in range(4)] == [True, True, True, False]


def test_the_oldest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "MOST_KNOWN", 2)
    before = _Before([ONE, TWO, THREE], collapse=True)
    before.expect_all()
    assert [before.is_again(each) for each in (ONE, TWO, THREE)] == [False, True, True]
