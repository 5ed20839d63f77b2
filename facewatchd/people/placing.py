"""Which detected face a region of another program is about.

Programs draw their boxes differently: some around the face, some around the head, some as squares, some by hand. A
region is about a face if the two overlap by `LEAST_OVERLAP`, or else if each holds the other's centre and the sides of
one are at most `MOST_RATIO` times those of the other. A point (a region without sides) is about the smallest face that
holds it. Of all pairs the best overlap comes first, and each region and each face is taken once.

`python -m tests.benchmarks exchange` measures how often the right face is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from facewatchd.people.statements import RelativeBox

LEAST_OVERLAP: Final = 0.4
"""Intersection over union from which a region is about a face, whatever its centre."""
MOST_RATIO: Final = 3.0
"""Times by which the sides of a region may differ from those of a face, as the root of their areas."""


def placed(regions: Sequence[RelativeBox], faces: Sequence[RelativeBox]) -> list[int | None]:
    """Return for each region the index of the face that it is about; None where there is none."""
    pairs = [
        (score, region, face)
        for region, area in enumerate(regions)
        for face, box in enumerate(faces)
        if (score := _likeness(area, box)) > 0
    ]
    found: list[int | None] = [None] * len(regions)
    taken: set[int] = set()
    for _, region, face in sorted(pairs, key=lambda pair: -pair[0]):
        if found[region] is None and face not in taken:
            found[region] = face
            taken.add(face)
    return found


def _likeness(region: RelativeBox, face: RelativeBox) -> float:
    """How well a region fits a face, from 0 (not at all) to 1."""
    if not region.w or not region.h:
        return 1e-6 / max(face.w * face.h, 1e-6) if _holds(face, region) else 0.0
    overlap = region.overlap(face)
    ratio = (region.w * region.h / (face.w * face.h)) ** 0.5
    concentric = _holds(region, face) and _holds(face, region) and 1 / MOST_RATIO <= ratio <= MOST_RATIO
    return overlap if overlap >= LEAST_OVERLAP or concentric else 0.0


def _holds(outer: RelativeBox, inner: RelativeBox) -> bool:
    """Whether an area holds the centre of another."""
    x, y = inner.x + inner.w / 2, inner.y + inner.h / 2
    return outer.x <= x <= outer.x + outer.w and outer.y <= y <= outer.y + outer.h
