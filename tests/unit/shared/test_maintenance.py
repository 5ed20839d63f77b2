"""The thread that has the engine make its index: it looks when there is a reason, and ends when it is told to."""

from __future__ import annotations

import threading

from facewatchd.shared.engine import EngineError, Trouble
from facewatchd.shared.maintenance import Maintenance
from facewatchd.shared.pool import Identity
from tests.support.fake_engine import FakeEngine, FakeServer
from tests.support.processes import until
from tests.support.shared_contents import DIM

HERE = Identity("model", DIM, "ab" * 16)


class Maintained(FakeEngine):
    """Notes that it is maintained, and lets that take until it is closed where it is told to."""

    def __init__(self, server: FakeServer, looks: list[str], *, is_long: bool) -> None:
        super().__init__(server)
        self._looks = looks
        self._is_long = is_long
        self._ended = threading.Event()

    def maintain(self) -> bool:
        self._looks.append("looked")
        if self._is_long:
            assert self._ended.wait(60)
            raise EngineError(Trouble.UNREACHABLE, "the connection was closed", "")
        return True

    def close(self) -> None:
        super().close()
        self._ended.set()


def test_it_looks_at_the_start_and_after_much_was_sent_also_after_a_failure() -> None:
    server, looks = FakeServer(), list[str]()
    failing = threading.Event()

    def connect(_: Identity) -> FakeEngine:
        if failing.is_set():
            looks.append("failed")
            raise EngineError(Trouble.UNREACHABLE, "it is away", "")
        return Maintained(server, looks, is_long=False)

    made = Maintenance(connect)
    made.start()
    made.look()  # before the daemon is known
    made.become(HERE)
    until(lambda: looks == ["looked"])
    failing.set()
    made.look()
    until(lambda: looks == ["looked", "failed"])
    failing.clear()
    made.become(HERE)  # the same: no reason
    made.look()
    until(lambda: looks == ["looked", "failed", "looked"])
    assert made.alive()
    made.stop()
    assert not made.alive()


def test_stopping_ends_what_takes_hours() -> None:
    server, looks = FakeServer(), list[str]()
    made = Maintenance(lambda _: Maintained(server, looks, is_long=True))
    made.start()
    made.become(HERE)
    until(lambda: looks)
    made.stop()
    assert not made.alive()
