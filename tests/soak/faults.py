"""What the soak does to a daemon: one `Fault` each, done by `Faults.commit`, which brings the daemon back."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import Daemon, fill, until

SILENT, PARTIAL, SLOW = "silent", "partial", "slow"
"""What may be excused: no answer, an answer that is not complete, an answer that takes long."""
AFTERMATH = {SILENT: 0.0, PARTIAL: 10.0, SLOW: 5.0}
"""Seconds after its reason for which it still is: what failed is tried again every five seconds."""
LONGEST_STOP = 30.0
"""Seconds for which the process is stopped now and then: longer than the deadline of a line, or a heartbeat's."""
STOP_DEADLINE = 10.0
"""Seconds in which SIGTERM must have ended the daemon: five are promised, this is for a busy machine."""
QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")


class Excuses:
    """When the daemon was kept from answering, from answering completely, or from answering soon."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: Counter[str] = Counter()
        self._ended: dict[str, float] = {}

    @contextmanager
    def given(self, *kinds: str) -> Iterator[None]:
        with self._lock:
            self._open.update(kinds)
        try:
            yield
        finally:
            with self._lock:
                self._open.subtract(kinds)
                self._ended.update(dict.fromkeys(kinds, time.monotonic()))

    def had(self, kind: str, since: float) -> bool:
        """Whether there was one at any time after that moment (monotonic clock)."""
        with self._lock:
            ended = self._ended.get(kind)
            return self._open[kind] > 0 or (ended is not None and ended + AFTERMATH[kind] >= since)


class Disk:
    """A file system in memory, where the user may mount one: to be filled, or taken away."""

    def __init__(self, path: Path, size: str) -> None:
        path.mkdir()
        self.path = path
        self.is_mounted = _run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path))

    def show_at(self, place: Path) -> None:
        """Mount a directory of it elsewhere too."""
        assert _run("mount", "--bind", str(self.path / "photos"), str(place))

    def hide_at(self, place: Path) -> None:
        assert _run("umount", "--lazy", str(place))

    def close(self) -> None:
        if self.is_mounted:
            _run("umount", "--lazy", str(self.path))


def _run(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


_Fault = Callable[[], None]


class Faults:
    """Does one at a time. Those that end the process are left out while ``gentle``."""

    def __init__(self, daemon: Daemon, excuses: Excuses, randomness: random.Random) -> None:
        self.counts: Counter[str] = Counter()
        self.slowest_stop = 0.0
        self._daemon = daemon
        self._excuses = excuses
        self._random = randomness
        self._pause = threading.Event()
        self._gentle: list[_Fault] = [self._freeze, self._overflow, self._kill_children, self._pause_indexing]
        self._deadly: list[_Fault] = [self._kill, self._terminate, self._lose_index]

    def may_fill(self, disk: Path) -> None:
        """The daemon's data lie on this disk, which may be filled."""
        self._gentle.append(lambda: self._fill(disk / "filler"))

    def may_unmount(self, unmounted: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
        """A root can be unmounted for a while."""
        self._gentle.append(lambda: self._unmount(unmounted))

    def commit(self, *, gentle: bool) -> str:
        """Do one, and return its name; nothing where there was nothing to be done."""
        fault = self._random.choice(self._gentle if gentle else [*self._gentle, *self._deadly, *self._deadly])
        before = self.counts.copy()
        fault()
        return next(iter(self.counts - before), "")

    def _rest(self, least: float, most: float) -> None:
        self._pause.wait(self._random.uniform(least, most))

    # With the process going on

    def _freeze(self) -> None:
        self.counts["SIGSTOP"] += 1
        with self._stopped():
            self._rest(1, 6 if self._random.random() < 0.8 else LONGEST_STOP)

    @contextmanager
    def _stopped(self) -> Iterator[None]:
        process = self._daemon.process
        assert process is not None
        with self._excuses.given(SLOW):
            process.send_signal(signal.SIGSTOP)
            try:
                yield
            finally:
                process.send_signal(signal.SIGCONT)

    def _overflow(self) -> None:
        """More events than the queue holds, among them those of the writers, while nobody takes them out."""
        self.counts["overflow"] += 1
        before = self._overflows()
        one, other = (self._daemon.roots[0] / name for name in (".one", ".other"))
        with self._stopped():
            for _ in range(int(QUEUE.read_text()) // 2 + 1):
                one.open("wb").close()
                other.open("wb").close()
            self._rest(0, 2)
        one.unlink()
        other.unlink()
        until(lambda: self._overflows() > before)

    def _overflows(self) -> int:
        return self._daemon.log.read_bytes().count(b"queue of file system events overflowed")

    def _kill_children(self) -> None:
        with self._excuses.given(SLOW):
            for child in self._daemon.children():
                self.counts["kill -9 of a child"] += 1
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)

    def _pause_indexing(self) -> None:
        self.counts["pause"] += 1
        with self._excuses.given(PARTIAL):
            self._daemon.call("pause")
            self._rest(0.5, 3)
            self._daemon.call("resume")

    def _fill(self, filler: Path) -> None:
        self.counts["disk full"] += 1
        with self._excuses.given(PARTIAL):
            fill(filler)
            self._rest(1, 5)
            filler.unlink()

    def _unmount(self, unmounted: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
        self.counts["unmount"] += 1
        with unmounted(), self._excuses.given(PARTIAL):
            self._rest(1, 5)

    # With its end

    @contextmanager
    def _ended(self) -> Iterator[None]:
        """The daemon does not run, until it is started again."""
        with self._excuses.given(SILENT, PARTIAL, SLOW):
            try:
                yield
            finally:
                self._daemon.kill()  # which it has survived if it would not end by itself
                self._daemon.start()

    def _kill(self) -> None:
        self.counts["kill -9"] += 1
        with self._ended():
            self._daemon.kill()
            self._rest(0, 2)

    def _terminate(self) -> None:
        self.counts["SIGTERM"] += 1
        with self._ended():
            self._stop()
            self._rest(0, 2)

    def _lose_index(self) -> None:
        self.counts["index removed"] += 1
        with self._ended():
            self._stop()
            for index in self._daemon.data.glob("*/index.*"):
                if self._random.random() < 0.7:
                    index.unlink()

    def _stop(self) -> None:
        started = time.monotonic()
        status = self._daemon.stop()
        took = time.monotonic() - started
        self.slowest_stop = max(self.slowest_stop, took)
        assert status == 0, f"SIGTERM ended it with {status}"
        assert took < STOP_DEADLINE, f"SIGTERM took {took:.1f} s"
