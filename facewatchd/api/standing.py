"""A query that is asked again and again, each time of a few contents: which of them match now.

It is carried out as any other query is, so that what arrives is told by the same rules. The photos that it names are
looked at once, when it is made. A person is asked for with the references that the person has each time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from dataclasses import replace

from facewatchd.api import replies
from facewatchd.api.faces import FaceFinder, Remembering
from facewatchd.api.parameters import QueryParameters, Source, Who
from facewatchd.api.scoring import Scorer
from facewatchd.api.search import Named, Searcher
from facewatchd.errors import NoFaceError, UnknownFaceError, UnreadablePhotoError
from facewatchd.matches import Match
from facewatchd.store.gallery import Gallery
from facewatchd.store.scoring import Search, Sort
from facewatchd.values import ModelInfo


class StandingQuery:
    """Not for several threads."""

    def __init__(
        self,
        gallery: Gallery,
        finder: FaceFinder,
        scorer: Scorer,
        info: ModelInfo,
        asked: QueryParameters,
        search: Search,
    ) -> None:
        """Look at the photos. Raises what `WhoReader.read` does. ``search``: with what the query does not say."""
        remembering = Remembering(finder)
        self._searcher = Searcher(gallery, remembering, scorer, info)
        self._info = info
        self._asked = _without_bytes(asked, remembering)
        self.search = replace(search, top=0, folds=False, sort=Sort.SIMILARITY)
        self._named = self._searcher.named(self._asked, self.search)
        whos = (*self._asked.who, *self._asked.with_, *self._asked.without)
        self._follows_people = any(each.person is not None for each in whos)

    def among(self, shown: Mapping[int, Collection[bytes]], *, past: bool = False) -> dict[int, list[Match]]:
        """The matches on some contents, which are ``shown`` by these paths; those that do not match are left out.

        Raises `UnknownPersonError` where a person is not known any more, and `StorageError`. ``past``: nothing shows
        them now, and so they are taken to be of the dates that are asked for.
        """
        if not shown:
            return {}
        search = replace(self.search, since=None, until=None) if past else self.search
        found = self._searcher.among(self._people(), search, shown)
        matches: dict[int, list[Match]] = {}
        for content, match in zip(found.contents, found.matches, strict=True):
            matches.setdefault(content, []).append(match)
        return matches

    def everything(self) -> list[tuple[int, Match]]:
        """All matches that there are, each with its content."""
        found = self._searcher.search(self._asked, self.search).found
        return list(zip(found.contents, found.matches, strict=True))

    def document(self, match: Match) -> dict[str, object]:
        """A match as the protocol has it."""
        return replies.of_match(match, self._named.person, self._info.quality)

    def _people(self) -> Named:
        if self._follows_people:
            # What else it names is as it was.
            with contextlib.suppress(UnknownFaceError, UnreadablePhotoError, NoFaceError):
                self._named = self._searcher.named(self._asked, self.search)
        return self._named


def _without_bytes(asked: QueryParameters, finder: Remembering) -> QueryParameters:
    def light(whos: tuple[Who, ...]) -> tuple[Who, ...]:
        return tuple(
            each if each.data is None else replace(each, data=finder.without_bytes(Source(data=each.data)).data)
            for each in whos
        )

    return replace(
        asked,
        photos=tuple(finder.without_bytes(each) for each in asked.photos),
        who=light(asked.who),
        with_=light(asked.with_),
        without=light(asked.without),
    )
