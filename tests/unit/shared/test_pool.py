"""Connections for questions: made aside, missed at once, and no question is lost to one that died unnoticed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from facewatchd.shared import pauses, pool
from facewatchd.shared.engine import Engine, EngineError, Retry, Trouble
from facewatchd.shared.pauses import Pauses
from facewatchd.shared.pool import Identity, Pool
from tests.support.fake_engine import FakeEngine, FakeServer
from tests.support.processes import until
from tests.support.shared_contents import DIM, content

HERE = Identity("model", DIM, "ab" * 16)


@pytest.fixture
def server() -> FakeServer:
    server = FakeServer()
    server.add("cd" * 16, "nas", [content(1)])
    return server


@pytest.fixture
def made(server: FakeServer) -> Iterator[Pool]:
    made = Pool(server.connect)
    made.start()
    made.become(HERE)
    yield made
    made.stop()


def count(engine: Engine) -> int:
    return sum(each.faces for each in engine.machines())


def test_it_asks_and_knows_the_machines(made: Pool) -> None:
    assert made.use(5, count) == 1
    until(lambda: [each.name for each in made.machines()] == ["nas"])


def test_what_another_machine_waits_with_is_looked_at_again_soon(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "LOOK_WHILE_BEHIND", 0.05)
    server.add("ef" * 16, "attic", [content(2)], backlog=3)
    made = Pool(server.connect)
    made.start()
    made.become(HERE)
    until(lambda: [each.backlog for each in made.machines()] == [3, 0])
    server.add("ef" * 16, "attic", [content(2)], backlog=0)
    until(lambda: [each.backlog for each in made.machines()] == [0, 0], deadline=30)
    made.stop()


def test_before_the_daemon_is_known_it_says_so_at_once(server: FakeServer) -> None:
    made = Pool(server.connect)
    made.start()
    with pytest.raises(EngineError, match="not reached the daemon"):
        made.use(5, count)
    made.stop()


def test_while_it_cannot_connect_each_question_is_told_why_at_once(server: FakeServer, made: Pool) -> None:
    made.use(5, count)
    server.trouble = EngineError(Trouble.UNREACHABLE, "it is away", "wait")
    with pytest.raises(EngineError, match="it is away"):
        made.use(5, count)
    until(lambda: made.trouble is not None)
    began = time.monotonic()
    for _ in range(20):
        with pytest.raises(EngineError, match="it is away"):
            made.use(5, count)
    assert time.monotonic() - began < 2
    server.trouble = None
    made.try_now()
    until(lambda: made.trouble is None and made.use(5, count) == 1)


def test_it_tells_when_there_is_a_connection_again(server: FakeServer) -> None:
    healed = threading.Event()
    server.trouble = EngineError(Trouble.REFUSED, "a wrong password", "")
    made = Pool(server.connect, healed=healed.set)
    made.start()
    made.become(HERE)
    until(lambda: made.trouble is not None)
    server.trouble = None
    assert not healed.is_set()
    made.try_now()
    assert healed.wait(30)
    made.stop()


def test_a_server_that_was_started_anew_costs_no_question(server: FakeServer, made: Pool) -> None:
    engines: list[FakeEngine] = []
    made.use(5, lambda engine: engines.append(engine))  # type: ignore[arg-type]
    engines[0].is_closed = True  # by the server: nobody was told
    assert made.use(5, count) == 1


def test_a_lost_connection_that_is_replaced_is_told_and_the_machines_are_asked_for(server: FakeServer) -> None:
    """No question fails by it, and yet the server may have been restored from a backup."""
    healed = threading.Event()
    engines: list[FakeEngine] = []
    made = Pool(server.connect, healed=healed.set)
    made.start()
    made.become(HERE)
    until(lambda: made.machines())
    made.use(5, lambda engine: engines.append(engine))  # type: ignore[arg-type]
    server.add("ef" * 16, "attic", [content(2)])
    assert not healed.is_set()
    engines[0].is_closed = True
    assert made.use(5, count) == 2
    assert healed.wait(30)
    until(lambda: [each.name for each in made.machines()] == ["attic", "nas"], deadline=30)
    made.stop()


def test_a_question_that_is_late_is_not_asked_again(server: FakeServer, made: Pool) -> None:
    asked = []

    def late(engine: Engine) -> int:
        asked.append(engine)
        raise EngineError(Trouble.LATE, "no answer in time", "")

    with pytest.raises(EngineError, match="no answer"):
        made.use(5, late)
    assert len(asked) == 1
    assert asked[0].is_closed
    assert made.use(5, count) == 1


def hangs(engine: Engine) -> int:
    raise EngineError(Trouble.LATE, "no answer in time", "")


def test_after_a_late_answer_questions_are_told_at_once_until_the_server_answers(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "DOUBT_SECONDS", 0.1)
    connecting, release = threading.Semaphore(0), threading.Event()

    def connect(identity: Identity) -> Engine:
        connecting.release()
        if server.connections:
            assert release.wait(30)
        return server.connect(identity)

    made = Pool(connect)
    made.start()
    made.become(HERE)
    assert made.use(5, count) == 1
    with pytest.raises(EngineError, match="no answer"):
        made.use(5, hangs)
    for _ in range(2):
        assert connecting.acquire(timeout=30), "a new one is made without a question"
    began = time.monotonic()
    for _ in range(20):
        with pytest.raises(EngineError, match="no answer"):
            made.use(30, count)
    assert time.monotonic() - began < 10
    assert made.trouble is not None
    release.set()
    until(lambda: made.trouble is None)
    assert made.use(5, count) == 1
    made.stop()


def test_a_server_that_hangs_while_it_is_connected_to_costs_one_question_its_time(server: FakeServer) -> None:
    release = threading.Event()

    def connect(identity: Identity) -> Engine:
        assert release.wait(30)
        return server.connect(identity)

    made = Pool(connect)
    made.start()
    made.become(HERE)
    with pytest.raises(EngineError, match="not answered in time"):
        made.use(0.2, count)
    began = time.monotonic()
    for _ in range(20):
        with pytest.raises(EngineError, match="not answered in time"):
            made.use(30, count)
    assert time.monotonic() - began < 10
    release.set()
    until(lambda: made.trouble is None)
    assert made.use(5, count) == 1
    made.stop()


def test_an_answer_to_another_question_ends_the_doubt(server: FakeServer, made: Pool) -> None:
    inside, release = threading.Event(), threading.Event()

    def slow(engine: Engine) -> int:
        inside.set()
        assert release.wait(30)
        return count(engine)

    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(made.use, 30, slow)
        assert inside.wait(30)
        assert made.use(30, count) == 1
        server.trouble = EngineError(Trouble.LATE, "it hangs", "")
        with pytest.raises(EngineError, match="no answer"):
            made.use(5, hangs)
        assert made.trouble is not None
        server.trouble = None
        release.set()
        assert answer.result(30) == 1
    until(lambda: made.trouble is None)
    assert made.use(5, count) == 1


def test_an_error_of_the_question_keeps_the_connection(server: FakeServer, made: Pool) -> None:
    def fails(engine: Engine) -> int:
        raise EngineError(Trouble.FAILED, "a wrong question", "")

    with pytest.raises(EngineError, match="wrong question"):
        made.use(5, fails)
    assert made.use(5, count) == 1
    assert server.connections == 1


def test_several_ask_at_once_and_one_waits_no_longer_than_it_may(server: FakeServer, made: Pool) -> None:
    release, inside = threading.Event(), threading.Semaphore(0)

    def slow(engine: Engine) -> int:
        inside.release()
        assert release.wait(30)
        return count(engine)

    with ThreadPoolExecutor(pool.MOST) as threads:
        answers = [threads.submit(made.use, 30, slow) for _ in range(pool.MOST)]
        for _ in range(pool.MOST):
            assert inside.acquire(timeout=30)
        with pytest.raises(EngineError) as caught:
            made.use(0.1, count)
        assert caught.value.trouble is Trouble.LATE
        release.set()
        assert [each.result() for each in answers] == [1] * pool.MOST
    assert server.connections == pool.MOST


def test_another_model_means_other_connections(server: FakeServer, made: Pool) -> None:
    made.use(5, count)
    made.become(Identity("other", DIM, HERE.machine))
    assert made.use(5, count) == 1
    assert server.connections == 2


def test_stopping_ends_a_question(server: FakeServer, made: Pool) -> None:
    asked = threading.Event()

    def waits(engine: Engine) -> int:
        assert isinstance(engine, FakeEngine)
        asked.set()
        until(lambda: engine.is_closed)
        raise EngineError(Trouble.UNREACHABLE, "closed", "")

    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(made.use, 30, waits)
        assert asked.wait(30)
        made.stop()
        with pytest.raises(EngineError, match="stops"):
            answer.result(30)


def test_pauses_grow_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Pauses()
    first = [made.after(Retry.SOON) or 0.0 for _ in range(20)]
    assert pauses.FIRST / 2 <= first[0] <= pauses.FIRST
    assert all(pauses.LONGEST / 2 <= each <= pauses.LONGEST for each in first[8:])
    assert len(set(first[8:])) > 5
    made.succeeded()
    assert (made.after(Retry.SOON) or 0.0) <= pauses.FIRST
    made.succeeded()
    slow = [made.after(Retry.SLOWLY) or 0.0 for _ in range(10)]
    assert pauses.FIRST_SLOW / 2 <= slow[0] <= pauses.FIRST_SLOW
    assert pauses.LONGEST_SLOW / 2 <= slow[-1] <= pauses.LONGEST_SLOW
    assert made.after(Retry.NEVER) is None
