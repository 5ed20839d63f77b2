"""Signs of life of threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from facewatchd.threads import liveness
from facewatchd.threads.liveness import Liveness


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def working(name: str, *signs: Callable[[], None]) -> Iterator[None]:
    """A thread that gives signs and then hangs until the end of the block."""
    given, end = threading.Event(), threading.Event()

    def work() -> None:
        for sign in signs:
            sign()
        given.set()
        end.wait()

    thread = threading.Thread(target=work, name=name)
    thread.start()
    assert given.wait(10)
    try:
        yield
    finally:
        end.set()
        thread.join()


def test_who_works_and_says_nothing_hangs() -> None:
    clock = Clock()
    signs = Liveness(clock)
    with working("worker-1", signs.beat), working("worker-2", signs.beat, signs.rest), working("worker-3"):
        clock.now += 10
        assert signs.silent(10) == []
        clock.now += 1
        assert signs.silent(10) == ["worker-1"]
    assert signs.silent(10) == [], "one that ended hangs no more"


def test_a_sign_counts_from_when_it_was_given() -> None:
    clock = Clock()
    signs = Liveness(clock)
    signs.beat()
    clock.now += 10
    signs.beat()
    clock.now += 10
    assert signs.silent(10) == []
    clock.now += 1
    assert signs.silent(10) == [threading.current_thread().name]


def test_who_waits_for_a_disk_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    signs = Liveness(clock)
    signs.beat()
    for _ in range(6):
        clock.now += 10
        found = signs.silent(10)
    assert found
    monkeypatch.setattr(liveness, "_waits_for_disk", lambda thread: True)
    assert signs.silent(10) == []


@pytest.mark.parametrize(
    ("state", "place", "expected"),
    [
        ("S", "futex_wait_queue", False),
        ("R", "0", False),
        ("S", "do_poll.constprop.0", False),
        ("D", "folio_wait_bit_common", True),
        ("S", "request_wait_answer", True),
        ("S", "rpc_wait_bit_killable", True),
    ],
)
def test_which_waits_are_a_disks(
    state: str, place: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = tmp_path / str(threading.get_native_id())
    task.mkdir()
    (task / "stat").write_text(f"17 (a (strange) name) {state} 1 17")
    (task / "wchan").write_text(place)
    monkeypatch.setattr(liveness, "TASKS", tmp_path)
    assert liveness._waits_for_disk(threading.current_thread()) is expected


def test_a_stop_of_the_whole_process_is_no_silence() -> None:
    clock = Clock()
    signs = Liveness(clock)
    signs.beat()
    clock.now += 5
    assert signs.silent(10) == []
    clock.now += 3600
    assert signs.silent(10) == []
    for _ in range(3):
        clock.now += 5
        found = signs.silent(10)
    assert found == [threading.current_thread().name], "one that hangs after it is still found"
