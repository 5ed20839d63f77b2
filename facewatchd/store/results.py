"""Makes results of the photos that show everyone who is asked for: one for each photo, the most alike first.

The stages, each of which leaves photos out or puts them together:

1. Contents on which each person has a face of its own (`candidates`); of those, the ones without the unwanted people,
   below the directories, not shown before, with as many faces as are asked for, and taken in the time that is asked for
   (`dates`).
2. They are put in order: by similarity, by date or by path. By similarity, the photos of the query itself are first,
   then those of which the user said who is on them, then the most alike; of the first two, those on which a person
   stands without a face come last.
3. Bursts are folded, unless the search does not ``collapse``: the sharpest frame stands for the others, one of this
   machine before any of another (`folding`).
4. Contents become results. Photos with the same bytes are one content and one result, unless the search does not
   ``collapse``: one path stands for it, the others are its ``copies``. That path is one of the query itself, else the
   shortest, else the first by name: copies tend to lie deeper, or to have longer names. Those of other machines come
   after those of this one.
5. ``skip`` and ``top`` cut them, ``total`` counts all of them. Paths and boxes are read only for the results that are
   left.

Where several people are searched for of which any will do, the best faces of the others are kept beside the one that a
result is of (`Match.also`).

With unwanted people, a photo may have a face that is too poor to tell whose it is (`candidates.undecided`). It is a
result all the same, and is counted and named, unless the search is ``strict``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from facewatchd.matches import Also, Match, Place, Term
from facewatchd.store.candidates import NO_ROW, Candidates, Question, Rows, combined, counted, undecided, without
from facewatchd.store.catalog_rows import Seen
from facewatchd.store.dates import Dates, dates_of
from facewatchd.store.folding import folded
from facewatchd.store.result_reader import ResultReader
from facewatchd.store.scoring import Search, Sort

NAMED = 10
"""Undecided photos whose paths are said."""


@dataclass(frozen=True, slots=True)
class Undecided:
    """Results with faces that are too poor to tell whether an unwanted person is on them."""

    count: int
    paths: tuple[bytes, ...]
    """Of the first `NAMED`, in the order of the results."""


@dataclass(frozen=True, slots=True)
class Found:
    """The first ``top`` results, the number of all, and whether every face was compared."""

    matches: list[Match]
    total: int
    exact: bool
    undecided: Undecided | None = None
    """None where nobody is unwanted. With ``strict``, they are not among the results."""
    contents: tuple[int, ...] = ()
    """Of each result."""
    digests: tuple[bytes, ...] = ()
    """Of all contents that the results stand for, where the search leaves out what was ``seen``."""
    every: tuple[bytes, ...] = ()
    """The same of all ``total`` results, where the search ``tells_all``; of a content with several, so many times."""
    years: tuple[tuple[int, int, int], ...] = ()
    """Where the search ``tells_years``: each year in which one of all results was taken, how many were, and of how many
    of these only the file has that date."""
    undated: int = 0
    """Where the search is about dates: contents that match but for the date, which is still to be read from their
    bytes. What their names and files say stands for it meanwhile."""


def found(reader: ResultReader, question: Question, search: Search) -> Found:
    """Make results of the faces that match the people of a question."""
    candidates = without(combined(question.terms), question.without)
    photos = reader.count_copies(candidates.contents.tolist(), search.directories)
    candidates = candidates.where(np.isin(candidates.contents, np.fromiter(photos, np.int64)))
    candidates = _unseen(reader, candidates, search)
    candidates = counted(reader, candidates, search)
    dates = dates_of(reader, candidates.contents)
    undated = int(reader.are_undated(candidates.contents).sum()) if search.is_about_dates else 0
    candidates = _ranked(candidates.where(dates.within(search.since, search.until)), dates, search)
    doubtful = candidates.where(undecided(reader, candidates, question.without, search))
    if search.strict:
        candidates = candidates.where(~np.isin(candidates.contents, doubtful.contents))
        doubtful, _ = _folded(reader, doubtful, dates, search)
    candidates, similar = _folded(reader, candidates, dates, search)
    if not search.strict:
        doubtful = candidates.where(np.isin(candidates.contents, doubtful.contents))
    said = _undecided(reader, doubtful, photos, search) if question.without else None
    total = _total(candidates, photos, search)
    every = _every(reader, candidates, similar, photos, search) if search.tells_all else ()
    shown, results = _shown(reader, candidates, search)
    matches = _matches(reader, shown, several=len(question.terms[0]) > 1)
    taken = [(each.text, each.source.told) for each in dates.on(shown.contents).taken()]
    others, sizes = _similar(reader, shown, similar, search), _sizes(reader, shown, results)
    contents = shown.contents.tolist()
    stood_for = [*contents, *(frame for content in contents for frame in similar.get(content, ()))]
    exact = all(way.exact for way in chain(*question.terms, *(person.ways for person in question.without)))
    return Found(
        [
            _shown_at(matches[number], path, copies, others[number])._replace(
                taken=taken[number][0], taken_from=taken[number][1], size=size
            )
            for (number, path, copies), size in zip(results, sizes, strict=True)
        ],
        total,
        exact,
        said,
        tuple(contents[number] for number, *_ in results),
        tuple(reader.digests(stood_for).values()) if search.seen else (),
        every,
        _years(candidates, dates, photos, search) if search.tells_years else (),
        undated,
    )


def _unseen(reader: ResultReader, candidates: Candidates, search: Search) -> Candidates:
    """Leave out the contents that were shown before."""
    if search.seen is None:
        return candidates
    digests = reader.digests(candidates.contents.tolist())
    seen = search.seen(list(digests.values()))
    new = [content for content, digest in digests.items() if digest not in seen]
    return candidates.where(np.isin(candidates.contents, np.array(new, np.int64)))


def _ranked(candidates: Candidates, dates: Dates, search: Search) -> Candidates:
    """The same in the order of results; by path only where that is wanted, and then in any order here."""
    first = candidates.faces[:, 0]
    if search.sort.is_by_date:
        at = dates.on(candidates.contents).at
        return candidates.where(np.lexsort((first, at if search.sort is Sort.DATE else -at)))
    least, is_confirmed = candidates.least, candidates.confirmed.all(axis=1)
    similarity = np.where(np.isnan(least), -np.inf, least)
    return candidates.where(np.lexsort((first, -similarity, ~is_confirmed, ~candidates.own)))


def _total(candidates: Candidates, photos: Mapping[int, int], search: Search) -> int:
    """The number of results. ``photos``: how many each content has."""
    if search.collapse:
        return len(candidates.contents)
    return sum(photos[content] for content in candidates.contents.tolist())


def _years(
    candidates: Candidates, dates: Dates, photos: Mapping[int, int], search: Search
) -> tuple[tuple[int, int, int], ...]:
    contents = candidates.contents
    taken = dates.on(contents)
    at = taken.at.astype("datetime64[s]").astype("datetime64[Y]").astype(np.int64) + 1970
    counts = np.array([1 if search.collapse else photos[content] for content in contents.tolist()], np.int64)
    years, which = np.unique(at, return_inverse=True)
    totals, of_files = (
        np.bincount(which, each, len(years)).astype(np.int64) for each in (counts, counts * taken.are_of_files())
    )
    return tuple(zip(years.tolist(), totals.tolist(), of_files.tolist(), strict=True))


def _every(
    reader: ResultReader,
    candidates: Candidates,
    similar: Mapping[int, Sequence[int]],
    photos: Mapping[int, int],
    search: Search,
) -> tuple[bytes, ...]:
    contents = candidates.contents.tolist()
    digests = reader.digests([*contents, *chain.from_iterable(similar.get(content, ()) for content in contents)])
    return tuple(
        chain.from_iterable(
            [digest] * (1 if search.collapse else photos[content]) for content, digest in digests.items()
        )
    )


def _folded(
    reader: ResultReader, candidates: Candidates, dates: Dates, search: Search
) -> tuple[Candidates, dict[int, list[int]]]:
    """What `folded` returns, where bursts are to be folded."""
    if not (search.collapse and search.folds):
        return candidates, {}
    return folded(reader, candidates, dates.on(candidates.contents).of_a_camera(), search)


def _undecided(reader: ResultReader, doubtful: Candidates, photos: Mapping[int, int], search: Search) -> Undecided:
    _, results = _shown(reader, doubtful, replace(search, skip=0, top=NAMED))
    return Undecided(_total(doubtful, photos, search), tuple(path for _, path, _ in results))


_Result = tuple[int, bytes, tuple[bytes, ...]]
"""The number of its candidate, its path, and the paths of its copies."""


def _shown(reader: ResultReader, candidates: Candidates, search: Search) -> tuple[Candidates, list[_Result]]:
    """The ``top`` results after the first ``skip``, and the candidates that they are of.

    Where they are to be noted as seen, by content, no copy of one of them is cut off: it would never be shown.
    """
    skip, end = search.skip, search.skip + search.top if search.top else None
    if search.sort is not Sort.PATH:
        if search.collapse:  # a result each
            candidates, skip, end = candidates.where(slice(skip, end)), 0, search.top or None
        else:
            candidates = candidates.where(slice(end))
    results = [
        (number, path, copies)
        for number, each in enumerate(_paths(reader, candidates, search))
        for path, copies in each
    ]
    if search.sort is Sort.PATH:
        results.sort(key=lambda result: Place.named(result[1])[::-1])
    shown = results[skip:end]
    chosen = sorted({number for number, *_ in shown})
    results = shown if search.seen is None else [each for each in results if each[0] in set(chosen)]
    at = {number: place for place, number in enumerate(chosen)}
    renumbered = [(at[number], path, copies) for number, path, copies in results]
    return candidates.where(np.array(chosen, np.int64)), renumbered


def _similar(
    reader: ResultReader, shown: Candidates, similar: Mapping[int, Sequence[int]], search: Search
) -> list[tuple[bytes, ...]]:
    """For each content, a path of each other frame of its burst."""
    frames = [similar.get(content, ()) for content in shown.contents.tolist()]
    paths = reader.copies([content for each in frames for content in each], search.directories)
    return [tuple(_first(paths[content], search)[0] for content in each) for each in frames]


def _sizes(reader: ResultReader, shown: Candidates, results: Iterable[_Result]) -> list[tuple[int, int]]:
    """For each result width and height of a photo of another machine; zeros for one of this machine, which is there
    to be looked at."""
    names = [(number, path) for number, path, _ in results]
    there = sorted({number for number, path in names if not path.startswith(b"/")})
    sizes = np.zeros((len(shown.contents), 2), np.int64)
    if there:
        sizes[there] = reader.pictures(shown.contents[there])[0]
    return [(0, 0) if path.startswith(b"/") else (int(sizes[at, 0]), int(sizes[at, 1])) for at, path in names]


def _paths(reader: ResultReader, shown: Candidates, search: Search) -> list[list[tuple[bytes, tuple[bytes, ...]]]]:
    """For each content the paths of its results, each with its copies."""
    contents = shown.contents.tolist()
    paths = reader.copies(contents, search.directories)
    found: list[list[tuple[bytes, tuple[bytes, ...]]]] = []
    for content in contents:
        names = _first(paths[content], search)
        found.append([(names[0], tuple(sorted(names[1:])))] if search.collapse else [(name, ()) for name in names])
    return found


def _first(paths: Sequence[bytes], search: Search) -> list[bytes]:
    """The paths of a content, first the one that stands for the others."""
    return in_order(paths, search.own_paths)


def in_order(paths: Iterable[bytes], own: Collection[bytes] = ()) -> list[bytes]:
    """The paths of one content, first the one that stands for the others: one of the query's ``own``, else the
    shortest of this machine."""
    return sorted(paths, key=lambda path: (path not in own, not path.startswith(b"/"), len(path), path))


def _shown_at(match: Match, path: bytes, copies: Sequence[bytes], similar: Sequence[bytes]) -> Match:
    """Fill in where a result is, and its copies and the frames of its burst."""
    place = Place.named(path)
    copies, elsewhere = _apart(copies)
    similar, similar_elsewhere = _apart(similar)
    return match._replace(
        path=place.path,
        host=place.host,
        copies=copies,
        elsewhere=elsewhere,
        similar=similar,
        similar_elsewhere=similar_elsewhere,
    )


def _apart(paths: Sequence[bytes]) -> tuple[tuple[bytes, ...], tuple[Place, ...]]:
    """The photos of this machine, and those of others."""
    places = [Place.named(path) for path in paths]
    return tuple(each.path for each in places if not each.host), tuple(each for each in places if each.host)


def _matches(reader: ResultReader, shown: Candidates, *, several: bool) -> list[Match]:
    """A result for each content, without its path and its date."""
    first = shown.terms[0]
    others = _others(shown) if several else [[] for _ in shown.contents]
    also = [int(first.faces[row]) for rows in others for row in rows]
    boxes = reader.boxes(sorted({*shown.faces.ravel().tolist(), *also} - {0}))
    matches: list[Match] = []
    for rows, confirmed, own, least, besides in zip(
        shown.rows.tolist(),
        shown.confirmed.tolist(),
        shown.own.tolist(),
        shown.least.tolist(),
        others,
        strict=True,
    ):
        terms = [_term(*each, boxes) for each in zip(shown.terms, rows, confirmed, strict=True)]
        match = _match(terms, least)
        matches.append(
            match._replace(of=_way(first, rows[0]), itself=own, also=tuple(_also(first, row, boxes) for row in besides))
        )
    return matches


def _match(terms: Sequence[Term], least: float) -> Match:
    """The result of which its path and its date are still to be filled in. ``least``: NaN where no term has a face."""
    first = terms[0]
    return Match(
        b"",
        None if np.isnan(least) else least,
        first.box,
        first.score,
        first.face_id,
        first.of,
        norm=first.norm,
        confirmed=all(term.confirmed for term in terms),
        terms=tuple(terms) if len(terms) > 1 else (),
    )


def _way(rows: Rows, row: int) -> int | None:
    return None if row == NO_ROW else int(rows.ways[row])


def _term(rows: Rows, row: int, confirmed: bool, boxes: Mapping[int, Seen]) -> Term:
    if row == NO_ROW:
        return Term(None, None, None, None, of=None, confirmed=confirmed)
    face_id, similarity = int(rows.faces[row]), float(rows.similarities[row])
    box, score, norm = boxes[face_id]
    return Term(
        None if np.isnan(similarity) else similarity,
        box,
        score,
        face_id,
        int(rows.ways[row]),
        norm,
        confirmed=confirmed,
    )


def _also(rows: Rows, row: int, boxes: Mapping[int, Seen]) -> Also:
    face_id = int(rows.faces[row])
    box, score, norm = boxes[face_id]
    return Also(int(rows.ways[row]), float(rows.similarities[row]), box, score, face_id, norm)


def _others(shown: Candidates) -> list[list[int]]:
    """For each content, the rows of the best faces of the other ways of asking than the one that it is a result of."""
    first, own = shown.terms[0], shown.rows[:, 0].tolist()
    at = {content: number for number, content in enumerate(shown.contents.tolist())}
    best = np.unique(np.stack([first.contents, first.ways]), axis=1, return_index=True)[1]
    others: list[list[int]] = [[] for _ in own]
    for row in np.sort(best).tolist():
        number = at.get(int(first.contents[row]))
        if number is not None and _way(first, row) != _way(first, own[number]):
            others[number].append(row)
    return others
