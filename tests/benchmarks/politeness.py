"""What a running import costs others, what an idle daemon costs, and what its memory and threads are."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from facewatchd.inference.wire import AHEAD
from tests.benchmarks import filling, kernel
from tests.benchmarks.daemons import Daemon, resident, running
from tests.benchmarks.options import Options
from tests.benchmarks.report import Report, median

PAIRS = 6
LOOP_SECONDS = 3.0
IDLE_SECONDS = 60.0
IMPORT_SECONDS = 6.0
UNLOAD_AFTER = 5
COUNT = """
import sys, time
count, end = 0, time.perf_counter() + float(sys.argv[1])
while time.perf_counter() < end:
    count += 1
print(count)
"""


def run(options: Options) -> Iterator[Report]:
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(dir=options.work) as place:
        root = Path(place) / "photos"
        filling.copies(root, 40 * cores)
        with running(Path(place) / "home", [root], options.pack) as daemon:
            yield _classes(daemon)
            yield _loops(options, daemon, cores)
        yield _threads(options, Path(place), root, cores)
        yield _rest(options, Path(place), root)


def _span(options: Options, usual: float) -> float:
    """How many seconds to look."""
    return usual / 6 if options.quick else usual


def _importing(daemon: Daemon) -> None:
    """See to it that an import runs, and goes on for some time."""
    if daemon.call("status")["pending"] < 20:
        daemon.call("scan", force=True)
    embedded = daemon.call("status")["rates"]["embedded"]
    daemon.until(lambda status: status["rates"]["embedded"] > embedded)


def _classes(daemon: Daemon) -> Report:
    report = Report("Scheduling classes while photos are imported", ("process", "threads", "in the idle class"))
    _importing(daemon)
    found = kernel.threads(daemon.pid).values()
    for process, purpose in kernel.purposes(daemon.pid).items():
        threads = [thread for thread in found if thread.process == process]
        idle = kernel.idle_class(threads)
        report.row(purpose, len(threads), idle)
        if purpose == "indexing":
            report.check("threads of the indexing process that are not in the idle class", len(threads) - idle, 0)
        if purpose == "queries":
            report.check("threads of the query process that are in the idle class", idle, 0)
    report.check(
        "threads of the daemon that are in the idle class",
        kernel.idle_class([t for t in found if t.process == daemon.pid]),
        0,
    )
    report.notes = ["Only the indexing process is in the idle class, once its model is loaded."]
    return report


# Somebody else's work


def _loops(options: Options, daemon: Daemon, cores: int) -> Report:
    report = Report(
        f"What {cores} busy loops lose to a running import",
        ("loops run", "counted alone (M/s)", "beside an import (M/s)", "lost (%)", "the import took (% of the cores)"),
    )
    span = _span(options, LOOP_SECONDS)
    here, elsewhere = [], []
    for _ in range(options.rounds(PAIRS)):
        here.append(_pair(daemon, cores, span, elsewhere=False))
        elsewhere.append(_pair(daemon, cores, span, elsewhere=True))
    for where, pairs in (("in the daemon's session", here), ("in sessions of their own", elsewhere)):
        alone, beside, taken = (median(column) for column in zip(*pairs, strict=True))
        lost = 100 * (1 - median([ours / theirs for theirs, ours, _ in pairs]))
        report.row(where, alone / 1e6, beside / 1e6, lost, 100 * taken / cores)
        report.check(f"% that loops {where} lose", lost, 5.0)
        report.check(f"% of the cores that the import takes beside loops {where}", 100 * taken / cores, 5.0)
    report.notes = [
        f"Each loop counts for {span:g} s; {options.rounds(PAIRS)} pairs in turns, medians. The import is",
        "paused for the loops alone. A terminal is a session: where the kernel shares out time by session, that",
        "counts more than the class.",
    ]
    return report


def _pair(daemon: Daemon, cores: int, span: float, *, elsewhere: bool) -> tuple[float, float, float]:
    """Counts a second alone and beside an import, and the cores that this took."""
    daemon.call("pause")
    _until_quiet(daemon)
    alone = _count(cores, span, elsewhere=elsewhere)
    daemon.call("resume")
    _importing(daemon)
    before = kernel.threads(daemon.pid)
    beside = _count(cores, span, elsewhere=elsewhere)
    taken = sum(kernel.seconds(before, kernel.threads(daemon.pid)).values()) / span
    return alone, beside, taken


def _count(loops: int, span: float, *, elsewhere: bool) -> float:
    command = [sys.executable, "-c", COUNT, str(span)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=elsewhere) for _ in range(loops)]
    return sum(int(process.communicate()[0]) for process in running) / span


def _until_quiet(daemon: Daemon) -> None:
    """Wait until the photos in hand are done."""
    while sum(_used(daemon, 0.3).values()) > 0.01:
        pass


def _used(daemon: Daemon, period: float) -> dict[int, float]:
    """The seconds that each thread takes in a period."""
    before = kernel.threads(daemon.pid)
    time.sleep(period)
    return kernel.seconds(before, kernel.threads(daemon.pid))


# Threads


def _threads(options: Options, place: Path, root: Path, cores: int) -> Report:
    report = Report(
        "Threads that work", ("`threads`", "of the indexing process", "of all", "cores taken", "loaded, at rest (ms/s)")
    )
    span = _span(options, IMPORT_SECONDS)
    for count in sorted({1, cores}):
        home = place / f"threads {count}"
        with running(home, [root], options.pack, resources=f"threads = {count}") as daemon:
            _importing(daemon)
            used = _used(daemon, span)
            (indexing,) = (pid for pid, name in kernel.purposes(daemon.pid).items() if name == "indexing")
            theirs = {tid for tid, thread in kernel.threads(daemon.pid).items() if thread.process == indexing}
            working = {tid for tid, seconds in used.items() if seconds > 0.02 * span}
            taken = sum(used.values()) / span
            daemon.call("pause")
            _until_quiet(daemon)
            resting = _used(daemon, 3.0)
            children = {tid for tid, thread in kernel.threads(daemon.pid).items() if thread.process != daemon.pid}
            spent = 1000 / 3.0 * sum(resting.get(tid, 0.0) for tid in children)
        report.row(count, len(working & theirs), len(working), taken, spent)
        report.check(
            f"threads of the indexing process that work, with threads = {count}", len(working & theirs), count + AHEAD
        )
        report.check(f"cores taken by everything, with threads = {count}", taken, 1.05 * count)
        report.check(f"ms/s of models that are loaded and have nothing to do, with threads = {count}", spent, 0.5)
    report.notes = [
        f"Processor time of every thread of the daemon and its children in {span:g} s of an import; working",
        f"are those that take 2 % of a core or more. The indexing process has {AHEAD} more than `threads`, on which",
        "the next photo lies ready: as many as `threads` have their turn at the same time.",
    ]
    return report


# At rest


def _rest(options: Options, place: Path, root: Path) -> Report:
    report = Report("At rest, and memory", ("when", "daemon (MB)", "children (MB)", "% of a core", "wakeups a second"))
    for path in list(root.iterdir())[20:]:
        path.unlink()
    with running(place / "resting", [root], options.pack, resources=f"unload_after = {UNLOAD_AFTER}") as daemon:
        report.row("started", *_memory(daemon), "", "")
        daemon.until(lambda status: status["state"] == "idle" and status["photos"] == len(os.listdir(root)))
        report.row("after an import", *_memory(daemon), "", "")
        while len(kernel.family(daemon.pid)) > 1:
            time.sleep(0.5)
        unloaded = _memory(daemon)
        report.row(f"`unload_after` ({UNLOAD_AFTER} s) later", *unloaded, *_figures(daemon, options, report, ""))
        report.check("MB that children hold after `unload_after`", unloaded[1], 0.0)
    with running(place / "resting loaded", [root], options.pack, resources="unload_after = 0") as daemon:
        daemon.until(lambda status: status["state"] == "idle" and status["photos"] == len(os.listdir(root)))
        time.sleep(_span(options, 10.0))  # for the index to be written
        report.row("models kept loaded", *_memory(daemon), *_figures(daemon, options, report, ", models loaded"))
    report.notes = [f"Processor time and wakeups of all threads over {_span(options, IDLE_SECONDS):g} s."]
    return report


def _figures(daemon: Daemon, options: Options, report: Report, when: str) -> tuple[float, float]:
    period = _span(options, IDLE_SECONDS)
    before = kernel.threads(daemon.pid)
    time.sleep(period)
    after = kernel.threads(daemon.pid)
    percent = 100 * sum(kernel.seconds(before, after).values()) / period
    woken = kernel.switches(before, after) / period
    report.check(f"% of a core at rest{when}", percent, 0.1)
    report.check(f"wakeups a second at rest{when}", woken, 2.0)
    return percent, woken


def _memory(daemon: Daemon) -> tuple[float, float]:
    """Resident megabytes of the daemon, and of its children together."""
    own, *children = (resident(pid) / 1e6 for pid in kernel.family(daemon.pid))
    return own, sum(children, 0.0)
