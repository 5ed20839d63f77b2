"""What an answer has of other machines, in words: how much was searched where, and what was not. Standard library only.

The names of machines, and what is said of them, was written by those machines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from facewatchd.client.answer import Answer, Machine, Shared
from facewatchd.matches import Match
from facewatchd.text import counted, listed, printable

OLD: Final = 600
"""Seconds without a word of a machine from which on its faces are those of an earlier time: it is probably off."""
_MOST_NAMED: Final = 4
"""Machines that are named in a line."""
_TROUBLE: Final = {
    "unreachable": "shared engine unreachable",
    "refused": "shared engine cannot be used",
    "off": "shared engine not asked",
}
_UNITS: Final = (("month", 30 * 86400), ("week", 7 * 86400), ("day", 86400), ("hour", 3600), ("minute", 60))


def searched(faces: int, shared: Shared) -> str:
    """Word how many of all ``faces`` were searched where: ``18,431 faces here, 210,000 on nas``."""
    others = shared.machines if shared.is_reached else ()
    here = faces - sum(machine.faces for machine in others)
    return ", ".join([f"{here:,} {'face' if here == 1 else 'faces'} here", *_counts(others, _faces)])


def lacks_photos(answer: Answer) -> bool:
    """Whether photos of this machine were not searched, as far as an answer tells: it does not say why it lacks any.

    Where other machines are a reason, they are taken for the only one, unless there are photos to be read here.
    """
    if answer.complete or answer.pending or answer.undated or answer.shared is None:
        return not answer.complete
    leaves_out = answer.shared.reason and not answer.shared.cut
    return answer.shared.is_reached and not leaves_out and not any(map(_is_late, answer.shared.machines))


def not_searched(shared: Shared) -> str:
    """Word which photos of other machines were not searched or left out, and why; empty where there is none."""
    if not shared.is_reached:
        words = _TROUBLE.get(shared.state, f"shared engine {printable(shared.state)}")
        return f"{words}, searched on this machine only" + (f": {printable(shared.reason)}" if shared.reason else "")
    parts = _counts(filter(_is_late, shared.machines), _missing)
    to_come = f"not complete: photos still to come from other machines: {', '.join(parts)}" if parts else ""
    return "; ".join(filter(None, (to_come, printable(shared.reason))))


def numbers(matches: Iterable[Match]) -> str:
    """Word how many photos only other machines have: ``3 on nas and 1 on laptop``; empty where all are on this one."""
    photos: dict[str, int] = {}
    for match in matches:
        if match.host:
            photos[match.host] = photos.get(match.host, 0) + 1
    ordered = sorted(photos, key=lambda host: (-photos[host], host))
    return listed(_first([(photos[host], printable(host)) for host in ordered]))


def ago(seconds: float) -> str:
    """Word a time span by its largest unit: ``3 weeks ago``."""
    for unit, size in _UNITS:
        if seconds >= size:
            return f"{counted(int(seconds // size), unit)} ago"
    return "just now"


def is_old(machine: Machine) -> bool:
    """Whether its faces are those of an earlier time."""
    return machine.as_of_s >= OLD


def _is_late(machine: Machine) -> bool:
    """Whether a machine runs, and photos of it are not searched yet."""
    return bool(_missing(machine)) and not is_old(machine)


def _faces(machine: Machine) -> int:
    return machine.faces


def _missing(machine: Machine) -> int:
    """How many photos of a machine are not searched: a photo that waits there twice is counted twice."""
    return machine.backlog + machine.pending


def _counts(machines: Iterable[Machine], number: Callable[[Machine], int]) -> list[str]:
    """Word a number for each machine, the largest first; of many, one for those that are not named."""
    ordered = sorted(machines, key=number, reverse=True)
    return _first([(number(machine), _name(machine)) for machine in ordered])


def _first(counts: Sequence[tuple[int, str]]) -> list[str]:
    """Word numbers of machines; of many, one for those that are not named."""
    named = len(counts) if len(counts) <= _MOST_NAMED + 1 else _MOST_NAMED
    parts = [f"{number:,} on {name}" for number, name in counts[:named]]
    if others := [number for number, _ in counts[named:]]:
        parts.append(f"{sum(others):,} on {len(others)} more machines")
    return parts


def _name(machine: Machine) -> str:
    return printable(machine.name) + (f" ({ago(machine.as_of_s)})" if is_old(machine) else "")
