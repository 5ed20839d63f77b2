"""What libpq is told of an address: what was accepted, and no variable of the environment."""

from __future__ import annotations

import socket

import pytest

from facewatchd.shared.engine import EngineError, Trouble
from facewatchd.shared.postgres import address, connection
from facewatchd.shared.postgres.engine import PostgresEngine
from tests.support.engine_server import Database

FAR = "postgresql://u@nas.lan:5433/f?sslmode=verify-full&sslrootcert=/ca"


def test_an_address_is_handed_on_as_it_is() -> None:
    assert address.parameters(FAR) == {
        "host": "nas.lan", "port": "5433", "user": "u", "dbname": "f", "sslmode": "verify-full", "sslrootcert": "/ca",
        "gssencmode": "disable",
    }  # fmt: skip


def test_an_address_that_is_not_accepted_reaches_no_server() -> None:
    for url in ("postgresql://nas.lan/f", "postgresql://u:s3cret@nas.lan/f?sslmode=verify-full", "x"):
        with pytest.raises(EngineError, match=r"^`shared\.url` ") as caught:
            address.parameters(url)
        assert caught.value.trouble is Trouble.REFUSED
        assert "s3cret" not in str(caught.value)


def test_an_address_that_libpq_reads_in_another_way_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "conninfo_to_dict", lambda url: {"host": "elsewhere"})
    with pytest.raises(EngineError, match=r"libpq reads `shared\.url` in another way"):
        address.parameters(FAR)


def answered(*addresses: str) -> object:
    return lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, 0)) for each in addresses]


def test_localhost_is_held_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answered("::1", "127.0.0.1", "::1"))
    told = address.parameters("postgresql://localhost:5433,127.0.0.2:6,%2Frun%2Fpg:7/f")
    assert told["host"] == "localhost,localhost,127.0.0.2,/run/pg"
    assert told["hostaddr"] == "::1,127.0.0.1,127.0.0.2,"
    assert told["port"] == "5433,5433,6,7"
    told = address.parameters("postgresql:///f?host=localhost,LOCALHOST")
    assert (told["hostaddr"], told["port"]) == ("::1,127.0.0.1,::1,127.0.0.1", ",,,")


def test_localhost_that_is_another_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answered("127.0.0.1", "192.0.2.7"))
    with pytest.raises(EngineError, match=r"localhost is 192\.0\.2\.7 here.*; write 127\.0\.0\.1") as caught:
        address.parameters("postgresql://localhost/f")
    assert caught.value.trouble is Trouble.CERTIFICATE
    told = address.parameters("postgresql://localhost/f?sslmode=verify-full")
    assert "hostaddr" not in told, "the certificate tells"


def test_variables_of_libpq_lead_nowhere(engine: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not where they name another host, a service, a lower mode or a wrong password."""
    for name, value in {
        "PGHOST": "nas.invalid",
        "PGHOSTADDR": "192.0.2.1",
        "PGSERVICE": "nowhere",
        "PGSERVICEFILE": "/nowhere",
        "PGSSLMODE": "disable",
        "PGPASSWORD": "wrong",
        "PGOPTIONS": "-c search_path=x",
        "PGREQUIRESSL": "0",
        "PGTARGETSESSIONATTRS": "standby",
    }.items():
        monkeypatch.setenv(name, value)
    PostgresEngine(engine.url(), "opencv-1", 4).close()


@pytest.mark.parametrize("mode", ["disable", "require", ""])
def test_every_way_to_this_machine_is_taken(engine: Database, mode: str) -> None:
    for host in ("localhost", "127.0.0.1", engine.socket):
        PostgresEngine(engine.url(host, sslmode=mode, sslrootcert=""), "opencv-1", 4).close()
    several = engine.url("127.0.0.9", sslmode=mode, sslrootcert="").replace("127.0.0.9", "127.0.0.9:1,localhost")
    PostgresEngine(several, "opencv-1", 4).close()


def test_the_connection_uses_it(engine: Database) -> None:
    """And not the address itself, which libpq would complete."""
    with pytest.raises(EngineError, match=r"^`shared\.url` leads to 192\.0\.2\.1 with sslmode=require"):
        connection.Connection(engine.url(hostaddr="192.0.2.1", sslmode="require"), "opencv-1", 4)
