"""The idle class, and the session that makes it count among all processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from facewatchd import priority

SHOW = """
import os, pathlib, threading
from facewatchd import priority
before = threading.Thread(target=threading.Event().wait, daemon=True)
before.start()
priority.become_idle()
classes = {os.sched_getscheduler(int(task)) for task in os.listdir("/proc/self/task")}
print(classes == {os.SCHED_IDLE}, os.getsid(0) == os.getpid(), pathlib.Path("/proc/self/autogroup").read_text())
"""


@pytest.mark.skipif(not priority.AUTOGROUP.exists(), reason="this kernel does not group processes by session")
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
        ([BlockingIOError()] * 99, priority.TRIES),
        ([FileNotFoundError()], 1),
        ([PermissionError()], 1),
    ],
)
def test_a_change_that_comes_too_soon_after_another_is_tried_again(
    errors: list[OSError], writes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Kernel(*errors)
    monkeypatch.setattr(priority, "AUTOGROUP", kernel)
    monkeypatch.setattr(priority, "PAUSE", 0.0)
    priority._lower_session()
    assert kernel.writes == writes


def test_a_process_that_leads_a_session_keeps_its_weight() -> None:
    code = SHOW.replace("priority.become_idle()", "os.getsid(0) == os.getpid() or os.setsid(); priority.become_idle()")
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("True True ")
    if Path("/proc/self/autogroup").exists():
        assert shown.stdout.strip().endswith("nice 0")
    assert os.getpriority(os.PRIO_PROCESS, 0) == 0
