"""What the main thread does while the daemon runs: it takes signals, supervises the other threads, and tells systemd.

Signals are blocked in every thread and taken here one by one (`Signals`), so none interrupts anything.

- SIGTERM and SIGINT end the daemon. SIGHUP has the configuration read again; on a terminal it means that the terminal
  was closed, and ends the daemon, too.
- A part whose thread ended ends the daemon, with exit status 1.
- systemd is told the state in one line and, where a watchdog is set, pinged every quarter of its time, but only while
  no thread hangs.
- The models' memory is given back after a rest, pictures of photos that are gone are deleted, and a terminal shows a
  progress bar.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Protocol

from facewatchd.console.progress import Progress
from facewatchd.errors import FacewatchError
from facewatchd.health.report import Report
from facewatchd.system.signals import Signals
from facewatchd.system.systemd import ServiceManager

log = logging.getLogger(__name__)

TICK = 15.0
"""Seconds between two rounds."""
BUSY_TICK = 3.0
"""The same while systemd or a terminal shows progress."""
WAITING_TOLD_EVERY = 600.0
"""Seconds between two lines that say what photos wait for."""
DRAWING_TICK = 0.5
"""Seconds between two drawings of the bar."""


class Health(Protocol):
    """Tells how the daemon is, as `Monitor` does."""

    def report(self) -> Report: ...

    def headline(self, report: Report) -> str: ...

    def examined(self) -> int: ...

    def ended(self) -> str: ...

    def hung(self) -> str: ...


class Supervised(Protocol):
    """What the supervisor has the daemon do."""

    def release_models(self) -> None:
        """Give back the memory of models that have not been used for a while."""

    def back_up_people(self) -> None:
        """Back up what the user said, where that is due."""

    def forget_pictures(self) -> None:
        """Delete the pictures of photos that are gone."""

    def reload(self) -> None:
        """Read the configuration again. Raises `FacewatchError` where it is wrong, or cannot be taken over."""


class Supervisor:
    """`run` it once everything is started."""

    def __init__(
        self,
        daemon: Supervised,
        health: Health,
        manager: ServiceManager,
        signals: Signals,
        *,
        show_progress: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._daemon = daemon
        self._health = health
        self._signals = signals
        self._manager = manager
        self._shows = show_progress
        self._on_terminal = os.isatty(sys.stderr.fileno())
        self._well_at = 0.0
        self._waiting_told_at = -WAITING_TOLD_EVERY
        self._first_import = True
        """Whether the photos that were found at the start are not all searchable yet."""

    def run(self) -> int:
        """Look after the daemon until a signal ends it; return the exit status."""
        progress = Progress(enabled=self._shows)
        try:
            while True:
                if ended := self._health.ended():
                    log.error(
                        "%s ended unexpectedly: the daemon stops; start it again, and report the log lines above", ended
                    )
                    return 1
                report = self._health.report()
                self._tell_manager(report)
                self._daemon.release_models()
                self._daemon.back_up_people()
                self._daemon.forget_pictures()
                self._tell_of_waiting(report)
                progress.show(self._health.examined(), report.pending, report.waits_briefly)
                self._tell_of_first_import(report)
                taken = self._signals.wait(self._pause(report))
                if taken is not None and not self._goes_on(taken):
                    return 0
        finally:
            progress.close()
            self._manager.stopping()

    def _tell_manager(self, report: Report) -> None:
        if self._manager.listens:
            self._manager.status(self._health.headline(report))
        now = self._clock()
        if self._manager.watchdog and now - self._well_at >= self._manager.watchdog / 4:
            if hung := self._health.hung():
                log.error("%s hangs: systemd starts the daemon again if this goes on", hung)
            else:
                self._well_at = now
                self._manager.ping_watchdog()

    def _tell_of_waiting(self, report: Report) -> None:
        now = self._clock()
        if report.waits and now >= self._waiting_told_at + WAITING_TOLD_EVERY:
            self._waiting_told_at = now
            log.info("photos wait: %s", report.waits)

    def _tell_of_first_import(self, report: Report) -> None:
        """Say once, when every photo that was found at the start is searchable, how many there are and how to ask."""
        if self._first_import and not report.busy:
            self._first_import = False
            log.info("%s; to find a person: facewatch-query PHOTO", self._health.headline(report))

    def _goes_on(self, taken: signal.Signals) -> bool:
        if taken is not signal.SIGHUP or self._on_terminal:
            return False
        self._manager.reloading()
        try:
            self._daemon.reload()
        except FacewatchError as exc:
            log.error("the configuration was not taken over: %s", exc)
        self._manager.ready()
        return True

    def _pause(self, report: Report) -> float:
        """Seconds until the next round."""
        if self._shows:
            return DRAWING_TICK if report.busy else BUSY_TICK
        pause = BUSY_TICK if (report.busy and self._manager.listens) or self._first_import else TICK
        return min(pause, self._manager.watchdog / 4) if self._manager.watchdog else pause
