"""Room for what threads do at once, when it is the sum of it that counts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Room:
    """So much is there for all threads together; who asks first is served first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._free = size
        self._turn = threading.Lock()
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, amount: int) -> Iterator[None]:
        """Wait until there is room for the amount, and hold it. More than the whole counts as the whole."""
        amount = min(amount, self._size)
        with self._turn, self._changed:  # in turn: or many small ones would pass a large one for ever
            self._changed.wait_for(lambda: self._free >= amount)
            self._free -= amount
        try:
            yield
        finally:
            with self._changed:
                self._free += amount
                self._changed.notify_all()
