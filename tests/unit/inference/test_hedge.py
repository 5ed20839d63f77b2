"""Photos that the process for queries takes from an indexing process that gets no processor."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import cast

from facewatchd.inference.hedge import Hedge
from facewatchd.inference.pool import Inference
from facewatchd.inference.wire import Analysis

DEADLINE = 20.0


class Starved:
    """An indexing process that could run and does not. Each photo asks for help when its turn comes, then once more."""

    def __init__(self) -> None:
        self.entered = threading.Barrier(3)
        self.turns = {name: [threading.Event(), threading.Event()] for name in (b"first", b"second")}
        self.asked = threading.Event()

    def effort(self) -> tuple[float, bool]:
        return 0.0, True

    def analyse(self, data: bytes, wait: Callable[[], None], *, alone: bool) -> Analysis:
        del alone
        self.entered.wait(DEADLINE)
        for turn in self.turns[data]:
            assert turn.wait(DEADLINE)
            wait()
            self.asked.set()
        raise AssertionError("it was not helped")


class Helper:
    """A process for queries that keeps the first photo until it may go on."""

    def __init__(self) -> None:
        self.has_first, self.may_answer = threading.Event(), threading.Event()

    def attempt(self, data: bytes, beat: Callable[[], None]) -> Analysis:
        del beat
        if data == b"first":
            self.has_first.set()
            assert self.may_answer.wait(DEADLINE)
        return Analysis(1, 1, [])


def test_a_photo_that_came_while_another_was_helped_has_its_turn_later() -> None:
    now = 0.0
    indexing, helper = Starved(), Helper()
    hedge = Hedge(cast(Inference, indexing), cast(Inference, helper), clock=lambda: now)
    answers: dict[bytes, Analysis] = {}
    threads = {
        name: threading.Thread(target=lambda name=name: answers.update({name: hedge.analyse(name)}))
        for name in indexing.turns
    }
    for thread in threads.values():
        thread.start()
    indexing.entered.wait(DEADLINE)
    now = 3.0  # longer than the patience, and than the window in which the share is measured
    indexing.turns[b"first"][0].set()
    assert helper.has_first.wait(DEADLINE)
    indexing.turns[b"second"][0].set()
    assert indexing.asked.wait(DEADLINE)
    assert b"second" not in answers
    helper.may_answer.set()
    threads[b"first"].join(DEADLINE)
    now = 6.0  # after the rest
    indexing.turns[b"second"][1].set()
    threads[b"second"].join(DEADLINE)
    assert answers.keys() == indexing.turns.keys()
    assert hedge.waits()
