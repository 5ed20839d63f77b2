"""Backups that are restored on either side, and data directories that are copied: nothing is lost or invented."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import engine_invariant
from tests.support.engine_server import Database, Server
from tests.support.processes import until
from tests.support.shared_machines import INFO, Machine, Photos, PreparedMachine, check, check_soon


@pytest.fixture
def photos(tmp_path: Path) -> Photos:
    return Photos(tmp_path / "photos")


@pytest.fixture
def nas(tmp_path: Path, tiny_root: Path, engine: Database, photos: Photos) -> Iterator[Machine]:
    with Machine(tmp_path / "nas", engine.url(), photos.root, name="nas", model_root=tiny_root) as nas:
        nas.start()
        check(engine, nas)
        yield nas


@pytest.fixture
def prepared(tmp_path: Path, engine: Database) -> Iterator[PreparedMachine]:
    with PreparedMachine(tmp_path / "prepared", engine.url(), name="prepared") as prepared:
        prepared.change()
        prepared.start_share()
        check(engine, prepared)
        yield prepared


def test_the_engine_is_restored_from_a_dump(prepared: PreparedMachine, engine: Database) -> None:
    empty = engine.server.new_database()
    before_everything = empty.back_up()
    empty.drop()
    early = engine.back_up()
    prepared.change()
    check(engine, prepared)
    late = engine.back_up()
    engine.restore(early)
    prepared.change()
    check(engine, prepared)
    prepared.kill_share()
    prepared.change()
    prepared.start_share()
    check(engine, prepared)
    # Several epochs ago, then a moment that this machine has left since, then all at once.
    for backup in (early, late, before_everything):
        engine.restore(backup)
        prepared.change()
        check(engine, prepared)
    prepared.reach("ok")


def test_a_restored_engine_is_found_although_nothing_changes(prepared: PreparedMachine, engine: Database) -> None:
    prepared.kill_share()
    prepared.hook(
        "from facewatchd.shared import pauses, sender\n"
        "sender.HEARTBEAT = pauses.FIRST_SLOW = 0.5"  # the database is missing for a moment
    )
    prepared.start_share()
    early = engine.back_up()
    prepared.change()
    check(engine, prepared)
    engine.restore(early)
    check_soon(engine, prepared)
    engine.restore_schema(engine_invariant.schema_of(INFO.id), early)  # no connection is cut
    check_soon(engine, prepared)
    prepared.change()
    check(engine, prepared)
    late = engine.back_up()
    prepared.change()
    check(engine, prepared)
    engine.restore_schema(engine_invariant.schema_of(INFO.id), late)  # a moment of the same session
    check_soon(engine, prepared)


def test_tables_that_are_dropped_or_emptied_are_filled_again(prepared: PreparedMachine, engine: Database) -> None:
    schema = engine_invariant.schema_of(INFO.id)
    for statement in (f"DROP SCHEMA {schema} CASCADE", f"DELETE FROM {schema}.machine"):
        with engine.administer() as db:
            db.execute(statement)
        prepared.change()
        check(engine, prepared)
        prepared.reach("ok")


def test_the_files_of_the_server_are_restored(tmp_path: Path, own_server: Callable[..., Server]) -> None:
    server = own_server()
    engine = server.new_database()
    with PreparedMachine(tmp_path / "nas", engine.url(), name="nas") as nas:
        nas.change()
        nas.start_share()
        check(engine, nas)
        server.stop()
        copy = server.back_up("copy")
        server.start()
        nas.change()
        check(engine, nas)
        server.stop()
        server.restore(copy)
        nas.change()
        server.start()
        check(engine, nas)


def test_the_catalog_is_restored_to_a_moment_before_and_within_a_session(
    nas: Machine, engine: Database, photos: Photos, tmp_path: Path
) -> None:
    def stop() -> None:
        assert nas.daemon.stop() == 0

    stop()
    before = nas.copy_data(tmp_path / "before")
    nas.daemon.start()
    photos.change()
    check(engine, nas)
    stop()
    within = nas.copy_data(tmp_path / "within")
    nas.daemon.start()
    photos.change()
    check(engine, nas)
    stop()
    _restore(nas, within)
    photos.change()
    nas.daemon.start()
    check(engine, nas)
    # The catalog goes its own way while facewatch-share is away, too.
    stop()
    nas.kill_share()
    _restore(nas, before)
    nas.start()
    check(engine, nas)
    # A catalog that is made anew: the rows keep their owner.
    stop()
    shutil.rmtree(engine_invariant.catalog_of(nas.data).parent)
    nas.daemon.start()
    check(engine, nas)
    nas.stop()


def _restore(machine: Machine, backup: Path) -> None:
    shutil.rmtree(machine.data)
    shutil.copytree(backup, machine.data)


def _is_fenced(machine: Machine) -> bool:
    status = machine.status()
    return status["state"] == "behind" and "resync" in status["hint"]


def test_of_two_copies_of_a_data_directory_the_one_that_started_last_sends(
    nas: Machine, engine: Database, photos: Photos, tmp_path: Path, tiny_root: Path
) -> None:
    nas.stop()
    other_photos = Photos(tmp_path / "other photos", first_seed=300)
    other = Machine(tmp_path / "copied", engine.url(), other_photos.root, name="copied", model_root=tiny_root)
    nas.copy_data(other.data)
    nas.start()
    check(engine, nas)
    with other:
        other.start()
        photos.change()
        check(engine, other)
        # Its connections for questions are made anew when it learns that, and meanwhile it says `unreachable`.
        until(lambda: _is_fenced(nas))
        assert "another process sends" in nas.status()["reason"]
        photos.change()
        other_photos.change()
        nas.daemon.settle()
        check(engine, other)
        assert nas.status()["state"] == "behind", "it does not take the rows back by itself"
        # It answers and asks all the same, and so it knows what the engine has.
        answer = nas.daemon.call("query", photos=[{"path": str(min(photos.root.iterdir()))}], top=0)
        assert answer["matches"]
        assert answer["shared"]["state"] in ("ok", "behind")
        sent = max(other_photos.root.iterdir())
        asked = [{"data": base64.b64encode(sent.read_bytes()).decode()}]
        for _ in range(2):  # and the second time without having to connect
            answer = nas.daemon.call("query", photos=asked, top=0)
            there = {(each["host"], each["path"]) for each in answer["matches"]}
            assert ("copied", str(sent)) in there, "the rows of the other process are not this machine's own"
        # The way out that it names: the copy becomes a machine of its own, and this one sends again.
        assert other.daemon.stop() == 0
        (other.data / "machine").unlink()
        done = nas.daemon.control("shared", "resync")
        assert done.returncode == 0, done.stderr
        other.daemon.start()
        check_soon(engine, nas, other)
        photos.change()
        other_photos.change()
        check(engine, nas, other)
        nas.reach("ok")
        other.stop()


def test_the_same_photos_on_a_shared_disk_belong_to_both(
    nas: Machine, engine: Database, photos: Photos, tmp_path: Path, tiny_root: Path
) -> None:
    with Machine(tmp_path / "studio", engine.url(), photos.root, name="studio", model_root=tiny_root) as studio:
        studio.start()
        check(engine, nas, studio)
        photo = min(photos.root.iterdir())
        for machine, other in ((nas, "studio"), (studio, "nas")):
            answer = until(lambda machine=machine: _complete(machine, photo))
            first = answer["matches"][0]
            assert (first["path"], first["host"]) == (str(photo), None)
            assert first["elsewhere"] == [{"host": other, "path": str(photo)}]
            assert all(match["host"] is None for match in answer["matches"]), "one content is one match"
        photos.change()
        check(engine, nas, studio)
        studio.stop()


def _complete(machine: Machine, photo: Path) -> dict[str, object]:
    answer: dict[str, object] = machine.daemon.call("query", photos=[{"path": str(photo)}], top=0)
    return answer if answer["complete"] else {}
