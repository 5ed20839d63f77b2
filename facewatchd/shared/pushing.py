"""The steps in which this machine's faces go to the shared engine. No thread, no clock, and no waiting here.

**What is sent** is the state of contents, not what was done to them: the daemon's outbox names the contents that
changed, and says of each what is true now. So the same may be sent twice, and a change that is on its way is sent
again. A push goes through four steps: a new token, the *lineage*, is noted in the catalog; the engine writes the
contents and the token in one transaction; the catalog forgets the changes and keeps the token. After a crash between
any two, the next start finds the engine's token among those that the catalog knows, and sends again what is left.

**Restored backups.** Where the engine's token is not among them, the engine or the catalog is a backup that was
restored, or nothing was sent yet. Then everything is put into the outbox, and with it each digest that the engine has:
what the catalog lacks is deleted there. A backup that is restored while the connection stays open is found at the next
push, with changes or without: the engine refuses it, and the process attaches anew. The engine compares fingerprints
and writes what differs. Until the first push after that the engine keeps its token, so a crash in between only means
that it is done again.

**What the engine rejects.** Where the server does not take what is sent, for what it is, the push is halved until one
content is left. That one is set aside, named in the log and in the status, and the rest goes on. Its change stays in
the outbox: the machine counts as behind. Numbers of changes only grow and what comes first is sent first, so whatever
comes after the last one that was set aside is all that is to be sent. It is tried again when it changes, on a new
connection to the daemon, and where everything is compared. More than `MOST_ASIDE` are not set aside: then it is the
server that is wrong.

**One sender a machine.** Each start takes the rows over (`Engine.attach`), and what another process sends in the
machine's name is refused from then on. So of two copies of one data directory that both run, the one that was started
last sends. The other one stops sending, says so, and still asks; it takes over when it is started again or told to,
never by itself. A machine that was removed sends again when it is told to (`resync`), and not before, also after a
start.
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from facewatchd.shared.engine import Engine, EngineError, Trouble
from facewatchd.shared.outbox import Outbox
from facewatchd.shared.pool import Identity
from facewatchd.shared.wire import Batch, Change
from facewatchd.text import printable

log = logging.getLogger(__name__)

DIGESTS: Final = 1000
"""In one page, where everything is compared."""
MOST_ASIDE: Final = 100
"""Contents that are set aside: finding each in 512 takes 18 pushes at most."""


@dataclass(frozen=True, slots=True)
class Aside:
    """A content that the engine does not take."""

    digest: bytes
    photo: str
    """A path of it, printable; the first digits of the digest where no photo shows it any more."""
    reason: EngineError

    def __str__(self) -> str:
        return f"{self.photo} is not sent: {self.reason.message}"


class Pusher:
    """What a process knows of what it sends. `resync` may be called by any thread, the rest by one."""

    def __init__(self, name: str) -> None:
        """``name``: this machine's, in the engine."""
        self._name = name
        self.identity: Identity | None = None
        """For which model and machine; None before the first batch."""
        self._epoch: int | None = None
        """Of this process, for the identity."""
        self._lineage = ""
        """That the engine has, after the first push on a connection."""
        self._takes_back = False
        self._compares = False
        self._after = 0
        """The number of the change that was set aside last."""
        self.aside: tuple[Aside, ...] = ()
        """Contents that the engine did not take. Any thread may read it."""

    def resync(self) -> None:
        """Have the next attachment, or push, compare everything, also where the machine was removed or taken over."""
        self._compares = self._takes_back = True

    def know(self, batch: Batch) -> bool:
        """Note whose faces a batch has; return whether they are another model's or machine's than before."""
        identity = Identity(batch.model, batch.dim, batch.machine)
        is_other = identity != self.identity
        if is_other:
            self.identity, self._epoch = identity, None
            self.try_all()
        return is_other

    def try_all(self) -> None:
        """Have what was set aside tried once more."""
        self._after, self.aside = 0, ()

    def next_batch(self, outbox: Outbox, limit: int, wait: float) -> Batch:
        """The changes that come after those that were set aside. Raises what the daemon's connection raises."""
        return outbox.batch(limit, wait, self._after)

    def attach(self, engine: Engine, outbox: Outbox, batch: Batch) -> None:
        """Begin to send on a new connection. Raises `EngineError`, and what the daemon's connection raises."""
        takes_back, self._lineage = self._takes_back, ""
        epoch = None if takes_back else self._epoch
        attached = engine.attach(batch.machine, self._name, batch.lineages, epoch, takes_back=takes_back)
        self._epoch, self._takes_back = attached.epoch, False
        if not attached.is_known:
            self._compares = True
        self.compare_if_due(engine, outbox, batch)

    def compare_if_due(self, engine: Engine, outbox: Outbox, batch: Batch) -> bool:
        """Where the two may differ, have everything sent that this machine has, or that the engine has of it.

        Returns whether that was due: a batch from before is then not to be pushed. Raises as `attach` does.
        """
        if not self._compares:
            return False
        self.try_all()
        self._compares = False  # before: who asks for it meanwhile means what is there now
        try:
            after = self._mark(engine, outbox, batch)
        except BaseException:
            self._compares = True
            raise
        if after:
            log.info("everything is compared with the shared engine: a backup was restored, or it was asked for")
        return True

    def _mark(self, engine: Engine, outbox: Outbox, batch: Batch) -> bytes:
        """Put all that either side has into the outbox; return the engine's last digest, empty where it has none."""
        if batch.lineages:  # else nothing was sent yet, and everything is in the outbox
            outbox.mark_all()
        after = b""
        while digests := engine.digests(after, DIGESTS):
            outbox.mark(digests)
            after = digests[-1]
        return after

    @property
    def has_pushed(self) -> bool:
        """Whether the engine has a token of this connection: only then an empty push can wait."""
        return self._lineage != ""

    def push(self, engine: Engine, outbox: Outbox, batch: Batch) -> int:
        """Push a batch; return how many changes are left. An empty one only says that the machine is there.

        Raises as `attach` does.
        """
        if self._lineage and not batch.changes:
            engine.push((), self._lineage, batch.backlog, batch.pending)
            return batch.backlog
        changed = {each.content.digest for each in batch.changes}
        self.aside = tuple(each for each in self.aside if each.digest not in changed)
        return self._push(engine, outbox, batch.changes, batch.backlog, batch.pending)

    def _push(self, engine: Engine, outbox: Outbox, changes: Sequence[Change], backlog: int, pending: int) -> int:
        """Push changes, of which some may be set aside; return how many are left of a backlog."""
        left = max(0, backlog - len(changes))
        lineage = uuid.uuid4().hex
        outbox.sending(lineage)
        try:
            engine.push([each.content for each in changes], lineage, left, pending)
        except EngineError as exc:
            if exc.trouble is not Trouble.NOT_TAKEN or not changes or len(self.aside) >= MOST_ASIDE:
                raise
            if len(changes) == 1:
                self._set_aside(changes[0], exc)
                return backlog
            middle = len(changes) // 2
            backlog = self._push(engine, outbox, changes[:middle], backlog, pending)
            return self._push(engine, outbox, changes[middle:], backlog, pending)
        outbox.sent([each.seq for each in changes], lineage)
        self._lineage = lineage
        return left

    def _set_aside(self, change: Change, reason: EngineError) -> None:
        content = change.content
        photo = printable(os.fsdecode(content.paths[0])) if content.paths else content.digest.hex()[:16]
        self._after = change.seq
        self.aside = (*self.aside, Aside(content.digest, photo, reason))
        log.warning("%s; the others are sent, and this one when it changes or after a restart", self.aside[-1])
