"""The daemon's outbox, as facewatch-share sees it: the methods of the daemon's socket that tell what is to be sent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from facewatchd.client.connection import Connection
from facewatchd.errors import FacewatchError
from facewatchd.shared import wire
from facewatchd.shared.forms import FormError
from facewatchd.shared.wire import Batch

SECONDS: Final = 60.0
"""For an answer, beyond what the daemon was asked to wait: it may be writing, or the machine be busy."""


class Outbox(Protocol):
    """What is to be sent, and what is kept of what was. For one thread, but for `interrupt`."""

    def batch(self, limit: int, wait: float, after: int = 0) -> Batch:
        """The oldest changes after a number, at most so many; where there are none, wait for one, at most so many
        seconds."""

    def sending(self, lineage: str) -> None:
        """Note a token before a push."""

    def sent(self, seqs: Sequence[int], lineage: str) -> None:
        """Forget changes, and note the token that the engine has now."""

    def mark(self, digests: Sequence[bytes]) -> None:
        """Have some contents sent, whether they are in the catalog or not."""

    def mark_all(self) -> None:
        """Have all contents sent."""

    def interrupt(self) -> None:
        """Have the call that another thread makes fail."""

    def close(self) -> None:
        """Hold no connection any more."""


class DaemonOutbox:
    """The outbox of the daemon that listens on a socket. All calls raise `FacewatchError`."""

    def __init__(self, socket: Path) -> None:
        """Connect. Raises `NoDaemonError` where no daemon runs."""
        self._connection = Connection(socket, SECONDS)
        self._connection.__enter__()

    def batch(self, limit: int, wait: float, after: int = 0) -> Batch:
        """See `Outbox`."""
        self._connection.timeout = wait + SECONDS
        result = self._connection.call("outbox", limit=limit, wait=wait, after=after)
        self._connection.timeout = SECONDS
        try:
            return wire.read_batch(result)
        except FormError as exc:
            raise FacewatchError(f"the daemon's outbox cannot be read: {exc}", "restart the daemon") from exc

    def sending(self, lineage: str) -> None:
        """See `Outbox`."""
        self._connection.call("outbox_sending", lineage=lineage)

    def sent(self, seqs: Sequence[int], lineage: str) -> None:
        """See `Outbox`."""
        self._connection.call("outbox_sent", seqs=list(seqs), lineage=lineage)

    def mark(self, digests: Sequence[bytes]) -> None:
        """See `Outbox`."""
        self._connection.call("outbox_mark", digests=[each.hex() for each in digests])

    def mark_all(self) -> None:
        """See `Outbox`."""
        self._connection.call("outbox_mark", all=True)

    def interrupt(self) -> None:
        """Have the call that another thread makes fail."""
        self._connection.interrupt()

    def close(self) -> None:
        """See `Outbox`."""
        self._connection.__exit__()
