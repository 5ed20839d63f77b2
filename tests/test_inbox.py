"""The queue of paths: coalescing, settling, order, barriers. Time is a number that the tests move."""

from __future__ import annotations

import queue
import threading

import pytest

from facewatchd.inbox import Depth, Inbox, Item


class Clock:
    """A monotonic clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def inbox(clock: Clock) -> Inbox:
    return Inbox(settle=1.0, cap=10.0, clock=clock)


def taken(inbox: Inbox, limit: int = 100) -> list[bytes]:
    return [item.path for item in inbox.take(limit, timeout=0)]


def test_a_path_is_ready_once_it_settled(inbox: Inbox, clock: Clock) -> None:
    inbox.touch(b"/a")
    assert taken(inbox) == []
    clock.now += 0.9
    inbox.touch(b"/a")
    clock.now += 0.9
    assert taken(inbox) == []
    clock.now += 0.1
    assert taken(inbox) == [b"/a"]


def test_what_is_at_rest_is_ready_at_once(inbox: Inbox) -> None:
    inbox.touch(b"/moved", settle=False)
    assert taken(inbox) == [b"/moved"]


def test_a_file_that_never_rests_is_ready_after_the_cap(inbox: Inbox, clock: Clock) -> None:
    for _ in range(20):
        inbox.touch(b"/log")
        assert taken(inbox) == []
        clock.now += 0.5
    assert taken(inbox) == [b"/log"]


def test_many_touches_are_one(inbox: Inbox, clock: Clock) -> None:
    for _ in range(1000):
        inbox.touch(b"/a")
    assert len(inbox) == 1
    clock.now += 1
    assert taken(inbox) == [b"/a"]
    inbox.done(b"/a")
    assert len(inbox) == 0
    clock.now += 10
    assert taken(inbox) == []


def test_live_before_backlog_and_newest_first(inbox: Inbox, clock: Clock) -> None:
    inbox.add_found([(b"/old", 100.0, 1.0), (b"/new", 100.0, 3.0), (b"/middle", 100.0, 2.0)])
    inbox.touch(b"/event 1")
    clock.now += 0.1
    inbox.touch(b"/event 2")
    clock.now += 1
    inbox.add_found([(b"/moved in", 100.0, 0.0)], live=True)
    assert taken(inbox) == [b"/moved in", b"/event 2", b"/event 1", b"/new", b"/middle", b"/old"]


def test_found_files_that_changed_just_now_settle(inbox: Inbox, clock: Clock) -> None:
    inbox.add_found([(b"/resting", 2.0, 1.0), (b"/fresh", 0.25, 1.0), (b"/from the future", -100.0, 1.0)])
    assert taken(inbox) == [b"/resting"]
    clock.now += 0.75
    assert taken(inbox) == [b"/fresh"]
    clock.now += 0.25
    assert taken(inbox) == [b"/from the future"]


def test_a_found_file_does_not_put_off_a_live_one(inbox: Inbox, clock: Clock) -> None:
    inbox.touch(b"/a")
    assert inbox.add_found([(b"/a", 0.0, 0.0), (b"/b", 50.0, 0.0)]) == 1
    clock.now += 1
    assert taken(inbox) == [b"/a", b"/b"]


def test_a_path_touched_while_it_is_taken_comes_again(inbox: Inbox, clock: Clock) -> None:
    inbox.touch(b"/a", settle=False)
    assert taken(inbox) == [b"/a"]
    inbox.touch(b"/a", settle=False)
    assert taken(inbox) == [], "two workers must not hold one path"
    assert len(inbox) == 1
    inbox.done(b"/a")
    assert taken(inbox) == [b"/a"]
    inbox.done(b"/a")
    assert b"/a" not in inbox


def test_depth_is_kept_through_later_touches(inbox: Inbox) -> None:
    inbox.touch(b"/a", depth=Depth.FACES, settle=False)
    inbox.touch(b"/a", settle=False)
    inbox.add_found([(b"/b", 9.0, 0.0)])
    inbox.add_found([(b"/b", 9.0, 0.0)], depth=Depth.FACES)
    assert sorted(inbox.take(9, timeout=0)) == [Item(b"/a", Depth.FACES), Item(b"/b", Depth.FACES)]


def test_put_back_comes_again_after_its_delay(inbox: Inbox, clock: Clock) -> None:
    inbox.touch(b"/a", settle=False, depth=Depth.FACES)
    (item,) = inbox.take(1, timeout=0)
    inbox.put_back(item, delay=5)
    assert len(inbox) == 1
    assert taken(inbox) == []
    clock.now += 5
    assert inbox.take(1, timeout=0) == [item]


def test_paused_hands_out_nothing_and_forgets_nothing(inbox: Inbox) -> None:
    inbox.touch(b"/a", settle=False)
    inbox.pause()
    assert taken(inbox) == []
    inbox.resume()
    assert taken(inbox) == [b"/a"]


def test_a_barrier_waits_for_what_was_there(inbox: Inbox) -> None:
    inbox.touch(b"/a", settle=False)
    inbox.touch(b"/b", settle=False)
    (first,) = inbox.take(1, timeout=0)
    barrier = inbox.barrier()
    inbox.touch(b"/later", settle=False)
    assert barrier.remaining == {b"/a", b"/b"}
    inbox.touch(first.path, settle=False)
    inbox.done(first.path)
    assert barrier.remaining == {b"/a", b"/b"}, "it was touched again: it is not dealt with"
    for _ in range(3):
        for item in inbox.take(1, timeout=0):
            if item.path != b"/later":
                inbox.done(item.path)
    assert barrier.wait(0) == 0
    assert len(inbox) == 1


def test_a_barrier_that_nobody_waits_for_any_more_is_let_go(inbox: Inbox) -> None:
    inbox.touch(b"/a", settle=False)
    for _ in range(100):
        assert inbox.barrier().wait(0) == 1
    assert inbox._barriers == []


def test_a_barrier_ends_with_the_inbox(inbox: Inbox) -> None:
    inbox.touch(b"/a", settle=False)
    inbox.close()
    assert inbox.barrier().wait(60) == 1


def test_put_back_keeps_the_depth_when_the_path_was_touched_meanwhile(inbox: Inbox) -> None:
    inbox.touch(b"/a", settle=False, depth=Depth.FACES)
    (item,) = inbox.take(1, timeout=0)
    inbox.touch(b"/a", settle=False)
    inbox.put_back(item)
    assert inbox.take(1, timeout=0) == [Item(b"/a", Depth.FACES)]


def test_what_is_in_hand_is_looked_at_again_and_a_barrier_waits_for_that(inbox: Inbox, clock: Clock) -> None:
    inbox.touch(b"/in hand", settle=False)
    assert taken(inbox) == [b"/in hand"]
    inbox.touch(b"/waiting")
    inbox.look_again()
    barrier = inbox.barrier()
    assert taken(inbox) == []
    inbox.done(b"/in hand")
    assert barrier.remaining == {b"/in hand", b"/waiting"}
    assert taken(inbox) == [b"/in hand"]
    inbox.done(b"/in hand")
    assert barrier.remaining == {b"/waiting"}
    clock.now += 1
    assert taken(inbox) == [b"/waiting"]


def test_take_wakes_up_for_a_touch_and_for_the_end() -> None:
    inbox = Inbox(settle=0.01)
    got: queue.Queue[list[Item]] = queue.Queue()

    def take_until_the_end() -> None:
        while items := inbox.take(1):
            got.put(items)
        got.put([])

    thread = threading.Thread(target=take_until_the_end)
    thread.start()
    for path in (b"/a", b"/b"):
        inbox.touch(path)
        assert got.get(timeout=10) == [Item(path, Depth.STAMP)]
    inbox.close()
    assert got.get(timeout=10) == []
    thread.join(10)
    assert not thread.is_alive()
