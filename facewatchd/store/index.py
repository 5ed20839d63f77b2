"""What the gallery knows of an index: the embeddings of all faces, by face id, and which of them are alike to one.

An index is a cache: the catalog is the truth, and an index that is lost is made from it again. Face ids are never given
twice, neither by the catalog nor to an index. Arrays: ids int64 (n,), embeddings float32 (n, dim) of unit length.

There are four: `hnsw.HnswIndex`, which the daemon uses; `catalog_index.CatalogIndex`, which it uses where hnswlib does
not run; `shared.remote_index.RemoteIndex`, the shared engine in the place of an index; and `flat.FlatIndex`, which
compares an embedding with all of those that it holds in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from facewatchd.values import Embedding

Ids = NDArray[np.int64]
Embeddings = NDArray[np.float32]

KeepOn = Callable[[], bool]
"""Called after each part of a long work: it may rest, and False ends the work."""


def always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Above:
    """The faces whose cosine similarity to one embedding is at least a threshold; ids and similarities have shape (n,).

    The most alike first where `exact` is False; in no order where it is True.
    """

    ids: Ids
    similarities: NDArray[np.float32]
    exact: bool
    """Whether the embedding was compared with every face."""

    def first(self, most: int) -> Above:
        """At most so many of them, the most alike first."""
        order = np.lexsort((self.ids, -self.similarities))[:most]
        return Above(self.ids[order], self.similarities[order], self.exact)


def compared(faces: Embeddings, asked: Embeddings) -> NDArray[np.float32]:
    """The similarity of each face (n, dim) to each of those that are asked for (m, dim). Shape (n, m)."""
    # One column is a product of a matrix and a vector, which is faster than one of two matrices.
    return (faces @ asked[0])[:, None] if len(asked) == 1 else faces @ asked.T


class Hits:
    """The faces above a threshold, collected block by block for each of several embeddings."""

    def __init__(self, asked: int) -> None:
        self._ids: list[list[Ids]] = [[np.empty(0, np.int64)] for _ in range(asked)]
        self._similarities: list[list[NDArray[np.float32]]] = [[np.empty(0, np.float32)] for _ in range(asked)]

    def add(self, ids: Ids, similarities: NDArray[np.float32], threshold: float) -> None:
        """Add those of a block that are above it. ``ids``: (n,); ``similarities``: (n, asked)."""
        above = similarities >= threshold
        for number in np.flatnonzero(above.any(axis=0)).tolist():
            (hits,) = np.nonzero(above[:, number])
            self._ids[number].append(ids[hits])
            self._similarities[number].append(np.clip(similarities[hits, number], -1.0, 1.0))

    def extend(self, other: Hits) -> None:
        """Add what another has collected."""
        for number, (ids, similarities) in enumerate(zip(other._ids, other._similarities, strict=True)):
            self._ids[number] += ids
            self._similarities[number] += similarities

    def above(self) -> list[Above]:
        """For each embedding what was found."""
        return [
            Above(np.concatenate(ids), np.concatenate(similarities), exact=True)
            for ids, similarities in zip(self._ids, self._similarities, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Status:
    faces: int
    """Faces that `Index.above` can answer with."""
    tombstones: int
    """Faces that were removed and still take room."""
    ready: bool
    """Whether the index holds all faces of the catalog; until then answers come from the catalog, and are complete."""
    unsaved: int = 0
    """Changes that a crash would cost: they are made up for from the catalog."""
    overdue: bool = False
    """Whether `Index.maintain` has something to do, whatever changes."""
    problem: str = ""
    """Why answers take longer than they could, and what to do about it: one line."""
    is_slow: bool = False
    """Whether that passes: work that asks for many faces waits until it has."""


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What `Index.maintain` may use."""

    keep_on: KeepOn = always
    paced: Callable[[], KeepOn] = lambda: always
    """Makes a `KeepOn` that also rests, for work that keeps a processor busy."""
    on_writer: Callable[[Callable[[KeepOn], object]], object] = lambda work: work(always)
    """Runs a function on the thread that calls `Index.add` and `Index.remove`, and waits for it."""
    threads: int = 1


class Searchable(Protocol):
    """What a search needs of an index. Any thread may ask."""

    def above(self, embedding: Embedding, threshold: float, *, exact: bool = False) -> Above:
        """Every face from the threshold on. ``exact``: compare the embedding with each of them.

        There is no limit and no filter: an answer counts all photos that match, and what a photo must be like
        (directories, the size of a face) only the catalog knows, for which the faces above the threshold are enough.
        """

    def above_each(self, embeddings: Embeddings, threshold: float, *, exact: bool = False) -> list[Above]:
        """The same for each of several embeddings: faster than one after the other."""


class Index(Searchable, Protocol):
    """`add` and `remove` are called by one thread, `maintain` by another, everything else by any."""

    def add(self, ids: Ids, embeddings: Embeddings) -> None:
        """Add faces. Nothing is raised: what fails is made up for by `maintain`."""

    def remove(self, ids: Ids) -> None:
        """Remove faces; ids that are unknown are passed over. Nothing is raised, as in `add`."""

    def nearest(self, embedding: Embedding, threshold: float, most: int) -> Above:
        """The faces most alike to one, at most so many, from the threshold on; the most alike first."""

    def maintain(self, upkeep: Upkeep, *, rebuild: bool = False, last: bool = False) -> None:
        """Do what is due: bring the index level with the catalog, build it anew, write it to the disk.

        ``rebuild``: build it anew in any case. ``last``: the process ends, so only write what is worth it. Raises
        `FacewatchError` for what can be tried again.
        """

    def status(self) -> Status: ...

    def differences(self, keep_on: KeepOn = always) -> list[str]:
        """Hold every embedding against the catalog; a line for each finding.

        On another thread than that of `add`, what is recorded meanwhile is found too. As soon as ``keep_on`` is False,
        what was not looked at yet counts as right.
        """
