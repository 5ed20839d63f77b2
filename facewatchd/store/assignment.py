"""Deals the faces of one photo to several people, each another face.

A bipartite matching of people and faces that maximises the least weight. The options are added from the highest weight
down; after each, people without a face look for an augmenting path (Kuhn's algorithm). The option with which the last
of them gets a face has the least weight of the result, and no other result has a higher least weight: with the options
above it alone, not all of them have a face.

Most photos need none of this: where the best faces of all people are different ones, those are the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Option(NamedTuple):
    """A face that one person may take."""

    weight: float
    face: int


def dealt(options: Sequence[Sequence[Option]]) -> list[int] | None:
    """Return for each person the position of the option that it takes; None where not all of them can have a face.

    ``options``: those of each person.
    """
    added = sorted(
        (-option.weight, person, option.face, position)
        for person, offered in enumerate(options)
        for position, option in enumerate(offered)
    )
    positions: list[dict[int, int]] = [{} for _ in options]
    """By person: the faces that were added, and the positions of their options."""
    holders: dict[int, int] = {}
    """The person that has each face."""

    def finds_face(person: int, tried: set[int]) -> bool:
        for face in positions[person]:
            if face in tried:
                continue
            tried.add(face)
            if face not in holders or finds_face(holders[face], tried):
                holders[face] = person
                return True
        return False

    waiting = list(range(len(options)))
    for _, person, face, position in added:
        positions[person].setdefault(face, position)
        waiting = [each for each in waiting if not finds_face(each, set())]
        if not waiting:
            break
    if waiting:
        return None
    faces = {person: face for face, person in holders.items()}
    return [positions[person][faces[person]] for person in range(len(options))]
