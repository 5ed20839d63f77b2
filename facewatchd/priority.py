"""Running only when nobody else wants the processor: for a whole process, and the way back."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from pathlib import Path

log = logging.getLogger(__name__)

LOWEST, USUAL = b"19", b"0"
TRIES = 5
PAUSE = 0.1
"""The kernel takes one change of a session's weight in a tenth of a second, of all processes together."""


def become_idle() -> None:
    """Put this process in the idle class: the threads that libraries began when they were imported, and all to come.

    Where the kernel groups processes by session (sched(7), "the autogroup feature"; most desktops), a class counts only
    among those of one session, and each busy session gets an equal share: in its terminal's, an idle process would take
    a third of the time of two busy ones elsewhere. So it gets a session of its own, with the lowest weight there is.
    """
    try:
        _set_class(os.getpid(), os.SCHED_IDLE)
    except OSError as exc:
        log.warning("cannot lower the priority of indexing (%s)", exc)
    with contextlib.suppress(OSError):  # it leads a process group, of its own session or of a shell's job
        os.setsid()
        _weigh_session(autogroup(os.getpid()), LOWEST)


def hurry(pid: int) -> None:
    """Undo what `become_idle` did to a process, so that it can end on a busy machine. One that is gone is no error."""
    with contextlib.suppress(OSError):
        if os.getsid(pid) == pid:
            _weigh_session(autogroup(pid), USUAL)
        _set_class(pid, os.SCHED_OTHER)


def autogroup(pid: int) -> Path:
    """Where the kernel shows and takes the weight of a process's session; missing where sessions are not told apart."""
    return Path(f"/proc/{pid}/autogroup")


def _set_class(pid: int, policy: int) -> None:
    for thread in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.sched_setscheduler(int(thread), policy, os.sched_param(0))


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
