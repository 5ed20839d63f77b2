"""What systemd passes, and the journal."""

from __future__ import annotations

import os
import socket

import pytest

from facewatchd.errors import FacewatchError
from facewatchd.system.systemd import ServiceManager, is_journal


def test_one_socket_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_FDS", "2")
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    with pytest.raises(FacewatchError, match="systemd passed 2 sockets"):
        ServiceManager()


@pytest.mark.parametrize(
    ("kind", "message"),
    [(socket.SOCK_DGRAM, "is no Unix stream socket"), (socket.SOCK_STREAM, "does not listen")],
)
def test_what_cannot_be_used_is_refused(kind: int, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, kind) as passed:
        monkeypatch.setattr("facewatchd.system.systemd.FIRST_PASSED", passed.detach())
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    with pytest.raises(FacewatchError, match=message):
        ServiceManager()


def test_what_is_meant_for_another_process_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    other = {"LISTEN_FDS": "1", "LISTEN_PID": "1", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}
    for name, value in other.items():
        monkeypatch.setenv(name, value)
    manager = ServiceManager()
    assert (manager.listener, manager.watchdog, manager.listens) == (None, 0.0, False)
    assert not other.keys() & os.environ.keys()
    manager.ready()  # to nobody


def test_is_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    status = os.fstat(write)
    for value, expected in ((f"{status.st_dev}:{status.st_ino}", True), ("1:2", False), ("", False), ("x:y", False)):
        monkeypatch.setenv("JOURNAL_STREAM", value)
        assert is_journal(write) is expected
    os.close(read)
    os.close(write)
    assert not is_journal(write)
