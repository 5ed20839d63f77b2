"""Disks that stop answering: no client waits for one, what is known is said, and other directories go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from facewatchd import config
from facewatchd.doctor import machine
from facewatchd.errors import FacewatchError
from tests.support import fuse_server
from tests.support.albums import album, shoot
from tests.support.processes import Daemon, until

SOON = 10.0
"""Seconds in which a client is answered that first asks for a disk that has just died; milliseconds afterwards."""
AT_ONCE = 1.5
"""Seconds of the same when the disk is known not to answer: shorter than any look at a disk may take."""

BLOCKED = """
import sys
if "run" in sys.argv:
    import os, time
    def blocked(call):
        def wait(path, *rest, **options):
            while isinstance(path, (str, bytes, os.PathLike)) and os.fsencode(path).startswith({root!r}) and shut():
                time.sleep(0.05)
            return call(path, *rest, **options)
        return wait
    def shut(lstat=os.lstat):
        try:
            return bool(lstat({shut!r}))
        except FileNotFoundError:
            return False
    os.stat, os.lstat, os.scandir, os.open = map(blocked, (os.stat, os.lstat, os.scandir, os.open))
"""
"""Has what looks at a directory in the daemon wait while a file exists."""


class Disk(Protocol):
    """A watched directory that stops answering for a while."""

    def hang(self) -> None: ...
    def go_on(self) -> None: ...


class Blocked:
    """A directory that does not answer the daemon."""

    def __init__(self, shut: Path) -> None:
        self._shut = shut

    def hang(self) -> None:
        self._shut.touch()

    def go_on(self) -> None:
        self._shut.unlink(missing_ok=True)


class Setup:
    """A daemon on two directories, one of which may stop answering."""

    def __init__(self, daemon: Daemon, disk: Disk, away: Path, here: Path, source: Path) -> None:
        self.daemon = daemon
        self.disk = disk
        self.away = away
        self.here = here
        self.source = source
        """Where the photos of ``away`` really lie."""

    def known_silent(self) -> bool:
        return any(f"{self.away} is not answering" in problem for problem in self.daemon.status()["problems"])

    def state(self) -> str:
        roots = self.daemon.status()["roots"]
        return next(str(root["state"]) for root in roots if root["path"] == str(self.away))

    def timed(self, method: str, limit: float, **params: Any) -> Any:
        began = time.monotonic()
        answer = self.daemon.call(method, SOON, **params)
        assert time.monotonic() - began < limit, f"{method} took {time.monotonic() - began:.1f} s"
        return answer


@pytest.fixture(params=["fuse", "blocked"])
def make(request: pytest.FixtureRequest, tmp_path: Path, tiny_root: Path) -> Iterator[Callable[..., Setup]]:
    with ExitStack() as stack:

        def make(*, hangs_at_start: bool = False) -> Setup:
            source, here, away = tmp_path / "source", tmp_path / "here", tmp_path / "away"
            album(here, 2, people=1)
            disk: Disk
            if request.param == "fuse":
                album(source, 3, people=1, first_seed=100)
                served = stack.enter_context(fuse_server.served(source, away))
                if served is None:
                    pytest.skip("this user may mount no FUSE file system")
                disk = served
            else:
                source = away
                album(source, 3, people=1, first_seed=100)
                disk = Blocked(tmp_path / "shut")
            daemon = stack.enter_context(Daemon(tmp_path / "home", away, here, model="tiny", model_root=tiny_root))
            if request.param == "blocked":
                daemon.hook(BLOCKED.format(root=bytes(away), shut=bytes(tmp_path / "shut")))
            stack.callback(disk.go_on)
            if hangs_at_start:
                disk.hang()
            daemon.start()
            return Setup(daemon, disk, away, here, source)

        yield make


also_blocked = pytest.mark.parametrize("make", ["fuse", pytest.param("blocked", marks=pytest.mark.full)], indirect=True)


def ask_all(setup: Setup, limit: float) -> None:
    """Ask everything about what lies on the dead disk and beside it; each answer is right and within the limit."""
    near, far = setup.here / "0000.jpg", setup.away / "0001.jpg"
    everything = {setup.here / f"{n:04d}.jpg" for n in range(2)} | {setup.away / f"{n:04d}.jpg" for n in range(3)}
    status = setup.timed("status", limit)
    assert status["photos"] == 5
    for photo in (near, far):
        answer = setup.timed("query", limit, photos=[{"path": str(photo)}], top=0, collapse=False)
        assert {Path(match["path"]) for match in answer["matches"]} == everything
    answer = setup.timed("query", limit, photos=[{"path": str(near)}], dirs=[str(setup.away)], top=0)
    assert answer["total"] == 3
    answer = setup.timed("why", limit, path=str(far))
    assert (answer["state"], len(answer["faces"])) == ("indexed", 1)
    (face,) = answer["faces"]
    assert setup.timed("thumbnail", limit, face_id=face["face_id"])["width"] > 0, "it was kept"
    with pytest.raises(FacewatchError, match="is not answering"):
        setup.timed("thumbnail", limit, face_id=face["face_id"], photo=True, size=1024)  # no smaller one is kept of it
    assert f"{setup.away}" in answer["reason"]
    assert "is not answering" in answer["reason"]
    assert setup.timed("why", limit, path=str(near))["reason"] == "its faces are searchable"
    assert setup.timed("why", limit, path=str(setup.away / "new.jpg"))["state"] == "unknown"
    assert len(setup.timed("faces", limit, path=str(far))["faces"]) == 1
    setup.timed("pause", limit)
    setup.timed("resume", limit)


def test_no_client_waits_for_a_disk_that_does_not_answer(make: Callable[..., Setup]) -> None:
    setup = make()
    setup.daemon.settle()
    setup.disk.hang()
    ask_all(setup, SOON)
    until(setup.known_silent)
    assert setup.state() == "offline"
    ask_all(setup, AT_ONCE)
    answer = setup.timed("query", AT_ONCE, photos=[{"path": str(setup.here / "0000.jpg")}])
    assert not answer["complete"]
    assert setup.timed("verify", SOON)["skipped"] == [str(setup.away)]

    new = shoot(setup.here / "later.jpg", [1], 900)
    until(lambda: setup.daemon.call("why", path=str(new))["state"] == "indexed")

    done = setup.daemon.query(setup.away / "0000.jpg")
    assert done.returncode == 0, done.stderr
    assert "not complete: a directory is out of reach" in done.stderr
    assert done.stdout.count("\n") == 6, "an indexed photo is known without a look at it"

    setup.disk.go_on()
    until(lambda: not setup.known_silent())
    assert setup.state() in ("watching", "polling")
    shoot(setup.source / "new.jpg", [1], 901)
    assert setup.daemon.settle()["photos"] == 7
    assert setup.daemon.call("why", path=str(setup.away / "0001.jpg"))["reason"] == "its faces are searchable"
    assert setup.daemon.call("wait", timeout=30)["complete"]
    assert setup.daemon.stop() == 0


@also_blocked
def test_what_is_not_known_of_a_photo_on_it_is_not_waited_for(make: Callable[..., Setup]) -> None:
    setup = make()
    setup.daemon.settle()
    setup.disk.hang()
    for _ in range(2):
        done = setup.daemon.query(setup.away / "unknown.jpg")
        assert done.returncode == 5, done.stderr
        assert f"{setup.away}" in done.stderr
        assert "is not answering" in done.stderr
        until(setup.known_silent)


@also_blocked
def test_a_start_beside_it(make: Callable[..., Setup]) -> None:
    setup = make(hangs_at_start=True)
    until(setup.known_silent)
    near = setup.here / "0000.jpg"
    until(lambda: len(setup.daemon.paths(near)) == 2)
    began = time.monotonic()
    assert not setup.daemon.call("wait", timeout=40)["complete"]
    assert time.monotonic() - began < 30, "what is known not to answer is not waited for"
    setup.disk.go_on()
    until(lambda: len(setup.daemon.paths(near)) == 5)


@also_blocked
def test_a_stop_beside_it(make: Callable[..., Setup]) -> None:
    setup = make()
    setup.daemon.settle()
    setup.disk.hang()
    until(setup.known_silent)
    assert setup.daemon.stop() == 0


def test_doctor_s_checks_of_directories(tmp_path: Path) -> None:
    source, away = tmp_path / "source", tmp_path / "away"
    source.mkdir()
    with fuse_server.served(source, away) as disk:
        if disk is None:
            pytest.skip("this user may mount no FUSE file system")
        disk.hang()
        loaded = config.load(None, directories=[away], data_dir=tmp_path / "data", socket=tmp_path / "socket")
        (finding,) = machine.directories(loaded)
        assert finding.status == "warn"
        assert finding.detail.startswith(f"{away} is not answering")
        (finding,) = machine.inotify(loaded)
        assert finding.detail.startswith("at least 0 directories to watch")


@pytest.mark.full
@pytest.mark.parametrize("make", ["fuse"], indirect=True)
def test_doctor_looks_at_it_no_longer_than_at_others(make: Callable[..., Setup]) -> None:
    setup = make()
    setup.daemon.settle()
    setup.disk.hang()
    until(setup.known_silent)
    done = setup.daemon.control("doctor", "--config", str(setup.daemon.config), "--data-dir", str(setup.daemon.data))
    assert f"{setup.away} is not answering" in done.stdout
