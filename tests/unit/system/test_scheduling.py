"""The idle class, and the session that makes it count among all processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

from facewatchd.system import scheduling
from facewatchd.system.scheduling import LONGEST_REST, REST_FACTOR, Pace

SHOW = """
import os, threading
from facewatchd.system import scheduling as priority
before = threading.Thread(target=threading.Event().wait, daemon=True)
before.start()
os.setsid()
priority.make_idle(os.getpid())
classes = {os.sched_getscheduler(int(task)) for task in os.listdir("/proc/self/task")}
group = priority.autogroup(os.getpid())
print(classes == {os.SCHED_IDLE}, os.getsid(0) == os.getpid(), group.read_text() if group.exists() else "", flush=True)
"""


@pytest.mark.skipif(
    not scheduling.autogroup(os.getpid()).exists(), reason="this kernel does not group processes by session"
)
def test_every_thread_is_idle_and_the_session_is_of_the_lowest_weight() -> None:
    shown = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("True True ")
    assert shown.stdout.strip().endswith("nice 19")
    assert shown.stderr == ""


class Kernel:
    """A file that refuses some writes first."""

    def __init__(self, *errors: OSError) -> None:
        self.errors = list(errors)
        self.writes = 0

    def write_bytes(self, data: bytes) -> int:
        assert data == b"19"
        self.writes += 1
        if self.errors:
            raise self.errors.pop(0)
        return len(data)


@pytest.mark.parametrize(
    ("errors", "writes"),
    [
        ([], 1),
        ([BlockingIOError(), BlockingIOError()], 3),
        ([BlockingIOError()] * 99, scheduling.TRIES),
        ([FileNotFoundError()], 1),
        ([PermissionError()], 1),
    ],
)
def test_a_change_that_comes_too_soon_after_another_is_tried_again(
    errors: list[OSError], writes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Kernel(*errors)
    monkeypatch.setattr(scheduling, "PAUSE", 0.0)
    scheduling._weigh_session(cast(Path, kernel), scheduling.LOWEST)
    assert kernel.writes == writes


FOLLOWS = SHOW.replace("os.setsid()\n", "")
WAIT = "input()"


def test_the_session_of_another_process_keeps_its_weight() -> None:
    shown = subprocess.run([sys.executable, "-c", FOLLOWS], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("True False ")
    if scheduling.autogroup(os.getpid()).exists():
        assert shown.stdout.strip().endswith("nice 19") is False


def test_what_is_to_end_is_hurried() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SHOW + WAIT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline().startswith("True True ")
        scheduling.make_normal(process.pid)
        assert os.sched_getscheduler(process.pid) == os.SCHED_OTHER
        if scheduling.autogroup(process.pid).exists():
            assert scheduling.autogroup(process.pid).read_text().strip().endswith("nice 0")
        process.stdin.write("\n")
    scheduling.make_normal(process.pid)  # it is gone


class Machine:
    """Processor time that is used by others and by this process."""

    def __init__(self) -> None:
        self.now = self.others = self.own = 0.0

    def used(self) -> tuple[float, float]:
        return self.others + self.own, self.own

    def work(self, seconds: float, others: float) -> None:
        self.now += seconds
        self.own += seconds
        self.others += others * seconds


@pytest.mark.parametrize(("others", "rests"), [(0.0, False), (0.3, False), (64.0, True)])
def test_work_of_normal_priority_rests_where_others_compute(others: float, rests: bool) -> None:
    machine = Machine()
    pace = Pace(len(os.sched_getaffinity(0)), machine.used, lambda: machine.now)
    machine.work(0.5, others)
    assert pace.rest() == (REST_FACTOR * 0.5 if rests else 0.0)
    machine.now += 5.0
    pace.begin()
    machine.work(20.0, others)
    assert pace.rest() == (LONGEST_REST if rests else 0.0), "work that takes long is not put off for ever"


def test_small_work_that_waits_for_a_processor_rests_by_what_it_computed() -> None:
    machine = Machine()
    pace = Pace(len(os.sched_getaffinity(0)), machine.used, lambda: machine.now, by_effort=True)
    machine.work(0.01, 0.0)
    machine.now += 2.0
    machine.others += 200.0
    assert pace.rest() == pytest.approx(REST_FACTOR * 0.01)
