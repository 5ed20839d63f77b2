"""The methods with which facewatch-share takes what changed to the shared engine: ``outbox`` and those beside it.

The order of a push: ``outbox`` gives the earliest changes; ``outbox_sending`` notes its token; the engine commits it;
``outbox_sent`` deletes the changes. Whatever ends in between, the same contents are given again, as they are then.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from facewatchd.api.parameters import (
    OutboxMarkParameters,
    OutboxParameters,
    OutboxSendingParameters,
    OutboxSentParameters,
)
from facewatchd.errors import StorageError, UsageError
from facewatchd.indexing.writer import Writer
from facewatchd.server.jsonrpc import ParamsError
from facewatchd.shared import wire
from facewatchd.shared.values import SharedContent
from facewatchd.shared.wire import Batch, Change
from facewatchd.store.catalog import Catalog
from facewatchd.store.catalog_reader import CatalogReader
from facewatchd.store.embedded import Shown
from facewatchd.store.outbox import Outbox
from facewatchd.values import ModelInfo

MOST_FACES = 2000
"""In one reply, of more than one content: 7 MB of JSON with embeddings of 512 numbers."""
PATHS_OF_FACE = 20
"""Paths that count as one face: they take as much of a reply, and snapshots show a content by thousands of paths."""
MANY = 100_000
COUNTED = 1.0
"""Seconds for which a count of so many changes is not repeated: of 100,000 it takes 0.4 ms, of a million 14 ms
(`python -m tests.benchmarks outbox`)."""


class Sending:
    """Any thread may call the methods. They are refused where there is no shared engine."""

    def __init__(
        self,
        catalog: Catalog,
        writer: Writer,
        info: ModelInfo,
        machine: str | None,
        pending: Callable[[], int],
        has_seen_all: Callable[[], bool],
        waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """``machine``: `data_directory.machine_id`; None: no shared engine is configured. ``pending``: files that are
        still to be looked at. ``has_seen_all``: whether everything has been looked at that is configured. ``waiting``:
        entered by a thread for as long as its request only waits."""
        self._catalog = catalog
        self._writer = writer
        self._info = info
        self._machine = machine
        self._pending = pending
        self._has_seen_all = has_seen_all
        self._waiting = waiting
        self._ending = threading.Event()
        self._counted_rest: tuple[tuple[int, int], int] | None = None
        """A result of `OutboxReader.count_rest`, and what it was asked."""
        self._counted = (0.0, 0)
        """When the outbox was counted, and what was found."""

    def outbox(self, params: OutboxParameters) -> dict[str, object]:
        """Return the earliest changes; with ``wait``, as soon as there is one."""
        self._require_engine()
        deadline = time.monotonic() + params.wait
        with self._waiting() if params.wait else nullcontext():
            while True:
                seen = kept.changes if (kept := self._catalog.outbox) else 0
                batch = self._batch(params.limit, params.after)
                if batch.changes or not self._more(seen, deadline - time.monotonic()):
                    return wire.batch(batch)

    def _more(self, seen: int, seconds: float) -> bool:
        """Wait for another transaction than those that were seen."""
        if (kept := self._catalog.outbox) is not None:
            return kept.wait(seen, seconds)
        self._ending.wait(seconds)
        return False

    def _batch(self, limit: int, after: int) -> Batch:
        self._fill(limit, after)
        unreadable: list[int] = []
        with self._catalog.reading() as reader:
            changes: list[Change] = []
            faces = paths = 0
            for seq, digest in reader.outbox.first(limit, after):
                shown = reader.shown(digest)
                if shown is not None:
                    faces, paths = faces + len(shown.face_ids), paths + len(shown.paths)
                    if changes and faces + paths // PATHS_OF_FACE > MOST_FACES:
                        break
                change = self._change(seq, digest, shown)
                if shown is not None and change.content.is_gone:
                    reader.note_damaged(shown.face_ids)
                if change.content.is_gone and not wire.is_readable(change, self._info.dim):
                    unreadable.append(seq)  # its digest is damaged
                else:
                    changes.append(change)
            lineages = tuple(_lineages(reader))
        if unreadable:
            self._write(lambda: self._kept().drop(unreadable))
        machine, backlog, sends = self._require_engine(), self.backlog(), self._catalog.outbox is not None
        return Batch(self._info.id, self._info.dim, machine, lineages, tuple(changes), backlog, self._pending(), sends)

    def _change(self, seq: int, digest: bytes, shown: Shown | None) -> Change:
        """What is told of a content. One whose rows cannot be true is gone; a date that cannot be true is left out."""
        for told in () if shown is None else (shown, _undated(shown)):
            written = told.written if told.embedded.taken is None else 0
            content = SharedContent(digest, told.embedded, tuple(told.face_ids), tuple(told.paths), written)
            if wire.is_readable(change := Change(seq, content), self._info.dim):
                return change
        return Change(seq, SharedContent(digest))

    def backlog(self) -> int:
        """The number of contents of which the engine is to be told; of many, what it was up to `COUNTED` ago."""
        with self._catalog.reading() as reader:
            at, backlog = self._counted
            if backlog < MANY or time.monotonic() - at > COUNTED:
                backlog = reader.outbox.count()
                self._counted = time.monotonic(), backlog
            rest = reader.outbox.rest()
            if rest is not None:
                if self._counted_rest is None or self._counted_rest[0] != rest:
                    self._counted_rest = rest, reader.outbox.count_rest(rest)
                backlog += self._counted_rest[1]
        return backlog

    def _fill(self, limit: int, after: int) -> None:
        """Put more into the outbox, where everything is to be sent, or where some is held that need not be any more."""
        kept = self._catalog.outbox
        while kept is not None:
            with self._catalog.reading() as reader:
                if len(reader.outbox.first(limit, after)) == limit:
                    return
                has_rest, holds = reader.outbox.rest() is not None, reader.outbox.holds()
            if has_rest:
                self._write(kept.mark_rest)
            elif holds and self._has_seen_all():
                self._write(kept.release)
            else:
                return

    def outbox_sending(self, params: OutboxSendingParameters) -> dict[str, object]:
        """Note the token of a push before it is sent; return all ``lineages`` of which the engine may hold one."""
        lineage = _token(params.lineage)
        self._write(lambda: self._kept().sending(lineage))
        with self._catalog.reading() as reader:
            return {"lineages": _lineages(reader)}

    def outbox_sent(self, params: OutboxSentParameters) -> dict[str, object]:
        """Delete the changes that a push brought; return the ``backlog`` that is left.

        Raises `NotReadyError` where the push was not noted here.
        """
        lineage = _token(params.lineage)
        self._write(lambda: self._kept().sent(params.seqs, lineage))
        return {"backlog": self.backlog()}

    def outbox_mark(self, params: OutboxMarkParameters) -> dict[str, object]:
        """Have contents sent once more: those with some digests, and with ``all`` whatever photos show.

        Returns the ``backlog``.
        """
        digests = [_digest(each) for each in params.digests]

        def mark() -> None:
            if params.all:
                self._kept().mark_all()
            self._kept().mark(digests)

        self._write(mark)
        return {"backlog": self.backlog()}

    def close(self) -> None:
        """Let no request wait any more."""
        self._ending.set()
        if self._catalog.outbox is not None:
            self._catalog.outbox.close()

    def _require_engine(self) -> str:
        """This machine's id. Raises `UsageError` where no shared engine is configured."""
        if self._machine is None:
            raise UsageError(
                "no shared engine is configured", "write `[shared]` into the configuration, and start facewatchd again"
            )
        return self._machine

    def _kept(self) -> Outbox:
        self._require_engine()
        if self._catalog.outbox is None:
            raise UsageError("this machine sends nothing", "set `shared.send`, and start facewatchd again")
        return self._catalog.outbox

    def _write(self, change: Callable[[], None]) -> None:
        """Have the writer's thread call a function. Raises `StorageError`, also where the writer waits for a disk."""
        if self._writer.trouble:
            raise StorageError(self._writer.trouble)
        self._writer.call(lambda _: change())


def _undated(shown: Shown) -> Shown:
    return replace(shown, embedded=replace(shown.embedded, taken=None))


def _digest(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as exc:
        raise ParamsError("digests must be in hexadecimal digits") from exc


def _lineages(reader: CatalogReader) -> list[str]:
    """`OutboxReader.lineages`, those left out that are damaged."""
    return [each for each in reader.outbox.lineages() if _is_token(each)]


def _is_token(text: str) -> bool:
    return len(text) == 32 and set(text) <= set("0123456789abcdef")


def _token(text: str) -> str:
    if not _is_token(text):
        raise ParamsError("lineage must be 32 hexadecimal digits")
    return text
