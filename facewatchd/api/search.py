"""The search of a query: the people whom it names (`who`), and the photos that match."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from facewatchd.api import who
from facewatchd.api.faces import FaceFinder
from facewatchd.api.parameters import QueryParameters
from facewatchd.api.scoring import Scorer
from facewatchd.api.who import Asked, Used, WhoReader
from facewatchd.store import results
from facewatchd.store.candidates import Question, Unwanted
from facewatchd.store.catalog_reader import CatalogReader
from facewatchd.store.gallery import Gallery
from facewatchd.store.results import Found
from facewatchd.store.scoring import Scored, Search, Wanted
from facewatchd.values import ModelInfo


@dataclass(frozen=True, slots=True)
class Answer:
    """What a query asked with, and the photos that were found."""

    who: Asked
    """The person who is asked for; `Match.of` counts the ways of asking."""
    with_: list[Asked]
    """The people who are on the photos too,"""
    without: list[Asked]
    """and those who are not."""
    found: Found
    search: Search
    """As it was carried out."""

    @property
    def used(self) -> list[Used]:
        """The faces that the person is asked for with."""
        return self.who.used

    @property
    def wanted(self) -> list[Wanted]:
        """Each way of asking."""
        return self.who.wanted


class Searcher:
    """Any thread may ask."""

    def __init__(self, gallery: Gallery, finder: FaceFinder, scorer: Scorer, info: ModelInfo) -> None:
        self._gallery = gallery
        self._reader = WhoReader(gallery, finder, info)
        self._scorer = scorer

    def search(self, asked: QueryParameters, search: Search) -> Answer:
        """Return the photos that match. ``search``: the limits, with what the query does not say filled in.

        Raises what `WhoReader.read` does.
        """
        person, others, unwanted = self._reader.read(asked, search.quality)
        paths = (each.path for each in who.named(asked))
        search = replace(search, own_paths=frozenset(path for path in paths if path is not None))
        with self._gallery.catalog.reading() as reader:
            question = Question(
                [self._scored(reader, each, search) for each in (person, *others)],
                # Someone who is not to be on the photo is not to be there as a small face either.
                [self._unwanted(reader, each, replace(search, min_size=0)) for each in unwanted],
            )
            found = results.found(reader, question, search)
        return Answer(person, others, unwanted, found, search)

    def _scored(self, reader: CatalogReader, asked: Asked, search: Search) -> Sequence[Scored]:
        return [self._scorer.scored(reader, wanted, search) for wanted in asked.wanted]

    def _unwanted(self, reader: CatalogReader, asked: Asked, search: Search) -> Unwanted:
        cleared = frozenset.intersection(*(wanted.rejected for wanted in asked.wanted))
        return Unwanted(self._scored(reader, asked, search), cleared)
