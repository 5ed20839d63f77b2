"""Several machines before one engine, with whatever may happen to each, in any order; then the engine is as it must be.

The catalogs, the steps of a push and the server are the product's; the processes and the network between them are not
there, so that a history takes milliseconds. A history may kill a sender between any two steps, restore a catalog or the
engine to an earlier moment, and run a copy of a data directory.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from facewatchd.api.parameters import (
    OutboxMarkParameters,
    OutboxParameters,
    OutboxSendingParameters,
    OutboxSentParameters,
)
from facewatchd.shared import wire
from facewatchd.shared.engine import EngineError, Trouble
from facewatchd.shared.postgres.engine import PostgresEngine
from facewatchd.shared.pushing import Pusher
from facewatchd.shared.wire import Batch
from facewatchd.store.catalog import Outcome
from tests.support import engine_invariant
from tests.support.engine_server import Database
from tests.support.galleries import DIM, photo, unit
from tests.support.shared_machines import INFO, PreparedCatalog

if TYPE_CHECKING:
    import psycopg

SCHEMA = engine_invariant.schema_of(INFO.id)
TABLES = ("machine", "content", "photo", "face", "removed")
ROWS = unit(np.random.default_rng(5).normal(size=(20, DIM)))
STEPS = ("before it is noted", "before the push", "after the push", "never")
"""When a sender is killed."""
_numbers = itertools.count()


class KilledError(Exception):
    """The sender ends here."""


class Link:
    """The daemon's outbox as a sender sees it; the sender is killed at one of `STEPS`."""

    def __init__(self, catalog: PreparedCatalog, dies: str) -> None:
        self._methods = catalog.sending
        self._dies = dies

    def _pass(self, step: str) -> None:
        if self._dies == step:
            raise KilledError

    def batch(self, limit: int, wait: float) -> Batch:
        return wire.read_batch(self._methods.outbox(OutboxParameters(limit, wait)))

    def sending(self, lineage: str) -> None:
        self._pass("before it is noted")
        self._methods.outbox_sending(OutboxSendingParameters(lineage))
        self._pass("before the push")

    def sent(self, seqs: Sequence[int], lineage: str) -> None:
        self._pass("after the push")
        self._methods.outbox_sent(OutboxSentParameters(tuple(seqs), lineage))

    def mark(self, digests: Sequence[bytes]) -> None:
        self._methods.outbox_mark(OutboxMarkParameters(tuple(each.hex() for each in digests)))

    def mark_all(self) -> None:
        self._methods.outbox_mark(OutboxMarkParameters(all=True))

    def interrupt(self) -> None: ...

    def close(self) -> None: ...


class Place:
    """A data directory, and the sender before it, which keeps its epoch while it is not killed."""

    def __init__(self, data: Path, name: str) -> None:
        self.data = data
        self.name = name
        self.catalog = PreparedCatalog(data)
        self.pusher = Pusher(name)

    def replace(self, copy: Path) -> None:
        """Restore the data directory from a copy, as its user would: the daemon does not run meanwhile."""
        self.catalog.close()
        shutil.rmtree(self.data)
        shutil.copytree(copy, self.data)
        self.catalog = PreparedCatalog(self.data)

    def copy(self, to: Path) -> Path:
        self.catalog.close()
        shutil.copytree(self.data, to)
        self.catalog = PreparedCatalog(self.data)
        return to


