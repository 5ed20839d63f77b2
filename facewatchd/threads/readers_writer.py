"""Whose turn it is where many read and one changes: neither side waits for more than one turn of the other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """A phase-fair lock for readers and writers (Brandenburg and Anderson, 2010). It is not to be taken twice.

    Who wants to read waits for at most one change; who wants to change waits for those who read already.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._one_change = threading.Lock()
        self._reading = 0
        self._waiting = 0
        self._changing = False
        self._phase = 0

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Nothing changes meanwhile."""
        with self._condition:
            if self._changing:
                self._waiting += 1
                phase = self._phase
                self._condition.wait_for(lambda: self._phase != phase)  # `changing` has counted it among the readers
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
    def changing(self) -> Iterator[None]:
        """Nobody reads meanwhile, or changes."""
        with self._one_change:
            with self._condition:
                self._changing = True
                self._condition.wait_for(lambda: not self._reading)
            try:
                yield
            finally:
                with self._condition:
                    self._changing = False
                    self._reading, self._waiting = self._waiting, 0
                    self._phase += 1
                    self._condition.notify_all()
