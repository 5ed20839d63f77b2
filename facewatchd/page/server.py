"""The process of the page: its sockets, its server, and its end.

It listens on the loopback alone, on the same port of IPv4 and, where there is one, of IPv6: else another user's program
could take the one that this process left free, and be found there under the name ``localhost``. A connection whose
other end belongs to another user is closed before anything is read from it. The process ends at Ctrl-C and SIGTERM, and
with its terminal, at once, and by itself after half an hour without use (`activity`).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import signal
import socket
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from facewatchd.client.connection import PROBE_TIMEOUT, Connection
from facewatchd.console.streams import say, write
from facewatchd.errors import FacewatchError
from facewatchd.page import app, opener
from facewatchd.page.access import Daemon
from facewatchd.page.activity import IDLE, Activity
from facewatchd.page.running import Address, Place
from facewatchd.page.view import Page
from facewatchd.system import peer_credentials, tcp_peer
from facewatchd.text import printable

HOST = "127.0.0.1"
_HOST_6 = "::1"
_TRIES = 20
"""Ports that are tried until one is free on both."""
_SILENT = 10.0
"""Seconds for the head of a request, and within which a new connection must have sent one."""
_KEPT = 120
"""Seconds for which a connection is kept for the next request."""
_CONNECTIONS = 128
"""At a time; a browser holds up to 6."""
_LONGEST_HEAD = 32 << 10
"""Bytes of a request before its body."""
_END = 1
"""Seconds for what is being answered when the process is to end."""


def run(socket_path: Path | None, port: int, *, opens: bool) -> int:
    """Serve the page until it is ended; open the browser where that is wanted, also on a page that runs already.

    Raises `FacewatchError`.
    """
    place = Place(socket_path)
    with place.held() as is_held:
        if not is_held:
            return _open_running(place, opens=opens)
        with listening(port) as sockets, contextlib.closing(Daemon(socket_path)) as daemon:
            _serve(socket_path, daemon, sockets, place, opens=opens)
    return 0


def _serve(
    socket_path: Path | None, daemon: Daemon, sockets: list[socket.socket], place: Place, *, opens: bool
) -> None:
    port = sockets[0].getsockname()[1]
    page = Page(daemon)
    url = f"http://{HOST}:{port}/#{page.sessions.code}"
    with contextlib.ExitStack() as stack:
        try:
            leads = str(stack.enter_context(opener.leading(url, place.directory, place.name)))
            place.tell(Address(url, leads))
        except OSError as exc:
            raise FacewatchError(f"cannot write the page's address: {exc.strerror or exc}", "make room") from exc

        def started() -> None:
            write(f"{url}\n")
            is_open = opens and opener.open_file(leads)
            open_it = "" if is_open else "open this address in a browser on this machine; "
            say(f"facewatchd: {open_it}Ctrl-C ends the page")
            if problem := _problem(socket_path):
                say(f"facewatchd: {problem}")

        hosts = [f"{name}:{port}" for name in (HOST, f"[{_HOST_6}]", "localhost")]
        server = _Server(app.make(page, hosts, port), page.activity, started)
        asyncio.run(server.serve_until_ended(sockets, daemon.close))


def _problem(socket_path: Path | None) -> str:
    """Why the daemon cannot be asked; empty where it can. The page is shown all the same, and goes on when it comes."""
    try:
        with Connection(socket_path, PROBE_TIMEOUT):
            return ""
    except FacewatchError as exc:
        return printable(str(exc))


def _open_running(place: Place, *, opens: bool) -> int:
    address = place.address()
    say("facewatchd: the page runs already")
    write(f"{address.url}\n")
    if opens:
        opener.open_file(address.leads)
    return 0


@contextlib.contextmanager
def listening(port: int) -> Iterator[list[socket.socket]]:
    """Yield sockets that listen on a port of the loopback; 0 stands for any that is free. Raises `FacewatchError`."""
    with contextlib.ExitStack() as stack:
        for tries_left in reversed(range(1 if port else _TRIES)):
            with contextlib.ExitStack() as attempt:
                sockets = [attempt.enter_context(_bound(socket.AF_INET, HOST, port))]
                try:
                    with contextlib.suppress(_NoIPv6Error):
                        sockets.append(
                            attempt.enter_context(_bound(socket.AF_INET6, _HOST_6, sockets[0].getsockname()[1]))
                        )
                except FacewatchError:
                    if not tries_left:
                        raise
                    continue
                stack.push(attempt.pop_all())
                break
        yield sockets


class _NoIPv6Error(Exception):
    """This machine has no loopback of IPv6."""


def _bound(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    try:
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as exc:
        raise _NoIPv6Error from exc
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, port))
    except OSError as exc:
        listener.close()
        if family == socket.AF_INET6 and exc.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            raise _NoIPv6Error from exc
        raise FacewatchError(
            f"cannot listen on port {port}: {exc.strerror or exc}", "choose another with --port, or leave it out"
        ) from exc
    return listener


class _OwnUsersProtocol(H11Protocol):
    """Closes a connection whose other end belongs to another user, and one whose request does not come.

    Where there are as many connections as there may be, the one goes that has kept the server waiting for longest: a
    program that opens many, and sends little or nothing, keeps no browser out.
    """

    _late: asyncio.TimerHandle | None = None
    """Closes the connection while the head of a request is awaited."""
    _since = 0.0
    """When it began to keep the server waiting: the connection, or the end of the last answer."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._since = self.loop.time()
        if not _is_own(self.client, self.server):
            transport.abort()
            return
        self._await_head()
        if len(self.connections) >= _CONNECTIONS:
            waiting = [each for each in self.connections if isinstance(each, _OwnUsersProtocol) and each._is_awaited()]
            first = min(waiting, key=lambda each: each._since)
            self.connections.discard(first)
            first.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if (self.cycle is None or self.cycle.response_complete) and not self.transport.is_closing():
            self._await_head()
        else:
            self._end_waiting()

    def on_response_complete(self) -> None:
        self._since = self.loop.time()
        super().on_response_complete()

    def _is_awaited(self) -> bool:
        """Whether the other end is to send something: a request, or the rest of one."""
        return self.cycle is None or self.cycle.response_complete or self.cycle.more_body

    def _await_head(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(_SILENT, self.transport.abort)

    def _end_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


def _is_own(client: tuple[str, int] | None, server: tuple[str, int | None] | None) -> bool:
    """Whether a connection comes from this user or root. Where the kernel does not tell, the cookie decides alone."""
    if client is None or server is None or server[1] is None:
        return False
    try:
        uid = tcp_peer.user(client, (server[0], server[1]))
    except OSError:
        return True
    return uid is not None and peer_credentials.is_trusted(uid)


class _Server(uvicorn.Server):
    """Ends at a signal, and when the page was not used for long."""

    def __init__(self, application: Any, activity: Activity, started: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                http=_OwnUsersProtocol,
                ws="none",
                lifespan="off",
                loop="asyncio",
                log_config=None,
                log_level=logging.ERROR,  # what a stranger sends is no news for the terminal
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=_CONNECTIONS,
                timeout_keep_alive=_KEPT,
                timeout_graceful_shutdown=_END,
                h11_max_incomplete_event_size=_LONGEST_HEAD,
            )
        )
        self._activity = activity
        self._on_start = started

    async def serve_until_ended(self, sockets: list[socket.socket], release: Callable[[], None]) -> None:
        """Serve. ``release`` has what waits for the daemon end."""

        def end() -> None:
            self.should_exit = True
            release()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, end)
        await self.serve(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals to `serve_until_ended`: uvicorn would raise them again at the end."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        self._on_start()

    async def on_tick(self, counter: int) -> bool:
        """Whether to end."""
        return await super().on_tick(counter) or self._activity.idle() >= IDLE
