"""A scripted daemon on a real Unix socket, and commands on a pseudo-terminal, for the tests of both commands."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

DEADLINE = 30.0
Script = Callable[[dict[str, Any]], "bytes | None"]
"""A request to the bytes that answer it, or None to hang up."""


class FakeDaemon:
    """Answers requests with the script, those of a connection one after another, and keeps them.

    ``script`` may be replaced at any time.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.requests: list[dict[str, Any]] = []
        self.script: Script = lambda request: reply(request, {})
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._stopping, self._stop = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="fake-daemon")

    def __enter__(self) -> FakeDaemon:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.close()
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()
        for sock in (self._listener, self._stopping):
            sock.close()

    def params(self) -> dict[str, Any]:
        (request,) = (request for request in self.requests if request["method"] != "status")
        params: dict[str, Any] = request["params"]
        return params

    def _run(self) -> None:
        served = []
        while self._readable(self._listener):
            served.append(threading.Thread(target=self._serve, args=self._listener.accept()[:1], name="fake-client"))
            served[-1].start()
        for thread in served:
            thread.join(DEADLINE)
            assert not thread.is_alive()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(ConnectionError):
            self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        received = b""
        while self._readable(connection) and (data := connection.recv(1 << 20)):
            received += data
            while b"\n" in received:
                line, received = received.split(b"\n", 1)
                self.requests.append(json.loads(line.decode("ascii")))
                words = self.script(self.requests[-1])
                if words is None:
                    return
                connection.sendall(words)

    def _readable(self, sock: socket.socket) -> bool:
        return self._stopping not in select.select([sock, self._stopping], [], [])[0]


def reply(request: dict[str, Any], result: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}).encode() + b"\n"


def error(request: dict[str, Any], kind: str, message: str = "what happened", code: int = -32000) -> bytes:
    body: dict[str, Any] = {"code": code, "message": message}
    if kind:
        body["data"] = {"kind": kind, "hint": "what to do"}
    return json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": body}).encode() + b"\n"


def run_with_terminal(command: Sequence[str | bytes | Path], **environment: str) -> tuple[int, bytes, bytes]:
    """Run a command with its standard output on a pseudo-terminal; return status, output and standard error."""
    ours, theirs = pty.openpty()
    variables = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}
    variables |= {"TERM": "xterm"} | environment
    process = subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE, env=variables)
    os.close(theirs)
    written = b""
    try:
        while data := os.read(ours, 65536):
            written += data
    except OSError:  # EIO: how Linux says that the other end is closed
        pass
    os.close(ours)
    _, complaints = process.communicate(timeout=DEADLINE)
    return process.returncode, written.replace(b"\r\n", b"\n"), complaints
