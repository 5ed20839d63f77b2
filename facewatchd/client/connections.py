"""Several connections to the daemon, over which many small requests are answered at once. Standard library only."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

from facewatchd.client.connection import METHOD_NOT_FOUND, Connection, RemoteError
from facewatchd.errors import FacewatchError

NUMBER = 4
"""Connections: one more than that gains nothing where the daemon decodes on two cores."""


class Call(NamedTuple):
    """A request."""

    method: str
    params: dict[str, Any]


class Connections:
    """For one thread, inside a ``with`` block. To be closed after any error."""

    def __init__(self, socket_path: str | os.PathLike[str] | None) -> None:
        """``socket_path``: as of a `Connection`."""
        self._path = socket_path
        self._stack = ExitStack()
        self._open: list[Connection] = []

    def __enter__(self) -> Connections:
        """Connect. Raises as a `Connection` does."""
        with ExitStack() as stack:
            self._open = [stack.enter_context(Connection(self._path)) for _ in range(NUMBER)]
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Close all of them."""
        self._stack.close()

    def results(self, calls: Iterable[Call]) -> Iterator[Any | RemoteError]:
        """Return the results in the order of the requests, the error of one that the daemon refuses in its place.

        All of them must be taken. Raises as `Connection.call` does, and `FacewatchError` where the daemon is of an
        earlier version, which does not know a method.
        """
        waiting: deque[tuple[Connection, Call]] = deque()
        for position, call in enumerate(calls):
            if len(waiting) == NUMBER:
                yield _received(*waiting.popleft())
            connection = self._open[position % NUMBER]
            connection.send(call.method, **call.params)
            waiting.append((connection, call))
        while waiting:
            yield _received(*waiting.popleft())


def _received(connection: Connection, call: Call) -> Any | RemoteError:
    try:
        return connection.receive()
    except RemoteError as error:
        if error.code == METHOD_NOT_FOUND:
            raise FacewatchError(
                f"the daemon that runs is of an earlier version, without {call.method}",
                "start it again after an upgrade",
            ) from error
        return error
