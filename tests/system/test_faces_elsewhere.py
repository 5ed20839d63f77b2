"""Photos that another machine has embedded cost this one a read: daemons, facewatch-share and a real engine."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.albums import album, shoot
from tests.support.engine_server import Database, Server
from tests.support.processes import Daemon, until
from tests.support.shared_machines import PAUSED, Machine


@pytest.fixture(scope="module")
def nas(tmp_path_factory: pytest.TempPathFactory, engine_server: Server, tiny_root: Path) -> Iterator[Machine]:
    """A machine with nine photos, all of them in the engine; tests leave it as it is."""
    place, database = tmp_path_factory.mktemp("nas"), engine_server.new_database()
    with _indexed(place, database, tiny_root) as machine:
        yield machine
    database.drop()


@contextlib.contextmanager
def _indexed(place: Path, database: Database, tiny_root: Path) -> Iterator[Machine]:
    album(place / "disk", 8)
    shoot(place / "disk" / "many.jpg", [1, 2, 3], 50)
    with Machine(place / "nas", database.url(), place / "disk", name="nas", model_root=tiny_root) as machine:
        machine.start()
        machine.settle()
        yield machine


def beside(nas: Machine, home: Path, root: Path, tiny_root: Path, **config: str) -> Machine:
    """A second machine before the same engine."""
    url = nas.daemon.config.read_text().partition('url = "')[2].partition('"')[0]
    return Machine(home, url, root, name=home.name, model_root=tiny_root, **config)


def faces(daemon: Daemon, root: Path) -> dict[str, list[tuple[object, ...]]]:
    """What each photo shows, by its name."""
    found = {}
    for path in sorted(root.iterdir()):
        if path.suffix == ".jpg":
            answer = daemon.call("faces", path=str(path))
            found[path.name] = [
                (*each["box"], round(each["score"], 4), each["norm"] and round(each["norm"], 2))
                for each in answer["faces"]
            ]
    return found


def index(machine: Machine) -> dict[str, float]:
    """Start a machine so that the engine can be asked before the first photo is embedded; return its counts."""
    machine.daemon.hook(PAUSED)
    machine.daemon.start()
    machine.start_share()
    until(lambda: machine.status()["state"] in ("ok", "behind"))
    machine.daemon.call("resume")
    machine.settle()
    rates: dict[str, float] = machine.daemon.status()["rates"]
    return rates


def test_a_copied_library_is_read_and_not_embedded(tmp_path: Path, tiny_root: Path, nas: Machine) -> None:
    (disk,), here = nas.daemon.roots, tmp_path / "here"
    here.mkdir()
    shoot(here / "own.jpg", [4], 70)
    with beside(nas, tmp_path / "laptop", here, tiny_root) as machine:
        index(machine)
        for path in disk.iterdir():
            shutil.copy(path, here)
        machine.settle()
        rates = machine.daemon.status()["rates"]
        assert (rates["embedded"], rates["fetched"]) == (1, 9)
        own = faces(machine.daemon, here)
        assert {name: seen for name, seen in own.items() if name != "own.jpg"} == faces(nas.daemon, disk)
        photo = here / "0000.jpg"
        why = machine.daemon.call("why", path=str(photo))
        assert why["state"] == "indexed"
        assert "another machine looked at it" in why["reason"]
        assert "another machine" not in machine.daemon.call("why", path=str(here / "own.jpg"))["reason"]
        # What was taken over answers without the other machines.
        machine.stop_share()
        names = {path.name for path in machine.daemon.paths(photo)}
        assert names == {path.name for path in nas.daemon.paths(disk / "0000.jpg", shared=False)}
        face_id = machine.daemon.call("faces", path=str(photo))["faces"][0]["face_id"]
        assert machine.daemon.call("thumbnail", face_id=face_id)["jpeg"]
        # A look of its own, where that is asked for.
        assert machine.daemon.control("scan", "--force", photo).returncode == 0
        until(lambda: machine.daemon.settle()["rates"]["embedded"] == 2)
        assert "another machine" not in machine.daemon.call("why", path=str(photo))["reason"]


@pytest.mark.parametrize(("least", "embedded"), [(80, 0), (30, 9)])
def test_on_a_shared_disk_stricter_settings_leave_out_and_looser_ones_look_themselves(
    tmp_path: Path, tiny_root: Path, nas: Machine, least: int, embedded: int
) -> None:
    (disk,), name = nas.daemon.roots, f"least {least}"
    settings = f"min_size = {least}\nsecond_look = false"
    with beside(nas, tmp_path / name, disk, tiny_root, faces=settings) as machine:
        rates = index(machine)
        assert (rates["embedded"], rates["fetched"]) == (embedded, 9 - embedded)
        for seen in faces(machine.daemon, disk).values():
            assert all(min(w, h) >= least for _, _, w, h, *_ in seen)
        answer = machine.daemon.call("query", photos=[{"path": str(disk / "0000.jpg")}], top=0)
        assert all(match["host"] is None for match in answer["matches"])
        assert {each["host"] for match in answer["matches"] for each in match["elsewhere"]} >= {"nas"}


def test_a_catalog_that_is_made_anew_takes_back_what_this_machine_found_before(
    tmp_path: Path, engine: Database, tiny_root: Path
) -> None:
    with _indexed(tmp_path, engine, tiny_root) as nas:
        _is_made_anew_twice(nas)


def _is_made_anew_twice(nas: Machine) -> None:
    before = nas.daemon.call("query", photos=[{"path": str(nas.daemon.roots[0] / "many.jpg")}], top=0)["total"]
    nas.stop()
    (catalog,) = nas.data.glob("*/catalog.sqlite3")
    catalog.write_bytes(b"damaged")
    rates = index(nas)
    assert (rates["embedded"], rates["fetched"]) == (0, 9)
    assert nas.daemon.call("query", photos=[{"path": str(nas.daemon.roots[0] / "many.jpg")}], top=0)["total"] == before
    # What was deleted meanwhile is found missing when everything has been seen.
    nas.stop()
    (nas.daemon.roots[0] / "0003.jpg").unlink()
    catalog.write_bytes(b"damaged again")
    rates = index(nas)
    assert (rates["embedded"], rates["fetched"]) == (0, 8)
    until(lambda: [each["photos"] for each in nas.call("machines")["machines"]] == [8])
