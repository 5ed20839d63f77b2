"""The PostgreSQL that tests start, and the proxy before it: what other tests rely on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import engine_server
from tests.support.engine_server import Database, Server
from tests.support.paths import PROJECT
from tests.support.processes import DEADLINE, until
from tests.support.tcp_proxy import Proxy

psycopg = pytest.importorskip("psycopg")

USES = """
import sys, time
from pathlib import Path
from tests.support import engine_server
with engine_server.shared(Path(sys.argv[1])) as server:
    print(server.port, server.installation.place, flush=True)
    time.sleep(600)
"""


def test_tests_are_skipped_without_a_server_and_fail_where_one_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(engine_server.REQUIRED, raising=False)
    monkeypatch.setattr("tests.support.certificates.problem", lambda: "there is no openssl")
    with pytest.raises(pytest.skip.Exception, match="no openssl"):
        engine_server.install(Path("/nowhere"))
    monkeypatch.setenv(engine_server.REQUIRED, "required")
    with pytest.raises(pytest.fail.Exception, match="no openssl"):
        engine_server.install(Path("/nowhere"))


def test_it_speaks_tls_and_has_pgvector(engine: Database) -> None:
    with engine.connect() as db:
        assert db.execute("SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone() == (
            True,
            "TLSv1.3",
        )
        assert db.execute("SELECT '[1,2]'::halfvec <#> '[3,4]'").fetchone() == (-11.0,)
        assert db.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone() == (False,)
        assert db.execute("SHOW server_encoding").fetchone() == ("UTF8",)
        db.execute("CREATE SCHEMA mine")
    with engine.connect(engine.url(engine.socket, sslmode="disable", sslrootcert="")) as db:
        assert db.execute("SELECT inet_server_addr()").fetchone() == (None,)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"sslrootcert": "other"}, "certificate verify failed"),
        ({"passfile": "wrong"}, "password authentication failed"),
        ({"passfile": "/nowhere"}, "no password supplied"),
    ],
)
def test_who_must_not_get_in_does_not(
    engine: Database, tmp_path: Path, parameters: dict[str, str], message: str
) -> None:
    wrong = tmp_path / "passfile"
    wrong.touch(0o600)
    wrong.write_text("*:*:*:*:wrong\n")
    places = {"other": str(engine.server.other_ca), "wrong": str(wrong)}
    url = engine.url(**{name: places.get(value, value) for name, value in parameters.items()})
    with pytest.raises(psycopg.OperationalError, match=message):
        engine.connect(url)


def test_a_database_without_the_extension(new_database: Callable[..., Database]) -> None:
    with new_database(extension=False).connect() as db, pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.execute("CREATE EXTENSION vector")


def test_a_server_of_its_own_stops_starts_and_is_restored(own_server: Callable[..., Server]) -> None:
    server = own_server()
    database = server.new_database()
    with database.connect() as db:
        db.execute("CREATE TABLE t AS SELECT 1 AS n")
    dump = database.back_up()
    server.stop()
    copy = server.back_up("copy")
    server.start()
    with database.connect() as db:
        db.execute("INSERT INTO t VALUES (2)")
        server.kill()
        with pytest.raises(psycopg.OperationalError):
            db.execute("SELECT 1")
    server.start()
    with database.connect() as db:
        assert db.execute("SELECT count(*) FROM t").fetchone() == (2,)
    server.stop()
    server.restore(copy)
    server.start()
    with database.connect() as db:
        assert db.execute("SELECT count(*) FROM t").fetchone() == (1,)
        db.execute("DELETE FROM t")
    database.restore(dump)
    with database.connect() as db:
        assert db.execute("SELECT count(*) FROM t").fetchone() == (1,)


def test_processes_share_a_server_which_ends_with_the_last(engine_server: Server, tmp_path: Path) -> None:
    def use() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", USES, str(tmp_path)], cwd=PROJECT, stdout=subprocess.PIPE, text=True
        )

    users = [use(), use()]
    told = [user.stdout.readline() for user in users if user.stdout]
    assert told[0] == told[1]
    port, place = told[0].split()
    assert int(port) != engine_server.port
    server = Path(place)
    (cluster,) = server.glob("cluster-*")
    postmaster = int((cluster / "data" / "postmaster.pid").read_text().split()[0])
    users[0].kill()
    users[0].communicate()
    until(lambda: os.kill(postmaster, 0) is None, deadline=1)
    users[1].send_signal(signal.SIGTERM)
    users[1].communicate()
    until(lambda: not Path(f"/proc/{postmaster}").exists())
    until(lambda: not server.exists())


def test_the_proxy_delays(engine: Database, proxy: Proxy) -> None:
    with engine.connect(engine.url(port=proxy.port)) as db:
        proxy.delay(0.2)
        begin = time.monotonic()
        db.execute("SELECT 1")
        assert time.monotonic() - begin >= 0.2
        proxy.delay(0)
        assert proxy.connections == 1


@pytest.mark.parametrize("state", ["cut", "hang", "hold_answers"])
def test_what_the_proxy_holds_is_passed_on_when_it_heals(engine: Database, proxy: Proxy, state: str) -> None:
    url = engine.url(port=proxy.port)
    with engine.connect() as witness, engine.connect(url) as db, ThreadPoolExecutor() as threads:
        db.execute("CREATE TABLE t (n int)")
        getattr(proxy, state)()
        insert = threads.submit(db.execute, "INSERT INTO t VALUES (1)")
        if state == "hold_answers":
            until(lambda: witness.execute("SELECT count(*) FROM t").fetchone() == (1,))
        else:
            with pytest.raises(TimeoutError):
                insert.result(0.2)
            assert witness.execute("SELECT count(*) FROM t").fetchone() == (0,)
        assert not insert.done()
        proxy.heal()
        assert insert.result(DEADLINE).rowcount == 1
        assert witness.execute("SELECT count(*) FROM t").fetchone() == (1,)


def test_the_proxy_cuts_in_the_middle_of_what_is_sent(engine: Database, proxy: Proxy) -> None:
    with engine.connect(engine.url(port=proxy.port)) as db, ThreadPoolExecutor() as threads:
        proxy.cut_after(500_000)
        assert db.execute("SELECT length(%s)", ["x" * 400_000]).fetchone() == (400_000,)
        assert not proxy.is_cut()
        length = threads.submit(db.execute, "SELECT length(%s)", ["x" * 400_000])
        until(proxy.is_cut)
        assert not length.done()
        proxy.heal()
        assert length.result(DEADLINE).fetchone() == (400_000,)


def test_the_proxy_resets_and_refuses(engine: Database, proxy: Proxy) -> None:
    url = engine.url(port=proxy.port)
    with engine.connect(url) as db:
        proxy.reset()
        with pytest.raises(psycopg.OperationalError):
            db.execute("SELECT 1")
    with engine.connect(url) as db:
        proxy.refuse()
        with pytest.raises(psycopg.OperationalError):
            db.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="refused"):
        engine.connect(url)
    proxy.heal()
    with engine.connect(url) as db:
        assert db.execute("SELECT 1").fetchone() == (1,)
