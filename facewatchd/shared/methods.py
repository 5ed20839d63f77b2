"""The methods of the socket of facewatch-share: questions of the daemon, and the commands `facewatchd shared`.

What the engine cannot answer is a result, not an error of the protocol, where the daemon asks: it needs the reason in
its own answer. A command is told the same as an error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from facewatchd.errors import FacewatchError
from facewatchd.fields import Choice, Flag, ListOf, Number, Text, Whole, optional, required
from facewatchd.server.jsonrpc import MethodNotFoundError, ParamsError
from facewatchd.server.params import Base64, read
from facewatchd.shared import forms, wire
from facewatchd.shared.engine import Engine, EngineError
from facewatchd.shared.forms import FormError
from facewatchd.shared.pool import Pool
from facewatchd.shared.pushing import Aside
from facewatchd.shared.values import Detail, MachineState, Whose
from facewatchd.shared.wire import LinkStatus, State
from facewatchd.text import counted

T = TypeVar("T")

_REMOVED_HINT: Final = "`facewatchd shared resync` sends all of it again; send = false in [shared] only asks"
_ASIDE_HINT: Final = "it is tried again when it changes, and after `facewatchd shared resync`"
MOST_FACES: Final = 1_000_000
"""That a question may ask for, of each embedding."""
MOST_EMBEDDINGS: Final = 10_000
"""In one question."""
MOST_DIGESTS: Final = 1000
"""In one question: with three faces each, 8 MB."""
FRESH_SECONDS: Final = 2.0
"""In which a status that is to be fresh gets a connection."""
COMMAND_SECONDS: Final = 10.0
"""In which a command gets a connection."""


@dataclass(frozen=True, slots=True)
class NoParameters:
    """Of a method that takes none."""


@dataclass(frozen=True, slots=True)
class StatusParameters:
    """Of ``status``."""

    fresh: bool = optional(Flag(), "Whether the engine is asked for its machines before.", False)


@dataclass(frozen=True, slots=True)
class Within:
    """Of a question with a deadline."""

    seconds: float = optional(Number(0, 600), "Seconds in which a connection must be there.", COMMAND_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class NearestParameters(Within):
    """Of ``nearest``: see `Engine.nearest`."""

    embeddings: bytes = required(Base64(), "Numbers of 32 bits, one embedding after the other.")
    thresholds: tuple[float, ...] = required(ListOf(Number(-1.01, 1.01), MOST_EMBEDDINGS), "One for each.")
    most: int = required(Whole(1, MOST_FACES), "Faces for each embedding.")
    whose: str = optional(Choice(tuple(Whose)), "Of which machines.", Whose.OTHERS)
    detail: str = optional(Choice(tuple(Detail)), "What is told of them.", Detail.CONTENTS)
    exact: bool = optional(Flag(), "Whether every face is compared.", False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentsParameters(Within):
    """Of ``contents``: see `Engine.contents`."""

    digests: tuple[str, ...] = required(ListOf(Text(2 * forms.DIGEST), MOST_DIGESTS), "In hexadecimal digits.")
    whose: str = optional(Choice(tuple(Whose)), "Of which machines.", Whose.ALL)


@dataclass(frozen=True, slots=True)
class RemoveParameters:
    """Of ``remove``."""

    name: str = required(Text(wire.MOST_NAME), "The machine.")


class Sending(Protocol):
    """What sends this machine's faces, and knows how far it is."""

    @property
    def sends(self) -> bool: ...

    @property
    def backlog(self) -> int: ...

    @property
    def pending(self) -> int: ...

    @property
    def has_sent(self) -> bool:
        """Whether the engine was told of this machine, so that it is among those that the engine names."""

    @property
    def aside(self) -> tuple[Aside, ...]:
        """Contents that the engine does not take."""

    @property
    def trouble(self) -> FacewatchError | None:
        """Why nothing is sent; None where all is well."""

    def look_again(self) -> None:
        """End a pause after a failure: something may be better now."""

    def resync(self) -> int:
        """Have everything compared with the engine and sent again; return how many contents that may be."""


