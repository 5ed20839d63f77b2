"""Whatever breaks between catalog and engine, the engine ends up with what is true: crashes at each step, lost answers,
restored backups on both sides, copied data directories."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from facewatchd.errors import FacewatchError, NoDaemonError, NotReadyError
from facewatchd.shared import pushing
from facewatchd.shared.engine import EngineError, Trouble
from facewatchd.shared.pushing import Pusher
from facewatchd.shared.values import SharedContent
from tests.support.fake_engine import FakeEngine, FakeServer
from tests.support.fake_outbox import Catalog, FakeDaemon, FakeOutbox
from tests.support.shared_contents import content, digest

STEPS = ("batch", "sending", "after sending", "sent", "after sent", "mark")


class Process:
    """A facewatch-share without threads, and the daemon beside it."""

    def __init__(self, server: FakeServer, catalog: Catalog) -> None:
        self.server = server
        self.daemon = FakeDaemon(catalog)
        self.start()

    def start(self) -> None:
        self.pusher = Pusher("here")
        self.engine: FakeEngine | None = None
        self.outbox: FakeOutbox | None = None

    def step(self, limit: int = 2) -> int:
        """Connect, attach or push, whatever is next; return what is left. Connections that failed are dropped."""
        try:
            if self.outbox is None:
                self.outbox, self.engine = self.daemon.connect(), None
            batch = self.pusher.next_batch(self.outbox, limit, 0.0)
            if self.pusher.know(batch):
                self.engine = None
            if self.engine is None:
                engine = self.server.connect()
                self.pusher.attach(engine, self.outbox, batch)
                self.engine = engine
                return 1
            if self.pusher.compare_if_due(self.engine, self.outbox, batch):
                return 1
            return self.pusher.push(self.engine, self.outbox, batch) or (0 if self.pusher.has_pushed else 1)
        except EngineError:
            self.engine = None
            raise
        except FacewatchError:
            self.outbox = None
            raise

    def settle(self) -> None:
        """Push until the engine has everything; a daemon that went away is connected to again."""
        for _ in range(1000):
            try:
                if self.step() == 0:
                    return
            except (NoDaemonError, NotReadyError):
                if self.daemon.fails is not None:
                    raise
            except EngineError as exc:
                if exc.trouble is not Trouble.UNREACHABLE or self.server.trouble is not None:
                    raise
        raise AssertionError("it never ends")


def rows(server: FakeServer, catalog: Catalog) -> dict[bytes, tuple[bytes, tuple[bytes, ...]]]:
    own = server.machines.get(catalog.machine)
    return {key: (each.fingerprint, each.paths) for key, each in (own.contents if own else {}).items()}


def truth(catalog: Catalog) -> dict[bytes, tuple[bytes, tuple[bytes, ...]]]:
    return {key: (each.fingerprint, each.paths) for key, each in catalog.shown.items()}


NUMBERS = st.integers(0, 5)
CONTENTS = st.builds(
    lambda number, faces, path, gone: SharedContent(digest(number)) if gone else content(number, faces, (path,)),
    NUMBERS,
    st.integers(1, 2),
    st.sampled_from([b"/a", b"/b", b"/c"]),
    st.booleans(),
)


class Sharing(RuleBasedStateMachine):
    """Up to three processes with copies of one data directory, one engine, and everything that can break."""

    @initialize()
    def begin(self) -> None:
        self.server = FakeServer()
        self.processes = [Process(self.server, Catalog())]
        self.backups: list[Any] = []
        self.catalogs: list[Catalog] = []

    def process(self, data: st.DataObject) -> Process:
        return data.draw(st.sampled_from(self.processes))

    @rule(data=st.data(), changed=CONTENTS)
    def change(self, data: st.DataObject, changed: SharedContent) -> None:
        self.process(data).daemon.set(changed)

    @rule(data=st.data(), steps=st.integers(1, 4))
    def push(self, data: st.DataObject, steps: int) -> None:
        process = self.process(data)
        for _ in range(steps):
            self.attempt(process)

    def attempt(self, process: Process) -> None:
        try:
            process.step()
        except EngineError as exc:
            assert exc.trouble in (Trouble.FENCED, Trouble.UNREACHABLE, Trouble.REMOVED)  # noqa: PT017
        except (NoDaemonError, NotReadyError):
            pass

    @rule(data=st.data(), step=st.sampled_from(STEPS), restarts=st.booleans())
    def crash(self, data: st.DataObject, step: str, restarts: bool) -> None:
        process = self.process(data)

        def fail(name: str) -> None:
            if name == step:
                raise NoDaemonError("it was killed")

        process.daemon.fails = fail
        self.attempt(process)
        self.attempt(process)
        process.daemon.fails = None
        if restarts:
            process.start()

    @rule(data=st.data())
    def lose_an_answer(self, data: st.DataObject) -> None:
        self.server.lose_next_answer = True
        self.attempt(self.process(data))
        self.attempt(self.process(data))
        self.server.lose_next_answer = False

    @rule(data=st.data())
    def restart(self, data: st.DataObject) -> None:
        self.process(data).start()

    @rule()
    def back_up_engine(self) -> None:
        self.backups.append(self.server.backup())

    @precondition(lambda self: self.backups)
    @rule(data=st.data(), cuts=st.booleans())
    def restore_engine(self, data: st.DataObject, cuts: bool) -> None:
        self.server.restore(data.draw(st.sampled_from(self.backups)))
        for process in self.processes if cuts else ():
            process.engine = None

    @rule(data=st.data())
    def catch_up(self, data: st.DataObject) -> None:
        """A process that goes on, and is not fenced, has its truth in the engine, whatever was restored."""
        process = self.process(data)
        try:
            process.settle()
        except EngineError as exc:
            assert exc.trouble in (Trouble.FENCED, Trouble.REMOVED)  # noqa: PT017
        else:
            assert rows(self.server, process.daemon.catalog) == truth(process.daemon.catalog)

    @rule(data=st.data())
    def back_up_catalog(self, data: st.DataObject) -> None:
        self.catalogs.append(self.process(data).daemon.catalog.copied())

    @precondition(lambda self: self.catalogs)
    @rule(data=st.data())
    def restore_catalog(self, data: st.DataObject) -> None:
        catalog = data.draw(st.sampled_from(self.catalogs)).copied()
        self.process(data).daemon.restart(catalog)

    @precondition(lambda self: len(self.processes) < 3)
    @rule(data=st.data())
    def copy_directory(self, data: st.DataObject) -> None:
        self.processes.append(Process(self.server, self.process(data).daemon.catalog.copied()))

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        self.server.connect().remove("here")
        process = self.process(data)
        process.start()
        process.pusher.resync()

    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        """The process that is started last, and told to, has its truth in the engine."""
        process = self.process(data)
        process.start()
        process.pusher.resync() if any(each.is_removed for each in self.server.machines.values()) else None
        process.settle()
        assert rows(self.server, process.daemon.catalog) == truth(process.daemon.catalog)
        for other in self.processes:
            if other is not process and other.engine is not None and not other.pusher._takes_back:
                other.daemon.set(content(0))
                with pytest.raises(EngineError) as caught:
                    other.settle()
                assert caught.value.trouble in (Trouble.FENCED, Trouble.REMOVED)
        assert rows(self.server, process.daemon.catalog) == truth(process.daemon.catalog)

    @invariant()
    def one_machine(self) -> None:
        assert len(self.server.machines) <= 1


Sharing.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestSharing = Sharing.TestCase


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_each_step_costs_nothing(server: FakeServer, step: str) -> None:
    process = Process(server, Catalog())
    backup = server.backup()
    _grown(process, lambda: range(2))
    server.restore(backup)  # so that everything is marked, too
    process.engine = None
    for number in range(5):
        process.daemon.set(content(number))

    def fail(name: str) -> None:
        if name == step:
            raise NoDaemonError("it was killed")

    process.daemon.fails = fail
    for _ in range(3):
        with pytest.raises(FacewatchError):
            process.settle()
    process.daemon.fails = None
    process.start()
    process.settle()
    assert rows(server, process.daemon.catalog) == truth(process.daemon.catalog)


def _grown(process: Process, numbers: Callable[[], range]) -> None:
    for number in numbers():
        process.daemon.set(content(number))
    process.settle()


def test_a_catalog_that_is_restored_within_a_session_leaves_no_ghosts(server: FakeServer) -> None:
    process = Process(server, Catalog())
    _grown(process, lambda: range(3))
    backup = process.daemon.catalog.copied()
    _grown(process, lambda: range(3, 6))
    process.daemon.restart(backup)
    process.settle()
    assert len(rows(server, backup)) == 3


def test_a_restored_engine_gets_what_it_lacks(server: FakeServer) -> None:
    process = Process(server, Catalog())
    _grown(process, lambda: range(3))
    backup = server.backup()
    process.start()  # so that the epoch is later than that of the backup
    _grown(process, lambda: range(3, 6))
    server.restore(backup)
    process.engine = None
    process.settle()
    assert rows(server, process.daemon.catalog) == truth(process.daemon.catalog)
    assert len(rows(server, process.daemon.catalog)) == 6


@pytest.mark.parametrize("changes", [True, False])
def test_an_engine_that_is_restored_under_an_open_connection_gets_what_it_lacks(
    server: FakeServer, changes: bool
) -> None:
    process = Process(server, Catalog())
    _grown(process, lambda: range(3))
    backup = server.backup()
    process.daemon.set(SharedContent(digest(0)))
    _grown(process, lambda: range(3, 6))
    server.restore(backup)
    if changes:
        process.daemon.set(content(7))
    process.settle()
    assert rows(server, process.daemon.catalog) == truth(process.daemon.catalog)
    process.start()
    process.settle()
    assert rows(server, process.daemon.catalog) == truth(process.daemon.catalog)


def test_a_comparison_that_is_cut_is_made_again(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(server, Catalog())
    _grown(process, lambda: range(3))
    catalog = process.daemon.catalog
    server.machines[catalog.machine].contents[digest(9)] = content(9)
    process.pusher.resync()
    with monkeypatch.context() as patched:
        late = EngineError(Trouble.LATE, "no answer in time", "")
        patched.setattr(FakeEngine, "digests", lambda *_: (_ for _ in ()).throw(late))
        with pytest.raises(EngineError):
            process.settle()
    process.settle()
    assert rows(server, catalog) == truth(catalog)


def test_of_two_copies_the_one_that_is_started_last_sends(server: FakeServer) -> None:
    first = Process(server, Catalog())
    _grown(first, lambda: range(3))
    second = Process(server, first.daemon.catalog.copied())
    _grown(second, lambda: range(3, 4))
    for _ in range(3):  # also when it tries again, and after its daemon was started anew
        with pytest.raises(EngineError) as caught:
            _grown(first, lambda: range(7, 8))
        assert caught.value.trouble is Trouble.FENCED
    assert rows(server, second.daemon.catalog) == truth(second.daemon.catalog)
    first.pusher.resync()
    first.settle()
    assert rows(server, first.daemon.catalog) == truth(first.daemon.catalog)


def test_a_removed_machine_comes_back_only_when_it_is_told_to(server: FakeServer) -> None:
    process = Process(server, Catalog())
    _grown(process, lambda: range(3))
    server.connect().remove("here")
    for _ in range(3):
        with pytest.raises(EngineError) as caught:
            process.settle()
        assert caught.value.trouble is Trouble.REMOVED
        process.start()
    process.pusher.resync()
    process.settle()
    assert rows(server, process.daemon.catalog) == truth(process.daemon.catalog)


def test_the_first_load_sends_everything_once(server: FakeServer) -> None:
    process = Process(server, Catalog())
    for number in range(6):
        process.daemon.set(content(number))
    taken: list[str] = []
    process.daemon.fails = taken.append
    process.settle()
    assert taken.count("sent") == 3
    assert "mark" not in taken


def test_nothing_is_written_while_nothing_changes(server: FakeServer) -> None:
    process = Process(server, Catalog())
    _grown(process, lambda: range(3))
    taken: list[str] = []
    process.daemon.fails = taken.append
    process.daemon.catalog.pending = 4
    for _ in range(5):
        assert process.step() == 0
    assert set(taken) == {"batch"}
    assert server.machines["ab" * 16].pending == 4


@pytest.mark.parametrize("bad", [[0], [5], [2, 3, 7], list(range(8))])
def test_what_the_engine_rejects_is_set_aside_and_the_rest_is_sent(server: FakeServer, bad: list[int]) -> None:
    process = Process(server, Catalog())
    rejected = {digest(number) for number in bad}
    server.rejects = lambda each: each.digest in rejected and not each.is_gone
    for number in range(8):
        process.daemon.set(content(number))
    for _ in range(6):
        left = process.step(limit=8)
    catalog = process.daemon.catalog
    assert set(rows(server, catalog)) == set(truth(catalog)) - rejected
    assert set(catalog.changes) == rejected, "what is set aside is not told as sent"
    assert left == server.machines[catalog.machine].backlog == len(bad)
    assert {each.digest for each in process.pusher.aside} == rejected

    process.daemon.set(content(9))
    process.daemon.set(SharedContent(digest(bad[0])))  # a change that is taken
    for _ in range(3):
        process.step(limit=8)
    assert digest(9) in rows(server, catalog)
    assert set(catalog.changes) == {each.digest for each in process.pusher.aside} == rejected - {digest(bad[0])}

    server.rejects = lambda _: False
    process.start()
    process.settle()
    assert rows(server, catalog) == truth(catalog)
    assert process.pusher.aside == ()


def test_a_server_that_takes_nothing_is_not_asked_for_each_photo(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushing, "MOST_ASIDE", 2)
    process = Process(server, Catalog())
    server.rejects = lambda each: not each.is_gone
    for number in range(9):
        process.daemon.set(content(number))
    with pytest.raises(EngineError) as caught:
        process.settle()
    assert caught.value.trouble is Trouble.NOT_TAKEN
    assert len(process.pusher.aside) == 2
    assert len(process.daemon.catalog.changes) == 9
