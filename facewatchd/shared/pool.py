"""Connections to the engine on which questions are asked. They are made by a thread of their own, never by a question.

A connection takes up to 25 round trips, half a second where each takes 20 ms, and for ever where the server hangs. So a
question takes a connection that is there. While there is none because the last attempt failed, it is told at once why.
Only while the first attempt after a success is being made does it wait, and not longer than its own deadline: so a
server that was started anew costs no question its answer.

A server that hangs costs the first question its whole time. From then on questions are told so, at once after
`DOUBT_SECONDS`, until a new connection is made or another question is answered; connections that nobody uses are closed
meanwhile.

One connection is kept open; more are opened while several questions come at once, and closed when they are not needed.
Once a minute, and more often while one of them is behind, an idle one is asked for the machines: that finds a dead
connection before a question does, and `machines` answers from memory.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from facewatchd.shared.engine import Engine, EngineError, Retry, Trouble
from facewatchd.shared.pauses import Pauses
from facewatchd.shared.values import MachineState

log = logging.getLogger(__name__)

T = TypeVar("T")

MOST: Final = 4
"""Connections for questions: a question takes some 10 ms of the server, and a person asks one at a time."""
STOP_SECONDS: Final = 10.0
"""For a connection that is just being made; then the thread is left behind, and ends with the process."""
LOOK_EVERY: Final = 60.0
"""Seconds between two looks at an idle connection."""
LOOK_WHILE_BEHIND: Final = 5.0
"""The same while another machine that told of itself within `LOOK_EVERY` has photos to send or to index: it is said of
this one that it waits for them."""
DOUBT_SECONDS: Final = 0.5
"""After a late answer, the time in which questions still wait for a new connection: it may have been one slow answer of
a server that is sound."""
_LOST: Final = (Trouble.UNREACHABLE, Trouble.LATE)
"""After these a connection is of no use."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a connection is for: a model's tables, and the machine that asks."""

    model: str
    dim: int
    machine: str
    """Its id; empty: no rows in the engine are its own."""


