"""The tables, the index and the settings of the server: all that depends on which of PostgreSQL's relatives it is.

A model has a schema of its own, so embeddings of two models never meet. Migrations run under a lock of the server, in
one transaction; a schema of a later version is refused.

**The index.** ``m = 48, ef_construction = 200`` with an iterative scan in strict order finds 0.9995 of all faces above
the threshold among 100,000, and for the worst of 200 people 0.995; pgvector's defaults (16, 64, 40 rows) find 0.26. It
is made only from `INDEX_FROM` faces on. Up to there comparing an embedding with every face is as fast and misses none,
and pushing costs a two-hundredth. `python -m tests.benchmarks shared` measures that.

Of a machine's faces with equal embeddings (a logo, a picture whose metadata changed) one is in the index, and the
others are found by it: 2,000 equal nodes beside 4,000 faces link to each other alone, and 5 to 14 % of all other faces
were not found. Equal faces of several machines share a node of pgvector, up to ten.

YugabyteDB names the method ``ybhnsw``; Citus would distribute the tables by ``machine``.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

VERSION: Final = 1
LEAST_VECTOR: Final = (0, 8)
"""The version of pgvector with iterative scans: without them it returns at most ``hnsw.ef_search`` rows, in silence."""
INDEX: Final = "face_near"
INDEX_FROM: Final = 20_000
"""Faces of all machines from which there is an index."""

LOCK: Final = 0x66616365
"""Number of the server's lock under which tables are made; with a hash of the schema's name, of that for an index."""

SETTINGS: Final = {
    "application_name": "facewatchd",
    "hnsw.ef_search": "400",
    "hnsw.iterative_scan": "strict_order",  # relaxed_order ends too early at "all above a threshold"
    "hnsw.max_scan_tuples": "2000000",  # 20,000 by default, after which the scan ends in silence
    "hnsw.scan_mem_multiplier": "32",  # of work_mem, after which it ends likewise
    "work_mem": "16MB",
    "plan_cache_mode": "force_custom_plan",  # a generic plan knows no LIMIT, and would compare every face
    "bytea_output": "hex",
    "statement_timeout": "0",  # set for questions alone: it would end a push on a busy server
    # A laptop that is shut in the middle of a push holds the rows that it changed, and old rows from being cleared.
    "idle_in_transaction_session_timeout": "60000",
    "tcp_keepalives_idle": "60",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "6",
    "client_min_messages": "error",
    "DateStyle": "ISO",
}
"""Sent with the connection, so they cost no round trip."""

TABLES: Final = f"""
CREATE TABLE meta(key text PRIMARY KEY, value text NOT NULL);
CREATE TABLE machine(
    key integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id uuid NOT NULL UNIQUE,
    name text NOT NULL CONSTRAINT machine_name UNIQUE,
    epoch bigint NOT NULL,
    lineage text NOT NULL,
    faces bigint NOT NULL DEFAULT 0,    -- its rows, counted by each push: count(*) reads them all
    photos bigint NOT NULL DEFAULT 0,
    backlog bigint NOT NULL DEFAULT 0,
    pending bigint NOT NULL DEFAULT 0,
    seen timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE removed(id uuid PRIMARY KEY, at timestamptz NOT NULL DEFAULT now());
CREATE TABLE content(
    machine integer NOT NULL REFERENCES machine(key) ON DELETE CASCADE,
    digest bytea NOT NULL,
    fingerprint bytea NOT NULL,         -- values.SharedContent.fingerprint
    faces integer NOT NULL,
    width integer NOT NULL,
    height integer NOT NULL,
    second_look integer NOT NULL,
    taken double precision,
    taken_offset integer,
    taken_from text,
    is_dated boolean NOT NULL,
    picture bytea,
    written bigint NOT NULL,            -- values.SharedContent.written
    PRIMARY KEY (machine, digest)
);
CREATE INDEX content_digest ON content(digest);
CREATE TABLE photo(
    machine integer NOT NULL,
    path bytea NOT NULL,
    hash bytea NOT NULL,                -- SHA-256 of the path, which may be longer than a row of an index
    digest bytea NOT NULL,
    PRIMARY KEY (machine, hash),
    FOREIGN KEY (machine, digest) REFERENCES content ON DELETE CASCADE
);
CREATE INDEX photo_content ON photo(machine, digest);
CREATE TABLE face(
    machine integer NOT NULL,
    digest bytea NOT NULL,
    n integer NOT NULL,                 -- its place among the faces of the content
    face_id bigint NOT NULL,
    x integer NOT NULL, y integer NOT NULL, w integer NOT NULL, h integer NOT NULL,
    score double precision NOT NULL,
    norm double precision,
    look text NOT NULL,
    sharpness double precision,
    landmarks bytea NOT NULL,           -- 5 x 2 float32, the least byte first
    embedding halfvec({{dim}}) NOT NULL,  -- of half precision, a row stays within its page
    same bytea NOT NULL,                -- vectors.hash_of the embedding
    leads boolean NOT NULL,             -- true for one of the machine's faces with this hash: the one in the index
    PRIMARY KEY (machine, digest, n),
    FOREIGN KEY (machine, digest) REFERENCES content ON DELETE CASCADE
);
CREATE INDEX face_same ON face(machine, same);
INSERT INTO meta VALUES ('model', {{model}}), ('version', '{VERSION}');
"""

MIGRATIONS: Final[dict[int, str]] = {}
"""By version: the statements that make a schema of it one of the next version, but for the number in ``meta``."""

CREATE_INDEX: Final = (
    f"CREATE INDEX CONCURRENTLY {INDEX} ON face USING hnsw (embedding halfvec_ip_ops)"
    " WITH (m = 48, ef_construction = 200) WHERE leads"
)
"""Others push and ask meanwhile."""
DROP_INDEX: Final = f"DROP INDEX IF EXISTS {INDEX}"
INDEX_STATE: Final = (
    "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%(name)s)"  # of one that failed half-way, false
)
BYTES_A_FACE: Final = 2600
"""Of memory that building the index takes, 512 numbers each; what does not fit makes it many times slower."""
BUILD_MEMORY: Final = (
    "SELECT greatest(pg_size_bytes(current_setting('maintenance_work_mem')),"
    " least(%s::bigint, pg_size_bytes(current_setting('effective_cache_size')) / 4))"
)
"""Bytes for the build of an index that needs so many: not more than a quarter of what the server's administrator says
that the machine has for files (4 GB, where nothing is said), unless more is allowed for this anyway."""


def is_enough(version: str) -> bool:
    """Whether this version of pgvector, "0.8.1", is new enough."""
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) >= LEAST_VECTOR


EVERY: Final = "^facewatch_[0-9a-f]{16}$"
"""Matches the names of the schemas of all models, and no others."""


def schema_of(model_id: str) -> str:
    """The name of a model's schema."""
    return "facewatch_" + sha256(model_id.encode()).hexdigest()[:16]


def options() -> str:
    """What the connection is opened with."""
    return " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())


def tables(model_id: str, dim: int) -> str:
    """The statements that make the tables of a model, in a schema that is the first of the search path."""
    return TABLES.replace("{dim}", str(int(dim))).replace("{model}", "'" + model_id.replace("'", "''") + "'")
