"""The server on a Unix socket: it accepts connections and has every line answered.

One thread accepts. Each connection has a thread of its own (`connection`), which reads a line, has it answered, sends
the reply, and only then reads the next line. So replies come in order, and a client that does not read its replies
stops no other client. While a reply waits to be read, up to `AHEAD` bytes that the client sends are taken in, so that a
client that first sends all its requests and then reads is served too. The resources of a client are bounded:

- Connections: above the limit, a new connection takes the place of the one that has waited longest between requests,
  or whose line has not ended for `UNFINISHED` seconds. If all are in use, the new one gets an error and is closed. A
  request whose client hung up counts as no connection, nor does a request that only waits (`Server.waiting`), nor a
  stream of notifications (`stream`), of which the method that begins them bounds the number.
- Time: a line must end within ``line_deadline`` of its first byte, the next one must begin within ``idle_deadline``,
  and a reply must be read within ``send_deadline``.
- Memory: `jsonrpc.MAX_LINE` for one line, `MEMORY` for all unanswered lines together.

Only the daemon's own user and root are answered.

Threads block in poll or recv until something happens or a deadline is over. The accepting thread also looks every
`LOOK` seconds whether the socket's file is still in its place (`socket_file.ListeningSocket`).

A connection's socket is closed by its own thread alone. Other threads only shut it down, under the connection's lock,
so that they never hit a file descriptor that was closed and used again. The list of connections belongs to the
accepting thread, and to `Server.stop` after that thread has ended.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import resource
import select
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from facewatchd.errors import FacewatchError, NotReadyError
from facewatchd.server import socket_file
from facewatchd.server.connection import Answer, Connection, Deadlines, MemoryBudget
from facewatchd.server.jsonrpc import error_line
from facewatchd.system import peer_credentials

log = logging.getLogger(__name__)

MEMORY = 256 << 20
"""Bytes of unanswered lines in all connections together: four of the longest lines."""
ABANDONED = 256
"""Requests of clients that hung up that may still be answered (a ``wait`` may take a day); each has a thread."""
WAITING = 1000
"""Connections whose requests only wait, as ``wait`` does; fewer where the process may open few files
(`_most_waiting`)."""
UNFINISHED = 5.0
"""Seconds for which a line that has begun keeps its connection, however many clients wait for one."""
LOOK = 5.0
"""Seconds between two looks at the socket's file: the longest time without a socket after its file was removed."""
PAUSE = 1.0
"""Seconds without an accept after the process ran out of file descriptors or threads."""


