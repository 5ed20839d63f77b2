"""What is walked next, and what is walked again."""

from __future__ import annotations

import threading
import time

import pytest

from facewatchd.scan import schedule as module
from facewatchd.scan.schedule import Schedule


def request(schedule: Schedule, path: bytes) -> module.Request:
    return schedule.request(path, force=False, live=False)


@pytest.fixture
def schedule() -> Schedule:
    return Schedule(lambda: False)


def test_requests_come_in_their_order_and_are_idle_when_done(schedule: Schedule) -> None:
    assert schedule.idle
    first, second = request(schedule, b"/b"), request(schedule, b"/a")
    assert request(schedule, b"/b") is first
    assert not schedule.idle
    assert schedule.next() is first
    assert request(schedule, b"/b") is not first, "what is asked for while it is walked is walked again"
    schedule.note_done(first)
    assert schedule.next() is second
    assert schedule.next().path == b"/b"  # type: ignore[union-attr]
    assert not schedule.idle, "the last is being walked"
    schedule.note_done(second)
    assert schedule.idle
    assert schedule.is_empty


def test_what_failed_is_repeated_as_one_with_all_that_was_asked_for(
    schedule: Schedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY", 0.0)
    for force, live in ((True, False), (False, True)):
        asked = schedule.request(b"/a", force=force, live=live)
        assert schedule.next() is asked
        asked.fail()
        schedule.note_done(asked)
        assert not schedule.idle
    again = schedule.next()
    assert again is not None
    assert (again.path, again.force, again.live, again.failed) == (b"/a", True, True, False)


def test_a_disk_that_does_not_answer_keeps_nothing_busy(schedule: Schedule) -> None:
    asked = request(schedule, b"/a")
    schedule.next()
    asked.fail(unanswered=True)
    schedule.note_done(asked)
    assert schedule.idle


def test_what_could_not_be_read_is_walked_again_after_longer_and_longer_pauses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LOOK_AGAIN", 0.05)
    monkeypatch.setattr(module, "LONGEST", 0.15)
    schedule = Schedule(lambda: False)
    schedule.note_unread([b"/closed"])
    pauses = []
    for _ in range(4):
        schedule.put_off_unread()
        began = time.monotonic()
        again = schedule.next()
        assert again is not None
        assert again.path == b"/closed"
        pauses.append(time.monotonic() - began)
        schedule.note_done(again)
    for pause, least in zip(pauses, (0.05, 0.1, 0.15, 0.15), strict=True):
        assert pause >= least


def test_links_are_looked_at_after_a_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINKS_EVERY", 0.05)
    schedule = Schedule(lambda: True)
    assert schedule.next() is None
    assert not schedule.idle
    schedule.note_links_looked_at(0.004)
    schedule.note_done(None)
    began = time.monotonic()
    assert schedule.next() is None
    assert time.monotonic() - began >= 0.2, "fifty times as long as a look"


def test_the_end_is_told_to_everybody_who_waits(schedule: Schedule) -> None:
    waiting = threading.Thread(target=schedule.next)
    waiting.start()
    schedule.end()
    waiting.join(20)
    assert not waiting.is_alive()
    asked = request(schedule, b"/a")
    assert asked.done.is_set()
    assert asked.failed
