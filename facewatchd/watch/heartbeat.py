"""The heartbeat: a file that is opened for writing and closed now and then, and the event that must follow.

It proves that events still reach this process. Nothing is written, so that neither a full disk nor one that sleeps
matters. Times are seconds of the clock that is passed in.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from facewatchd.watch.inotify import EventStream, Watch

logger = logging.getLogger(__name__)

_DEAF = 2
"""Heartbeats missed in a row after which events are taken not to arrive."""
_LONGEST = 3600.0
"""Seconds between two heartbeats at most; each miss in a row doubles them until then."""
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Heartbeat:
    """Sent by the thread that looks after the watches, and heard on the dispatcher's."""

    def __init__(self, path: Path, every: float, deadline: float, clock: Callable[[], float]) -> None:
        """``path``: a file to be made, in a directory that exists. ``every``, ``deadline``: seconds."""
        self.watch: Watch | None = None
        """Of the file's directory; None while nothing is listened to."""
        self._missed = 0
        self._path = Path(os.path.realpath(path.parent)) / path.name
        self._every = every
        self._deadline = deadline
        self._clock = clock
        self._due_at = 0.0
        self._sent_at: float | None = None
        self._last_event = 0.0

    @property
    def is_deaf(self) -> bool:
        """Whether `_DEAF` heartbeats in a row were not heard."""
        return self._missed >= _DEAF

    def listen(self, stream: EventStream, now: float) -> None:
        """Watch the file's directory.

        Call this before the roots are watched: if a directory is watched twice, inotify keeps the later event mask.
        """
        self.reset(now)
        try:
            self.watch = stream.watch_closes(os.fsencode(self._path.parent), self._hear)
        except OSError as exc:
            logger.warning("no heartbeat for the file system events, %s cannot be watched: %s", self._path.parent, exc)

    def reset(self, now: float) -> None:
        """Expect nothing until the next heartbeat."""
        self._sent_at = None
        self._due_at = now + min(self._every * 2 ** min(self._missed, 12), max(_LONGEST, self._every))

    def beat(self, now: float) -> None:
        """Send a heartbeat if one is due."""
        if self.watch is None or self._sent_at is not None or now < self._due_at:
            return
        self._sent_at = now  # before it is sent: it may be heard at once
        try:
            os.close(os.open(self._path, _FLAGS, 0o600))
        except OSError as exc:
            logger.debug("no heartbeat: %s", exc)
            self.reset(now)

    def is_missing(self, now: float) -> bool:
        """Whether no event at all was heard within the deadline after a heartbeat; counts it as missed."""
        sent_at = self._sent_at
        if sent_at is None or now - max(sent_at, self._last_event) <= self._deadline:
            return False
        self._missed += 1
        return True

    def note_event(self) -> None:
        """Note that an event came: a heartbeat that is queued behind thousands of them is not missing."""
        self._last_event = self._clock()

    def _hear(self, path: bytes, _settle: bool, _written: bool) -> None:
        if path == os.fsencode(self._path):
            self._missed = 0
            self.reset(self._clock())
