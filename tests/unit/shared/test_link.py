"""The daemon's link: every question ends within its deadline, with an answer that is its own or with the reason."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facewatchd import paths
from facewatchd.client.connection import INVALID_PARAMS, METHOD_NOT_FOUND
from facewatchd.shared.engine import EngineError, Trouble
from facewatchd.shared.link import LinkError, ShareLink
from facewatchd.shared.pool import Identity
from facewatchd.shared.values import Detail, Whose
from facewatchd.shared.wire import State
from tests.support.fake_daemon import FakeDaemon, error, reply
from tests.support.fake_engine import FakeServer, share
from tests.support.processes import until
from tests.support.shared_contents import DIM, content, embeddings

HERE = Identity("model", DIM, "ab" * 16)


@pytest.fixture
def server() -> FakeServer:
    server = FakeServer()
    server.add("cd" * 16, "nas", [content(1), content(2, faces=3)])
    return server


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "share"


@pytest.fixture
def link(socket: Path) -> Iterator[ShareLink]:
    link = ShareLink(socket, DIM, timeout=5.0)
    yield link
    link.close()


def ask(link: ShareLink, number: int = 1, **named: Any) -> list[bytes]:
    near = link.nearest(embeddings(content(number)), [0.9], 10, **named)
    return [near.contents[position].digest for position in near.hits[0].contents]


def test_a_question_is_answered(link: ShareLink, socket: Path, server: FakeServer) -> None:
    with share(socket, server, HERE):
        assert ask(link) == [content(1).digest]
        assert ask(link, whose=Whose.OWN) == []
        near = link.nearest(embeddings(content(1)), [0.9], 10, detail=Detail.EMBEDDINGS)
        assert np.allclose(near.contents[0].faces[0].embedding, embeddings(content(1))[0])
        assert [each.digest for each in link.contents([content(2).digest]).contents] == [content(2).digest]
        assert [each.name for each in link.machines()] == ["nas"]
        assert link.status().state is State.OK


def test_where_nothing_runs_it_is_off_at_once(link: ShareLink) -> None:
    began = time.monotonic()
    with pytest.raises(LinkError) as caught:
        ask(link)
    assert caught.value.state is State.OFF
    assert "facewatch-share" in caught.value.hint
    assert link.status().state is State.OFF
    assert time.monotonic() - began < 1


def test_it_comes_and_goes(link: ShareLink, socket: Path, server: FakeServer) -> None:
    for _ in range(2):
        with share(socket, server, HERE):
            assert ask(link) == [content(1).digest]
        with pytest.raises(LinkError) as caught:
            ask(link)
        assert caught.value.state is State.OFF


@pytest.mark.parametrize(
    ("trouble", "state"), [(Trouble.UNREACHABLE, State.UNREACHABLE), (Trouble.CERTIFICATE, State.REFUSED)]
)
def test_the_reason_comes_through(
    link: ShareLink, socket: Path, server: FakeServer, trouble: Trouble, state: State
) -> None:
    server.trouble = EngineError(trouble, "the engine is away", "switch it on")
    with share(socket, server, HERE):
        began = time.monotonic()
        with pytest.raises(LinkError) as caught:
            ask(link)
        assert time.monotonic() - began < 2
        assert (caught.value.state, str(caught.value)) == (state, "the engine is away; switch it on")
        status = link.status()
        assert (status.state, status.reason, status.hint) == (state, "the engine is away", "switch it on")


def test_a_late_answer_is_not_taken_for_the_next_one(link: ShareLink, socket: Path) -> None:
    release = threading.Event()

    def answer(request: dict[str, Any]) -> bytes | None:
        if request["method"] == "machines" and not release.is_set():
            release.wait(30)
            return reply(request, {"machines": []})
        return reply(request, {"trouble": {"trouble": "late", "message": "second", "hint": ""}})

    with FakeDaemon(socket) as share:
        share.script = answer
        with pytest.raises(LinkError, match="did not answer within"):
            link.machines(seconds=0.1)
        release.set()

        def says() -> str:
            with pytest.raises(LinkError) as caught:
                link.machines(seconds=10)
            return caught.value.message

        until(lambda: says() == "second")


def test_one_that_hangs_costs_one_question_its_time(
    link: ShareLink, socket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facewatchd.shared.link.FIRST_PROBE", 0.05)
    monkeypatch.setattr("facewatchd.shared.link.STATUS_SECONDS", 0.2)
    release = threading.Event()

    def answer(request: dict[str, Any]) -> bytes | None:
        release.wait(30)
        return reply(request, {"machines": []})

    with FakeDaemon(socket) as share:
        share.script = answer
        with pytest.raises(LinkError, match="did not answer within"):
            link.machines(seconds=0.1)
        began = time.monotonic()
        for _ in range(20):
            with pytest.raises(LinkError, match="did not answer within"):
                link.machines(seconds=30)
            assert link.status().state is State.UNREACHABLE
        assert time.monotonic() - began < 10
        release.set()

        def answers() -> bool:
            try:
                return link.machines(seconds=10) == ()
            except LinkError:
                return False

        until(answers)


def test_closing_ends_the_look_at_one_that_hangs(socket: Path) -> None:
    release = threading.Event()
    link = ShareLink(socket, DIM, timeout=5.0)
    with FakeDaemon(socket) as share:
        share.script = lambda request: reply(request, None) if release.wait(30) else None
        with pytest.raises(LinkError):
            link.machines(seconds=0.1)
        link.close()
        until(lambda: not any(each.name == "share probe" for each in threading.enumerate()), deadline=10)
        release.set()


@pytest.mark.parametrize(
    "result", [None, 5, [], {}, {"machines": 3}, {"trouble": 1}, {"trouble": {"trouble": "odd", "message": "x"}}]
)
def test_an_answer_that_cannot_be_used_is_an_error(link: ShareLink, socket: Path, result: object) -> None:
    with FakeDaemon(socket) as share:
        share.script = lambda request: reply(request, result)  # type: ignore[arg-type]
        with pytest.raises(LinkError, match="cannot be used"):
            link.machines()
        if result != {"machines": 3}:
            assert link.status().state is State.UNREACHABLE


@pytest.mark.parametrize("code", [INVALID_PARAMS, METHOD_NOT_FOUND])
def test_after_an_upgrade_the_one_that_still_runs_is_named(link: ShareLink, socket: Path, code: int) -> None:
    with FakeDaemon(socket) as old:
        old.script = lambda request: error(request, "", "unknown parameter 'exact'; known here: seconds", code=code)
        with pytest.raises(LinkError) as raised:
            ask(link)
    assert str(raised.value) == (
        "facewatch-share is of another version; start it again: systemctl --user restart facewatch-share"
    )


def test_many_threads_ask_at_once(link: ShareLink, socket: Path, server: FakeServer) -> None:
    with share(socket, server, HERE), ThreadPoolExecutor(8) as threads:
        numbers = [1 + n % 2 for n in range(200)]

        def one(number: int) -> list[bytes]:
            near = link.nearest(embeddings(content(number, faces=2 * number - 1))[:1], [0.9], 10)
            return [near.contents[position].digest for position in near.hits[0].contents]

        assert list(threads.map(one, numbers)) == [[content(number).digest] for number in numbers]
        until(lambda: server.connections <= 6)


def test_a_machine_that_is_behind_shows(link: ShareLink, socket: Path, server: FakeServer) -> None:
    server.add("ef" * 16, "laptop", [content(3)], backlog=7)
    with share(socket, server, HERE) as sending:
        until(lambda: link.status().state is State.BEHIND)
        assert "laptop has still to send 7 photos" in link.status().reason
        sending.trouble = EngineError(Trouble.FENCED, "another process sends", "do this")
        status = link.status()
        assert (status.state, status.reason, status.hint) == (State.BEHIND, "another process sends", "do this")


def test_the_socket_stands_beside_the_daemons() -> None:
    usual = paths.socket_path()
    assert paths.share_path(usual) == usual.with_name("share")
    assert paths.share_path(Path("/x/other")) == Path("/x/other.share")
