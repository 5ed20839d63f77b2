"""What is said of photos that only other machines have. Standard library only."""

from __future__ import annotations

from collections.abc import Iterable

from facewatchd.matches import Match
from facewatchd.text import listed, printable

_MOST = 6
"""Machines that are named."""


def numbers(matches: Iterable[Match]) -> str:
    """Word how many photos only other machines have, the machine with the most first: ``3 on nas and 1 on laptop``.

    Empty where all are on this one.
    """
    photos: dict[str, int] = {}
    for match in matches:
        if match.host:
            photos[match.host] = photos.get(match.host, 0) + 1
    most_first = sorted(photos, key=lambda host: (-photos[host], host))
    words = [f"{photos[host]} on {printable(host)}" for host in most_first[:_MOST]]
    if more := most_first[_MOST:]:
        words.append(f"{sum(photos[host] for host in more)} on {len(more)} more machines")
    return listed(words)
