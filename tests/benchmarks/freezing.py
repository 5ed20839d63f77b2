"""No freezes: how long answers take while photos are recorded, a checkpoint is written and the index is rebuilt."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.benchmarks.host import Host
from tests.benchmarks.library import MODEL, Library, library
from tests.benchmarks.options import Options
from tests.benchmarks.report import Report, median, percentile

IDLE_SECONDS = 10.0
REBUILD_SECONDS = 120.0
"""Longer than a hundred thousand faces take; a million take a quarter of an hour, and all of it is alike."""
CHECKPOINT_SECONDS = 60.0
"""A checkpoint begins within so many seconds after the last change, unless an earlier one had that change in it."""
TRIES = 10


def run(options: Options) -> Iterator[Report]:
    report = Report("No freezes", ["faces", "while", "seconds", "questions", "p50 ms", "p99 ms", "longest ms"])
    for count in options.faces:
        made = library(options, count)
        host = Host(made, options.pack)
        host.start()
        try:
            host.until(lambda status: status["index"]["ready"])
            _measure(host, made, report)
        finally:
            host.stop()
    report.notes.append(
        "One client asks by an embedding, 20 matches at most, over the socket, again and again. A sixth of the "
        "index is tombstones before it is rebuilt (in a library that was measured before, fewer). At most "
        f"{REBUILD_SECONDS:g} s of a rebuild are measured."
    )
    yield report


def _measure(host: Host, made: Library, report: Report) -> None:
    count = len(made.current)
    new = made.data / MODEL.id / "index.hnsw.new"
    some = max(600, count // 500)
    stages: list[tuple[str, Callable[[], object], Callable[[], object]]] = [
        ("nothing else is done", lambda: None, lambda: time.sleep(IDLE_SECONDS)),
        ("photos are recorded", lambda: None, lambda: host.call("record", count=some)),
        ("a checkpoint is written", lambda: _begun(host, new, some), lambda: _wait(lambda: not new.exists())),
        ("the index is rebuilt", lambda: host.call("wear"), lambda: _rebuilt(host)),
    ]
    for what, prepare, stage in stages:
        prepare()
        with host.asked() as times:
            started = time.perf_counter()
            stage()
            lasted = time.perf_counter() - started
        report.row(count, what, lasted, len(times), median(times), percentile(times, 99), max(times))
        report.check(f"p99 among {count:,} while {what}, ms", percentile(times, 99), 50)


def _rebuilt(host: Host) -> None:
    end = time.monotonic() + REBUILD_SECONDS
    host.until(lambda status: not status["index"]["tombstones"] or time.monotonic() > end, every=1.0)


def _begun(host: Host, new: Path, some: int) -> None:
    """Wait until a checkpoint is being written. Where photos were recorded slowly, one was written meanwhile."""
    for _ in range(TRIES):
        if _wait(new.exists, CHECKPOINT_SECONDS):
            return
        host.call("record", count=some)
    raise AssertionError(f"no checkpoint began although photos were recorded {TRIES} times")


def _wait(holds: Callable[[], bool], seconds: float = math.inf) -> bool:
    """Whether it held within so many seconds."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True
