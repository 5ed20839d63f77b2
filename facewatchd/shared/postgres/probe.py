"""A look at a server that changes nothing: what `facewatchd doctor` tells of it."""

from __future__ import annotations

import re
import statistics
import time
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import sql

from facewatchd.shared.postgres import schema
from facewatchd.shared.postgres.connection import Connection
from facewatchd.text import one_line, printable

SECONDS: Final = 15.0
"""For all questions, once the connection is there."""
_ROUNDS: Final = 5
_MOST_MODELS: Final = 50
"""Schemas that are looked into; each takes two round trips."""
_SERVER: Final = """
SELECT current_setting('server_version'), extract(epoch FROM clock_timestamp()),
    (SELECT extversion FROM pg_extension WHERE extname = 'vector'),
    (SELECT default_version FROM pg_available_extensions WHERE name = 'vector'),
    has_database_privilege(current_database(), 'CREATE'), pg_is_in_recovery(),
    (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), current_user, current_database()
"""
_SCHEMAS: Final = f"""
SELECT nspname FROM pg_namespace WHERE nspname ~ '{schema.EVERY}'
    AND has_schema_privilege(oid, 'USAGE') ORDER BY nspname LIMIT {_MOST_MODELS}
"""


@dataclass(frozen=True, slots=True)
class Entered:
    """A machine that has sent to the engine."""

    id: str
    """32 hexadecimal digits."""
    name: str
    faces: int
    as_of_s: float
    """Seconds since it was heard of."""


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of one model."""

    model: str
    """Its id; empty where the tables do not say."""
    version: int
    """Of the tables; 0 where they do not say."""
    machines: tuple[Entered, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What a server has."""

    where: str
    """Its host, as messages name it."""
    user: str
    base: str
    """The database."""
    version: str
    vector: str
    """The version of pgvector in this database; empty where it is not there."""
    vector_offered: str
    """The version that could be made there; empty where the server has none installed."""
    may_create: bool
    """Whether the user may make tables."""
    is_standby: bool
    is_encrypted: bool
    connect_s: float
    round_trip_s: float
    ahead_s: float
    """The server's clock less this machine's."""
    tables: tuple[Tables, ...]

    @property
    def has_vector(self) -> bool:
        """Whether pgvector is new enough."""
        return schema.is_enough(self.vector)

    def of_model(self, model_id: str) -> Tables | None:
        """The tables of a model."""
        return next((each for each in self.tables if each.model == model_id), None)


def look(url: str, password: str = "") -> Found:
    """Connect and look; nothing is made. Raises `EngineError`."""
    begun = time.monotonic()
    connection = Connection(url, "", 0, password)
    connected = time.monotonic() - begun
    try:
        with connection.within(SECONDS) as db:
            trips = [_timed(db) for _ in range(_ROUNDS)]
            asked = time.time()
            row = _one(db, _SERVER)
            passed = time.time() - asked
            tables = tuple(filter(None, [_tables(db, str(name)) for (name,) in db.execute(_SCHEMAS).fetchall()]))
    finally:
        connection.close()
    return Found(
        where=connection.server.where,
        user=str(row[7]),
        base=str(row[8]),
        version=one_line(row[0], 40),
        vector=str(row[2] or ""),
        vector_offered=str(row[3] or ""),
        may_create=bool(row[4]),
        is_standby=bool(row[5]),
        is_encrypted=bool(row[6]),
        connect_s=connected,
        round_trip_s=statistics.median(trips),
        ahead_s=float(row[1]) - (asked + passed / 2),
        tables=tuple(sorted(tables, key=lambda each: each.model)),
    )


def _timed(db: psycopg.Connection) -> float:
    begun = time.monotonic()
    db.execute("SELECT 1")
    return time.monotonic() - begun


def _one(db: psycopg.Connection, query: Any) -> tuple[Any, ...]:
    row = db.execute(query).fetchone()
    return () if row is None else row


def _tables(db: psycopg.Connection, name: str) -> Tables | None:
    """What is in a schema; None where it is not facewatchd's, or is being made. It is data of other machines."""
    where = sql.Identifier(name)
    try:
        meta: dict[Any, Any] = dict(
            db.execute(sql.SQL("SELECT key, value FROM {}.meta LIMIT 10").format(where)).fetchall()
        )
        query = sql.SQL(
            "SELECT replace(id::text, '-', ''), name, faces, extract(epoch FROM now() - seen)::float8"
            " FROM {}.machine ORDER BY name LIMIT 1000"
        )
        machines = tuple(
            Entered(str(key), _text(name), int(faces), float(as_of_s))
            for key, name, faces, as_of_s in db.execute(query.format(where))
        )
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.InsufficientPrivilege):
        return None
    version = str(meta.get("version", ""))
    return Tables(_text(meta.get("model", "")), int(version) if re.fullmatch(r"[0-9]{1,6}", version) else 0, machines)


def _text(value: object) -> str:
    return printable(str(value))[:200]
