"""How long a question takes: one about a photo that is indexed, and one about a photo that is not.

Of the first, the whole `facewatch-query` process is measured, against a Python that imports three modules of the
standard library and does nothing. Of the second, what the daemon takes for it, against decoding and inference alone
with as many threads. Then both again while an import runs at full speed.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from facewatchd.client.connection import Connection
from tests.benchmarks import album
from tests.benchmarks.daemons import Daemon, running
from tests.benchmarks.loops import CORES, Limit, plain_loop, seen
from tests.benchmarks.options import Options
from tests.benchmarks.report import Report, median, percentile

BARE = [sys.executable, "-c", "import argparse, json, socket"]
CLIENT = Path(sys.executable).with_name("facewatch-query")
LOAD = 40
"""Photos that are imported meanwhile, as many times as it takes."""


@dataclass
class Times:
    """Seconds."""

    bare: list[float] = field(default_factory=list)
    indexed: list[float] = field(default_factory=list)
    limit: list[float] = field(default_factory=list)
    other: list[float] = field(default_factory=list)


def run(options: Options) -> Iterator[Report]:
    photos = album.mixed(options, 8 if options.quick else 40)
    home = options.work / "querying"
    root = home / "root"
    root.mkdir(parents=True)
    for path in photos:
        (root / path.name).write_bytes(album.marked(path.read_bytes(), 0))
    asked = Questions(options, home, root, photos)
    with running(home, [root], options.pack, watch="settle = 0", faces="second_look = false") as daemon:
        daemon.call("wait", timeout=3600)
        asked.measure(daemon, 1)  # the model is loaded, the files are in the cache
        idle = asked.measure(daemon, options.rounds(100))
        busy = asked.measure_busy(daemon, options.rounds(100))
    yield _report(idle, busy)


class Questions:
    """Asks, again and again."""

    def __init__(self, options: Options, home: Path, root: Path, photos: list[Path]) -> None:
        self._photos = [path for path in photos if path.suffix == ".jpg"]
        self._root = root
        self._aside = home / "aside.jpg"
        self._mark = 1_000_000
        self._limit = None
        if options.pack.directory is not None:
            faces = seen(plain_loop(options.pack), self._photos)
            self._photos = [photo for photo, found in zip(self._photos, faces, strict=True) if found]
            self._limit = Limit(options.pack, self._photos, CORES, callers=1)

    def measure(self, daemon: Daemon, rounds: int, goes_on: Callable[[], object] = lambda: None) -> Times:
        times = Times()
        with Connection(daemon.socket) as connection:
            for number in range(rounds):
                at = number % len(self._photos)
                times.bare.append(_timed(lambda: subprocess.run(BARE, check=True)))
                times.indexed.append(_timed(lambda at=at: self._process(daemon, at)))  # type: ignore[misc]
                times.other.append(self._new(connection, at))
                if self._limit:
                    times.limit.append(_timed(lambda at=at: self._limit.one(self._photos[at], at)))  # type: ignore
                goes_on()
        return times

    def measure_busy(self, daemon: Daemon, rounds: int) -> Times:
        """The same while there is always something to import."""
        limit, self._limit = self._limit, None  # it would take part in the competition

        def feed() -> None:
            while daemon.call("status")["pending"] < LOAD:
                self._mark += 1
                directory = self._root / str(self._mark)
                directory.mkdir()
                for path in self._photos:
                    (directory / path.name).write_bytes(album.marked(path.read_bytes(), self._mark))
                time.sleep(0.2)

        feed()
        times = self.measure(daemon, rounds, feed)
        self._limit = limit
        return times

    def _process(self, daemon: Daemon, at: int) -> None:
        photo = self._root / self._photos[at].name
        command = [str(CLIENT), "--socket", str(daemon.socket), "-q", str(photo)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def _new(self, connection: Connection, at: int) -> float:
        """Ask about a content that nobody has seen; return the daemon's part of the time."""
        self._mark += 1
        self._aside.write_bytes(album.marked(self._photos[at].read_bytes(), self._mark))
        return float(connection.call("query", photos=[{"path": str(self._aside)}])["elapsed_ms"]) / 1000


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _report(idle: Times, busy: Times) -> Report:
    report = Report("Queries", ["what", "median ms", "p95 ms", "p95 ms during an import"])
    names = ("bare Python", "facewatch-query, an indexed photo", "daemon, a photo that is not indexed")
    for name, quiet, loaded in zip(
        names, (idle.bare, idle.indexed, idle.other), (busy.bare, busy.indexed, busy.other), strict=True
    ):
        report.row(name, *(1000 * value for value in (median(quiet), percentile(quiet, 95), percentile(loaded, 95))))
    if idle.limit:
        report.row("decoding and inference alone", 1000 * median(idle.limit), 1000 * percentile(idle.limit, 95), "")
    report.notes.append(
        f"{len(idle.bare)} rounds in which all take turns, {CORES} cores. Each photo that is not indexed has a content "
        "that the daemon has not seen; its part of the time is the answer's elapsed_ms. ONNX Runtime's threads do not "
        "spin, neither the daemon's nor those measured alone. During the import at least 40 photos wait at any time."
    )
    report.check("facewatch-query against bare Python", _ratio(idle.indexed, idle.bare), 2)
    if idle.limit:
        report.check("not indexed: daemon against decoding and inference", _ratio(idle.other, idle.limit), 1.15)
    report.check("indexed: p95 during an import against idle", _p95(busy.indexed, idle.indexed), 2)
    report.check("not indexed: p95 during an import against idle", _p95(busy.other, idle.other), 2)
    return report


def _ratio(one: list[float], other: list[float]) -> float:
    return median([first / second for first, second in zip(one, other, strict=True)])


def _p95(one: list[float], other: list[float]) -> float:
    return percentile(one, 95) / percentile(other, 95)
