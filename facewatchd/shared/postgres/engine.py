"""The shared engine on PostgreSQL: see `shared.engine` for what it does, and `pushing` and `asking` for how."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg.sql import SQL, Identifier

from facewatchd.shared.engine import EngineError, Trouble
from facewatchd.shared.postgres import indexing, pushing, rows, schema
from facewatchd.shared.postgres.asking import Asking, Question
from facewatchd.shared.postgres.connection import Connection
from facewatchd.shared.values import (
    Attached,
    Detail,
    MachineState,
    Near,
    Pushed,
    SharedContent,
    Whole,
    Whose,
    name_taken,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PATIENCE: Final = 2.0
"""Seconds for a question."""
PUSH_SECONDS, FACE_SECONDS = 30.0, 0.05
"""For a push, and for each of its faces: putting one into the index takes 3 ms of a processor, which may be busy."""
REMOVE_SECONDS: Final = 1800.0
"""To remove a machine: 60,000 faces took 2 s."""
_HEARD_OF: Final = "SELECT extract(epoch FROM now() - seen)::float8 FROM machine WHERE name = %s"
_MODELS: Final = f"""
SELECT nspname FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = 'machine'
WHERE nspname ~ '{schema.EVERY}'
AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'DELETE')
"""
"""The schemas of all models. What a machine sent with an earlier model is removed with the rest of it."""


class PostgresEngine:
    """An `engine.Engine`."""

    def __init__(self, url: str, model_id: str, dim: int, *, password: str = "", patience: float = PATIENCE) -> None:
        """Connect, and make the tables where there are none. Raises `EngineError`.

        ``url``: one that `engine_url` accepts. ``password``: empty where libpq is to look for one.
        ``patience``: seconds for a question.
        """
        self._connection = Connection(url, model_id, dim, password)
        self._dim, self._patience = dim, patience
        self._machine: str | None = None
        self._key: int | None = None
        self._epoch = 0
        self._lineage = ""
        """That the machine's row has, unless a backup was restored since the last call."""
        self._is_indexed = False

    @property
    def is_open(self) -> bool:
        return self._connection.is_open

    # This machine

    def attach(
        self,
        machine_id: str,
        name: str,
        known_lineages: Collection[str],
        epoch: int | None = None,
        *,
        takes_back: bool = False,
    ) -> Attached:
        taken: float | None = None
        self._machine = machine_id
        with self._connection.within(PUSH_SECONDS) as db:
            try:
                with db.transaction():
                    attached = self._attach(db, machine_id, name, known_lineages, epoch, takes_back)
            except psycopg.errors.UniqueViolation as exc:
                if exc.diag.constraint_name != "machine_name":
                    raise
                row = db.execute(_HEARD_OF.encode(), (name,)).fetchone()
                taken = float(row[0]) if row else 0.0
        if taken is not None:
            message, hint = name_taken(name, taken)
            raise EngineError(
                Trouble.NAME_TAKEN, f"in the shared engine at {self._connection.server.where} {message}", hint
            )
        return attached

    def _attach(
        self,
        db: psycopg.Connection,
        machine_id: str,
        name: str,
        lineages: Collection[str],
        epoch: int | None,
        takes_back: bool,
    ) -> Attached:
        sql = "SELECT key, epoch, lineage FROM machine WHERE id = %s FOR UPDATE"
        row = db.execute(sql, (machine_id,)).fetchone()
        if row is None:
            was_removed = db.execute("SELECT 1 FROM removed WHERE id = %s", (machine_id,)).fetchone()
            if was_removed and not takes_back:
                raise self._not_ours(None)
            db.execute("DELETE FROM removed WHERE id = %s", (machine_id,))
            self._epoch = _new_epoch(db, epoch or 0)
            sql = "INSERT INTO machine(id, name, epoch, lineage) VALUES (%s, %s, %s, '') RETURNING key"
            key = db.execute(sql, (machine_id, name, self._epoch)).fetchone()
            assert key is not None
            self._key, self._lineage = int(key[0]), ""
            return Attached(self._epoch, is_known=False)
        key_, last, lineage = row
        if epoch is not None and last > epoch:
            raise self._not_ours(last)
        self._epoch = last if last == epoch else _new_epoch(db, max(last, epoch or 0))  # lower: the engine was restored
        db.execute("UPDATE machine SET name = %s, epoch = %s WHERE key = %s", (name, self._epoch, key_))
        self._key, self._lineage = int(key_), lineage
        return Attached(self._epoch, is_known=bool(lineage) and lineage in set(lineages))

    def recognise(self, machine_id: str) -> None:
        self._machine = machine_id

    def push(self, contents: Sequence[SharedContent], lineage: str, backlog: int, pending: int) -> Pushed:
        assert self._machine is not None, "attach first"
        assert self._key is not None, "attach first"
        mine = pushing.Mine(self._machine, self._key, self._epoch, self._lineage)
        faces = sum(0 if each.embedded is None else len(each.embedded.faces) for each in contents)
        with self._connection.within(PUSH_SECONDS + FACE_SECONDS * faces) as db:
            try:
                pushed = pushing.push(db, mine, contents, lineage, (backlog, pending))
                self._lineage = lineage
                return pushed
            except pushing.NotOursError:
                removed = db.execute("SELECT 1 FROM removed WHERE id = %s", (mine.id,)).fetchone()
                row = db.execute("SELECT epoch FROM machine WHERE id = %s", (mine.id,)).fetchone()
        if removed or (row is not None and int(row[0]) > mine.epoch):
            raise self._not_ours(None if row is None else int(row[0]))
        raise EngineError(
            Trouble.UNREACHABLE,
            f"the shared engine at {self._connection.server.where} was restored from a backup",
            "what it lacks is sent by itself",
        )

    def _not_ours(self, epoch: int | None) -> EngineError:
        """The error of a process that may not write for its machine any more. ``epoch``: that of another one."""
        if epoch is None:
            return EngineError(
                Trouble.REMOVED,
                f"this machine was removed from the shared engine at {self._connection.server.where}",
                "`facewatchd shared resync` sends all of it again; send = false in [shared] only asks",
            )
        return EngineError(
            Trouble.FENCED,
            f"another process sends in this machine's name to the shared engine at {self._connection.server.where}",
            "`facewatchd shared resync` sends from here again; if the data directory was copied, first delete the file"
            " `machine` in the copy, and restart facewatchd there",
        )

    def digests(self, after: bytes, limit: int) -> list[bytes]:
        of_own = f"SELECT digest FROM content WHERE machine = {rows.OWN}"
        sql = f"{of_own} AND digest > %(after)s ORDER BY digest LIMIT %(limit)s"
        values = {"own": self._machine, "after": after, "limit": limit}
        with self._connection.within(PUSH_SECONDS) as db:
            return [digest for (digest,) in db.execute(sql.encode(), values, binary=True).fetchall()]

    # All machines

    def nearest(
        self,
        embeddings: NDArray[np.float32],
        thresholds: Sequence[float],
        most: int,
        whose: Whose = Whose.OTHERS,
        detail: Detail = Detail.CONTENTS,
        *,
        exact: bool = False,
    ) -> Near:
        question = Question(embeddings, thresholds, most, whose, detail, exact)
        with self._asking() as asking:
            near = asking.near(question, is_indexed=self._is_indexed)
        self._is_indexed = asking.is_indexed
        return near

    def contents(self, digests: Sequence[bytes], whose: Whose = Whose.ALL) -> Whole:
        with self._asking() as asking:
            return asking.whole(digests, whose)

    @contextlib.contextmanager
    def _asking(self) -> Iterator[Asking]:
        with self._connection.within(self._patience) as db:
            try:
                yield Asking(db, self._dim, self._machine, self._patience)
            finally:
                if not db.broken and db.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                    with contextlib.suppress(psycopg.Error):  # of the question, which is on its way up
                        db.execute("ROLLBACK")

    def machines(self) -> list[MachineState]:
        with self._connection.within(self._patience) as db:
            sql = f"SELECT {rows.MACHINE} FROM machine".encode()
            return rows.machines(db.execute(sql, {"own": self._machine}).fetchall())

    def remove(self, name: str) -> bool:
        with self._connection.within(REMOVE_SECONDS) as db, db.transaction():
            row = db.execute("SELECT id FROM machine WHERE name = %s", (name,)).fetchone()
            if row is not None:
                for (tables,) in db.execute(_MODELS.encode()).fetchall():
                    schema_name = Identifier(tables)
                    found = db.execute(SQL("DELETE FROM {}.machine WHERE id = %s").format(schema_name), row)
                    if found.rowcount:
                        note = "INSERT INTO {}.removed(id) VALUES (%s) ON CONFLICT DO NOTHING"
                        db.execute(SQL(note).format(schema_name), row)
        return row is not None

    def maintain(self) -> bool:
        with self._connection.within(None) as db:
            return indexing.maintain(db)

    def close(self) -> None:
        self._connection.close()


def _new_epoch(db: psycopg.Connection, last: int) -> int:
    """An epoch that no process ever had: milliseconds of the server's clock, or else the next one after the ``last``.

    A count would begin anew with a machine that is entered again, or go back with a backup that is restored, and two
    processes could have the same.
    """
    row = db.execute("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint").fetchone()
    assert row is not None
    return max(int(row[0]), last) + 1
