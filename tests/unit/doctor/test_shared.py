"""`facewatchd doctor` on the shared engine: what is wrong, on a real server, is one line with what to do about it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from facewatchd import paths
from facewatchd.doctor import shared
from facewatchd.doctor.finding import Finding, line
from facewatchd.shared import postgres
from facewatchd.shared.engine import EngineError, Trouble
from facewatchd.shared.pool import Identity
from facewatchd.shared.postgres import probe, schema
from facewatchd.shared.postgres.engine import PostgresEngine
from facewatchd.store.data_directory import machine_id
from tests.support.engine_server import USER, Database
from tests.support.fake_engine import FakeServer, NoSending, share
from tests.support.findings import findings
from tests.support.shared_faces import token
from tests.support.tcp_proxy import Proxy


@pytest.fixture(autouse=True)
def home(new_home: Path) -> Path:
    """Let nothing of the machine's own configuration be seen."""
    return new_home


@pytest.fixture
def model_id(tiny_root: Path) -> str:
    from facewatchd.models import registry

    pack = registry.find("tiny", tiny_root)
    assert pack
    return pack.id


Look = Callable[..., dict[str, Finding]]


@pytest.fixture
def look(tmp_path: Path, tiny_root: Path, engine: Database) -> Look:
    """What doctor says of a machine called laptop. No line shows a password, and a bad one says what to do."""

    def look(url: str = "", name: str = "laptop") -> dict[str, Finding]:
        file = tmp_path / "config.toml"
        file.write_text(
            f"model = 'tiny'\nmodel_root = '{tiny_root}'\n"
            f"[shared]\nurl = '{url or engine.url()}'\nname = '{name}'\ntimeout = 5.0\n"
        )
        found = findings("shared", file, data_dir=tmp_path / "data", socket=tmp_path / "socket")
        for each in found:
            assert engine.password not in line(each, colour=False)
            assert each.status == "ok" or each.hint, each
        return {each.name: each for each in found}

    return look


def enter(engine: Database, name: str, model: str, machine: str = "") -> None:
    """Have a machine attached."""
    one = PostgresEngine(engine.url(), model, 4)
    one.attach(machine or token(), name, [])
    one.close()


@contextmanager
def administered(engine: Database, statement: str) -> Iterator[None]:
    with engine.administer() as db:
        db.execute(statement)
    yield


def test_without_an_engine_nothing_is_checked(tmp_path: Path) -> None:
    assert findings("shared", data_dir=tmp_path / "data", socket=tmp_path / "socket") == []


def test_an_engine_that_is_well(look: Look, engine: Database) -> None:
    found = look()
    assert {name: each.status for name, each in found.items()} == {
        "share": "warn", "psycopg": "ok", "engine": "ok", "pgvector": "ok", "clock": "ok", "machines": "ok",
    }  # fmt: skip
    assert found["share"].detail.startswith("facewatch-share does not run")
    assert "service install" in found["share"].hint
    assert f"at localhost:{engine.server.port}, TLS, connected in " in found["engine"].detail
    assert found["pgvector"].detail.startswith("version 0.")
    with engine.connect() as db:
        rows = db.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'facewatch%'").fetchall()
    assert rows == [], "doctor makes nothing"


def test_a_unix_socket_has_no_tls(look: Look, engine: Database) -> None:
    found = look(engine.url(engine.socket, sslmode="", sslrootcert=""))
    assert "no TLS, on this machine" in found["engine"].detail


def refused(found: dict[str, Finding], name: str, *words: str) -> None:
    assert found[name].status == "fail", found
    assert set(found) == {"share", "psycopg", name}
    for word in words:
        assert word in line(found[name], colour=False)


def test_what_keeps_from_the_server(look: Look, engine: Database) -> None:
    """Each by its own words; all that is checked after it is left out."""
    refused(look(engine.url("nas.invalid")), "engine", "nas.invalid", "no address")
    refused(look(engine.url(port=1)), "engine", "localhost:1", "does not run")
    refused(look(engine.url(sslrootcert=engine.server.other_ca)), "engine", "certificate", "sslrootcert")
    refused(look(engine.url("nas.example", hostaddr="127.0.0.1")), "engine", "certificate for another host")
    refused(look(engine.url(passfile="/dev/null")), "engine", "wants a password", "~/.pgpass")
    refused(look(engine.url(user="stranger")), "engine", "stranger")
    refused(look(engine.url().replace(f"/{engine.name}?", "/not_there?")), "engine", "CREATE DATABASE not_there")


