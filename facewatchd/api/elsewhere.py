"""A question to the shared engine, beside the one to the index of this machine.

The engine is asked once a question, on a thread of its own, while the index is asked; `Asking.near` waits for the
answer. What is waited for the engine in one question, for embeddings that are fetched later too, is at most `[shared]
timeout`. Then the answer is that of this machine, and says why (`Asking.document`). The thread is left behind: the link
ends its call by itself.

Which faces are asked for: those alike to a reference of anybody in the question, of a person who is not to be on the
photo too. At most `MOST_A_SECOND` for each of them and each second of the timeout, the most alike; where there are
more, the answer is cut, and says so.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from facewatchd.api.beside import Others
from facewatchd.api.parameters import QueryParameters
from facewatchd.config import Shared
from facewatchd.matches import Place
from facewatchd.server.jsonrpc import ParamsError
from facewatchd.shared.link import Link, LinkError
from facewatchd.shared.values import Detail, MachineState, Near
from facewatchd.shared.wire import State
from facewatchd.store.catalog_reader import CatalogReader
from facewatchd.store.embedded import Embedded
from facewatchd.store.scoring import Search, Wanted
from facewatchd.text import counted, listed, printable

MOST_A_SECOND: Final = 1500
"""Faces. 5,000 photos with two faces each took 0.6 s of the processor in both processes, without the server's part, and
more than 2 s on two processors with four other things to do: then the question would have no answer from others at all.
Embeddings take half as long again."""
TOGETHER: Final = 500
"""Whole contents that are fetched at a time."""


class Way(Protocol):
    """A person of a question."""

    @property
    def wanted(self) -> Sequence[Wanted]: ...


class Elsewhere:
    """Which questions go to other machines. Any thread may ask."""

    def __init__(self, link: Link | None = None, shared: Shared | None = None) -> None:
        """Both None: there is no shared engine."""
        self._link = link
        self.shared = shared
        """As it is configured."""

    def here(self, asked: QueryParameters) -> QueryParameters:
        """The same query, in which a directory of this machine is named by its path alone."""
        places = map(Place.named, asked.dirs)
        own = None if self.shared is None else self.shared.name
        return replace(asked, dirs=tuple(each.path if each.host == own else each.name for each in places))

    def asker(self, asked: QueryParameters) -> Callable[[Iterable[Way], Search], Asking] | None:
        """Return what asks the engine; None where only this machine is to be asked.

        That is where the query says so, and where it names directories of this machine alone. Raises `ParamsError` for
        what cannot be asked.
        """
        link, shared = self._link, self.shared
        places = [each for each in map(Place.named, asked.dirs) if each.host]
        if link is None or shared is None:
            if asked.shared or places:
                what = f"{printable(places[0].name)} is on another machine, and " if places else ""
                raise ParamsError(
                    f"{what}no shared engine is configured: add [shared] with its url to the configuration, and start"
                    " facewatchd again"
                )
            return None
        if asked.shared is False:
            if places:
                raise ParamsError(f"{printable(places[0].name)} is on another machine, and only this one is asked")
            return None
        if asked.dirs and not places:
            return None
        hosts = frozenset(each.host for each in places)
        return lambda people, search: Asking(link, shared.timeout, people, search, hosts=hosts)


class Asking:
    """One question. For one thread."""

    def __init__(
        self,
        link: Link,
        seconds: float,
        people: Iterable[Way],
        search: Search,
        *,
        hosts: frozenset[str] = frozenset(),
    ) -> None:
        """Ask. ``hosts``: machines that the question names."""
        self._link = link
        self._due = time.monotonic() + seconds
        self._left = seconds
        """For which the engine may still be waited for."""
        self._seconds = seconds
        self._hosts = hosts
        ways = [wanted for each in people for wanted in each.wanted if len(wanted.references)]
        asked, thresholds = _least_of_each(ways, search)
        self._asked = asked
        self._trouble: LinkError | None = None
        self.slow_index = ""
        """Why the faces of this machine were compared without the engine, where it is their index."""
        self._near: Near | None = None
        self._others: Others | None = None
        compares = any(wanted.others or wanted.unlike is not None for wanted in ways)
        detail = Detail.EMBEDDINGS if compares else Detail.CONTENTS
        self._answer: Future[Near] = Future()
        work = threading.Thread(
            target=self._ask, args=(asked, thresholds, detail, search.exact), name="shared engine", daemon=True
        )
        work.start()

    def _ask(self, asked: NDArray[np.float32], thresholds: Sequence[float], detail: Detail, exact: bool) -> None:
        try:
            if not len(asked):  # of people who are known by photos alone
                self._answer.set_result(Near(self._link.machines(self._seconds), exact=True))
                return
            most = max(1, int(MOST_A_SECOND * self._seconds))
            self._answer.set_result(
                self._link.nearest(asked, thresholds, most, detail=detail, seconds=self._seconds, exact=exact)
            )
        except BaseException as exc:  # noqa: BLE001 - it is raised in the thread that waits
            self._answer.set_exception(exc)

    def others(self, reader: CatalogReader) -> Others:
        """What was found that the catalog lacks. Waits for the engine."""
        if self._others is None:
            near = self.near
            asked = self._asked if near.hits else self._asked[:0]
            self._others = Others.of(near, asked, reader, self._fetch)
        return self._others

    @property
    def near(self) -> Near:
        """What the engine found; nothing where it does not answer in time."""
        if self._near is None:
            with self._waiting():
                self._near = self._heard()
            self._require_hosts(self._near)
        return self._near

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        """The engine is waited for in the block."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self._left -= time.monotonic() - begin

    def _heard(self) -> Near:
        try:
            return self._answer.result(max(0.0, self._due - time.monotonic()))
        except TimeoutError:
            self._trouble = self._late()
        except LinkError as exc:
            self._trouble = exc
        return Near()

    def _require_hosts(self, near: Near) -> None:
        names = [each.name for each in near.machines if not each.is_self]
        if self._trouble is None and (unknown := sorted(self._hosts.difference(names))):
            known = f"it knows {listed([printable(name) for name in names])}" if names else "there is no other one"
            raise ParamsError(f"the shared engine knows no machine {unknown[0]!r}: {known}")

    def _late(self) -> LinkError:
        return LinkError(State.UNREACHABLE, f"the shared engine did not answer within {self._seconds:g} s")

    def _fetch(self, digests: Sequence[bytes]) -> Sequence[Embedded]:
        found: list[Embedded] = []
        for start in range(0, len(digests), TOGETHER):
            if self._left <= 0:
                self._trouble = self._trouble or self._late()
            if self._trouble is not None:
                break
            with self._waiting():
                try:
                    found += self._link.contents(digests[start : start + TOGETHER], seconds=self._left).contents
                except LinkError as exc:
                    self._trouble = exc
        return found

    @property
    def machines(self) -> list[MachineState]:
        """The other machines, by name."""
        return [machine for machine in self.near.machines if not machine.is_self]

    @property
    def faces(self) -> int:
        """How many other machines have."""
        return sum(machine.faces for machine in self.machines)

    @property
    def is_complete(self) -> bool:
        """Whether the answer has everything of the machines that were heard of."""
        return self._state is State.OK and not self.near.left_out

    @property
    def _state(self) -> State:
        machines = self.machines
        if self._trouble is not None:
            return self._trouble.state
        is_behind = any(each.is_late for each in machines)
        return State.BEHIND if is_behind else State.OK

    def document(self) -> dict[str, object]:
        """Return the ``shared`` of an answer."""
        is_behind = bool(self.slow_index) and self._state is State.OK
        return {
            "state": str(State.BEHIND if is_behind else self._state),
            "reason": "; ".join(self._reasons()) or None,
            "cut": self.near.cut,
            "machines": [
                {
                    "name": each.name,
                    "faces": each.faces,
                    "backlog": each.backlog,
                    "pending": each.pending,
                    "as_of_s": round(each.as_of_s, 1),
                }
                for each in self.machines
            ],
        }

    def _reasons(self) -> Iterator[str]:
        """Word what the answer lacks, and why."""
        if self._trouble is not None:
            yield str(self._trouble)
        elif self.slow_index:
            yield self.slow_index
        if self.near.left_out:
            photos = counted(self.near.left_out, "photo of other machines is", "photos of other machines are")
            yield f"{photos} left out: what was sent of them cannot be true"
        if self.near.cut:
            yield "other machines have more faces that match, and only the most alike were asked for"


def _least_of_each(ways: Sequence[Wanted], search: Search) -> tuple[NDArray[np.float32], list[float]]:
    """The references of some people, each once, and the least similarity that each asks for. Shape (m, dim)."""
    least: dict[bytes, float] = {}
    rows: dict[bytes, NDArray[np.float32]] = {}
    for wanted in ways:
        for row, threshold in zip(wanted.references, wanted.thresholds(search).tolist(), strict=True):
            key = row.tobytes()
            rows[key] = row
            least[key] = min(threshold, least.get(key, threshold))
    return np.array(list(rows.values()), np.float32), list(least.values())
