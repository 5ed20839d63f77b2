"""The thread that has the engine make what searches fast, which may take hours: on a connection of its own.

It looks when many faces were sent, and every few hours. The engine sees to it that one machine does the work.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Final

from facewatchd.shared.engine import Engine, EngineError
from facewatchd.shared.pool import Identity

log = logging.getLogger(__name__)

LOOK_EVERY: Final = 6 * 3600.0
"""Seconds between two looks, if nothing else is a reason for one."""
STOP_SECONDS: Final = 10.0
"""For a connection that is just being made."""


class Maintenance:
    """Started once and stopped once. `become` and `look` may be called by any thread."""

    def __init__(self, connect: Callable[[Identity], Engine]) -> None:
        """``connect``: makes a connection. Raises `EngineError`."""
        self._connect = connect
        self._identity: Identity | None = None
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._thread = threading.Thread(target=self._run, name="maintenance", daemon=True)

    def start(self) -> None:
        """Look from now on."""
        self._thread.start()

    def alive(self) -> bool:
        """Whether the thread runs, as it should until it is stopped."""
        return self._thread.is_alive()

    def become(self, identity: Identity) -> None:
        """Say for which model this machine sends."""
        if identity != self._identity:
            self._identity = identity
            self.look()

    def look(self) -> None:
        """Have a look now: many faces were sent."""
        self._wake.set()

    def stop(self) -> None:
        """End what is being done, and the thread."""
        self._stopping.set()
        self._wake.set()
        with self._lock:
            if self._engine is not None:
                self._engine.close()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(LOOK_EVERY)
            self._wake.clear()
            if (identity := self._identity) is not None and not self._stopping.is_set():
                self._maintain(identity)

    def _maintain(self, identity: Identity) -> None:
        try:
            with closing(self._connect(identity)) as engine:
                with self._lock:
                    self._engine = engine
                    if self._stopping.is_set():
                        return
                if engine.maintain():
                    log.info("the index of the shared engine was made")
        except EngineError as exc:
            if not self._stopping.is_set():
                log.info("the index of the shared engine is looked at later: %s", exc)
        finally:
            with self._lock:
                self._engine = None
