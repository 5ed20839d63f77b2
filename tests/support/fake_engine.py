"""A shared engine in memory, with the promises of `shared.engine.Engine`, and a facewatch-share that asks it.

`FakeServer` is what the server keeps, and can be restored to an earlier moment and out of reach; `FakeEngine` is one
connection to it. `share` runs the real methods of facewatch-share on a socket, so that a daemon in a test finds them.
"""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facewatchd.errors import FacewatchError
from facewatchd.server import jsonrpc
from facewatchd.server.listener import Server
from facewatchd.shared.engine import EngineError, Trouble
from facewatchd.shared.methods import Methods
from facewatchd.shared.pool import Identity, Pool
from facewatchd.shared.pushing import Aside
from facewatchd.shared.values import (
    Attached,
    Detail,
    FoundContent,
    FoundFace,
    Hits,
    MachineState,
    Near,
    Pushed,
    SharedContent,
    Whole,
    Whose,
)
from facewatchd.store.embedded import Embedded
from tests.support.processes import until


@dataclass
class FakeMachine:
    """What the server keeps of a machine."""

    key: int
    name: str
    epoch: int = 0
    lineage: str = ""
    backlog: int = 0
    pending: int = 0
    seen: float = field(default_factory=time.monotonic)
    is_removed: bool = False
    contents: dict[bytes, SharedContent] = field(default_factory=dict)


class FakeServer:
    """Machines by their ids."""

    def __init__(self) -> None:
        self.machines: dict[str, FakeMachine] = {}
        self.trouble: EngineError | None = None
        """Raised by every call, and by every attempt to connect, while it is there."""
        self.rejects: Callable[[SharedContent], bool] = lambda _: False
        """Says which contents a push may not bring."""
        self.lose_next_answer = False
        """The next push is carried out, and its answer is lost."""
        self.connections = 0

    def connect(self, identity: Identity | None = None) -> FakeEngine:
        """A new connection, for a machine."""
        self._refuse()
        self.connections += 1
        engine = FakeEngine(self)
        if identity is not None:
            engine.recognise(identity.machine)
        return engine

    def _refuse(self) -> None:
        if self.trouble is not None:
            raise self.trouble

    def backup(self) -> dict[str, FakeMachine]:
        """What `restore` takes."""
        return copy.deepcopy(self.machines)

    def restore(self, backup: dict[str, FakeMachine]) -> None:
        """Have the server as it was at an earlier moment."""
        self.machines = copy.deepcopy(backup)

    def add(self, machine_id: str, name: str, contents: Sequence[SharedContent], backlog: int = 0) -> None:
        """Another machine with some contents."""
        engine = FakeEngine(self)
        engine.attach(machine_id, name, ())
        engine.push(contents, "0" * 32, backlog, 0)


