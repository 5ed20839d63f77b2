"""Deadlines: how long the daemon waits for an inference process to load its model, and to answer about a photo.

A `Channel` calls its ``before_receive`` before each piece of a frame; the deadlines here are such callables. They look
at the process each `LOOK_EVERY` seconds and count what it did in between. What is limited is processor time, and time
in which a thread neither computes nor waits for a processor: a process in the idle class may wait for hours.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from facewatchd.errors import UnreadablePhotoError
from facewatchd.inference.failures import DiedError
from facewatchd.inference.wire import Channel

CPU_LIMIT = 300.0
"""Seconds of CPU that one photo may take: 250 megapixels of HEIC take a slow machine less than a minute."""
REST_LIMIT = 300.0
"""Seconds for which its thread may neither compute nor wait for a processor."""
LOAD_LIMIT = 600.0
"""Seconds within which the model must be loaded."""
LOOK_EVERY = 1.0
"""Seconds between two looks at how long a photo takes."""
_TICKS = os.sysconf("SC_CLK_TCK")
HINT = "try to open it in an image viewer"


class Killable(Protocol):
    """A process whose answer is awaited."""

    @property
    def pid(self) -> int: ...

    def kill(self) -> None: ...


class LoadDeadline:
    """Waits for each piece that a process sends while it loads its model, with a ``beat`` each second.

    Raises TimeoutError after `LOAD_LIMIT`. A time for which the daemon itself was stopped counts as one second.
    """

    def __init__(self, channel: Channel, beat: Callable[[], None]) -> None:
        self._poll = _polling(channel)
        self._beat = beat
        self._left = LOAD_LIMIT

    def __call__(self) -> None:
        began = time.monotonic()
        while not self._poll.poll(LOOK_EVERY * 1000):
            self._beat()
            began = self._count(began)
        self._count(began)

    def _count(self, began: float) -> float:
        now = time.monotonic()
        self._left -= min(now - began, LOOK_EVERY)
        if self._left < 0:
            raise TimeoutError
        return now


class AnswerDeadline:
    """Waits for each piece of an answer, with a ``beat`` each second; kills a process that exceeds a limit.

    Then it raises `UnreadablePhotoError` for `CPU_LIMIT`, and `DiedError` for `REST_LIMIT`.
    """

    def __init__(self, process: Killable, channel: Channel, thread: int, beat: Callable[[], None]) -> None:
        self._process = process
        self._poll = _polling(channel)
        self._beat = beat
        self._stat = Path(f"/proc/{process.pid}/task/{thread}/stat")
        self._begun: float | None = None
        self._before = 0.0
        self._rests = 0
        self._looked_at = time.monotonic()

    def wait_for_beginning(self, waiting: Callable[[], None]) -> None:
        """Wait for the first piece, and call ``waiting`` each second; its exceptions are raised."""
        while not self._poll.poll(LOOK_EVERY * 1000):
            self._look()
            waiting()

    def __call__(self) -> None:
        while not self._poll.poll(LOOK_EVERY * 1000):
            self._look()
        if time.monotonic() - self._looked_at >= LOOK_EVERY:  # an answer that comes byte by byte
            self._look()

    def _look(self) -> None:
        self._beat()
        self._looked_at = time.monotonic()
        now, is_runnable = work(self._stat)
        if self._begun is None:  # at the first look: most photos are answered before
            self._begun = self._before = now
        self._rests = 0 if is_runnable or now > self._before else self._rests + 1
        self._before = now
        if now - self._begun > CPU_LIMIT:
            self._process.kill()
            raise UnreadablePhotoError(f"hangs: it was not read after {now - self._begun:.0f} s of work", HINT)
        if self._rests * LOOK_EVERY > REST_LIMIT:
            self._process.kill()
            raise DiedError("hung")


def _polling(channel: Channel) -> select.poll:
    poll = select.poll()
    poll.register(channel.socket, select.POLLIN)
    return poll


def work(stat: Path) -> tuple[float, bool]:
    """Processor time of a thread in seconds, and whether it is runnable, from its file of proc_pid_stat(5)."""
    try:
        fields = stat.read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0, False
    return (int(fields[11]) + int(fields[12])) / _TICKS, fields[0] == "R"
