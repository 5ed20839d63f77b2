"""Publishes what each transaction changed in the catalog to any number of subscribers.

The writer publishes one `Change` a transaction, after it was committed and the index follows it, in the order of the
transactions. Publishing appends to the queue of each subscription and returns: no code of a subscriber runs on the
writer's thread, and no lock is held while one does. So a subscriber that fails affects neither the writer nor the
other subscribers. One that is slow loses changes: a queue holds at most `MOST`, and one that overflows is emptied.
`Subscription.take` then raises `MissedChangesError`, once, and the subscriber reads what it needs from the catalog.

Changes are not kept over a restart, nor for subscriptions that come later. A thread that must miss nothing reads the
journal of the catalog (`journal`), and has a `Bell` rung when it is worth looking there.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from facewatchd.errors import FacewatchError

if TYPE_CHECKING:
    from facewatchd.values import Embedding

MOST = 1024
"""Changes that wait for one subscriber. A transaction records at most 64 paths."""


@dataclass(frozen=True, slots=True)
class Change:
    """What one transaction did."""

    paths: tuple[bytes, ...] = ()
    """The photos of which something was recorded: ask the catalog what."""
    added: tuple[int, ...] = ()
    """Ids of new faces."""
    embeddings: tuple[Embedding, ...] = ()
    """Of each of them."""
    removed: tuple[int, ...] = ()
    """Ids of faces that are gone. They are never given again."""
    collected: bool = False
    """Whether contents without a face may be gone. Their ids are given again."""


class MissedChangesError(FacewatchError):
    """The subscriber was so slow that changes were dropped."""

    def __init__(self) -> None:
        super().__init__("changes of the catalog were missed", "read the catalog again")


class Subscription:
    """Changes since it was made. One thread takes them; `close` it when done."""

    def __init__(self, hub: Hub, *, embeddings: bool) -> None:
        self._hub = hub
        self._embeddings = embeddings
        self._arrived = threading.Condition()
        self._changes: deque[Change] = deque()
        self._missed = False

    def take(self, timeout: float | None = None) -> list[Change]:
        """All changes that wait, the oldest first; waits up to ``timeout`` seconds for one.

        Empty where none came. Raises `MissedChangesError` where some were dropped; those that follow are complete.
        """
        with self._arrived:
            self._arrived.wait_for(lambda: self._changes or self._missed, timeout)
            missed, self._missed = self._missed, False
            if missed:
                raise MissedChangesError
            taken = list(self._changes)
            self._changes.clear()
        return taken

    def wait(self, timeout: float | None = None) -> None:
        """Wait until a change can be taken, at most so many seconds."""
        with self._arrived:
            self._arrived.wait_for(lambda: self._changes or self._missed, timeout)

    def close(self) -> None:
        """Get no more changes."""
        self._hub.unsubscribe(self)

    def put(self, change: Change) -> None:
        """Called by the hub."""
        if not self._embeddings and change.embeddings:
            change = replace(change, embeddings=())
        with self._arrived:
            self._changes.append(change)
            if len(self._changes) > MOST:
                self._changes.clear()
                self._missed = True
            self._arrived.notify_all()


class Bell:
    """A file descriptor that can be read once something was published. Used inside a ``with`` block."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._file = -1

    def __enter__(self) -> Bell:
        """Be rung from now on."""
        self._file = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._hub.hang(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Be rung no more."""
        self._hub.take_down(self)
        os.close(self._file)

    def fileno(self) -> int:
        return self._file

    def ring(self) -> None:
        """Called by the hub."""
        os.eventfd_write(self._file, 1)

    def hush(self) -> None:
        """Have it rung again only by what is published from now on."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._file)


class Hub:
    """One thread publishes; any may subscribe."""

    def __init__(self) -> None:
        self._subscriptions: tuple[Subscription, ...] = ()
        self._bells: tuple[Bell, ...] = ()
        self._lock = threading.Lock()

    def subscribe(self, *, embeddings: bool = True) -> Subscription:
        """Get the changes of transactions that are published from now on.

        Without ``embeddings``, these are left out: a subscriber that rarely takes its changes would keep a gigabyte.
        """
        subscription = Subscription(self, embeddings=embeddings)
        with self._lock:
            self._subscriptions = (*self._subscriptions, subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        with self._lock:
            self._subscriptions = tuple(other for other in self._subscriptions if other is not subscription)

    def hang(self, bell: Bell) -> None:
        with self._lock:
            self._bells = (*self._bells, bell)

    def take_down(self, bell: Bell) -> None:
        with self._lock:
            self._bells = tuple(other for other in self._bells if other is not bell)

    def publish(self, change: Change) -> None:
        for subscription in self._subscriptions:
            subscription.put(change)
        self.ring()

    def ring(self) -> None:
        """Ring the bells. Any thread may: it is worth looking elsewhere than at the catalog too."""
        with self._lock:  # so that none is rung whose file was closed
            for bell in self._bells:
                bell.ring()
