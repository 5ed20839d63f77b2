"""A model that is loaded when it is first needed and given back when it was idle for long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from facewatchd.models import Model


class LazyModel:
    """One session of its own. Any thread may ask for it; the first one loads, the others wait for that."""

    def __init__(self, load: Callable[[], Model], clock: Callable[[], float] = time.monotonic) -> None:
        self._load = load
        self._clock = clock
        self._lock = threading.Lock()
        self._model: Model | None = None
        self._used_at = 0.0

    def get(self) -> Model:
        """Return the model, loading it where needed. Raises what loading raises."""
        with self._lock:
            if self._model is None:
                self._model = self._load()
            self._used_at = self._clock()
            return self._model

    def release_after(self, seconds: float) -> bool:
        """Let go of a model that nobody asked for in so long; say whether that was done.

        Whoever still holds it goes on with it: its memory is free when the last one is done.
        """
        if not self._lock.acquire(blocking=False):
            return False  # somebody is loading it
        try:
            if self._model is None or self._clock() - self._used_at < seconds:
                return False
            self._model = None
            return True
        finally:
            self._lock.release()
