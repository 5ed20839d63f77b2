"""The network between a machine and the shared engine is slow, silent or broken."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.engine_server import Database, Server
from tests.support.processes import until
from tests.support.shared_machines import Machine, Photos, check
from tests.support.tcp_proxy import Proxy

TIMEOUT = 1.0
"""Seconds that a question waits for the engine."""
SPARE = 4.0
"""Seconds that a question may take beyond that on a busy machine: the person asked for is on a photo here too."""

_numbers = itertools.count(1)


class Place(NamedTuple):
    """A laptop behind a proxy. The engine also has the photos of a NAS, which is switched off."""

    laptop: Machine
    engine: Database
    proxy: Proxy
    nas: Path
    """Its data directory."""

    def check(self) -> None:
        check(self.engine, self.laptop, switched_off={"nas": self.nas})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_root: Path, engine_server: Server) -> Iterator[Place]:
    """The tests leave it as it was, with a network that is sound."""
    home = tmp_path_factory.mktemp("networks")
    engine = engine_server.new_database()
    nas_photos, own_photos = Photos(home / "nas photos", 8), Photos(home / "photos", first_seed=100)
    with Machine(home / "nas", engine.url(), nas_photos.root, name="nas", model_root=tiny_root) as nas:
        nas.start()
        nas.settle()
        nas.stop()
    with Proxy(engine_server.port) as proxy:
        url = engine.url(port=proxy.port)
        table = f"timeout = {TIMEOUT}"
        with Machine(
            home / "laptop", url, own_photos.root, name="laptop", model_root=tiny_root, shared=table
        ) as laptop:
            laptop.start()
            laptop.settle()
            laptop.reach("ok")
            yield Place(laptop, engine, proxy, nas.data)
    engine.drop()


@pytest.fixture
def photos(place: Place, tmp_path: Path) -> Photos:
    """More photos of the laptop, whose questions are answered by all machines."""
    until(lambda: hosts(ask(place.laptop)) == {None, "nas"})
    return Photos(place.laptop.daemon.roots[0] / tmp_path.name, first_seed=1000 * next(_numbers))


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


def test_questions_are_answered_and_nothing_is_lost_whatever_the_network_does(place: Place, photos: Photos) -> None:
    laptop, _, proxy, _ = place
    states: list[tuple[str, Callable[[], None]]] = [
        ("cut", proxy.cut),
        ("hang", proxy.hang),
        ("answers held", proxy.hold_answers),
        ("refused", proxy.refuse),
    ]
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
        place.check()
        until(lambda: hosts(ask(laptop)) == {None, "nas"})


def test_a_push_that_is_cut_anywhere_comes_whole(place: Place, photos: Photos) -> None:
    proxy = place.proxy
    for size in (0, 200, 1_000, 3_000):
        photos.change()
        proxy.cut_after(size)
        photos.change()
        until(proxy.is_cut)
        proxy.reset()
        proxy.heal()
        place.check()


def test_a_server_that_hangs_holds_up_neither_a_start_nor_an_end(place: Place, photos: Photos) -> None:
    laptop, _, proxy, _ = place
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
    place.check()


def test_a_far_server_is_sent_to_and_asked_without_a_new_connection(place: Place, photos: Photos) -> None:
    laptop, _, proxy, _ = place
    place.check()
    before = proxy.connections
    for rtt in (0.001, 0.02, 0.2):
        proxy.delay(rtt)
        photos.change()
        place.check()
        answer = ask(laptop)
        assert hosts(answer) == {None, "nas"}
        assert answer["complete"]
    assert proxy.connections == before
    proxy.delay(0)


def test_an_archive_without_an_index_says_when_the_engine_is_away(
    tmp_path: Path, tiny_root: Path, engine: Database, proxy: Proxy
) -> None:
    photos = Photos(tmp_path / "photos")
    table = f'timeout = {TIMEOUT}\nindex = "shared"'
    with Machine(
        tmp_path / "archive",
        engine.url(port=proxy.port),
        photos.root,
        name="archive",
        model_root=tiny_root,
        shared=table,
    ) as archive:
        archive.start()
        check(engine, archive)
        photo = min(photos.root.iterdir())
        query = {"photos": [{"path": str(photo)}], "top": 0}
        until(lambda: archive.daemon.call("query", **query)["complete"])
        before = archive.daemon.call("query", **query)["matches"]
        assert any(match["path"] == str(photo) for match in before)
        for break_it in (proxy.hang, proxy.refuse):
            break_it()
            begin = time.monotonic()
            answer = archive.daemon.call("query", **query)
            assert time.monotonic() - begin < TIMEOUT + SPARE
            assert not answer["complete"]
            assert answer["shared"]["state"] == "unreachable"
            proxy.heal()
            until(lambda: archive.daemon.call("query", **query)["matches"] == before)
        archive.kill_share()
        answer = archive.daemon.call("query", **query)
        assert not answer["complete"]
        assert answer["shared"]["state"] == "off"
        archive.start_share()
        until(lambda: archive.daemon.call("query", **query)["matches"] == before)
        photos.change()
        check(engine, archive)
        archive.stop()
