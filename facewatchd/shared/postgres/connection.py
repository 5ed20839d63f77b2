"""A connection to PostgreSQL, of which every call ends: by its deadline, or because another thread closes it.

libpq waits for ever where the peer's kernel acknowledges and its server does not answer, as behind a proxy or on a
machine that hangs: ``tcp_user_timeout`` does not help there. So at the deadline a timer shuts the socket, and libpq
finds the connection closed. The timer has a descriptor of its own for the socket, which is closed with the connection:
it never shuts another one that has the number by then.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pwd
import socket
import threading
from collections.abc import Iterator
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.types import TypeInfo

from facewatchd import engine_url
from facewatchd.shared import credentials
from facewatchd.shared.engine import EngineError, Trouble
from facewatchd.shared.postgres import schema, vectors
from facewatchd.shared.postgres.address import parameters
from facewatchd.shared.postgres.troubles import GONE, Server, Words, engine_error, worded

logging.getLogger("psycopg").setLevel(logging.ERROR)  # its warnings are of errors beside those that it raises

CONNECT_SECONDS: Final = 5
"""For each address of the server; libpq takes no less than 2."""
SETUP_SECONDS: Final = 60.0
"""To look at the tables, and to make them where they are missing: another machine may be doing that."""
KEEPALIVES: Final = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""Seconds, and at last milliseconds, after which the kernel gives up a peer that is gone."""

_EXTENSION: Final = "as the administrator of the server: CREATE EXTENSION vector; in the database {base}"
_MISSING: Final = Words(Trouble.NO_EXTENSION, "has no pgvector in the database {base}", _EXTENSION)
_NOT_INSTALLED: Final = Words(
    Trouble.NO_EXTENSION,
    "has no pgvector installed",
    "install it on the server (Debian: postgresql-NN-pgvector), then " + _EXTENSION,
)
_TOO_OLD: Final = Words(
    Trouble.NO_EXTENSION,
    "has pgvector {text}, which has no iterative scan: 0.8 is needed",
    "install pgvector 0.8 there, then as its administrator: ALTER EXTENSION vector UPDATE; in the database {base}",
)
_NEWER: Final = Words(
    Trouble.NEWER, "has tables of a later facewatchd (version {text}, and this one knows {known})", "update facewatchd"
)
_OTHER: Final = Words(
    Trouble.OTHER_MODEL, "has the faces of another model ({text}) in this one's tables", "use another database"
)


