"""facewatch-share as a service, under a real user manager: what it can reach, and what it cannot."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from facewatchd.service import share
from tests.support.albums import album
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

    def __init__(self, manager: UserManager, tiny_root: Path) -> None:
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
        self.config.write_text(
            f"directories = {json.dumps(list(map(str, (self.photos, self.elsewhere))))}\n"
            f"model = 'tiny'\nmodel_root = '{tiny_root}'\n[shared]\n"
            f"url = 'postgresql://nas.invalid/f?sslmode=verify-full&sslrootcert={self.ca}'\n"
        )
        for path in (self.home / ".pgpass", self.config.parent / "password"):
            path.write_text(SECRET)
            path.chmod(0o600)

    def drop_in(self, *lines: str) -> None:
        lines = ("[Service]", f"StandardError=append:{self.log}", *lines)
        self.manager.write_unit(f"{share.NAME}.d/test.conf", "\n".join(lines) + "\n")

    def install(self) -> None:
        self.manager.run("facewatchd", "service", "install")
        self.manager.systemctl("daemon-reload")


@pytest.fixture
def installed(tiny_root: Path) -> Iterator[Share]:
    with contextlib.closing(UserManager()) as manager:
        user = Share(manager, tiny_root)
        user.install()
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
    told = probed(installed)
    missing, read_only, forbidden = "No such file or directory", "Read-only file system", "Operation not permitted"
    assert set(told.pop("at home")) <= {".config", ".pgpass", ".local"}, "the last: for what pip installs there"
    assert set(told.pop("devices")) <= {
        *("char", "core", "fd", "full", "hugepages", "log", "mqueue", "null", "ptmx", "pts", "random", "shm"),
        *("stderr", "stdin", "stdout", "tty", "urandom", "zero"),
    }
    assert set(told.pop("capabilities")) == {"0000000000000000"}
    assert told.pop("resolver") in ("127.0.0.1", "::1")
    assert told.pop("another socket") in (read_only, "Permission denied")
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
        "tmp": [],
        "namespace": forbidden,
        "mount": forbidden,
        "machine code": forbidden,
        "idle class": forbidden,
        "no new privileges": "1",
    }


def test_systemds_own_score(installed: Share) -> None:
    result = installed.manager.run("systemd-analyze", "--user", "security", "--no-pager", share.NAME)
    score = re.search(r"Overall exposure level for facewatch-share\.service: ([0-9.]+)", result.stdout)
    assert score is not None, result.stdout
    assert float(score[1]) <= 2.0, "the rating does not know of an empty file system"
