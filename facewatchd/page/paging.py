"""Pages of a list, by how many of its items come before."""

from __future__ import annotations

from typing import NamedTuple

PHOTOS = 60
"""Photos on one page of a room of people."""


class Pages(NamedTuple):
    """Where a page is in its list."""

    skip: int
    """Items before it."""
    shown: int
    """Items on it."""
    total: int
    before: int | None
    """`skip` of the page before; None on the first one."""
    after: int | None
    """`skip` of the page after; None on the last one."""


def pages(skip: int, size: int, total: int) -> Pages:
    """Return where a page of at most ``size`` items is in a list of ``total``."""
    shown = max(0, min(size, total - skip))
    before = max(0, min(skip, total) - size) if skip else None
    return Pages(skip, shown, total, before, skip + size if skip + size < total else None)
