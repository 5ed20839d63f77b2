"""Streams: a reply, then notifications, for as long as the client listens; other clients never notice."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from facewatchd.errors import NotReadyError
from facewatchd.server.jsonrpc import answer
from facewatchd.server.listener import Server
from facewatchd.server.stream import Sink, Stream

PATIENCE = 20.0
"""Seconds after which a test gives up on something that should happen at once."""


class Ticker:
    """``tick`` begins a stream of numbers, one for each `ring`; ``flood`` one that never waits."""

    def __init__(self) -> None:
        self.bells: list[int] = []
        self.ended = threading.Semaphore(0)

    def ring(self) -> None:
        for bell in self.bells:
            os.eventfd_write(bell, 1)

    def __call__(self, method: str, params: dict[str, object]) -> object:
        if method == "tick":
            self.bells.append(os.eventfd(0, os.EFD_SEMAPHORE))
            return Stream(params, partial(self._tick, self.bells[-1]))
        runs = {"flood": self._flood, "fail": self._fail}
        return Stream(params, runs[method]) if method in runs else params

    def _tick(self, bell: int, sink: Sink) -> None:
        number = 0
        try:
            while True:
                sink.wait(bell, PATIENCE)
                os.eventfd_read(bell)
                sink.send("tick", {"number": number})
                number += 1
        finally:
            self.ended.release()

    def _flood(self, sink: Sink) -> None:
        try:
            while True:
                sink.send("flood", {"text": "x" * 100_000})
        finally:
            self.ended.release()

    def _fail(self, sink: Sink) -> None:
        sink.send("soon", {})
        raise NotReadyError("the disk is full", "free some disk space")


class Client:
    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(str(path))
        self.lines = self.socket.makefile("rb")

    def send(self, method: str, **request: object) -> None:
        self.socket.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, **request}).encode() + b"\n")

    def receive(self) -> Any:
        return json.loads(self.lines.readline())

    def close(self) -> None:
        self.lines.close()
        self.socket.close()


def until(condition: Callable[[], bool]) -> None:
    deadline, pause = time.monotonic() + PATIENCE, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        pause.wait(0.01)


@pytest.fixture
def ticker() -> Iterator[Ticker]:
    ticker = Ticker()
    yield ticker
    for bell in ticker.bells:
        os.close(bell)


@pytest.fixture
def start(tmp_path: Path, ticker: Ticker) -> Iterator[Callable[..., Server]]:
    before = {each.name for each in threading.enumerate()}
    with contextlib.ExitStack() as stack:

        def start(**options: Any) -> Server:
            server = Server(tmp_path / "socket", lambda line: answer(line, ticker), **options)
            server.start()
            stack.callback(server.stop)
            return server

        yield start
    assert {each.name for each in threading.enumerate()} == before


@pytest.fixture
def connect(tmp_path: Path, start: object) -> Iterator[Callable[[], Client]]:
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(contextlib.closing(Client(tmp_path / "socket")))


def test_the_reply_comes_first_and_each_notification_when_it_is_due(
    start: Callable[..., Server], connect: Callable[[], Client], ticker: Ticker
) -> None:
    start(idle_deadline=0.5)
    client = connect()
    client.send("tick", params={"a": 1})
    assert client.receive() == {"jsonrpc": "2.0", "id": 1, "result": {"a": 1}}
    ticker.ring()
    assert client.receive() == {"jsonrpc": "2.0", "method": "tick", "params": {"number": 0}}
    assert not ticker.ended.acquire(timeout=1.0), "it is never idle"
    ticker.ring()
    assert client.receive()["params"] == {"number": 1}


def test_a_stream_holds_no_place(start: Callable[..., Server], connect: Callable[[], Client], ticker: Ticker) -> None:
    start(connections=2)
    streams = []
    for _ in range(8):
        streams.append(connect())
        streams[-1].send("tick")
        assert streams[-1].receive()["result"] == {}
    for _ in range(5):
        one, other = connect(), connect()
        for each in (one, other):
            each.send("echo", params={"x": 1})
            assert each.receive()["result"] == {"x": 1}
            each.close()
    ticker.ring()
    assert [each.receive()["method"] for each in streams] == ["tick"] * 8


def test_a_client_that_only_sends_no_more_is_served(
    start: Callable[..., Server], connect: Callable[[], Client], ticker: Ticker
) -> None:
    start()
    client = connect()
    client.send("tick")
    client.socket.shutdown(socket.SHUT_WR)
    assert client.receive()["id"] == 1
    begin = time.process_time()
    assert not ticker.ended.acquire(timeout=0.3)
    assert time.process_time() - begin < 0.1, "waiting costs nothing"
    ticker.ring()
    assert client.receive()["params"] == {"number": 0}
    client.close()
    assert ticker.ended.acquire(timeout=PATIENCE)


def test_a_client_that_hangs_up_is_noticed_at_once(
    start: Callable[..., Server], connect: Callable[[], Client], ticker: Ticker
) -> None:
    start()
    client = connect()
    client.send("tick")
    client.receive()
    client.close()
    assert ticker.ended.acquire(timeout=PATIENCE / 2)


@pytest.mark.parametrize("together", [True, False])
def test_a_further_request_ends_it_with_an_error(
    start: Callable[..., Server], connect: Callable[[], Client], together: bool
) -> None:
    start()
    client = connect()
    line = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tick"}).encode() + b"\n"
    client.socket.sendall(2 * line if together else line)
    assert client.receive()["result"] == {}
    if not together:
        client.socket.sendall(line)
    refusal = client.receive()
    assert (refusal["id"], refusal["error"]["code"]) == (None, -32600)
    assert "open another" in refusal["error"]["message"]
    assert client.lines.read() == b""


def test_a_stream_does_not_keep_the_request_that_began_it(
    start: Callable[..., Server], connect: Callable[[], Client]
) -> None:
    start()
    client = connect()
    tracemalloc.start()
    try:
        client.send("tick", params={"text": "x" * (20 << 20)})
        assert len(client.receive()["result"]["text"]) == 20 << 20
        until(lambda: tracemalloc.get_traced_memory()[0] < 10 << 20)
    finally:
        tracemalloc.stop()


def test_a_client_that_does_not_read_is_dropped_and_disturbs_nobody(
    start: Callable[..., Server], connect: Callable[[], Client], ticker: Ticker
) -> None:
    start(send_deadline=0.3)
    client, other = connect(), connect()
    client.send("flood")
    assert client.receive()["id"] == 1
    other.send("echo", params={"x": 1})
    assert other.receive()["result"] == {"x": 1}
    assert ticker.ended.acquire(timeout=PATIENCE)


def test_what_goes_wrong_later_is_said(
    start: Callable[..., Server], connect: Callable[[], Client], caplog: pytest.LogCaptureFixture
) -> None:
    """To the client: in the log it might name a person."""
    caplog.set_level("INFO")
    start()
    client = connect()
    client.send("fail")
    assert [client.receive().get("method") for _ in range(2)] == [None, "soon"]
    error = client.receive()["error"]
    assert (error["data"]["kind"], error["data"]["hint"]) == ("not-ready", "free some disk space")
    assert client.lines.read() == b""
    assert caplog.messages == ["connection closed: the stream has ended (not-ready)"]


@pytest.mark.parametrize("method", ["tick", "flood"])
@pytest.mark.parametrize("half", [False, True])
def test_stop_ends_streams(
    start: Callable[..., Server], connect: Callable[[], Client], ticker: Ticker, method: str, half: bool
) -> None:
    server = start()
    client = connect()
    client.send(method)
    if half:
        client.socket.shutdown(socket.SHUT_WR)
    assert client.receive()["id"] == 1
    begin = time.monotonic()
    server.stop(grace=2.0)
    assert time.monotonic() - begin < 10
    assert ticker.ended.acquire(timeout=PATIENCE)


def test_a_stream_stands_alone_on_its_line_and_has_an_id(
    start: Callable[..., Server], connect: Callable[[], Client]
) -> None:
    start()
    client = connect()
    request = {"jsonrpc": "2.0", "id": 1, "method": "tick"}
    client.socket.sendall(json.dumps([request, {**request, "id": 2, "method": "echo"}]).encode() + b"\n")
    refusal, reply = client.receive()
    assert (refusal["id"], refusal["error"]["code"], reply["result"]) == (1, -32600, {})
    client.socket.sendall(json.dumps({"jsonrpc": "2.0", "method": "tick"}).encode() + b"\n")
    client.send("echo")
    assert client.receive() == {"jsonrpc": "2.0", "id": 1, "result": {}}
