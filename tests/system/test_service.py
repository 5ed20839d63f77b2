"""facewatchd as a service, under a real user manager: from install to uninstall, and what goes wrong between."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from facewatchd.client.connection import Connection
from facewatchd.errors import FacewatchError
from facewatchd.models import sessions
from tests.support import hooks
from tests.support.albums import album
from tests.support.processes import DRAWN, until
from tests.support.user_manager import UserManager

SERVICE, SOCKET = "facewatchd.service", "facewatchd.socket"


class Service:
    """A user who has written a configuration, and has three photos."""

    def __init__(self, manager: UserManager, model_root: Path) -> None:
        self.manager = manager
        self.photos = manager.home / "Pictures"
        self.log = manager.home / "log"
        self.socket = manager.runtime / "facewatchd" / "socket"
        self.config = manager.home / ".config" / "facewatchd" / "config.toml"
        self.config.parent.mkdir(parents=True, exist_ok=True)
        self.model_root = model_root
        self.configure(self.photos)
        album(self.photos, 3)
        # There is no journal; else only what tests do not want to wait for.
        self.drop_in(
            "[Service]", f"StandardError=append:{self.log}", "RestartSec=100ms", "[Unit]", "StartLimitBurst=100"
        )

    def configure(self, *directories: Path) -> None:
        self.config.write_text(
            f"directories = {json.dumps(list(map(str, directories)))}\nmodel = 'tiny'\n"
            f"model_root = '{self.model_root}'\n[resources]\nidle_priority = false\n[watch]\nsettle = 0.2\n"
        )

    def drop_in(self, *lines: str, name: str = "test") -> None:
        self.manager.write_unit(f"{SERVICE}.d/{name}.conf", "\n".join(lines) + "\n")

    def hook(self, code: str) -> None:
        """Have some code run first in the service's processes: see `hooks`."""
        place = self.manager.home / "hook"
        hooks.add(place, code)
        self.drop_in("[Service]", f"Environment=PYTHONPATH={place}", name="hook")

    def install(self, *options: str) -> str:
        """Install the units; return the command that comes next."""
        lines = self.manager.run("facewatchd", "service", "install", *options).stdout.splitlines()
        self.manager.systemctl("daemon-reload")
        return lines[-1].removeprefix("next: ")

    def show(self, name: str) -> str:
        return self.manager.systemctl("show", "--value", f"--property={name}", SERVICE).stdout.strip()

    def call(self, method: str, **params: Any) -> Any:
        with Connection(self.socket, 60) as connection:
            return connection.call(method, **params)

    def settle(self, photos: int) -> None:
        until(lambda: self.call("wait", timeout=30)["complete"] and self.call("status")["photos"] == photos)

    def query(self, photo: Path) -> list[str]:
        result = self.manager.run("facewatch-query", "--paths", "--wait", "30", "--", photo)
        return result.stdout.splitlines()


@pytest.fixture
def service(tiny_root: Path) -> Iterator[Service]:
    with contextlib.closing(UserManager()) as manager:
        model_root = manager.home / "models"  # below /tmp the service would not see it
        (model_root / "models").mkdir(parents=True)
        for path in (tiny_root / "models" / "tiny").iterdir():
            (model_root / "models" / "tiny").mkdir(exist_ok=True)
            (model_root / "models" / "tiny" / path.name).write_bytes(path.read_bytes())
        yield Service(manager, model_root)


@pytest.fixture
def running(service: Service) -> Service:
    """One that runs, and sees drawn faces without InsightFace; the tests that start it themselves run the real one."""
    service.hook(DRAWN)
    service.install()
    service.manager.systemctl("start", SOCKET, SERVICE)
    service.settle(3)
    return service


