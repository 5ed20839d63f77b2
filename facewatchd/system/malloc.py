"""When memory that is freed goes back to the system.

Left alone, glibc learns from the large blocks that come and go to keep them: up to 64 MiB in each of its arenas, which
are eight a core, and threads use them in turn. A daemon that was sent a few large photos would hold on to that. What
is larger it asks the system for each time, which clears every page of it: a sixth of the time that it takes to decode
photos of 12 megapixels, as `python -m tests.benchmarks importing` shows.
"""

from __future__ import annotations

import contextlib
import ctypes
from pathlib import Path

LARGE = 4 << 20
"""Bytes from which on a block is the system's again as soon as it is freed. Smaller ones are cheaper to keep."""
ARENAS = 2
"""How many threads can allocate at the same time; they hold the interpreter's lock nearly always when they do."""
SPARE = 256 << 20
"""Bytes that a process that decodes may keep for the next photo: two of 12 megapixels in hand take 170 million."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -3, -4, -8
"""Of mallopt(3). Setting any of the first three ends the learning."""


def return_freed_memory() -> None:
    """For the whole process, from now on. Nothing happens where the allocator is not glibc's."""
    _set({_M_ARENA_MAX: ARENAS, _M_MMAP_THRESHOLD: LARGE, _M_TRIM_THRESHOLD: 2 * LARGE})


def keep_freed_memory() -> None:
    """The same for a process that decodes one photo after the other, and ends when none has come for a while."""
    _set({_M_ARENA_MAX: 1, _M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: SPARE})


def _set(parameters: dict[int, int]) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in parameters.items():
            mallopt(parameter, value)


PLENTY = 4 << 30
"""Bytes that the largest photo takes; half of the machine's memory where that is less."""


def has_spare_memory() -> bool:
    """Whether there is memory to spare: on the machine, and in each control group that this process is in."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    machine = {words[0].rstrip(":"): int(words[1]) << 10 for words in lines}
    rooms = [(machine["MemAvailable"], machine["MemTotal"]), *_groups()]
    return all(free >= min(PLENTY, most // 2) for free, most in rooms)


def _groups() -> list[tuple[int, int]]:
    """Free and total bytes of the control groups with a limit (version 2) around this process."""
    found = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if not line.startswith("0::/"):
            continue
        group = Path("/sys/fs/cgroup", line[4:])
        for place in (group, *group.parents):
            with contextlib.suppress(OSError, ValueError, IndexError):
                most, used = (int((place / name).read_text()) for name in ("memory.max", "memory.current"))
                cache = (place / "memory.stat").read_text().split("inactive_file ")[1].split()[0]
                found.append((most - used + int(cache), most))
    return found
