"""``python -m tests.benchmarks [NAME ...]``: run them, print their tables, write the same to a JSON file.

Each benchmark is a module with ``run(options) -> list[Report]``. Exit status 1 when a figure misses its bound.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.options import SHARED_NUMBERS, Options, find_pack
from tests.benchmarks.report import Report, machine, save

NAMES = (
    "importing",
    "detecting",
    "querying",
    "parameters",
    "searching",
    "combining",
    "freezing",
    "starting",
    "reconciling",
    "freshness",
    "politeness",
    "responding",
    "queueing",
    "growth",
    "second_look",
    "bursts",
    "devices",
    "thresholds",
    "expectation",
    "people",
    "groups",
    "statements",
    "subscribing",
    "exchange",
    "picturing",
    "page",
    "sheets",
    "saving",
    "walk",
    "outbox",
    "fetching",
    "shared",
)


def main() -> int:
    options, names, json_file = _parse()
    print(", ".join(f"{key} {value}" for key, value in machine().items()), end="\n\n", flush=True)
    reports: list[Report] = []
    for name in names:
        started = time.monotonic()
        for report in importlib.import_module(f"tests.benchmarks.{name}").run(options):
            print(report.markdown(), flush=True)
            reports.append(report)
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
        if json_file:
            save(reports, json_file)
    return 0 if all(check.kept for report in reports for check in report.checks) else 1


def _parse() -> tuple[Options, list[str], Path | None]:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description="Measure facewatchd on this machine."
    )
    add = parser.add_argument
    add(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"any of {', '.join(NAMES)} (default: all); and files of labelled faces, FILE.npz",
    )
    add(
        "--pack",
        metavar="NAME|DIR",
        help="the model (default: the test pack beside the project, else an installed one)",
    )
    add("--photos", type=Path, metavar="DIR", help="your own photos instead of those that are put together")
    add(
        "--faces",
        type=int,
        nargs="+",
        metavar="N",
        default=[10_000, 100_000, 1_000_000],
        help="sizes of the made-up galleries",
    )
    add("--work", type=Path, metavar="DIR", help="where to put what is made (default: a temporary directory)")
    add("--quick", action="store_true", help="a few rounds of everything, to see that it runs: no figures to quote")
    add("--json", type=Path, metavar="FILE", help="write everything there as well")
    given = parser.parse_args()
    numbers = tuple(Path(name) for name in given.names if name.endswith(".npz"))
    given.names = [name for name in given.names if not name.endswith(".npz")]
    if missing := [str(file) for file in numbers if not file.is_file()]:
        parser.error(f"there is no file {', '.join(missing)}")
    if unknown := set(given.names) - set(NAMES):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}: choose from {', '.join(NAMES)}")
    work = given.work or Path(tempfile.mkdtemp(prefix="facewatchd-benchmark-"))
    work.mkdir(parents=True, exist_ok=True)
    if not numbers and SHARED_NUMBERS.is_file():
        numbers = (SHARED_NUMBERS,)
    options = Options(find_pack(given.pack), given.photos, tuple(given.faces), given.quick, work, numbers)
    return options, given.names or list(NAMES), given.json


if __name__ == "__main__":
    sys.exit(main())
