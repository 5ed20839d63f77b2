"""Who a face is, of the people who have references; and which faces tell people badly. Pure functions of arrays.

People are compared by what is left of the similarity to the best reference after what that asks for: its blur, and the
number of the person's references (`References.spare`). Compared by similarities alone, a face would go to the person
with more references: of faces that match their own person, 1.6 in a thousand do, and 0.4 (SFace) or 0.1 (MobileFaceNet)
by what is left, where half of the people have 1 and half 18 references (`python -m tests.benchmarks people`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from facewatchd.store.references import References

if TYPE_CHECKING:
    from facewatchd.values import Quality

JUDGES = 3
"""The references nearest to one whose people decide whether it is misplaced."""
BLOCK = 512
"""References that are compared with all at once."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A person whom a face may be."""

    person: int
    similarity: float
    """To the best reference."""
    spare: float
    """Similarity less what the reference asks for: the two match from the threshold on."""


def candidates(
    face: NDArray[np.float32], references: References, quality: Quality | None, excluded: frozenset[int] = frozenset()
) -> list[Candidate]:
    """Return the people whom a face may be, the nearest first. ``face``: (dim,). ``excluded``: who it is not, by id."""
    people, spare = references.spare(face[None], quality)
    similarities = references.rows @ face if len(references) else np.empty(0)
    found = [
        Candidate(person, float(similarities[references.people == person].max()), left)
        for person, left in zip(people.tolist(), spare[0].tolist(), strict=True)
        if person not in excluded
    ]
    return sorted(found, key=lambda each: (-each.spare, each.person))


def misplaced(references: References, threshold: float, asked: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """Whether each reference tells another person: of the `JUDGES` nearest others, most are one other person's.

    Those of them that are less similar than the threshold do not count. Shape (m,). ``asked``: for which of them it is
    worked out; False for the rest.
    """
    wrong = np.zeros(len(references), np.bool_)
    rows = np.arange(len(references)) if asked is None else np.flatnonzero(asked)
    if len(references) <= JUDGES:
        return wrong
    for start in range(0, len(rows), BLOCK):
        part = rows[start : start + BLOCK]
        similarities = references.rows[part] @ references.rows.T
        similarities[np.arange(len(part)), part] = -np.inf
        at, others = np.nonzero(similarities >= threshold)  # few of them: only these are sorted
        order = np.lexsort((-similarities[at, others], at))
        at, others = at[order], others[order]
        nearest = np.arange(len(at)) - np.searchsorted(at, at) < JUDGES
        at, people = at[nearest], references.people[others[nearest]]
        elsewhere = people != references.people[part[at]]
        judges, times = np.unique(np.stack([at[elsewhere], people[elsewhere]]), axis=1, return_counts=True)
        wrong[part[judges[0][times > JUDGES // 2]]] = True
    return wrong


def refusal(
    face: NDArray[np.float32],
    name: str,
    own: NDArray[np.float32],
    others: Sequence[Candidate],
    names: Mapping[int, str],
    *,
    against: Sequence[str],
    threshold: float,
    limit: float,
    asked: float = 0.0,
) -> str:
    """Return why a face would be a poor reference for a person, in words; empty where it would be a good one.

    ``own``: the person's references (n, dim). ``others``: the other people whom the face may be, the nearest first,
    and ``names`` theirs. ``against``: what can be said against the face itself. ``threshold``: what a face needs to
    match. ``limit``: the similarity from which two faces may be one person's. ``asked``: what the person's own
    references ask for beyond the threshold.
    """
    if against:
        return f"it is {' and '.join(against)}"
    similarity = float((own @ face).max()) if len(own) else None
    shown = f"{round(similarity or 0.0, 2) + 0.0:.2f}"  # never -0.00
    if others and others[0].spare >= threshold and (similarity is None or others[0].spare > similarity - asked):
        other = f"{names[others[0].person]} (similarity {others[0].similarity:.2f})"
        return f"it is like {other}" if similarity is None else f"it is more like {other} than {name} ({shown})"
    if similarity is not None and similarity < limit:
        return f"it does not look like {name}'s other faces (similarity {shown})"
    return ""