class Histories(RuleBasedStateMachine):
    engine: Database
    db: psycopg.Connection[Any]

    def __init__(self) -> None:
        super().__init__()
        self._ends = contextlib.ExitStack()
        self._directory = Path(self._ends.enter_context(tempfile.TemporaryDirectory()))
        self._places: list[Place] = []
        self._active: dict[str, Place] = {}
        """By the id of the machine: the place that attached last."""
        self._backups: dict[Place, list[Path]] = {}
        self._trouble: Trouble | None = None
        """Why the last push failed."""

    @initialize()
    def begin(self) -> None:
        self.db.execute(f"TRUNCATE {', '.join(f'{SCHEMA}.{table}' for table in TABLES)} CASCADE")
        for number, name in enumerate(("nas", "laptop")):
            self._add(Place(self._new(), name))
            self.back_up_catalog(number)
        self.back_up_engine()

    def _new(self) -> Path:
        return self._directory / str(next(_numbers))

    def _add(self, place: Place) -> None:
        self._places.append(place)
        self._backups[place] = []

    def _one(self, number: int) -> Place:
        return self._places[number % len(self._places)]

    @rule(place=st.integers(0, 3), path=st.integers(0, 3), content=st.integers(0, 6))
    def show(self, place: int, path: int, content: int) -> None:
        """A photo is new, or shows other bytes; what it shows may be on other machines too."""
        digest = hashlib.blake2b(b"%d" % content, digest_size=32).digest()
        rows = ROWS[content : content + min(content, 2)]
        self._one(place).catalog.record([photo(b"/photos/%d" % path, digest, rows, inode=path + 1)])

    @rule(place=st.integers(0, 3), path=st.integers(0, 3))
    def delete(self, place: int, path: int) -> None:
        self._one(place).catalog.record([Outcome(b"/photos/%d" % path, None)])

    @rule(place=st.integers(0, 3), limit=st.sampled_from((1, 3)), dies=st.sampled_from(STEPS))
    def push(self, place: int, limit: int, dies: str) -> None:
        self._push(self._one(place), limit, dies)

    @rule(place=st.integers(0, 3), path=st.integers(0, 3), content=st.integers(1, 6))
    def show_and_push_all(self, place: int, path: int, content: int) -> None:
        self.show(place, path, content)
        self._push_all(self._one(place))

    def _push(self, place: Place, limit: int, dies: str = "never") -> bool:
        """Connect and push a batch; return whether there is more. A sender that was killed has another epoch next."""
        link = Link(place.catalog, dies)
        engine = PostgresEngine(self.engine.url(), INFO.id, INFO.dim)
        try:
            batch = link.batch(limit, 0.0)
            place.pusher.know(batch)
            place.pusher.attach(engine, link, batch)
            self._active[batch.machine] = place
            return place.pusher.push(engine, link, link.batch(limit, 0.0)) > 0
        except KilledError:
            place.pusher = Pusher(place.name)
            return True
        except EngineError as exc:
            if exc.trouble not in (Trouble.FENCED, Trouble.REMOVED):
                raise
            self._trouble = exc.trouble
            return False
        finally:
            engine.close()

    @rule(place=st.integers(0, 3))
    def restart(self, place: int) -> None:
        self._one(place).pusher = Pusher(self._one(place).name)

    @rule(place=st.integers(0, 3))
    def back_up_catalog(self, place: int) -> None:
        one = self._one(place)
        self._backups[one].append(one.copy(self._new()))

    @rule(place=st.integers(0, 3), which=st.integers(0, 3))
    def restore_catalog(self, place: int, which: int) -> None:
        one = self._one(place)
        backups = self._backups[one]
        one.replace(backups[which % len(backups)])

    @rule(place=st.integers(0, 3))
    def copy_directory(self, place: int) -> None:
        if len(self._places) < 4:
            one = self._one(place)
            self._add(Place(one.copy(self._new()), one.name))
            self.back_up_catalog(len(self._places) - 1)

    @rule()
    def back_up_engine(self) -> None:
        self.db.execute("DROP SCHEMA IF EXISTS backup CASCADE; CREATE SCHEMA backup")
        for table in TABLES:
            self.db.execute(f"CREATE TABLE backup.{table} AS TABLE {SCHEMA}.{table}")

    @rule()
    def restore_engine(self) -> None:
        with self.db.transaction():
            self.db.execute(f"TRUNCATE {', '.join(f'{SCHEMA}.{table}' for table in TABLES)} CASCADE")
            for table in TABLES:
                columns = ", ".join(self._columns(table))
                self.db.execute(
                    f"INSERT INTO {SCHEMA}.{table}({columns}) OVERRIDING SYSTEM VALUE"
                    f" SELECT {columns} FROM backup.{table}"
                )

    def _columns(self, table: str) -> list[str]:
        """Those that are not computed from others."""
        rows = self.db.execute(
            "SELECT column_name FROM information_schema.columns"
            " WHERE table_schema = %s AND table_name = %s AND is_generated = 'NEVER'",
            (SCHEMA, table),
        )
        return [name for (name,) in rows]

    @rule(name=st.sampled_from(("nas", "laptop")))
    def remove(self, name: str) -> None:
        with contextlib.closing(PostgresEngine(self.engine.url(), INFO.id, INFO.dim)) as engine:
            engine.remove(name)

    def teardown(self) -> None:
        """Start the last sender of each machine anew, told to come back if it was removed, and let it send all."""
        try:
            for machine, place in self._last_of_each().items():
                place.pusher = Pusher(place.name)
                self._push_all(place)
                if self._trouble is not None:
                    assert self._trouble is Trouble.REMOVED, "who starts last may send"
                    place.pusher.resync()
                    self._push_all(place)
                truth = engine_invariant.of_catalog(engine_invariant.catalog_of(place.data))
                found = engine_invariant.of_engine(self.db, INFO.id, machine)
                assert found is not None
                engine_invariant.expect_equal(truth, found)
            known = {row[0] for row in self.db.execute(f"SELECT replace(id::text, '-', '') FROM {SCHEMA}.machine")}
            assert known == set(self._last_of_each())
        finally:
            for place in self._places:
                place.catalog.close()
            self._ends.close()

    def _push_all(self, place: Place) -> None:
        self._trouble = None
        while self._push(place, 100):
            pass

    def _last_of_each(self) -> dict[str, Place]:
        return {engine_invariant.machine_id(place.data): place for place in self._places} | self._active


def test_whatever_happens_the_engine_has_what_the_catalogs_say(
    engine: Database, monkeypatch: pytest.MonkeyPatch, amount: Callable[[int, int], int]
) -> None:
    PostgresEngine(engine.url(), INFO.id, INFO.dim).close()  # makes the tables
    with engine.administer() as db:
        monkeypatch.setattr(Histories, "db", db, raising=False)
        monkeypatch.setattr(Histories, "engine", engine, raising=False)
        run_state_machine_as_test(
            Histories,
            settings=settings(
                max_examples=amount(8, 300),
                stateful_step_count=20,
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow],
            ),
        )