class Methods:
    """`call` carries out one method; any thread may call it."""

    def __init__(self, pool: Pool, sending: Sending, name: str) -> None:
        """``name``: this machine's, in the engine."""
        self._pool = pool
        self._sending = sending
        self._name = name
        self._table: dict[str, tuple[type, Callable[[Any], object]]] = {
            "nearest": (NearestParameters, self._nearest),
            "contents": (ContentsParameters, self._contents),
            "status": (StatusParameters, self._status),
            "machines": (Within, self._machines),
            "remove": (RemoveParameters, self._remove),
            "resync": (NoParameters, self._resync),
        }

    def call(self, method: str, params: Mapping[str, object]) -> object:
        """Return the method's result. Raises `FacewatchError`, with those of the protocol."""
        if method not in self._table:
            raise MethodNotFoundError(method)
        declaration, function = self._table[method]
        try:
            return function(read(declaration, params))
        except FormError as exc:
            raise ParamsError(str(exc)) from exc

    def _nearest(self, params: NearestParameters) -> dict[str, Any]:
        def ask(engine: Engine) -> dict[str, Any]:
            embeddings = wire.embeddings_of(params.embeddings, self._pool.dim)
            if len(embeddings) != len(params.thresholds):
                raise ParamsError("there is not one threshold for each embedding")
            whose, detail = Whose(params.whose), Detail(params.detail)
            found = engine.nearest(embeddings, params.thresholds, params.most, whose, detail, exact=params.exact)
            self._pool.note(found.machines)
            return wire.near(found)

        return self._told(lambda: self._pool.use(params.seconds, ask))

    def _contents(self, params: ContentsParameters) -> dict[str, Any]:
        digests = [forms.read_digest(each, "digests") for each in params.digests]
        whose = Whose(params.whose)
        return self._told(
            lambda: wire.whole(self._pool.use(params.seconds, lambda engine: engine.contents(digests, whose)))
        )

    def _told(self, ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        try:
            return ask()
        except EngineError as exc:
            return wire.trouble(exc)

    def _status(self, params: StatusParameters) -> dict[str, Any]:
        if params.fresh and self._pool.is_connected:
            with contextlib.suppress(EngineError):
                self._ask_machines(FRESH_SECONDS)
        return self.status().asdict()

    def status(self) -> LinkStatus:
        """How this machine stands with the engine, from memory."""
        sending, machines = self._sending, self._pool.machines()
        state, reason, hint = State.OK, "", ""
        if (trouble := self._pool.trouble) is not None:
            state, reason, hint = wire.state_of(trouble.trouble), trouble.message, trouble.hint
        elif not self._pool.is_connected:
            waits = sending.trouble or FacewatchError("facewatch-share is connecting")
            state, reason, hint = State.UNREACHABLE, waits.message, waits.hint
        elif (stopped := sending.trouble) is not None:
            state, reason, hint = State.BEHIND, stopped.message, stopped.hint
        elif sending.sends and sending.has_sent and machines and not any(each.is_self for each in machines):
            state, reason, hint = State.BEHIND, "this machine was removed from the shared engine", _REMOVED_HINT
        elif (aside := sending.aside) and sending.backlog <= len(aside):
            state, reason, hint = State.BEHIND, _set_aside(aside), _ASIDE_HINT
        elif behind := self._behind(machines):
            state, reason = State.BEHIND, behind
        return LinkStatus(state, reason, hint, sending.sends, self._name, sending.backlog, sending.pending, machines)

    def _behind(self, machines: tuple[MachineState, ...]) -> str:
        late = [each for each in machines if not each.is_self and each.is_late]
        waiting = [(each.name, each.backlog, each.pending) for each in late]
        if self._sending.sends:
            waiting.insert(0, (self._name, self._sending.backlog, self._sending.pending))
        for name, backlog, pending in waiting:
            if backlog:
                return f"{name} has still to send {counted(backlog, 'photo')}"
            if pending:
                return f"{name} has still to index {counted(pending, 'photo')}"
        return ""

    def _machines(self, params: Within) -> dict[str, Any]:
        return self._told(lambda: wire.machines(self._ask_machines(params.seconds)))

    def _ask_machines(self, seconds: float) -> tuple[MachineState, ...]:
        found = tuple(self._pool.use(seconds, lambda engine: engine.machines()))
        self._pool.note(found)
        return found

    def _remove(self, params: RemoveParameters) -> dict[str, Any]:
        """Remove a machine with all of its rows. It sends nothing again before it is told to (``resync``)."""
        removed = self._pool.use(COMMAND_SECONDS, lambda engine: engine.remove(params.name))
        left = self._ask_machines(COMMAND_SECONDS)
        if not removed:
            names = ", ".join(each.name for each in left) or "none"
            raise FacewatchError(
                f"no machine is called {params.name!r} in the shared engine", f"those that are: {names}"
            )
        is_self = params.name == self._name
        if is_self:
            self._sending.look_again()
        return {"removed": params.name, "is_self": is_self, **wire.machines(left)}

    def _resync(self, _: NoParameters) -> dict[str, Any]:
        return {"contents": self._sending.resync()}


def _set_aside(aside: Sequence[Aside]) -> str:
    more = f" (and {counted(len(aside) - 1, 'more photo')})" if len(aside) > 1 else ""
    return f"{aside[0]}{more}"
