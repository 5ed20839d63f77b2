"""The daemon's link to facewatch-share: questions to the shared engine, each answered within its deadline.

Connections to the socket of facewatch-share are kept and used again, one for each question at a time, so that several
threads may ask at once. After any failure a connection is closed: so a late answer is never taken for that of the next
question. Where no facewatch-share runs, the kernel says so at once; nothing is looked for in between.

A facewatch-share that hangs costs one question its time. From then on a thread asks it for its status, after growing
pauses, and questions are told at once that it does not answer, until it does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from facewatchd.client.connection import INVALID_PARAMS, METHOD_NOT_FOUND, Connection, RemoteError
from facewatchd.errors import DeadlineError, FacewatchError, NoDaemonError, WrongListenerError
from facewatchd.shared import forms, wire
from facewatchd.shared.engine import EngineError
from facewatchd.shared.forms import FormError
from facewatchd.shared.values import Detail, MachineState, Near, Whole, Whose
from facewatchd.shared.wire import LinkStatus, State

T = TypeVar("T")

GRACE: Final = 0.25
"""Seconds beyond the deadline of the engine in which facewatch-share must say that it was missed."""
STATUS_SECONDS: Final = 1.0
"""For a status, which facewatch-share has in memory."""
FIRST_PROBE, LONGEST_PROBE = 1.0, 30.0
"""Seconds between two looks at a facewatch-share that does not answer; the first look is at once."""
_KEPT: Final = 8
"""Connections that are kept while no question uses them."""
_RESTART: Final = "start it again: systemctl --user restart facewatch-share"
START_IT: Final = "start it: systemctl --user start facewatch-share, or facewatch-share in a terminal"


class LinkError(FacewatchError):
    """The engine could not be asked."""

    def __init__(self, state: State, message: str, hint: str = "") -> None:
        """``state``: unreachable, refused or off."""
        super().__init__(message, hint)
        self.state = state


class Link(Protocol):
    """The shared engine, as the daemon sees it. Any thread may ask, and several at once."""

    def nearest(
        self,
        embeddings: NDArray[np.float32],
        thresholds: Sequence[float],
        most: int,
        whose: Whose = Whose.OTHERS,
        detail: Detail = Detail.CONTENTS,
        seconds: float | None = None,
        *,
        exact: bool = False,
    ) -> Near:
        """As `Engine.nearest`, within so many seconds (None: those of the configuration). Raises `LinkError`."""

    def contents(self, digests: Sequence[bytes], seconds: float | None = None, whose: Whose = Whose.ALL) -> Whole:
        """As `Engine.contents`. Raises `LinkError`."""

    def machines(self, seconds: float | None = None) -> tuple[MachineState, ...]:
        """As `Engine.machines`. Raises `LinkError`."""

    def status(self) -> LinkStatus:
        """How this machine stands with the engine. Never raises, and asks no server."""


class ShareLink:
    """The link to the facewatch-share that listens on a socket."""

    def __init__(self, socket: Path, dim: int, timeout: float) -> None:
        """``dim``: numbers of an embedding; ``timeout``: seconds for a question, unless it says otherwise."""
        self.timeout = timeout
        self._socket = socket
        self._dim = dim
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._closed = False
        self._closing = threading.Event()
        self._late: LinkError | None = None
        """That no answer came in time; None where one came since."""
        self._probing: Connection | None = None

    def nearest(
        self,
        embeddings: NDArray[np.float32],
        thresholds: Sequence[float],
        most: int,
        whose: Whose = Whose.OTHERS,
        detail: Detail = Detail.CONTENTS,
        seconds: float | None = None,
        *,
        exact: bool = False,
    ) -> Near:
        """See `Link`."""
        asked = np.asarray(embeddings, "<f4").reshape(-1, self._dim)
        return self._ask(
            "nearest",
            lambda result: wire.read_near(result, self._dim, len(asked)),
            seconds,
            embeddings=forms.text_of(asked.tobytes()),
            thresholds=[float(each) for each in thresholds],
            most=most,
            whose=whose,
            detail=detail,
            exact=exact,
        )

    def contents(self, digests: Sequence[bytes], seconds: float | None = None, whose: Whose = Whose.ALL) -> Whole:
        """See `Link`."""
        asked = [digest.hex() for digest in digests]
        return self._ask(
            "contents", lambda result: wire.read_whole(result, self._dim), seconds, digests=asked, whose=whose
        )

    def machines(self, seconds: float | None = None) -> tuple[MachineState, ...]:
        """See `Link`."""
        return self._ask("machines", wire.read_machines, seconds)

    def status(self) -> LinkStatus:
        """See `Link`."""
        try:
            return self._worded(lambda: wire.read_status(self._call("status", STATUS_SECONDS, {})), STATUS_SECONDS)
        except LinkError as exc:
            return LinkStatus(exc.state, exc.message, exc.hint)

    def close(self) -> None:
        """Close the connections that are kept. Questions that are being answered end by themselves."""
        with self._lock:
            self._closed, idle, self._idle = True, self._idle, []
            self._closing.set()
            if self._probing is not None:
                self._probing.interrupt()
        for connection in idle:
            connection.__exit__()

    def _ask(self, method: str, read: Callable[[dict[str, Any]], T], seconds: float | None, **params: Any) -> T:
        within = self.timeout if seconds is None else seconds
        params["seconds"] = within
        return self._worded(
            lambda: read(wire.raise_trouble(self._call(method, within + GRACE, params))), within + GRACE
        )

    def _worded(self, ask: Callable[[], T], seconds: float) -> T:
        if (late := self._late) is not None:
            raise LinkError(late.state, late.message, late.hint)
        try:
            return ask()
        except EngineError as exc:
            raise LinkError(wire.state_of(exc.trouble), exc.message, exc.hint) from exc
        except DeadlineError as exc:
            hint = "if this goes on: systemctl --user restart facewatch-share"
            late = LinkError(State.UNREACHABLE, f"facewatch-share did not answer within {seconds:g} s", hint)
            self._is_late(late)
            raise late from exc
        except WrongListenerError as exc:
            raise LinkError(State.UNREACHABLE, exc.message, "remove that socket") from exc
        except RemoteError as exc:
            if exc.code in (INVALID_PARAMS, METHOD_NOT_FOUND):
                raise LinkError(State.UNREACHABLE, "facewatch-share is of another version", _RESTART) from exc
            raise LinkError(State.UNREACHABLE, f"facewatch-share: {exc.message}", exc.hint) from exc
        except NoDaemonError as exc:
            raise LinkError(State.OFF, "facewatch-share does not run", START_IT) from exc
        except (FormError, FacewatchError) as exc:
            message = f"facewatch-share gives an answer that cannot be used: {exc}"
            raise LinkError(State.UNREACHABLE, message, "it must be of the daemon's version: restart both") from exc

    def _call(self, method: str, seconds: float, params: dict[str, Any]) -> Any:
        due = time.monotonic() + seconds
        while (connection := self._kept()) is not None:
            try:
                return self._call_on(connection, method, due, params)
            except NoDaemonError:  # it was closed while it was idle, or facewatch-share was started anew
                continue
        connection = Connection(self._socket, seconds)
        connection.__enter__()
        return self._call_on(connection, method, due, params)

    def _call_on(self, connection: Connection, method: str, due: float, params: dict[str, Any]) -> Any:
        connection.timeout = due - time.monotonic()
        try:
            result = connection.call(method, **params)
        except BaseException:
            connection.__exit__()
            raise
        with self._lock:
            if not self._closed and len(self._idle) < _KEPT:
                self._idle.append(connection)
                return result
        connection.__exit__()
        return result

    def _is_late(self, late: LinkError) -> None:
        with self._lock:
            if self._late is None and not self._closed:
                self._late = LinkError(late.state, late.message, late.hint)
                threading.Thread(target=self._probe, name="share probe", daemon=True).start()

    def _probe(self) -> None:
        """Look until facewatch-share answers, or hangs up: then questions find out what it is."""
        pause = FIRST_PROBE
        while not self._answers() and not self._closing.wait(pause):
            pause = min(LONGEST_PROBE, 2 * pause)
        self._late = None

    def _answers(self) -> bool:
        connection = Connection(self._socket, STATUS_SECONDS)
        try:
            with connection:
                with self._lock:
                    self._probing = connection
                connection.call("status")
        except DeadlineError:
            return False
        except FacewatchError:
            return True
        finally:
            with self._lock:
                self._probing = None
        return True

    def _kept(self) -> Connection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None
