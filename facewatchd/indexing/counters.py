"""What indexing has done since the start, and how fast."""

from __future__ import annotations

import threading
import time
from collections import deque


class Counters:
    """What was done since the start."""

    WINDOW = 30.0
    """Seconds that the current rate looks back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = {"examined": 0, "read": 0, "embedded": 0}
        self._recent: deque[float] = deque(maxlen=1000)

    def count(self, what: str) -> None:
        """Count one path examined, file read, or content that went through the model ("embedded")."""
        with self._lock:
            self._counts[what] += 1
            if what == "embedded":
                self._recent.append(time.monotonic())

    def rates(self) -> dict[str, float]:
        """The counts, and how many photos a second went through the model lately."""
        with self._lock:
            now = time.monotonic()
            recent = [moment for moment in self._recent if now - moment < self.WINDOW]
            rate = len(recent) / max(now - recent[0], 1.0) if recent else 0.0
            return {"photos_per_s": round(rate, 2), **self._counts}
