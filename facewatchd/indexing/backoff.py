"""Photos that are tried again later, because what stopped them need not be their own fault.

A process that was killed from outside, or a limit that the daemon met itself, does not count against a photo, unless
that happens again and again while the photo is alone with its process and there is memory to spare.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

DELAYS = (1.0, 4.0, 16.0, 60.0, 300.0)
"""Seconds before the next tries; from then on the last."""
BLAMED_AFTER = 4
"""Deaths that count, after which the photo is set aside."""


@dataclass(slots=True)
class _Record:
    tries: int = 0
    counted: int = 0
    reason: str = ""


class Backoff:
    """By path. Any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: dict[bytes, _Record] = {}

    def __contains__(self, path: bytes) -> bool:
        return path in self._records

    def note(self, path: bytes, reason: str, counts: bool) -> float | None:
        """Note one more; return the seconds until the next try, or None where the photo is to blame by now."""
        with self._lock:
            record = self._records.setdefault(path, _Record())
            record.counted += counts
            if record.counted >= BLAMED_AFTER:
                del self._records[path]
                return None
            record.tries += 1
            record.reason = reason
            return DELAYS[min(record.tries, len(DELAYS)) - 1]

    def reason(self, path: bytes) -> str:
        """Why a photo is tried again later; empty where it is not."""
        with self._lock:
            record = self._records.get(path)
            return record.reason if record else ""

    def forget(self, path: bytes) -> None:
        """The path has been dealt with."""
        with self._lock:
            self._records.pop(path, None)
