"""Streams: a request whose reply is followed by notifications, for as long as the client listens.

A method begins one by returning a `Stream`. The connection sends the reply and then calls `Stream.run` with a `Sink`,
on its own thread. From then on it takes no requests: a line that the client sends ends it with an error, so that
replies and notifications never have to be told apart. A client that only sends no more (``nc -N``) is still served.

A stream ends without a word when the client hangs up, when it reads nothing for the deadline of a reply, or when the
server stops; `Sink.send` and `Sink.wait` then raise ConnectionError, which ``run`` lets pass. A `FacewatchError` that
``run`` raises is sent as an error without an id before the connection ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Sink(Protocol):
    """Where notifications go."""

    def send(self, method: str, params: Mapping[str, object]) -> None:
        """Send a notification, and wait until the client has taken it."""

    def wait(self, wake: int | None, seconds: float) -> None:
        """Wait until a file descriptor can be read, where one is given, or so many seconds."""


@dataclass(frozen=True, slots=True)
class Stream:
    """The result of a method that goes on after its reply."""

    result: object
    """Of the reply."""
    run: Callable[[Sink], None]


class Streaming(NamedTuple):
    """The reply to a request that begins a stream, as a line, and what goes on after it."""

    reply: bytes
    run: Callable[[Sink], None]
