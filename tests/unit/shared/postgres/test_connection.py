"""Whatever is wrong with a server, a call ends in time, and one line says what it is and what to do."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facewatchd.shared.engine import EngineError, Retry, Trouble
from facewatchd.shared.postgres import schema
from facewatchd.shared.postgres.connection import Connection
from facewatchd.shared.postgres.engine import PostgresEngine
from facewatchd.shared.values import Whose
from tests.support.engine_server import USER, Database, Server
from tests.support.galleries import DIM, unit
from tests.support.processes import until
from tests.support.shared_faces import MODEL, connected, content, faces_in, token
from tests.support.tcp_proxy import Proxy

ROWS = unit(np.random.default_rng(1).normal(size=(60, DIM)))
SCHEMA = schema.schema_of(MODEL)


def refused(engine: Database, trouble: Trouble, *words: str, url: str = "", password: str = "") -> EngineError:
    """Connect, which must fail; the error has these words, is one line, and holds no password."""
    with pytest.raises(EngineError) as raised:
        PostgresEngine(url or engine.url(), MODEL, DIM, password=password).close()
    error = raised.value
    assert error.trouble is trouble, error
    for word in words:
        assert word in str(error)
    assert "\n" not in str(error)
    assert error.hint
    assert engine.password not in str(error)
    assert not password or password not in str(error)
    assert raised.value.__cause__ is None, "psycopg's own text is not logged"
    return error


@contextmanager
def administered(engine: Database, *statements: str) -> Iterator[None]:
    with engine.administer() as db:
        for statement in statements:
            db.execute(statement)
    yield


def test_a_server_with_tls_and_a_password_is_reached(engine: Database) -> None:
    with connected(engine, dim=DIM) as one:
        assert one.is_open
        assert faces_in(one) == 0
    assert not one.is_open


def test_the_password_may_come_from_this_process(engine: Database) -> None:
    PostgresEngine(engine.url(passfile="/dev/null"), MODEL, DIM, password=engine.password).close()


@pytest.mark.parametrize("password", ["wrong", "it's \\ a  strange one"])
def test_a_wrong_password(engine: Database, password: str) -> None:
    error = refused(engine, Trouble.REFUSED, "password", USER, url=engine.url(passfile="/dev/null"), password=password)
    assert error.trouble.retry is Retry.SLOWLY


@pytest.mark.parametrize(
    ("mode", "password", "words"),
    [
        (None, "", ("wants a password", "is not there", "write the line")),
        (0o644, "{right}", ("wants a password", "is not used, as others may read it (mode 0644)", "chmod 600 ")),
        (0o600, "", ("wants a password", "has no line for it")),
        (0o600, "wrong", ("refused the password", "put the right one into ")),
    ],
)
def test_the_file_that_gave_no_right_password_is_named(
    engine: Database, tmp_path: Path, capfd: Any, mode: int | None, password: str, words: tuple[str, ...]
) -> None:
    passfile = tmp_path / "passfile"
    if mode is not None:
        line = f"*:*:*:*:{password.replace('{right}', engine.password)}\n" if password else ""
        passfile.write_text(line)
        passfile.chmod(mode)
    refused(engine, Trouble.REFUSED, *words, str(passfile), url=engine.url(passfile=passfile))
    assert capfd.readouterr().err == "", "libpq's own warning"


def test_an_unknown_user(engine: Database) -> None:
    refused(engine, Trouble.REFUSED, "nobody-here", url=engine.url(user="nobody-here"))


def test_an_unknown_database(engine: Database) -> None:
    url = engine.url().replace(f"/{engine.name}?", "/not_there?")
    refused(engine, Trouble.REFUSED, "no database not_there", "CREATE DATABASE", url=url)


def test_an_authority_that_did_not_sign(engine: Database) -> None:
    refused(engine, Trouble.CERTIFICATE, "sslrootcert", url=engine.url(sslrootcert=engine.server.other_ca))


def test_an_authority_that_is_not_there(engine: Database) -> None:
    refused(engine, Trouble.CERTIFICATE, "sslrootcert", url=engine.url(sslrootcert="/nowhere/ca.crt"))


def test_a_certificate_of_another_host(engine: Database) -> None:
    url = engine.url(host="nas.example", hostaddr="127.0.0.1")
    refused(engine, Trouble.CERTIFICATE, "another host", "nas.example", url=url)


def test_a_server_without_tls(own_server: Callable[..., Server]) -> None:
    database = own_server(ssl="off").new_database()
    refused(database, Trouble.CERTIFICATE, "ssl = on")


def test_no_server(engine: Database) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    error = refused(engine, Trouble.UNREACHABLE, f"localhost:{port}", "does not run", url=engine.url(port=port))
    assert error.trouble.retry is Retry.SOON


def test_no_such_socket(engine: Database) -> None:
    refused(engine, Trouble.UNREACHABLE, "/nowhere", url=engine.url("/nowhere", sslmode="", sslrootcert=""))


def test_a_name_without_an_address(engine: Database) -> None:
    refused(engine, Trouble.UNREACHABLE, "nas.invalid", "no address", url=engine.url(host="nas.invalid"))


def test_a_server_that_accepts_and_says_nothing(
    engine: Database, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facewatchd.shared.postgres.connection.CONNECT_SECONDS", 2)
    proxy.hang()
    refused(engine, Trouble.LATE, url=engine.url(port=proxy.port))


def test_no_more_connections(engine: Database) -> None:
    with administered(engine, f"ALTER DATABASE {engine.name} CONNECTION LIMIT 0"):
        error = refused(engine, Trouble.BUSY, "as many connections as it takes")
    assert error.trouble.retry is Retry.SOON


# What the database holds


def test_no_extension_and_no_right_to_make_it(new_database: Callable[..., Database]) -> None:
    database = new_database(extension=False)
    refused(database, Trouble.NO_EXTENSION, "CREATE EXTENSION vector;", database.name)
    with administered(database, "CREATE EXTENSION vector"):
        PostgresEngine(database.url(), MODEL, DIM).close()


def test_an_administrator_needs_no_line(new_database: Callable[..., Database]) -> None:
    database = new_database(extension=False)
    PostgresEngine(database.url(user="postgres"), MODEL, DIM).close()
    PostgresEngine(database.url(), f"{MODEL}-2", DIM).close()


def test_an_extension_in_a_schema_of_its_own(new_database: Callable[..., Database]) -> None:
    database = new_database(extension=False)
    statements = ("CREATE SCHEMA extensions", f"GRANT USAGE ON SCHEMA extensions TO {USER}")
    with (
        administered(database, *statements, "CREATE EXTENSION vector SCHEMA extensions"),
        connected(database, "nas", dim=DIM) as nas,
    ):
        nas.push([content(1, ROWS[:1])], token(), 0, 0)
        assert len(nas.nearest(ROWS[:1], [0.9], 9, Whose.ALL).contents) == 1


def test_an_extension_without_iterative_scans(engine: Database) -> None:
    with administered(engine, "UPDATE pg_extension SET extversion = '0.7.4' WHERE extname = 'vector'"):
        refused(engine, Trouble.NO_EXTENSION, "0.7.4", "ALTER EXTENSION vector UPDATE")


def test_a_user_who_may_make_no_schema(engine: Database) -> None:
    with administered(
        engine,
        f"ALTER DATABASE {engine.name} OWNER TO postgres",
        f"REVOKE CREATE ON DATABASE {engine.name} FROM PUBLIC, {USER}",
    ):
        refused(engine, Trouble.REFUSED, f"GRANT CREATE ON DATABASE {engine.name} TO {USER}")


def test_tables_of_a_later_version_are_left_alone(engine: Database) -> None:
    with connected(engine, "nas", dim=DIM):
        pass
    with engine.connect() as db:
        db.execute(f"UPDATE {SCHEMA}.meta SET value = '{schema.VERSION + 1}' WHERE key = 'version'")
    refused(engine, Trouble.NEWER, f"version {schema.VERSION + 1}", "update facewatchd")


def test_tables_of_another_model_are_left_alone(engine: Database) -> None:
    with connected(engine, "nas", dim=DIM):
        pass
    with engine.connect() as db:
        db.execute(f"UPDATE {SCHEMA}.meta SET value = 'other-1' WHERE key = 'model'")
    refused(engine, Trouble.OTHER_MODEL, "other-1")


def test_two_models_in_one_database_do_not_meet(engine: Database) -> None:
    with connected(engine, "nas", dim=DIM) as one, connected(engine, "nas", dim=DIM, model="other-1") as other:
        one.push([content(1, ROWS[:1])], token(), 0, 0)
        assert (faces_in(one), faces_in(other)) == (1, 0)


def test_the_tables_are_made_once_whoever_comes_first(engine: Database) -> None:
    def machine(number: int) -> int:
        with connected(engine, f"machine-{number}", dim=DIM) as one:
            return one.push([content(number, ROWS[:1])], token(), 0, 0).written

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(machine, range(8))) == [1] * 8


def test_an_older_version_is_brought_up_once(engine: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with connected(engine, "nas", dim=DIM) as nas:
        nas.push([content(1, ROWS[:1])], token(), 0, 0)
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    monkeypatch.setitem(schema.MIGRATIONS, schema.VERSION - 1, "ALTER TABLE machine ADD COLUMN disk text;")

    def machine(_: int) -> int:
        with connected(engine, dim=DIM) as one:
            return faces_in(one)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(machine, range(4))) == [1] * 4
    with engine.connect() as db:
        assert db.execute(f"SELECT disk FROM {SCHEMA}.machine").fetchall() == [(None,)]


def test_tables_that_were_dropped_are_made_again_by_the_next_connection(engine: Database) -> None:
    with connected(engine, "nas", dim=DIM) as nas:
        with engine.connect() as db:
            db.execute(f"DROP SCHEMA {SCHEMA} CASCADE")
        with pytest.raises(EngineError, match="lost the tables") as raised:
            nas.machines()
        assert raised.value.trouble is Trouble.UNREACHABLE
        assert not nas.is_open
    with connected(engine, dim=DIM) as again:
        assert again.machines() == []


# While connected


def test_a_server_that_takes_no_changes_still_answers(engine: Database) -> None:
    with connected(engine, "nas", dim=DIM) as nas:
        nas.push([content(1, ROWS[:1])], token(), 0, 0)
    with (
        administered(engine, f"ALTER DATABASE {engine.name} SET default_transaction_read_only = on"),
        connected(engine, dim=DIM) as standby,
    ):
        assert faces_in(standby) == 1
        assert len(standby.nearest(ROWS[:1], [0.9], 9).contents) == 1
        with pytest.raises(EngineError, match="standby") as raised:
            standby.attach(token(), "laptop", [])
        assert raised.value.trouble is Trouble.READ_ONLY
    with pytest.raises(EngineError) as raised:
        PostgresEngine(engine.url(), "other-1", DIM).close()
    assert raised.value.trouble is Trouble.READ_ONLY


def test_a_restart_of_the_server(own_server: Callable[..., Server]) -> None:
    server = own_server()
    database = server.new_database()
    with connected(database, "nas", dim=DIM) as nas:
        server.stop()
        with pytest.raises(EngineError) as raised:
            nas.push([content(1, ROWS[:1])], token(), 0, 0)
        assert raised.value.trouble.retry is Retry.SOON
        assert not nas.is_open
    refused(database, Trouble.UNREACHABLE, "does not run")
    server.start()
    with connected(database, "laptop", dim=DIM) as again:
        again.push([content(1, ROWS[:1])], token(), 0, 0)


def test_the_power_of_the_server_fails_in_a_push(own_server: Callable[..., Server]) -> None:
    server = own_server()
    database = server.new_database()
    machine, last = token(), token()
    with connected(database, dim=DIM) as nas:
        epoch = nas.attach(machine, "nas", []).epoch
        nas.push([content(1, ROWS[:1])], last, 0, 0)
        server.kill()
        with pytest.raises(EngineError) as raised:
            nas.push([content(2, ROWS[1:2])], token(), 0, 0)
        assert raised.value.trouble.retry is Retry.SOON
    server.start()
    with connected(database, dim=DIM) as again:
        assert again.attach(machine, "nas", [last], epoch).is_known
        assert faces_in(again) == 1


def test_a_question_ends_in_time_where_the_server_acknowledges_and_hangs(engine: Database, proxy: Proxy) -> None:
    with connected(engine, "nas", dim=DIM, url=engine.url(port=proxy.port), patience=1.0) as nas:
        nas.push([content(1, ROWS[:1])], token(), 0, 0)
        proxy.hang()
        started = time.monotonic()
        with pytest.raises(EngineError) as raised:
            nas.nearest(ROWS[:1], [0.9], 9)
        assert 0.9 < time.monotonic() - started < 10
        assert raised.value.trouble is Trouble.LATE
        assert not nas.is_open
        with pytest.raises(EngineError, match="closed"):
            nas.machines()


@pytest.mark.parametrize("fault", ["hang", "cut", "hold_answers"])
def test_a_push_ends_in_time_and_may_be_repeated(
    engine: Database, proxy: Proxy, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facewatchd.shared.postgres.engine.PUSH_SECONDS", 1.0)
    machine = token()
    with connected(engine, dim=DIM, url=engine.url(port=proxy.port)) as nas:
        epoch = nas.attach(machine, "nas", []).epoch
        getattr(proxy, fault)()
        with pytest.raises(EngineError) as raised:
            nas.push([content(1, ROWS[:3])], token(), 0, 0)
        assert raised.value.trouble is Trouble.LATE
    proxy.heal()
    with connected(engine, dim=DIM) as again:
        again.attach(machine, "nas", [], epoch)
        again.push([content(1, ROWS[:3])], token(), 0, 0)
        assert faces_in(again) == 3


@pytest.mark.parametrize("ask", [lambda nas: nas.machines(), lambda nas: nas.nearest(ROWS[:1], [0.9], 9)])
def test_a_connection_that_is_reset(
    engine: Database, proxy: Proxy, ask: Callable[[PostgresEngine], object], caplog: pytest.LogCaptureFixture
) -> None:
    """It is an error, and psycopg writes no lines of its own into the log."""
    with connected(engine, "nas", dim=DIM, url=engine.url(port=proxy.port)) as nas:
        proxy.refuse()
        with pytest.raises(EngineError) as raised:
            ask(nas)
        assert raised.value.trouble is Trouble.UNREACHABLE
        assert not nas.is_open
    assert caplog.messages == []


def test_a_machine_that_is_shut_in_the_middle_of_a_push_is_given_up(engine: Database) -> None:
    """Over TCP and over the socket of this machine alike."""
    local = engine.url(engine.socket, sslmode="", sslrootcert="")
    for url in (engine.url(), local):
        with connected(engine, dim=DIM, url=url) as one:
            sql = "SELECT current_setting('idle_in_transaction_session_timeout'), current_setting('statement_timeout')"
            assert one._connection.db.execute(sql).fetchone() == ("1min", "0")
    with connected(engine, dim=DIM) as one:
        assert one._connection.db.execute("SHOW tcp_keepalives_idle").fetchone() == ("60",)


def test_the_server_gives_up_a_question_before_the_connection_is_lost(engine: Database) -> None:
    with connected(engine, "nas", dim=DIM, patience=1.0) as nas, engine.connect() as other:
        nas.push([content(1, ROWS[:1])], token(), 0, 0)
        with other.transaction():
            other.execute(f"LOCK TABLE {SCHEMA}.face IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(EngineError) as raised:
                nas.nearest(ROWS[:1], [0.9], 9)
        assert raised.value.trouble is Trouble.LATE
        assert nas.is_open
        assert len(nas.nearest(ROWS[:1], [0.9], 9, Whose.OWN).contents) == 1


def test_another_thread_may_close_it_in_the_middle_of_a_call(engine: Database, proxy: Proxy) -> None:
    with connected(engine, "nas", dim=DIM, url=engine.url(port=proxy.port)) as nas, ThreadPoolExecutor(1) as pool:
        proxy.hang()
        call = pool.submit(nas.machines)
        until(lambda: any(thread.name == "shared engine deadline" for thread in threading.enumerate()))
        started = time.monotonic()
        nas.close()
        with pytest.raises(EngineError) as raised:
            call.result(10)
        assert raised.value.trouble is Trouble.UNREACHABLE
        assert time.monotonic() - started < 5
        nas.close()


def test_no_deadline_is_left_running(engine: Database) -> None:
    with connected(engine, "nas", dim=DIM) as nas:
        nas.machines()
        until(lambda: not any(thread.name == "shared engine deadline" for thread in threading.enumerate()))


def test_an_address_that_is_none() -> None:
    with pytest.raises(EngineError, match="cannot be read") as raised:
        Connection("postgresql://[", MODEL, DIM)
    assert raised.value.trouble is Trouble.REFUSED


def test_a_disk_that_is_full(engine: Database) -> None:
    """As the server says it: a trigger raises what it raises."""
    with connected(engine, "nas", dim=DIM) as nas:
        with engine.connect() as db:
            db.execute(
                f"CREATE FUNCTION {SCHEMA}.full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION"
                " 'could not extend file \"base/1/2\": No space left on device' USING ERRCODE = '53100'; END $$"
            )
            db.execute(f"CREATE TRIGGER t BEFORE INSERT ON {SCHEMA}.face EXECUTE FUNCTION {SCHEMA}.full()")
        with pytest.raises(EngineError, match="no room left") as raised:
            nas.push([content(1, ROWS[:1])], token(), 0, 0)
        assert raised.value.trouble is Trouble.FULL
        with engine.connect() as db:
            db.execute(f"DROP TRIGGER t ON {SCHEMA}.face")
        assert nas.push([content(1, ROWS[:1])], token(), 0, 0).written == 1
