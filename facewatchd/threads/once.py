"""Work that several threads want at once is done by the first of them; the others wait and get its result."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Once(Generic[T]):
    """Any thread may call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_hand: dict[Hashable, Future[Any]] = {}

    def run(self, key: Hashable, work: Callable[[], T]) -> T:
        """Return what the work of this key returns, or raise what it raises: this call's own, or that of another call
        which is in hand."""
        with self._lock:
            others: Future[T] | None = self._in_hand.get(key)
            own: Future[T] = Future()
            if others is None:
                self._in_hand[key] = own
        if others is not None:
            return others.result()
        try:
            own.set_result(work())
        except BaseException as exc:
            own.set_exception(exc)
            raise
        finally:
            with self._lock:
                del self._in_hand[key]
        return own.result()
