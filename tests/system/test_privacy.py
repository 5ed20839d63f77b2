"""Nothing leaves the machine but to a shared engine that is configured; nothing is kept but what the README names."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.support import internet
from tests.support.albums import album
from tests.support.engine_server import Database
from tests.support.processes import Daemon, children
from tests.support.shared_machines import Machine

FOREIGN_LOAD = """
import sys
from pathlib import Path
from facewatchd.config import Faces
from facewatchd.models import registry
registry.choose("tiny", Path(sys.argv[1]), notify=print).load(1, Faces())
"""


def _as_a_user_has_it(home: Path) -> dict[str, str]:
    """The environment, without what keeps libraries from reporting where tests run."""
    silencing = {"CI", "GITHUB_ACTIONS", "ORT_RUNNING_UNIT_TESTS", "ORT_DISABLE_TELEMETRY"}
    kept = {name: value for name, value in os.environ.items() if name not in silencing}
    return {**kept, "HOME": str(home)}


def test_a_model_that_is_loaded_keeps_no_device_id_and_no_reports(tmp_path: Path, tiny_root: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    command = [sys.executable, "-c", FOREIGN_LOAD, str(tiny_root)]
    subprocess.run(command, env=_as_a_user_has_it(home), check=True, timeout=120)
    assert list(home.rglob("*")) == []


def test_the_daemon_writes_into_its_own_places_only_and_connects_to_nobody(tmp_path: Path, tiny_root: Path) -> None:
    root, home = tmp_path / "photos", tmp_path / "home"
    album(root, 3)
    with Daemon(home, root, model="tiny", model_root=tiny_root, insightface=True) as daemon:
        daemon.environment = _as_a_user_has_it(home) | {"XDG_RUNTIME_DIR": str(home)}
        daemon.start()
        daemon.settle()
        assert daemon.query("--top", "1", next(root.iterdir())).returncode in (0, 1, 3)
        assert daemon.process is not None
        for process in (daemon.process.pid, *daemon.children()):
            assert internet.lines(process) == []
        assert daemon.stop() == 0
    known = {"config.toml", "data", "log", "run"}
    assert {path.name for path in home.iterdir()} == known


# The shared engine

AUDIT = """
import atexit, os, sys
def note(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        noted.write(f"{event} {arguments[1:] if event != 'socket.getaddrinfo' else arguments}\\n")
    elif event == "open":
        noted.write(f"open {os.fsdecode(arguments[0]) if isinstance(arguments[0], (str, bytes)) else ''}\\n")
noted = open(%r + str(os.getpid()), "a", buffering=1)
sys.addaudithook(note)
"""
"""Writes down, for each process, which files it opens and what it connects to."""


def _audited(place: Path, pid: int, event: str) -> list[str]:
    lines = Path(f"{place}{pid}").read_text().splitlines()
    return [line.partition(" ")[2] for line in lines if line.partition(" ")[0] == event]


def test_without_an_engine_none_is_looked_for(tmp_path: Path, tiny_root: Path) -> None:
    album(tmp_path / "photos", 1)
    with Daemon(tmp_path / "home", tmp_path / "photos", model="tiny", model_root=tiny_root) as daemon:
        daemon.hook(AUDIT % str(tmp_path / "noted"))
        daemon.start()
        daemon.settle()
        photo = next((tmp_path / "photos").iterdir())
        assert "shared" not in json.loads(daemon.query("--json", photo).stdout)
        assert daemon.process is not None
        for event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
            assert _audited(tmp_path / "noted", daemon.process.pid, event) == []
        assert [path.name for path in daemon.socket.parent.iterdir()] == [daemon.socket.name]
        assert not (daemon.data / "machine").exists()
        modules = Path(f"/proc/{daemon.process.pid}/maps").read_text()
        assert "psycopg" not in modules
        assert "libpq" not in modules


def test_with_an_engine_only_facewatch_share_reaches_it_and_sees_no_photo(
    tmp_path: Path, tiny_root: Path, engine: Database
) -> None:
    photos, noted = tmp_path / "photos", tmp_path / "noted"
    album(photos, 3)
    credential = tmp_path / "credentials" / "facewatch-password"
    credential.parent.mkdir()
    credential.write_text(engine.password)
    url = engine.url(passfile="/dev/null")
    with Machine(tmp_path / "home", url, photos, name="laptop", model_root=tiny_root) as laptop:
        for part in (laptop, laptop.daemon):
            part.hook(AUDIT % str(noted))
        laptop.environment["CREDENTIALS_DIRECTORY"] = str(credential.parent)
        laptop.start()
        laptop.settle()
        laptop.reach("ok")
        photo = next(photos.iterdir())
        answer = laptop.daemon.query("--json", photo).stdout
        assert json.loads(answer)["shared"]["state"] == "ok"
        assert laptop.daemon.process is not None
        assert laptop.process is not None
        daemon, share = laptop.daemon.process.pid, laptop.process.pid
        for process in (daemon, *laptop.daemon.children()):
            assert internet.lines(process) == []
        assert _audited(noted, daemon, "socket.getaddrinfo") == []
        places = _audited(noted, daemon, "socket.connect")
        assert places
        assert all(f"{laptop.daemon.socket}.share" in place for place in places), places
        assert internet.connections(share) == {("127.0.0.1", engine.server.port)}
        assert children(share) == []
        opened = _audited(noted, share, "open")
        assert str(credential) in opened, "the hook sees what is opened"
        assert not [path for path in opened if path.startswith((str(photos), str(laptop.daemon.data)))]
        loaded = Path(f"/proc/{share}/maps").read_text()
        assert "psycopg_binary" in loaded
        assert not [
            name for name in ("cv2", "/PIL/", "onnxruntime", "hnswlib", "imagecodecs", "heif") if name in loaded
        ]
        said = [answer, json.dumps(laptop.status()), laptop.logged()]
        said += [laptop.daemon.control(*words).stdout for words in (["status", "--json"], ["shared", "machines"])]
        for process in (daemon, share, *laptop.daemon.children()):
            said += [Path(f"/proc/{process}/{name}").read_bytes().decode() for name in ("cmdline", "environ")]
        credential.write_text("not-the-one")
        os.kill(share, signal.SIGHUP)
        said.append(str(laptop.reach("refused")))
        assert not [text for text in said if engine.password in text or "not-the-one" in text]
