"""What a queue of a million paths costs: memory, and how long anything else waits for its lock."""

from __future__ import annotations

import gc
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor

from facewatchd.scan.work_queue import WorkQueue
from tests.benchmarks.daemons import resident
from tests.benchmarks.options import Options
from tests.benchmarks.report import Report

PATHS = 1_000_000
IN_A_DIRECTORY = 1000
WAITS = 64
"""Barriers at the same time: one for each client that may wait."""


def run(options: Options) -> Iterator[Report]:
    count = PATHS // 50 if options.quick else PATHS
    report = Report(f"A queue of {count:,} paths", ("what", "figure", "unit"))
    for what, measure, unit, bound in _MEASURED:
        # Each in a process of its own: memory that one has freed would be what the next one takes.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
            figure = alone.submit(measure, count).result()
        report.row(what, figure, unit)
        report.check(f"{what}, {unit}", figure, bound)
    report.notes = [
        "Bytes come on top of the paths' own. How long another thread waits is the longest of its calls of `len`, one",
        "after the other, and so includes its waiting for the interpreter (5 ms).",
    ]
    yield report


class _Clock:
    """A clock that moves only when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def _paths(count: int) -> list[bytes]:
    return [b"/home/anna/Pictures/%04d/IMG_%07d.jpg" % (number // IN_A_DIRECTORY, number) for number in range(count)]


def _bytes_taken(fill: Callable[[], object]) -> int:
    gc.collect()
    before = resident()
    fill()
    return resident() - before


def _add(queue: WorkQueue, paths: list[bytes], in_a_directory: int = IN_A_DIRECTORY) -> None:
    for start in range(0, len(paths), in_a_directory):
        part = paths[start : start + in_a_directory]
        queue.add_found((path, 1e6, 1e9 + number) for number, path in enumerate(part, start))


def _touch_all(queue: WorkQueue, clock: _Clock, paths: list[bytes]) -> None:
    for path in paths:
        clock.now += 1e-5
        queue.touch(path)


def _memory_found(count: int) -> float:
    paths, queue = _paths(count), WorkQueue(1.0)
    return _bytes_taken(lambda: _add(queue, paths)) / count


def _memory_touched(count: int) -> float:
    paths, clock = _paths(count), _Clock()
    queue = WorkQueue(1.0, clock=clock)
    return _bytes_taken(lambda: _touch_all(queue, clock, paths)) / count


def _memory_of_one(count: int) -> float:
    clock = _Clock()
    queue = WorkQueue(1.0, clock=clock)
    queue.pause()
    (path,) = _paths(1)

    def touch() -> None:
        for number in range(count):
            clock.now += 1e-3
            queue.touch(path, settle=number % 3 != 0)

    return _bytes_taken(touch) / 1e6


def _longest_wait(queue: WorkQueue, work: Callable[[], object]) -> float:
    """Milliseconds that another thread waits for the queue at most, while something is done with it."""
    done, longest = threading.Event(), [0.0]

    def ask() -> None:
        while not done.is_set():
            started = time.perf_counter()
            len(queue)
            longest[0] = max(longest[0], time.perf_counter() - started)
            time.sleep(0.0005)

    thread = threading.Thread(target=ask)
    thread.start()
    work()
    done.set()
    thread.join()
    return 1000 * longest[0]


def _filled_while_paused(count: int) -> WorkQueue:
    clock = _Clock()
    queue = WorkQueue(1.0, clock=clock)
    queue.pause()
    _touch_all(queue, clock, _paths(count))
    clock.now += 100
    queue.resume()
    return queue


def _first_take(count: int) -> float:
    queue = _filled_while_paused(count)
    return _longest_wait(queue, lambda: queue.take(1))


def _seconds_of_first_take(count: int) -> float:
    queue = _filled_while_paused(count)
    started = time.perf_counter()
    queue.take(1)
    return time.perf_counter() - started


def _large_directory(count: int) -> float:
    paths, queue = _paths(count), WorkQueue(1.0)
    return _longest_wait(queue, lambda: _add(queue, paths, count))


def _barrier(count: int) -> float:
    """Milliseconds for a barrier, and for looking whether it is passed."""
    queue = WorkQueue(1.0)
    _add(queue, _paths(count))
    started = time.perf_counter()
    queue.look_again()
    queue.barrier().wait(0)
    return 1000 * (time.perf_counter() - started)


def _memory_of_barriers(count: int) -> float:
    queue = WorkQueue(1.0)
    _add(queue, _paths(count))
    barriers: list[object] = []
    return _bytes_taken(lambda: barriers.extend(queue.barrier() for _ in range(WAITS))) / 1e6


_MEASURED: tuple[tuple[str, Callable[[int], float], str, float], ...] = (
    ("memory of paths that a walk found", _memory_found, "bytes a path", 250),
    ("memory of paths that were touched", _memory_touched, "bytes a path", 250),
    ("memory after as many touches of one path while paused", _memory_of_one, "MB", 1),
    ("another thread waits at most, during the first take after a pause", _first_take, "ms", 50),
    ("the first take after a pause", _seconds_of_first_take, "s", 10),
    ("another thread waits at most, while all are found in one directory", _large_directory, "ms", 50),
    ("a barrier", _barrier, "ms", 1),
    (f"memory of {WAITS} barriers", _memory_of_barriers, "MB", 1),
)
