"""Contents as machines send them to a shared engine, and engines for tests."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from facewatchd.matches import Box
from facewatchd.shared.values import SharedContent
from facewatchd.store.embedded import Embedded
from facewatchd.values import Face, Taken, TakenFrom

if TYPE_CHECKING:
    from facewatchd.shared.postgres.engine import PostgresEngine
    from tests.support.engine_server import Database

MODEL = "test-00000000"
TAKEN = Taken(1e9, 60, TakenFrom.EXIF)
USE_THE_INDEX = "SET enable_seqscan = off; SET enable_sort = off"
"""Has the server use the index where comparing with every face costs less."""
BOX = Box(10, 20, 60, 80)


def digest(number: int) -> bytes:
    return hashlib.blake2b(b"%d" % number, digest_size=32).digest()


def content(
    number: int, rows: Iterable[NDArray[np.float32]], paths: Sequence[bytes] | None = None, first_id: int | None = None
) -> SharedContent:
    """A content with a face for each row, shown by a photo of its own, or by these paths; without any, it is gone."""
    faces = [Face(BOX._replace(x=n), 0.9, np.full((5, 2), n, np.float32), row, 20.0) for n, row in enumerate(rows)]
    start = 1000 * number if first_id is None else first_id
    return SharedContent(
        digest(number),
        Embedded(digest(number), 6400, 4800, 0, TAKEN, True, b"\x07" * 8, faces),
        tuple(range(start, start + len(faces))),
        (b"/srv/%d.jpg" % number,) if paths is None else tuple(paths),
        10**18 + number,
    )


def gone(number: int) -> SharedContent:
    return SharedContent(digest(number))


def faces_in(engine: PostgresEngine) -> int:
    """How many the engine has, of all machines."""
    return sum(each.faces for each in engine.machines())


def token() -> str:
    """A lineage, or the id of a machine."""
    return secrets.token_hex(16)


@contextmanager
def connected(
    database: Database, name: str = "", *, dim: int, model: str = MODEL, url: str = "", patience: float = 20.0
) -> Iterator[PostgresEngine]:
    """An engine that sends for a new machine; one that only asks where the machine has no ``name``."""
    from facewatchd.shared.postgres.engine import PostgresEngine

    engine = PostgresEngine(url or database.url(), model, dim, patience=patience)
    try:
        if name:
            engine.attach(token(), name, [])
        yield engine
    finally:
        engine.close()
