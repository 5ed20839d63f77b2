"""One connection, from its first byte to the close: request lines are cut out of the stream and answered in order.

The resources of a client are bounded. A line must end within a deadline of its first byte, the next line must begin
within another, and a reply must be read within a third (`Deadlines`). The unanswered lines of all clients together must
fit into a `MemoryBudget`; `FREE` bytes of each connection are not counted, so that small requests always fit.

A reply may begin a stream of notifications (`stream`): the connection then takes no more requests, and only its end of
sending has a deadline.

No deadline counts the time for which the whole process was stopped (SIGSTOP, a suspended machine): a wait that ends
more than `LATE` seconds after its timeout was such a stop.
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from facewatchd.errors import DeadlineError, FacewatchError, NotReadyError
from facewatchd.server.jsonrpc import InvalidRequestError, LineBuffer, error_line, notification
from facewatchd.server.stream import Sink, Streaming
from facewatchd.system import peer_credentials

log = logging.getLogger(__name__)

Answer = Callable[[bytes], bytes | Streaming | None]
"""A line to its reply with a newline, or None. Called from several threads; should not raise."""

RECEIVE = 1 << 18
"""Bytes of one recv; not more than the longest line (`LineBuffer.feed`)."""
FREE = 1 << 18
"""Bytes of unanswered lines that a connection may hold beside the budget: clients that send huge lines without an end
must not shut out a client that asks for a status."""
AHEAD = 1 << 20
"""Bytes that are received while a reply waits to be read."""
SLICE = 1.0
"""Seconds of one wait for the rest of a line, or for a reply to be read."""
LATE = 0.5
"""Seconds by which a wait may end late on a busy machine; a later end was a stop of the process."""
_NO_MORE = "a connection with a stream takes no more requests: open another one"
LINGER = 2.0
"""Seconds for which a refused client may go on sending before it reads the error."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds: for a line from its first byte to its newline, between lines, and for a reply to be read."""

    line: float
    idle: float
    send: float


class MemoryBudget:
    """The bytes of unanswered lines that all connections share."""

    def __init__(self, limit: int) -> None:
        self.left = limit
        self._lock = threading.Lock()

    def take(self, count: int) -> None:
        """Take so many bytes; a negative count gives back. Raises `NotReadyError` where fewer are left."""
        with self._lock:
            if count > self.left:
                raise NotReadyError("too many large requests at once", "try again in a moment")
            self.left -= count


