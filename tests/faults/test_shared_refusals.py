"""What is wrong with a shared engine is said in one line with a way out, and is mended by itself where it can be."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import engine_invariant
from tests.support.engine_server import USER, Database, Server
from tests.support.processes import fill, small_disk, until
from tests.support.shared_machines import Machine, Photos, PreparedMachine, check, check_soon


@pytest.fixture
def photos(tmp_path: Path) -> Photos:
    return Photos(tmp_path / "photos")


@pytest.fixture
def nas(tmp_path: Path, tiny_root: Path, engine: Database, photos: Photos) -> Iterator[Machine]:
    """A machine that has not sent anything yet: its facewatch-share does not run."""
    with Machine(tmp_path / "nas", engine.url(), photos.root, name="nas", model_root=tiny_root) as nas:
        nas.daemon.start()
        nas.daemon.settle()
        yield nas


def turn_to(machine: Machine, url: str) -> None:
    """Write another url into the configuration, and have both processes read it."""
    lines = machine.daemon.config.read_text().splitlines()
    changed = [f"url = {json.dumps(url)}" if line.startswith("url = ") else line for line in lines]
    assert changed != lines
    machine.daemon.config.write_text("\n".join(changed) + "\n")
    for process in (machine.daemon.process, machine.process):
        if process is not None:
            process.send_signal(signal.SIGHUP)


def refused(machine: Machine, *words: str) -> dict[str, Any]:
    """Wait until facewatch-share says that the engine cannot be used, with these words, on one line."""

    def said() -> dict[str, Any]:
        status = machine.status()
        text = f"{status['reason']} {status['hint']}"
        return status if status["state"] == "refused" and all(word in text for word in words) else {}

    def asked() -> dict[str, Any]:
        """Ask; while the configuration is read again, facewatch-share cannot say why it has no answer."""
        answer: dict[str, Any] = machine.daemon.call("query", photos=[{"path": str(photo)}])
        return answer if answer["shared"]["state"] == "refused" else {}

    status = until(said)
    assert "\n" not in status["reason"] + status["hint"]
    assert status["reason"]
    assert status["hint"]
    photo = min(machine.daemon.roots[0].iterdir())
    answer = until(asked)
    assert answer["matches"], "the answer of this machine is there all the same"
    assert not answer["complete"]
    return status


def test_what_is_wrong_with_an_engine_is_refused_until_it_is_mended(
    nas: Machine, engine: Database, new_database: Callable[..., Database], photos: Photos, tmp_path: Path
) -> None:
    wrong = tmp_path / "passfile"
    wrong.touch(0o600)
    wrong.write_text("*:*:*:*:not-the-password\n")
    nas.start_share()
    check(engine, nas)
    turn_to(nas, engine.url(passfile=wrong))
    refused(nas, "password", USER)
    turn_to(nas, engine.url(passfile=tmp_path / "nowhere"))
    refused(nas, "password", USER)
    turn_to(nas, engine.url(sslrootcert=engine.server.other_ca))
    refused(nas, "certificate", "sslrootcert")
    turn_to(nas, engine.url("127.0.0.2"))
    assert until(lambda: nas.status()["reason"])
    turn_to(nas, engine.url(user="nobody_there"))
    refused(nas, "nobody_there")
    bare = new_database(extension=False)
    turn_to(nas, bare.url())
    refused(nas, "CREATE EXTENSION vector")
    with bare.administer() as db:
        db.execute("CREATE EXTENSION vector")
    photos.change()
    nas.daemon.control("shared", "resync")
    check_soon(bare, nas)
    turn_to(nas, engine.url())
    check_soon(engine, nas)
    assert "not-the-password" not in nas.logged()
    _expect_later_tables_to_be_left_alone(nas, engine, photos)
    nas.stop()


def _expect_later_tables_to_be_left_alone(nas: Machine, engine: Database, photos: Photos) -> None:
    schema = engine_invariant.schema_of(engine_invariant.of_catalog(engine_invariant.catalog_of(nas.data)).model)
    with engine.administer() as db:
        before = db.execute(f"SELECT value FROM {schema}.meta WHERE key = 'version'").fetchone()
        assert before
        db.execute(f"UPDATE {schema}.meta SET value = '99' WHERE key = 'version'")
        counted = db.execute(f"SELECT count(*), max(epoch) FROM {schema}.machine").fetchone()
        nas.kill_share()
        photos.change()
        nas.start_share()
        refused(nas, "update facewatchd")
        assert db.execute(f"SELECT count(*), max(epoch) FROM {schema}.machine").fetchone() == counted
        db.execute(f"UPDATE {schema}.meta SET value = %s WHERE key = 'version'", before)
    nas.daemon.control("shared", "resync")
    check(engine, nas)


def test_two_models_never_meet(nas: Machine, engine: Database, photos: Photos, tmp_path: Path, tiny_root: Path) -> None:
    """The other machine's model has the same faces and the same numbers, and is another one."""
    from tests.support import tiny_pack

    other_root = tmp_path / "other models"
    tiny_pack.build(other_root, seed=1)
    with Machine(tmp_path / "other", engine.url(), photos.root, name="other", model_root=other_root) as other:
        nas.start_share()
        other.start()
        nas.settle()
        other.settle()
        with engine.administer() as db:
            for machine in (nas, other):
                engine_invariant.check_machine(db, machine.data)
        photo = min(photos.root.iterdir())
        for machine in (nas, other):
            answer = machine.daemon.call("query", photos=[{"path": str(photo)}], top=0)
            assert answer["matches"]
            assert {match["host"] for match in answer["matches"]} == {None}
            assert not any(match["elsewhere"] for match in answer["matches"])
            assert answer["shared"]["machines"] == []
        other.stop()
    nas.stop()


