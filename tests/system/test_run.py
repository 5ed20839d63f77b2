"""`facewatchd run` on a terminal: what it says, the bar while it indexes, and Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.albums import album
from tests.support.processes import DEADLINE, Daemon, until
from tests.support.terminals import Terminal


def test_progress_while_it_indexes_and_ctrl_c_at_the_end(tmp_path: Path, tiny_root: Path) -> None:
    root = tmp_path / "photos"
    album(root, 250)
    daemon = Daemon(tmp_path / "home", root, model="tiny", model_root=tiny_root)
    with Terminal(daemon.command) as terminal:
        terminal.until(rb"facewatchd: model tiny, 64 dimensions, threshold 0.40, on cpu\r\n")
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
        blocked = {}
        for task in tasks.iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread of a client may end meanwhile
                blocked[task.name] = _blocked(task / "status")
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


def test_a_stop_while_a_write_is_asked_for_logs_no_error(tmp_path: Path, tiny_root: Path) -> None:
    """A walk and the maintenance of the index ask for a write, and the daemon stops before the writer comes to it."""
    (tmp_path / "photos").mkdir()
    asked = tmp_path / "asked"
    asked.mkdir()
    with Daemon(tmp_path / "home", tmp_path / "photos", model="tiny", model_root=tiny_root) as daemon:
        daemon.hook(f"""
import os, sys, threading
if "run" in sys.argv:
    from facewatchd.errors import StorageError
    from facewatchd.indexing.writer import Writer
    def call(self, function):
        open(os.path.join({str(asked)!r}, threading.current_thread().name), "w").close()
        self._ending.wait()
        raise StorageError("the daemon is stopping", "try again")
    Writer.call = call
""")
        daemon.start()
        until(lambda: {path.name for path in asked.iterdir()} == {"maintenance", "scanner"})
        assert daemon.stop() == 0
        assert "stopping" not in daemon.log.read_text()


def test_a_part_that_fails_to_start_is_stopped_too(tmp_path: Path, tiny_root: Path) -> None:
    (tmp_path / "photos").mkdir()
    stopped = tmp_path / "stopped"
    with Daemon(tmp_path / "home", tmp_path / "photos", model="tiny", model_root=tiny_root) as daemon:
        daemon.hook(f"""
import sys
if "run" in sys.argv:
    from facewatchd.errors import StorageError
    from facewatchd.watch.watcher import Watcher
    start, stop = Watcher.start, Watcher.stop
    def fail(self):
        start(self)
        raise StorageError("no room to watch")
    def note(self):
        stop(self)
        open({str(stopped)!r}, "w").close()
    Watcher.start, Watcher.stop = fail, note
""")
        assert daemon.launch().wait(DEADLINE) == 1
        assert stopped.exists()
        assert not daemon.socket.exists()
        log = daemon.log.read_text()
        assert "no room to watch" in log
        assert "Traceback" not in log


def test_a_process_for_queries_ends_where_the_catalog_cannot_be_opened(tmp_path: Path, tiny_root: Path) -> None:
    (tmp_path / "photos").mkdir()
    closed = tmp_path / "closed"
    with Daemon(tmp_path / "home", tmp_path / "photos", model="tiny", model_root=tiny_root) as daemon:
        daemon.hook(f"""
import sys
if "run" in sys.argv:
    from facewatchd.errors import StorageError
    from facewatchd.daemon import app
    from facewatchd.inference.pool import Inference
    close = Inference.close
    def fail(path, info, *, sends):
        raise StorageError("no room for a catalog")
    def note(self, grace=0.0):
        close(self, grace)
        open({str(closed)!r}, "w").close()
    app.open_catalog, Inference.close = fail, note
""")
        assert daemon.launch().wait(DEADLINE) == 1
        assert closed.exists()
        assert "no room for a catalog" in daemon.log.read_text()
