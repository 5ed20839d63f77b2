"""The writer's signs of life: it shows them while it works, and none is left behind when it waits."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from galleries import opened
from processes import until

from facewatchd import writer as module
from facewatchd.vitals import Vitals
from facewatchd.writer import Writer


def test_one_that_has_nothing_to_do_does_not_seem_to_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not after the regular collection either, which nobody asked it for."""
    monkeypatch.setattr(module, "COLLECT_EVERY", 0.05)
    gallery, vitals, collected = opened(tmp_path), Vitals(), threading.Event()
    collect = gallery.collect

    def once() -> None:
        collect()
        monkeypatch.setattr(module, "COLLECT_EVERY", 3600.0)
        collected.set()

    monkeypatch.setattr(gallery, "collect", once)
    writer = Writer(gallery, vitals)
    writer.start()
    try:
        assert collected.wait(10)
        until(lambda: vitals.silent(-1) == [], deadline=5)
    finally:
        writer.stop()


def test_a_long_call_goes_on_as_long_as_it_shows_that_it_does(tmp_path: Path) -> None:
    now = 0.0
    vitals = Vitals(lambda: now)
    writer = Writer(opened(tmp_path), vitals)
    silent: list[list[str]] = []

    def work(_: object) -> None:
        nonlocal now
        for _step in range(3):
            now += 8
            assert writer.goes_on()
            silent.append(vitals.silent(10))
        now += 11
        silent.append(vitals.silent(10))

    writer.start()
    try:
        writer.call(work)
    finally:
        writer.stop()
    assert silent == [[], [], [], ["writer"]]
    assert not writer.goes_on(), "it was told to end"
