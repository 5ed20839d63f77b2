"""Priority: child processes in the idle scheduling class, and threads of normal priority that rest between their work.

Only whole processes are put into the idle class. A thread of the daemon must stay in the normal one: on a busy machine
a thread of a lower class may be suspended for seconds while it holds the lock of the interpreter, of the allocator or
of the index, and every thread that answers a client waits for that lock.
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
"""Seconds between two tries: the kernel accepts one change of a session's weight in a tenth of a second."""

REST_FACTOR = 10
"""The rest after a piece of work, as a multiple of its time, where others compute: they lose less than a tenth."""
LONGEST_REST = 10.0
"""Seconds that a rest takes at most, so that the work ends however busy the machine is."""
CORES = 0.5
"""Processors that other programs may use beside the work without counting as kept waiting."""


class Pace:
    """Tells a thread of normal priority how long to rest after each piece of work, so that others lose little."""

    def __init__(
        self,
        threads: int,
        used: Callable[[], tuple[float, float]] | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        by_effort: bool = False,
    ) -> None:
        """``threads``: how many do the work at a time. ``used``: `processor_time` is its default. ``by_effort``: the
        rest is a multiple of the processor time that the work took; in the idle class it may wait for most of its time.
        """
        self._threads = threads
        self._used = used or processor_time
        self._clock = clock
        self._by_effort = by_effort
        self._began = clock()
        self._before = self._used()

    def rest(self) -> float:
        """Seconds to rest after the work since `begin`; 0 where it kept no other program waiting.

        It keeps none waiting where the work of all processes, this one's included, fits on the processors.
        """
        worked = self._clock() - self._began
        all_before, own_before = self._before
        all_now, own_now = self._used()
        own = own_now - own_before
        others = (all_now - all_before - own) / max(worked, 0.01)
        room = len(os.sched_getaffinity(0)) + CORES - self._threads
        rest = REST_FACTOR * (own if self._by_effort else worked)
        return min(rest, LONGEST_REST) if others > max(room, CORES) else 0.0

    def begin(self) -> None:
        """A piece of work begins."""
        self._began, self._before = self._clock(), self._used()


def processor_time() -> tuple[float, float]:
    """Seconds of processor time so far: of the whole machine (proc_stat(5)), and of this process."""
    try:
        fields = Path("/proc/stat").read_bytes().split(maxsplit=9)
    except OSError:
        return time.monotonic() * len(os.sched_getaffinity(0)), 0.0  # unknown: as if others computed all the time
    user, nice, system, _idle, _wait, irq, softirq = map(int, fields[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK"), time.process_time()


def make_idle(pid: int) -> None:
    """Put a process into the idle class: its threads, and those that they start.

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
    """Undo `make_idle`, so that the process can end on a busy machine. It may have ended already."""
    with contextlib.suppress(OSError):
        _weigh_own_session(pid, USUAL)
        _set_class(pid, os.SCHED_OTHER)


def autogroup(pid: int) -> Path:
    """The file with the weight of a process's session; missing where the kernel does not group by session."""
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
