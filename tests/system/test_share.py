"""facewatch-share as a process, beside a daemon and before a real engine."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.albums import album
from tests.support.engine_server import Database
from tests.support.processes import DEADLINE, until
from tests.support.shared_machines import Machine, PreparedMachine


def machine(tmp_path: Path, engine: Database, tiny_root: Path, name: str, count: int = 2) -> Machine:
    """A machine with some photos."""
    photos = tmp_path / f"{name} photos"
    album(photos, count, first_seed=10 * len(name))
    return Machine(tmp_path / name, engine.url(), photos, name=name, model_root=tiny_root)


def shared(one: Machine) -> dict[str, Any]:
    """What the daemon's status says of the engine."""
    found: dict[str, Any] = one.daemon.status()["shared"]
    return found


def test_status_remove_and_resync(tmp_path: Path, engine: Database, tiny_root: Path) -> None:
    with machine(tmp_path, engine, tiny_root, "nas") as nas, machine(tmp_path, engine, tiny_root, "laptop") as laptop:
        nas.start_share()  # which waits for its daemon
        until(lambda: nas.status()["state"] == "unreachable" and "daemon" in nas.status()["reason"])
        nas.daemon.start()
        nas.settle()
        laptop.daemon.start()
        status = shared(laptop)
        assert (status["state"], status["name"], status["sends"]) == ("off", "laptop", True)
        assert "facewatch-share" in status["hint"]
        laptop.daemon.settle()
        assert shared(laptop)["backlog"] == 2, "it is known also while facewatch-share does not run"
        laptop.start_share()
        laptop.settle()
        until(lambda: {each["name"] for each in shared(laptop)["machines"]} == {"nas", "laptop"})
        until(lambda: shared(laptop)["state"] == "ok")
        assert shared(laptop)["backlog"] == 0

        assert laptop.daemon.control("shared", "remove", "laptop", "--yes").returncode == 0
        status = until(lambda: found if "removed" in (found := shared(laptop))["reason"] else None)
        assert status["state"] == "behind"
        assert "resync" in status["hint"]
        assert laptop.stop_share() == 0
        laptop.start_share()
        until(lambda: "removed" in shared(laptop)["reason"])  # not by itself, also after a start
        assert {each["name"] for each in nas.call("machines")["machines"]} == {"nas"}
        done = laptop.daemon.control("shared", "resync", "--json")
        assert (done.returncode, json.loads(done.stdout)["contents"]) == (0, 2), done.stderr
        laptop.settle()
        until(lambda: {each["name"]: each["photos"] for each in nas.call("machines")["machines"]}["laptop"] == 2)
        assert laptop.daemon.control("shared", "remove", "nas", "--yes").returncode == 0
        assert "this machine was removed" in nas.daemon.control("shared", "status").stdout, "at once"
        nas.stop()
        laptop.stop()
        assert "Traceback" not in nas.logged() + laptop.logged()


def test_it_is_reloaded(tmp_path: Path, engine: Database, tiny_root: Path) -> None:
    with machine(tmp_path, engine, tiny_root, "nas") as nas:
        nas.start()
        nas.settle()
        process = nas.process
        assert process is not None
        written = nas.config.read_text()
        for wrong in ("[shared]\nurl = 5\n", "what = 1\n"):
            nas.config.write_text(wrong)
            process.send_signal(signal.SIGHUP)
            until(lambda: nas.logged().count("was not taken over") == 1)
            nas.log.write_text("")
        nas.config.write_text(written.replace('name = "nas"', 'name = "attic"'))
        process.send_signal(signal.SIGHUP)
        until(lambda: [each["name"] for each in nas.call("machines").get("machines", ())] == ["attic"])
        nas.config.write_text(written.replace('name = "nas"', 'name = "attic"\nsend = false'))
        process.send_signal(signal.SIGHUP)
        until(lambda: nas.status()["sends"] is False and nas.status()["state"] == "ok")
        assert [each["name"] for each in nas.call("machines")["machines"]] == ["attic"], "its rows stay"
        nas.config.write_text(written.partition("[shared]")[0])
        process.send_signal(signal.SIGHUP)
        assert process.wait(DEADLINE) == 0
        assert "no shared engine is configured any more" in nas.logged()


def test_of_two_beside_one_daemon_the_second_ends(tmp_path: Path, engine: Database, tiny_root: Path) -> None:
    with machine(tmp_path, engine, tiny_root, "nas") as nas:
        nas.start_share()
        second = subprocess.run(nas.command, capture_output=True, text=True, timeout=DEADLINE, check=False)
        assert (second.returncode, len(second.stderr.splitlines())) == (3, 1)
        assert "another facewatch-share" in second.stderr
        assert nas.status()["name"] == "nas"
        assert nas.stop_share() == 0


def test_a_thread_that_dies_ends_it_with_its_traceback(tmp_path: Path, engine: Database) -> None:
    with PreparedMachine(tmp_path / "nas", engine.url(), name="nas") as nas:
        nas.hook(
            "from facewatchd.shared import app, pushing\n"
            "def broken(*_):\n    raise RuntimeError('a bug')\n"
            "pushing.Pusher.push, app.TICK = broken, 0.2\n"
        )
        assert nas.launch_share().wait(DEADLINE) == 1
        assert nas.logged().count("Traceback") == 1
        assert "sender died; this is a bug" in nas.logged()
        assert "the sender ended unexpectedly: start facewatch-share again" in nas.logged()


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("", "no shared engine is configured"),
        ("[shared]\n", "shared.url"),
        ('[shared]\nurl = "postgresql://a:secret@localhost/x"\n', "password"),
        ('[shared]\nurl = "postgresql://a@localhost/x"\nname = "a:b"\n', "shared.name"),
        ("nonsense", "not valid TOML"),
    ],
)
def test_a_wrong_configuration_is_one_line(tmp_path: Path, written: str, said: str) -> None:
    config = tmp_path / "config.toml"
    config.write_text(written)
    command = [sys.executable, "-m", "facewatchd.shared.app", "--config", config, "--socket", tmp_path / "socket"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert done.stderr.startswith("facewatch-share: ")
    assert said in done.stderr
    assert "secret" not in done.stderr
    assert not (tmp_path / "socket.share").exists()


def test_it_loads_no_decoder_no_model_and_no_index() -> None:
    code = (
        "import contextlib, sys, facewatchd.shared.app\n"
        "with contextlib.suppress(ImportError):\n    import facewatchd.shared.postgres.engine\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    strangers = {"PIL", "cv2", "hnswlib", "insightface", "onnx", "onnxruntime", "requests", "watchdog", "starlette"}
    assert loaded & strangers == set()
