"""Makes the index, once there are so many faces that comparing with each takes longer (`schema.INDEX_FROM`).

It is made while others push and ask (``CONCURRENTLY``), under a lock of the server's session that all machines try to
take: one makes it, and the others go on without. The lock is held as long as the server works for that session, also
when its client is gone. An index that was left half-way is not valid: it is dropped and made again.
"""

from __future__ import annotations

import logging

import psycopg
from psycopg import sql

from facewatchd.shared.postgres import schema
from facewatchd.text import counted

log = logging.getLogger(__name__)


def maintain(db: psycopg.Connection) -> bool:
    """Make the index where it is due; whether it was made."""
    if not _is_due(db):
        return False
    row = db.execute("SELECT pg_try_advisory_lock(%s, hashtext(current_schema()))", (schema.LOCK,)).fetchone()
    if row is None or not row[0]:
        return False
    try:
        return _is_due(db) and _make(db)
    finally:
        if not db.closed and not db.broken:
            db.execute("SELECT pg_advisory_unlock(%s, hashtext(current_schema()))", (schema.LOCK,))


def _is_due(db: psycopg.Connection) -> bool:
    row = db.execute(schema.INDEX_STATE, {"name": schema.INDEX}).fetchone()
    return (row is None or not row[0]) and _faces(db) >= schema.INDEX_FROM


def _faces(db: psycopg.Connection) -> int:
    row = db.execute("SELECT coalesce(sum(faces), 0)::bigint FROM machine").fetchone()
    return int(row[0]) if row else 0


def _make(db: psycopg.Connection) -> bool:
    faces = _faces(db)
    log.info("making the index of %s in the shared engine: questions take longer until then", counted(faces, "face"))
    row = db.execute(schema.BUILD_MEMORY, (faces * schema.BYTES_A_FACE,)).fetchone()
    assert row is not None
    db.execute(sql.SQL("SET maintenance_work_mem = {}").format(sql.Literal(f"{int(row[0]) >> 10}kB")))
    try:
        _create(db)
    except (psycopg.errors.DiskFull, psycopg.errors.OutOfMemory):
        # a container's shared memory is 64 MB, as a rule: without other workers none is used
        db.execute("SET max_parallel_maintenance_workers = 0")
        _create(db)
    db.execute("ANALYZE face")
    return True


def _create(db: psycopg.Connection) -> None:
    db.execute(schema.DROP_INDEX)
    db.execute(schema.CREATE_INDEX)
