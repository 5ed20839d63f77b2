"""A query that is asked again and again, each time of a few contents: which of them match now.

It is carried out as any other query is, so that what arrives is told by the same rules. The photos that it names are
looked at once, when it is made. A person is asked for with the references that the person has each time, and stays the
same one under another name, or as a part of the one that it was merged into.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from facewatchd.api import replies
from facewatchd.api.faces import FaceFinder, Remembering
from facewatchd.api.parameters import QueryParameters, Source, Who
from facewatchd.api.scoring import Scorer
from facewatchd.api.search import Named, Searcher
from facewatchd.errors import (
    BadEmbeddingError,
    NoFaceError,
    UnknownFaceError,
    UnknownPersonError,
    UnreadablePhotoError,
)
from facewatchd.matches import Match
from facewatchd.server.jsonrpc import ParamsError
from facewatchd.store.gallery import Gallery
from facewatchd.store.scoring import Search, Sort
from facewatchd.values import ModelInfo


@dataclass(slots=True)
class _Followed:
    """A person of the query."""

    asked: str
    """The name that stands in the query,"""
    name: str
    """as the person writes it."""
    id: int
    """When the query was made."""
    now: int
    """Of the person that it is now, which outlasts the note of a merger."""


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
        self._scorer = scorer
        self._searcher = Searcher(gallery, remembering, scorer, info)
        self._info = info
        self._asked = _without_bytes(asked, remembering)
        self.search = replace(search, top=0, folds=False, sort=Sort.SIMILARITY)
        names = dict.fromkeys(each.person for each in _whos(self._asked) if each.person is not None)
        people = {name: scorer.person(name) for name in names}
        self._followed = [_Followed(name, person.name, person.id, person.id) for name, person in people.items()]
        self._named = self._searcher.named(self._asked, self.search)

    def among(self, shown: Mapping[int, Collection[bytes]], *, past: bool = False) -> dict[int, list[Match]]:
        """The matches on some contents, which are ``shown`` by these paths; those that do not match are left out.

        Raises `StorageError`. ``past``: nothing shows them now, and so they are taken to be of the dates that are asked
        for.
        """
        if not shown:
            return {}
        search = replace(self.search, since=None, until=None) if past else self.search
        found = self._searcher.among(self._people(), search, shown)
        matches: dict[int, list[Match]] = {}
        for content, match in zip(found.contents, found.matches, strict=True):
            matches.setdefault(content, []).append(match)
        return matches

    @property
    def is_about_dates(self) -> bool:
        """Whether a photo matches only if it was taken in a certain time."""
        return self.search.since is not None or self.search.until is not None

    def everything(self) -> list[tuple[int, Match]]:
        """All matches that there are, each with its content."""
        found = self._searcher.search(self._asked, self.search).found
        return list(zip(found.contents, found.matches, strict=True))

    def document(self, match: Match) -> dict[str, object]:
        """A match as the protocol has it."""
        return replies.of_match(match, self._named.person, self._info.quality)

    def follow_people(self) -> list[tuple[str, str]]:
        """Ask for the people by the names that they have now, and return each name that is another one with the new.

        Raises `UnknownPersonError`, which names nobody, where one of them is not known any more, and `StorageError`.
        """
        changed: list[tuple[str, str]] = []
        for each in self._followed:
            person = self._scorer.current(each.id) or self._scorer.current(each.now)
            if person is None:
                raise UnknownPersonError(
                    "a person who is asked for is not known any more", "`facewatchd people list` lists those who are"
                )
            each.now = person.id
            if person.name != each.name:
                changed.append((each.asked, person.name))
                each.asked = each.name = person.name
        if changed:
            names = dict(changed)
            self._asked = _with_each(
                self._asked, lambda who: replace(who, person=names.get(who.person or "", who.person))
            )
        return changed

    def _people(self) -> Named:
        if self._followed:
            # What else it names, and what just now cannot be one person, is as it was.
            with contextlib.suppress(
                BadEmbeddingError,
                NoFaceError,
                ParamsError,
                UnknownFaceError,
                UnknownPersonError,
                UnreadablePhotoError,
            ):
                self._named = self._searcher.named(self._asked, self.search)
        return self._named


def _whos(asked: QueryParameters) -> tuple[Who, ...]:
    return (*asked.who, *asked.with_, *asked.without)


def _with_each(asked: QueryParameters, other: Callable[[Who], Who]) -> QueryParameters:
    """The query with another WHO in the place of each."""
    who, with_, without = (tuple(map(other, each)) for each in (asked.who, asked.with_, asked.without))
    return replace(asked, who=who, with_=with_, without=without)


def _without_bytes(asked: QueryParameters, finder: Remembering) -> QueryParameters:
    def light(who: Who) -> Who:
        return who if who.data is None else replace(who, data=finder.without_bytes(Source(data=who.data)).data)

    return _with_each(replace(asked, photos=tuple(map(finder.without_bytes, asked.photos))), light)