class Connection:
    """One client. ``thread`` is made here, started by the caller, and closes the socket at its end."""

    def __init__(
        self,
        client: socket.socket,
        answer: Answer,
        deadlines: Deadlines,
        budget: MemoryBudget,
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
        self._begun: Callable[[Sink], None] | None = None
        """What is to be done once the reply was sent that began a stream."""
        self._stopped = 0.0
        """Seconds for which the process was stopped while this waited."""
        self._stopping = stopping
        self._lock = threading.Lock()
        self._closed = False
        self.idle_since: float | None = time.monotonic()
        """Since when the connection waits for the client to read the last reply or to begin the next line; None while
        a line is answered or has begun."""
        self.unfinished_since: float | None = None
        """When the line began that the client has not ended yet; None while none has begun, or one is answered."""
        self.leaving = False
        """Whether `shut` was called."""
        self.waits = False
        """Whether the request that is answered only waits for other threads, or has become a stream."""
        # A daemon thread: an answer that outlasts Server.stop must not keep the process from ending.
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def shut(self, how: int) -> None:
        """Wake the thread: SHUT_RD lets it finish the current reply, SHUT_RDWR also breaks off the sending."""
        self.leaving = True
        with self._lock:
            if not self._closed:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(how)

    def abandoned(self) -> bool:
        """Whether the client has hung up, so that the current reply will not be read."""
        with self._lock:
            return not self._closed and peer_credentials.has_hung_up(self._socket)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._socket.close()
        self._hold(0)

    def _run(self) -> None:
        try:
            self._converse()
        except OSError as exc:
            log.debug("connection ended: %s", exc)  # the client went, or reads no reply
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

    def _now(self) -> float:
        """The monotonic clock, without the time for which the process was stopped."""
        return time.monotonic() - self._stopped

    def _poll(self, events: int, deadline: float, *, sliced: bool = True) -> int:
        """Wait for events on the socket until a time of `_now`; return those that came, 0 where none did."""
        poll = select.poll()
        poll.register(self._socket, events)
        while True:
            left = max(0.0, deadline - self._now())
            planned = min(left, SLICE) if sliced else left
            began = time.monotonic()
            came = poll.poll(planned * 1000)
            self._stopped += max(0.0, time.monotonic() - began - planned - LATE)
            if came:
                return came[0][1]
            if self._now() >= deadline:
                return 0

    def _serve_lines(self, lines: LineBuffer) -> None:
        line_began = 0.0
        deadline = self._now() + self._deadlines.idle
        while data := self._receive(deadline, sliced=lines.pending > 0):
            self.idle_since = self.unfinished_since = None
            begun = lines.pending > 0
            ended = self._serve(lines, data)
            if self._begun is not None:
                self._stream(self._begun, alone=not lines.pending)
            now = self._now()
            if lines.pending:
                line_began = line_began if begun and not ended else now
                self.unfinished_since = line_began + self._stopped
            deadline = line_began + self._deadlines.line if lines.pending else now + self._deadlines.idle
        if lines.pending and not self._stopping.is_set():
            if self.leaving:
                raise NotReadyError("others wait for the place of this unfinished request", "send it at once")
            self._reply(lines.take(), last=True)  # `printf ... | nc -U` ends its line with the stream
            if self._begun is not None:
                self._stream(self._begun, alone=True)

    def _serve(self, lines: LineBuffer, data: bytes) -> int:
        """Answer the lines that ``data`` ends, and return how many; their bytes are given back to the budget."""
        self._hold(self._held + len(data))
        ended = lines.feed(data)
        for number, line in enumerate(ended, 1):
            if self._stopping.is_set():
                raise ConnectionAbortedError("the daemon stops")
            if self._begun is not None:
                raise InvalidRequestError(_NO_MORE)
            self._reply(line, last=number == len(ended) and not lines.pending)
        return len(ended)

    def _hold(self, count: int) -> None:
        """Account for so many bytes of unanswered lines. Raises `NotReadyError`."""
        self._budget.take(max(0, count - FREE) - max(0, self._held - FREE))
        self._held = count

    def _reply(self, line: bytes, last: bool) -> None:
        reply = self._answer(line)
        self._hold(max(0, self._held - len(line) - 1))  # the last line may lack its newline
        if isinstance(reply, Streaming):
            self.waits = True  # before the reply is sent, as below
            self._send(reply.reply)
            self._begun = reply.run
            return
        if last:  # before the reply is sent: a client that has it may open another connection at once
            self.idle_since = time.monotonic()
        if reply is not None:
            self._send(reply)

    def _stream(self, run: Callable[[Sink], None], *, alone: bool) -> NoReturn:
        """Send whatever comes, until ConnectionError or `FacewatchError` is raised.

        The caller holds no request any more: one may have 64 MiB, and a stream may last for months.
        """
        if not alone:
            raise InvalidRequestError(_NO_MORE)
        run(self)
        raise ConnectionAbortedError("the stream has ended")

    def send(self, method: str, params: Mapping[str, object]) -> None:
        """Send a notification: see `Sink.send`."""
        self._require_listener()
        self._send(notification(method, params))

    def wait(self, wake: int | None, seconds: float) -> None:
        """Wait until a file descriptor can be read: see `Sink.wait`."""
        deadline = self._now() + seconds
        while True:
            self._require_listener()
            poll = select.poll()
            if wake is not None:
                poll.register(wake, select.POLLIN)
            poll.register(self._socket, 0 if self._ended else select.POLLIN)
            left = max(0.0, deadline - self._now())
            # The stop of the server wakes a thread that waits for bytes of its client.
            came = dict(poll.poll(1000 * (min(left, SLICE) if self._ended else left)))
            heard = came.get(self._socket.fileno(), 0)
            if heard & (select.POLLHUP | select.POLLERR):
                raise ConnectionAbortedError("the client hung up")
            if heard:
                data = self._socket.recv(RECEIVE)
                self._ahead += data
                self._ended = not data
            elif wake in came or self._now() >= deadline:
                return

    def _require_listener(self) -> None:
        """Raise where the stream is to end: the server stops, or the client sent something."""
        if self._stopping.is_set() or self.leaving:
            raise ConnectionAbortedError("the daemon stops")
        if self._ahead:
            raise InvalidRequestError(_NO_MORE)

    def _send(self, reply: bytes) -> None:
        """Send all of the reply, and receive up to `AHEAD` bytes meanwhile."""
        deadline = self._now() + self._deadlines.send
        left = memoryview(reply)
        self._socket.settimeout(0)
        while True:
            with contextlib.suppress(BlockingIOError):
                left = left[self._socket.send(left) :]
            if not left:
                return
            room = not self._ended and len(self._ahead) < AHEAD
            events = self._poll(select.POLLOUT | (select.POLLIN if room else 0), deadline)
            if not events or self._now() >= deadline:
                raise ConnectionAbortedError("a reply was not read in time")
            if events & select.POLLIN:
                data = self._socket.recv(RECEIVE)
                self._ahead += data
                self._ended = not data

    def _receive(self, deadline: float, *, sliced: bool = True) -> bytes:
        """Return received bytes, b"" at the end of the stream. Raises TimeoutError once the deadline is over."""
        if self._ahead or self._ended:
            data, self._ahead = bytes(self._ahead), bytearray()
            return data
        if self._now() >= deadline or not self._poll(select.POLLIN, deadline, sliced=sliced):
            raise TimeoutError("deadline")
        self._socket.settimeout(SLICE)
        return self._socket.recv(RECEIVE)

    def _turn_away(self, error: FacewatchError, lines: LineBuffer) -> None:
        """Send the error, and read on for `LINGER` seconds: a client that still sends would fail before it reads it."""
        # What a stream says may hold the name of a person.
        log.info("connection closed: %s", error if self._begun is None else f"the stream has ended ({error.kind})")
        lines.clear()
        self._hold(0)
        self._socket.settimeout(LINGER)
        self._socket.sendall(error_line(error))
        self._socket.shutdown(socket.SHUT_WR)
        deadline = self._now() + LINGER
        while self._receive(deadline):
            pass
