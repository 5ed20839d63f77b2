"""Asks a daemon for the same person all the time, on a thread of its own, while a test does its worst to it.

A daemon that is not there (killed or stopped by the test, or started and not listening yet) owes no answer. One that
listens does, from its first moment to its last: a request that it refuses, hangs up on or leaves lying is noted.
"""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path

from facewatchd.client.connection import Connection
from facewatchd.errors import FacewatchError, NoDaemonError
from tests.support.processes import Daemon, until

PATIENCE = 20.0
"""Seconds until a request counts as unanswered. Far more than an answer takes when other tests load the machine."""
PAUSE = 0.02
"""Seconds between an answer and the next request."""
DYING = 10.0
"""Seconds that a process takes at most from its last closed socket to its end."""


class Prober:
    """Query for a photo all the time inside a ``with`` block. Read the figures after it, or ask for them with `expect`.

    Do not stop the process with SIGSTOP for longer than `PATIENCE` meanwhile: such a daemon is there and answers not.
    """

    def __init__(self, daemon: Daemon, photo: Path) -> None:
        self.answers = 0
        self.refusals: list[str] = []
        """What was wrong each time that the daemon was there and did not answer."""
        self.slowest = 0.0
        """Seconds from before the connection to the answer."""
        self.incomplete = 0
        """Answers that said ``complete: false``."""
        self._daemon = daemon
        self._photo = str(photo)
        self._listened: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prober")

    def __enter__(self) -> Prober:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def expect(self, *, answers: int = 1, slowest: float = PATIENCE) -> None:
        """Every request was answered; at least so many were, and each within ``slowest`` seconds."""
        assert not self.refusals, f"{len(self.refusals)} requests were not answered: {self.refusals[:3]}"
        assert self.answers >= answers, self
        assert self.slowest <= slowest, self

    def answered(self, more: int = 1) -> None:
        """Wait until so many more requests were answered; fails at once where one is refused."""
        wanted = self.answers + more
        until(lambda: self.answers >= wanted or self.refusals, every=PAUSE)
        self.expect(answers=wanted)

    def __repr__(self) -> str:
        return f"<{self.answers} answers, {len(self.refusals)} refusals, the slowest answer took {self.slowest:.2f} s>"

    def _run(self) -> None:
        while not self._stopping.wait(PAUSE):
            process = self._daemon.process
            if process is None or process.poll() is not None:
                continue
            started = time.monotonic()
            try:
                self._ask(process)
            except (FacewatchError, OSError) as exc:
                self._judge(process, exc)
            else:
                self.answers += 1
                self.slowest = max(self.slowest, time.monotonic() - started)

    def _ask(self, process: subprocess.Popen[bytes]) -> None:
        with Connection(self._daemon.socket, timeout=PATIENCE) as connection:
            self._listened = process
            answer = connection.call("query", photos=[{"path": self._photo}])
        self.incomplete += not answer["complete"]

    def _judge(self, process: subprocess.Popen[bytes], error: Exception) -> None:
        """Note an error, unless the process was not listening yet or is at its end."""
        if isinstance(error, NoDaemonError) and self._listened is not process:
            return
        try:
            process.wait(DYING)
        except subprocess.TimeoutExpired:
            self.refusals.append(str(error))
