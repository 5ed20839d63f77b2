"""What systemd passes is used, and what it waits for is said: a real daemon, and the manager's side played here."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.albums import album
from tests.support.managers import Ear, launch, listening
from tests.support.processes import DEADLINE, Daemon, until


@pytest.fixture
def daemon(tmp_path: Path, tiny_root: Path) -> Iterator[Daemon]:
    """One that is not started yet, with three photos."""
    root = tmp_path / "photos"
    album(root, 3)
    with Daemon(tmp_path / "home", root, model="tiny", model_root=tiny_root) as daemon:
        yield daemon


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[Ear]:
    with contextlib.closing(Ear(tmp_path / "notify")) as ear:
        yield ear


class Waiting:
    """A client that has connected and asked, and not read its answer."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(DEADLINE)
        self._socket.connect(str(path))
        self._socket.sendall(b'{"jsonrpc": "2.0", "id": 1, "method": "status"}\n')

    def answer(self) -> dict[str, object]:
        with self._socket, self._socket.makefile("rb") as replies:
            result: dict[str, object] = json.loads(replies.readline())["result"]
            return result


# The socket


def test_who_asks_before_the_daemon_runs_and_between_two_runs_is_answered(daemon: Daemon) -> None:
    with listening(daemon.socket) as listener:
        pids = []
        for _ in range(3):
            waiting = [Waiting(daemon.socket) for _ in range(5)]
            process = launch(daemon, listener)
            pids += [answer.answer()["pid"] for answer in waiting]
            assert daemon.settle()["photos"] == 3
            assert daemon.stop() == 0
            assert process.returncode == 0
            assert daemon.socket.is_socket(), "it is the manager's to remove"
        assert len(set(pids)) == 3


def test_the_passed_socket_counts_and_not_the_configured_one(daemon: Daemon, tmp_path: Path) -> None:
    configured, passed = daemon.socket, tmp_path / "passed" / "socket"
    with listening(passed) as listener:
        launch(daemon, listener)
        daemon.socket = passed
        until(daemon.status)
        until(lambda: f"listening on {passed}" in daemon.log.read_text())
    assert not configured.exists()


def test_a_passed_socket_whose_file_is_taken_away_is_told_and_not_made_again(daemon: Daemon) -> None:
    with listening(daemon.socket) as listener:
        launch(daemon, listener)
        daemon.settle()
        daemon.socket.unlink()
        until(lambda: "was taken away; stop the daemon" in daemon.log.read_text())
        assert not daemon.socket.exists()


def test_children_get_none_of_it(daemon: Daemon, ear: Ear) -> None:
    with listening(daemon.socket) as listener:
        launch(daemon, listener, NOTIFY_SOCKET=str(ear.path), WATCHDOG_USEC="60000000")
        daemon.settle()
        inode = os.fstat(listener.fileno()).st_ino
        children = daemon.children()
        assert children
        for child in children:
            variables = Path(f"/proc/{child}/environ").read_bytes()
            assert not any(name in variables for name in (b"NOTIFY_SOCKET", b"WATCHDOG_USEC", b"LISTEN_"))
            files = [str(link.readlink()) for link in Path(f"/proc/{child}/fd").iterdir()]
            assert f"socket:[{inode}]" not in files


# What is said


def test_ready_status_reload_and_stop_are_told(daemon: Daemon, ear: Ear) -> None:
    launch(daemon, NOTIFY_SOCKET=str(ear.path))
    ear.until("READY=1")
    assert daemon.status()["pid"], "queries are answered"
    ear.until("STATUS=idle: 3 photos, ")
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)
    ear.until("RELOADING=1")
    ear.until("MONOTONIC_USEC=")
    ear.until("READY=1")
    daemon.process.send_signal(signal.SIGTERM)
    ear.until("STOPPING=1")
    assert daemon.process.wait(DEADLINE) == 0


def test_an_abstract_address(daemon: Daemon, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        name = f"facewatchd-test-{os.getpid()}"
        end.bind(f"\0{name}")
        end.settimeout(DEADLINE)
        launch(daemon, NOTIFY_SOCKET=f"@{name}")
        assert end.recv(100) == b"READY=1"


def test_all_is_well_is_said_as_long_as_it_is(daemon: Daemon, ear: Ear) -> None:
    launch(daemon, NOTIFY_SOCKET=str(ear.path), WATCHDOG_USEC="2000000")
    for _ in range(4):
        ear.until("WATCHDOG=1")
    assert "hangs" not in daemon.log.read_text()


HANGING = {
    "worker-": "from facewatchd.photos import contents as place; name = 'opened'",
    "writer": "from facewatchd.store.catalog import Catalog as place; name = 'record'",
    "watcher-health": "from facewatchd.watch.watcher import Watcher as place; name = '_look'",
    "scanner": "from facewatchd.scan.scanner import Scanner as place; name = '_scan'",
    "maintenance": "from facewatchd.store.hnsw import HnswIndex as place; name = 'prepared'",
    "the server": "from facewatchd.api.methods import Methods as place; name = 'call'",
}


@pytest.mark.parametrize("who", sorted(HANGING))
def test_what_hangs_is_not_well(daemon: Daemon, ear: Ear, who: str) -> None:
    daemon.hook(
        f"import sys\nif 'run' in sys.argv:\n    {HANGING[who]}\n"
        "    from facewatchd.health import monitor\n    import os, threading\n"
        "    monitor.SILENCE, monitor.REPLY_SECONDS = 1.0, 1.0\n"
        "    real = getattr(place, name)\n"
        f"    def hang(*args, **options):\n        while os.path.exists({str(daemon.home / 'hangs')!r}):\n"
        "            threading.Event().wait(0.1)\n        return real(*args, **options)\n"
        "    setattr(place, name, hang)\n"
    )
    (daemon.home / "hangs").touch()
    launch(daemon, NOTIFY_SOCKET=str(ear.path), WATCHDOG_USEC="1000000")
    told = re.compile(f"facewatchd: .*{who}.* hangs: systemd starts the daemon again")
    until(lambda: told.search(daemon.log.read_text()))
    ear.listen()
    ear.heard.clear()
    count = daemon.log.read_text().count(" hangs: ")
    until(lambda: daemon.log.read_text().count(" hangs: ") >= count + 3)
    ear.listen()
    assert "WATCHDOG=1" not in ear.heard
    (daemon.home / "hangs").unlink()
    ear.until("WATCHDOG=1")
