"""The code, the cookies, and when the page was last used."""

from __future__ import annotations

import pytest

from facewatchd.page.activity import Activity
from facewatchd.page.sessions import MOST, TRIES, WINDOW, Notice, Sessions, TooManyTriesError


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_only_the_code_opens_and_each_browser_has_its_own_session() -> None:
    sessions = Sessions()
    one, other = sessions.open(sessions.code), sessions.open(f" {sessions.code}\n")
    assert one is not None
    assert other is not None
    assert one != other
    assert sessions.of(one) is not sessions.of(other)
    for wrong in ("", sessions.code[:-1], sessions.code + "A", sessions.code.swapcase(), "\u0000", "\ud800"):
        assert sessions.open(wrong) is None
        assert sessions.of(wrong) is None
    assert sessions.open(one) is None
    assert sessions.of(sessions.code) is None


def test_two_pages_have_two_codes_of_256_bits() -> None:
    assert Sessions().code != Sessions().code
    assert len(Sessions().code) >= 43


def test_wrong_codes_are_limited_until_the_first_of_them_is_a_minute_old() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    for _ in range(TRIES):
        clock.now += 1
        assert sessions.open("wrong") is None
    with pytest.raises(TooManyTriesError):
        sessions.open(sessions.code)
    clock.now += WINDOW - TRIES + 1
    assert sessions.open(sessions.code) is not None


def test_the_browser_that_came_first_loses_its_place() -> None:
    sessions = Sessions()
    tokens = [sessions.open(sessions.code) or "" for _ in range(MOST + 1)]
    assert [sessions.of(token) is not None for token in tokens] == [False, *[True] * MOST]


def test_notices_are_few() -> None:
    sessions = Sessions()
    session = sessions.of(sessions.open(sessions.code) or "")
    assert session is not None
    session.notices.extend(Notice(str(number)) for number in range(100))
    assert [notice.text for notice in session.notices] == ["96", "97", "98", "99"]


def test_a_request_is_use_and_one_by_a_script_alone_is_not() -> None:
    clock = Clock()
    activity = Activity(clock)
    clock.now += 10
    with activity.request(background=True):
        assert activity.idle() == 0
        clock.now += 5
    assert activity.idle() == 15
    with activity.request(background=False):
        clock.now += 100
        assert activity.idle() == 0
    clock.now += 3
    assert activity.idle() == 3
