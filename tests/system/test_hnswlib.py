"""A daemon on a machine whose hnswlib was built for another processor: it ends every process that imports it."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from facewatchd.errors import FacewatchError
from facewatchd.store import hnsw_trial
from facewatchd.system import child_process
from tests.support.albums import album
from tests.support.processes import Daemon

DIES = """
import os, resource
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
with open({log!r}, "a") as log:
    log.write(str(os.getpid()) + " ")
os.kill(os.getpid(), {number})
"""


def replace_hnswlib(place: Path) -> Path:
    """Put a module there that ends its process by SIGILL; return the file in which it notes the process before."""
    log = place / "imports"
    place.mkdir(exist_ok=True)
    log.touch()
    (place / "hnswlib.py").write_text(DIES.format(log=str(log), number=int(signal.SIGILL)))
    return log


@pytest.fixture
def daemon(tmp_path: Path, tiny_root: Path) -> Iterator[Daemon]:
    """One that imports modules from its `hooked` first, not started."""
    with Daemon(tmp_path / "home", tmp_path / "photos", model="tiny", model_root=tiny_root) as daemon:
        daemon.hook("")
        yield daemon


def test_the_daemon_starts_answers_exactly_and_says_how_to_rebuild(daemon: Daemon, tmp_path: Path) -> None:
    album(tmp_path / "photos", 12, people=3)
    imports = replace_hnswlib(daemon.hooked)
    daemon.start()
    status = daemon.settle()
    assert status["state"] == "idle"
    (problem,) = status["problems"]
    assert "ended by SIGILL: it was built for another processor" in problem
    assert "each search compares all faces" in problem
    assert "HNSWLIB_NO_NATIVE=1" in problem
    assert "-m pip install --force-reinstall --no-cache-dir --no-deps --no-binary hnswlib 'hnswlib<0.9'" in problem
    assert status["index"] == {"faces": status["faces"], "tombstones": 0, "ready": True}
    photo = sorted((tmp_path / "photos").iterdir())[0]
    answer = json.loads(daemon.query("--json", "-n", "0", photo).stdout)
    assert answer["exact"]
    assert answer["complete"]
    assert answer["faces"] == status["faces"]
    assert len(answer["matches"]) == 4
    photo.unlink()
    daemon.settle()
    other = sorted((tmp_path / "photos").iterdir())[2]
    assert len(json.loads(daemon.query("--json", "-n", "0", other).stdout)["matches"]) == 3
    assert daemon.call("verify")["problems"] == []
    assert str(daemon.status()["pid"]) not in imports.read_text().split()
    doctor = daemon.control("doctor")
    assert doctor.returncode == 1
    assert "hnswlib" in doctor.stdout
    assert "HNSWLIB_NO_NATIVE=1" in doctor.stdout


def test_a_build_that_ran_is_remembered_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    monkeypatch.setattr(child_process, "result_of", lambda *_, seconds: tried.append(seconds) or hnsw_trial.VECTORS)
    assert hnsw_trial.problem(tmp_path) == hnsw_trial.problem(tmp_path) == ""
    assert len(tried) == 1
    other = tmp_path / "cpuinfo"
    other.write_text("flags\t\t: fpu sse\n")
    monkeypatch.setattr(hnsw_trial, "_CPUINFO", other)
    assert hnsw_trial.problem(tmp_path) == ""
    assert len(tried) == 2
    (tmp_path / "hnswlib.json").write_text("[]")
    assert hnsw_trial.problem(tmp_path) == ""
    assert len(tried) == 3


def test_a_failure_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imports = replace_hnswlib(tmp_path / "other-processor")
    monkeypatch.setenv("PYTHONPATH", str(imports.parent))
    for count in (1, 2):
        assert "SIGILL" in hnsw_trial.problem(tmp_path)
        assert len(imports.read_text().split()) == count
    with pytest.raises(FacewatchError, match="SIGILL"):
        hnsw_trial.run()
