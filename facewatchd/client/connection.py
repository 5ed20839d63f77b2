"""The client's end of the socket: one JSON-RPC request a line, one reply a line, in order.

Standard library only, and little of it: every `facewatch-query` waits for what is imported here. Requests are plain
ASCII. They may hold photos, so nothing is sent before the kernel has named the user whose process listens
(`peer_credentials`). A `Connection` belongs to one thread, and must be closed after any error but `RemoteError`,
because a late reply would be taken for that of the next request.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import socket
import time
from typing import Any

from facewatchd import paths
from facewatchd.errors import (
    DeadlineError,
    FacewatchError,
    NoDaemonError,
    TooLargeError,
    UsageError,
    WrongListenerError,
)
from facewatchd.system import peer_credentials

DEFAULT_TIMEOUT = 120.0
"""Seconds for one reply: a query may wait until the model is loaded and until the photo before it is done."""
PROBE_TIMEOUT = 2.0
"""Seconds for an answer that the caller can do without."""
MAX_LINE = 64 << 20
"""Bytes of one request that the daemon takes (facewatchd-protocol(7))."""
INVALID_PARAMS = -32602
"""JSON-RPC's own code for wrong parameters."""
METHOD_NOT_FOUND = -32601
"""JSON-RPC's own code for an unknown method."""

_CHUNK = 1 << 20
_SHORT = 100
"""Bytes of a path up to which it goes into a socket's address as it is (`sun_path` holds 108)."""
_RETRY = 0.05
"""Seconds between attempts to connect while the daemon's queue of new connections is full."""


class RemoteError(FacewatchError):
    """The daemon's answer was an error; ``kind`` is the protocol's word, or empty for JSON-RPC's own errors."""

    def __init__(self, message: str, hint: str = "", *, code: int = 0, kind: str = "") -> None:
        super().__init__(message, hint)
        self.code = code
        self.kind = kind  # type: ignore[misc]  # the one error whose kind is known only when it arrives


