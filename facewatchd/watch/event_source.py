"""The one event stream that all roots share, replaced when it dies or no event arrives any more."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from facewatchd.system import inotify
from facewatchd.watch.heartbeat import Heartbeat
from facewatchd.watch.inotify import EventStream, WatchdogLog

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Intervals:
    """How often the watches are looked after, in seconds."""

    poll: float = 15.0
    """Between two walks of a polled root; at least ten times what the last one took."""
    retry: float = 300.0
    """Before a watch is tried again that could not be set."""
    heartbeat: float = 20.0
    """Between two heartbeats."""
    deadline: float = 10.0
    """In which a heartbeat, or any other event after it, must have been heard."""


class EventSource:
    """`open` and `close` it; in between, one thread alone calls `is_broken`, `take_loss` and `rebuild`.

    Without a ``stream`` every root is polled: none can be had, or `open` was not called yet.
    """

    def __init__(
        self, heartbeat: Path, intervals: Intervals, clock: Callable[[], float], wake: Callable[[], None]
    ) -> None:
        """``wake`` is called, on a thread of the stream, when no more events will come."""
        self.stream: EventStream | None = None
        self.heartbeat = Heartbeat(heartbeat, intervals.heartbeat, intervals.deadline, clock)
        self.overflows = 0
        """Overflows of the kernel's queue since the start."""
        self.rebuilds = 0
        """Streams that replaced another one since the start."""
        self._intervals = intervals
        self._wake = wake
        self._error: OSError | None = None
        self._retry_at = 0.0
        self._lost = False
        self._log = WatchdogLog()

    def open(self, now: float) -> None:
        """Open the stream. One that cannot be had is no error: see `problems`."""
        self._log.install()
        self._build(now)

    def close(self) -> None:
        """Close the stream; twice does no harm."""
        self._tear_down()
        self._log.remove()

    def is_alive(self) -> bool:
        """Whether the threads of the stream run, or there can be none."""
        stream = self.stream
        return stream is None or stream.is_alive()

    def take_loss(self, now: float) -> bool:
        """Whether events were lost, as the kernel's queue overflowed, since the last call."""
        if not self._lost:
            return False
        self._lost = False
        self.overflows += 1
        self.heartbeat.reset(now)  # it may be among what was lost
        return True

    def is_broken(self, now: float) -> bool:
        """Whether `rebuild` is due; sends the heartbeat otherwise."""
        watch = self.heartbeat.watch
        if self.stream is None:
            return now >= self._retry_at
        if not self.stream.is_alive() or (watch and not self.stream.follows(watch)):
            logger.warning("file system events stopped: watching every directory anew")
            return True
        if self.heartbeat.is_missing(now):
            deadline = self._intervals.deadline
            logger.warning("no file system event came in %g s: watching every directory anew", deadline)
            return True
        self.heartbeat.beat(now)
        return False

    def rebuild(self, now: float) -> None:
        """Replace the stream. Its watches are gone."""
        self._tear_down()
        self._build(now)
        self.rebuilds += self.stream is not None

    def problems(self) -> list[str]:
        """What is wrong, one line each."""
        lines = []
        if self._error is not None:
            advice = inotify.advice("max_user_instances")
            lines.append(f"no inotify instance ({self._error.strerror}): every directory is polled; {advice}")
        if self.heartbeat.is_deaf:
            lines.append("file system events do not arrive: every directory is polled")
        return lines

    def _build(self, now: float) -> None:
        self._retry_at = now + self._intervals.retry
        try:
            self.stream = EventStream(self._note_loss, self._wake)
        except OSError as exc:
            self._error = exc
            return
        self._error = None
        self.heartbeat.listen(self.stream, now)

    def _tear_down(self) -> None:
        stream, self.stream = self.stream, None
        self.heartbeat.watch = None
        if stream is not None:
            stream.close()

    def _note_loss(self) -> None:
        self._lost = True
