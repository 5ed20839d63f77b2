"""A scripted daemon, and the command that asks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from facewatchd.client import app as client
from tests.support.fake_daemon import FakeDaemon, reply
from tests.support.replies import answer


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(tmp_path / "socket") as fake:
        fake.script = lambda request: reply(request, answer())
        yield fake


@pytest.fixture
def ask(daemon: FakeDaemon) -> Callable[..., int]:
    """Run the command in this process."""
    return lambda *arguments: client.main(["--socket", str(daemon.path), *map(str, arguments)])
