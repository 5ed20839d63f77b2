"""From the start of the daemon to its first answer, with a library as large as asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator

from facewatchd.client.connection import Connection
from facewatchd.errors import FacewatchError
from tests.benchmarks.daemons import resident
from tests.benchmarks.host import Host
from tests.benchmarks.kernel import family
from tests.benchmarks.library import library
from tests.benchmarks.options import Options
from tests.benchmarks.report import Report, median

COLUMNS = ("faces", "first answer s", "compared every face", "answer by the index s", "RSS MB", "with its children MB")


def run(options: Options) -> Iterator[Report]:
    report = Report("Start", COLUMNS)
    for count in options.faces:
        made = library(options, count)
        rounds = [_start(Host(made, options.pack)) for _ in range(options.rounds(3))]
        first, by_index = (median([one[part] for one in rounds]) for part in (0, 2))
        scanned = "yes" if any(one[1] for one in rounds) else "no"
        report.row(count, first, scanned, by_index, rounds[-1][3], rounds[-1][4])
        report.check(f"seconds to the first answer among {count:,}", first, 10)
    report.notes.append(
        "From the checkpoint, files in the page cache, the start of the models included; medians. Until the index is "
        "there and was compared with the catalog, every face is."
    )
    yield report


def _start(host: Host) -> tuple[float, bool, float, float, float]:
    """Seconds to the first answer, whether that compared every face, seconds to one by the index, and megabytes."""
    started = time.perf_counter()
    host.start()
    try:
        first_exact = _first(host)
        first = time.perf_counter() - started
        host.until(lambda status: status["index"]["ready"])
        with Connection(host.socket, timeout=60) as connection:
            while host.ask(connection, 1)["exact"]:
                pass
        by_index = time.perf_counter() - started
        every = [resident(pid) / 1e6 for pid in family(host.pid)]
        return first, first_exact, by_index, every[0], sum(every)
    finally:
        host.stop()


def _first(host: Host) -> bool:
    while True:
        try:
            with Connection(host.socket, timeout=600) as connection:
                return bool(host.ask(connection, 0)["exact"])
        except (FacewatchError, OSError):
            time.sleep(0.01)
