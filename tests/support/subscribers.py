"""A client of ``subscribe``, and the photos that it knows of from what it was sent."""

from __future__ import annotations

import json
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
        self._lines = self._socket.makefile("rb")
        params |= {} if since is None else {"since": since}
        request = {"jsonrpc": "2.0", "id": 1, "method": "subscribe", "params": params}
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        reply = json.loads(self._lines.readline())
        assert "result" in reply, reply
        self.resumed: bool = reply["result"]["resumed"]
        self.cursor: str = reply["result"]["cursor"]

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up."""
        self._lines.close()
        self._socket.close()

    def next(self) -> tuple[str, dict[str, Any]] | None:
        """Take the next notification; None at the end of the stream."""
        try:
            line = self._lines.readline()
        except ConnectionResetError:
            return None
        if not line.endswith(b"\n"):
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
