"""What other machines found is taken over, and asking for it never costs more than it saves."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from facewatchd.errors import FacewatchError
from facewatchd.ignore import Exclusion
from facewatchd.indexing import fetching
from facewatchd.indexing.fetching import AFTER_FAILURE, REST, Fetcher, Means, Wanted
from facewatchd.indexing.workers import Indexer
from facewatchd.indexing.writer import Writer
from facewatchd.inference.hedge import Hedge
from facewatchd.matches import Box
from facewatchd.photos import files
from facewatchd.scan.roots import Roots
from facewatchd.scan.work_queue import Depth, WorkQueue
from facewatchd.store.embedded import Embedded
from facewatchd.store.gallery import Gallery
from facewatchd.threads.liveness import Liveness
from facewatchd.values import Face, Look, Taken, TakenFrom
from tests.support.albums import shoot
from tests.support.galleries import DIM, face, unit
from tests.support.no_faces import Inference
from tests.support.processes import until

ROWS = unit(np.random.default_rng(8).normal(size=(6, DIM)))
ANY = Wanted(1, 0.0, takes_over=True)


def content(digest: bytes, *faces: Face) -> Embedded:
    return Embedded(digest, 640, 480, 0, None, True, None, faces)


@dataclass
class Engine:
    """Answers from a dictionary, after some seconds by its own clock."""

    known: dict[bytes, Embedded] = field(default_factory=dict)
    seconds: float = 0.0
    now: float = 1000.0
    trouble: Exception | None = None
    asked: list[list[bytes]] = field(default_factory=list)

    def ask(self, digests: Sequence[bytes], seconds: float) -> list[Embedded]:
        self.asked.append(list(digests))
        self.now += min(self.seconds, seconds)
        if self.trouble:
            raise self.trouble
        return [self.known[digest] for digest in digests if digest in self.known]

    def fetcher(self, wanted: Wanted = ANY) -> Fetcher:
        return Fetcher(self.ask, wanted, lambda: self.now)


def test_what_another_machine_has_is_found() -> None:
    engine = Engine({b"d1": content(b"d1", face(ROWS[0]))})
    fetcher = engine.fetcher()
    found = fetcher.find(b"d1")
    assert found is not None
    assert np.array_equal(found.faces[0].embedding, ROWS[0])
    assert fetcher.find(b"d2") is None


def test_faces_that_this_machine_would_leave_out_are_left_out() -> None:
    small, doubtful = face(ROWS[1], Box(1, 1, 39, 90)), replace(face(ROWS[2]), score=0.49)
    engine = Engine({b"d1": content(b"d1", face(ROWS[0]), small, doubtful)})
    found = engine.fetcher(Wanted(40, 0.5, takes_over=True)).find(b"d1")
    assert found is not None
    assert [float(each.embedding[0]) for each in found.faces] == [float(ROWS[0][0])]


def test_a_machine_that_is_to_find_more_takes_nothing_over() -> None:
    engine = Engine({b"d1": content(b"d1", face(ROWS[0]))})
    assert engine.fetcher(Wanted(20, 0.5, takes_over=False)).find(b"d1") is None
    assert engine.asked == []


def test_a_content_that_was_not_asked_for_is_not_taken() -> None:
    engine = Engine({b"d1": content(b"d2", face(ROWS[0]))})
    assert engine.fetcher().find(b"d1") is None


@pytest.mark.parametrize("trouble", [FacewatchError("the engine is away"), RuntimeError("a mistake")])
def test_an_engine_that_is_away_is_left_alone(trouble: Exception, caplog: pytest.LogCaptureFixture) -> None:
    engine = Engine(trouble=trouble)
    fetcher = engine.fetcher()
    for number in range(100):
        assert fetcher.find(b"d%d" % number) is None
    assert len(engine.asked) == 1
    engine.now += AFTER_FAILURE
    engine.trouble, engine.known = None, {b"back": content(b"back")}
    assert fetcher.find(b"back") is not None


def test_a_slow_failure_is_waited_for_the_more_rarely() -> None:
    engine = Engine(seconds=1.0, trouble=FacewatchError("late"))
    fetcher = engine.fetcher()
    began = engine.now
    for _ in range(1000):
        fetcher.find(b"d")
        engine.now += 0.1
    assert len(engine.asked) <= 1 + (engine.now - began) / REST


@example(asking=0.1875, embedding=0.125, known=1.0)
@given(
    asking=st.floats(0.001, 1.0),
    embedding=st.floats(0.04, 3.0),
    known=st.sampled_from([0.0, 0.01, 0.3, 1.0]),
)
def test_asking_never_costs_more_than_a_tenth_of_the_time(asking: float, embedding: float, known: float) -> None:
    """One worker and 2,000 contents, a part of which is known elsewhere; without an engine it would embed them all."""
    engine = Engine(seconds=asking)
    fetcher = engine.fetcher()
    began, due = engine.now, 0.0
    for number in range(2000):
        due += known
        digest = b"d%d" % number
        if due >= 1.0:
            due -= 1.0
            engine.known[digest] = content(digest)
        if fetcher.find(digest) is None:
            engine.now += embedding
            fetcher.embedded(embedding)
    spent, without = engine.now - began, 2000 * embedding
    assert spent <= 1.1 * without + 100 * asking
    if known == 1.0 and asking < embedding / 4:
        assert spent <= 1.1 * 2000 * asking + 20 * embedding


def test_after_nothing_was_found_for_long_it_is_noticed_when_it_pays_again() -> None:
    engine = Engine(seconds=0.02)
    fetcher = engine.fetcher()
    for number in range(500):
        assert fetcher.find(b"d%d" % number) is None
        engine.now += 0.1
        fetcher.embedded(0.1)
    asked = len(engine.asked)
    assert asked < 250
    found = 0
    for number in range(500, 1000):
        digest = b"d%d" % number
        engine.known[digest] = content(digest)
        if fetcher.find(digest) is None:
            engine.now += 0.1
            fetcher.embedded(0.1)
        else:
            found += 1
    assert found > 450


def test_the_means_follow_what_happens() -> None:
    means = Means()
    assert means.is_worth_it
    for _ in range(100):
        means.answered(0.5, 1, 0)
    assert not means.is_worth_it
    for _ in range(100):
        means.answered(0.01, 1, 1)
    assert means.is_worth_it


def test_workers_that_come_while_an_answer_is_awaited_share_the_next_question(monkeypatch: pytest.MonkeyPatch) -> None:
    entered, goes_on = threading.Event(), threading.Event()
    asked: list[list[bytes]] = []

    def ask(digests: Sequence[bytes], _: float) -> list[Embedded]:
        asked.append(sorted(digests))
        if len(asked) == 1:
            entered.set()
            assert goes_on.wait(30.0)
        return [content(digest) for digest in digests]

    fetcher = Fetcher(ask, ANY)
    found: dict[bytes, Embedded | None] = {}

    def find(digest: bytes) -> None:
        found[digest] = fetcher.find(digest)

    digests = [b"d%d" % number for number in range(8)]
    threads = [threading.Thread(target=find, args=(digest,)) for digest in digests]
    threads[0].start()
    assert entered.wait(30.0)
    for thread in threads[1:]:
        thread.start()
    until(lambda: len(fetcher._gathering.digests) == 7)
    goes_on.set()
    for thread in threads:
        thread.join(30.0)
    assert asked == [digests[:1], digests[1:]]
    assert {digest: each and each.digest for digest, each in found.items()} == {digest: digest for digest in digests}


def test_a_question_has_no_more_contents_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "MOST", 0)
    engine = Engine({b"d1": content(b"d1")})
    assert engine.fetcher().find(b"d1") is None


# With workers


@pytest.fixture
def index_all(gallery: Gallery, tmp_path: Path) -> Callable[..., tuple[Indexer, Inference, list[bytes]]]:
    """Index made-up photos with an engine; ``names`` of those that are to be indexed at a depth."""
    (tmp_path / "photos").mkdir()
    photos = [os.fsencode(shoot(tmp_path / "photos" / f"{number}.jpg", [], number)) for number in range(6)]

    def run(engine: Engine | None, depth: Depth = Depth.STAMP) -> tuple[Indexer, Inference, list[bytes]]:
        queue, liveness, inference = WorkQueue(0.0), Liveness(), Inference()
        roots = Roots([os.fsencode(tmp_path / "photos")], Exclusion(), gallery.catalog)
        writer = Writer(gallery, liveness)
        indexer = Indexer(
            gallery,
            queue,
            roots,
            writer,
            inference=cast(Hedge, inference),
            liveness=liveness,
            scan=lambda path: None,
            workers=2,
            fetcher=None if engine is None else engine.fetcher(Wanted(40, 0.5, takes_over=True)),
        )
        writer.start()
        indexer.start()
        try:
            for path in photos:
                queue.touch(path, settle=False, depth=depth)
            until(lambda: len(queue) == 0)
        finally:
            indexer.stop()
            writer.stop()
            roots.close()
        return indexer, inference, photos

    return run


def digest_of(path: bytes) -> bytes:
    return files.digest(Path(os.fsdecode(path)).read_bytes())


def test_what_others_embedded_is_recorded_and_not_embedded(
    index_all: Callable[..., tuple[Indexer, Inference, list[bytes]]], gallery: Gallery, tmp_path: Path
) -> None:
    paths = sorted(os.fsencode(path) for path in (tmp_path / "photos").iterdir())
    taken = Taken(1.5e9, 60, TakenFrom.EXIF)
    turned = replace(face(ROWS[1], Box(200, 10, 60, 60), norm=9.5), look=Look.TURNED_90, sharpness=2.0)
    known = {
        digest: Embedded(digest, 320, 240, -1, taken, True, bytes(range(32)), [face(ROWS[0]), turned])
        for digest in map(digest_of, paths[:4])
    }
    undated = digest_of(paths[4])
    known[undated] = Embedded(undated, 320, 240, 1, None, False, None, [face(ROWS[2])])
    engine = Engine(known)
    indexer, inference, _ = index_all(engine)
    assert inference.seen == 1
    assert {name: indexer.rates()[name] for name in ("read", "embedded", "fetched")} == {
        "read": 6, "embedded": 1, "fetched": 5,
    }  # fmt: skip
    with gallery.catalog.reading() as reader:
        for path in paths[:4]:
            shown = reader.shown(digest_of(path))
            assert shown is not None
            one = shown.embedded
            assert (one.width, one.height, one.second_look, one.taken, one.is_dated) == (320, 240, -1, taken, True)
            assert [(each.look, each.norm, each.sharpness) for each in one.faces] == [
                (Look.FIRST, None, None),
                (Look.TURNED_90, 9.5, 2.0),
            ]
            record = reader.photo(path)
            assert record is not None
            assert record.is_fetched
        record = reader.photo(paths[5])
        assert record is not None
        assert not record.is_fetched
        assert reader.count_undated() == 1
        assert reader.shown(undated) is not None
    # `scan --force` embeds here, whatever others found.
    asked = len(engine.asked)
    _, inference, _ = index_all(engine, Depth.FACES)
    assert (inference.seen, len(engine.asked)) == (6, asked)
    with gallery.catalog.reading() as reader:
        assert not any((record := reader.photo(path)) is None or record.is_fetched for path in paths)


def test_without_an_engine_nothing_is_counted_as_fetched(
    index_all: Callable[..., tuple[Indexer, Inference, list[bytes]]],
) -> None:
    indexer, inference, _ = index_all(None)
    assert inference.seen == 6
    assert "fetched" not in indexer.rates()


def test_while_the_engine_is_away_everything_is_embedded(
    index_all: Callable[..., tuple[Indexer, Inference, list[bytes]]],
) -> None:
    engine = Engine(trouble=FacewatchError("away"))
    indexer, inference, _ = index_all(engine)
    assert (inference.seen, indexer.rates()["fetched"]) == (6, 0)
    assert len(engine.asked) <= 2
