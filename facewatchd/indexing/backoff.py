"""Which paths are tried again later, and when.

Two kinds of failures are retried:

- The disk, the model or the program fails on a file (`Backoff.try_again`): `TRIES` times in all, after 2, 4, 8 ...
  seconds. Then the failure is recorded.
- An inference process was killed from outside, or met a limit that the daemon set or has itself (`Backoff.set_back`).
  That need not be the photo's fault: it is tried again without end, alone with its process. Only a death that happens
  while it is alone and while memory is to spare counts; `BLAMED_AFTER` of those are recorded as its failure.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

TRIES = 5
DELAYS = (1.0, 4.0, 16.0, 60.0, 300.0)
"""Seconds before the tries after setbacks; from then on the last."""
BLAMED_AFTER = 4


class RetryError(Exception):
    """What failed is to be tried again after ``delay`` seconds."""

    def __init__(self, delay: float) -> None:
        super().__init__(f"it is tried again after {delay:g} s")
        self.delay = delay


@dataclass(slots=True)
class _Record:
    failures: int = 0
    setbacks: int = 0
    counted: int = 0
    reason: str = ""
    """Of the last setback."""


class Backoff:
    """The failures of each path that is to be tried again. Any thread may call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: dict[bytes, _Record] = {}

    def try_again(self, path: bytes) -> float | None:
        """Count a failure; return the seconds until the next try, or None after the last."""
        with self._lock:
            record = self._records.setdefault(path, _Record())
            record.failures += 1
            if record.failures < TRIES:
                return 2.0**record.failures
            del self._records[path]
            return None

    def set_back(self, path: bytes, reason: str, *, counts: bool) -> float | None:
        """Count a setback; return the seconds until the next try.

        None after `BLAMED_AFTER` counted setbacks: the failure is then recorded for the photo.
        """
        with self._lock:
            record = self._records.setdefault(path, _Record())
            record.counted += counts
            if record.counted >= BLAMED_AFTER:
                del self._records[path]
                return None
            record.setbacks += 1
            record.reason = reason
            return DELAYS[min(record.setbacks, len(DELAYS)) - 1]

    def has_failed(self, path: bytes) -> bool:
        """Whether a failure of the path was counted."""
        with self._lock:
            return path in self._records and self._records[path].failures > 0

    def is_set_back(self, path: bytes) -> bool:
        """Whether a setback of the path was counted: it is to be alone with its process."""
        return bool(self.reason(path))

    def reason(self, path: bytes) -> str:
        """The reason of the last setback of a path; empty where there was none."""
        with self._lock:
            record = self._records.get(path)
            return record.reason if record else ""

    def forget(self, path: bytes) -> None:
        """Forget the failures and setbacks of a path that was recorded."""
        with self._lock:
            self._records.pop(path, None)
