"""The thread that sends this machine's faces to the shared engine; `pushing` has the steps and why they are safe.

It waits for changes in a call to the daemon, which answers as soon as there is one. While there are none, an empty push
every `HEARTBEAT` seconds says that the machine is there and how many photos wait; it brings no new token, so nothing is
written to the catalog's disk.

Failures that pass by themselves are tried again in growing pauses (`pauses`), others in longer ones, or when the
configuration is read again. The daemon may be away, be started anew, or run another model: then its outbox tells of
another identity, and the tables of that model are connected to.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Final

from facewatchd.errors import FacewatchError, UsageError
from facewatchd.shared.engine import Engine, EngineError, Trouble
from facewatchd.shared.outbox import Outbox
from facewatchd.shared.pauses import Pauses
from facewatchd.shared.pool import Identity
from facewatchd.shared.pushing import Aside, Pusher
from facewatchd.shared.wire import Batch
from facewatchd.text import counted

log = logging.getLogger(__name__)

BATCH: Final = 256
"""Contents of one push: with three faces each, 2 MB."""
BULK: Final = 512
"""The same while more than that are waiting, as at the first load: the most that the daemon tells at once."""
HEARTBEAT: Final = 60.0
"""Seconds without a change after which the engine is told that this machine is there."""
BUSY_HEARTBEAT: Final = 5.0
"""The same while photos wait: other machines want to know when none does any more."""
LOOK_EVERY: Final = 30.0
"""Seconds between two looks at the daemon while nothing is sent: it may be another one, of another model."""
STOP_SECONDS: Final = 10.0
"""For a connection that is just being made; then the thread is left behind, and ends with the process."""
WITHOUT_DAEMON: Final = 10.0
"""Seconds between two attempts to reach the daemon, at most: to connect to a Unix socket costs nothing."""


class Sender:
    """Started once and stopped once. Any thread may read what it says, and call what ends a wait, and `resync`."""

    def __init__(
        self,
        outbox: Callable[[], Outbox],
        connect: Callable[[Identity], Engine],
        become: Callable[[Identity], None],
        name: str,
        *,
        sends: bool,
        told: Callable[[], None] = lambda: None,
        settled: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``outbox`` and ``connect`` make connections. ``become`` is told for which model and machine questions are.

        ``sends``: whether anything is sent. ``told`` is called when the engine was told that nothing waits any more, or
        that something does again; ``settled`` after `BULK` contents or more, when none waits.
        """
        self._outbox = outbox
        self._connect = connect
        self._become = become
        self.sends = sends
        self._name = name
        self._told = told
        self._settled = settled
        self._clock = clock
        self._pusher = Pusher(name)
        self._has_sent = False
        self._pushed = 0
        """Contents since `settled` was called last."""
        self._pauses = Pauses()
        self._lock = threading.Lock()
        """Held while the connections whose calls `stop` ends are changed or used."""
        self._stopping = threading.Event()
        self._daemon: Outbox | None = None
        self._engine: Engine | None = None
        self._waits = False
        """Whether the daemon is asked for a change, and the engine has all before."""
        self._wake = threading.Event()
        self._asked = threading.Event()
        """That `look_again` or `try_now` ended the daemon's connection."""
        self.trouble: FacewatchError | None = None
        """Why nothing is sent; None where all is well."""
        self.backlog = 0
        self.pending = 0
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)

    def start(self) -> None:
        """Send from now on."""
        self._thread.start()

    @property
    def has_sent(self) -> bool:
        """Whether the engine was told of this machine."""
        return self._has_sent

    @property
    def aside(self) -> tuple[Aside, ...]:
        """Contents that the engine does not take."""
        return self._pusher.aside

    def alive(self) -> bool:
        """Whether the thread runs, as it should until it is stopped."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End what is being done, and the thread."""
        self._stopping.set()
        self._wake.set()
        with self._lock:
            self._end_calls()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def _end_calls(self) -> None:
        if self._daemon is not None:
            self._daemon.interrupt()
        if self._engine is not None:
            self._engine.close()

    def try_now(self) -> None:
        """End a pause after a failure, or attach anew while nothing is sent: the server may have been restored.

        What is being sent goes on.
        """
        self._wake.set()
        with self._lock:
            if self._daemon is not None and self._waits:
                self._asked.set()
                self._daemon.interrupt()

    def look_again(self) -> None:
        """End a pause, and the wait for a change: something may be better, or worse, now."""
        self._asked.set()
        self._wake.set()
        with self._lock:
            if self._daemon is not None:
                self._daemon.interrupt()

    def resync(self) -> int:
        """Have everything compared with the engine and sent where it differs, also by a machine that was removed, or
        in whose name another process sends. Returns how many contents that may be. Raises `FacewatchError`.
        """
        if not self.sends:
            hint = "set `send` in [shared] to true, then restart facewatchd and facewatch-share"
            raise UsageError("this machine sends nothing to the shared engine", hint)
        self._pusher.resync()
        with closing(self._outbox()) as outbox:  # which also ends the sender's wait for a change
            outbox.mark_all()
            backlog = outbox.batch(1, 0.0).backlog
        self._wake.set()
        return backlog

    # The thread

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                with closing(self._outbox()) as outbox:
                    self._hold(daemon=outbox)
                    self._pusher.try_all()
                    batch = outbox.batch(1, 0.0)
                    failures = 0
                    self._follow(outbox, batch)
            except FacewatchError as exc:
                if not self._asked.is_set():
                    self._note(exc, "the daemon does not say what is to be sent")
            finally:
                self._hold()
            self._asked.clear()
            self._pause(min(WITHOUT_DAEMON, 0.25 * 2.0 ** min(failures, 10)))
            failures += 1

    def _follow(self, outbox: Outbox, batch: Batch) -> None:
        """Send what the outbox holds, until the daemon goes away: that raises."""
        while not self._stopping.is_set():
            self._know(batch)
            if not self.sends:
                self.trouble = None
                self._pause(LOOK_EVERY)
            elif not batch.sends:
                silent = UsageError(
                    "the daemon runs with send = false in [shared]",
                    "restart facewatchd",
                )
                self._note(silent, "nothing is sent to the shared engine")
                self._pause(LOOK_EVERY)
            else:
                try:
                    self._send(outbox, batch)
                except EngineError as exc:
                    self._note(exc, "nothing is sent to the shared engine")
                    self._tell()
                    self._wait_after(exc, outbox)
            if not self._stopping.is_set():
                batch = outbox.batch(1, 0.0)

    def _know(self, batch: Batch) -> bool:
        """Note what a batch says; return whether it is of another model or machine than the one before."""
        if is_other := self._pusher.know(batch):
            self._has_sent = False
        self._tell()
        self.backlog, self.pending = batch.backlog, batch.pending
        return is_other

    def _tell(self) -> None:
        """Tell for which model and machine questions are. Where another process sends in this machine's name, the rows
        in the engine are that one's: then none are this machine's own, and all are found."""
        identity = self._pusher.identity
        assert identity is not None
        is_fenced = isinstance(self.trouble, EngineError) and self.trouble.trouble is Trouble.FENCED
        self._become(replace(identity, machine="") if is_fenced else identity)

    def _send(self, outbox: Outbox, batch: Batch) -> None:
        """Attach and push until the identity changes. Raises `EngineError`, and what the daemon's connection raises."""
        assert self._pusher.identity is not None
        with closing(self._connect(self._pusher.identity)) as engine:
            try:
                self._hold(daemon=outbox, engine=engine)
                self._pusher.attach(engine, outbox, batch)
                self._pauses.succeeded()
                if self.trouble is not None or not self._has_sent:
                    log.info("sending to the shared engine as %s", self._name)
                self.trouble = None
                self._push_all(engine, outbox)
            finally:
                self._hold(daemon=outbox)

    def _push_all(self, engine: Engine, outbox: Outbox) -> None:
        waits: bool | None = None
        while not self._stopping.is_set():
            wait = 0.0 if not self._pusher.has_pushed else BUSY_HEARTBEAT if waits else HEARTBEAT
            self._set_waits(wait > 0.0)
            batch = self._pusher.next_batch(outbox, BULK if self.backlog > BULK else BATCH, wait)
            self._set_waits(False)
            if self._know(batch):
                return
            if self._pusher.compare_if_due(engine, outbox, batch):
                continue
            self.backlog = self._pusher.push(engine, outbox, batch)
            self.trouble, self._has_sent = None, True
            self._pushed += batch.backlog - self.backlog
            before, waits = waits, self.backlog + self.pending > len(self.aside)
            if waits != before:
                self._told()
            if self.backlog <= len(self.aside) and self._pushed >= BULK:
                log.info("%s sent to the shared engine", counted(self._pushed, "photo was", "photos were"))
                self._pushed = 0
                self._settled()

    def _note(self, exc: FacewatchError, what: str) -> None:
        """Say once what is wrong."""
        if self._stopping.is_set():
            return
        if self.trouble is None or self.trouble.message != exc.message:
            log.warning("%s: %s", what, exc)
        self._has_sent = False
        self.trouble = exc

    def _wait_after(self, exc: EngineError, outbox: Outbox) -> None:
        """Pause as the failure asks for. Meanwhile the daemon is looked at: it may go away, or be of another model."""
        pause = self._pauses.after(exc.trouble.retry)
        until = None if pause is None else self._clock() + pause
        while not self._stopping.is_set():
            left = LOOK_EVERY if until is None else min(LOOK_EVERY, until - self._clock())
            if left <= 0 or self._pause(left) or self._know(outbox.batch(1, 0.0)):
                return

    def _pause(self, seconds: float) -> bool:
        """Wait; return whether the wait was ended before its time, by a method that another thread called."""
        ended = self._wake.wait(max(0.0, seconds))
        if not self._stopping.is_set():
            self._wake.clear()
        return ended

    def _set_waits(self, waits: bool) -> None:
        with self._lock:
            self._waits = waits

    def _hold(self, daemon: Outbox | None = None, engine: Engine | None = None) -> None:
        """Name the connections whose calls `stop` ends. After `stop`, they end now."""
        with self._lock:
            self._daemon, self._engine, self._waits = daemon, engine, False
            if self._stopping.is_set():
                self._end_calls()