def test_from_the_install_to_the_uninstall(service: Service) -> None:
    """By what the commands print, from an empty home."""
    run = service.manager.run
    run("sh", "-c", service.install())
    assert service.show("ActiveState") == "active"
    photo = next(service.photos.iterdir())
    assert str(photo) in service.query(photo)
    until(lambda: re.fullmatch(r"idle: 3 photos, \d+ faces", service.show("StatusText")))
    said = service.log.read_text()
    assert all(line.startswith("facewatchd: ") for line in said.splitlines()), said
    assert not [path for path in service.photos.iterdir() if path.name in said]
    for name in (SERVICE, SOCKET):
        assert service.manager.systemctl("is-enabled", name).stdout.strip() == "enabled"
    run("sh", "-c", "systemctl --user stop facewatchd.socket facewatchd.service")
    assert service.show("ActiveState") == "inactive"
    assert service.show("Result") == "success"
    assert not service.socket.exists()
    after = run("facewatchd", "service", "uninstall").stdout.splitlines()[-1].removeprefix("next: ")
    (service.manager.home / ".config" / "systemd" / "user" / f"{SERVICE}.d" / "test.conf").unlink()
    run("sh", "-c", after)
    assert service.show("LoadState") == "not-found"
    assert list((service.manager.home / ".local" / "share" / "facewatchd").glob("*/catalog.sqlite3"))


def test_a_query_starts_it(service: Service) -> None:
    service.install()
    service.manager.systemctl("start", SOCKET)
    assert service.show("ActiveState") == "inactive"
    photo = next(service.photos.iterdir())
    assert str(photo) in service.query(photo)
    assert service.show("ActiveState") == "active"


def test_a_restart_loses_nobody(running: Service) -> None:
    pids: list[int] = []
    errors: list[Exception] = []

    def ask() -> None:
        try:
            pids.append(running.call("status")["pid"])
        except (OSError, FacewatchError) as exc:
            errors.append(exc)

    before = running.call("status")["pid"]
    running.manager.systemctl("stop", SERVICE)
    clients = [threading.Thread(target=ask) for _ in range(20)]
    for client in clients[:10]:
        client.start()
    running.manager.systemctl("restart", "--no-block", SERVICE)
    for client in clients[10:]:
        client.start()
    for client in clients:
        client.join()
    assert errors == []
    assert len(pids) == 20
    assert before not in pids


def test_a_photo_in_tmp_is_answered_although_the_service_has_another_tmp(running: Service) -> None:
    photo = next(running.photos.iterdir())
    with tempfile.NamedTemporaryFile(dir="/tmp", suffix=".jpg") as copy:
        copy.write(photo.read_bytes())
        copy.flush()
        assert str(photo) in running.query(Path(copy.name))


def test_reload(running: Service) -> None:
    more = running.manager.home / "More"
    album(more, 2, first_seed=10)
    running.configure(running.photos, more)
    running.manager.systemctl("reload", SERVICE)
    running.settle(5)
    running.configure(more)
    running.manager.systemctl("reload", SERVICE)
    until(lambda: running.call("status")["photos"] == 2)
    assert running.show("NRestarts") == "0"


def test_one_that_hangs_is_started_again(service: Service) -> None:
    hangs = service.manager.home / "hangs"
    service.hook(DRAWN)
    service.hook(
        "import os, sys, threading\nif 'run' in sys.argv:\n    from facewatchd.photos import contents\n"
        "    from facewatchd.health import monitor\n"
        "    monitor.SILENCE = 3.0\n    opened = contents.opened\n"
        f"    def hang(path):\n        while os.path.exists({str(hangs)!r}):\n            threading.Event().wait(0.1)\n"
        "        return opened(path)\n    contents.opened = hang\n",
    )
    service.drop_in("[Service]", "WatchdogSec=6s", "TimeoutAbortSec=5s", name="hang")
    service.install()
    service.manager.systemctl("start", SOCKET, SERVICE)
    service.settle(3)
    first, restarts = service.show("MainPID"), service.show("NRestarts")
    hangs.touch()
    album(service.photos / "new", 1, first_seed=10)
    until(lambda: service.show("NRestarts") not in ("", restarts))
    assert "hangs: systemd starts the daemon again" in service.log.read_text()
    hangs.unlink()
    service.settle(4)
    assert service.show("MainPID") != first


