"""Faces of other machines: how fast they are taken over, and what asking costs where no machine has any.

Two machines, each a daemon and a facewatch-share, before a real server over TLS, through a proxy that delays. The model
sees drawn faces in a hundredth of a second; where asking is weighed against it, it takes `SLOW` seconds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from tests.benchmarks.options import Options
from tests.benchmarks.report import Report, median
from tests.support import engine_server, tiny_pack
from tests.support.albums import album
from tests.support.engine_server import Database
from tests.support.processes import until
from tests.support.shared_machines import PAUSED, Machine
from tests.support.tcp_proxy import Proxy

SLOW = 0.1
"""Seconds a photo, as a small model takes."""
SLOWLY = f"""
import sys
if "indexing" in sys.argv:
    import time
    from facewatchd.photos import decode as photos
    def slowly(file, decode=photos.decode):
        time.sleep({SLOW})
        return decode(file)
    photos.decode = slowly
"""
MOST_LOST = 1.1
"""Of the time to embed photos that no machine has, with an engine."""
DEADLINE = 600.0


def run(options: Options) -> Iterator[Report]:
    known, unknown = options.rounds(1500), options.rounds(400)
    taken = Report(
        "Photos that another machine has embedded", ("round trip, ms", "photos a second", "taken over", "of")
    )
    asked = Report(f"Photos that no machine has, {SLOW:g} s each", ("engine", "round trip, ms", "photos a second"))
    album(options.work / "known", known)
    album(options.work / "unknown", unknown, first_seed=50_000)
    tiny_pack.build(options.work / "packs")
    with (
        engine_server.installed() as installation,
        engine_server.own(installation) as server,
        Proxy(server.port) as proxy,
    ):
        server.start()
        database = server.new_database()
        with _machine(options, "nas", database, 0, "known") as nas:
            nas.start()
            until(lambda: nas.daemon.settle(DEADLINE), deadline=DEADLINE)
            nas.settle()
        for trip in (0.0, 0.02):
            proxy.delay(trip)
            with _machine(options, f"reader {trip}", database, proxy.port, "known") as machine:
                seconds, rates = _index(machine)
            taken.row(1000 * trip, known / seconds, int(rates["fetched"]), known)
        spent: dict[float | None, list[float]] = {None: [], 0.0: [], 0.02: []}
        for turn in range(options.rounds(3)):
            for way, found in spent.items():
                proxy.delay(way or 0.0)
                with _machine(options, f"{turn} {way}", database, proxy.port, "unknown") as machine:
                    machine.daemon.hook(SLOWLY)
                    found.append(_index(machine, asks=way is not None)[0])
    for way, found in spent.items():
        asked.row("none" if way is None else "asked", 1000 * (way or 0.0), unknown / median(found))
        asked.check(f"times as long at {way}", median(found) / median(spent[None]), MOST_LOST)
    asked.notes.append(f"Medians of {options.rounds(3)}, by turns.")
    yield from (taken, asked)


def _machine(options: Options, name: str, database: Database, port: int, photos: str) -> Machine:
    return Machine(
        options.work / name,
        database.url(port=port),
        options.work / photos,
        name=name,
        model_root=options.work / "packs",
        shared="" if name == "nas" else "send = false",
    )


def _index(machine: Machine, *, asks: bool = True) -> tuple[float, dict[str, float]]:
    """Index everything; return the seconds, and the counts. Indexing begins when the engine can be asked."""
    machine.daemon.hook(PAUSED)
    machine.daemon.start()
    if asks:
        machine.start_share()
        until(lambda: machine.status()["state"] in ("ok", "behind"))
    until(lambda: machine.daemon.status()["pending"] > 0)
    machine.daemon.call("wait", timeout=0.5)
    began = time.monotonic()
    machine.daemon.call("resume")
    until(lambda: machine.daemon.settle(DEADLINE), deadline=DEADLINE)
    return time.monotonic() - began, machine.daemon.status()["rates"]
