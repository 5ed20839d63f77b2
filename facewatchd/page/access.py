"""The daemon as the page asks it: calls of its socket, from threads, so that none keeps another waiting.

A browser asks for many pictures at once, and the daemon answers the requests of one connection in order. So there are
up to `THREADS` connections. Each is used by one call at a time and kept for the next one; a connection that the daemon
closed meanwhile (it was idle for too long, or the daemon was started again) is noticed before it is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from facewatchd.client.connection import DEFAULT_TIMEOUT, Connection, RemoteError
from facewatchd.errors import NoDaemonError

THREADS = 16
"""Calls at a time, of the 64 connections that the daemon takes; a browser makes 6 requests at a time to one server."""
_WORD = 16
"""Digits of a catalog's random number that tell it from others, as 64 bits do."""


class Daemon:
    """To be used from one event loop, and closed at the end."""

    def __init__(self, socket: Path | None) -> None:
        """``socket``: None for the usual place."""
        self.socket = socket
        self._threads = ThreadPoolExecutor(THREADS, "daemon")
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._used: set[Connection] = set()
        self._catalogs = WeakKeyDictionary[Connection, str]()
        self._closed = False

    async def catalog(self) -> str:
        """Return a word for what the ids of faces and groups belong to: another where the photos were indexed anew.

        Raises what `Connection.call` does.
        """
        if self._closed:
            raise _ended()
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._catalog)

    async def call(self, method: str, /, **params: Any) -> Any:
        """Send one request and return its result. Raises what `Connection.call` does.

        Parameters that are None are left out, and a trailing underscore of a name is: `with_` stands for `with`.
        """
        if self._closed:
            raise _ended()
        given = {name.removesuffix("_"): value for name, value in params.items() if value is not None}
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(self._call, method, given))

    def close(self) -> None:
        """End all calls at once: each raises `NoDaemonError`."""
        with self._lock:
            self._closed = True
            for connection in self._used:
                connection.interrupt()
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.__exit__()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _catalog(self) -> str:
        """Asked once on each connection: a daemon has one catalog, and ends its connections with itself."""
        connection = self._connected()
        known = self._catalogs.get(connection)
        if known is not None:
            self._give_back(connection, is_kept=True)
            return known
        status = self._asked(connection, "status", {})
        known = str(status.get("catalog", ""))[:_WORD]
        with self._lock:
            self._catalogs[connection] = known
        return known

    def _call(self, method: str, params: dict[str, Any]) -> Any:
        return self._asked(self._connected(), method, params)

    def _asked(self, connection: Connection, method: str, params: dict[str, Any]) -> Any:
        is_kept = False
        try:
            result = connection.call(method, **params)
            is_kept = True
        except RemoteError:
            is_kept = True
            raise
        finally:
            self._give_back(connection, is_kept=is_kept)
        return result

    def _connected(self) -> Connection:
        """An idle connection that still holds, or a new one. Raises `NoDaemonError`."""
        while (connection := self._take()) is not None:
            with contextlib.suppress(OSError, ValueError):
                if not connection.has_more():  # else it was closed: nothing is sent without a request
                    return connection
            self._give_back(connection, is_kept=False)
        connection = Connection(self.socket, DEFAULT_TIMEOUT).__enter__()
        with self._lock:
            self._used.add(connection)
            if self._closed:
                connection.interrupt()
        return connection

    def _take(self) -> Connection | None:
        with self._lock:
            if self._closed:
                raise _ended()
            if not self._idle:
                return None
            connection = self._idle.pop()
            self._used.add(connection)
            return connection

    def _give_back(self, connection: Connection, *, is_kept: bool) -> None:
        with self._lock:
            self._used.discard(connection)
            if is_kept and not self._closed:
                self._idle.append(connection)
                return
        connection.__exit__()


def _ended() -> NoDaemonError:
    return NoDaemonError("the page has ended", "start it again: facewatchd page")
