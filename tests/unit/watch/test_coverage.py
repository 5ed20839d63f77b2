"""Directories that walks have listed compared with watches, the polling of roots, and the heartbeat's pauses."""

from __future__ import annotations

from pathlib import Path

from facewatchd.watch.coverage import Compared, Coverage, PollSchedule
from facewatchd.watch.heartbeat import Heartbeat

WATCHED = {1: {b"", b"/r"}, 2: {b"", b"/r/a"}}


def test_what_is_watched_under_its_own_path_is_covered() -> None:
    coverage = Coverage()
    coverage.add({1: b"/r", 2: b"/r/a"}, whole=True)
    assert coverage.is_pending
    assert coverage.compare(WATCHED) == Compared({}, True)
    assert not coverage.is_pending


def test_a_directory_without_a_watch_counts_at_the_second_comparison() -> None:
    coverage = Coverage()
    coverage.add({1: b"/r", 3: b"/r/b"}, whole=True)
    assert coverage.compare(WATCHED) is None
    assert coverage.is_doubted
    assert coverage.compare(WATCHED) == Compared({3: b"/r/b"}, True)
    assert not coverage.is_pending


def test_a_watch_that_came_a_moment_later_covers() -> None:
    coverage = Coverage()
    coverage.add({3: b"/r/b"}, whole=False)
    assert coverage.compare(WATCHED) is None
    assert coverage.compare({**WATCHED, 3: {b"", b"/r/b"}}) == Compared({}, False)


def test_a_watch_under_another_path_does_not_cover() -> None:
    coverage = Coverage()
    coverage.add({1: b"/r/a", 2: b"/r"}, whole=False)
    coverage.compare(WATCHED)
    assert coverage.compare(WATCHED) == Compared({1: b"/r/a", 2: b"/r"}, False)


def test_a_walk_of_a_part_adds_to_what_is_to_be_compared() -> None:
    coverage = Coverage()
    coverage.add({1: b"/r"}, whole=True)
    coverage.add({2: b"/r/a"}, whole=False)
    assert coverage.compare({}) is None
    assert coverage.compare({}) == Compared({1: b"/r", 2: b"/r/a"}, True)
    coverage.add({1: b"/r"}, whole=False)
    coverage.drop()
    assert not coverage.is_pending


def test_a_polled_root_is_walked_after_ten_times_as_long_as_a_walk_takes() -> None:
    polling = PollSchedule(15.0)
    polling.begin(0.0)
    assert not polling.is_due(14.9)
    assert polling.is_due(15.0)
    polling.note_asked(15.0)
    polling.note_asked(20.0)
    polling.note_walked(25.0)  # ten seconds after it was asked for first
    assert not polling.is_due(124.9)
    assert polling.is_due(125.0)
    polling.note_asked(125.0)
    polling.note_walked(125.1)
    assert polling.is_due(140.1)
    polling.note_asked(200.0)
    polling.note_walked(9000.0)
    assert polling.is_due(9900.0), "never less often than every 15 minutes"


def test_a_heartbeat_that_is_missed_comes_less_often_until_one_is_heard(tmp_path: Path) -> None:
    now = 0.0
    heartbeat = Heartbeat(tmp_path / "heartbeat", 20.0, 10.0, lambda: now)
    assert not heartbeat.is_missing(100.0), "none was sent"
    heartbeat.watch = object()  # type: ignore[assignment]
    heartbeat.beat(now)
    assert (tmp_path / "heartbeat").exists()
    assert not heartbeat.is_missing(10.0)
    assert heartbeat.is_missing(10.1)
    assert not heartbeat.is_deaf
    assert heartbeat.is_missing(10.1)
    assert heartbeat.is_deaf
    heartbeat.reset(now)
    (tmp_path / "heartbeat").unlink()
    heartbeat.beat(79.9)
    assert not (tmp_path / "heartbeat").exists(), "four times the pause after two misses"
    now = 80.0
    heartbeat.beat(now)
    assert (tmp_path / "heartbeat").exists()
    now = 88.0
    heartbeat.note_event()
    assert not heartbeat.is_missing(97.0), "other events are signs of life as well"
