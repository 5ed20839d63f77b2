"""Clients that ask the daemon while the soak goes on, and judge its answers."""

from __future__ import annotations

import base64
import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from facewatchd.errors import FacewatchError
from facewatchd.values import LISTED_STATES
from tests.soak.faults import PARTIAL, SILENT, SLOW, Excuses
from tests.soak.report import Record
from tests.support import drawn_faces
from tests.support.churn import ALIKE, Churner
from tests.support.processes import Daemon

ANCHOR = 15
"""The person on photos that are never changed."""
WAIT = 60.0
"""Seconds that a writer waits at most for what it wrote."""


class Gate:
    """Lets many through, or keeps all out."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._inside = 0
        self._is_closed = False

    @contextmanager
    def passage(self) -> Iterator[None]:
        with self._condition:
            self._condition.wait_for(lambda: not self._is_closed)
            self._inside += 1
        try:
            yield
        finally:
            with self._condition:
                self._inside -= 1
                self._condition.notify_all()

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Nobody is inside meanwhile. One at a time may close it."""
        with self._condition:
            self._is_closed = True
            self._condition.wait_for(lambda: not self._inside)
        try:
            yield
        finally:
            with self._condition:
                self._is_closed = False
                self._condition.notify_all()


class Client(threading.Thread):
    """A thread that asks until the end, and takes no answer for a miss unless something was in the way."""

    def __init__(self, name: str, daemon: Daemon, record: Record, excuses: Excuses, seed: int) -> None:
        super().__init__(name=name)
        self.facewatchd = daemon
        self.record = record
        self.excuses = excuses
        self.random = random.Random(f"{name} {seed}")
        self.pace = 0.5
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.wait(self.random.uniform(0, self.pace)):
            try:
                self.act()
            except Exception as exc:  # noqa: BLE001 - whatever it is, it must be seen
                self.record.miss(f"{self.name}: {exc!r}")

    def act(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        self._stopping.set()

    def ask(self, what: str, method: str, **params: Any) -> Any:
        """Ask; None where there was no answer and a reason for it."""
        started = time.monotonic()
        try:
            answer = self.facewatchd.call(method, 2 * WAIT, **params)
        except (FacewatchError, OSError) as exc:
            if not self.excuses.had(SILENT, started):
                self.record.miss(f"{self.name}: no answer to {method}: {exc}")
            return None
        self.record.count(what, 0.0 if self.excuses.had(SLOW, started) else time.monotonic() - started)
        return answer


class Writer(Client):
    """Changes photos, and asks for them."""

    def __init__(self, churner: Churner, gates: Sequence[Gate], *client: Any) -> None:
        super().__init__(f"writer {churner.persons[0]}", *client)
        self.churner = churner
        self._gates = gates

    def act(self) -> None:
        with ExitStack() as stack:
            for gate in self._gates:
                stack.enter_context(gate.passage())
            done = self.churner.step()
            self.record.count("steps")
            if self.random.random() < 0.4:
                self._hold(done)

    def _hold(self, done: str) -> None:
        person = self.random.choice(self.churner.persons)
        started = time.monotonic()
        question = {
            "embedding": drawn_faces.embedding(person).tolist(),
            "top": 0,
            "threshold": ALIKE,
            "collapse": False,
        }
        answer = self.ask("waits", "query", wait=WAIT, **question)
        if answer is None:
            return
        found, there = _paths(answer), self.churner.photos_of(person)
        if answer["complete"]:
            self._compare(done, question, found, there)
        elif self.excuses.had(PARTIAL, started):
            self.record.count("excused")
        else:
            waited = time.monotonic() - started
            self.record.miss(f"{self.name}, {done}: not complete after {waited:.0f} s, with nothing in the way")

    def _compare(self, done: str, question: dict[str, Any], found: set[Path], there: set[Path]) -> None:
        if found < there and (answer := self.ask("queries", "query", exact=True, **question)) is not None:
            if _paths(answer) == there:  # the index overlooked it: that is its recall, and not how fresh it is
                return self.record.count("overlooked")
            found = _paths(answer)
        if found != there:
            lost, invented = sorted(there - found), sorted(found - there)
            self.record.miss(f"{self.name}, {done}: not found {lost}, found though not there {invented}")
        return None


class Visitor(Client):
    """Asks this and that, and never waits."""

    def __init__(self, number: int, anchors: set[Path], photos: Sequence[Path], *client: Any) -> None:
        """``photos`` are not in any root; nobody changes ``anchors``."""
        super().__init__(f"visitor {number}", *client)
        self._anchors = anchors
        self._photos = photos

    def act(self) -> None:
        self.random.choice([self._find_anchors, self._look, self._send, self._command])()

    def _find_anchors(self) -> None:
        embedding = drawn_faces.embedding(ANCHOR).tolist()
        answer = self.ask("queries", "query", embedding=embedding, top=0, threshold=ALIKE, exact=True, collapse=False)
        if answer is not None and not _paths(answer) >= self._anchors:
            self.record.miss(f"{self.name}: {sorted(self._anchors - _paths(answer))} not found, which nobody touched")

    def _look(self) -> None:
        photo = str(self.random.choice(self._photos))
        state = self.random.choice(LISTED_STATES)
        asked: dict[str, dict[str, str]] = {"status": {}, "faces": {"path": photo}, "why": {"path": photo}}
        asked["photos"] = {"state": state}
        for method, params in asked.items():
            self.ask("queries", method, **params)

    def _send(self) -> None:
        photo = self.random.choice(self._photos)
        way = self.random.choice([{"path": str(photo)}, {"data": base64.b64encode(photo.read_bytes()).decode()}])
        self.ask("queries", "query", photos=[way])

    def _command(self) -> None:
        """The real client, which takes a process and so comes seldom."""
        if self.random.random() < 0.9:
            return
        started = time.monotonic()
        result = self.facewatchd.query("-l", self.random.choice(self._photos))
        if result.returncode not in (0, 1) and not self.excuses.had(SILENT, started):
            self.record.miss(f"{self.name}: facewatch-query ended with {result.returncode}: {result.stderr}")


def _paths(answer: Any) -> set[Path]:
    return {Path(match["path"]) for match in answer["matches"]}