class Server:
    """Listens on a Unix socket and has every line answered. Started once and stopped once.

    ``path``: the socket, as `socket_file.listen` makes it; ``passed``: one that systemd made, which counts instead.
    ``answer``: see `Answer`. ``connections``: how many clients at a time. Deadlines in seconds: for a line from its
    first byte to its newline, for the wait between lines, and for a reply to be read.
    """

    def __init__(
        self,
        path: Path,
        answer: Answer,
        *,
        passed: socket.socket | None = None,
        connections: int = 64,
        line_deadline: float = 30.0,
        idle_deadline: float = 600.0,
        send_deadline: float = 30.0,
    ) -> None:
        self._path = path
        self._passed = passed
        self._answer = answer
        self._limit = connections
        self._deadlines = Deadlines(line_deadline, idle_deadline, send_deadline)
        self._budget = MemoryBudget(MEMORY)
        self._connections: list[Connection] = []
        self._names = (f"client-{number}" for number in itertools.count(1))
        self._waiting_lock = threading.Lock()
        self._stopping = threading.Event()
        self._wake = -1
        self._listener: socket_file.ListeningSocket | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen, and answer from now on. Raises what `socket_file.listen` raises."""
        with contextlib.ExitStack() as failed:
            listener = socket_file.ListeningSocket(self._path, self._passed)
            failed.callback(listener.close)
            self._wake = os.eventfd(0)
            failed.callback(os.close, self._wake)
            thread = threading.Thread(target=self._run, args=(listener,), name="server", daemon=True)
            thread.start()
            self._listener, self._thread = listener, thread
            failed.pop_all()

    def alive(self) -> bool:
        """Whether new connections are accepted."""
        return self._thread is not None and self._thread.is_alive()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Mark the calling thread's request as one that only waits: it counts as no connection inside the block.

        Raises `NotReadyError` where `_most_waiting` requests wait already.
        """
        here = threading.current_thread()
        found = [each for each in self._connections if each.thread is here]
        with self._waiting_lock:
            if found and sum(each.waits for each in self._connections) >= _most_waiting():
                raise NotReadyError("too many clients wait at once", "try again in a moment")
            for each in found:
                each.waits = True
        try:
            yield
        finally:
            for each in found:
                each.waits = False

    @property
    def path(self) -> Path:
        """Where clients find the socket."""
        return self._listener.path if self._listener else self._path

    @property
    def trouble(self) -> str:
        """What is wrong with the socket's file or directory: one line, empty where nothing is."""
        return self._listener.trouble if self._listener else ""

    def stop(self, grace: float = 2.0) -> None:
        """Accept no more connections, give current replies ``grace`` seconds to end, and close everything.

        An answer that takes longer is logged, and its thread is left behind.
        """
        if self._thread is None or self._listener is None:
            return
        self._stopping.set()
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        self._listener.close()
        os.close(self._wake)
        self._listener = self._thread = None
        for how, seconds in ((socket.SHUT_RD, grace), (socket.SHUT_RDWR, 1.0)):
            deadline = time.monotonic() + seconds
            for connection in self._connections:
                connection.shut(how)
            for connection in self._connections:
                connection.thread.join(max(0.0, deadline - time.monotonic()))
        for connection in self._connections:
            if connection.thread.is_alive():
                log.warning("%s did not end in time", connection.thread.name)

    def _run(self, listener: socket_file.ListeningSocket) -> None:
        try:
            self._accept_all(listener)
        except Exception:
            log.exception("no more connections are accepted")

    def _accept_all(self, listener: socket_file.ListeningSocket) -> None:
        look = time.monotonic() + LOOK
        while not self._stopping.is_set():
            if self._comes(listener.socket, look):
                self._accept(listener)
            else:  # no client waits to be accepted: only now may `look` replace the listening socket
                listener.look()
                look = time.monotonic() + LOOK

    def _comes(self, listener: socket.socket, deadline: float) -> bool:
        """Wait until a connection can be accepted or the server stops; False where the deadline came first."""
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))

    def _accept(self, listener: socket_file.ListeningSocket) -> None:
        try:
            client, _ = listener.socket.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # the server stops, or the client hung up before it was accepted
        except OSError as exc:
            self._pause(exc)
            return
        self._admit(client, listener)

    def _admit(self, client: socket.socket, listener: socket_file.ListeningSocket) -> None:
        uid = peer_credentials.user(client)
        if not (peer_credentials.is_trusted(uid) or (peer_credentials.is_nobody_here(uid) and listener.is_private())):
            log.warning("a connection by user %d was refused", uid)
            client.close()
            return
        if not self._make_room():
            _refuse(client, NotReadyError(f"all {self._limit} connections are in use", "try again in a moment"))
            return
        connection = Connection(client, self._answer, self._deadlines, self._budget, self._stopping, next(self._names))
        self._connections.append(connection)
        try:
            connection.thread.start()
        except RuntimeError as exc:
            self._connections.remove(connection)
            connection.close()
            self._pause(exc)

    def _make_room(self) -> bool:
        """Close the longest-waiting connection where the limit is reached; False where none waits."""
        self._connections = [each for each in self._connections if each.thread.is_alive()]
        working = [each for each in self._connections if not each.waits]
        if len(working) < self._limit:
            return True
        here = [each for each in working if not each.abandoned()]
        if len(working) - len(here) >= ABANDONED or len(here) >= 2 * self._limit:
            return False  # the threads of closed connections have to end first
        staying = [each for each in here if not each.leaving]
        if len(staying) < self._limit:
            return True
        longest = _longest_waiting(staying)
        if longest is None:
            return False
        longest.shut(socket.SHUT_RD)  # a request that was already on its way is still answered
        return True

    def _pause(self, exc: Exception) -> None:
        log.warning("cannot take a connection: %s", exc)
        self._stopping.wait(PAUSE)


def _most_waiting() -> int:
    """How many connections may wait at once: at most half of the file descriptors that the process may open."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(WAITING, files // 2) if files != resource.RLIM_INFINITY else WAITING


def _longest_waiting(connections: Iterable[Connection]) -> Connection | None:
    """The connection that has been idle longest, or else the one with the oldest unfinished line.

    A line is only old enough after `UNFINISHED` seconds; None where no connection qualifies.
    """
    idle = [(since, each) for each in connections if (since := each.idle_since) is not None]
    begun = [(since, each) for each in connections if (since := each.unfinished_since) is not None]
    waiting = idle or [pair for pair in begun if pair[0] < time.monotonic() - UNFINISHED]
    return min(waiting, key=lambda pair: pair[0])[1] if waiting else None


def _refuse(client: socket.socket, error: FacewatchError) -> None:
    with client, contextlib.suppress(OSError):
        client.setblocking(False)
        client.send(error_line(error))
