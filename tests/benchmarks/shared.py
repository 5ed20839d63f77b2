"""The shared engine: how fast faces get into it, what each takes there, what is found, and what a network costs.

A server of its own, with settings as on a small machine: data are flushed to the disk at each commit, and a gigabyte is
shared memory. One client, over TLS on the loopback.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import psycopg
from numpy.typing import NDArray

from facewatchd.shared.postgres import schema
from facewatchd.shared.postgres.engine import PostgresEngine
from facewatchd.shared.postgres.vectors import HalfVector
from facewatchd.shared.values import SharedContent
from tests.benchmarks import gallery
from tests.benchmarks.gallery import DIM, THRESHOLD, People
from tests.benchmarks.options import Options
from tests.benchmarks.report import Report, median, percentile
from tests.benchmarks.timing import timed
from tests.support import engine_server
from tests.support.engine_server import Database, Server
from tests.support.processes import children
from tests.support.recall import FACES_A_PHOTO, Ask, asking, measured, push_all
from tests.support.shared_faces import USE_THE_INDEX, connected, content, token
from tests.support.tcp_proxy import Proxy

SETTINGS = {"fsync": "on", "full_page_writes": "on", "shared_buffers": "1GB", "max_wal_size": "2GB"}
DEFAULT_INDEX = f"CREATE INDEX {schema.INDEX} ON face USING hnsw (embedding halfvec_ip_ops) WHERE leads"
BIT_INDEX = (
    f"CREATE INDEX face_bits ON face USING hnsw ((binary_quantize(embedding)::bit({DIM})) bit_hamming_ops)"
    " WITH (m = 32, ef_construction = 200) WHERE leads"
)
BITS = f"""
SELECT face_id, s FROM (
    SELECT face_id, -(embedding <#> %(asked)s) AS s FROM face WHERE leads
    ORDER BY binary_quantize(embedding)::bit({DIM}) <~> binary_quantize(%(asked)s)::bit({DIM}) LIMIT %(k)s) AS nearest
ORDER BY s DESC
"""
MORE = 2000
"""Faces that are pushed beside the index."""
MOST_ON_FEW, BYTES = 100_000, 10_000
"""Faces that fewer than eight processors can do; bytes of memory a face, of the server and of this process."""
ROUND_TRIPS = (0.0, 0.001, 0.02)


def run(options: Options) -> Iterator[Report]:
    load = Report(
        "Shared engine: load",
        ("faces", "pushed/s", "CPU ms a face", "index s", "CPU ms a face", "pushed/s beside it", "CPU ms a face"),
    )
    size = Report("Shared engine: bytes a face", ("faces", "table", "index", "one bit: index", "one bit: built in s"))
    found = Report(
        "Shared engine: recall", ("faces", "way", "all", "worst person", "p50 ms", "p99 ms", "CPU ms of the server")
    )
    network = Report(
        "Shared engine: network",
        ("round trip ms", "connect ms", "all: p50 ms", "p99 ms", "top 20: p50 ms", "p99 ms", "pushed faces/s"),
    )
    with _server() as server:
        counts = [count for count in options.faces if _is_worth(count)]
        for number, count in enumerate(counts):
            _measure(options, server, count, load, size, found, network if not number else None)
    load.notes.append(
        f"Pushes of 500 photos with {FACES_A_PHOTO} faces each into empty tables, then the index by maintain(), then"
        f" {MORE} faces more. CPU is that of all processes of the server."
    )
    found.notes.append(
        f"{options.rounds(200)} questions, spread evenly over people with 2 to {gallery.MOST} faces, for all faces"
        f" above {THRESHOLD}, through the real engine. One bit: the nearest by bits, so many times as many as are"
        " wanted, then put in order by their embeddings of half precision."
    )
    network.notes.append(f"Among {counts[0]:,} faces, over a proxy that delays both directions.")
    if left := [f"{count:,}" for count in options.faces if count not in counts]:
        load.notes.append(f"Left out, for want of processors or memory: {', '.join(left)} faces.")
    yield from (load, size, found, network)


def _is_worth(count: int) -> bool:
    """Whether the index of so many faces is made within hours: two processors take 9 minutes for 100,000."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    return count <= MOST_ON_FEW or (len(os.sched_getaffinity(0)) >= 8 and memory > BYTES * count)


@contextlib.contextmanager
def _server() -> Iterator[Server]:
    with engine_server.installed() as installation, engine_server.own(installation, **SETTINGS) as server:
        server.start()
        yield server


def _measure(
    options: Options, server: Server, count: int, load: Report, size: Report, found: Report, network: Report | None
) -> None:
    people = gallery.make(count)
    database = server.new_database()
    with connected(database, "nas", dim=DIM, patience=600.0) as nas:
        db = nas._connection.db
        pushed = _Cost(server, lambda: push_all(nas, people))
        db.execute("VACUUM ANALYZE face")
        with patch.object(schema, "INDEX_FROM", 1):
            indexed = _Cost(server, nas.maintain)
        table, index = (_bytes(db, each) / count for each in ("face", schema.INDEX))
        _recall(server, nas, people, options.rounds(200), found)
        more = list(_others(MORE // FACES_A_PHOTO))
        beside = _Cost(server, lambda: _push(nas, more))
        load.row(
            *(count, count / pushed.seconds, 1e3 * pushed.cpu / count),
            *(indexed.seconds, 1e3 * indexed.cpu / count),
            *(MORE / beside.seconds, 1e3 * beside.cpu / MORE),
        )
        bits = timed(lambda: db.execute(BIT_INDEX.encode()))
        size.row(count, table, index, _bytes(db, "face_bits") / count, bits)
        _recall_of_bits(server, nas, people, options.rounds(200), found)
        db.execute(f"{schema.DROP_INDEX}; DROP INDEX face_bits".encode())
        db.execute(DEFAULT_INDEX.encode())
        _recall_of_defaults(server, nas, people, options.rounds(200), found)
        if network is not None:
            db.execute(schema.DROP_INDEX.encode())
            with patch.object(schema, "INDEX_FROM", 1):
                nas.maintain()
            _network(options, database, people, network)
    database.drop()


class _Cost:
    """What a call costs: seconds, and seconds of a processor of all processes of the server."""

    def __init__(self, server: Server, call: Callable[[], object]) -> None:
        before = processor_time(server)
        self.seconds = timed(call)
        self.cpu = processor_time(server) - before


def processor_time(server: Server) -> float:
    """Seconds of a processor that a server has used, with those of its processes that have ended."""
    assert server.process is not None
    own = _times(server.process.pid)
    return sum(own) + sum(sum(_times(pid)[:2]) for pid in children(server.process.pid))


def _times(pid: int) -> list[float]:
    """User and system time of a process, and of its children that were waited for; zeros where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return [0.0] * 4
    return [int(each) / 100 for each in fields[11:15]]


def _bytes(db: psycopg.Connection, relation: str) -> int:
    row = db.execute("SELECT pg_relation_size(%s::regclass)", (relation,)).fetchone()
    assert row is not None
    return int(row[0])


def _push(engine: PostgresEngine, contents: Sequence[SharedContent]) -> None:
    for first in range(0, len(contents), 256):
        engine.push(contents[first : first + 256], token(), 0, 0)


def _recall(server: Server, engine: PostgresEngine, people: People, questions: int, report: Report) -> None:
    engine.nearest(people.vectors[:1], [0.9], 1)  # it sees the index
    db = engine._connection.db
    db.execute(USE_THE_INDEX)
    ours = _row(server, people, questions, "m = 48", asking(engine), report)
    report.check(f"recall among {len(people.vectors):,} faces", ours[0], 0.995, at_least=True)
    report.check(f"recall for the worst person of {questions}", ours[1], 0.98, at_least=True)
    db.execute("RESET enable_seqscan; RESET enable_sort")
    engine._is_indexed = False
    plain = asking(engine)

    def compared(embedding: NDArray[np.float32]) -> NDArray[np.int64]:
        engine._is_indexed = False
        return plain(embedding)

    _row(server, people, min(questions, 40), "every face compared", compared, report)


def _row(server: Server, people: People, questions: int, way: str, ask: Ask, report: Report) -> tuple[float, float]:
    times: list[float] = []

    def asked(embedding: NDArray[np.float32]) -> NDArray[np.int64]:
        started = time.perf_counter()
        rows = ask(embedding)
        times.append(1e3 * (time.perf_counter() - started))
        return rows[rows < len(people.vectors)]

    before = processor_time(server)
    recall = measured(people, questions, asked)
    cpu = 1e3 * (processor_time(server) - before) / len(times)
    parts = (f"{part:.4f}" for part in (recall.every, recall.worst))
    report.row(len(people.vectors), way, *parts, median(times), percentile(times, 99), cpu)
    return recall.every, recall.worst


def _recall_of_bits(server: Server, engine: PostgresEngine, people: People, questions: int, report: Report) -> None:
    db = engine._connection.db
    db.execute(USE_THE_INDEX)
    for times in (1, 2, 4):

        def ask(embedding: NDArray[np.float32], times: int = times) -> NDArray[np.int64]:
            wanted = 64
            while True:
                values = {"asked": HalfVector(embedding), "k": wanted * times}
                rows = db.execute(BITS.encode(), values, binary=True).fetchall()
                above = [face_id - 1 for face_id, similarity in rows if similarity >= THRESHOLD]
                if len(above) < wanted or len(rows) < wanted * times:
                    return np.array(above, np.int64)
                wanted *= 2

        _row(server, people, questions, f"one bit, {times} times as many", ask, report)
    db.execute("RESET enable_seqscan; RESET enable_sort")


def _recall_of_defaults(server: Server, engine: PostgresEngine, people: People, questions: int, report: Report) -> None:
    """What pgvector finds where nobody says anything: m = 16, and 40 rows."""
    db = engine._connection.db
    db.execute(USE_THE_INDEX)
    db.execute("SET hnsw.ef_search = 40; SET hnsw.iterative_scan = off")
    sql = "SELECT face_id, -(embedding <#> %(asked)s) FROM face WHERE leads ORDER BY embedding <#> %(asked)s LIMIT 1000"

    def ask(embedding: NDArray[np.float32]) -> NDArray[np.int64]:
        rows = db.execute(sql.encode(), {"asked": HalfVector(embedding)}, binary=True).fetchall()
        return np.array([face_id - 1 for face_id, similarity in rows if similarity >= THRESHOLD], np.int64)

    _row(server, people, questions, "pgvector's defaults", ask, report)
    db.execute("RESET enable_seqscan; RESET enable_sort; RESET hnsw.ef_search; RESET hnsw.iterative_scan")


def _network(options: Options, database: Database, people: People, report: Report) -> None:
    rng = np.random.default_rng(7)
    asked = people.vectors[rng.choice(len(people.vectors), options.rounds(60))]
    with Proxy(database.server.port) as proxy:
        for number, rtt in enumerate(ROUND_TRIPS):
            proxy.delay(rtt)
            url = database.url(port=proxy.port)
            connecting = []
            for _ in range(options.rounds(10)):
                started = time.perf_counter()
                with connected(database, dim=DIM, url=url):
                    connecting.append(1e3 * (time.perf_counter() - started))
            with connected(database, f"laptop-{number}", dim=DIM, url=url, patience=60.0) as laptop:
                ways = _asked(laptop, asked, 100_000) + _asked(laptop, asked, 20)
                photos = list(_others(options.rounds(500)))
                sync = timed(partial(_push, laptop, photos))
                laptop.remove(f"laptop-{number}")
            report.row(1e3 * rtt, median(connecting), *ways, FACES_A_PHOTO * len(photos) / sync)


def _asked(engine: PostgresEngine, asked: NDArray[np.float32], most: int) -> list[float]:
    """Median and 99th percentile of milliseconds."""
    engine.nearest(asked[:1], [THRESHOLD], most)
    times = [1e3 * timed(partial(engine.nearest, row[None], [THRESHOLD], most)) for row in asked]
    return [median(times), percentile(times, 99)]


def _others(photos: int) -> Iterator[SharedContent]:
    """Photos of other people than those of the gallery."""
    vectors = gallery.make(FACES_A_PHOTO * photos, seed=100).vectors
    for number, first in enumerate(range(0, len(vectors), FACES_A_PHOTO)):
        yield content(10**7 + number, vectors[first : first + FACES_A_PHOTO])
