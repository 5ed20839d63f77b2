"""`facewatchd run` on a terminal: what it says, the bar while it indexes, and Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.albums import album
from tests.support.processes import Daemon, until
from tests.support.terminals import Terminal


def test_progress_while_it_indexes_and_ctrl_c_at_the_end(tmp_path: Path, tiny_root: Path) -> None:
    root = tmp_path / "photos"
    album(root, 250)
    daemon = Daemon(tmp_path / "home", root, model="tiny", model_root=tiny_root)
    with Terminal(daemon.command) as terminal:
        terminal.until(rb"facewatchd: model tiny, 64 dimensions, threshold 0.40\r\n")
        terminal.until(rb"listening on [^\r\n]*\r\n")
        terminal.until(rb"indexing: +\d+%\|[^\r\n]*\| \d+/\d+ \[")
        assert daemon.settle()["photos"] == 250
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.close() == 0
        assert b"Traceback" not in terminal.written


def test_quiet_says_nothing_and_draws_nothing(tmp_path: Path, tiny_root: Path) -> None:
    root = tmp_path / "photos"
    album(root, 20)
    daemon = Daemon(tmp_path / "home", root, model="tiny", model_root=tiny_root)
    with Terminal([*daemon.command, "-q"]) as terminal:
        until(lambda: daemon.status()["photos"] == 20)
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.close() == 0
        assert terminal.written == b""


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_with_closed_standard_streams(tmp_path: Path, tiny_root: Path, closed: str) -> None:
    root = tmp_path / "photos"
    album(root, 3)
    daemon = Daemon(tmp_path / "home", root, model="tiny", model_root=tiny_root)
    process = subprocess.Popen(["sh", "-c", f'exec "$@" {closed}', "sh", *daemon.command], env=daemon.environment)
    try:
        until(lambda: daemon.status()["photos"] == 3)
        (catalog,) = daemon.data.glob("*/catalog.sqlite3")
        assert catalog.read_bytes().startswith(b"SQLite format 3\0")
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait(30)
    for command in ("status", "doctor", "models list"):
        line = f"exec {sys.executable} -m facewatchd {command} >&-"
        result = subprocess.run(["sh", "-c", line], env=daemon.environment, stderr=subprocess.PIPE, check=False)
        assert b"Traceback" not in result.stderr, command


def test_nobody_else_may_read_what_is_written(tmp_path: Path, tiny_root: Path) -> None:
    root = tmp_path / "photos"
    album(root, 3)
    daemon = Daemon(tmp_path / "home", root, model="tiny", model_root=tiny_root)
    with daemon:
        daemon.start()
        daemon.settle()
        assert daemon.stop() == 0
        files = [path for path in [daemon.data, *daemon.data.rglob("*")] if path.exists()]
        assert len(files) >= 5
        assert [path.name for path in files if path.stat().st_mode & 0o077] == []


def test_only_the_main_thread_gets_the_signals_that_end_it(tmp_path: Path, tiny_root: Path) -> None:
    """One that another thread got would wake the main thread only at its next tick, many seconds later."""
    root = tmp_path / "photos"
    album(root, 3)
    with Daemon(tmp_path / "home", root, model="tiny", model_root=tiny_root) as daemon:
        daemon.start()
        daemon.settle()
        assert daemon.process is not None
        tasks = Path(f"/proc/{daemon.process.pid}/task")
        blocked = {task.name: _blocked(task / "status") for task in tasks.iterdir()}
        main = blocked.pop(tasks.parent.name)
        ending = {signal.SIGTERM, signal.SIGINT}
        assert not main & ending, "while it waits for them"
        assert len(blocked) >= 8
        assert [name for name, signals in blocked.items() if not signals >= ending] == []


def _blocked(status: Path) -> set[int]:
    """The signals that a thread does not take, of proc_pid_status(5)."""
    mask = next(int(line.split()[1], 16) for line in status.read_text().splitlines() if line.startswith("SigBlk:"))
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}


DYING = """
import sys
if "run" in sys.argv:
    from facewatchd.scan import scanner
    def die(self, request):
        raise ValueError("the moon is not right")
    scanner.Scanner._scan = die
"""


def test_a_thread_that_dies_logs_its_traceback_once(tmp_path: Path, tiny_root: Path) -> None:
    (tmp_path / "photos").mkdir()
    with Daemon(tmp_path / "home", tmp_path / "photos", model="tiny", model_root=tiny_root) as daemon:
        daemon.hook(DYING)
        assert daemon.launch().wait(60) == 1
        lines = daemon.log.read_text().splitlines()
    assert lines.count("Traceback (most recent call last):") == 1
    assert lines.count("ValueError: the moon is not right") == 1
    assert any(line.endswith("in die") for line in lines)
    assert sum("scanner" in line and line.startswith("facewatchd: ") for line in lines) == 2, (
        "it died; the daemon stops"
    )
