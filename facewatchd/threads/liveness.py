"""Signs of life: which threads have something in hand, and when each last showed that it gets on with it.

A thread that dies is seen by all. One that hangs - in a lock that nobody gives back, in a library that never returns -
is only seen by what it does not do any more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

LOOK_WITHIN = 10.0
"""Seconds in which the next look comes, whatever the looking thread does in between."""
TASKS = Path("/proc/self/task")
_FILE_SYSTEMS = ("request_wait_answer", "fuse_", "autofs_", "rpc_", "nfs", "cifs_", "wait_for_response", "ceph_")
"""Where the kernel lets a thread sleep that asked FUSE, NFS, SMB or Ceph, and can be interrupted."""


class Liveness:
    """Shared by threads that work, and one that looks after them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._beats: dict[threading.Thread, float] = {}
        self._looked_at: float | None = None

    def beat(self) -> None:
        """The calling thread has something in hand, and gets on with it."""
        self._beats[threading.current_thread()] = self._clock()

    def rest(self) -> None:
        """The calling thread waits for something to do, or for somebody who shows signs of life himself."""
        self._beats.pop(threading.current_thread(), None)

    def silent(self, limit: float) -> list[str]:
        """Names of the threads that have shown no sign of life for ``limit`` seconds.

        None where the last look is longer ago than that: then all of the process was stopped (SIGSTOP). Nor those that
        wait for a disk, or a server, that does not answer: to start anew does not help them.
        """
        now = self._clock()
        before, self._looked_at = self._looked_at, now
        # All of the process was stopped, or nothing was asked for as long: the threads get their time again.
        if before is not None and now - before > max(limit, LOOK_WITHIN):
            self._beats.update(dict.fromkeys(self._beats.keys() & set(threading.enumerate()), now))
        late = [thread for thread, beat in tuple(self._beats.items()) if now - beat > limit and thread.is_alive()]
        return [thread.name for thread in late if not _waits_for_disk(thread)]


def _waits_for_disk(thread: threading.Thread) -> bool:
    """Whether the kernel has it in an uninterruptible sleep, or waiting for a file system's server, of proc(5)."""
    task = TASKS / str(thread.native_id)
    try:
        state = (task / "stat").read_text().rpartition(")")[2].split()[0]
        place = (task / "wchan").read_text()
    except OSError:
        return False
    return state == "D" or place.startswith(_FILE_SYSTEMS)
