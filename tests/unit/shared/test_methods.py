"""How facewatch-share says that a machine stands with the engine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from facewatchd.errors import FacewatchError
from facewatchd.shared.engine import EngineError, Trouble
from facewatchd.shared.methods import Methods
from facewatchd.shared.pushing import Aside
from facewatchd.shared.values import AWAY, MachineState
from facewatchd.shared.wire import State

NAS = MachineState(key=1, name="nas", faces=9, photos=8, backlog=0, pending=0, as_of_s=3.0, is_self=False)


class FakePool:
    """What a pool knows without asking."""

    is_connected = True

    def __init__(self, *known: MachineState, trouble: EngineError | None = None) -> None:
        self._known, self.trouble = known, trouble

    def machines(self) -> tuple[MachineState, ...]:
        return self._known


class FakeSending:
    def __init__(self, backlog: int = 0, pending: int = 0, *, sends: bool = True) -> None:
        self.backlog, self.pending, self.sends = backlog, pending, sends
        self.trouble: FacewatchError | None = None
        self.aside: tuple[Aside, ...] = ()
        self.has_sent = False


def told(pool: Any, sending: Any) -> tuple[State, str]:
    status = Methods(pool, sending, "laptop").status()
    return status.state, status.reason


@pytest.mark.parametrize(
    ("other", "sending", "reason"),
    [
        (NAS, FakeSending(), ""),
        (replace(NAS, backlog=1, pending=4), FakeSending(), "nas has still to send 1 photo"),
        (replace(NAS, pending=4), FakeSending(), "nas has still to index 4 photos"),
        (replace(NAS, backlog=1, as_of_s=AWAY), FakeSending(), ""),
        (replace(NAS, backlog=9, is_self=True), FakeSending(), ""),
        (replace(NAS, backlog=1), FakeSending(2), "laptop has still to send 2 photos"),
        (NAS, FakeSending(0, 1), "laptop has still to index 1 photo"),
        (NAS, FakeSending(2, 1, sends=False), ""),
    ],
)
def test_behind_is_a_machine_that_runs_and_has_more(other: MachineState, sending: FakeSending, reason: str) -> None:
    assert told(FakePool(other), sending) == (State.BEHIND if reason else State.OK, reason)


def test_an_engine_that_is_not_reached_comes_before_what_is_still_to_be_sent() -> None:
    away = EngineError(Trouble.UNREACHABLE, "no route", "is it on?")
    assert told(FakePool(NAS, trouble=away), FakeSending(5)) == (State.UNREACHABLE, "no route")


def test_a_photo_that_the_engine_does_not_take_is_named() -> None:
    refused = EngineError(Trouble.NOT_TAKEN, "the shared engine does not take it: a rule", "")
    sending = FakeSending(1)
    sending.aside = (Aside(b"1" * 32, "/a.jpg", refused),)
    assert told(FakePool(NAS), sending) == (
        State.BEHIND,
        "/a.jpg is not sent: the shared engine does not take it: a rule",
    )
    sending.backlog = 7
    assert told(FakePool(NAS), sending)[1] == "laptop has still to send 7 photos", "others are on their way"
    sending.backlog, sending.aside = 2, 2 * sending.aside
    assert told(FakePool(NAS), sending)[1].endswith("a rule (and 1 more photo)")


def test_a_machine_that_another_one_removed_knows_it_from_the_list_of_machines() -> None:
    sending = FakeSending()
    assert told(FakePool(NAS), sending) == (State.OK, ""), "nothing was sent yet"
    sending.has_sent = True
    assert told(FakePool(NAS), sending) == (State.BEHIND, "this machine was removed from the shared engine")
    assert told(FakePool(NAS, replace(NAS, key=2, name="laptop", is_self=True)), sending) == (State.OK, "")
