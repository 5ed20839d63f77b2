"""The index is made once, while others go on; and what it finds stays right whatever is deleted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import psycopg
import pytest

from facewatchd.shared.postgres import indexing, schema
from facewatchd.shared.postgres.engine import PostgresEngine
from facewatchd.shared.values import Detail, Whose
from tests.support.engine_server import Database
from tests.support.galleries import DIM, unit
from tests.support.processes import until
from tests.support.shared_faces import MODEL, USE_THE_INDEX, connected, content, faces_in, gone, token

SCHEMA = schema.schema_of(MODEL)
RNG = np.random.default_rng(1)
ROWS = unit(RNG.normal(size=(20, 1, DIM)) + 0.4 * RNG.normal(size=(20, 40, DIM))).reshape(-1, DIM)
"""Twenty people with forty faces."""


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "INDEX_FROM", 300)


@pytest.fixture
def nas(engine: Database) -> Iterator[PostgresEngine]:
    with connected(engine, "nas", dim=DIM) as connection:
        yield connection


def fill(engine: PostgresEngine, first: int = 0, last: int = len(ROWS)) -> None:
    engine.push([content(n, ROWS[n : n + 1]) for n in range(first, last)], token(), 0, 0)


def is_indexed(engine: Database) -> bool:
    with engine.connect() as db:
        sql = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)"
        return db.execute(sql, (f"{SCHEMA}.face_near",)).fetchall() == [(True,)]


def recall(asker: PostgresEngine, alive: np.ndarray) -> float:  # type: ignore[type-arg]
    """Of all faces above 0.6, with one question for every other person."""
    hits = wanted = 0
    asker.nearest(ROWS[:1], [0.9], 1)  # it sees the index
    asker._connection.db.execute(USE_THE_INDEX)
    for row in ROWS[::80]:
        near = asker.nearest(row[None], [0.6], len(ROWS), Whose.ALL, Detail.HITS)
        assert not near.exact
        truth = set((1000 * alive[ROWS[alive] @ row >= 0.6]).tolist())
        found = set(near.hits[0].face_ids.tolist())
        assert found <= set((1000 * alive[ROWS[alive] @ row >= 0.598]).tolist()), "nothing that is gone"
        hits += len(found & truth)
        wanted += len(truth)
    return hits / wanted


def test_few_faces_have_no_index(engine: Database, nas: PostgresEngine) -> None:
    fill(nas, 0, 299)
    assert not nas.maintain()
    fill(nas, 299, 300)
    assert nas.maintain()
    assert is_indexed(engine)
    assert not nas.maintain()


def test_it_is_made_once_while_machines_push_and_ask(engine: Database, nas: PostgresEngine) -> None:
    fill(nas, 0, 400)
    pushed = threading.Event()

    def other(number: int) -> int:
        with connected(engine, f"machine-{number}", dim=DIM) as one:
            for first in range(400 + 100 * number, 500 + 100 * number, 20):
                fill(one, first, first + 20)
                assert one.nearest(ROWS[:1], [0.99], 9, Whose.ALL).contents
            pushed.set()
            return one.maintain()

    with ThreadPoolExecutor(5) as pool, connected(engine, dim=DIM) as maker:
        others = [pool.submit(other, number) for number in range(4)]
        made = [maker.maintain(), *(each.result() for each in others)]
    assert made.count(True) == 1
    assert is_indexed(engine)
    assert faces_in(nas) == len(ROWS)
    assert recall(nas, np.arange(len(ROWS))) >= 0.999


def test_one_that_was_left_half_way_is_made_again(engine: Database, nas: PostgresEngine) -> None:
    fill(nas)
    assert nas.maintain()
    with engine.administer() as db:
        db.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", (f"{SCHEMA}.face_near",))
    assert not is_indexed(engine)
    assert nas.nearest(ROWS[:1], [0.99], 9, Whose.OWN).exact
    assert nas.maintain()
    assert is_indexed(engine)


def test_a_build_is_ended_by_another_thread_and_made_by_the_next(engine: Database, nas: PostgresEngine) -> None:
    fill(nas)
    with (
        ThreadPoolExecutor(1) as pool,
        engine.connect() as other,
        connected(engine, dim=DIM) as maker,
        other.transaction(),  # which the build waits for
    ):
        other.execute(f"LOCK TABLE {SCHEMA}.face IN ROW EXCLUSIVE MODE")
        call = pool.submit(maker.maintain)
        until(lambda: is_waiting(engine))
        maker.close()
        assert call.exception(30) is not None
    until(lambda: nas.maintain() or is_indexed(engine))  # once the server notices that its client is gone
    assert is_indexed(engine)


def is_waiting(engine: Database) -> bool:
    with engine.administer() as db:
        sql = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%%' AND wait_event_type = 'Lock'"
        return bool(db.execute(sql).fetchall())


def test_mass_deletes_and_the_same_again(engine: Database, nas: PostgresEngine) -> None:
    fill(nas)
    assert nas.maintain()
    every = np.arange(len(ROWS))
    dropped = every[every % 3 > 0]
    nas.push([gone(n) for n in dropped.tolist()], token(), 0, 0)
    assert recall(nas, every[every % 3 == 0]) >= 0.995, "with dead rows in the index"
    with engine.connect() as db:
        db.execute(f"VACUUM {SCHEMA}.face")
    assert recall(nas, every[every % 3 == 0]) >= 0.995, "without them"
    fill(nas)
    assert recall(nas, every) >= 0.995
    nas.remove("nas")
    with connected(engine, "laptop", dim=DIM) as laptop:
        fill(laptop)
        assert recall(laptop, every) >= 0.995, "another machine's rows, where those of one that is gone still lie"


@pytest.mark.parametrize(("whose", "wanted"), [(Whose.OTHERS, slice(0, 5)), (Whose.OWN, slice(5, None))])
def test_a_question_about_few_faces_walks_past_no_more_than_one_about_all(
    engine: Database, nas: PostgresEngine, whose: Whose, wanted: slice
) -> None:
    fill(nas, 5)
    with connected(engine, "laptop", dim=DIM) as laptop:
        fill(laptop, 0, 5)
    assert nas.maintain()
    nas.nearest(ROWS[:1], [0.9], 1)  # it sees the index
    db = nas._connection.db
    db.execute(f"{USE_THE_INDEX}; SET hnsw.ef_search = 100")
    before = walked(engine)
    near = nas.nearest(ROWS[:1], [0.6], 100, whose, Detail.HITS)
    db.execute("SELECT pg_stat_force_next_flush()")
    assert not near.exact
    numbers = np.arange(len(ROWS))[wanted]
    assert set((1000 * numbers[ROWS[wanted] @ ROWS[0] >= 0.602]).tolist()) <= set(near.hits[0].face_ids.tolist())
    assert 0 < until(lambda: walked(engine) - before) <= 500


def walked(engine: Database) -> int:
    """Rows that scans of the index gave."""
    with engine.connect() as db:
        ((count,),) = db.execute("SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'face_near'")
        return int(count)


def test_thousands_of_equal_faces_hide_nothing(engine: Database, nas: PostgresEngine) -> None:
    """A logo on 2,000 photos: nodes that would link only to each other."""
    logo = ROWS[0]
    nas.push([content(10_000 + n, logo[None]) for n in range(1000)], token(), 0, 0)
    fill(nas)
    assert nas.maintain()
    nas.push([content(11_000 + n, logo[None]) for n in range(1000)], token(), 0, 0)
    nas.nearest(logo[None], [0.9], 1)  # it sees the index
    nas._connection.db.execute(USE_THE_INDEX)
    for row in (*ROWS[:40:10], *ROWS[40::200]):
        near = nas.nearest(row[None], [0.6], 5000, Whose.ALL, Detail.HITS)
        others = {1000 * n for n in np.flatnonzero(ROWS @ row >= 0.602)}
        assert others <= set(near.hits[0].face_ids.tolist())
        if logo @ row > 0.602:
            assert len(near.hits[0].face_ids) >= 2000 + len(others)


def test_little_shared_memory_makes_it_slower(nas: PostgresEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container: a build with other workers does not fit, and one without them does."""
    create = indexing._create
    workers: list[int] = []

    def create_where_it_fits(db: psycopg.Connection[Any]) -> None:
        ((number,),) = db.execute("SELECT current_setting('max_parallel_maintenance_workers')::int").fetchall()
        workers.append(number)
        if number:
            raise psycopg.errors.DiskFull("could not resize shared memory segment: No space left on device")
        create(db)

    monkeypatch.setattr(indexing, "_create", create_where_it_fits)
    fill(nas)
    assert nas.maintain()
    assert workers[1:] == [0]
