"""The thread that sends: it follows the catalog, says what is wrong, and comes back by itself from what passes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest

from facewatchd.errors import UsageError
from facewatchd.shared import sender as module
from facewatchd.shared.engine import EngineError, Trouble
from facewatchd.shared.pool import Identity
from facewatchd.shared.sender import Sender
from facewatchd.shared.values import SharedContent
from tests.support.fake_engine import FakeServer
from tests.support.fake_outbox import Catalog, FakeDaemon
from tests.support.processes import until
from tests.support.shared_contents import content, digest

Start = Callable[..., Sender]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT", 0.1)
    monkeypatch.setattr(module, "LOOK_EVERY", 0.1)


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def daemon() -> FakeDaemon:
    catalog = Catalog()
    for number in range(3):
        catalog.set(content(number))
    return FakeDaemon(catalog)


@pytest.fixture
def start(server: FakeServer, daemon: FakeDaemon) -> Iterator[Start]:
    made = []

    def start(*, sends: bool = True, become: Callable[[Identity], None] = lambda _: None) -> Sender:
        sender = Sender(daemon.connect, server.connect, become, "here", sends=sends)
        made.append(sender)
        sender.start()
        return sender

    yield start
    for sender in made:
        sender.stop()
        assert not sender.alive()


def is_level(server: FakeServer, daemon: FakeDaemon) -> bool:
    own = server.machines.get(daemon.catalog.machine)
    rows = {key: each.paths for key, each in own.contents.items()} if own else {}
    return rows == {key: each.paths for key, each in daemon.catalog.shown.items()} and not daemon.catalog.changes


def test_it_follows_the_catalog(server: FakeServer, daemon: FakeDaemon, start: Start) -> None:
    sender = start()
    until(lambda: is_level(server, daemon))
    daemon.set(content(1, paths=(b"/renamed",)))
    daemon.set(SharedContent(digest(2)))
    daemon.set(content(9))
    until(lambda: is_level(server, daemon))
    until(lambda: (sender.trouble, sender.backlog) == (None, 0))


def test_it_says_that_it_is_there_while_nothing_changes(server: FakeServer, daemon: FakeDaemon, start: Start) -> None:
    start()
    until(lambda: is_level(server, daemon))
    own = server.machines[daemon.catalog.machine]
    seen, lineages = own.seen, list(daemon.catalog.lineages)
    until(lambda: own.seen > seen)
    daemon.catalog.pending = 7
    until(lambda: own.pending == 7)
    assert daemon.catalog.lineages == lineages, "an empty push is not noted"


def test_it_waits_for_the_daemon_and_follows_it_to_another_model(
    server: FakeServer, daemon: FakeDaemon, start: Start
) -> None:
    daemon.is_away = True
    seen: list[Identity] = []
    sender = start(become=seen.append)
    until(lambda: sender.trouble is not None)
    daemon.is_away = False
    until(lambda: is_level(server, daemon))
    until(lambda: sender.trouble is None)
    other = Catalog(model="other")
    other.set(content(7))
    daemon.restart(other)
    until(lambda: is_level(server, daemon))
    assert [each.model for each in dict.fromkeys(seen)] == ["model", "other"]


def test_it_comes_back_from_a_failure_that_passes(
    server: FakeServer, daemon: FakeDaemon, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    server.trouble = EngineError(Trouble.UNREACHABLE, "it is away", "wait")
    with caplog.at_level(logging.INFO, "facewatchd"):
        sender = start()
        until(lambda: sender.trouble is not None)
        assert sender.backlog == 3
        server.trouble = None
        until(lambda: is_level(server, daemon))
        until(lambda: sender.trouble is None)
    said = [record.message for record in caplog.records if "it is away" in record.message]
    assert said == ["nothing is sent to the shared engine: it is away; wait"]


def test_what_a_person_has_to_mend_is_tried_again_when_it_is_told_to(
    server: FakeServer, daemon: FakeDaemon, start: Start
) -> None:
    server.trouble = EngineError(Trouble.REFUSED, "a wrong password", "put the right one")
    sender = start()
    until(lambda: sender.trouble is not None)
    server.trouble = None
    daemon.set(content(4))
    until(lambda: sender.backlog == 4, deadline=10)
    assert server.connections == 0
    sender.try_now()
    until(lambda: is_level(server, daemon))


def test_while_nothing_is_sent_it_attaches_anew_when_told_so(
    server: FakeServer, daemon: FakeDaemon, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine was restored from a backup, and the thread that asks has seen that its connection was cut."""
    monkeypatch.setattr(module, "HEARTBEAT", 600.0)
    sender = start()
    until(lambda: is_level(server, daemon))
    backup = server.backup()
    daemon.set(content(7))
    until(lambda: is_level(server, daemon))
    until(lambda: sender._waits)
    server.restore(backup)
    sender.try_now()
    until(lambda: is_level(server, daemon), deadline=30)
    until(lambda: sender._waits)
    assert sender.trouble is None


def test_one_that_is_fenced_stops_and_takes_over_when_it_is_told_to(
    server: FakeServer, daemon: FakeDaemon, start: Start
) -> None:
    first = start()
    until(lambda: is_level(server, daemon))
    other = FakeDaemon(daemon.catalog.copied())
    second = Sender(other.connect, server.connect, lambda _: None, "here", sends=True)
    second.start()
    until(lambda: isinstance(first.trouble, EngineError) and first.trouble.trouble is Trouble.FENCED)
    daemon.set(content(5))
    daemon.restart()
    until(lambda: first.backlog == 1)
    assert second.trouble is None
    second.stop()
    assert first.resync() >= 1
    until(lambda: is_level(server, daemon))
    until(lambda: first.trouble is None)


def test_one_that_was_removed_stops_and_sends_again_when_it_is_told_to(
    server: FakeServer, daemon: FakeDaemon, start: Start
) -> None:
    sender = start()
    until(lambda: is_level(server, daemon))
    server.connect().remove("here")
    until(lambda: isinstance(sender.trouble, EngineError) and sender.trouble.trouble is Trouble.REMOVED)
    assert sender.resync() == 3
    until(lambda: is_level(server, daemon))


def test_a_resync_restores_what_the_engine_lost(server: FakeServer, daemon: FakeDaemon, start: Start) -> None:
    sender = start()
    until(lambda: is_level(server, daemon))
    own = server.machines[daemon.catalog.machine]
    del own.contents[digest(1)]
    own.contents[digest(99)] = content(99)
    assert not is_level(server, daemon)
    sender.resync()
    until(lambda: is_level(server, daemon))


def test_before_a_daemon_that_notes_no_changes_it_says_so_once_and_waits(
    server: FakeServer, daemon: FakeDaemon, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    daemon.catalog.sends = False
    batches: list[str] = []
    daemon.fails = batches.append
    sender = start()
    until(lambda: len(batches) > 5)
    assert server.connections == 0
    assert sender.trouble is not None
    assert [record.message for record in caplog.records if "send = false" in record.message] == [
        f"nothing is sent to the shared engine: {sender.trouble}"
    ]
    daemon.catalog.sends = True
    until(lambda: is_level(server, daemon) and sender.trouble is None)


def test_one_that_only_asks_sends_nothing(server: FakeServer, daemon: FakeDaemon, start: Start) -> None:
    seen: list[Identity] = []
    sender = start(sends=False, become=seen.append)
    until(lambda: seen)
    assert server.machines == {}
    with pytest.raises(UsageError, match="sends nothing"):
        sender.resync()
