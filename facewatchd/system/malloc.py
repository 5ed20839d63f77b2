"""Memory: when freed blocks go back to the system, and whether there is memory to spare.

By default glibc raises its limits when large blocks are freed, and then keeps up to 64 MiB in each of its arenas, of
which there are eight a core: a daemon that was sent a few large photos would keep hundreds of megabytes. The opposite
has a cost too. Each large block that is asked of the system is cleared page by page, which takes a sixth of the time of
decoding photos of 12 megapixels (`python -m tests.benchmarks importing`). So the daemon returns freed memory at once,
and a process that decodes one photo after the other keeps it.
"""

from __future__ import annotations

import contextlib
import ctypes
from pathlib import Path

LARGE = 4 << 20
"""Bytes from which a block goes back to the system as soon as it is freed. Smaller ones are cheaper to keep."""
ARENAS = 2
"""How many threads can allocate at the same time: nearly always they hold the interpreter's lock meanwhile."""
SPARE = 256 << 20
"""Freed bytes that a decoding process keeps for the next photo: two of 12 megapixels at a time take 170 million."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -3, -4, -8
"""Parameters of mallopt(3). After one of the first three is set, glibc no longer changes its limits itself."""


def return_freed_memory() -> None:
    """Return freed memory of this process to the system at once. No effect unless the allocator is glibc's."""
    _set({_M_ARENA_MAX: ARENAS, _M_MMAP_THRESHOLD: LARGE, _M_TRIM_THRESHOLD: 2 * LARGE})


def keep_freed_memory() -> None:
    """Keep freed memory for the next photo, in a process that decodes one after the other and ends after a rest."""
    _set({_M_ARENA_MAX: 1, _M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: SPARE})


def _set(parameters: dict[int, int]) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in parameters.items():
            mallopt(parameter, value)


PLENTY = 4 << 30
"""Free bytes that count as plenty: the largest photo takes as much. Half of all memory, where that is less."""


def has_spare_memory() -> bool:
    """Whether there is memory to spare, on the machine and in each control group around this process.

    False where that cannot be read, as without a free descriptor.
    """
    try:
        limits = [_machine(), *_groups()]
    except (OSError, MemoryError):
        return False
    return all(free >= min(PLENTY, most // 2) for free, most in limits)


def _machine() -> tuple[int, int]:
    """Free and total bytes of the machine."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    machine = {words[0].rstrip(":"): int(words[1]) << 10 for words in lines}
    return machine["MemAvailable"], machine["MemTotal"]


def _groups() -> list[tuple[int, int]]:
    """Free and total bytes of each control group (version 2) with a limit around this process."""
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
