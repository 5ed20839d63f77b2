"""The steps in which this machine's faces go to the shared engine. No thread, no clock, and no waiting here.

**What is sent** is the state of contents, not what was done to them: the daemon's outbox names the contents that
changed, and says of each what is true now. So the same may be sent twice, and a change that is on its way is sent
again. A push goes through four steps: a new token, the *lineage*, is noted in the catalog; the engine writes the
contents and the token in one transaction; the catalog forgets the changes and keeps the token. After a crash between
any two, the next start finds the engine's token among those that the catalog knows, and sends again what is left.

**Restored backups.** Where the engine's token is not among them, the engine or the catalog is a backup that was
restored, or nothing was sent yet. Then everything is put into the outbox, and with it each digest that the engine has:
what the catalog lacks is deleted there. The engine compares fingerprints and writes what differs. Until the first push
after that the engine keeps its token, so a crash in between only means that it is done again.

**One sender a machine.** Each start takes the rows over (`Engine.attach`), and what another process sends in the
machine's name is refused from then on. So of two copies of one data directory that both run, the one that was started
last sends. The other one stops sending, says so, and still asks; it takes over when it is started again or told to,
never by itself. A machine that was removed sends again when it is told to (`resync`), and not before, also after a
start.
"""

from __future__ import annotations

import logging
import uuid
from typing import Final

from facewatchd.shared.engine import Engine
from facewatchd.shared.outbox import Outbox
from facewatchd.shared.pool import Identity
from facewatchd.shared.wire import Batch

log = logging.getLogger(__name__)

DIGESTS: Final = 1000
"""In one page, where everything is compared."""


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

    def resync(self) -> None:
        """Have the next attachment, or push, compare everything, also where the machine was removed or taken over."""
        self._compares = self._takes_back = True

    def know(self, batch: Batch) -> bool:
        """Note whose faces a batch has; return whether they are another model's or machine's than before."""
        identity = Identity(batch.model, batch.dim, batch.machine)
        is_other = identity != self.identity
        if is_other:
            self.identity, self._epoch = identity, None
        return is_other

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
        self._compares = False  # before: who asks for it meanwhile means what is there now
        if batch.lineages:  # else nothing was sent yet, and everything is in the outbox
            outbox.mark_all()
        after = b""
        while digests := engine.digests(after, DIGESTS):
            outbox.mark(digests)
            after = digests[-1]
        if after:
            log.info("everything is compared with the shared engine: a backup was restored, or it was asked for")
        return True

    @property
    def has_pushed(self) -> bool:
        """Whether the engine has a token of this connection: only then an empty push can wait."""
        return self._lineage != ""

    def push(self, engine: Engine, outbox: Outbox, batch: Batch) -> int:
        """Push a batch; return how many changes are left. An empty one only says that the machine is there.

        Raises as `attach` does.
        """
        left = max(0, batch.backlog - len(batch.changes))
        if self._lineage and not batch.changes:
            engine.push((), self._lineage, left, batch.pending)
            return left
        lineage = uuid.uuid4().hex
        outbox.sending(lineage)
        engine.push([each.content for each in batch.changes], lineage, left, batch.pending)
        outbox.sent([each.seq for each in batch.changes], lineage)
        self._lineage = lineage
        return left
