"""What the shared engine does for a machine, and what can go wrong with it. No word of which engine it is.

**Ownership.** A machine writes its own rows and reads all. `attach` gives it an epoch; every `push` says with which
epoch it comes, and is refused when the engine knows a later one: another process sends in the machine's name, from a
copy of its data directory.

**Restored backups.** With each push comes a new token, the lineage, which the sender keeps before and after it. When
the engine's last one is not among those that the catalog kept, one of the two was restored to an earlier moment, and
what they have is compared. A push is refused where the engine's last token is not that of the connection's last push,
or its `attach`: a backup was restored while the connection stayed open.

**Deadlines.** Each call ends within its deadline, whatever the server and the network do, and raises `EngineError`.
After `Trouble.UNREACHABLE` and `Trouble.LATE` the engine is of no use any more: it is closed, and another one is
connected.

An engine is used by one thread at a time; only `close` may be called by any, and ends the call that is being made.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from facewatchd.errors import FacewatchError
from facewatchd.shared.values import Attached, Detail, MachineState, Near, Pushed, SharedContent, Whole, Whose


class Retry(StrEnum):
    """When it is worth trying again what failed."""

    SOON = "soon"
    """It passes by itself."""
    SLOWLY = "slowly"
    """Somebody has to do something about it, perhaps on the server, of which nobody tells this machine."""
    NEVER = "never"
    """Not before this process is started anew, or told to."""


class Trouble(StrEnum):
    """What is wrong, for programs."""

    UNREACHABLE = "unreachable"
    """No connection, or it broke."""
    LATE = "late"
    """No answer before the deadline."""
    BUSY = "busy"
    """The server starts, stops, or has as many connections as it takes."""
    FULL = "full"
    """The server's disk or memory is full."""
    READ_ONLY = "read-only"
    """The server takes no changes: it is a standby, or was set so."""
    REFUSED = "refused"
    """The server does not let this user in, or do what is needed."""
    CERTIFICATE = "certificate"
    """The server did not prove that it is the one that is meant."""
    NO_EXTENSION = "no-extension"
    """The server lacks what searches vectors, or has too old a version of it."""
    NEWER = "newer"
    """A later version of facewatchd made the tables."""
    OTHER_MODEL = "other-model"
    """The tables hold the faces of another model."""
    NAME_TAKEN = "name-taken"
    """Another machine has this name."""
    FENCED = "fenced"
    """Another process sends in this machine's name."""
    REMOVED = "removed"
    """This machine was removed from the engine."""
    NOT_TAKEN = "not-taken"
    """The server rejects some of what is sent, for what it is: other contents may be taken."""
    FAILED = "failed"
    """Anything else."""

    @property
    def retry(self) -> Retry:
        if self in (Trouble.UNREACHABLE, Trouble.LATE, Trouble.BUSY):
            return Retry.SOON
        return Retry.NEVER if self in (Trouble.FENCED, Trouble.REMOVED) else Retry.SLOWLY


class EngineError(FacewatchError):
    """What happened with the shared engine. No message holds a password."""

    kind: ClassVar[str] = "shared-engine"

    def __init__(self, trouble: Trouble, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.trouble = trouble


class Engine(Protocol):
    """A connection to the engine, for one model."""

    def attach(
        self,
        machine_id: str,
        name: str,
        known_lineages: Collection[str],
        epoch: int | None = None,
        *,
        takes_back: bool = False,
    ) -> Attached:
        """Say that this process sends for a machine from now on. What others do with its rows is refused then.

        ``machine_id``: 32 hexadecimal digits. ``known_lineages``: of the last push that the catalog is sure of, and of
        the one that it began after that. ``epoch``: the one that this process has, after a connection broke: it goes
        on with it. ``takes_back``: a machine that was removed is entered again, with no rows. Raises `Trouble.FENCED`
        where another process came meanwhile, `Trouble.REMOVED` where the machine was removed, and `Trouble.NAME_TAKEN`.
        """
        ...

    def recognise(self, machine_id: str) -> None:
        """Say which machine this one is without sending for it: its rows are `Whose.OWN`. Nothing is written."""
        ...

    def push(self, contents: Sequence[SharedContent], lineage: str, backlog: int, pending: int) -> Pushed:
        """Write what is true of some contents: all of it or nothing. The same again changes nothing.

        ``lineage``: a new one, 32 hexadecimal digits. ``backlog``: contents that are still to be sent after these;
        ``pending``: files that are still to be looked at. None of ``contents`` says that the machine is there. Raises
        `Trouble.FENCED` and `Trouble.REMOVED`, `Trouble.NOT_TAKEN` where fewer of them may be taken, and
        `Trouble.UNREACHABLE` also where the engine was restored meanwhile: `attach` on a new connection says the rest.
        """
        ...

    def digests(self, after: bytes, limit: int) -> list[bytes]:
        """The digests of this machine's contents that come after one, in their order, at most so many."""
        ...

    def nearest(
        self,
        embeddings: NDArray[np.float32],
        thresholds: Sequence[float],
        most: int,
        whose: Whose = Whose.OTHERS,
        detail: Detail = Detail.CONTENTS,
        *,
        exact: bool = False,
    ) -> Near:
        """The faces that are alike to each embedding (m, dim), of unit length, from its threshold on.

        ``most``: faces for each embedding, at most, the most alike ones. ``exact``: every face is compared, whatever
        index there is.
        """
        ...

    def contents(self, digests: Sequence[bytes], whose: Whose = Whose.ALL) -> Whole:
        """Those of some contents that a machine has, one for each digest, in no order.

        Of several machines' it is the one with most faces: the settings of the others may leave out more.
        """
        ...

    def machines(self) -> list[MachineState]:
        """The machines that send to the engine, by name."""
        ...

    def remove(self, name: str) -> bool:
        """Remove a machine with all of its rows, also those of other models; whether there was one of that name."""
        ...

    def maintain(self) -> bool:
        """Make what searches fast, where it is due; whether something was done.

        It may take hours, and other processes push and ask meanwhile. It has no deadline: `close` ends it. For a
        connection of its own.
        """
        ...

    def close(self) -> None:
        """End the connection, and the call that another thread is making. Never raises, never waits."""
        ...