def test_one_that_is_stopped_in_its_tracks_is_started_again(service: Service) -> None:
    service.drop_in("[Service]", "WatchdogSec=3s", "TimeoutAbortSec=1s", name="watchdog")
    service.install()
    service.manager.systemctl("start", SOCKET, SERVICE)
    service.settle(3)
    os.kill(int(service.show("MainPID")), signal.SIGSTOP)
    until(lambda: service.show("NRestarts") == "1")
    service.settle(3)


def test_one_that_crashes_is_started_again_and_leaves_nothing_behind(running: Service) -> None:
    pid = int(running.show("MainPID"))
    os.kill(pid, signal.SIGKILL)
    until(lambda: running.show("NRestarts") == "1")
    running.settle(3)
    assert running.call("status")["rates"]["embedded"] == 0
    assert running.call("status")["pid"] == int(running.show("MainPID")) != pid


def test_a_wrong_configuration_is_not_tried_again(running: Service) -> None:
    running.config.write_text("directory = []\n")
    assert running.manager.systemctl("restart", SERVICE, check=False).returncode != 0
    until(lambda: running.show("ActiveState") == "failed")
    assert (running.show("ExecMainStatus"), running.show("NRestarts")) == ("2", "0")
    said = running.log.read_text().splitlines()[-1]
    assert said.startswith("facewatchd: unknown key `directory` in ")
    result = running.manager.run("facewatchd", "doctor", check=False)
    assert result.returncode == 1
    assert re.search(r"^fail +service +facewatchd.service failed: exit-code, exit status 2; see", result.stdout, re.M)


def test_doctor_tells_of_a_service_that_runs(running: Service) -> None:
    running.manager.systemctl("enable", SOCKET, SERVICE)
    result = running.manager.run("facewatchd", "doctor", "--json", check=False)
    findings = {finding["name"]: finding for finding in json.loads(result.stdout)}
    assert findings["service"]["status"] == "ok"
    assert "facewatchd.service is active (running), enabled" in findings["service"]["detail"]
    assert " answers, " in findings["socket"]["detail"]


def test_started_by_hand_beside_the_service(running: Service) -> None:
    result = running.manager.run("facewatchd", "run", check=False)
    assert (result.returncode, result.stdout) == (3, "")
    assert result.stderr.startswith("facewatchd: another daemon holds ")
    other = running.manager.run("facewatchd", "run", "--data-dir", running.manager.home / "data", check=False)
    assert other.returncode == 3
    assert "systemctl --user stop facewatchd.socket facewatchd.service" in other.stderr
    assert running.show("NRestarts") == "0"


PROBE = """
import ctypes, json, mmap, os, socket, sys
from pathlib import Path
photos, home, data, out = map(Path, sys.argv[1:])
def tried(function):
    try:
        function()
    except OSError as exc:
        return exc.strerror
    return "done"
libc = ctypes.CDLL(None, use_errno=True)
def checked(result):
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
status = dict(line.split(":\\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
out.write_text(json.dumps({
    "write a photo": tried(lambda: next(photos.iterdir()).open("ab")),
    "read a photo": tried(lambda: next(photos.iterdir()).read_bytes()),
    "write at home": tried(lambda: (home / "x").touch()),
    "write to the system": tried(lambda: Path("/usr/x").touch()),
    "write data": tried(lambda: (data / "x").touch()),
    "internet": tried(lambda: socket.socket(socket.AF_INET)),
    "netlink": tried(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
    "interfaces": [line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:]],
    "tmp": os.listdir("/tmp"),
    "devices": sorted(os.listdir("/dev")),
    "namespace": tried(lambda: checked(libc.unshare(0x10000000))),
    "mount": tried(lambda: checked(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None))),
    "machine code": tried(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)),
    "idle class": tried(lambda: os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))),
    "real time": tried(lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))),
    "capabilities": [status[name].strip() for name in ("CapEff", "CapPrm", "CapBnd")],
    "no new privileges": status["NoNewPrivs"].strip(),
}))
"""


