"""Clients that wait hold no place of those that ask."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.albums import album
from tests.support.clients import Client, request
from tests.support.processes import Daemon, until

MANY = 80
"""More than may be at work at once."""


@pytest.fixture
def paused(tmp_path: Path, tiny_root: Path) -> Iterator[Daemon]:
    """A daemon that is paused with photos pending, so that a wait does not end."""
    root = tmp_path / "photos"
    root.mkdir()
    with Daemon(tmp_path / "home", root, model="tiny", model_root=tiny_root) as daemon:
        daemon.hook(FEW)
        daemon.start()
        daemon.settle()
        daemon.call("pause")
        album(root, 3)
        until(lambda: daemon.status()["pending"] == 3)
        yield daemon


FEW = """
import sys
if "run" in sys.argv:
    from facewatchd.server import listener as server
    server.WAITING = 90
"""


def test_those_who_wait_lock_nobody_out(paused: Daemon) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(paused.socket)) for _ in range(MANY // 2)]
        for client in clients:
            client.send(request("wait", 1, timeout=3600) + b"\n")
        more = [stack.enter_context(Client(paused.socket)) for _ in range(MANY // 2)]
        for client in more:
            client.send(
                request("query", 1, photos=[{"path": str(next(paused.roots[0].rglob("*.jpg")))}], wait=3600) + b"\n"
            )
        until(lambda: all(client.unread() == 0 for client in (*clients, *more)))
        assert paused.status()["state"] == "paused"
        assert paused.call("why", path=str(paused.roots[0]))["state"] == "unknown"
        assert not any(client.has_heard() for client in (*clients, *more))
        paused.call("resume")
        assert all(client.receive()["result"]["complete"] for client in (*clients, *more))


def test_those_who_wait_are_bounded(paused: Daemon) -> None:
    with contextlib.ExitStack() as stack:
        clients = []
        for _ in range(95):
            clients.append(stack.enter_context(Client(paused.socket)))
            clients[-1].send(request("wait", 1, timeout=3600) + b"\n")
            until(lambda: clients[-1].unread() == 0)
        until(lambda: sum(client.has_heard() for client in clients) == 5)
        assert {client.kind() for client in clients if client.has_heard()} == {"not-ready"}
        assert paused.status()["pending"] == 3
        paused.call("resume")
