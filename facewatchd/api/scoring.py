"""Who is wanted, and which faces match: the answers of the index and the catalog for one person of a question."""

from __future__ import annotations

from facewatchd.store import scoring
from facewatchd.store.catalog_reader import CatalogReader
from facewatchd.store.gallery import Gallery
from facewatchd.store.scoring import Scored, Search, Wanted


class Scorer:
    """Any thread may ask."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery

    def scored(self, reader: CatalogReader, wanted: Wanted, search: Search) -> Scored:
        """Return the faces that match a person. ``reader``: the state of the catalog that results are made from."""
        return scoring.scored(self._gallery.index, reader, wanted, search)
