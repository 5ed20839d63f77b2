"""The search of a query: the people whom it names (`who`), and the photos that match."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from facewatchd.api import who
from facewatchd.api.beside import IndexOfBoth, Others, ReaderOfBoth
from facewatchd.api.elsewhere import Asking
from facewatchd.api.faces import FaceFinder
from facewatchd.api.parameters import QueryParameters
from facewatchd.api.scoring import Scorer
from facewatchd.api.who import Asked, Used, WhoReader
from facewatchd.matches import Match, Term
from facewatchd.people.known import KnownFaces
from facewatchd.store import results
from facewatchd.store.candidates import Question, Unwanted
from facewatchd.store.catalog_reader import CatalogReader
from facewatchd.store.flat import FlatIndex
from facewatchd.store.gallery import Gallery
from facewatchd.store.index import Searchable
from facewatchd.store.result_reader import ResultReader
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
    asking: Asking | None = None
    """The question to other machines; None where they were not asked."""

    def reader(self, own: CatalogReader) -> ResultReader:
        """What reads the photos that were found. ``own``: the catalog's."""
        asking = self.asking
        return own if asking is None else ReaderOfBoth(own, lambda: asking.others(own))

    @property
    def used(self) -> list[Used]:
        """The faces that the person is asked for with."""
        return self.who.used

    @property
    def wanted(self) -> list[Wanted]:
        """Each way of asking."""
        return self.who.wanted


@dataclass(frozen=True, slots=True)
class Named:
    """The people whom a query names, as `Answer` has them."""

    person: Asked
    others: list[Asked]
    unwanted: list[Asked]
    paths: frozenset[bytes]
    """The photos of the person, by name."""

    @property
    def everyone(self) -> list[Asked]:
        """All of them."""
        return [self.person, *self.others, *self.unwanted]

    def each(self, other: Callable[[Asked], Asked]) -> Named:
        """The same with another in the place of each."""
        person, others, unwanted = other(self.person), list(map(other, self.others)), list(map(other, self.unwanted))
        return replace(self, person=person, others=others, unwanted=unwanted)


class Searcher:
    """Any thread may ask."""

    def __init__(self, gallery: Gallery, finder: FaceFinder, scorer: Scorer, info: ModelInfo) -> None:
        self._gallery = gallery
        self._reader = WhoReader(gallery, finder, scorer, info)
        self._scorer = scorer

    def named(self, asked: QueryParameters, search: Search) -> Named:
        """Return the people whom a query names. Raises what `WhoReader.read` does."""
        person, others, unwanted = self._reader.read(asked, search.quality)
        paths = (each.path for each in who.named(asked))
        return Named(person, others, unwanted, frozenset(path for path in paths if path is not None))

    def search(
        self,
        asked: QueryParameters,
        search: Search,
        ask: Callable[[Sequence[Asked], Search], Asking] | None = None,
    ) -> Answer:
        """Return the photos that match. ``search``: the limits, with what the query does not say filled in.

        ``ask``: asks other machines for the people. Raises what `WhoReader.read` does.
        """
        named = self.named(asked, search)
        search = replace(search, own_paths=named.paths)
        asking: Asking | None = None
        with self._gallery.catalog.reading() as reader:
            if ask is None:
                found = results.found(reader, self._question(reader, named, search), search)
            else:
                asking = ask(named.everyone, search)
                found = self._found_everywhere(reader, named, search, asking)
        return Answer(named.person, named.others, named.unwanted, self._with_names(found, named), search, asking)

    def _found_everywhere(self, own: CatalogReader, named: Named, search: Search, asking: Asking) -> Found:
        others = partial(asking.others, own)
        named = named.each(lambda asked: _with_own(asked, others))
        reader, index = ReaderOfBoth(own, others), IndexOfBoth(self._gallery.index, others)
        return results.found(reader, self._question(reader, named, search, index), search)

    def among(self, named: Named, search: Search, shown: Mapping[int, Collection[bytes]]) -> Found:
        """Return which of some contents match, as if they were ``shown`` by these paths.

        The embeddings of their faces are compared all at once, without the index.
        """
        search = replace(search, own_paths=named.paths)
        with self._gallery.catalog.reading() as reader:
            faces = frozenset(reader.faces_on(list(shown)))
            index = FlatIndex(self._gallery.catalog.dim)
            index.add(*reader.embeddings_of(faces))

            def limited(asked: Asked) -> Asked:
                return replace(asked, wanted=[_limited(each, faces, frozenset(shown)) for each in asked.wanted])

            question = self._question(reader := reader.showing(shown), named.each(limited), search, index)
            return self._with_names(results.found(reader, question, search), named)

    def _with_names(self, found: Found, named: Named) -> Found:
        names = _Names(self._scorer.people().known, (named.person, *named.others))
        return replace(found, matches=[names.put_on(match) for match in found.matches])

    def _question(
        self, reader: ResultReader, named: Named, search: Search, index: Searchable | None = None
    ) -> Question:
        def scored(asked: Asked, search: Search) -> Sequence[Scored]:
            return [self._scorer.scored(reader, wanted, search, index) for wanted in asked.wanted]

        terms = [named.person, *named.others]

        def unwanted(asked: Asked) -> Unwanted:
            cleared = frozenset.intersection(*(wanted.rejected for wanted in asked.wanted))
            told_from = (number for number, each in enumerate(terms) if not each.matches(asked, search.threshold))
            # Someone who is not to be on the photo is not to be there as a small face either.
            return Unwanted(scored(asked, replace(search, min_size=0)), cleared, frozenset(told_from))

        return Question([scored(each, search) for each in terms], [unwanted(each) for each in named.unwanted])


def _with_own(asked: Asked, others: Callable[[], Others]) -> Asked:
    """A person of a question, whose photos may be photos of other machines too."""
    digests = {used.digest for used in asked.used if used.content is None and used.digest}
    if not digests:
        return asked
    own = others().with_digests(digests)
    return replace(asked, wanted=[replace(each, own=each.own | own) for each in asked.wanted])


def _limited(wanted: Wanted, faces: frozenset[int], contents: frozenset[int]) -> Wanted:
    """What is wanted, as far as it is on some contents with these faces."""
    return replace(wanted, confirmed=wanted.confirmed & faces, photos=wanted.photos & contents)


class _Names:
    """The names of the people on a match."""

    def __init__(self, known: KnownFaces, asked: Sequence[Asked]) -> None:
        self._person_of = known.person_of
        self._names = {person.id: person.name for person in known.people.people}
        self._hidden = {person.id for person in known.people.people if person.hidden}
        self._asked = [[way.person for way in each.wanted] for each in asked]

    def put_on(self, match: Match) -> Match:
        terms = [term._replace(person=self._of(place, term)) for place, term in enumerate(match.terms)]
        person = terms[0].person if terms else self._of(0, match)
        return match._replace(person=person, terms=tuple(terms)) if person or terms else match

    def _of(self, place: int, found: Match | Term) -> str:
        """Of the person who is asked for, else of the one, if not hidden, whose face the user said that it is."""
        ways = self._asked[place]
        way = found.of if found.of is not None else 0 if len(ways) == 1 else None
        person = None if way is None else ways[way]
        if person is None and found.face_id is not None:
            person = self._person_of.get(found.face_id)
            person = None if person in self._hidden else person
        return "" if person is None else self._names.get(person, "")
