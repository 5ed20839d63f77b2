"""A daemon on a made-up library, and a client that asks it all the time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from facewatchd.client.connection import Connection
from facewatchd.models import registry
from tests.benchmarks import gallery as faces
from tests.benchmarks.daemons import Daemon
from tests.benchmarks.library import Library

PAUSE = 0.002
"""Seconds between two questions."""


class Host(Daemon):
    """It answers ``record`` and ``wear`` as well: see `pretended`."""

    module = "tests.benchmarks.pretended"

    def __init__(self, made: Library, pack: registry.Pack) -> None:
        super().__init__(made.home, [made.root], pack)
        rng = np.random.default_rng(4)
        rows = made.people.vectors[rng.choice(made.current, 500)]
        self._questions = [row.tolist() for row in faces.near(rows, (0.75, 0.95), rng)]

    def ask(self, connection: Connection, number: int) -> dict[str, object]:
        answer: dict[str, object] = connection.call("query", embedding=self._questions[number % len(self._questions)])
        return answer

    @contextmanager
    def asked(self) -> Iterator[list[float]]:
        """Ask one question after the other meanwhile; gives the milliseconds that each took."""
        times: list[float] = []
        ending = threading.Event()

        def ask() -> None:
            with Connection(self.socket, timeout=600) as connection:
                while not ending.wait(PAUSE):
                    started = time.perf_counter()
                    self.ask(connection, len(times))
                    times.append((time.perf_counter() - started) * 1000)

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield times
        finally:
            ending.set()
            thread.join()
