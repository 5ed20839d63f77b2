"""`facewatchd run` on a terminal: what it says, the bar while it indexes, and Ctrl-C."""

from __future__ import annotations

import signal
from pathlib import Path

from albums import album
from processes import Daemon, until
from terminals import Terminal


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
