"""What is found, with an index and without one; and what others wrote that cannot be true is left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from facewatchd.shared import wire
from facewatchd.shared.postgres import asking, schema
from facewatchd.shared.postgres.engine import PostgresEngine
from facewatchd.shared.values import Detail, Near, Whose
from facewatchd.values import Look
from tests.support.engine_server import Database, Server
from tests.support.galleries import DIM, unit
from tests.support.shared_faces import MODEL, TAKEN, USE_THE_INDEX, connected, content, digest, gone, token

SCHEMA = schema.schema_of(MODEL)
COUNT = 300
RNG = np.random.default_rng(1)
CENTRE = unit(RNG.normal(size=DIM))
ROWS = unit(CENTRE + RNG.uniform(0.1, 2.5, size=(COUNT, 1)) * RNG.normal(size=(COUNT, DIM)) / np.sqrt(DIM))
"""Similarities to the centre from 0 to 1; none within 0.001 of the thresholds below: half precision decides nothing."""


@pytest.fixture(scope="module")
def machines(engine_server: Server) -> Iterator[PostgresEngine]:
    """A laptop that asks, and a nas with every third face on a content of its own; first without an index."""
    database = engine_server.new_database()
    try:
        with connected(database, "nas", dim=DIM) as nas, connected(database, "laptop", dim=DIM) as laptop:
            nas.push([content(n, ROWS[n : n + 1]) for n in range(COUNT) if n % 3 == 0], token(), 0, 0)
            laptop.push([content(n, ROWS[n : n + 1]) for n in range(COUNT) if n % 3], token(), 0, 0)
            yield laptop
    finally:
        database.drop()


@pytest.fixture(params=[False, True], ids=["exact", "index"])
def asked(
    request: pytest.FixtureRequest, machines: PostgresEngine, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PostgresEngine]:
    """The laptop, with an index or without one."""
    monkeypatch.setattr(schema, "INDEX_FROM", 10)
    db = machines._connection.db
    if request.param:
        machines.maintain()
        db.execute(USE_THE_INDEX)
    else:
        db.execute(schema.DROP_INDEX)
    machines.nearest(CENTRE[None], [0.9], 1)  # it sees whether there is one
    yield machines
    db.execute("RESET enable_seqscan; RESET enable_sort; RESET hnsw.iterative_scan; RESET hnsw.ef_search")


def numbers(near: Near, which: int = 0) -> list[int]:
    """The contents of the hits for an embedding, in their order."""
    known = {digest(n): n for n in range(COUNT)}
    return [known[near.contents[at].digest] for at in near.hits[which].contents.tolist()]


def expected(embedding: NDArray[np.float32], threshold: float, whose: Whose) -> list[int]:
    similarities = ROWS @ embedding
    kept = [n for n in np.argsort(-similarities).tolist() if similarities[n] >= threshold]
    return [n for n in kept if whose is Whose.ALL or (n % 3 == 0) is (whose is Whose.OTHERS)]


@pytest.mark.parametrize("whose", list(Whose))
@pytest.mark.parametrize("threshold", [-1.0, 0.54, 0.72, 0.96])
def test_all_from_a_threshold_on(asked: PostgresEngine, whose: Whose, threshold: float) -> None:
    near = asked.nearest(CENTRE[None], [threshold], COUNT, whose)
    assert set(numbers(near)) == set(expected(CENTRE, threshold, whose))
    hits = near.hits[0]
    assert np.allclose(hits.similarities, (ROWS @ CENTRE)[numbers(near)], atol=2e-3)
    assert (np.diff(hits.similarities) <= 0).all()
    assert not near.cut


def test_more_are_asked_for_until_the_last_is_below(asked: PostgresEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "FIRST_K", 8)
    assert set(numbers(asked.nearest(CENTRE[None], [0.54], COUNT))) == set(expected(CENTRE, 0.54, Whose.OTHERS))


def test_a_scan_that_ends_too_early_is_replaced(asked: PostgresEngine) -> None:
    """As where the graph does not lead everywhere: the scan ends after one tuple, and says nothing."""
    asked._connection.db.execute("SET hnsw.iterative_scan = off; SET hnsw.ef_search = 1")
    near = asked.nearest(CENTRE[None], [0.54], COUNT)
    assert set(numbers(near)) == set(expected(CENTRE, 0.54, Whose.OTHERS))
    assert near.exact


def test_every_face_is_compared_where_that_is_wanted(asked: PostgresEngine) -> None:
    asked._connection.db.execute("SET hnsw.iterative_scan = off; SET hnsw.ef_search = 1")
    near = asked.nearest(CENTRE[None], [0.72], COUNT, exact=True)
    assert set(numbers(near)) == set(expected(CENTRE, 0.72, Whose.OTHERS))
    assert near.exact


def test_of_the_faces_that_were_found_the_embeddings_come_where_they_are_wanted(engine: Database) -> None:
    with connected(engine, "nas", dim=DIM) as nas, connected(engine, dim=DIM) as asker:
        nas.push([content(1, ROWS[[0, 5]])], token(), 0, 0)
        (found,) = asker.nearest(ROWS[:1], [0.99], 9, detail=Detail.EMBEDDINGS).contents
        one, other = found.faces
        assert one.embedding is not None
        assert np.allclose(one.embedding, ROWS[0], atol=1e-3)
        assert other.embedding is None
        assert not asker.nearest(ROWS[:1], [2.0], 9, detail=Detail.EMBEDDINGS).contents
        (found,) = asker.nearest(ROWS[:1], [0.99], 9).contents
        assert [face.embedding for face in found.faces] == [None, None]


def test_no_more_than_are_wanted(asked: PostgresEngine) -> None:
    near = asked.nearest(CENTRE[None], [-1.0], 7)
    assert near.cut
    best = np.sort(ROWS[::3] @ CENTRE)[::-1]
    assert np.allclose(near.hits[0].similarities, best[:7], atol=1e-3)
    assert not asked.nearest(CENTRE[None], [float(best[6]) - 1e-3], 100).cut


def test_several_at_once_each_with_its_threshold(asked: PostgresEngine) -> None:
    embeddings = np.stack([ROWS[0], CENTRE, ROWS[5]])
    thresholds = [0.997, 0.54, -1.0]
    near = asked.nearest(embeddings, thresholds, COUNT)
    assert numbers(near) == [0]
    for which, (embedding, threshold) in enumerate(zip(embeddings, thresholds, strict=True)):
        assert set(numbers(near, which)) == set(expected(embedding, threshold, Whose.OTHERS))
    assert len({(each.machine, each.digest) for each in near.contents}) == len(near.contents), "each is told once"


def test_nothing_is_asked_and_nothing_is_there(asked: PostgresEngine) -> None:
    assert asked.nearest(np.empty((0, DIM), np.float32), [], 9).hits == ()
    near = asked.nearest(-CENTRE[None], [0.999], 9)
    assert (near.contents, len(near.hits[0].similarities)) == ((), 0)
    assert {each.name for each in near.machines} == {"nas", "laptop"}


def test_the_detail(asked: PostgresEngine) -> None:
    bare, some, every = (asked.nearest(ROWS[:1], [0.997], 9, Whose.OTHERS, detail) for detail in Detail)
    assert bare.contents == ()
    assert bare.hits[0].contents.tolist() == [-1]
    assert {each.hits[0].face_ids.tolist()[0] for each in (bare, some, every)} == {0}
    (found,) = some.contents
    assert (found.digest, found.paths, found.width, found.height) == (digest(0), (b"/srv/0.jpg",), 6400, 4800)
    assert (found.taken, found.is_dated, found.picture, found.second_look) == (TAKEN, True, b"\7" * 8, 0)
    (face,) = found.faces
    assert (face.box, face.score, face.norm, face.look, face.sharpness) == (
        (0, 20, 60, 80),
        0.9,
        20.0,
        Look.FIRST,
        None,
    )
    assert face.embedding is None
    embedding = every.contents[0].faces[0].embedding
    assert embedding is not None
    assert embedding @ ROWS[0] > 0.9999
    assert abs(float(np.linalg.norm(embedding)) - 1) < 1e-6


def test_whole_contents_come_back_as_they_were_sent(asked: PostgresEngine) -> None:
    whole = asked.contents([digest(0), digest(3), digest(10_000)])
    assert {each.digest for each in whole.contents} == {digest(0), digest(3)}
    first = next(each for each in whole.contents if each.digest == digest(0))
    sent = content(0, ROWS[:1]).embedded
    assert sent is not None
    assert replace(first, faces=()) != sent
    assert (first.width, first.height, first.taken, first.picture) == (
        sent.width,
        sent.height,
        sent.taken,
        sent.picture,
    )
    assert (first.faces[0].landmarks == sent.faces[0].landmarks).all()
    assert np.abs(first.faces[0].embedding - ROWS[0]).max() < 1e-3
    assert asked.contents([]).contents == ()


def test_a_photo_on_two_machines_is_fetched_once(asked: PostgresEngine) -> None:
    asked.push([content(0, ROWS[:1])], token(), 0, 0)
    assert len(asked.contents([digest(0)]).contents) == 1
    assert sorted(numbers(asked.nearest(ROWS[:1], [0.997], 9, Whose.ALL))) == [0, 0]
    asked.push([gone(0)], token(), 0, 0)


def test_of_several_machines_the_one_that_found_most_faces_is_fetched_from(engine: Database) -> None:
    with connected(engine, "nas", dim=DIM) as nas, connected(engine, "laptop", dim=DIM) as laptop:
        nas.push([content(1, ROWS[:1]), content(2, ROWS[:3])], token(), 0, 0)
        laptop.push([content(1, ROWS[:2]), content(2, ROWS[:2])], token(), 0, 0)
        found = {each.digest: len(each.faces) for each in nas.contents([digest(1), digest(2)]).contents}
        assert found == {digest(1): 2, digest(2): 3}


def test_the_faces_beside_a_hit_are_told_in_their_order(engine: Database) -> None:
    with connected(engine, "nas", dim=DIM) as nas, connected(engine, dim=DIM) as asker:
        nas.push([content(1, ROWS[:5])], token(), 0, 0)
        near = asker.nearest(ROWS[3:4], [0.997], 9)
        (found,) = near.contents
        assert [face.box.x for face in found.faces] == [0, 1, 2, 3, 4]
        assert near.hits[0].faces.tolist() == [3]


# What another machine wrote

FINE = 2
"""The content that stays as it is."""


LIES = (
    "UPDATE face SET embedding = (embedding::vector * array_fill(2::real, ARRAY[{dim}])::vector)::halfvec",
    "UPDATE face SET x = 6400",
    "UPDATE face SET x = -1",
    "UPDATE face SET w = 0",
    "UPDATE face SET h = 2000000000",
    "UPDATE face SET score = 'NaN'",
    "UPDATE face SET score = 1.5",
    "UPDATE face SET norm = 'Infinity'",
    "UPDATE face SET norm = -1",
    "UPDATE face SET sharpness = 'NaN'",
    "UPDATE face SET look = 'squint'",
    "UPDATE face SET face_id = -5",
    "UPDATE face SET n = 7",
    "UPDATE face SET landmarks = 'abc'",
    "UPDATE face SET landmarks = decode(repeat('0000c07f', 10), 'hex')",
    "UPDATE content SET faces = 2",
    "UPDATE content SET faces = -1",
    "UPDATE content SET width = 0",
    "UPDATE content SET width = 2000000000",
    "UPDATE content SET second_look = 99",
    "UPDATE content SET taken = 'NaN'",
    "UPDATE content SET taken = 1e300",
    "UPDATE content SET taken_offset = 100000",
    "UPDATE content SET taken_from = 'mtime'",
    "UPDATE content SET is_dated = false",
    "UPDATE content SET picture = 'abc'",
    "UPDATE photo SET path = ''",
    "UPDATE photo SET path = 'relative'",
    "UPDATE photo SET path = '/a\\000b'::bytea",
    "UPDATE photo SET path = convert_to('/' || repeat('x', 5000), 'UTF8')",
    "DELETE FROM photo",
)


def test_a_content_that_cannot_be_true_is_left_out_and_counted(engine: Database) -> None:
    with (
        connected(engine, "nas", dim=DIM) as nas,
        connected(engine, "laptop", dim=DIM) as laptop,
        connected(engine, dim=DIM) as asker,
        engine.connect() as db,
    ):
        laptop.push([content(FINE, ROWS[:1])], token(), 0, 0)
        key = next(each.key for each in nas.machines() if each.is_self)
        db.execute(f"SET search_path = {SCHEMA}, public")
        for lie in LIES:
            nas.push([content(1, ROWS[:1])], token(), 0, 0)
            db.execute(f"{lie.replace('{dim}', str(DIM))} WHERE machine = {key}")
            if "landmarks" not in lie:  # which are not told with a hit
                near = asker.nearest(ROWS[:1], [0.9], 9, Whose.ALL, Detail.EMBEDDINGS)
                assert [each.digest for each in near.contents] == [digest(FINE)], lie
                assert (near.left_out, near.hits[0].contents.tolist()) == (1, [0]), lie
                near = asker.nearest(ROWS[:1], [0.9], 9, Whose.ALL)  # the daemon takes all of it, or nothing
                assert digest(FINE) in {each.digest for each in wire.read_near(wire.near(near), DIM, 1).contents}, lie
            if "photo" not in lie:  # nor are photos with a content that is fetched
                whole = asker.contents([digest(1), digest(FINE)])
                assert ([each.digest for each in whole.contents], whole.left_out) == ([digest(FINE)], 1), lie
            nas.push([gone(1)], token(), 0, 0)


def test_a_sound_copy_takes_the_place_of_one_that_cannot_be_true(engine: Database) -> None:
    with (
        connected(engine, "liar", dim=DIM) as liar,
        connected(engine, "nas", dim=DIM) as nas,
        connected(engine, "old", dim=DIM) as old,
        connected(engine, dim=DIM) as asker,
        engine.connect() as db,
    ):
        liar.push([content(1, ROWS[:4]), content(2, ROWS[:1]), content(3, ROWS[:1])], token(), 0, 0)
        nas.push([content(1, ROWS[:2])], token(), 0, 0)
        old.push([content(1, ROWS[:1]), content(3, ROWS[:1])], token(), 0, 0)
        key = next(each.key for each in liar.machines() if each.is_self)
        db.execute(f"UPDATE {SCHEMA}.face SET score = 7 WHERE machine = {key} AND digest != %s", [digest(3)])
        whole = asker.contents([digest(1), digest(2), digest(3)])
        assert {each.digest: len(each.faces) for each in whole.contents} == {digest(1): 2, digest(3): 1}
        assert whole.left_out == 1, "the one that no machine has sound"
        near = asker.nearest(ROWS[:1], [0.997], 9)
        assert sorted(each.digest for each in near.contents) == sorted([digest(1)] * 2 + [digest(3)] * 2)
        assert near.left_out == 1, "a photo of which a sound copy is told is not left out"


def test_a_machine_that_cannot_be_true_is_left_out_with_its_contents(engine: Database) -> None:
    lies = (
        "name = chr(27) || '[2Jnas'",
        "name = 'a:b'",
        "name = ''",
        "name = repeat('x', 100000)",
        "faces = -7",
        "backlog = -1",
        "seen = 'infinity'",
    )
    with (
        connected(engine, "laptop", dim=DIM) as laptop,
        connected(engine, dim=DIM) as nas,
        connected(engine, dim=DIM) as asker,
        engine.connect() as db,
    ):
        laptop.push([content(FINE, ROWS[:1])], token(), 0, 0)
        for number, lie in enumerate(lies):
            nas.attach(token(), f"nas-{number}", [])
            nas.push([content(1, ROWS[:1], [b"/a"])], token(), 0, 0)
            db.execute(f"UPDATE {SCHEMA}.machine SET {lie} WHERE name = 'nas-{number}'")
            assert [each.name for each in asker.machines()] == ["laptop"], lie
            near = asker.nearest(ROWS[:1], [0.9], 99, Whose.ALL)
            assert [each.digest for each in near.contents] == [digest(FINE)], lie
            assert near.left_out == number + 1


def test_columns_of_other_types_stop_no_question(engine: Database) -> None:
    with connected(engine, "nas", dim=DIM) as nas:
        nas.push([content(1, ROWS[:1])], token(), 0, 0)
        with engine.connect() as db:
            db.execute(f"ALTER TABLE {SCHEMA}.face ALTER COLUMN score TYPE text, ALTER COLUMN look TYPE bytea USING ''")
            db.execute(f"ALTER TABLE {SCHEMA}.content ALTER COLUMN picture TYPE int USING 7")
        with connected(engine, dim=DIM) as asker:
            near = asker.nearest(ROWS[:1], [0.9], 9)
            assert (near.contents, near.left_out) == ((), 1)