class Pool:
    """`use` asks; any thread may call it. Started once and stopped once."""

    def __init__(
        self,
        connect: Callable[[Identity], Engine],
        healed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``connect``: makes a connection, on the pool's own thread. Raises `EngineError`. ``healed``: called when
        there is one again after a failure, or after one was lost: the server may be another one, or a backup."""
        self._connect = connect
        self._healed = healed
        self._clock = clock
        self._changed = threading.Condition()
        self._identity: Identity | None = None
        self._idle: list[Engine] = []
        self._open: set[Engine] = set()
        self._asked = 0
        """Questions since the last look."""
        self._waiting = 0
        """Questions that wait for a connection."""
        self._trouble: EngineError | None = None
        self._refused_from = 0.0
        """From when on a question is refused because of the trouble."""
        self._has_lost = False
        """Whether a connection broke since the last one was made."""
        self._try_now = False
        self._look_now = False
        self._stopping = False
        self._pauses = Pauses()
        self._machines: tuple[MachineState, ...] = ()
        self._machines_at = 0.0
        self._thread = threading.Thread(target=self._run, name="connections", daemon=True)

    def start(self) -> None:
        """Make connections from now on, once `become` has said what for."""
        self._thread.start()

    def alive(self) -> bool:
        """Whether the thread runs, as it should until it is stopped."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Close all connections; questions that are being asked end with an error."""
        with self._changed:
            self._stopping = True
            self._drop_all()
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def become(self, identity: Identity) -> None:
        """Say what connections are for; those for anything else are closed."""
        with self._changed:
            if identity != self._identity:
                self._identity, self._trouble, self._machines = identity, None, ()
                self._drop_all()
                self._try_now = True
                self._changed.notify_all()

    @property
    def dim(self) -> int:
        """Numbers of an embedding. Raises `EngineError` before `become` was called."""
        with self._changed:
            if self._identity is None:
                raise _not_yet()
            return self._identity.dim

    def look(self) -> None:
        """Ask for the machines soon: this one has told the engine something."""
        with self._changed:
            self._look_now = True
            self._changed.notify_all()

    def try_now(self) -> None:
        """End a pause after a failure: something may be better now."""
        with self._changed:
            self._try_now = True
            self._changed.notify_all()

    @property
    def trouble(self) -> EngineError | None:
        """Why no question is answered; None where one can be, or a connection is being made."""
        with self._changed:
            return self._trouble

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection."""
        with self._changed:
            return bool(self._open)

    def machines(self) -> tuple[MachineState, ...]:
        """The machines as they were told last, with the time that has passed since. No server is asked."""
        with self._changed:
            passed = self._clock() - self._machines_at
            return tuple(replace(each, as_of_s=each.as_of_s + passed) for each in self._machines)

    def note(self, machines: tuple[MachineState, ...]) -> None:
        """Keep the machines that an answer told of."""
        with self._changed:
            self._machines, self._machines_at = machines, self._clock()

    def use(self, seconds: float, ask: Callable[[Engine], T]) -> T:
        """Ask on a connection. ``seconds``: to wait for one, at most. Raises `EngineError`.

        Where the connection turns out to be lost, and not by a missed deadline, the question is asked once more on
        another one: the server may have been started anew since the last question.
        """
        due = self._clock() + seconds
        engine = self._take(due)
        try:
            return self._asked_on(engine, ask)
        except EngineError as exc:
            if exc.trouble is not Trouble.UNREACHABLE:
                raise
            self._lost_one_of_many()
        return self._asked_on(self._take(due), ask)

    def _asked_on(self, engine: Engine, ask: Callable[[Engine], T]) -> T:
        is_sound = False
        try:
            result = ask(engine)
            is_sound = True
            return result
        except EngineError as exc:
            is_sound = exc.trouble not in _LOST
            if exc.trouble is Trouble.LATE:
                self._doubt(exc)
            raise
        finally:
            self._give_back(engine, is_sound=is_sound)

    def _take(self, due: float) -> Engine:
        with self._changed:
            self._asked += 1
            self._waiting += 1
            self._changed.notify_all()
            try:
                while not self._idle:
                    self._refuse_if_hopeless(due)
                    until = due if self._trouble is None else min(due, self._refused_from)
                    self._changed.wait(until - self._clock())
                return self._idle.pop()
            finally:
                self._waiting -= 1
                if self._waiting:  # the thread that connects saw a connection that this question has taken
                    self._changed.notify_all()

    def _refuse_if_hopeless(self, due: float) -> None:
        if self._stopping:
            raise EngineError(Trouble.UNREACHABLE, "facewatch-share stops", "ask again")
        if self._identity is None:
            raise _not_yet()
        if self._trouble is not None and self._clock() >= self._refused_from:
            raise EngineError(self._trouble.trouble, self._trouble.message, self._trouble.hint)
        if self._clock() >= due:
            late = EngineError(Trouble.LATE, "the shared engine has not answered in time", "ask again")
            if not self._open:
                self._say(late)
                self._refused_from = due
            raise late

    def _doubt(self, late: EngineError) -> None:
        """Refuse questions soon: the server may hang."""
        with self._changed:
            if self._trouble is None and not self._stopping:
                self._say(late)
                self._refused_from = self._clock() + DOUBT_SECONDS
        self._lost_one_of_many()

    def _say(self, trouble: EngineError) -> None:
        """Note what is wrong, and log it once."""
        if self._trouble is None or self._trouble.message != trouble.message:
            log.warning("the shared engine cannot be asked: %s", trouble)
        self._trouble = trouble

    def _answers(self) -> bool:
        """Note that the server answers; return whether something was wrong before."""
        is_healed = self._trouble is not None
        if is_healed:
            log.info("the shared engine can be asked again")
        self._trouble = None
        return is_healed

    def _give_back(self, engine: Engine, *, is_sound: bool) -> None:
        with self._changed:
            if is_sound and engine in self._open:
                self._answers()
                self._idle.append(engine)
            else:
                self._has_lost = self._has_lost or engine in self._open
                self._open.discard(engine)
            is_kept = engine in self._open
            self._changed.notify_all()
        if not is_kept:
            engine.close()

    def _lost_one_of_many(self) -> None:
        """The idle connections are as old as the one that was lost: each would cost a question."""
        with self._changed:
            lost, self._idle = self._idle, []
            self._open -= set(lost)
            self._changed.notify_all()
        for engine in lost:
            engine.close()

    def _drop_all(self) -> None:
        for engine in self._open:
            engine.close()
        self._open.clear()
        self._idle.clear()

    # The thread

    def _run(self) -> None:
        look_at = self._clock() + LOOK_EVERY
        while True:
            with self._changed:
                while not (self._stopping or self._needs_one() or self._look_now or self._clock() >= look_at):
                    self._changed.wait(look_at - self._clock())
                self._look_now = False
                if self._stopping:
                    return
                identity = self._identity if self._needs_one() else None
            if identity is not None:
                self._add(identity)
            else:
                self._look()
                look_at = self._clock() + (LOOK_WHILE_BEHIND if self._waits_for_others() else LOOK_EVERY)

    def _waits_for_others(self) -> bool:
        return any(
            each.backlog + each.pending > 0 and not each.is_self and each.as_of_s < LOOK_EVERY
            for each in self.machines()
        )

    def _needs_one(self) -> bool:
        if self._identity is None or len(self._open) >= MOST:
            return False
        return not self._open or (not self._idle and (self._waiting > 0 or self._trouble is not None))

    def _add(self, identity: Identity) -> None:
        with self._changed:
            self._try_now = False
        try:
            engine = self._connect(identity)
        except EngineError as exc:
            self._failed(exc, identity)
            return
        with self._changed:
            is_wanted = not self._stopping and identity == self._identity
            is_healed = False
            if is_wanted:
                is_healed = self._answers() or self._has_lost
                self._has_lost = False
                self._pauses.succeeded()
                self._open.add(engine)
                self._idle.append(engine)
                self._look_now = self._look_now or is_healed or not self._machines
                self._changed.notify_all()
        if not is_wanted:
            engine.close()
        if is_healed:
            self._healed()

    def _failed(self, exc: EngineError, identity: Identity) -> None:
        """Tell the questions that wait, and pause."""
        with self._changed:
            if identity != self._identity:
                return
            if not self._open:
                self._say(exc)
                self._refused_from = self._clock()
                self._changed.notify_all()
            pause = self._pauses.after(exc.trouble.retry if exc.trouble.retry is not Retry.NEVER else Retry.SLOWLY)
            until = self._clock() + (pause or 0.0)
            while not (self._stopping or self._try_now or identity != self._identity or self._clock() >= until):
                self._changed.wait(until - self._clock())

    def _look(self) -> None:
        """Ask an idle connection for the machines, and close those that were not needed since the last look."""
        with self._changed:
            if not self._idle:
                return
            engine = self._idle.pop()
            spare = self._idle[:] if self._asked < 2 else []
            del self._idle[: len(spare)]
            self._open -= set(spare)
            self._asked = 0
        for each in spare:
            each.close()
        try:
            self.note(tuple(self._asked_on(engine, lambda one: one.machines())))
        except EngineError as exc:
            log.debug("an idle connection to the shared engine is lost: %s", exc)


def _not_yet() -> EngineError:
    return EngineError(Trouble.UNREACHABLE, "facewatch-share has not reached the daemon yet", "ask again")
