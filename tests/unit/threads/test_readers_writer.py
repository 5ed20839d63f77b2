"""Readers and the one that changes take turns."""

from __future__ import annotations

import threading

from facewatchd.threads.readers_writer import ReadersWriterLock
from tests.support.processes import until

PATIENCE = 10.0


def begun(function: object) -> threading.Thread:
    thread = threading.Thread(target=function, daemon=True)  # type: ignore[arg-type]
    thread.start()
    return thread


def test_many_read_at_once_and_a_change_is_alone() -> None:
    turns, inside, problems = ReadersWriterLock(), [0, 0], []
    lock, barrier = threading.Lock(), threading.Barrier(5)

    def note(reading: int, changing: int) -> None:
        with lock:
            inside[0] += reading
            inside[1] += changing
            if inside[1] > 1 or (inside[1] and inside[0]):
                problems.append(tuple(inside))

    def read() -> None:
        barrier.wait()
        for _ in range(500):
            with turns.reading():
                note(1, 0)
                note(-1, 0)

    def change() -> None:
        barrier.wait()
        for _ in range(500):
            with turns.writing():
                note(0, 1)
                note(0, -1)

    threads = [begun(work) for work in (read, read, read, change, change)]
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert (problems, inside) == ([], [0, 0])


def test_reading_goes_on_beside_reading() -> None:
    turns, read = ReadersWriterLock(), threading.Event()

    def other() -> None:
        with turns.reading():
            read.set()

    with turns.reading():
        begun(other)
        assert read.wait(PATIENCE)


def test_who_reads_waits_for_one_change_only() -> None:
    turns, first, told = ReadersWriterLock(), threading.Event(), []

    def change_again_and_again() -> None:
        with turns.writing():
            first.set()
            until(lambda: turns._waiting == 1)
        with turns.writing():
            told.append("second change")

    changer = begun(change_again_and_again)
    assert first.wait(PATIENCE)
    with turns.reading():
        assert told == []
    changer.join(PATIENCE)
    assert told == ["second change"]


def test_who_changes_waits_for_those_who_read_already_only() -> None:
    turns, order = ReadersWriterLock(), []

    def change() -> None:
        with turns.writing():
            order.append("change")

    def late() -> None:
        with turns.reading():
            order.append("read")

    with turns.reading():
        changer = begun(change)
        until(lambda: turns._writing)
        latecomer = begun(late)
        until(lambda: turns._waiting == 1)
        assert order == []
    for thread in (changer, latecomer):
        thread.join(PATIENCE)
    assert order == ["change", "read"]
