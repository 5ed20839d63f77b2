"""facewatch-share as a service, under a real user manager: what it can reach, and what it cannot."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from facewatchd.service import share
from facewatchd.service.units import SERVICE, SOCKET
from facewatchd.shared.postgres.engine import PostgresEngine
from facewatchd.shared.values import SharedContent
from tests.support import hooks
from tests.support.albums import album
from tests.support.engine_server import Database
from tests.support.internet import connections
from tests.support.processes import DRAWN, until
from tests.support.shared_faces import token
from tests.support.user_manager import UserManager

SECRET = "s3cret"

PROBE = """
import ctypes, json, mmap, os, socket, sys
from pathlib import Path
home, photos, other, runtime, ca = map(Path, sys.argv[1:])
def tried(function):
    try:
        return function() or "done"
    except OSError as exc:
        return exc.strerror
libc = ctypes.CDLL(None, use_errno=True)
def checked(result):
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
def listen(path):
    socket.socket(socket.AF_UNIX).bind(str(path))
def speaks(kind):
    socket.socket(kind, socket.SOCK_RAW if kind == socket.AF_NETLINK else socket.SOCK_STREAM)
def imported(name):
    __import__(name)
def credential():
    return Path(os.environ["CREDENTIALS_DIRECTORY"], "facewatch-password").read_text()
