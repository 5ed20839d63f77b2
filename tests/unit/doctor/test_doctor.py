"""`facewatchd doctor`: what each check says of a machine that is well, and of one that is not."""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facewatchd import __version__
from facewatchd.cli import app as cli
from facewatchd.config import Config
from facewatchd.doctor import checks, machine, model_trial, pipeline, software
from facewatchd.doctor.checks import Finding, examine
from facewatchd.errors import FacewatchError
from facewatchd.models import registry
from facewatchd.people.store import PeopleStore
from facewatchd.photos import decode as decoding
from facewatchd.photos.samples import SPECIMENS
from facewatchd.store import hnsw_trial
from facewatchd.store.data_directory import LastRun
from facewatchd.system import inotify as inotify_facts
from facewatchd.system import mounts, peer_credentials
from facewatchd.watch import inotify
from tests.support import packs, tiny_pack
from tests.support.fake_daemon import FakeDaemon, reply
from tests.support.findings import findings, statuses
from tests.support.paths import PROJECT

GOOD_MODEL = {
    "faces": 6, "dim": 512, "threshold": 0.4, "closest": 0.1, "load_s": 1.0, "faces_s": 0.1, "vectors": 64,
    "placement": {"detector": "cpu", "recogniser": "cpu", "reason": ""},
}  # fmt: skip


@pytest.fixture(autouse=True)
def home(new_home: Path) -> Path:
    """Let nothing of the machine's own configuration be seen."""
    return new_home


