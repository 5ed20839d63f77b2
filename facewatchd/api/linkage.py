"""Whether several faces look like one person: single-linkage clustering of their embeddings.

Faces are linked where their similarity is at least a limit, and look like one person where links join all of them. A
face needs one link only, so photos of one person at many ages are joined by those in between. The faces of a person
with a name are one group: the user said that they are one person.

The limit is `SHARE` of the model's threshold. That is far below the similarity of a match, because the user said that
the photos show one person, and a wrong refusal costs more.

Measured on labelled faces of public test sets (SCRFD 2.5G with MobileFaceNet, threshold 0.57, limit 0.23; YuNet with
SFace, 0.40 and 0.16): 212 faces of 29 people on web photos and, after the slash, 442 of 15 celebrities. None of these
sets tells ages.

======================  ======================  ======================
asked with              MobileFaceNet, refused  SFace, refused
======================  ======================  ======================
2 photos of one person  0.6 % / 2.3 %           1.1 % / 1.3 %
3 photos                0.2 % / 1.8 %           0.2 % / 0.6 %
5 photos                0.0 % / 1.1 %           0.3 % / 1.2 %
one each of two people  96 % / 93 %             85 % / 81 %
two and one             94 % / 89 %             77 % / 70 %
five and one            91 % / 82 %             57 % / 56 %
======================  ======================  ======================

With half of the threshold instead, 1.9 % / 5.0 % of the pairs of one person are refused. Average linkage notices 98 %
/ 95 % of five and one, but refuses 0.9 % / 4.6 % of ten photos of one person (single linkage 0.0 % / 1.9 %).
`buffalo_l` and its like were not measured: their limit of 0.16 comes from the same rule.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SHARE = 0.4
"""The limit as a part of the threshold. Unrelated people score about 0: 0.05 at the median of SFace (1,592 faces)."""


def limit(threshold: float) -> float:
    """Return the similarity from which two faces are linked."""
    return SHARE * threshold


def similarities(groups: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return how alike each two groups are: the similarity of the two faces, one of each, that are most alike.

    ``groups``: n of shape (m, dim), unit length, m at least 1. Shape (n, n).
    """
    rows = np.concatenate(groups)
    starts = np.cumsum([0, *(len(group) for group in groups[:-1])])
    best: NDArray[np.float32] = np.maximum.reduceat(np.maximum.reduceat(rows @ rows.T, starts), starts, axis=1)
    return best


def clusters(similarities: NDArray[np.float32], limit: float) -> list[list[int]]:
    """Return the indices of the groups that links join, ascending: one list a person, by its first group.

    ``similarities``: shape (n, n).
    """
    linked = similarities >= limit
    remaining = np.ones(len(linked), bool)
    found: list[list[int]] = []
    while remaining.any():
        members = np.zeros(len(linked), bool)
        added = [int(np.flatnonzero(remaining)[0])]
        while len(added):
            members[added] = True
            added = np.flatnonzero(linked[added].any(axis=0) & ~members).tolist()
        remaining &= ~members
        found.append(np.flatnonzero(members).tolist())
    return found
