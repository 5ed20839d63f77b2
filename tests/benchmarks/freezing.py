"""No freezes: how long answers take while photos are recorded, a checkpoint is written and the index is rebuilt."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from tests.benchmarks.host import Host
from tests.benchmarks.library import MODEL, Library, library
from tests.benchmarks.options import Options
from tests.benchmarks.report import Report, median, percentile

IDLE_SECONDS = 10.0
REBUILD_SECONDS = 120.0
"""Longer than a hundred thousand faces take; a million take a quarter of an hour, and all of it is alike."""


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
    stages: list[tuple[str, Callable[[], object], Callable[[], object]]] = [
        ("nothing else is done", lambda: None, lambda: time.sleep(IDLE_SECONDS)),
        ("photos are recorded", lambda: None, lambda: host.call("record", count=max(600, count // 500))),
        ("a checkpoint is written", lambda: _wait(new.exists), lambda: _wait(lambda: not new.exists())),
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


def _wait(holds: Callable[[], bool]) -> None:
    while not holds():
        time.sleep(0.01)
