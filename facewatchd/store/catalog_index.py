"""An index that holds nothing: each answer compares the embedding with every row of the catalog.

It answers while `hnsw.HnswIndex` has neither a graph nor a file, and alone where hnswlib does not run on this processor
(`hnsw_trial`): in about 0.2 s among 100,000 faces of 512 dimensions, and 2 s among a million.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from facewatchd.errors import StorageError
from facewatchd.store.catalog import Catalog
from facewatchd.store.index import Above, Embeddings, Hits, Ids, KeepOn, Status, Upkeep, always, compared

if TYPE_CHECKING:
    from facewatchd.values import Embedding


class CatalogIndex:
    """An `index.Index` that is always level with the catalog. Any thread may ask."""

    def __init__(self, catalog: Catalog, problem: str = "") -> None:
        """``problem``: why there is no better one."""
        self._catalog = catalog
        self._problem = problem
        self._counted = (-1, 0)
        """Transactions of the catalog so far, and its faces then."""

    def add(self, ids: Ids, embeddings: Embeddings) -> None:
        """They are in the catalog already."""

    def remove(self, ids: Ids) -> None:
        """They are not in the catalog any more."""

    def above(self, embedding: Embedding, threshold: float, *, exact: bool = True) -> Above:
        return self.above_each(embedding[None], threshold, exact=exact)[0]

    def above_each(self, embeddings: Embeddings, threshold: float, *, exact: bool = True) -> list[Above]:
        del exact
        hits = Hits(len(embeddings))
        with self._catalog.reading() as reader:
            for ids, rows in reader.embeddings():
                hits.add(ids, compared(rows, embeddings), threshold)
        return hits.above()

    def nearest(self, embedding: Embedding, threshold: float, most: int) -> Above:
        return self.above(embedding, threshold).first(most)

    def maintain(self, upkeep: Upkeep, *, rebuild: bool = False, last: bool = False) -> None:
        """Nothing is ever due."""

    def status(self) -> Status:
        with contextlib.suppress(StorageError), self._catalog.reading() as reader:
            transactions = reader.transactions()
            if transactions != self._counted[0]:
                self._counted = transactions, reader.counts().faces
        return Status(self._counted[1], 0, ready=True, problem=self._problem)

    def differences(self, keep_on: KeepOn = always) -> list[str]:
        del keep_on
        return []