def test_a_server_without_room_for_connections_is_tried_again(
    tmp_path: Path, own_server: Callable[..., Server]
) -> None:
    server = own_server(max_connections="6", superuser_reserved_connections="3", reserved_connections="0")
    engine = server.new_database()
    with PreparedMachine(tmp_path / "nas", engine.url(), name="nas") as nas:
        nas.change()
        with engine.connect(), engine.connect(), engine.connect():
            nas.start_share()
            until(lambda: "connections" in nas.status()["reason"])
        check(engine, nas)
        assert nas.stop_share() == 0


def test_a_photo_that_the_server_rejects_is_named_and_keeps_no_other_one_back(
    engine: Database, nas: Machine, photos: Photos
) -> None:
    nas.start_share()
    check(engine, nas)
    with engine.connect() as db:
        (tables,) = db.execute("SELECT nspname FROM pg_namespace WHERE nspname ~ '^facewatch_'").fetchone() or ("",)
        db.execute(f"ALTER TABLE {tables}.photo ADD CONSTRAINT tidy CHECK (position('bad'::bytea IN path) = 0)")
    first, other = sorted(photos.root.iterdir())[:2]
    bad = first.rename(photos.root / "bad.jpg")
    photos.add()
    said = until(lambda: status if "bad.jpg" in (status := nas.status())["reason"] else {})
    assert said["state"] == "behind"
    assert 'violates check constraint "tidy"' in said["reason"]
    assert "resync" in said["hint"]
    other.rename(photos.root / "other.jpg")
    photos.add()
    nas.daemon.settle()
    until(lambda: (nas.status()["backlog"], "bad.jpg" in nas.status()["reason"]) == (1, True))
    with engine.connect() as db:
        sent = {bytes(path).decode() for (path,) in db.execute(f"SELECT path FROM {tables}.photo").fetchall()}
        assert db.execute(f"SELECT backlog FROM {tables}.machine").fetchone() == (1,), "it is not told as sent"
    assert {str(path) for path in photos.root.iterdir()} - sent == {str(bad)}
    assert nas.logged().count("bad.jpg is not sent") == 1
    bad.rename(photos.root / "good.jpg")
    check(engine, nas)
    until(lambda: nas.status()["state"] == "ok")


def test_a_server_whose_disk_is_full_gets_the_rest_once_there_is_room(
    tmp_path: Path, own_server: Callable[..., Server]
) -> None:
    server = own_server()
    with small_disk(server.place / "disk") as disk:
        server.give(disk / "room")
        with server.administer() as db:
            db.execute(f"CREATE TABLESPACE small LOCATION '{disk / 'room'}'")
        engine = server.new_database(tablespace="small")
        with PreparedMachine(tmp_path / "nas", engine.url(), name="nas") as nas:
            nas.change()
            nas.start_share()
            check(engine, nas)
            fill(disk / "filler")
            for _ in range(20):
                nas.change()
            full = until(lambda: status if "room" in (status := nas.status())["reason"] else {})
            assert full["hint"]
            nas.change()
            (disk / "filler").unlink()
            nas.call("resync")
            check(engine, nas)
            assert nas.stop_share() == 0
        server.stop()