class FakeEngine:
    """One connection."""

    def __init__(self, server: FakeServer) -> None:
        self._server = server
        self._id = ""
        self._epoch: int | None = None
        self._lineage = ""
        self.is_closed = False

    @property
    def is_open(self) -> bool:
        return not self.is_closed

    def _check(self) -> None:
        self._server._refuse()
        if self.is_closed:
            raise EngineError(Trouble.UNREACHABLE, "the connection was closed", "")

    def attach(
        self,
        machine_id: str,
        name: str,
        known_lineages: Collection[str],
        epoch: int | None = None,
        *,
        takes_back: bool = False,
    ) -> Attached:
        self._check()
        machines = self._server.machines
        own = machines.get(machine_id)
        if own is not None and own.is_removed:
            if not takes_back:
                raise EngineError(
                    Trouble.REMOVED, f"{name} was removed from the shared engine", "facewatchd shared resync"
                )
            del machines[machine_id]
            own = None
        if any(each.name == name and key != machine_id and not each.is_removed for key, each in machines.items()):
            raise EngineError(Trouble.NAME_TAKEN, f"another machine is called {name}", "choose another name")
        if own is None:
            own = machines[machine_id] = FakeMachine(1 + max((each.key for each in machines.values()), default=0), name)
        if epoch is not None and own.epoch > epoch:
            raise EngineError(Trouble.FENCED, "another process sends for this machine", "")
        own.name = name
        if epoch != own.epoch:
            own.epoch = max(own.epoch, epoch or 0, time.time_ns()) + 1
        self._id, self._epoch, self._lineage = machine_id, own.epoch, own.lineage
        return Attached(own.epoch, own.lineage in known_lineages)

    def recognise(self, machine_id: str) -> None:
        self._id = machine_id

    def push(self, contents: Sequence[SharedContent], lineage: str, backlog: int, pending: int) -> Pushed:
        self._check()
        own = self._server.machines.get(self._id)
        if own is not None and own.is_removed:
            raise EngineError(Trouble.REMOVED, f"{own.name} was removed from the shared engine", "")
        assert self._epoch is not None, "attach first"
        if own is not None and own.epoch > self._epoch:
            raise EngineError(Trouble.FENCED, "another process sends for this machine", "")
        if own is None or (own.epoch, own.lineage) != (self._epoch, self._lineage):
            raise EngineError(Trouble.UNREACHABLE, "the shared engine was restored from a backup", "")
        if any(map(self._server.rejects, contents)):
            raise EngineError(Trouble.NOT_TAKEN, "the shared engine does not take it: a rule", "see its log")
        written = 0
        for each in contents:
            before = own.contents.pop(each.digest, None)
            if not each.is_gone:
                own.contents[each.digest] = each
                written += before is None or before.fingerprint != each.fingerprint
        own.lineage = self._lineage = lineage
        own.backlog, own.pending, own.seen = backlog, pending, time.monotonic()
        if self._server.lose_next_answer:
            self._server.lose_next_answer = False
            self.is_closed = True
            raise EngineError(Trouble.UNREACHABLE, "the connection broke", "")
        return Pushed(written=written)

    def _those(self, whose: Whose) -> list[FakeMachine]:
        machines = self._server.machines.items()
        return [each for key, each in machines if whose in (Whose.ALL, Whose.OWN if key == self._id else Whose.OTHERS)]

    def digests(self, after: bytes, limit: int) -> list[bytes]:
        self._check()
        own = self._server.machines.get(self._id)
        return sorted(each for each in (own.contents if own else ()) if each > after)[:limit]

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
        self._check()
        found = [(machine.key, content) for machine in self._those(whose) for content in machine.contents.values()]
        own = self._server.machines.get(self._id)
        lineage = own.lineage if own is not None and whose is not Whose.OTHERS and not own.is_removed else ""
        all_hits, cut = [], False
        for embedding, threshold in zip(embeddings, thresholds, strict=True):
            hits = [
                (float(face.embedding @ embedding), position, inner, face_id)
                for position, (_, content) in enumerate(found)
                if content.embedded is not None
                for inner, (face, face_id) in enumerate(zip(content.embedded.faces, content.face_ids, strict=True))
                if float(face.embedding @ embedding) >= threshold
            ]
            hits.sort(reverse=True)
            cut = cut or len(hits) > most
            columns = list(zip(*hits[:most], strict=True)) or [(), (), (), ()]
            contents = np.array(columns[1], np.int64)
            all_hits.append(
                Hits(
                    np.full_like(contents, -1) if detail is Detail.HITS else contents,
                    np.array(columns[2], np.int64),
                    np.array(columns[3], np.int64),
                    np.array(columns[0], np.float32),
                )
            )
        if detail is Detail.HITS:
            return Near(tuple(self.machines()), (), tuple(all_hits), cut, exact=True, lineage=lineage)
        hit = {pair for hits in all_hits for pair in zip(hits.contents.tolist(), hits.faces.tolist(), strict=True)}
        embedded = hit if detail is Detail.EMBEDDINGS else set()
        shown = tuple(_found(key, content, number, embedded) for number, (key, content) in enumerate(found))
        return Near(tuple(self.machines()), shown, tuple(all_hits), cut, exact=True, lineage=lineage)

    def contents(self, digests: Sequence[bytes], whose: Whose = Whose.ALL) -> Whole:
        self._check()
        known: dict[bytes, Embedded] = {}
        for each in self._those(whose):
            for digest, content in each.contents.items():
                one, other = content.embedded, known.get(digest)
                if one is not None and (other is None or len(one.faces) > len(other.faces)):
                    known[digest] = one
        return Whole(tuple(known[digest] for digest in digests if digest in known))

    def machines(self) -> list[MachineState]:
        self._check()
        return sorted(
            (
                MachineState(
                    key=each.key,
                    name=each.name,
                    faces=sum(len(content.face_ids) for content in each.contents.values()),
                    photos=sum(len(content.paths) for content in each.contents.values()),
                    backlog=each.backlog,
                    pending=each.pending,
                    as_of_s=time.monotonic() - each.seen,
                    is_self=key == self._id,
                )
                for key, each in self._server.machines.items()
                if not each.is_removed
            ),
            key=lambda state: state.name,
        )

    def remove(self, name: str) -> bool:
        self._check()
        found = [each for each in self._server.machines.values() if each.name == name and not each.is_removed]
        for each in found:
            each.is_removed = True
            each.contents.clear()
        return bool(found)

    def maintain(self) -> bool:
        self._check()
        return False

    def close(self) -> None:
        self.is_closed = True


def _found(key: int, content: SharedContent, number: int, embedded: set[tuple[int, int]]) -> FoundContent:
    whole = content.embedded
    assert whole is not None
    faces = tuple(
        FoundFace(
            face_id,
            face.box,
            face.score,
            face.norm,
            face.look,
            face.sharpness,
            face.embedding if (number, place) in embedded else None,
        )
        for place, (face, face_id) in enumerate(zip(whole.faces, content.face_ids, strict=True))
    )
    return FoundContent(
        key,
        whole.digest,
        content.paths,
        whole.width,
        whole.height,
        whole.second_look,
        whole.taken,
        whole.is_dated,
        whole.picture,
        faces,
        content.written,
    )


@dataclass
class NoSending:
    """In the place of the sender: nothing is sent."""

    sends: bool = False
    has_sent: bool = False
    backlog: int = 0
    pending: int = 0
    aside: tuple[Aside, ...] = ()
    trouble: FacewatchError | None = None

    def look_again(self) -> None:
        return

    def resync(self) -> int:
        return 0


@contextlib.contextmanager
def share(socket: Path, server: FakeServer, identity: Identity, name: str = "here") -> Iterator[NoSending]:
    """A facewatch-share without a sender and with a fake engine, which listens on a socket (`paths.share_path`)."""
    sending = NoSending()

    pool = Pool(server.connect)
    methods = Methods(pool, sending, name)
    listener = Server(socket, lambda line: jsonrpc.answer(line, methods.call))
    pool.start()
    pool.become(identity)
    listener.start()
    try:
        until(lambda: pool.is_connected or pool.trouble is not None)
        yield sending
    finally:
        listener.stop()
        pool.stop()