status = dict(line.split(":\\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
(runtime / "facewatchd" / "told").write_text(json.dumps({
    "see photos at home": tried(lambda: os.listdir(photos)),
    "see photos elsewhere": tried(lambda: os.listdir(other)),
    "see the data": tried(lambda: os.listdir(home / ".local" / "share" / "facewatchd")),
    "at home": sorted(os.listdir(home)),
    "configuration": tried(lambda: (home / ".config" / "facewatchd" / "config.toml").read_text()[:4]),
    "write the configuration": tried(lambda: (home / ".config" / "facewatchd" / "x").touch()),
    "passfile": tried((home / ".pgpass").read_text),
    "certificate": tried(ca.read_text),
    "credential": tried(credential),
    "own socket": tried(lambda: listen(runtime / "facewatchd" / "share")),
    "another socket": tried(lambda: listen(runtime / "other")),
    "write": [tried(lambda: (Path(place) / "x").touch()) for place in ("/", "/usr", "/etc", home)],
    "resolver": tried(lambda: socket.getaddrinfo("localhost", 1)[0][4][0]),
    "speak": [tried(lambda: speaks(kind)) for kind in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)],
    "packets": tried(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
    "libraries": [tried(lambda: imported(name)) for name in ("psycopg", "numpy", "ssl", "facewatchd.config")],
    "tmp": os.listdir("/tmp"),
    "devices": sorted(os.listdir("/dev")),
    "namespace": tried(lambda: checked(libc.unshare(0x10000000))),
    "mount": tried(lambda: checked(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None))),
    "machine code": tried(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC) and None),
    "idle class": tried(lambda: os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))),
    "capabilities": [status[name].strip() for name in ("CapEff", "CapPrm", "CapBnd")],
    "no new privileges": status["NoNewPrivs"].strip(),
}))
"""


class Share:
    """A user who has photos at home and elsewhere, and has configured an engine."""

    def __init__(self, manager: UserManager, tiny_root: Path, url: str = "") -> None:
        self.manager = manager
        self.home, self.runtime = manager.home, manager.runtime
        self.photos, self.elsewhere = self.home / "Pictures", manager.base / "disk"
        self.log = manager.base / "share.log"
        for directory in (self.photos, self.elsewhere):
            album(directory, 1)
        self.ca = manager.base / "ca.crt"
        self.ca.write_text("a certificate")
        self.config = self.home / ".config" / "facewatchd" / "config.toml"
        self.config.parent.mkdir(parents=True)
        self.model_root = tiny_root
        self.configure(url or f"postgresql://nas.invalid/f?sslmode=verify-full&sslrootcert={self.ca}")
        for path in (self.home / ".pgpass", self.config.parent / "password"):
            path.write_text(SECRET)
            path.chmod(0o600)

    def configure(self, url: str, name: str = "laptop") -> None:
        shared = f"[shared]\nurl = '{url}'\nname = '{name}'\ntimeout = 20\n" if url else ""
        self.config.write_text(
            f"directories = {json.dumps(list(map(str, (self.photos, self.elsewhere))))}\n"
            f"model = 'tiny'\nmodel_root = '{self.model_root}'\n{shared}"
            "[resources]\nidle_priority = false\n[watch]\nsettle = 0.2\n"
        )

    def drop_in(self, *lines: str) -> None:
        lines = ("[Service]", f"StandardError=append:{self.log}", *lines)
        self.manager.write_unit(f"{share.NAME}.d/test.conf", "\n".join(lines) + "\n")

    def install(self) -> str:
        """Install the units; return the command that comes next."""
        lines = self.manager.run("facewatchd", "service", "install").stdout.splitlines()
        self.manager.systemctl("daemon-reload")
        return lines[-1].removeprefix("next: ")

    def show(self, unit: str, name: str) -> str:
        return self.manager.systemctl("show", "--value", f"--property={name}", unit).stdout.strip()

    def pid(self, unit: str) -> int:
        return int(self.show(unit, "MainPID"))

    def told(self) -> dict[str, Any]:
        """What facewatch-share says of itself; its log where it says nothing."""
        result = self.manager.run("facewatchd", "shared", "status", "--json", check=False)
        return json.loads(result.stdout) if result.returncode == 0 else {"state": result.stderr}


@pytest.fixture
def installed(tiny_root: Path) -> Iterator[Share]:
    with contextlib.closing(UserManager()) as manager:
        user = Share(manager, tiny_root)
        user.install()
        yield user


@pytest.fixture
def shared(tiny_root: Path, engine: Database) -> Iterator[Share]:
    """One whose engine is a real one, and whose units are installed, enabled and started as the command says."""
    with contextlib.closing(UserManager()) as manager:
        user = Share(manager, tiny_root, engine.url())
        hooks.add(manager.home / "hook", DRAWN)
        manager.write_unit(
            f"{SERVICE}.d/test.conf",
            f"[Service]\nStandardError=append:{manager.base / 'log of the daemon'}\n"
            f"Environment=PYTHONPATH={manager.home / 'hook'}\n",
        )
        user.drop_in()
        manager.run("sh", "-c", user.install())
        until(lambda: user.told()["state"] == "ok")
        yield user


def probed(user: Share) -> dict[str, Any]:
    """What a program in the place of facewatch-share finds that it may do."""
    probe = user.config.parent / "probe.py"
    probe.write_text(PROBE)
    words = [sys.executable, probe, user.home, user.photos, user.elsewhere, user.runtime, user.ca]
    user.drop_in(
        *("Type=oneshot", "Restart=no", "ExecStart=", f"ExecStart={' '.join(map(str, words))}"),
        f"LoadCredential=facewatch-password:{user.config.parent / 'password'}",
    )
    result = user.manager.systemctl("start", share.NAME, check=False)
    assert result.returncode == 0, user.log.read_text()
    told: dict[str, Any] = json.loads((user.runtime / "facewatchd" / "told").read_text())
    return told


def test_it_sees_no_photo_and_reaches_the_network(installed: Share) -> None:
    assert _score(installed) <= 2.0
    told = probed(installed)
    here = Path(sys.prefix).resolve()
    shown = [here.relative_to("/tmp").parts[0]] if here.is_relative_to("/tmp") else []  # the installation itself
    missing, read_only, forbidden = "No such file or directory", "Read-only file system", "Operation not permitted"
    assert set(told.pop("at home")) <= {".config", ".pgpass", ".local"}, "the last: for what pip installs there"
    assert set(told.pop("devices")) <= {
        *("char", "core", "fd", "full", "hugepages", "log", "mqueue", "null", "ptmx", "pts", "random", "shm"),
        *("stderr", "stdin", "stdout", "tty", "urandom", "zero"),
    }
    assert set(told.pop("capabilities")) == {"0000000000000000"}
    assert told.pop("resolver") in ("127.0.0.1", "::1")
    assert not (installed.runtime / "other").exists(), "its runtime directory is its own, but for facewatchd's"
    told.pop("another socket")
    assert told == {
        "see photos at home": missing,
        "see photos elsewhere": missing,
        "see the data": missing,
        "configuration": "dire",
        "write the configuration": read_only,
        "passfile": SECRET,
        "certificate": "a certificate",
        "credential": SECRET,
        "own socket": "done",
        "write": [read_only] * 4,
        "speak": ["done"] * 3,
        "packets": "Address family not supported by protocol",
        "libraries": ["done"] * 4,
        "tmp": shown,
        "namespace": forbidden,
        "mount": forbidden,
        "machine code": forbidden,
        "idle class": forbidden,
        "no new privileges": "1",
    }


def _score(user: Share) -> float:
    """How exposed systemd finds the service to be, of 10; it does not know of an empty file system."""
    result = user.manager.run("systemd-analyze", "--user", "security", "--no-pager", share.NAME)
    score = re.search(r"Overall exposure level for facewatch-share\.service: ([0-9.]+)", result.stdout)
    assert score is not None, result.stdout
    return float(score[1])


# With a real engine


def test_the_daemons_shut_sandbox_asks_the_engine_by_its_socket(shared: Share, engine: Database) -> None:
    """From the commands that `service install` prints to an answer that has a photo of another machine."""
    photo = next(shared.photos.iterdir())
    until(lambda: shared.told()["backlog"] == 0 and not json.loads(_query(shared, photo))["pending"])
    _as_another_machine(engine, b"/srv/x.jpg")
    answer = until(lambda: document if _elsewhere(document := json.loads(_query(shared, photo))) else None)
    assert answer["shared"]["state"] == "ok"
    assert _elsewhere(answer) == {("nas", "/srv/x.jpg")}
    daemon, sharing = shared.pid(SERVICE), shared.pid(share.NAME)
    assert [line.split(":")[0].strip() for line in Path(f"/proc/{daemon}/net/dev").read_text().splitlines()[2:]] == [
        "lo"
    ]
    assert os.readlink(f"/proc/{daemon}/ns/net") != os.readlink("/proc/self/ns/net")
    assert connections(daemon) == set()
    assert connections(sharing) == {("127.0.0.1", engine.server.port)}
    for path in (shared.photos, shared.elsewhere, shared.home / ".local" / "share" / "facewatchd"):
        assert not Path(f"/proc/{sharing}/root{path}").exists(), "facewatch-share sees it"
    assert engine.password not in shared.log.read_text()
    _doctor_finds_nothing(shared)


def _doctor_finds_nothing(user: Share) -> None:
    result = user.manager.run("facewatchd", "doctor", "--json", check=False)
    found = {each["name"]: each for each in json.loads(result.stdout)}
    names = ("share", "psycopg", "engine", "pgvector", "clock", "machines", "question")
    assert {name: found[name]["status"] for name in names} == dict.fromkeys(names, "ok")
    assert found["share"]["detail"] == "facewatch-share is connected, everything is sent"
    assert found["machines"]["detail"].startswith("nas: ")
    assert found["question"]["detail"].startswith("the first one took ")


def _query(user: Share, photo: Path) -> str:
    return user.manager.run("facewatch-query", "--json", "--wait", "30", "--", photo, check=False).stdout


def _elsewhere(answer: dict[str, Any]) -> set[tuple[str, str]]:
    return {(each["host"], each["path"]) for match in answer["matches"] for each in match.get("elsewhere", ())}


def _as_another_machine(engine: Database, path: bytes) -> None:
    """Have a machine called nas say that it has the contents of the engine, all on one path."""
    with engine.connect() as db:
        ((schema,),) = db.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'facewatch%'").fetchall()
        ((model,),) = db.execute(f"SELECT value FROM {schema}.meta WHERE key = 'model'").fetchall()
        digests = [row[0] for row in db.execute(f"SELECT digest FROM {schema}.content").fetchall()]
        ((dim,),) = db.execute(
            "SELECT atttypmod FROM pg_attribute WHERE attrelid = %s::regclass AND attname = 'embedding'",
            (f"{schema}.face",),
        ).fetchall()
    with contextlib.closing(PostgresEngine(engine.url(), model, dim)) as nas:
        nas.attach(token(), "nas", [])
        found = nas.contents(digests).contents
        paths = [path if number == 0 else b"%s%d" % (path, number) for number in range(len(found))]
        contents = [
            SharedContent(each.digest, each, tuple(range(1, 1 + len(each.faces))), (name,), 10**18)
            for each, name in zip(found, paths, strict=True)
        ]
        nas.push(contents, token(), 0, 0)


def test_it_starts_and_stops_with_the_daemon_and_goes_with_its_table(shared: Share, engine: Database) -> None:
    run, systemctl = shared.manager.run, shared.manager.systemctl
    for unit in (SERVICE, SOCKET, share.NAME):
        assert systemctl("is-enabled", unit).stdout.strip() == "enabled"
    first = shared.pid(share.NAME)
    systemctl("restart", SERVICE)
    until(lambda: shared.told()["state"] == "ok" and shared.pid(share.NAME) not in (0, first))
    shared.configure(engine.url(), "desk")
    systemctl("reload", share.NAME)
    until(lambda: (shared.told()["state"], shared.told()["name"]) == ("ok", "desk"))
    shared.configure("postgresql://nas.lan/f")
    assert systemctl("restart", share.NAME, check=False).returncode != 0
    assert (shared.show(share.NAME, "ExecMainStatus"), shared.show(share.NAME, "NRestarts")) == ("2", "0")
    assert "leads to nas.lan without an sslmode" in shared.log.read_text().splitlines()[-1]
    shared.configure(engine.url(), "desk")
    systemctl("start", share.NAME)
    systemctl("stop", SOCKET, SERVICE)
    assert shared.show(share.NAME, "ActiveState") == "inactive"
    assert shared.show(share.NAME, "Result") == "success"
    shared.configure("")
    after = shared.install()
    assert after.startswith(f"systemctl --user stop {share.NAME}; ")
    run("sh", "-c", after)
    assert shared.show(share.NAME, "LoadState") in ("not-found", "masked") or not shared.pid(share.NAME)
    assert not (shared.runtime / "facewatchd" / "share").exists()
    assert (shared.runtime / "facewatchd" / "socket").exists()
