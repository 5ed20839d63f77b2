"""Makes results of the faces that match (`scoring`): one for each photo, the most alike first.

- A photo is one result, with its most similar face, however many of its faces are above the threshold. Where several
  people are searched for, the best faces of the others are kept beside it (`Match.also`).
- Photos with the same bytes are one content and one result, unless the search does not ``collapse``: one path stands
  for it, the others are its ``copies``. That path is one of the query itself, else the shortest, else the first by
  name: copies tend to lie deeper, or to have longer names.
- The photos of the query itself come first.
- ``top`` cuts the results, ``total`` counts all of them. Paths and boxes are read only for the results that are left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facewatchd.matches import Also, Match
from facewatchd.store.catalog_reader import CatalogReader
from facewatchd.store.scoring import Scored, Search


@dataclass(frozen=True, slots=True)
class Found:
    """The first ``top`` results, the number of all, and whether every face was compared."""

    matches: list[Match]
    total: int
    exact: bool


@dataclass(frozen=True, slots=True)
class _Rows:
    """Faces above the threshold, the most alike first, each with its content and the position of the person."""

    ids: NDArray[np.int64]
    similarities: NDArray[np.float32]
    contents: NDArray[np.int64]
    own: NDArray[np.bool_]
    people: NDArray[np.int64]


def found(reader: CatalogReader, people: Sequence[Scored], search: Search) -> Found:
    """Make results of the faces that match each of the people."""
    rows = _ranked(people)
    best = np.sort(np.unique(rows.contents, return_index=True)[1])
    photos = reader.count_copies(rows.contents[best].tolist(), search.directories)
    own = frozenset(rows.contents[rows.own].tolist())
    shown = [row for row in best.tolist() if int(rows.contents[row]) in photos]
    shown.sort(key=lambda row: int(rows.contents[row]) not in own)  # stable: else as they were
    total = len(shown) if search.collapse else sum(photos.values())
    if search.top:
        shown = shown[: search.top]
    matches = _matches(reader, rows, shown, search, several=len(people) > 1)
    return Found(matches[: search.top] if search.top else matches, total, all(part.exact for part in people))


def _ranked(people: Sequence[Scored]) -> _Rows:
    ids = np.concatenate([part.ids for part in people])
    similarities = np.concatenate([part.similarities for part in people])
    contents = np.concatenate([part.contents for part in people])
    own = np.concatenate([part.own for part in people])
    confirmed = np.concatenate([part.confirmed for part in people])
    numbers = np.repeat(np.arange(len(people)), [len(part.ids) for part in people])
    order = np.lexsort((ids, -similarities, ~confirmed))
    return _Rows(ids[order], similarities[order], contents[order], own[order], numbers[order])


def _matches(reader: CatalogReader, rows: _Rows, shown: Sequence[int], search: Search, *, several: bool) -> list[Match]:
    contents = [int(rows.contents[row]) for row in shown]
    paths = reader.copies(contents, search.directories)
    others = _others(rows, shown) if several else {}
    faces = reader.boxes([int(rows.ids[row]) for row in [*shown, *(row for part in others.values() for row in part)]])

    def also(row: int) -> Also:
        face_id = int(rows.ids[row])
        box, score, norm = faces[face_id]
        return Also(int(rows.people[row]), float(rows.similarities[row]), box, score, face_id, norm)

    matches: list[Match] = []
    for row, content in zip(shown, contents, strict=True):
        best = also(row)
        besides = tuple(also(other) for other in others.get(row, ()))
        names = sorted(paths[content], key=lambda path: (path not in search.own_paths, len(path), path))
        groups = [(names[0], tuple(sorted(names[1:])))] if search.collapse else [(name, ()) for name in names]
        for path, copies in groups:
            matches.append(
                Match(
                    path,
                    best.similarity,
                    best.box,
                    best.score,
                    best.face_id,
                    best.of,
                    bool(rows.own[row]),
                    copies,
                    besides,
                    best.norm,
                )
            )
    return matches


def _others(rows: _Rows, shown: Sequence[int]) -> dict[int, list[int]]:
    """For each row of a result, the rows of the best faces of the other people on the same content."""
    row_of = {int(rows.contents[row]): row for row in shown}
    pairs = np.stack([rows.contents, rows.people])
    best = np.sort(np.unique(pairs, axis=1, return_index=True)[1]).tolist()
    others: dict[int, list[int]] = {}
    for row in best:
        first = row_of.get(int(rows.contents[row]), row)
        if first != row:
            others.setdefault(first, []).append(row)
    return others
