"""Leaving the processors to others: a whole process that runs when no other wants to, and work that rests in between.

Only processes of their own are put in the idle class. A thread of the daemon must stay in the normal one: on a busy
machine a thread of a lower class may be suspended for seconds while it holds the interpreter's lock, the allocator's or
the index's, and every thread that answers waits for that.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

LOWEST, USUAL = b"19", b"0"
TRIES = 5
PAUSE = 0.1
"""The kernel takes one change of a session's weight in a tenth of a second, of all processes together."""

REST_FACTOR = 10
"""How much longer than a piece of work is the rest after it, where others compute: they lose less than a tenth."""
LONGEST_REST = 10.0
"""Seconds. However busy the machine is, the work comes to its end."""
CORES = 0.5
"""Processors that others may keep busy beside work for which there must be a processor for each of its threads."""


class Pace:
    """Says how long a thread of normal priority rests between two pieces of work, so that it is hardly felt."""

    def __init__(
        self,
        threads: int,
        used: Callable[[], tuple[float, float]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """The work is done by so many ``threads`` at a time. ``used``: see `_used`, its default."""
        self._threads = threads
        self._used = used or _used
        self._clock = clock
        self._began = clock()
        self._before = self._used()

    def rest(self) -> float:
        """Seconds to rest after what was done since this was made, or since `begin`; 0 where no other is kept waiting.

        That is so where every other process's work and this one's fit on the processors together.
        """
        worked = self._clock() - self._began
        all_before, own_before = self._before
        all_now, own_now = self._used()
        others = (all_now - all_before - (own_now - own_before)) / max(worked, 0.01)
        room = len(os.sched_getaffinity(0)) + CORES - self._threads
        return min(REST_FACTOR * worked, LONGEST_REST) if others > max(room, CORES) else 0.0

    def begin(self) -> None:
        """The rest is over."""
        self._began, self._before = self._clock(), self._used()


def _used() -> tuple[float, float]:
    """Seconds of processor time of the whole machine so far, of proc_stat(5), and of this process."""
    try:
        fields = Path("/proc/stat").read_bytes().split(maxsplit=9)
    except OSError:
        return time.monotonic() * len(os.sched_getaffinity(0)), 0.0  # nothing is known: as if others computed
    user, nice, system, _idle, _wait, irq, softirq = map(int, fields[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK"), time.process_time()


def make_idle(pid: int) -> None:
    """Put a process in the idle class: the threads that it has, and all that they start.

    Where the kernel groups processes by session (sched(7), "the autogroup feature"; most desktops), a class counts only
    among those of one session, and each busy session gets an equal share: in its terminal's, an idle process would take
    a third of the time of two busy ones elsewhere. So it should lead a session, which then gets the lowest weight.
    """
    try:
        _set_class(pid, os.SCHED_IDLE)
    except OSError as exc:
        log.warning("cannot lower the priority of indexing (%s)", exc)
    _weigh_own_session(pid, LOWEST)


def make_normal(pid: int) -> None:
    """Undo what `make_idle` did to a process, so that it can end on a busy machine. One that is gone is no error."""
    with contextlib.suppress(OSError):
        _weigh_own_session(pid, USUAL)
        _set_class(pid, os.SCHED_OTHER)


def autogroup(pid: int) -> Path:
    """Where the kernel shows and takes the weight of a process's session; missing where sessions are not told apart."""
    return Path(f"/proc/{pid}/autogroup")


def _set_class(pid: int, policy: int) -> None:
    for thread in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.sched_setscheduler(int(thread), policy, os.sched_param(0))


def _weigh_own_session(pid: int, nice: bytes) -> None:
    with contextlib.suppress(OSError):
        if os.getsid(pid) == pid:
            _weigh_session(autogroup(pid), nice)


def _weigh_session(place: Path, nice: bytes) -> None:
    for _ in range(TRIES):
        try:
            place.write_bytes(nice)
        except BlockingIOError:
            time.sleep(PAUSE)
        except OSError:  # there is none
            return
        else:
            return
