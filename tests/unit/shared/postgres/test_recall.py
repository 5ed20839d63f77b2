"""The index finds nearly all faces above the threshold, and the engine's defaults, by the same measure, do not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from facewatchd.shared.postgres import asking, schema
from facewatchd.shared.postgres.engine import PostgresEngine
from tests.benchmarks import gallery
from tests.support.engine_server import Database, Server
from tests.support.recall import Recall, measured, push_all
from tests.support.recall import asking as asking_of
from tests.support.shared_faces import USE_THE_INDEX, connected

EVERY, WORST = 0.995, 0.98
"""Least recall over all questions, and for the worst person."""
DEFAULTS = "SET hnsw.ef_search = 40; SET hnsw.iterative_scan = off"


def of_index(engine: PostgresEngine, people: gallery.People, questions: int) -> Recall:
    engine.nearest(people.vectors[:1], [0.9], 1)  # it sees the index
    engine._connection.db.execute(USE_THE_INDEX)
    assert not engine.nearest(people.vectors[:1], [0.9], 1).exact
    return measured(people, questions, asking_of(engine))


def test_the_index_finds_what_an_exact_scan_finds_and_the_defaults_do_not(
    engine: Database, monkeypatch: pytest.MonkeyPatch, amount: Callable[[int, int], int]
) -> None:
    monkeypatch.setattr(schema, "INDEX_FROM", 1000)
    people = gallery.make(amount(4000, 20_000))
    with connected(engine, "nas", dim=gallery.DIM) as nas:
        push_all(nas, people)
        assert nas.maintain()
        ours = of_index(nas, people, 100)
        db = nas._connection.db
        db.execute(schema.DROP_INDEX)
        db.execute(schema.CREATE_INDEX.partition(" WITH ")[0].replace("CONCURRENTLY ", ""))
        db.execute(DEFAULTS)
        monkeypatch.setattr(asking, "_is_complete", lambda *_: True)  # what the server gives by itself
        defaults = of_index(nas, people, 100)
    assert ours.strangers == 0
    assert ours.every >= EVERY, ours
    assert ours.worst >= WORST, ours
    assert defaults.every < EVERY, defaults
    assert defaults.worst < WORST, defaults


@pytest.mark.full
def test_the_same_of_a_hundred_thousand(own_server: Callable[..., Server]) -> None:
    people = gallery.make(100_000)
    database = own_server(shared_buffers="512MB").new_database()
    with connected(database, "nas", dim=gallery.DIM) as nas:
        push_all(nas, people)
        assert nas.maintain()
        ours = of_index(nas, people, 200)
    assert ours.every >= EVERY, ours
    assert ours.worst >= WORST, ours
