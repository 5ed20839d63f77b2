"""Memory that is freed goes back to the system.

Left alone, glibc learns from the large blocks that come and go to keep them: up to 64 MiB in each of its arenas, which
are eight a core, and threads use them in turn. A daemon that was sent a few large photos would hold on to that.
"""

from __future__ import annotations

import ctypes

LARGE = 4 << 20
"""Bytes from which on a block is the system's again as soon as it is freed. Smaller ones are cheaper to keep."""
ARENAS = 2
"""How many threads can allocate at the same time; they hold the interpreter's lock nearly always when they do."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""Of mallopt(3). Setting either threshold ends the learning."""


def keep_little() -> None:
    """For the whole process, from now on. Nothing happens where the allocator is not glibc's."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, ARENAS)
        mallopt(_M_MMAP_THRESHOLD, LARGE)
        mallopt(_M_TRIM_THRESHOLD, 2 * LARGE)
