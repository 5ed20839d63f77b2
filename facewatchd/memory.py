"""When memory that is freed goes back to the system.

Left alone, glibc learns from the large blocks that come and go to keep them: up to 64 MiB in each of its arenas, which
are eight a core, and threads use them in turn. A daemon that was sent a few large photos would hold on to that. What
is larger it asks the system for each time, which clears every page of it: a sixth of the time that it takes to decode
photos of 12 megapixels, as `python -m benchmarks importing` shows.
"""

from __future__ import annotations

import ctypes

LARGE = 4 << 20
"""Bytes from which on a block is the system's again as soon as it is freed. Smaller ones are cheaper to keep."""
ARENAS = 2
"""How many threads can allocate at the same time; they hold the interpreter's lock nearly always when they do."""
SPARE = 256 << 20
"""Bytes that a process that decodes may keep for the next photo: two of 12 megapixels in hand take 170 million."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -3, -4, -8
"""Of mallopt(3). Setting any of the first three ends the learning."""


def keep_little() -> None:
    """For the whole process, from now on. Nothing happens where the allocator is not glibc's."""
    _set({_M_ARENA_MAX: ARENAS, _M_MMAP_THRESHOLD: LARGE, _M_TRIM_THRESHOLD: 2 * LARGE})


def keep_for_the_next_photo() -> None:
    """The same for a process that decodes one photo after the other, and ends when none has come for a while."""
    _set({_M_ARENA_MAX: 1, _M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: SPARE})


def _set(parameters: dict[int, int]) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in parameters.items():
            mallopt(parameter, value)
