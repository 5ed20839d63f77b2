"""systemd's side of a service's conversation: what a manager passes, hears and waits for, without one."""

from __future__ import annotations

import select
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.support.processes import DEADLINE, Daemon

_PASS = """
import os, sys
fd = int(sys.argv[1])
os.dup2(fd, 3, inheritable=True)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "facewatchd.socket"}
os.execv(sys.argv[2], sys.argv[2:])
"""


def listening(path: Path) -> socket.socket:
    """A socket as a socket unit makes it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(64)
    return listener


def launch(daemon: Daemon, listener: socket.socket | None = None, **environment: str) -> subprocess.Popen[bytes]:
    """Start the daemon as a service, with a listening socket passed."""
    command: list[str] = daemon.command
    descriptors: tuple[int, ...] = ()
    if listener is not None:
        command = [sys.executable, "-c", _PASS, str(listener.fileno()), *command]
        descriptors = (listener.fileno(),)
    with daemon.log.open("ab") as log:
        daemon.process = subprocess.Popen(
            command, stdout=log, stderr=log, env=daemon.environment | environment, pass_fds=descriptors
        )
    return daemon.process


class Ear:
    """A socket that hears what a service notifies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self.heard: list[str] = []

    def close(self) -> None:
        self._socket.close()

    def listen(self, seconds: float = 0.0) -> None:
        """Take what comes in such a time."""
        if select.select([self._socket], [], [], seconds)[0]:
            while select.select([self._socket], [], [], 0)[0]:
                self.heard += self._socket.recv(4096).decode().splitlines()

    def until(self, line: str) -> None:
        """Wait for a line that begins so, and forget it and all before it."""
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            self.listen(0.2)
            for number, heard in enumerate(self.heard):
                if heard.startswith(line):
                    del self.heard[: number + 1]
                    return
        raise AssertionError(f"{line} was not heard in {DEADLINE:g} s, but {self.heard[-20:]}")
