"""One client, from its first byte to the close: lines are cut out of the stream, answered in order, and sent back.

What a client can take is bounded: a line must end within a deadline of its first byte, the next one must begin
within another, a reply must be read within a third, and what all clients together have sent and not had answered must
fit into a `MemoryBudget`. Small requests always fit, whatever others hold.
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from facewatchd.errors import DeadlineError, FacewatchError, NotReadyError
from facewatchd.server.jsonrpc import LineBuffer, error_line
from facewatchd.system import peer_credentials

log = logging.getLogger(__name__)

Answer = Callable[[bytes], bytes | None]
"""A line to its reply with a newline, or None. Called from several threads; should not raise."""

RECEIVE = 1 << 18
"""Bytes of one recv; not more than the longest line (`LineBuffer.feed`)."""
FREE = 1 << 18
"""Bytes of unanswered lines that a connection may hold beside the budget: clients that send huge lines, and do not
end them, must not shut out those who ask for a status."""
AHEAD = 1 << 20
"""Bytes that are taken in while a reply waits to be read."""
SLICE = 1.0
"""Seconds of one wait for the rest of a line, or for a reply to be read."""
LATE = 0.5
"""Seconds by which a wait may end late. What is more was a stop of the process (SIGSTOP): no deadline counts it."""
LINGER = 2.0
"""Seconds for which a client that is turned away may go on sending before it reads why."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds: for a line from its first byte to its newline, between lines, and for a reply to be read."""

    line: float
    idle: float
    send: float


class MemoryBudget:
    """Bytes that all connections share."""

    def __init__(self, limit: int) -> None:
        self.left = limit
        self._lock = threading.Lock()

    def take(self, count: int) -> None:
        """Take so many bytes, or give them back where negative. Raises `NotReadyError` if there are less."""
        with self._lock:
            if count > self.left:
                raise NotReadyError("too many large requests at once", "try again in a moment")
            self.left -= count


class Connection:
    """One client, on a thread of its own."""

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
        self._stopped = 0.0
        """Seconds for which the process was stopped while this waited."""
        self._stopping = stopping
        self._lock = threading.Lock()
        self._closed = False
        self.idle_since: float | None = time.monotonic()
        """When the client's turn began, to read the last reply and send the next line; None while there is a line to
        answer, or a part of one."""
        self.unfinished_since: float | None = None
        """When the line began that the client has not ended yet; None while there is none, or one is answered."""
        self.leaving = False
        self.waits = False
        """Whether the request in hand only waits for something that others do."""
        # A daemon thread: an answer that outlasts Server.stop must not keep the process from ending.
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def shut(self, how: int) -> None:
        """Wake the thread: SHUT_RD lets it finish the reply in hand, SHUT_RDWR breaks off the sending too."""
        self.leaving = True
        with self._lock:
            if not self._closed:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(how)

    def abandoned(self) -> bool:
        """Whether the client has hung up, so that nobody will read what is still being worked on."""
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

    def _now(self) -> float:
        """The monotonic clock, without the time for which the process was stopped."""
        return time.monotonic() - self._stopped

    def _poll(self, events: int, deadline: float, *, sliced: bool = True) -> int:
        """Wait for events on the socket until a moment of `_now`; return those that came, 0 if there were none."""
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
            now = self._now()
            if lines.pending:
                line_began = line_began if begun and not ended else now
                self.unfinished_since = line_began + self._stopped
            deadline = line_began + self._deadlines.line if lines.pending else now + self._deadlines.idle
        if lines.pending and not self._stopping.is_set():
            if self.leaving:
                raise NotReadyError("others wait for the place of this unfinished request", "send it at once")
            self._reply(lines.take(), last=True)  # `printf ... | nc -U` ends its line with the stream

    def _serve(self, lines: LineBuffer, data: bytes) -> int:
        """Answer the lines that ``data`` ends and return how many. What they held is free when this returns."""
        self._hold(self._held + len(data))
        ended = lines.feed(data)
        for number, line in enumerate(ended, 1):
            if self._stopping.is_set():
                raise ConnectionAbortedError("the daemon stops")
            self._reply(line, last=number == len(ended) and not lines.pending)
        return len(ended)

    def _hold(self, count: int) -> None:
        """Account for so many bytes of unanswered lines. Raises `NotReadyError`."""
        self._budget.take(max(0, count - FREE) - max(0, self._held - FREE))
        self._held = count

    def _reply(self, line: bytes, last: bool) -> None:
        reply = self._answer(line)
        self._hold(max(0, self._held - len(line) - 1))  # the last line may lack its newline
        if last:  # before the client can have the reply, and act on it
            self.idle_since = time.monotonic()
        if reply is not None:
            self._send(reply)

    def _send(self, reply: bytes) -> None:
        """Send all of it, and take in meanwhile what the client sends."""
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
        """Return what has come, b"" at the end. Raises TimeoutError, also if there is something but too late."""
        if self._ahead or self._ended:
            data, self._ahead = bytes(self._ahead), bytearray()
            return data
        if self._now() >= deadline or not self._poll(select.POLLIN, deadline, sliced=sliced):
            raise TimeoutError("deadline")
        self._socket.settimeout(SLICE)
        return self._socket.recv(RECEIVE)

    def _turn_away(self, error: FacewatchError, lines: LineBuffer) -> None:
        """Say why, and read on for a moment: a client that is still sending must not fail before it reads."""
        log.info("connection closed: %s", error)
        lines.clear()
        self._hold(0)
        self._socket.settimeout(LINGER)
        self._socket.sendall(error_line(error))
        self._socket.shutdown(socket.SHUT_WR)
        deadline = self._now() + LINGER
        while self._receive(deadline):
            pass
