"""The Unix socket: bytes in, bytes out.

One thread accepts, and each connection has a thread of its own, which reads a line, has it answered, sends the
reply, and only then looks at the next line: so replies come in order, and a client that does not read its
replies stops nobody else. While a reply waits to be read, what the client sends is taken in up to `AHEAD` bytes, so
that one that first sends all its requests and then reads is served too. What clients can take is bounded:

- connections: above the limit, a newcomer takes the place of the one that has waited longest between requests;
  if all are at work, it is told so and closed.
- time: a line must end within ``line_deadline`` of its first byte, the next one must begin within
  ``idle_deadline``, and a reply must be read within ``send_deadline``.
- memory: `protocol.MAX_LINE` for one line, `MEMORY` for what all connections hold of lines not yet answered.

Only the daemon's own user and root are answered.

Threads block in poll or recv until something happens or a deadline is over; nothing polls. A connection's socket is
closed by its own thread alone. Others only shut it down, under the connection's lock, so that they never hit
a file descriptor that was closed and used again. The list of connections belongs to the accepting thread, and to
`Server.stop` once that has ended.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from facewatchd import sockets
from facewatchd.errors import DeadlineError, FacewatchError, NotReadyError
from facewatchd.protocol import LineBuffer, error_line

log = logging.getLogger(__name__)

Answer = Callable[[bytes], bytes | None]
"""A line to its reply with a newline, or None. Called from several threads; should not raise."""

MEMORY = 256 << 20
"""Bytes of unanswered lines in all connections together: four of the longest lines."""
RECEIVE = 1 << 18
"""Bytes of one recv; not more than the longest line (`LineBuffer.feed`)."""
AHEAD = 1 << 20
"""Bytes that are taken in while a reply waits to be read."""
LINGER = 2.0
"""Seconds for which a client that is turned away may go on sending before it reads why."""
PAUSE = 1.0
"""Seconds without accepting after the process ran out of file descriptors or threads."""


@dataclass(frozen=True, slots=True)
class _Deadlines:
    line: float
    idle: float
    send: float


class _Budget:
    """Bytes that all connections share."""

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._lock = threading.Lock()

    def take(self, count: int) -> None:
        """Raise `NotReadyError` if less than ``count`` bytes are left."""
        with self._lock:
            if count > self._left:
                raise NotReadyError("too many large requests at once", "try again in a moment")
            self._left -= count

    def give(self, count: int) -> None:
        with self._lock:
            self._left += count


class _Connection:
    """One client, from its first byte to the close, on a thread of its own."""

    def __init__(
        self,
        client: socket.socket,
        answer: Answer,
        deadlines: _Deadlines,
        budget: _Budget,
        stopping: threading.Event,
        name: str,
    ) -> None:
        self._socket = client
        self._answer = answer
        self._deadlines = deadlines
        self._budget = budget
        self._held = 0
        self._ahead = bytearray()
        self._ended = False
        self._stopping = stopping
        self._lock = threading.Lock()
        self._closed = False
        self.idle_since: float | None = time.monotonic()
        """When the client's turn began, to read the last reply and send the next line; None while there is a line to
        answer, or a part of one."""
        self.leaving = False
        # A daemon thread: an answer that outlasts Server.stop must not keep the process from ending.
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def shut(self, how: int) -> None:
        """Wake the thread: SHUT_RD lets it finish the reply in hand, SHUT_RDWR breaks off the sending too."""
        self.leaving = True
        with self._lock:
            if not self._closed:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(how)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._socket.close()
        self._give_back(self._held)

    def _run(self) -> None:
        try:
            self._converse()
        except OSError as exc:
            log.debug("connection ended: %s", exc)  # gone, or not reading
        except Exception:
            log.exception("connection broken off")
        finally:
            self.close()

    def _converse(self) -> None:
        lines = LineBuffer()
        try:
            self._serve_lines(lines)
        except FacewatchError as exc:
            self._turn_away(exc, lines)
        except TimeoutError:
            if not lines.pending:
                return  # idle for too long
            self._turn_away(DeadlineError("the request line did not end in time", "send it at once"), lines)

    def _serve_lines(self, lines: LineBuffer) -> None:
        deadline = time.monotonic() + self._deadlines.idle
        while data := self._receive(deadline):
            self.idle_since = None
            begun = lines.pending > 0
            ended = self._serve(lines, data)
            if not lines.pending:
                deadline = time.monotonic() + self._deadlines.idle
            elif ended or not begun:
                deadline = time.monotonic() + self._deadlines.line
        if lines.pending and not self._stopping.is_set():
            self._reply(lines.take(), last=True)  # `printf ... | nc -U` ends its line with the stream

    def _serve(self, lines: LineBuffer, data: bytes) -> int:
        """Answer the lines that ``data`` ends and return how many. What they held is free when this returns."""
        self._budget.take(len(data))
        self._held += len(data)
        ended = lines.feed(data)
        for number, line in enumerate(ended, 1):
            if self._stopping.is_set():
                raise ConnectionAbortedError("the daemon stops")
            self._reply(line, last=number == len(ended) and not lines.pending)
        return len(ended)

    def _give_back(self, count: int) -> None:
        self._held -= count
        self._budget.give(count)

    def _reply(self, line: bytes, last: bool) -> None:
        reply = self._answer(line)
        self._give_back(min(self._held, len(line) + 1))  # the last line may lack its newline
        if last:  # before the client can have the reply, and act on it
            self.idle_since = time.monotonic()
        if reply is not None:
            self._send(reply)

    def _send(self, reply: bytes) -> None:
        """Send all of it, and take in meanwhile what the client sends."""
        deadline = time.monotonic() + self._deadlines.send
        poll = select.poll()
        left = memoryview(reply)
        self._socket.settimeout(0)
        while True:
            with contextlib.suppress(BlockingIOError):
                left = left[self._socket.send(left) :]
            if not left:
                return
            room = not self._ended and len(self._ahead) < AHEAD
            poll.register(self._socket, select.POLLOUT | (select.POLLIN if room else 0))
            events = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
            if not events or time.monotonic() >= deadline:
                raise ConnectionAbortedError("a reply was not read in time")
            if events[0][1] & select.POLLIN:
                data = self._socket.recv(RECEIVE)
                self._ahead += data
                self._ended = not data

    def _receive(self, deadline: float) -> bytes:
        """Return what has come, b"" at the end. Raises TimeoutError, also if there is something but too late."""
        if self._ahead or self._ended:
            data, self._ahead = bytes(self._ahead), bytearray()
            return data
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("deadline")
        self._socket.settimeout(left)
        return self._socket.recv(RECEIVE)

    def _turn_away(self, error: FacewatchError, lines: LineBuffer) -> None:
        """Say why, and read on for a moment: a client that is still sending must not fail before it reads."""
        log.info("connection closed: %s", error)
        lines.clear()
        self._give_back(self._held)
        self._socket.settimeout(LINGER)
        self._socket.sendall(error_line(error))
        self._socket.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + LINGER
        while self._receive(deadline):
            pass


class Server:
    """Listens on a Unix socket and has every line answered. Started once and stopped once.

    ``path``: the socket, as `sockets.listen` makes it. ``answer``: see `Answer`. ``connections``: how many clients at
    a time. Deadlines in seconds: for a line from its first byte to its newline, for the wait between lines, and for a
    reply to be read.
    """

    def __init__(
        self,
        path: Path,
        answer: Answer,
        *,
        connections: int = 64,
        line_deadline: float = 30.0,
        idle_deadline: float = 600.0,
        send_deadline: float = 30.0,
    ) -> None:
        self._path = path
        self._answer = answer
        self._limit = connections
        self._deadlines = _Deadlines(line_deadline, idle_deadline, send_deadline)
        self._budget = _Budget(MEMORY)
        self._connections: list[_Connection] = []
        self._names = (f"client-{number}" for number in itertools.count(1))
        self._stopping = threading.Event()
        self._wake = -1
        self._endpoint: sockets.Endpoint | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen, and answer from now on. Raises what `sockets.listen` raises."""
        self._endpoint = sockets.listen(self._path)
        self._wake = os.eventfd(0)
        self._thread = threading.Thread(target=self._run, args=(self._endpoint.socket,), name="server", daemon=True)
        self._thread.start()

    def alive(self) -> bool:
        """Whether new connections are accepted."""
        return self._thread is not None and self._thread.is_alive()

    def stop(self, grace: float = 2.0) -> None:
        """Accept no more, give replies in progress ``grace`` seconds to end, and close everything.

        An answer that takes longer is reported, and its thread left behind.
        """
        if self._thread is None or self._endpoint is None:
            return
        self._stopping.set()
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        self._endpoint.close()
        os.close(self._wake)
        self._endpoint = self._thread = None
        for how, seconds in ((socket.SHUT_RD, grace), (socket.SHUT_RDWR, 1.0)):
            deadline = time.monotonic() + seconds
            for connection in self._connections:
                connection.shut(how)
            for connection in self._connections:
                connection.thread.join(max(0.0, deadline - time.monotonic()))
        for connection in self._connections:
            if connection.thread.is_alive():
                log.warning("%s did not end in time", connection.thread.name)

    def _run(self, listener: socket.socket) -> None:
        try:
            self._accept_all(listener)
        except Exception:
            log.exception("no more connections are accepted")

    def _accept_all(self, listener: socket.socket) -> None:
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while not self._stopping.is_set():
            poll.poll()
            try:
                client, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                continue  # woken, or the client was gone before its turn
            except OSError as exc:
                self._pause(exc)
                continue
            self._admit(client)

    def _admit(self, client: socket.socket) -> None:
        uid = _peer(client)
        if uid not in (0, os.geteuid()):
            log.warning("a connection by user %d was refused", uid)
            client.close()
            return
        if not self._make_room():
            _refuse(client, NotReadyError(f"all {self._limit} connections are at work", "try again in a moment"))
            return
        connection = _Connection(client, self._answer, self._deadlines, self._budget, self._stopping, next(self._names))
        self._connections.append(connection)
        try:
            connection.thread.start()
        except RuntimeError as exc:
            self._connections.remove(connection)
            connection.close()
            self._pause(exc)

    def _make_room(self) -> bool:
        """Have the longest-waiting connection leave if there is no place; False if none waits."""
        self._connections = [each for each in self._connections if each.thread.is_alive()]
        if len(self._connections) >= 2 * self._limit:
            return False  # those who leave need a moment, and a thread
        staying = [each for each in self._connections if not each.leaving]
        if len(staying) < self._limit:
            return True
        waiting = [(each.idle_since, each) for each in staying if each.idle_since is not None]
        if not waiting:
            return False
        _, longest = min(waiting, key=lambda pair: pair[0])
        longest.shut(socket.SHUT_RD)  # a request that was already on its way is still answered
        return True

    def _pause(self, exc: Exception) -> None:
        log.warning("cannot take a connection: %s", exc)
        self._stopping.wait(PAUSE)


def _peer(client: socket.socket) -> int:
    """Return the user id of the process that connected (SO_PEERCRED of unix(7): pid, uid, gid)."""
    layout = struct.Struct("iII")
    _, uid, _ = layout.unpack(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, layout.size))
    return int(uid)


def _refuse(client: socket.socket, error: FacewatchError) -> None:
    with client, contextlib.suppress(OSError):
        client.setblocking(False)
        client.send(error_line(error))
