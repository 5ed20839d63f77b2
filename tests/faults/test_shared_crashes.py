"""Processes that send to the shared engine are killed in the middle of it, on either side, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.engine_server import Database, Server
from tests.support.processes import DEADLINE, until
from tests.support.shared_machines import Machine, Photos, PreparedMachine, check

_DEADLY = """
import os
def deadly(place, function, before=False):
    def called(*arguments):
        if before and open({place!r}).read() == place:
            os.kill(os.getpid(), 9)
        result = function(*arguments)
        if not before and open({place!r}).read() == place:
            os.kill(os.getpid(), 9)
        return result
    return called
"""
IN_SHARE = (
    _DEADLY
    + """
from facewatchd.shared import outbox
from facewatchd.shared.postgres import pushing
outbox.DaemonOutbox.sending = deadly("noted", outbox.DaemonOutbox.sending)
pushing._write = deadly("written", pushing._write)
outbox.DaemonOutbox.sent = deadly("committed", outbox.DaemonOutbox.sent, before=True)
outbox.DaemonOutbox.sent = deadly("forgotten", outbox.DaemonOutbox.sent)
"""
)
"""Kills facewatch-share at the place that a file names: the token is noted; rows are written, not committed; they are
committed in the engine and not in the catalog; in both."""
IN_DAEMON = (
    "import sys\nif 'run' in sys.argv:\n"
    + "\n".join(f"    {line}" for line in _DEADLY.splitlines())
    + """
    from facewatchd.store.outbox import Outbox
    Outbox.sending = deadly("daemon: before it is noted", Outbox.sending, before=True)
    Outbox.sending = deadly("daemon: noted", Outbox.sending)
    Outbox.sent = deadly("daemon: committed", Outbox.sent, before=True)
    Outbox.sent = deadly("daemon: forgotten", Outbox.sent)
"""
)
"""Likewise the daemon, while facewatch-share goes on."""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Names where a process is to die."""
    place = tmp_path / "place"
    place.write_text("")
    return place


@pytest.fixture
def photos(tmp_path: Path) -> Photos:
    return Photos(tmp_path / "photos")


def test_killed_between_the_commits_nothing_is_lost(
    tmp_path: Path, tiny_root: Path, engine: Database, photos: Photos, place: Path
) -> None:
    with Machine(tmp_path / "nas", engine.url(), photos.root, name="nas", model_root=tiny_root) as nas:
        nas.hook(IN_SHARE.format(place=str(place)))
        nas.daemon.hook(IN_DAEMON.format(place=str(place)))
        nas.start()
        check(engine, nas)
        for at in ("noted", "written", "committed", "forgotten"):
            place.write_text(at)
            photos.change()
            assert nas.process is not None
            assert nas.process.wait(DEADLINE) == -9, at
            place.write_text("")
            nas.start_share()
            check(engine, nas)
        for at in ("daemon: before it is noted", "daemon: noted", "daemon: committed", "daemon: forgotten"):
            nas.kill_share()
            place.write_text(at)
            nas.launch_share()
            photos.change()
            assert nas.daemon.process is not None
            assert nas.daemon.process.wait(DEADLINE) == -9, at
            place.write_text("")
            nas.daemon.start()
            check(engine, nas)
        nas.stop()


def test_a_server_that_is_killed_or_started_anew_is_found_again(
    tmp_path: Path, own_server: Callable[..., Server]
) -> None:
    server = own_server()
    engine = server.new_database()
    with PreparedMachine(tmp_path / "nas", engine.url(), name="nas") as nas:
        nas.change()
        nas.start_share()
        check(engine, nas)
        for end in (server.kill, server.stop):
            end()
            nas.change()
            assert "\n" not in until(lambda: nas.status()["reason"])
            server.start()
            check(engine, nas)
            nas.reach("ok")
        assert nas.stop_share() == 0
