"""The longest request in an import beside programs that always compute, and what those lose to it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks import filling
from tests.benchmarks.daemons import Daemon, running
from tests.benchmarks.options import Options
from tests.benchmarks.report import Report, percentile

COLUMNS = ("longest status (ms)", "longest query (ms)", "p99 (ms)", "photos a minute", "loops lose (%)")
LOOPS = 2
FIRST_SECONDS = 60.0
LATER_SECONDS = 30.0
KNOWN = 4
"""Photos that are indexed before; the queries ask for one of them."""
PAUSE = 0.02
"""Seconds between two requests."""
SETUPS: tuple[tuple[str, int, dict[str, str]], ...] = (
    ("default", 0, {}),
    ("default", LOOPS, {}),
    ("idle_priority = false", LOOPS, {"resources": "idle_priority = false"}),
)
LOOP = """
import os, sys
place, count = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT), 0
while True:
    count += 1
    if not count % 10_000:
        os.pwrite(place, b"%20d" % count, 0)
"""


def run(options: Options) -> Iterator[Report]:
    report = Report(
        f"Requests in an import beside {LOOPS} busy loops",
        ("configuration", "loops", "when", *COLUMNS),
    )
    spans = [span / (6 if options.quick else 1) for span in (FIRST_SECONDS, LATER_SECONDS)]
    with tempfile.TemporaryDirectory(dir=options.work) as place:
        for number, setup in enumerate(SETUPS):
            _measure(report, options, Path(place) / str(number), setup, spans)
    first, later = spans
    report.notes = [
        f"Right after {_many(spans)} photos were moved in: the first {first:g} s, and the {later:g} s after that.",
        f"A status and a query for an indexed photo in turns, {PAUSE * 1000:.0f} ms in between. What the loops",
        "lose is against the same loops beside the paused daemon.",
    ]
    yield report


def _many(spans: list[float]) -> int:
    """Photos that last for all of the time."""
    return int(40 * sum(spans))


def _measure(
    report: Report, options: Options, home: Path, setup: tuple[str, int, dict[str, str]], spans: list[float]
) -> None:
    name, count, config = setup
    root, aside = home / "photos", home / "aside"
    filling.copies(root, KNOWN)
    photo = min(root.iterdir())
    with ExitStack() as stack:
        daemon = stack.enter_context(running(home / "home", [root], options.pack, **config))
        daemon.until(lambda status: status["state"] == "idle" and status["photos"] == KNOWN)
        loops = stack.enter_context(_busy(home, count))
        filling.copies(aside, _many(spans))
        daemon.call("pause")
        began, counts = time.monotonic(), _rounds(loops)
        time.sleep(spans[1] / 3)
        alone = (_rounds(loops) - counts) / (time.monotonic() - began)
        daemon.call("resume")
        aside.rename(root / "new")
        for when, span in zip((f"first {spans[0]:g} s", "later"), spans, strict=True):
            counts, embedded = _rounds(loops), _embedded(daemon)
            began = time.monotonic()
            times = _ask(daemon, photo, span)
            took = time.monotonic() - began
            photos = (_embedded(daemon) - embedded) * 60 / took
            beside = (_rounds(loops) - counts) / took
            longest = {method: 1000 * max(each) for method, each in times.items()}
            every = 1000 * percentile([each for both in times.values() for each in both], 99)
            lost = 100 * (1 - beside / alone) if count else ""
            report.row(name, count, when, longest["status"], longest["query"], every, photos, lost)
            if name == "default":
                beside_what = f"{count} loops" if count else "nothing"
                report.check(f"ms of the longest request beside {beside_what}, {when}", max(longest.values()), 100.0)
            if name == "default" and count:
                report.check(f"photos a minute beside {count} loops, {when}", photos, 6.0, at_least=True)
                report.check(f"% that the loops lose, {when}", float(lost), 20.0)


def _ask(daemon: Daemon, photo: Path, span: float) -> dict[str, list[float]]:
    """Ask in turns for a time; return the seconds that each request took, by method."""
    requests: dict[str, dict[str, Any]] = {"status": {}, "query": {"photos": [{"path": str(photo)}], "top": 20}}
    times: dict[str, list[float]] = {method: [] for method in requests}
    end = time.monotonic() + span
    while time.monotonic() < end:
        for method, params in requests.items():
            began = time.perf_counter()
            daemon.call(method, **params)
            times[method].append(time.perf_counter() - began)
        time.sleep(PAUSE)
    return times


def _embedded(daemon: Daemon) -> int:
    return int(daemon.call("status")["rates"]["embedded"])


@contextmanager
def _busy(place: Path, count: int) -> Iterator[list[Path]]:
    """Loops that compute all the time, each in a session of its own, and the files where they say how far they are."""
    files = [place / f"loop {number}" for number in range(count)]
    loops = [subprocess.Popen([sys.executable, "-c", LOOP, file], start_new_session=True) for file in files]
    try:
        while not all(file.exists() and file.stat().st_size for file in files):
            time.sleep(0.1)
        yield files
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def _rounds(files: list[Path]) -> int:
    """Rounds that the loops have made together."""
    return sum(int(file.read_text()) for file in files)
