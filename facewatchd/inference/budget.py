"""A budget that threads share: an amount of something that all of them together may use at one time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Budget:
    """An amount of which threads reserve parts. Requests are served in the order in which they come."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._free = size
        self._turn = threading.Lock()
        self._changed = threading.Condition()

    @contextmanager
    def reserved(self, amount: int) -> Iterator[None]:
        """Wait until the amount is free, and hold it. An amount above the size of the budget counts as all of it."""
        amount = min(amount, self._size)
        with self._turn, self._changed:  # one at a time: else small requests could delay a large one without end
            self._changed.wait_for(lambda: self._free >= amount)
            self._free -= amount
        try:
            yield
        finally:
            with self._changed:
                self._free += amount
                self._changed.notify_all()