def probed(service: Service) -> Any:
    """What a program in the daemon's place finds that it may do; the units are installed."""
    home = service.manager.home
    data = home / ".local" / "share" / "facewatchd"
    probe, out = home / "probe.py", data / "out"
    probe.write_text(PROBE)
    command = f"{sys.executable} {probe} {service.photos} {home} {data} {out}"
    service.drop_in("[Service]", "Type=oneshot", "Restart=no", "ExecStart=", f"ExecStart={command}", name="probe")
    service.manager.systemctl("start", SERVICE)
    return json.loads(out.read_text())


def test_the_sandbox_holds(service: Service) -> None:
    """What the daemon's unit forbids and allows, told by a program in the daemon's place."""
    service.install()
    told = probed(service)
    read_only = "Read-only file system"
    here = Path(sys.prefix).resolve()
    shown = [here.relative_to("/tmp").parts[0]] if here.is_relative_to("/tmp") else []  # the installation itself
    assert told.pop("interfaces") == ["lo"]
    assert set(told.pop("devices")) <= {
        *("char", "core", "fd", "full", "hugepages", "log", "mqueue", "null", "ptmx", "pts", "random", "shm"),
        *("stderr", "stdin", "stdout", "tty", "urandom", "zero"),
    }
    assert set(told.pop("capabilities")) == {"0000000000000000"}
    assert told == {
        "write a photo": read_only,
        "read a photo": "done",
        "write at home": read_only,
        "write to the system": read_only,
        "write data": "done",
        "internet": "Address family not supported by protocol",
        "netlink": "Address family not supported by protocol",
        "tmp": shown,
        "namespace": "Operation not permitted",
        "mount": "Operation not permitted",
        "machine code": "Operation not permitted",
        "idle class": "done",
        "real time": "Operation not permitted",
        "no new privileges": "1",
    }


def test_the_drop_in_for_a_device_opens_the_sandbox_that_far(service: Service) -> None:
    """For `auto`: devices are there and memory may become code; all else holds."""
    service.install("--gpu")
    told = probed(service)
    assert told["machine code"] == "done"
    assert set(os.listdir("/dev")) <= {*told["devices"], "shm", "mqueue", "pts"}
    assert told["write a photo"] == "Read-only file system"
    assert told["internet"] == "Address family not supported by protocol"
    assert told["no new privileges"] == "1"


@pytest.mark.skipif("openvino" not in sessions.offered(), reason="ONNX Runtime was built without OpenVINO")
def test_openvino_computes_in_the_sandbox_that_was_opened_for_it(service: Service) -> None:
    """And without that the service says what is missing."""
    with service.config.open("a") as file:
        file.write("[resources]\ndevice = 'openvino'\n")
    text = service.config.read_text().replace("[resources]\nidle_priority = false\n", "")
    service.config.write_text(text)
    service.install()
    service.manager.systemctl("start", SOCKET, SERVICE, check=False)
    until(lambda: "the model tiny cannot be computed on openvino: " in service.log.read_text())
    assert "a service needs `facewatchd service install --gpu` for it" in service.log.read_text()
    service.manager.systemctl("stop", SERVICE)
    service.install("--gpu")
    service.manager.systemctl("start", SOCKET, SERVICE)
    service.settle(3)
    assert "on the processor" in service.call("status")["device"]


def test_systemds_own_score(service: Service) -> None:
    service.install()
    result = service.manager.run("systemd-analyze", "--user", "security", "--no-pager", SERVICE)
    score = re.search(r"Overall exposure level for facewatchd\.service: ([0-9.]+)", result.stdout)
    assert score is not None, result.stdout
    assert float(score[1]) <= 1.2, "0.9 for an ordinary user, whom root's 0.4 does not weigh on"


def test_the_socket_is_nobody_elses(running: Service) -> None:
    assert running.socket.stat().st_mode & 0o777 == 0o600
    assert running.socket.parent.stat().st_mode & 0o777 == 0o700
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(running.socket))
