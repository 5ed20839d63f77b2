"""A daemon that is stopped and goes on: SIGSTOP, Ctrl-Z and ``fg``, a container's pause."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.albums import album
from tests.support.clients import Client, request
from tests.support.processes import Daemon, until
from tests.support.terminals import Terminal

TICK = 0.1
QUICK_TICK = f"""
import sys
if "run" in sys.argv:
    from facewatchd.daemon import supervisor
    supervisor.TICK = {TICK}
"""
"""The main thread looks after the others so often that a short stop is longer than the pause between two looks."""


@pytest.fixture
def daemon(tmp_path: Path, tiny_root: Path) -> Iterator[Daemon]:
    """One that is not started yet, with three photos."""
    album(tmp_path / "photos", 3)
    with Daemon(tmp_path / "home", tmp_path / "photos", model="tiny", model_root=tiny_root) as daemon:
        daemon.hook(QUICK_TICK)
        yield daemon


@contextlib.contextmanager
def stopped(pid: int, least: float = 0.0) -> Iterator[None]:
    """Stop a process; on return it has stopped. It goes on at the end of the block, ``least`` seconds later or more."""
    os.kill(pid, signal.SIGSTOP)
    try:
        until(lambda: _is_stopped(pid))
        end = time.monotonic() + least
        yield
        until(lambda: time.monotonic() >= end)
    finally:
        os.kill(pid, signal.SIGCONT)


def test_stops_beyond_the_next_look_harm_nothing(daemon: Daemon) -> None:
    daemon.start()
    daemon.settle()
    assert daemon.process is not None
    for _ in range(30):
        with stopped(daemon.process.pid, 1.5 * TICK):
            pass
        assert daemon.status()["state"] == "idle"
    assert daemon.process.poll() is None
    assert "Traceback" not in daemon.log.read_text()
    assert daemon.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_came_during_a_stop_counts_after_it(daemon: Daemon, number: signal.Signals) -> None:
    daemon.start()
    assert daemon.process is not None
    pid = daemon.process.pid
    with stopped(pid, 2 * TICK):
        daemon.process.send_signal(number)
        until(lambda: _is_pending(pid, number))
    assert daemon.process.wait(30) == 0
    assert "Traceback" not in daemon.log.read_text()


def test_of_many_signals_at_once_none_is_lost(daemon: Daemon) -> None:
    daemon.start()
    assert daemon.process is not None
    for count in range(1, 4):
        daemon.process.send_signal(signal.SIGHUP)
        until(lambda count=count: daemon.log.read_text().count("the configuration was read again") == count)
    with stopped(daemon.process.pid):
        daemon.process.send_signal(signal.SIGHUP)
        daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(30) == 0


def test_ctrl_z_and_fg_on_a_terminal(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", daemon.environment["PYTHONPATH"])
    with contextlib.ExitStack() as stack:
        terminal = stack.enter_context(Terminal(["setsid", "--ctty", "--wait", "bash", "--norc", "-i"]))
        terminal.press(b"PS1=; " + shlex.join(daemon.command).encode() + b"\n")
        terminal.until(rb"listening on [^\r\n]*\r\n")
        pid = int(daemon.settle()["pid"])
        stack.callback(_kill, pid)
        for _ in range(5):
            terminal.press(b"\x1a")
            terminal.until(rb"Stopped")
            until(lambda: _is_stopped(pid))
            end = time.monotonic() + 2 * TICK
            until(lambda end=end: time.monotonic() >= end)
            terminal.press(b"fg\n")
            assert daemon.status()["pid"] == pid
        terminal.press(b"\x03")
        until(lambda: not Path(f"/proc/{pid}").exists())
        terminal.press(b"echo ended with $?\n")
        terminal.until(rb"ended with 0")
        terminal.press(b"exit\n")
        terminal.close()


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def _is_pending(pid: int, number: signal.Signals) -> bool:
    """Whether a signal was sent to a process and not taken yet: proc_pid_status(5)."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(fields["ShdPnd"], 16) >> (number - 1) & 1)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


PATIENCE = 2.0
IMPATIENT = f"""
import sys
if "run" in sys.argv:
    from facewatchd.server import listener as server
    server.Server.__init__.__kwdefaults__["line_deadline"] = {PATIENCE}
    server.Server.__init__.__kwdefaults__["send_deadline"] = {PATIENCE}
"""


@pytest.mark.parametrize("meanwhile", [True, False])
def test_a_line_that_a_stop_fell_into_is_answered(daemon: Daemon, meanwhile: bool) -> None:
    daemon.hook(IMPATIENT)
    daemon.start()
    assert daemon.process is not None
    line = request("status", 1)
    with Client(daemon.socket) as client:
        client.send(line[:20])
        until(lambda: client.unread() == 0)
        with stopped(daemon.process.pid, 1.5 * PATIENCE):
            if meanwhile:
                client.send(line[20:30])
        client.send(line[30:] + b"\n" if meanwhile else line[20:] + b"\n")
        assert client.receive()["result"]["pid"] == daemon.process.pid
    with Client(daemon.socket) as client:
        client.send(line[:20])
        assert client.kind() == "timeout", "one that never ends is still turned away"