class Connection:
    """A connection to the daemon, open inside a ``with`` block."""

    def __init__(
        self, socket_path: str | os.PathLike[str] | None = None, timeout: float | None = DEFAULT_TIMEOUT
    ) -> None:
        """``socket_path`` None means the default place; ``timeout`` is seconds for one call, None for ever."""
        self.path = paths.socket_name() if socket_path is None else os.fspath(socket_path) or "."
        self.timeout = timeout
        self._socket: socket.socket | None = None
        self._received = bytearray()
        self._last_id = 0
        self._due: float | None = None
        """When the reply to the last request must be here."""

    def __enter__(self) -> Connection:
        """Connect.

        Raises `NoDaemonError` where no process listens, `WrongListenerError` where another user's does, and
        `UsageError` for a path that no socket can have.
        """
        deadline = self._deadline()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._connect(self._socket, deadline)
            self._check_owner(self._socket)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def call(self, method: str, /, **params: Any) -> Any:
        """Send one request and return its result.

        Raises `RemoteError` for an error that the daemon reports, `TooLargeError` for a request of more than
        `MAX_LINE` bytes, `DeadlineError` when the reply takes longer than the timeout, `NoDaemonError` when the daemon
        closes the connection, and `WrongListenerError` when the reply is none of JSON-RPC.
        """
        self.send(method, **params)
        return self.receive()

    def send(self, method: str, /, **params: Any) -> None:
        """Send one request, whose result `receive` returns. Raises as `call` does."""
        self._last_id += 1
        request = {"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": params}
        line = json.dumps(request, separators=(",", ":")).encode("ascii")
        if len(line) > MAX_LINE:
            raise TooLargeError(
                f"the request has {len(line) >> 20} MiB, and {MAX_LINE >> 20} is the limit",
                "put the photo where the daemon can read it, or make it smaller",
            )
        self._due = self._deadline()
        # A daemon that refuses the line replies with the reason and closes: that reply is read after a broken pipe.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._send(line + b"\n", self._due)

    def receive(self) -> Any:
        """Return the result of the request that was sent last. Raises as `call` does."""
        return self._result(self._read_line(self._due))

    def interrupt(self) -> None:
        """Have a call that another thread makes fail at once. The connection is of no more use."""
        with contextlib.suppress(OSError):
            if self._socket is not None:
                self._socket.shutdown(socket.SHUT_RDWR)

    def notification(self, output: int) -> tuple[str, Any] | None:
        """Wait for the next notification of a stream, and return its method and parameters.

        None where the reader of standard output, the file descriptor ``output``, has gone. Raises as `call` does.
        """
        while (end := self._received.find(b"\n")) < 0:
            poll = select.poll()
            poll.register(self._limit(self._socket, None), select.POLLIN)
            poll.register(output, 0)  # POLLERR is always reported
            if output in dict(poll.poll()):
                return None
            self._received += self._receive(None)
        line = bytes(memoryview(self._received)[:end])
        del self._received[: end + 1]
        try:
            message = json.loads(line)
            if isinstance(error := message.get("error"), dict):
                raise _remote_error(error)
            return str(message["method"]), message["params"]
        except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as exc:
            raise self._no_facewatchd() from exc

    def has_more(self) -> bool:
        """Whether a notification has arrived already."""
        return b"\n" in self._received or bool(select.select([self._limit(self._socket, None)], [], [], 0)[0])

    def _connect(self, sock: socket.socket, deadline: float | None) -> None:
        while True:
            self._limit(sock, deadline)
            try:
                with self._address() as place:
                    return sock.connect(place)
            except BlockingIOError:
                time.sleep(_RETRY)
            except TimeoutError as exc:
                raise self._timed_out() from exc
            except PermissionError as exc:
                raise WrongListenerError(
                    f"the daemon on {self.path} belongs to another user", "run this command as that user"
                ) from exc
            except OSError as exc:
                if exc.errno is None or exc.errno == errno.ENAMETOOLONG:
                    raise UsageError(f"{self.path} is too long for a socket's path", "use a shorter one") from exc
                raise NoDaemonError(f"no daemon answers on {self.path}", "start it: facewatchd run DIR") from exc

    def _check_owner(self, sock: socket.socket) -> None:
        """Raise `WrongListenerError` unless this user or root listens; root may also ask the owner of the directory."""
        uid = peer_credentials.user(sock)
        if peer_credentials.is_trusted(uid) or (os.geteuid() == 0 and uid == _owner(os.path.dirname(self.path))):
            return
        raise WrongListenerError(
            f"the process that listens on {self.path} belongs to user {uid}, so nothing was sent",
            "check the path given to --socket, or remove it",
        )

    def _address(self) -> contextlib.AbstractContextManager[str]:
        if len(os.fsencode(self.path)) <= _SHORT:
            return contextlib.nullcontext(self.path)
        from pathlib import Path

        from facewatchd.server import socket_file  # it imports logging, which takes longer than the rest of a query

        return socket_file.address(Path(self.path))

    def _send(self, data: bytes, deadline: float | None) -> None:
        sock = self._limit(self._socket, deadline)
        try:
            sock.sendall(data)
        except TimeoutError as exc:
            raise self._timed_out() from exc

    def _read_line(self, deadline: float | None) -> bytes:
        searched = 0
        while (end := self._received.find(b"\n", searched)) < 0:
            searched = len(self._received)
            self._received += self._receive(deadline)
        line = bytes(memoryview(self._received)[:end])
        del self._received[: end + 1]
        return line

    def _receive(self, deadline: float | None) -> bytes:
        sock = self._limit(self._socket, deadline)
        try:
            data = sock.recv(_CHUNK)
        except TimeoutError as exc:
            raise self._timed_out() from exc
        except ConnectionResetError:
            data = b""
        if not data:
            raise NoDaemonError(f"the daemon on {self.path} hung up", "ask again; its log has the reason")
        return data

    def _result(self, line: bytes) -> Any:
        try:
            reply = json.loads(line)
        except (ValueError, RecursionError) as exc:
            raise self._no_facewatchd() from exc
        if not isinstance(reply, dict) or reply.get("id", 0) not in (self._last_id, None):
            raise self._no_facewatchd()
        if isinstance(error := reply.get("error"), dict):
            raise _remote_error(error)
        if "result" not in reply:
            raise self._no_facewatchd()
        return reply["result"]

    def _deadline(self) -> float | None:
        return None if self.timeout is None else time.monotonic() + self.timeout

    def _limit(self, sock: socket.socket | None, deadline: float | None) -> socket.socket:
        """Set the socket's timeout to the time that is left. Raises `DeadlineError` when none is."""
        if sock is None:
            raise ValueError("the connection is not open")
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise self._timed_out()
        sock.settimeout(left)
        return sock

    def _timed_out(self) -> DeadlineError:
        return DeadlineError(
            f"the daemon on {self.path} did not answer within {self.timeout:g} s",
            "ask again, or see: facewatchd status",
        )

    def _no_facewatchd(self) -> WrongListenerError:
        return WrongListenerError(f"the server on {self.path} is not facewatchd", "check the path given to --socket")


def _owner(path: str) -> int | None:
    try:
        return os.stat(path or ".").st_uid
    except OSError:
        return None


def _remote_error(error: dict[str, Any]) -> RemoteError:
    data = error.get("data")
    details = data if isinstance(data, dict) else {}
    code = error.get("code")
    hint = "" if code != METHOD_NOT_FOUND else "the daemon is of another version: restart it"
    return RemoteError(
        str(error.get("message", "the daemon reports an error without a message")),
        str(details.get("hint", hint)),
        code=code if isinstance(code, int) else 0,
        kind=str(details.get("kind", "")),
    )
