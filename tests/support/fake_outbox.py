"""A catalog with an outbox in memory, which keeps the promises of the daemon's, and can be restored and copied."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from facewatchd.errors import NoDaemonError, NotReadyError
from facewatchd.shared.values import SharedContent
from facewatchd.shared.wire import Batch, Change
from tests.support.shared_contents import DIM


@dataclass
class Catalog:
    """The truth of a machine: what it shows, by digest; and what the engine is to be told."""

    machine: str = "ab" * 16
    model: str = "model"
    shown: dict[bytes, SharedContent] = field(default_factory=dict)
    changes: dict[bytes, int] = field(default_factory=dict)
    """The number of the last change of each content."""
    seq: int = 0
    lineages: list[str] = field(default_factory=list)
    pending: int = 0
    sends: bool = True

    def set(self, content: SharedContent) -> None:
        """Have a content shown as it is said here, or no more."""
        self.shown.pop(content.digest, None)
        if not content.is_gone:
            self.shown[content.digest] = content
        self.mark([content.digest])

    def mark(self, digests: Sequence[bytes]) -> None:
        for digest in digests:
            self.seq += 1
            self.changes.pop(digest, None)
            self.changes[digest] = self.seq

    def copied(self) -> Catalog:
        """As a copy of the data directory has it."""
        return copy.deepcopy(self)


class FakeOutbox:
    """A connection to a daemon with a catalog."""

    def __init__(self, daemon: FakeDaemon) -> None:
        self._daemon = daemon
        self._epoch = daemon.epoch

    def _call(self, name: str) -> Catalog:
        if self._daemon.epoch != self._epoch or self._daemon.is_away:
            raise NoDaemonError("the daemon hung up")
        if self._daemon.fails is not None:
            self._daemon.fails(name)
        return self._daemon.catalog

    def batch(self, limit: int, wait: float, after: int = 0) -> Batch:
        with self._daemon.changed:
            if wait and all(seq <= after for seq in self._call("batch").changes.values()):
                self._daemon.changed.wait(wait)
            catalog = self._call("batch")
            later = [(digest, seq) for digest, seq in catalog.changes.items() if seq > after]
            first = sorted(later, key=lambda change: change[1])[:limit]
            changes = tuple(Change(seq, catalog.shown.get(digest, SharedContent(digest))) for digest, seq in first)
            lineages = tuple(catalog.lineages)
            return Batch(
                catalog.model,
                DIM,
                catalog.machine,
                lineages,
                changes,
                len(catalog.changes),
                catalog.pending,
                catalog.sends,
            )

    def sending(self, lineage: str) -> None:
        with self._daemon.changed:
            self._call("sending").lineages.append(lineage)
            self._call("after sending")

    def sent(self, seqs: Sequence[int], lineage: str) -> None:
        with self._daemon.changed:
            catalog = self._call("sent")
            if lineage not in catalog.lineages:
                raise NotReadyError("no such push was noted")
            catalog.lineages = catalog.lineages[catalog.lineages.index(lineage) :]
            catalog.changes = {digest: seq for digest, seq in catalog.changes.items() if seq not in set(seqs)}
            self._call("after sent")

    def mark(self, digests: Sequence[bytes]) -> None:
        with self._daemon.changed:
            self._call("mark").mark(digests)
            self._daemon.changed.notify_all()

    def mark_all(self) -> None:
        with self._daemon.changed:
            catalog = self._call("mark")
            catalog.mark(list(catalog.shown))
            self._daemon.changed.notify_all()

    def interrupt(self) -> None:
        self._epoch = -1
        with self._daemon.changed:
            self._daemon.changed.notify_all()

    def close(self) -> None:
        return


class FakeDaemon:
    """A daemon that can be started anew, be away, and fail at a step."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.changed = threading.Condition()
        self.epoch = 0
        self.is_away = False
        self.fails: Callable[[str], None] | None = None
        """Called with the name of each step before it is taken."""

    def connect(self) -> FakeOutbox:
        """A new connection. Raises `NoDaemonError` while it is away."""
        if self.is_away:
            raise NoDaemonError("no daemon answers")
        return FakeOutbox(self)

    def set(self, content: SharedContent) -> None:
        """Change the catalog, as the writer would."""
        with self.changed:
            self.catalog.set(content)
            self.changed.notify_all()

    def restart(self, catalog: Catalog | None = None) -> None:
        """End all connections; come back with the same catalog, or another one."""
        with self.changed:
            self.catalog = catalog or self.catalog
            self.epoch += 1
            self.changed.notify_all()
