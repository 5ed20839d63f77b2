"""The tables change under connections that are open: a backup is restored in place, or somebody makes them anew."""

from __future__ import annotations

import numpy as np
import pytest

from facewatchd.shared.engine import EngineError, Trouble
from facewatchd.shared.postgres.schema import schema_of
from facewatchd.shared.values import Whose
from tests.support.engine_server import Database
from tests.support.galleries import DIM, unit
from tests.support.shared_faces import MODEL, connected, content, digest, token

ROWS = unit(np.random.default_rng(1).normal(size=(9, DIM)))
SCHEMA = schema_of(MODEL)


def test_tables_that_another_machine_made_anew_are_not_written_for_it(engine: Database) -> None:
    """It has the number in them that this one had before."""
    with connected(engine, dim=DIM) as nas, connected(engine, dim=DIM) as laptop:
        nas.attach(token(), "nas", [])
        nas.push([content(1, ROWS[:1])], token(), 0, 0)
        with engine.administer() as db:
            db.execute(f"DROP SCHEMA {SCHEMA} CASCADE")
        with connected(engine, dim=DIM):
            pass  # makes the tables
        laptop.attach(token(), "laptop", [])
        laptop.push([content(2, ROWS[1:2])], token(), 0, 0)
        with pytest.raises(EngineError) as raised:
            nas.push([content(3, ROWS[2:3])], token(), 0, 0)
        assert raised.value.trouble is Trouble.UNREACHABLE, "it is to attach anew"
        assert nas.digests(b"", 9) == []
        assert laptop.digests(b"", 9) == [digest(2)]
        assert [each.is_self for each in nas.machines()] == [False]
        assert len(nas.nearest(ROWS[1:2], [0.9], 9, Whose.OTHERS).contents) == 1


@pytest.mark.parametrize("change", ["DELETE FROM {}.machine", "UPDATE {}.machine SET epoch = epoch - 1"])
def test_a_backup_that_is_restored_in_place_neither_fences_nor_removes(engine: Database, change: str) -> None:
    machine = token()
    with connected(engine, dim=DIM) as nas:
        nas.attach(machine, "nas", [])
        epoch = nas.attach(machine, "nas", []).epoch
        with engine.administer() as db:
            db.execute(change.format(SCHEMA))
        with pytest.raises(EngineError, match="restored") as raised:
            nas.push([content(1, ROWS[:1])], token(), 0, 0)
        assert raised.value.trouble is Trouble.UNREACHABLE
    with connected(engine, dim=DIM) as again:
        assert not again.attach(machine, "nas", [token()], epoch).is_known
        again.push([content(1, ROWS[:1])], token(), 0, 0)


@pytest.mark.parametrize("numbers", [[], [3]])
def test_a_dump_of_the_same_session_that_is_restored_in_place_is_noticed(engine: Database, numbers: list[int]) -> None:
    """It has the same number, id and epoch of the machine."""
    machine, tokens = token(), [token() for _ in range(3)]
    with connected(engine, dim=DIM) as nas:
        epoch = nas.attach(machine, "nas", []).epoch
        nas.push([content(1, ROWS[:1])], tokens[0], 0, 0)
        dump = engine.back_up()
        nas.push([content(2, ROWS[1:2])], tokens[1], 0, 0)
        engine.restore_schema(SCHEMA, dump)
        pushed = [content(n, ROWS[n : n + 1]) for n in numbers]
        for _ in range(2):
            with pytest.raises(EngineError, match="restored") as raised:
                nas.push(pushed, tokens[2] if numbers else tokens[1], 0, 0)
            assert raised.value.trouble is Trouble.UNREACHABLE
        assert nas.digests(b"", 9) == [digest(1)]
    with connected(engine, dim=DIM) as again:
        assert not again.attach(machine, "nas", tokens[1:], epoch).is_known
        again.push([], tokens[1], 0, 0)
    with connected(engine, dim=DIM) as again:
        assert again.attach(machine, "nas", tokens[1:], epoch).is_known