class Connection:
    """An open connection, with the tables of one model first in its search path."""

    def __init__(self, url: str, model_id: str, dim: int, password: str = "") -> None:
        """Connect, and make the tables where there are none. Raises `EngineError`.

        ``model_id``: empty for a look at the server, which neither needs tables nor makes them. ``password``: empty
        where libpq is to look for one (``passfile``, ``~/.pgpass``).
        """
        self.model_id, self.dim, self.schema = model_id, dim, schema.schema_of(model_id)
        given: dict[str, Any] = {**parameters(url), "connect_timeout": CONNECT_SECONDS, **KEEPALIVES}
        self.server = _server_of(url, password)
        if password:
            given["password"] = password
        elif self.server.passfile.fault:
            given["passfile"] = credentials.NO_PASSFILE
        self._busy = threading.Lock()
        self._closed = threading.Event()
        try:
            self.db = psycopg.connect(autocommit=True, prepare_threshold=2, options=schema.options(), **given)
        except psycopg.Error as exc:
            raise engine_error(exc, self.server) from None  # its text may hold what is not to be shown
        self._socket = socket.socket(fileno=os.dup(self.db.pgconn.socket))
        try:
            if model_id:
                with self.within(SETUP_SECONDS):
                    self._prepare()
        except BaseException:
            self.close()
            raise

    @property
    def is_open(self) -> bool:
        return not self._closed.is_set() and not self.db.closed

    @contextlib.contextmanager
    def within(self, seconds: float | None) -> Iterator[psycopg.Connection]:
        """The connection for one call, which ends after so many seconds (None: whenever) with `EngineError`."""
        late = threading.Event()

        def end() -> None:
            late.set()
            self._shut()

        with self._busy:
            if not self.is_open:
                raise EngineError(Trouble.UNREACHABLE, f"the connection to {self.server.where} is closed")
            timer = threading.Timer(seconds or 0.0, end)
            timer.name, timer.daemon = "shared engine deadline", True
            if seconds is not None:
                timer.start()
            try:
                yield self.db
            except (psycopg.Error, OSError) as exc:
                raise self._error(exc, late.is_set()) from None
            finally:
                timer.cancel()
                if late.is_set() or self._closed.is_set() or self.db.broken:
                    self._finish()

    def _error(self, exc: Exception, is_late: bool) -> EngineError:
        if self._closed.is_set() and not is_late:
            return EngineError(Trouble.UNREACHABLE, f"the connection to {self.server.where} was closed")
        error = engine_error(exc, self.server, is_late=is_late)
        if self.db.broken and not is_late and getattr(exc, "sqlstate", None) is None:
            return worded(GONE, self.server)
        if error.trouble is Trouble.UNREACHABLE:
            self._closed.set()  # also where only the tables are gone: another connection makes them again
        return error

    def close(self) -> None:
        """End the connection, and the call of another thread. Never waits, never raises."""
        self._closed.set()
        self._shut()
        if self._busy.acquire(blocking=False):
            try:
                self._finish()
            finally:
                self._busy.release()

    def _shut(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _finish(self) -> None:
        self._closed.set()
        with contextlib.suppress(psycopg.Error, OSError):
            self.db.close()
        self._socket.close()

    # The tables

    def _prepare(self) -> None:
        db, name = self.db, self.schema
        where = self._extension()
        path = [sql.Identifier(each) for each in dict.fromkeys((name, where or "public"))]
        db.execute(sql.SQL("SET search_path = {}").format(sql.SQL(", ").join(path)))
        if where is None or self._version() != schema.VERSION:
            with db.transaction():
                db.execute("SELECT pg_advisory_xact_lock(%s)", (schema.LOCK,))
                self._create_extension()
                self._migrate()
        info = TypeInfo.fetch(db, "halfvec")
        if info is None:
            raise worded(_MISSING, self.server)
        vectors.teach(db, info)

    def _extension(self) -> str | None:
        """The schema of pgvector; None where the database has none. Raises `EngineError` where it is too old."""
        row = self.db.execute(
            "SELECT nspname, extversion FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace"
            " WHERE extname = 'vector'"
        ).fetchone()
        if row is None:
            return None
        if not schema.is_enough(str(row[1])):
            raise worded(_TOO_OLD, self.server, str(row[1]))
        return str(row[0])

    def _create_extension(self) -> None:
        if self._extension() is not None:
            return
        try:
            with self.db.transaction():
                self.db.execute("CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public")
        except psycopg.errors.InsufficientPrivilege:
            raise worded(_MISSING, self.server) from None
        except (psycopg.errors.UndefinedFile, psycopg.errors.FeatureNotSupported):  # no control file of that name
            raise worded(_NOT_INSTALLED, self.server) from None
        self._extension()

    def _version(self) -> int:
        """The version of the tables, 0 where there are none. Raises `EngineError` where they are of no use here."""
        row = self.db.execute("SELECT to_regclass(%s)", (f"{self.schema}.meta",)).fetchone()
        if row is None or row[0] is None:
            return 0
        meta = dict(self.db.execute("SELECT key, value FROM meta").fetchall())
        if meta.get("model") != self.model_id:
            raise worded(_OTHER, self.server, str(meta.get("model"))[:80])
        version = str(meta.get("version"))
        if not version.isdigit() or int(version) > schema.VERSION:
            message = _NEWER.message.replace("{known}", str(schema.VERSION))
            raise worded(_NEWER._replace(message=message), self.server, version[:20])
        return int(version)

    def _migrate(self) -> None:
        version = self._version()
        if version == 0:
            self.db.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(self.schema)))
            self.db.execute(schema.tables(self.model_id, self.dim).encode())
        for step in range(version or schema.VERSION, schema.VERSION):
            self.db.execute(schema.MIGRATIONS[step].encode())
            self.db.execute("UPDATE meta SET value = %s WHERE key = 'version'", (str(step + 1),))


def _server_of(url: str, password: str) -> Server:
    """What messages say of the server of an accepted url."""
    address = engine_url.read(url)
    values = dict(address.values)
    user = values.get("user") or _own_name()
    passfile = credentials.passfile(values.get("passfile", ""))
    return Server(address.where, user, values.get("dbname") or user, password, passfile)


def _own_name() -> str:
    """The user's name, which libpq takes where the url has none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