def test_a_wrong_password(look: Look, engine: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    credential = tmp_path / "facewatch-password"
    credential.write_text("not the one")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    refused(look(engine.url(passfile="/dev/null")), "engine", "refused the password of user facewatch", "~/.pgpass")
    credential.write_text(f"{engine.password}\n")
    assert look(engine.url(passfile="/dev/null"))["engine"].status == "ok"


def test_a_server_that_hangs_in_the_middle(
    look: Look, engine: Database, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its kernel goes on to acknowledge: libpq would wait for ever."""
    monkeypatch.setattr(probe, "SECONDS", 0.5)
    monkeypatch.setattr(probe, "_timed", lambda _: proxy.hang() or 0.0)
    refused(look(engine.url(port=proxy.port)), "engine", "did not answer in time")


def test_a_server_that_lets_nobody_in(look: Look, engine: Database) -> None:
    with administered(engine, f"ALTER DATABASE {engine.name} CONNECTION LIMIT 0"):
        refused(look(), "engine", "as many connections as it takes")


def test_no_extension(look: Look, new_database: Callable[..., Database]) -> None:
    database = new_database(extension=False)
    found = look(database.url())["pgvector"]
    assert found.status == "fail"
    assert found.hint == f"as the server's administrator: psql -d {database.name} -c 'CREATE EXTENSION vector'"
    with administered(database, "CREATE EXTENSION vector"):
        assert look(database.url())["pgvector"].status == "ok"


def test_an_extension_that_is_too_old(look: Look, engine: Database) -> None:
    with administered(engine, "UPDATE pg_extension SET extversion = '0.7.4' WHERE extname = 'vector'"):
        found = look()["pgvector"]
    assert found.status == "fail"
    assert "version 0.7.4" in found.detail
    assert found.hint == f"as the server's administrator: psql -d {engine.name} -c 'ALTER EXTENSION vector UPDATE'"


def test_an_extension_that_the_server_has_not(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_SERVER", probe._SERVER.replace("name = 'vector'", "name = 'no-such'"))
    monkeypatch.setattr(probe, "_SERVER", probe._SERVER.replace("extname = 'vector'", "extname = 'no-such'"))
    found = look()["pgvector"]
    assert found.status == "fail"
    assert "is not installed at localhost" in found.detail
    assert "-pgvector), then as the server's administrator: psql -d " in found.hint


def test_a_user_who_may_make_no_tables(look: Look, engine: Database) -> None:
    with (
        administered(engine, f"ALTER DATABASE {engine.name} OWNER TO postgres"),
        administered(engine, f"REVOKE CREATE ON DATABASE {engine.name} FROM PUBLIC, {USER}"),
    ):
        found = look()["tables"]
    assert found.status == "fail"
    assert found.hint == f"as the server's administrator: GRANT CREATE ON DATABASE {engine.name} TO {USER}"


def test_tables_of_a_later_version(look: Look, engine: Database, model_id: str) -> None:
    enter(engine, "nas", model_id)
    with engine.connect() as db:
        db.execute(f"UPDATE {schema.schema_of(model_id)}.meta SET value = '9' WHERE key = 'version'")
    found = look()["tables"]
    assert (found.status, found.hint) == ("fail", "update facewatchd")
    assert "version 9" in found.detail


def test_machines_with_the_same_model_are_named(look: Look, engine: Database, model_id: str) -> None:
    enter(engine, "nas", model_id)
    enter(engine, "tower", model_id)
    found = look()["machines"]
    assert (found.status, found.detail) == ("ok", "nas, tower: 0 faces")


def test_machines_with_another_model_are_named(look: Look, engine: Database, model_id: str) -> None:
    enter(engine, "nas", "antelopev2-12345678")
    enter(engine, "tower", "sface-1")
    found = look()["machines"]
    assert found.status == "warn"
    assert found.detail == (
        f"nas with antelopev2-12345678; tower with sface-1; this machine uses {model_id}, "
        "and they do not find each other"
    )


def test_a_name_that_another_machine_has(look: Look, engine: Database, model_id: str, tmp_path: Path) -> None:
    enter(engine, "laptop", model_id)
    found = look()["machines"]
    assert (found.status, found.hint) == ("fail", "choose another [shared] name")
    assert found.detail == "another machine is called laptop, and runs: heard of in the last 10 minutes"
    with engine.connect() as db:
        db.execute(f"UPDATE {schema.schema_of(model_id)}.machine SET seen = seen - interval '10 minutes'")
    found = look()["machines"]
    assert (found.status, found.detail) == ("fail", "another machine is called laptop")
    assert "if it is gone, `facewatchd shared remove laptop`" in found.hint


def test_its_own_name_is_no_other_machines(look: Look, engine: Database, model_id: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    enter(engine, "laptop", model_id, machine_id(tmp_path / "data"))
    assert look()["machines"].status == "ok"


def test_what_others_wrote_is_shown_on_one_line(look: Look, engine: Database) -> None:
    enter(engine, "nas", "x\n\x1b[31m" + "y" * 5000)
    found = look()["machines"]
    assert "\n" not in line(found, colour=False).rstrip("\n")
    assert "\x1b" not in found.detail
    assert len(found.detail) < 500


def test_a_schema_that_only_looks_like_ours_is_passed_over(look: Look, engine: Database) -> None:
    with engine.connect() as db:
        db.execute("CREATE SCHEMA facewatch_0123456789abcdef")
        db.execute("CREATE SCHEMA facewatch_0123456789abcdee CREATE TABLE meta(key int)")
    assert look()["machines"].status == "ok"


def test_a_clock_that_is_wrong(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_SERVER", probe._SERVER.replace("clock_timestamp()", "clock_timestamp() + '1 hour'"))
    found = look()["clock"]
    assert found.status == "warn"
    assert "s ahead of this machine's" in found.detail


def test_a_server_that_is_far_away(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "_SLOW", 0.0)
    found = look()["engine"]
    assert found.status == "warn"
    assert "a round trip takes " in found.detail


def test_without_psycopg_there_is_one_line(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(postgres, "probe")
    monkeypatch.setitem(sys.modules, "facewatchd.shared.postgres.probe", None)
    monkeypatch.setattr(shared, "_version", lambda: None)
    found = look()
    assert set(found) == {"share", "psycopg"}
    assert (found["psycopg"].status, found["psycopg"].detail) == ("fail", "psycopg is not installed")
    assert "[shared]" in found["psycopg"].hint


# Beside a facewatch-share


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def sharing(tmp_path: Path, server: FakeServer) -> Iterator[NoSending]:
    with share(paths.share_path(tmp_path / "socket"), server, Identity("test-1", 4, token()), "laptop") as sending:
        yield sending


@pytest.mark.usefixtures("sharing")
def test_a_facewatch_share_that_is_connected(look: Look) -> None:
    found = look()
    assert found["share"].status == "ok"
    assert found["share"].detail == "facewatch-share is connected, nothing is sent (`shared.send`)"
    assert (found["question"].status, found["question"].detail.partition(":")[0]) == ("ok", "not tried")


@pytest.mark.usefixtures("sharing")
def test_a_question_is_asked_as_the_daemon_asks(look: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "_dim", lambda socket: 4)
    assert look()["question"].detail.startswith("the first one took ")
    monkeypatch.setattr(shared, "_dim", lambda socket: 5)
    found = look()["question"]
    assert (found.status, found.name) == ("fail", "question")


@pytest.mark.usefixtures("sharing")
def test_a_password_that_only_the_service_has(look: Look, engine: Database) -> None:
    found = look(engine.url(passfile="/dev/null"))
    assert set(found) == {"share", "psycopg", "engine"}
    assert (found["engine"].status, "only its service can read" in found["engine"].detail) == ("ok", True)


@pytest.mark.usefixtures("sharing")
def test_a_name_that_facewatch_share_has_not_taken_over(look: Look) -> None:
    found = look(name="desk")["share"]
    assert (found.status, found.detail) == ("warn", "facewatch-share runs as laptop, and `shared.name` is desk")
    assert found.hint == "systemctl --user reload facewatch-share.service"


def test_a_facewatch_share_that_is_stuck(look: Look, sharing: NoSending) -> None:
    sharing.trouble = EngineError(Trouble.FENCED, "another process sends as laptop", "stop it")
    found = look()["share"]
    assert found.detail == "facewatch-share: another process sends as laptop"
    assert (found.status, found.hint) == ("warn", "stop it")
