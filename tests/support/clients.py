"""Clients of the daemon's socket that need not behave, and what its process takes meanwhile by the kernel's count."""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import os
import select
import socket
import termios
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.processes import DEADLINE, Daemon, children, until

CODES = {
    "unreadable-photo": -32000,
    "no-face": -32001,
    "bad-embedding": -32002,
    "not-ready": -32003,
    "too-large": -32004,
    "unknown-face": -32005,
    "timeout": -32006,
    "unknown-person": -32008,
}
"""What the protocol's kinds are numbered by; ``internal`` is not among them, because it is never in order."""
RPC_CODES = {-32700, -32600, -32601, -32602}


class Client:
    """One connection, used byte by byte. Close it, or use it in a ``with`` block."""

    def __init__(self, path: Path, timeout: float = DEADLINE) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(str(path))
        self._replies = self.socket.makefile("rb")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._replies.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def line(self) -> bytes:
        """The next reply, with its newline; nothing at the end of the stream."""
        return self._replies.readline()

    def receive(self) -> Any:
        """The next reply, which must be as JSON-RPC 2.0 and the protocol say."""
        return checked(self.line())

    def ask(self, line: bytes) -> Any:
        """Send one line, and receive the reply."""
        self.send(line + b"\n")
        return self.receive()

    def call(self, method: str, /, **params: Any) -> Any:
        """The result of a request, which must have one."""
        return self.ask(request(method, 1, **params))["result"]

    def kind(self) -> str:
        """Receive an error of ours, and return its kind."""
        return str(self.receive()["error"]["data"]["kind"])

    def unread(self) -> int:
        """Bytes that the daemon has not yet taken (unix(7), ``SIOCOUTQ``)."""
        count = array.array("i", [0])
        fcntl.ioctl(self.socket, termios.TIOCOUTQ, count)
        return count[0]

    def has_heard(self) -> bool:
        """Whether there is something to receive right now."""
        return bool(select.select([self.socket], [], [], 0)[0])

    def is_closed(self) -> bool:
        """Wait until the daemon closes, and say whether it did so without a word more."""
        try:
            return self.line() == b""
        except ConnectionResetError:
            return True


def request(method: object, id_: object, /, **params: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": id_, "method": method, "params": params}).encode()


def checked(line: bytes) -> Any:
    """Decode a line of replies, and insist on the form that they must have."""
    assert line.endswith(b"\n"), f"closed without a whole reply: {line!r}"
    assert line.isascii()
    document = json.loads(line, parse_constant=_refuse)
    for reply in document if isinstance(document, list) else [document]:
        _check_reply(reply)
    assert document != [], "a batch without replies is not answered at all"
    return document


def _check_reply(reply: Any) -> None:
    assert reply["jsonrpc"] == "2.0", reply
    assert reply.keys() in ({"jsonrpc", "id", "result"}, {"jsonrpc", "id", "error"}), reply
    assert reply["id"] is None or type(reply["id"]) in (str, int, float), reply
    if error := reply.get("error"):
        _check_error(error)


def _check_error(error: Any) -> None:
    assert error["message"].strip(), error
    assert "\n" not in error["message"]
    if "data" not in error:
        assert error.keys() == {"code", "message"}, error
        assert error["code"] in RPC_CODES, error
        return
    assert error.keys() == {"code", "message", "data"}, error
    assert error["data"].keys() == {"kind", "hint"}, error
    assert CODES.get(error["data"]["kind"]) == error["code"], error
    assert isinstance(error["data"]["hint"], str)


def _refuse(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


@dataclass(frozen=True)
class Usage:
    """What the daemon's process holds right now; with "spare", what it may hold more than before."""

    memory: float
    """MiB that are resident."""
    workers: float
    """MiB that are resident in its child processes, which decode and embed."""
    files: int
    threads: int

    @classmethod
    def of(cls, daemon: Daemon) -> Usage:
        place = _place(daemon)
        workers = sum(_mebibytes(place.with_name(str(child)), "VmRSS") for child in children(int(place.name)))
        return cls(_mebibytes(place, "VmRSS"), workers, len(os.listdir(place / "fd")), len(os.listdir(place / "task")))

    def is_within(self, before: Usage, spare: Usage) -> bool:
        return (
            self.memory <= before.memory + spare.memory
            and self.workers <= before.workers + spare.workers
            and self.files <= before.files + spare.files
            and self.threads <= before.threads + spare.threads
        )


SPARE = Usage(memory=20.0, workers=96.0, files=8, threads=6)
"""What is no leak. Of memory, glibc has up to eight arenas a core, each of which keeps a little of what its threads
freed, and a worker keeps what the largest of its photos took, once for each line of work. Of files, the catalog keeps
some readers for the next threads."""


def expect_as_before(daemon: Daemon, before: Usage, spare: Usage = SPARE) -> None:
    """Wait until the daemon takes no more than before."""
    with contextlib.suppress(AssertionError):
        until(lambda: Usage.of(daemon).is_within(before, spare))
    now = Usage.of(daemon)
    assert now.is_within(before, spare), f"{before} became {now}"


def forget_peak(daemon: Daemon) -> None:
    """From now on, `peak` counts anew (proc(5), ``clear_refs``)."""
    (_place(daemon) / "clear_refs").write_text("5")


def peak(daemon: Daemon) -> float:
    """The most MiB that were ever resident, or since `forget_peak`."""
    return _mebibytes(_place(daemon), "VmHWM")


def _place(daemon: Daemon) -> Path:
    assert daemon.process is not None
    return Path(f"/proc/{daemon.process.pid}")


def _mebibytes(place: Path, name: str) -> float:
    try:
        lines = (place / "status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):  # a worker that ended just now
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024
