"""Many machines before one engine: they push at once, are renamed, removed, and lose most of their photos."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from facewatchd.client.connection import RemoteError
from facewatchd.store.catalog import Outcome
from tests.support import engine_invariant
from tests.support.engine_server import Database
from tests.support.galleries import DIM, photo, unit
from tests.support.processes import until
from tests.support.shared_machines import INFO, PreparedMachine, check

SCHEMA = engine_invariant.schema_of(INFO.id)


@pytest.fixture
def machines(tmp_path: Path, engine: Database) -> Iterator[list[PreparedMachine]]:
    """Ten of them, each with 40 contents of its own and 10 that all have."""
    with contextlib.ExitStack() as started:
        made = [
            started.enter_context(PreparedMachine(tmp_path / f"m{number}", engine.url(), name=f"machine {number}"))
            for number in range(10)
        ]
        for number, machine in enumerate(made):
            machine.record([*photos("all", range(10)), *photos(machine.name, range(number, number + 40))])
        yield made


def photos(whose: str, numbers: Sequence[int]) -> Iterator[Outcome]:
    """Photos with two faces each; those of one owner and number are one content."""
    for number in numbers:
        digest = hashlib.blake2b(f"{whose} {number}".encode(), digest_size=32).digest()
        rows = unit(np.random.default_rng(digest[0] << 8 | digest[1]).normal(size=(2, DIM)))
        yield photo(f"/photos/{whose}/{number}.jpg".encode(), digest, rows, inode=number + 1)


def gone(whose: str, numbers: Sequence[int]) -> Iterator[Outcome]:
    for number in numbers:
        yield Outcome(f"/photos/{whose}/{number}.jpg".encode(), None)


def test_ten_machines_push_at_once_while_questions_are_asked(machines: list[PreparedMachine], engine: Database) -> None:
    asked, failed = [], []
    ending = threading.Event()

    def ask(machine: PreparedMachine) -> None:
        while not ending.is_set():
            begin = time.monotonic()
            reply = machine.call("nearest", embeddings=_one(), thresholds=[-1.0], most=1000, seconds=10.0)
            asked.append(time.monotonic() - begin)
            if "error" in reply:
                failed.append(reply)

    for machine in machines:
        machine.launch_share()
    for machine in machines:
        until(machine.status)
    until(lambda: machines[0].status()["state"] in ("ok", "behind"))
    asker = threading.Thread(target=ask, args=(machines[0],))
    asker.start()
    try:
        for step in range(3):
            for number, machine in enumerate(machines):
                machine.record(photos(machine.name, range(50 + 20 * step, 70 + 20 * step)))
                machine.record(gone(machine.name, range(10 * step, 10 * step + number)))
                machine.record(photos("all", range(10 + step, 13 + step)))
    finally:
        check(engine, *machines)
        ending.set()
        asker.join()
    assert asked
    assert not failed
    with engine.administer() as db:
        deadlocks = db.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").fetchone()
    assert deadlocks == (0,)
    for machine in machines:
        machine.reach("ok")
        assert len(machine.call("machines")["machines"]) == 10
        assert machine.stop_share() == 0


def _one() -> str:
    import base64

    return base64.b64encode(unit(np.ones((1, DIM))).astype("<f4").tobytes()).decode()


def test_a_machine_is_removed_while_it_is_alive_and_comes_back_when_it_is_told_to(
    machines: list[PreparedMachine], engine: Database
) -> None:
    nas, laptop = machines[:2]
    for machine in (nas, laptop):
        machine.start_share()
    check(engine, nas, laptop)
    reply = laptop.call("remove", name=nas.name)
    assert [each["name"] for each in reply["machines"]] == [laptop.name]
    nas.record(photos(nas.name, range(60, 65)))
    until(lambda: "resync" in nas.status()["hint"])
    check(engine, laptop)
    # It stays away over a restart, and still asks.
    nas.kill_share()
    nas.start_share()
    until(lambda: "resync" in nas.status()["hint"])
    assert nas.call("nearest", embeddings=_one(), thresholds=[-1.0], most=1000, seconds=10.0)
    check(engine, laptop)
    nas.call("resync")
    check(engine, nas, laptop)
    with pytest.raises(RemoteError, match="no machine is called"):
        laptop.call("remove", name="nobody")


def test_a_machine_is_renamed_and_no_name_belongs_to_two(
    machines: list[PreparedMachine], engine: Database, tmp_path: Path
) -> None:
    nas, laptop = machines[:2]
    for machine in (nas, laptop):
        machine.start_share()
    check(engine, nas, laptop)
    with engine.administer() as db:
        written = db.execute(f"SELECT max(xmin::text::bigint) FROM {SCHEMA}.face").fetchone()
        _rename(nas, "attic")
        check(engine, nas, laptop)
        assert db.execute(f"SELECT max(xmin::text::bigint) FROM {SCHEMA}.face").fetchone() == written, "no vector moved"
    _rename(laptop, "attic")
    laptop.record(photos(laptop.name, range(60, 65)))
    taken = until(lambda: status if "attic" in (status := laptop.status())["reason"] else {})
    assert taken["hint"]
    _rename(laptop, "office")
    check(engine, nas, laptop)


def _rename(machine: PreparedMachine, name: str) -> None:
    machine.config.write_text(machine.config.read_text().replace(f'"{machine.name}"', f'"{name}"'))
    machine.name = name
    machine.kill_share()
    machine.start_share()


def test_mass_deletes_and_vacuum(machines: list[PreparedMachine], engine: Database) -> None:
    nas, laptop = machines[:2]
    for machine in (nas, laptop):
        machine.start_share()
        machine.record(photos(machine.name, range(100, 1100)))
    check(engine, nas, laptop)
    nas.record(gone(nas.name, range(1050)))
    with engine.administer() as db:
        for table in ("face", "photo", "content"):
            db.execute(f"VACUUM ANALYZE {SCHEMA}.{table}")
        check(engine, nas, laptop)
        db.execute(f"VACUUM FULL {SCHEMA}.face")
    laptop.record(gone(laptop.name, range(500)))
    nas.record(photos(nas.name, range(500)))
    check(engine, nas, laptop)
