"""What the kernel tells of the threads of processes: class, processor time, how often they were woken."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import children


@dataclass(frozen=True)
class Thread:
    process: int
    policy: int
    """``os.SCHED_IDLE`` and the like."""
    seconds: float
    """Of processor time so far."""
    switches: int
    """How often it was given a processor and let go of it again, so far: one for each time it was woken, or more."""


def family(pid: int) -> list[int]:
    """A process and its children."""
    return [pid, *children(pid)]


def threads(pid: int) -> dict[int, Thread]:
    """All threads of a process and its children, by their ids."""
    found = {}
    for process in family(pid):
        for task in Path(f"/proc/{process}/task").iterdir():
            with contextlib.suppress(OSError):  # it has just ended
                policy = int((task / "stat").read_text().rpartition(")")[2].split()[38])
                seconds = int((task / "schedstat").read_text().split()[0]) / 1e9
                status = (task / "status").read_text().splitlines()
                switches = sum(int(line.split()[1]) for line in status if "ctxt_switches" in line)
                found[int(task.name)] = Thread(process, policy, seconds, switches)
    return found


def seconds(before: dict[int, Thread], after: dict[int, Thread]) -> dict[int, float]:
    """How much processor time each thread took meanwhile; what has ended in between is not counted."""
    return {tid: now.seconds - (before[tid].seconds if tid in before else 0.0) for tid, now in after.items()}


def switches(before: dict[int, Thread], after: dict[int, Thread]) -> int:
    """How often all of them were woken meanwhile."""
    return sum(now.switches - (before[tid].switches if tid in before else 0) for tid, now in after.items())


def purposes(pid: int) -> dict[int, str]:
    """The daemon and its children: what each is for."""
    names = {pid: "daemon"}
    for child in family(pid)[1:]:
        words = Path(f"/proc/{child}/cmdline").read_text().split("\0")
        names[child] = next((word for word in ("indexing", "queries") if word in words), "other")
    return names


def idle_class(found: Iterable[Thread]) -> int:
    """How many of the threads run only when nobody else wants to."""
    return sum(thread.policy == os.SCHED_IDLE for thread in found)
