"""A phase-fair readers-writer lock.

A reader waits for at most one writer, and a writer waits for at most the readers that hold the lock already: neither
side can starve the other (Brandenburg and Anderson, "Spin-Based Reader-Writer Synchronization for Multiprocessor
Real-Time Systems", 2010). The lock is not reentrant.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class ReadersWriterLock:
    """Held by any number of readers or by one writer."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._one_writer = threading.Lock()
        self._reading = 0
        self._waiting = 0
        self._writing = False
        self._phase = 0
        """Writers that have finished."""

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Hold the lock as a reader: no writer holds it meanwhile."""
        with self._condition:
            if self._writing:
                self._waiting += 1
                phase = self._phase
                self._condition.wait_for(lambda: self._phase != phase)  # `writing` has counted it among the readers
            else:
                self._reading += 1
        try:
            yield
        finally:
            with self._condition:
                self._reading -= 1
                if not self._reading:
                    self._condition.notify_all()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the lock as the only writer: no reader holds it meanwhile."""
        with self._one_writer:
            with self._condition:
                self._writing = True
                self._condition.wait_for(lambda: not self._reading)
            try:
                yield
            finally:
                with self._condition:
                    self._writing = False
                    self._reading, self._waiting = self._waiting, 0
                    self._phase += 1
                    self._condition.notify_all()
