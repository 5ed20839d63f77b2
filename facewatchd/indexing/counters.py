"""Counts of what indexing did since the start, and its current rate."""

from __future__ import annotations

import threading
import time
from collections import deque


class Counters:
    """Any thread may call."""

    WINDOW = 30.0
    """Seconds that the current rate looks back."""

    def __init__(self, *, fetches: bool = False) -> None:
        """``fetches``: whether contents that other machines embedded are counted too."""
        self._lock = threading.Lock()
        self._counts = {"examined": 0, "read": 0, "embedded": 0} | ({"fetched": 0} if fetches else {})
        self._recent: deque[float] = deque(maxlen=1000)

    def count(self, what: str) -> None:
        """Count one path examined, file read, content that went through the model ("embedded") or did so elsewhere
        ("fetched")."""
        with self._lock:
            self._counts[what] += 1
            if what in ("embedded", "fetched"):
                self._recent.append(time.monotonic())

    def rates(self) -> dict[str, float]:
        """The counts, and ``photos_per_s``: contents a second of which the faces were found in the last `WINDOW`
        seconds, here or elsewhere."""
        with self._lock:
            now = time.monotonic()
            recent = [moment for moment in self._recent if now - moment < self.WINDOW]
            rate = len(recent) / max(now - recent[0], 1.0) if recent else 0.0
            return {"photos_per_s": round(rate, 2), **self._counts}
