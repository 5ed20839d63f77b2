"""The network between a machine and the shared engine is slow, silent or broken."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.engine_server import Database
from tests.support.processes import until
from tests.support.shared_machines import Machine, Photos, check
from tests.support.tcp_proxy import Proxy

TIMEOUT = 1.0
"""Seconds that a question waits for the engine."""
SPARE = 4.0
"""Seconds that a question may take beyond that on a busy machine: the person asked for is on a photo here too."""


@pytest.fixture
def laptop(tmp_path: Path, tiny_root: Path, engine: Database, proxy: Proxy) -> Iterator[Machine]:
    """A machine behind the proxy. The engine also has the photos of a NAS, which is switched off."""
    nas_photos, own_photos = Photos(tmp_path / "nas photos", 8), Photos(tmp_path / "photos", first_seed=100)
    with Machine(tmp_path / "nas", engine.url(), nas_photos.root, name="nas", model_root=tiny_root) as nas:
        nas.start()
        nas.settle()
        nas.stop()
    url = engine.url(port=proxy.port)
    with Machine(
        *(tmp_path / "laptop", url, own_photos.root),
        name="laptop",
        model_root=tiny_root,
        shared=f"timeout = {TIMEOUT}",
    ) as laptop:
        laptop.start()
        laptop.settle()
        laptop.reach("ok")
        yield laptop


def ask(machine: Machine) -> dict[str, Any]:
    """Ask for the person on a photo here, as soon as the deadline allows."""
    photo = min(machine.daemon.roots[0].iterdir())
    begin = time.monotonic()
    answer: dict[str, Any] = machine.daemon.call("query", photos=[{"path": str(photo)}], top=0)
    assert time.monotonic() - begin < TIMEOUT + SPARE
    assert any(match["path"] == str(photo) or str(photo) in match["copies"] for match in answer["matches"])
    return answer


def hosts(answer: dict[str, Any]) -> set[str | None]:
    return {match["host"] for match in answer["matches"]}


def test_questions_are_answered_and_nothing_is_lost_whatever_the_network_does(
    laptop: Machine, engine: Database, proxy: Proxy, tmp_path: Path
) -> None:
    photos = Photos(laptop.daemon.roots[0] / "more", first_seed=200)
    nas = tmp_path / "nas" / "data"
    states: list[tuple[str, Callable[[], None]]] = [
        ("cut", proxy.cut),
        ("hang", proxy.hang),
        ("answers held", proxy.hold_answers),
        ("refused", proxy.refuse),
    ]
    assert hosts(ask(laptop)) == {None, "nas"}
    for name, break_it in states:
        break_it()
        photos.change()
        laptop.daemon.settle()
        for _ in range(3):
            answer = ask(laptop)
            assert hosts(answer) == {None}, name
            assert answer["shared"]["state"] == "unreachable", name
            assert answer["shared"]["reason"], name
            assert not answer["complete"], name
        proxy.heal()
        check(engine, laptop, switched_off={"nas": nas})
        until(lambda: hosts(ask(laptop)) == {None, "nas"})
    laptop.stop()


def test_a_push_that_is_cut_anywhere_comes_whole(
    laptop: Machine, engine: Database, proxy: Proxy, tmp_path: Path
) -> None:
    photos = Photos(laptop.daemon.roots[0] / "more", first_seed=200)
    for size in (0, 200, 1_000, 3_000):
        photos.change()
        proxy.cut_after(size)
        photos.change()
        until(proxy.is_cut)
        proxy.reset()
        proxy.heal()
        check(engine, laptop, switched_off={"nas": tmp_path / "nas" / "data"})


def test_a_server_that_hangs_holds_up_neither_a_start_nor_an_end(
    laptop: Machine, engine: Database, proxy: Proxy, tmp_path: Path
) -> None:
    photos = Photos(laptop.daemon.roots[0] / "more", first_seed=200)
    proxy.hang()
    photos.change()
    until(lambda: laptop.status()["backlog"])
    begin = time.monotonic()
    assert laptop.stop_share() == 0
    laptop.start_share()
    ask(laptop)
    assert laptop.stop_share() == 0
    assert time.monotonic() - begin < 40, "a push that waits has 30 seconds and more"
    proxy.heal()
    laptop.start_share()
    check(engine, laptop, switched_off={"nas": tmp_path / "nas" / "data"})


def test_a_far_server_is_sent_to_and_asked_without_a_new_connection(
    laptop: Machine, engine: Database, proxy: Proxy, tmp_path: Path
) -> None:
    photos = Photos(laptop.daemon.roots[0] / "more", first_seed=200)
    ask(laptop)
    before = proxy.connections
    for rtt in (0.001, 0.02, 0.2):
        proxy.delay(rtt)
        photos.change()
        check(engine, laptop, switched_off={"nas": tmp_path / "nas" / "data"})
        answer = ask(laptop)
        assert hosts(answer) == {None, "nas"}
        assert answer["complete"]
    assert proxy.connections == before
