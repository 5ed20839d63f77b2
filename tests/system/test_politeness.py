"""Beside programs that always compute: indexing goes on, says why it is slow, and keeps no answer waiting."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from facewatchd.system.scheduling import REST_FACTOR, Pace
from tests.support.albums import album
from tests.support.processes import Daemon, until
from tests.support.terminals import Terminal


@contextlib.contextmanager
def busy_loops() -> Iterator[None]:
    """Two loops for each processor, each in a session of its own."""
    loop = [sys.executable, "-c", "while True: pass"]
    count = 2 * len(os.sched_getaffinity(0))
    loops = [subprocess.Popen(loop, start_new_session=True) for _ in range(count)]
    try:
        yield
    finally:
        for each in loops:
            each.kill()
            each.wait()


@pytest.mark.parametrize("demoted", [False, True])
def test_photos_are_done_beside_programs_that_always_compute(tmp_path: Path, tiny_root: Path, demoted: bool) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    priority = "idle_priority = true"
    with Daemon(tmp_path / "home", root, model="tiny", model_root=tiny_root, resources=priority) as daemon:
        daemon.hook(STARVED)
        if demoted:
            daemon.prefix = _demoted()
        daemon.start()
        with busy_loops():
            album(root, 8)
            until(lambda: daemon.status()["waits"], every=0.2)
            assert "`idle_priority = false`" in daemon.status()["waits"]
            assert "other programs" in daemon.control("status").stdout
            answers = [daemon.call("why", path=str(path)) for path in root.iterdir()]
            assert any(each["state"] == "pending" and "other programs" in each["reason"] for each in answers)
            until(lambda: "photos wait: other programs" in daemon.log.read_text())
            until(lambda: daemon.embedded() >= 3, deadline=120)
        daemon.settle(180)  # the rest is idle work, and the machine may have other
        until(lambda: not daemon.status()["waits"])


def test_the_bar_says_what_photos_wait_for(tmp_path: Path, tiny_root: Path) -> None:
    root = tmp_path / "photos"
    album(root, 12)
    with Daemon(
        tmp_path / "home", root, model="tiny", model_root=tiny_root, resources="idle_priority = true"
    ) as daemon:
        daemon.hook(STARVED)
        command = ["env", f"PYTHONPATH={daemon.hooked}", *daemon.command]
        with Terminal(command, columns=80) as terminal, contextlib.ExitStack() as beside:
            terminal.until(rb"facewatchd: listening on ")
            beside.enter_context(busy_loops())
            shown = rb"indexing: \d+/\d+ photos; other programs use the processors \(see idle_priority\)"
            found = terminal.until(shown).group()
            assert len(found) < 80, "on one line"
            terminal.process.send_signal(signal.SIGTERM)
            assert terminal.close() == 0


STARVED = """
import sys
if "run" in sys.argv:
    from facewatchd.daemon import supervisor
    supervisor.TICK = 0.5
    from facewatchd.inference import hedge
    hedge.PATIENCE = hedge.REST = 0.5
if "indexing" in sys.argv:
    from facewatchd.photos import decode as photos
    def slow(file, decode=photos.decode):
        import threading, time
        is_trial = threading.current_thread() is threading.main_thread()  # of the decoders, before the first photo
        end = time.thread_time() + (0.0 if is_trial else 1.0)
        while time.thread_time() < end:
            pass
        return decode(file)
    photos.decode = slow
"""
"""Each photo takes a second of the indexing process, which that gets in minutes."""


def _demoted() -> tuple[str, ...]:
    """What runs a program without the right to take a process out of the idle class again, as ordinary users are."""
    if os.getuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("root needs setpriv to run a daemon with the rights of an ordinary user")
    return ("setpriv", "--bounding-set", "-sys_nice")


def test_no_thread_of_the_daemon_is_of_a_lower_class(tmp_path: Path, tiny_root: Path) -> None:
    """A thread that holds the interpreter's lock while it waits for a processor keeps every answer waiting."""
    album(tmp_path / "photos", 6)
    with Daemon(
        tmp_path / "home", tmp_path / "photos", model="tiny", model_root=tiny_root, resources="idle_priority = true"
    ) as daemon:
        daemon.start()
        daemon.settle()
        assert daemon.process is not None
        tasks = [int(task) for task in os.listdir(f"/proc/{daemon.process.pid}/task")]
        assert len(tasks) >= 8
        assert {_class(task) for task in tasks} - {None} == {os.SCHED_OTHER}
        assert {_nice(task) for task in tasks} - {None} == {os.getpriority(os.PRIO_PROCESS, 0)}
        (indexing,) = daemon.children("indexing")
        assert os.sched_getscheduler(indexing) == os.SCHED_IDLE


def test_the_kernels_own_count(tmp_path: Path) -> None:
    with busy_loops():
        pace = Pace(1)
        until(lambda: pace.rest() >= REST_FACTOR * 0.5)  # which half a second of work asks for


def _nice(task: int) -> int | None:
    """None for a thread that has just ended."""
    try:
        return os.getpriority(os.PRIO_PROCESS, task)
    except ProcessLookupError:
        return None


def _class(task: int) -> int | None:
    try:
        return os.sched_getscheduler(task)
    except ProcessLookupError:
        return None
