"""Liveness: which threads are at work, and when each of them last gave a sign of life.

A thread that has ended can be asked for. One that hangs, in a lock that is never released or in a library call that
never returns, can only be recognised by the signs of life that it no longer gives.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

LOOK_WITHIN = 10.0
"""Seconds within which the supervising thread calls `Liveness.silent` again, whatever it does in between."""
TASKS = Path("/proc/self/task")
_FILE_SYSTEMS = ("request_wait_answer", "fuse_", "autofs_", "rpc_", "nfs", "cifs_", "wait_for_response", "ceph_")
"""Kernel functions in which a thread sleeps, interruptibly, that waits for FUSE, NFS, SMB or Ceph."""


class Liveness:
    """Shared by the threads that work and the one that supervises them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._beats: dict[threading.Thread, float] = {}
        self._looked_at: float | None = None

    def beat(self) -> None:
        """The calling thread is at work and makes progress."""
        self._beats[threading.current_thread()] = self._clock()

    def rest(self) -> None:
        """The calling thread waits for work, or for a thread that gives signs of life itself."""
        self._beats.pop(threading.current_thread(), None)

    def silent(self, limit: float) -> list[str]:
        """Names of the threads at work that have given no sign of life for ``limit`` seconds.

        No names where the call before was longer ago than that: then the whole process was stopped (SIGSTOP), and all
        threads get their time again. A thread that waits for a disk or a server is not named: a restart of the daemon
        would not help it.
        """
        now = self._clock()
        before, self._looked_at = self._looked_at, now
        if before is not None and now - before > max(limit, LOOK_WITHIN):
            self._beats.update(dict.fromkeys(self._beats.keys() & set(threading.enumerate()), now))
        late = [thread for thread, beat in tuple(self._beats.items()) if now - beat > limit and thread.is_alive()]
        return [thread.name for thread in late if not _waits_for_disk(thread)]


def _waits_for_disk(thread: threading.Thread) -> bool:
    """Whether it is in an uninterruptible sleep, or waits for the server of a file system: proc_pid_stat(5)."""
    task = TASKS / str(thread.native_id)
    try:
        state = (task / "stat").read_text().rpartition(")")[2].split()[0]
        place = (task / "wchan").read_text()
    except OSError:
        return False
    return state == "D" or place.startswith(_FILE_SYSTEMS)
