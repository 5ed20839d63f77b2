"""A client of ``subscribe``, and the photos that it knows of from what it was sent."""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.processes import DEADLINE


class Subscriber:
    """One subscription. It keeps what its client would: the cursor, and the photos."""

    def __init__(self, path: Path, *, since: str | None = None, known: set[str] | None = None, **params: Any) -> None:
        self.known = set() if known is None else known
        """The photos that match, by path."""
        self.sent: list[tuple[str, dict[str, Any]]] = []
        """Every notification: method and parameters."""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(DEADLINE)
        self._socket.connect(str(path))
        self._read = b""
        params |= {} if since is None else {"since": since}
        request = {"jsonrpc": "2.0", "id": 1, "method": "subscribe", "params": params}
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        reply = json.loads(self._line())
        assert "result" in reply, reply
        self.resumed: bool = reply["result"]["resumed"]
        self.cursor: str = reply["result"]["cursor"]

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up."""
        self._socket.close()

    def next(self) -> tuple[str, dict[str, Any]] | None:
        """Take the next notification; None at the end of the stream."""
        if not (line := self._line()):
            return None
        message = json.loads(line)
        method, params = message["method"], message["params"]
        if method == "match":
            self.known.add(params["match"]["path"])
        elif method == "moved":
            self.known.discard(params["from"])
            self.known.add(params["to"])
        elif method == "gone":
            self.known.discard(params["path"])
        self.cursor = params["cursor"]
        self.sent.append((method, params))
        return method, params

    def waits(self, seconds: float) -> bool:
        """Whether a notification, or the end, comes in so many seconds."""
        return b"\n" in self._read or bool(select.select([self._socket], [], [], seconds)[0])

    def _line(self) -> bytes:
        while b"\n" not in self._read:
            try:
                data = self._socket.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                return b""
            self._read += data
        line, _, self._read = self._read.partition(b"\n")
        return line

    def until(self, condition: Callable[[], object]) -> None:
        """Take notifications until something holds; fail where none comes any more."""
        while not condition():
            assert self.next() is not None, "the stream ended"

    def level(self) -> None:
        """Take notifications until everything was sent."""
        while (message := self.next()) is not None and message[0] != "caught-up":
            pass
        assert message is not None, "the stream ended"

    def methods(self) -> list[str]:
        """What was sent, without ``caught-up``."""
        return [method for method, _ in self.sent if method != "caught-up"]
