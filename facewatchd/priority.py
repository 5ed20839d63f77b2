"""Running only when nobody else wants the processor. For a process of its own, before it starts its threads."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from pathlib import Path

log = logging.getLogger(__name__)

AUTOGROUP = Path("/proc/self/autogroup")
LOWEST = b"19"
TRIES = 5
PAUSE = 0.1
"""The kernel takes one such change in a tenth of a second, of all processes together."""


def become_idle() -> None:
    """Put the process in the idle class: the threads that libraries began when they were imported, and all to come.

    Where the kernel groups processes by session (sched(7), "the autogroup feature"; most desktops), a class counts only
    among those of one session, and each busy session gets an equal share: in its terminal's, an idle process would take
    a third of the time of two busy ones elsewhere. So it gets a session of its own, with the lowest weight there is.
    """
    try:
        for thread in os.listdir("/proc/self/task"):
            os.sched_setscheduler(int(thread), os.SCHED_IDLE, os.sched_param(0))
    except OSError as exc:
        log.warning("cannot lower the priority of indexing (%s)", exc)
    with contextlib.suppress(OSError):  # it leads a process group, of its own session or of a shell's job
        os.setsid()
        _lower_session()


def _lower_session() -> None:
    for _ in range(TRIES):
        try:
            AUTOGROUP.write_bytes(LOWEST)
        except BlockingIOError:
            time.sleep(PAUSE)
        except OSError:  # no such file: sessions are not told apart
            return
        else:
            return
