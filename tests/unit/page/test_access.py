"""Calls of the daemon's socket from threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from facewatchd.client.connection import RemoteError
from facewatchd.errors import NoDaemonError
from facewatchd.page.access import THREADS, Daemon
from tests.support.fake_daemon import DEADLINE, FakeDaemon, error, reply


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(tmp_path / "socket") as fake:
        yield fake


def test_names_of_parameters_and_what_is_not_given(fake: FakeDaemon) -> None:
    async def ask() -> None:
        daemon = Daemon(fake.path)
        await daemon.call("query", with_=[1], top=None, is_=False)
        daemon.close()

    asyncio.run(ask())
    assert fake.requests[-1]["params"] == {"with": [1], "is": False}


def test_calls_do_not_wait_for_each_other_and_connections_are_used_again(fake: FakeDaemon) -> None:
    together = threading.Barrier(THREADS)
    fake.script = lambda request: (together.wait(DEADLINE), reply(request, {"n": request["params"]["n"]}))[1]

    async def ask() -> int:
        daemon = Daemon(fake.path)
        for _ in range(2):
            answers = await asyncio.gather(*(daemon.call("one", n=n) for n in range(THREADS)))
            assert [answer["n"] for answer in answers] == list(range(THREADS))
        kept = len(daemon._idle)
        daemon.close()
        return kept

    assert asyncio.run(ask()) == THREADS


def test_a_connection_that_was_closed_meanwhile_is_not_used(fake: FakeDaemon) -> None:
    async def ask() -> None:
        daemon = Daemon(fake.path)
        assert await daemon.call("one") == {}
        fake.script = lambda request: None
        with pytest.raises(NoDaemonError):
            await daemon.call("two")
        fake.script = lambda request: reply(request, {})
        assert await daemon.call("three") == {}
        daemon.close()
        with pytest.raises(NoDaemonError):
            await daemon.call("four")

    asyncio.run(ask())
    assert [request["method"] for request in fake.requests] == ["one", "two", "three"]


def test_an_error_of_the_daemon_keeps_the_connection(fake: FakeDaemon) -> None:
    fake.script = lambda request: error(request, "no-face", "no")

    async def ask() -> None:
        daemon = Daemon(fake.path)
        for _ in range(2):
            with pytest.raises(RemoteError, match="no"):
                await daemon.call("one")
        assert len(daemon._idle) == 1
        daemon.close()

    asyncio.run(ask())


def test_the_end_interrupts_what_waits(fake: FakeDaemon) -> None:
    asked, enough = threading.Event(), threading.Event()

    def think(request: object) -> None:
        asked.set()
        enough.wait(DEADLINE)

    fake.script = think

    async def ask() -> None:
        daemon = Daemon(fake.path)
        waiting = asyncio.ensure_future(daemon.call("one"))
        await asyncio.to_thread(asked.wait, DEADLINE)
        daemon.close()
        with pytest.raises(NoDaemonError):
            await waiting
        enough.set()

    asyncio.run(ask())


def test_without_a_daemon_it_is_said(tmp_path: Path) -> None:
    async def ask() -> None:
        daemon = Daemon(tmp_path / "socket")
        with pytest.raises(NoDaemonError):
            await daemon.call("status")
        daemon.close()

    asyncio.run(ask())
