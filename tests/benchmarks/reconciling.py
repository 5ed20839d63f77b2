"""How long a walk takes that finds every file as it was, against `find` asking the disk for the same."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks import filling
from tests.benchmarks.daemons import Daemon, running
from tests.benchmarks.options import Options
from tests.benchmarks.report import Report, median

FILES = 100_000
ROUNDS = 15
FIELDS = "%D %i %s %T@ %C@ %p\\n"
"""Device, inode, size, mtime, ctime and path: what the catalog holds of a file."""


def run(options: Options) -> Iterator[Report]:
    files = FILES // 50 if options.quick else FILES
    report = Report(
        f"Reconcile {files:,} unchanged files",
        ("directories", "find (ms)", "reconcile (ms)", "ratio", "read", "embedded"),
    )
    for directories in (1000 * files // FILES, 1):
        with tempfile.TemporaryDirectory(dir=options.work) as place:
            _measure(options, Path(place), files, directories, report)
    report.notes = [
        "A `wait` of a running daemon, which walks and compares everything, in turns with `find DIR -printf` with the",
        "same fields; medians, caches warm. The files are BMPs of one pixel, recorded with their true stamps.",
    ]
    yield report


def _measure(options: Options, place: Path, files: int, directories: int, report: Report) -> None:
    root = place / "photos"
    paths = filling.make_files(root, files, directories)
    filling.fill_catalog(place / "home", root, options.pack, paths)
    with running(place / "home", [root], options.pack) as daemon:
        daemon.until(lambda status: status["state"] == "idle")
        pairs = [(_find(root), _reconcile(daemon)) for _ in range(options.rounds(ROUNDS) + 1)][1:]
        status = daemon.call("status")
    if status["photos"] != files:
        raise SystemExit(f"{status['photos']} photos are known instead of {files}")
    found, reconciled = (median(column) for column in zip(*pairs, strict=True))
    ratio = median([ours / theirs for theirs, ours in pairs])
    read, embedded = status["rates"]["read"], status["rates"]["embedded"]
    report.row(directories, 1000 * found, 1000 * reconciled, ratio, read, embedded)
    report.check(f"times `find -printf`, files in {directories} directories", ratio, 3.0)
    report.check("files embedded again", embedded, 0)
    shutil.rmtree(root)


def _find(root: Path) -> float:
    started = time.perf_counter()
    subprocess.run(["find", root, "-printf", FIELDS], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def _reconcile(daemon: Daemon) -> float:
    started = time.perf_counter()
    if not daemon.call("wait")["complete"]:
        raise SystemExit("the walk did not see everything")
    return time.perf_counter() - started
