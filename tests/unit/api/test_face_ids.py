"""Queries by face id: how many one query may name, and how they are read."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest

from facewatchd.api.faces import FaceFinder
from facewatchd.api.parameters import MOST, MOST_BYTES, MOST_NUMBERS, QueryParameters
from facewatchd.api.scoring import Scorer
from facewatchd.api.search import Searcher
from facewatchd.errors import UnknownFaceError
from facewatchd.inference.pool import Inference
from facewatchd.server.jsonrpc import ParamsError
from facewatchd.server.params import read
from facewatchd.store import results
from facewatchd.store.catalog_reader import CatalogReader
from facewatchd.store.gallery import Gallery
from facewatchd.store.results import Found
from facewatchd.store.scoring import Search
from facewatchd.threads.bounded_calls import DiskCalls
from facewatchd.values import ModelInfo
from tests.support.galleries import DIM, nearest, photo, unit
from tests.support.known_people import scorer

INFO = ModelInfo("test-00000000", "test", DIM, 0.5)


@pytest.fixture
def searcher(gallery: Gallery) -> Searcher:
    rows = unit(np.random.default_rng(3).normal(size=(MOST + 1, DIM)))
    gallery.record([photo(b"/%d" % n, b"%d" % n, [row]) for n, row in enumerate(rows)])
    return Searcher(
        gallery, FaceFinder(gallery.catalog, cast(Inference, None), DiskCalls()), scorer(gallery, INFO), INFO
    )


def asked(**params: object) -> QueryParameters:
    return read(QueryParameters, params)


@pytest.mark.parametrize(
    ("params", "most"),
    [
        ({"faces": [1] * 100_000}, MOST),
        ({"faces": ["no id"] * (MOST + 1)}, MOST),
        ({"photos": [{"path": "/a"}] * (MOST + 1)}, MOST),
        ({"embedding": [0.5] * (MOST_NUMBERS + 1)}, MOST_NUMBERS),
    ],
)
def test_more_than_a_query_may_name_is_refused_before_any_of_it_is_read(
    params: dict[str, list[object]], most: int
) -> None:
    ((name, values),) = params.items()
    with pytest.raises(ParamsError, match=rf"^{name} must be a list of at most {most}, not of {len(values)}$"):
        asked(**params)


def test_directories_are_bounded_in_number_and_length() -> None:
    photo = [{"path": "/a"}]
    assert len(asked(photos=photo, dirs=["/a"] * MOST).dirs) == MOST
    with pytest.raises(ParamsError, match=rf"^dirs must be a list of at most {MOST}, not of {MOST + 1}$"):
        asked(photos=photo, dirs=["/a"] * (MOST + 1))
    with pytest.raises(ParamsError, match=rf"^dirs must be paths of at most {MOST_BYTES} bytes together"):
        asked(photos=photo, dirs=["/" + "a" * 2000] * MOST)
    with pytest.raises(ParamsError, match="a path of at most 65536 bytes"):
        asked(photos=[{"path": "/" + "a" * 70_000}])


def test_as_many_directories_as_it_may_name_are_looked_through(gallery: Gallery, searcher: Searcher) -> None:
    names = tuple(b"/%d" % n for n in range(1, MOST + 1))
    row = unit(np.random.default_rng(3).normal(size=(MOST + 1, DIM)))[7]
    (match,) = nearest(gallery, row[np.newaxis], Search(0.99, directories=names)).matches
    assert match.path == b"/7"
    assert nearest(gallery, row[np.newaxis], Search(0.99, directories=names[7:])).matches == []


def test_as_many_as_it_may_name_are_read_in_few_statements(searcher: Searcher, monkeypatch: pytest.MonkeyPatch) -> None:
    statements = []

    def counted(reader: CatalogReader, sql: str, *values: object, run: object = CatalogReader._all) -> object:
        statements.append(sql)
        return run(reader, sql, *values)  # type: ignore[operator]

    monkeypatch.setattr(CatalogReader, "_all", counted)
    ids = list(range(MOST, 0, -1))
    monkeypatch.setattr(Scorer, "scored", lambda *_: None)
    monkeypatch.setattr(results, "found", lambda *_: Found([], 0, exact=True))
    answer = searcher.search(asked(faces=ids, face="all"), Search(0.99))
    assert [used.face_id for used in answer.used] == ids
    assert len(statements) <= 4, "two batches of faces, and of their contents"


def test_an_id_that_is_named_twice_counts_twice_and_an_unknown_one_is_named(gallery: Gallery) -> None:
    rows = unit(np.eye(3, DIM, dtype=np.float32) + 1.0)  # three faces of one person
    gallery.record([photo(b"/%d" % n, b"%d" % n, [row]) for n, row in enumerate(rows)])
    searcher = Searcher(
        gallery, FaceFinder(gallery.catalog, cast(Inference, None), DiskCalls()), scorer(gallery, INFO), INFO
    )

    def similarity(*ids: int) -> float:
        """Of the mean of these faces to the face on the first photo."""
        found = searcher.search(asked(faces=list(ids)), Search(0.5, directories=(b"/0",))).found
        return found.matches[0].similarity

    first, second = (nearest(gallery, row[np.newaxis], Search(0.999)).matches[0].face_id for row in rows[:2])
    assert len(searcher.search(asked(faces=[first, first, second]), Search(0.5)).used) == 3
    assert similarity(first) > similarity(first, first, second) > similarity(first, second)
    with pytest.raises(UnknownFaceError, match="no face 5000"):
        searcher.search(asked(faces=[first, 5000, 6000]), Search(0.5))