@pytest.fixture
def tiny(home: Path) -> Path:
    """Have the tiny pack installed in InsightFace's root, under the default model's name; return its directory."""
    return tiny_pack.build(home / ".insightface", registry.DEFAULT)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Have the tests in processes of their own answer at once, with the result that is returned here."""
    result = dict(GOOD_MODEL)
    monkeypatch.setattr(model_trial, "run", lambda *_: result)
    monkeypatch.setattr(hnsw_trial, "run", lambda: hnsw_trial.VECTORS)
    monkeypatch.setattr(pipeline.Trial, "run", lambda _: result["faces"])
    return result


# As a command


@pytest.mark.usefixtures("quick", "tiny")
def test_a_line_for_each_check_and_status_0(capfd: Any, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f"directories = ['{tmp_path}']")
    assert cli.main(["doctor", "--config", str(path)]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    lines = [re.fullmatch(r"(ok  |warn|fail)  ([a-z]+) +[^\n]+", line) for line in out.splitlines()]
    assert all(lines)
    names = list(dict.fromkeys(line[2] for line in lines if line))
    assert names == [
        "configuration", "python", "packages", "sqlite", "hnswlib", "codecs", "model", "device", "licence",
        "pipeline", "directories", "inotify", "events", "socket", "data", "people", "service",
    ]  # fmt: skip


@pytest.mark.usefixtures("quick", "tiny")
def test_json_is_a_list_of_findings(capfd: Any) -> None:
    assert cli.main(["doctor", "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert all(set(finding) == {"name", "status", "detail", "hint"} for finding in document)
    assert {"name": "python", "status": "ok", "hint": ""}.items() <= document[1].items()


@pytest.mark.usefixtures("quick", "tiny")
def test_a_broken_configuration_is_a_finding_and_the_rest_goes_on(capfd: Any, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("directores = []")
    arguments = ["doctor", "--config", str(path), "--data-dir", f"{tmp_path}/data", "--socket", f"{tmp_path}/run/s"]
    assert cli.main(arguments) == 1
    out = capfd.readouterr().out
    assert f"fail  configuration  unknown key `directores` in {path}; the keys here are: " in out
    assert f"{tmp_path}/data" in out
    assert f"{tmp_path}/run/s" in out


def test_colour() -> None:
    assert (
        checks.line(Finding("x", "warn", "a\x1bb", "do"), colour=True)
        == "\x1b[33mwarn\x1b[0m  x              a\\x1bb; do\n"
    )


def test_whatever_a_check_raises_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(_: Config) -> Iterator[Finding]:
        raise OSError("no such thing")

    monkeypatch.setattr(checks, "_CHECKS", {"a": breaks, "b": software.python})
    _, broken, python = examine(None)
    assert broken == Finding("a", "fail", "OSError: no such thing", "install facewatchd again, or report this")
    assert python.status == "ok"


# Software


def test_required_packages_are_those_of_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[<>=\[ ]", requirement)[0] for requirement in project["dependencies"]}
    assert set(software.REQUIRED) == names
    assert statuses(findings("packages")) == [("packages", "ok")]
    monkeypatch.setattr(software, "REQUIRED", ("numpy", "no-such-package"))
    missing, rest = findings("packages")
    assert (missing.status, missing.hint) == ("fail", f"{sys.executable} -m pip install no-such-package")
    assert rest.detail.startswith("numpy ")


@pytest.mark.parametrize(
    ("others", "device", "kept"),
    [
        (["onnxruntime-gpu"], "auto", "onnxruntime-gpu"),
        (["onnxruntime-gpu"], "cpu", "onnxruntime"),
        (["onnxruntime-gpu", "onnxruntime-openvino"], "openvino", "onnxruntime-openvino"),
    ],
)
def test_distributions_of_one_package_that_overwrite_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: list[str], device: str, kept: str
) -> None:
    for name in ("onnxruntime", *others, "onnxruntime-extensions"):
        place = tmp_path / "site" / f"{name.replace('-', '_')}-1.0.dist-info"
        place.mkdir(parents=True)
        (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (place / "top_level.txt").write_text("onnxruntime_extensions" if name.endswith("extensions") else "onnxruntime")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])
    monkeypatch.setattr(software, "REQUIRED", ("onnxruntime",))
    path = tmp_path / "config.toml"
    path.write_text(f"resources = {{device = '{device}'}}")
    two, rest = findings("packages", path)
    every = ["onnxruntime", *others]
    assert (two.status, rest.status) == ("warn", "ok")
    assert two.detail.startswith(f"{' and '.join(every)} are installed, and the files of one lie over ")
    pip = f"{sys.executable} -m pip"
    assert two.hint == f"keep one: `{pip} uninstall -y {' '.join(every)} && {pip} install {kept}`"
    assert rest.detail == ", ".join(f"{name} 1.0" for name in every)


def test_another_distribution_in_the_place_of_the_required_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"onnxruntime": ["onnxruntime-openvino"]}
    monkeypatch.setattr(importlib.metadata, "packages_distributions", lambda: names)
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "1.0")
    (found,) = findings("packages")
    assert found.status == "ok"
    assert found.detail.endswith(", onnxruntime-openvino 1.0")
    assert "onnxruntime 1.0" not in found.detail


def test_no_onnx_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "REQUIRED", ("onnxruntime",))
    monkeypatch.setattr(sys, "path", [])
    missing, _ = findings("packages")
    assert (missing.status, missing.detail) == ("fail", "onnxruntime is not installed")


def test_an_old_sqlite(monkeypatch: pytest.MonkeyPatch) -> None:
    assert statuses(findings("sqlite")) == [("sqlite", "ok")]
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.34.1")
    (old,) = findings("sqlite")
    assert (old.status, old.detail) == ("fail", "version 3.34.1")
    assert "SQLite 3.37.0 or newer" in old.hint


def broken_hnswlib(directory: Path, code: str) -> str:
    """A directory whose module hnswlib does something when it is used."""
    directory.mkdir()
    (directory / "hnswlib.py").write_text(f"import os\nclass Index:\n    def __init__(self, **_):\n        {code}\n")
    return str(directory)


@pytest.mark.parametrize(
    ("number", "why"),
    [(signal.SIGILL, "SIGILL: it was built for another processor"), (signal.SIGSEGV, "SIGSEGV: its build is broken")],
)
def test_an_hnswlib_that_crashes_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, why: str
) -> None:
    code = f"import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.kill(os.getpid(), {int(number)})"
    monkeypatch.setenv("PYTHONPATH", broken_hnswlib(tmp_path / "broken", code))
    (crash,) = findings("hnswlib")
    assert crash.status == "fail"
    assert crash.detail == f"the process that tried it was ended by {why}"
    assert crash.hint == hnsw_trial.HINT


@pytest.mark.parametrize(
    ("code", "detail"),
    [("raise ImportError('no symbol')", "no symbol"), ("raise ValueError('strange')", "ValueError: strange")],
)
def test_an_hnswlib_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, detail: str) -> None:
    monkeypatch.setenv("PYTHONPATH", broken_hnswlib(tmp_path / "broken", code))
    assert [(each.status, each.detail) for each in findings("hnswlib")] == [("fail", detail)]


def test_a_test_that_hangs_is_ended() -> None:
    with pytest.raises(FacewatchError, match=r"did not end within 0\.01 s"):
        hnsw_trial.run(0.01)


@pytest.mark.parametrize("name", SPECIMENS)
def test_every_specimen_is_what_it_says(name: str) -> None:
    pixels = decoding.decode(io.BytesIO(SPECIMENS[name]))
    assert pixels.shape == (16, 16, 3)
    assert np.abs(pixels[:, 2:6].astype(int) - (200, 40, 40)).max() <= 12
    assert np.abs(pixels[:, 10:14].astype(int) - (40, 40, 200)).max() <= 12


def test_a_codec_that_is_missing_or_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    real = decoding.decode

    def decode(file: io.BytesIO) -> Any:
        if file.getvalue() == SPECIMENS["HEIC"]:
            raise FacewatchError("no decoder")
        return real(file)[:, :, ::-1] if file.getvalue() == SPECIMENS["AVIF"] else real(file)

    monkeypatch.setattr(decoding, "decode", decode)
    avif, heic, rest = findings("codecs")
    assert (avif.status, avif.detail) == ("fail", "AVIF is read with wrong colours")
    assert (heic.status, heic.detail) == ("fail", "HEIC cannot be read: no decoder")
    assert heic.hint.endswith("pillow-heif")
    assert rest.detail == "JPEG, PNG, WebP, TIFF, BMP, GIF can be read"


# The model


def test_nothing_is_fetched_where_there_is_no_model(home: Path) -> None:
    (absent,) = findings("model")
    assert (absent.status, absent.detail) == (
        "warn",
        "buffalo_l is not here: the next start fetches it, and opencv where it cannot",
    )
    assert absent.hint == registry.ways_out()
    assert statuses(findings("model", model="antelopev2")) == [("model", "warn")]
    assert list(home.iterdir()) == []


def test_an_unknown_model() -> None:
    (unknown,) = findings("model", model="bufalo")
    assert (unknown.status, unknown.detail) == ("fail", "there is no model bufalo")


@pytest.mark.usefixtures("tiny", "quick")
def test_the_model_that_the_data_was_last_built_with_comes_first(home: Path, tmp_path: Path) -> None:
    other = tiny_pack.build(home / ".insightface", "other", seed=1)
    (tmp_path / "data").mkdir()
    LastRun(str(other)).remember(tmp_path / "data")
    assert findings("model")[0].detail.startswith("buffalo_l-")
    assert findings("model", data_dir=tmp_path / "data")[0].detail.startswith("other-")


@pytest.mark.usefixtures("quick")
def test_opencv_in_place_of_the_default_is_a_warning(home: Path) -> None:
    packs.link_opencv(home / ".insightface")
    first, second, _, _ = findings("model")
    assert first.status == "warn"
    assert "tries to fetch it, and uses opencv where it cannot" in first.detail
    assert second.status == "ok"


@pytest.mark.usefixtures("tiny")
def test_a_model_that_takes_strangers_for_one_person(quick: dict[str, Any]) -> None:
    quick["closest"] = 0.6
    model = findings("model")[0]
    assert model.status == "warn"
    assert "two people on it are 0.60 alike, and 0.40 is a match" in model.detail


@pytest.mark.usefixtures("tiny")
def test_which_device_computes_and_why(quick: dict[str, Any]) -> None:
    def device() -> Finding:
        return next(finding for finding in findings("model") if finding.name == "device")

    assert (device().status, device().detail) == ("ok", "cpu")
    quick["placement"] = {"detector": "cuda", "recogniser": "cuda", "reason": "detector 2 ms, on the processor 40"}
    assert (device().status, device().detail) == ("ok", "cuda: detector 2 ms, on the processor 40")
    quick["placement"] = {"detector": "cpu", "recogniser": "cpu", "reason": "cuda does not answer"}
    assert (device().status, device().detail) == ("warn", "the processor computes: cuda does not answer")
    assert '"cpu"' in device().hint


@pytest.mark.usefixtures("tiny")
def test_a_named_device_that_is_not_there_fails(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("resources = {device = 'rocm'}")
    (found,) = findings("model", path)
    assert (found.status, found.name) == ("fail", "model")
    assert "cannot be computed on rocm: the installed ONNX Runtime has no ROCM" in found.detail
    assert found.hint.endswith("pip install onnxruntime-rocm`")


@pytest.mark.parametrize(
    ("state", "hint"),
    [
        ("none: cuda needs device files", '"cpu"'),
        ("partial: memory may become code (openvino)", '"cpu"'),
        ("partial: no Landlock (Function not implemented)", "Linux 5.13"),
    ],
)
def test_what_keeps_the_processes_from_being_confined(state: str, hint: str) -> None:
    (found,) = pipeline._confined(state)
    assert (found.status, found.detail) == ("warn", state)
    assert hint in found.hint


# The machine


def test_directories(tmp_path: Path) -> None:
    good, gone = tmp_path / "good", tmp_path / "gone"
    good.mkdir()
    first, second = findings("directories", directories=(good, gone))
    assert first == Finding("directories", "ok", f"{good} can be read and watched")
    assert (second.status, second.detail) == ("warn", f"{gone} is not there; its photos are kept until it comes back")
    assert statuses(findings("directories")) == [("directories", "warn")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every directory")
def test_an_unreadable_directory_fails(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    assert statuses(findings("directories", directories=(closed,))) == [("directories", "fail")]
    closed.chmod(0o700)


@pytest.fixture
def limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Path]:
    """Set max_user_watches, and make a directory with nine more in it."""
    directory = tmp_path / "limits"
    directory.mkdir()
    monkeypatch.setattr(inotify_facts, "_LIMITS", directory)
    root = tmp_path / "root"
    for number in range(9):
        (root / str(number)).mkdir(parents=True)
    (root / ".hidden").mkdir()

    def set_limit(value: int) -> Path:
        (directory / "max_user_watches").write_text(f"{value}\n")
        return root

    return set_limit


@pytest.mark.parametrize(("limit", "expected"), [(100, "ok"), (12, "warn"), (10, "warn"), (9, "warn")])
def test_directories_are_held_against_the_limit_of_watches(
    limits: Callable[[int], Path], limit: int, expected: str
) -> None:
    (finding,) = findings("inotify", directories=(limits(limit),))
    assert finding.status == expected
    assert finding.detail.startswith(f"10 directories to watch, max_user_watches {limit}")
    assert ("the rest is polled" in finding.detail) == (limit == 9)
    assert ("sudo sysctl fs.inotify.max_user_watches=524288" in finding.hint) == (expected == "warn")


def test_the_count_of_directories_ends_in_time(limits: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "COUNTING_SECONDS", -1.0)
    (finding,) = findings("inotify", directories=(limits(100),))
    assert finding.detail.startswith("at least 1 directory to watch")


def test_limits_that_cannot_be_read_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inotify_facts, "_LIMITS", tmp_path)
    assert findings("inotify") == [Finding("inotify", "ok", "0 directories to watch")]


def test_events_flow() -> None:
    (finding,) = findings("events")
    assert finding.status == "ok"


def test_events_that_do_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "EVENT_SECONDS", 0.01)
    monkeypatch.setattr(inotify.EventStream, "watch_closes", lambda *_: None)
    (finding,) = findings("events")
    assert finding.status == "warn"
    assert "rescan" in finding.hint


def test_no_inotify_instance_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(inotify, "EventStream", no_more)
    (finding,) = findings("events")
    assert (finding.status, finding.detail) == ("fail", "inotify cannot be used: Too many open files")
    assert "fs.inotify.max_user_instances=" in finding.hint


# Socket and data


def status(**changes: Any) -> dict[str, Any]:
    document = {
        "version": __version__, "pid": 77, "uptime_s": 8, "state": "idle", "photos": 0, "faces": 0, "pending": 0,
        "failed": 0, "model": {"name": "x", "dim": 64, "threshold": 0.4}, "index": {"faces": 0, "tombstones": 0},
        "roots": [], "rates": {}, "problems": [],
    }  # fmt: skip
    return document | changes


@pytest.fixture
def place(tmp_path: Path) -> Path:
    directory = tmp_path / "run"
    directory.mkdir(mode=0o700)
    return directory / "socket"


def test_no_daemon_is_fine(place: Path) -> None:
    (finding,) = findings("socket", socket=place)
    assert (finding.status, finding.detail) == ("ok", f"{place} is free, in a directory of mode 0700: no daemon runs")
    assert statuses(findings("socket", socket=place.parent / "new" / "socket")) == [("socket", "ok")]


def test_a_stale_socket(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(place))
    (finding,) = findings("socket", socket=place)
    assert finding.status == "warn"
    assert "stale" in finding.detail


def test_somebody_else_in_the_daemons_place(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeDaemon(place) as daemon:
        daemon.script = lambda request: b"220 mail ready\n"
        (finding,) = findings("socket", socket=place)
        assert (finding.status, finding.detail) == ("fail", f"the server on {place} is not facewatchd")
        monkeypatch.setattr(peer_credentials, "user", lambda _: os.geteuid() + 1)
        (finding,) = findings("socket", socket=place)
        assert finding.status == "fail"
        assert f"belongs to user {os.geteuid() + 1}" in finding.detail


def test_a_file_in_the_sockets_place(place: Path) -> None:
    place.touch()
    (finding,) = findings("socket", socket=place)
    assert (finding.status, finding.detail) == ("fail", f"{place} is there and is no socket")


def test_a_directory_that_others_can_write_to(place: Path) -> None:
    place.parent.chmod(0o777)
    (finding,) = findings("socket", socket=place)
    assert (finding.status, finding.detail) == (
        "fail", f"the socket's directory {place.parent} can be written to by others",
    )  # fmt: skip


def test_a_daemon_that_answers(place: Path, tmp_path: Path) -> None:
    with FakeDaemon(place) as daemon:
        daemon.script = lambda request: reply(request, status(problems=["the disk is full"]))
        place.chmod(0o666)
        (wide, _) = findings("socket", socket=place)
        assert (wide.status, wide.hint) == ("warn", f"chmod 600 {place}")
        place.chmod(0o600)
        answers, problem = findings("socket", socket=place)
        assert (answers.name, answers.status) == ("socket", "ok")
        assert answers.detail == (
            f"{place}: facewatchd {__version__} answers, idle, pid 77; mode 0600 in a directory of 0700"
        )
        assert problem == Finding("daemon", "warn", "the disk is full", "see `facewatchd status`")
        daemon.script = lambda request: reply(request, status(version="0.0.1"))
        (old,) = findings("socket", socket=place)
        assert (old.status, old.hint) == ("warn", "restart the daemon")
        daemon.script = lambda request: reply(request, [])
        assert statuses(findings("socket", socket=place)) == [("socket", "fail")]
        root = {"path": str(tmp_path), "state": "watching", "photos": 1}
        daemon.script = lambda request: reply(request, status(roots=[root]))
        assert findings("directories", socket=place)[0].detail.startswith(str(tmp_path))


def test_data(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (new,) = findings("data", data_dir=data / "deep")
    assert new.status == "ok"
    assert re.fullmatch(rf"{data}/deep, \d+\.\d GB free", new.detail)
    assert not data.exists()
    data.mkdir(mode=0o755)
    space, mode = findings("data", data_dir=data)
    assert space.status == "ok"
    assert (mode.status, mode.hint) == ("warn", f"chmod 700 {data}")
    file = tmp_path / "file"
    file.touch()
    assert [each.detail for each in findings("data", data_dir=file / "x")] == [f"{file} is not a directory"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system that cannot be written to")
def test_data_that_cannot_be_written() -> None:
    (finding,) = findings("data", data_dir=Path("/proc/self"))
    assert finding.status == "fail"
    assert finding.detail.startswith("/proc/self cannot be written to: ")


@pytest.mark.parametrize(("free", "expected"), [(1 << 31, "ok"), (1 << 29, "warn"), (1 << 20, "fail")])
def test_free_space(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, expected: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(free, 0, free))
    assert statuses(findings("data", data_dir=tmp_path / "new")) == [("data", expected)]


def test_data_on_a_network_file_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mount = mounts.Mount(1, b"0:1", os.fsencode(tmp_path), "nfs4")
    monkeypatch.setattr(mounts.MountTable, "around", lambda *_: (mount,))
    remote = findings("data", data_dir=tmp_path / "new")[-1]
    assert (remote.status, remote.hint) == ("warn", "choose a local disk with --data-dir")
    assert "nfs4" in remote.detail


def test_people_that_cannot_be_read(tmp_path: Path) -> None:
    (nobody,) = findings("people", data_dir=tmp_path)
    assert nobody.status == "ok"
    path = tmp_path / "people.sqlite3"
    store = PeopleStore(path)
    store.say("Anna", [], "user")
    store.close()
    (somebody,) = findings("people", data_dir=tmp_path)
    assert (somebody.status, somebody.detail) == ("ok", str(path))
    path.write_bytes(b"no database")
    (damaged,) = findings("people", data_dir=tmp_path)
    assert damaged.status == "fail"
    assert str(path) in damaged.detail
    assert "people-" in damaged.hint
