"""Average-linkage clustering of the faces of a sample: each group is one person, or a part of one person's photos.

Two groups are joined while the mean similarity of their faces is at least a limit. Single linkage would join small
children, of whom one pair in three matches, to one group; the mean of two groups of different children stays lower.

The nearest-neighbour chain finds the same groups as the textbook's algorithm in n squared steps: from any group, go to
the group most similar to it, and on, until two are the most similar to each other; these are joined. A group whose most
similar one is below the limit is finished, because joining others never brings two groups nearer than the nearer one of
them was (Murtagh 1983, "A survey of recent advances in hierarchical clustering algorithms").
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_NONE = -2.0
"""Below every similarity: to itself, and to a group that is finished or was joined."""


def average_linkage(embeddings: NDArray[np.float32], limit: float) -> NDArray[np.int64]:
    """Return the number of each face's group, from 0. ``embeddings``: (n, dim), unit length."""
    count = len(embeddings)
    near = embeddings @ embeddings.T
    np.fill_diagonal(near, _NONE)
    sizes, into = np.ones(count), np.arange(count)
    waiting, chain = list(range(count)), [0] if count else []
    while chain:
        last = chain[-1]
        nearest = int(near[last].argmax())
        if len(chain) > 1 and near[last, nearest] <= near[last, chain[-2]]:
            nearest = chain[-2]  # of several as near: else the chain could go round
        if near[last, nearest] < limit:
            near[last], near[:, last] = _NONE, _NONE
            chain.pop()
        elif len(chain) > 1 and nearest == chain[-2]:
            chain = chain[:-2]
            _join(near, sizes, nearest, last)
            into[last] = nearest
            waiting.append(nearest)
        else:
            chain.append(nearest)
        while not chain and waiting:
            if near[waiting[-1]].max() > _NONE:
                chain.append(waiting[-1])
            waiting.pop()
    while (into != into[into]).any():
        into = into[into]
    return np.unique(into, return_inverse=True)[1].astype(np.int64)


def _join(near: NDArray[np.float32], sizes: NDArray[np.float64], kept: int, other: int) -> None:
    """Make two groups one: its similarity to any other is the mean over all pairs of faces."""
    whole = sizes[kept] + sizes[other]
    mean = (sizes[kept] * near[kept] + sizes[other] * near[other]) / whole
    mean[near[kept] == _NONE] = _NONE  # finished groups; and the two themselves
    mean[[kept, other]] = _NONE
    near[kept] = near[:, kept] = mean
    near[other] = near[:, other] = _NONE
    sizes[kept] = whole
