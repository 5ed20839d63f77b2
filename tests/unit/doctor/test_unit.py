"""`facewatchd doctor`: the systemd units, as a manager of the user tells of them; here a script stands in for it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from facewatchd import paths
from facewatchd.cli import app as cli
from facewatchd.doctor import model_trial, pipeline, unit
from facewatchd.doctor.checks import Finding
from tests.support.findings import findings, statuses

ABSENT = {
    "LoadState": "not-found", "ActiveState": "inactive", "SubState": "dead", "UnitFileState": "", "Result": "success",
    "NRestarts": "0", "ExecMainStatus": "0", "FragmentPath": "", "NeedDaemonReload": "no",
}  # fmt: skip
RUNNING = {"LoadState": "loaded", "ActiveState": "active", "SubState": "running", "UnitFileState": "enabled"}
LISTENING = {"LoadState": "loaded", "ActiveState": "active", "SubState": "listening", "UnitFileState": "enabled"}
DAEMON = (unit.SERVICE, unit.SOCKET)
STOPPED = {"LoadState": "loaded", "UnitFileState": "disabled"}


class Systemd:
    """Commands that say what they were told to say, and units in the user's directory."""

    def __init__(self, home: Path) -> None:
        self.bin = home / "bin"
        self.bin.mkdir()
        self.units = paths.units_path()
        self.lingers("yes")

    def script(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o700)

    def says(
        self, service: dict[str, str], socket: dict[str, str] | None = None, share: dict[str, str] | None = None
    ) -> None:
        """Have `systemctl --user show` tell of the units what differs from one that is not there."""
        blocks = []
        for name, given in zip(unit.UNITS, (service, socket or {}, share or {}), strict=True):
            blocks.append("".join(f"{key}={value}\n" for key, value in {"Id": name, **ABSENT, **given}.items()))
        told = self.bin / "told"
        told.write_text("\n".join(blocks))
        self.script("systemctl", f"[ \"$1 $2\" = '--user show' ] && exec cat '{told}'")

    def lingers(self, word: str) -> None:
        self.script("loginctl", f'[ "$1 $2" = "show-user $(id -u)" ] && echo Linger={word}')

    @staticmethod
    def starts(program: str | Path) -> dict[str, str]:
        """The property ExecStart as systemd 252 prints it."""
        return {"ExecStart": f"{{ path={program} ; argv[]={program} run ; ignore_errors=no ; start_time=[n/a] }}"}

    def install(self, program: str | Path = sys.executable, *names: str) -> None:
        self.units.mkdir(parents=True, exist_ok=True)
        for name in names or (unit.SERVICE,):
            text = f"[Service]\nExecStart={program} \\\n  run\n" if name == unit.SERVICE else "[Socket]\n"
            (self.units / name).write_text(text)


@pytest.fixture
def systemd(new_home: Path, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    fake = Systemd(new_home)
    monkeypatch.setenv("PATH", str(fake.bin), prepend=os.pathsep)
    return fake


def finding() -> Finding:
    (only,) = findings("service")
    return only


def test_not_installed(systemd: Systemd) -> None:
    systemd.says({})
    assert finding() == Finding(
        "service",
        "ok",
        "not installed as a systemd user unit",
        "`facewatchd service install` has it started at every login",
    )


def test_no_manager_answers(systemd: Systemd) -> None:
    systemd.script("systemctl", "echo 'Failed to connect to bus: No medium found' >&2; exit 1")
    assert (finding().status, finding().detail) == ("ok", "no systemd user manager answers here")
    systemd.install()
    assert finding().detail == "facewatchd.service installed, but no systemd user manager answers here"


def test_no_systemd(systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(systemd.bin))
    assert (finding().status, finding().detail) == ("ok", "no systemd user manager answers here")


def test_a_systemctl_that_hangs_is_left_alone(systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit, "SECONDS", 0.2)
    systemd.script("systemctl", "exec sleep 60")
    assert (finding().status, finding().detail) == ("ok", "no systemd user manager answers here")


def test_strange_answers_are_none(systemd: Systemd) -> None:
    systemd.script("systemctl", "echo strange; echo; echo Id=other.service")
    assert finding().detail == "no systemd user manager answers here"


@pytest.mark.parametrize(
    ("device", "denied", "status"),
    [("cuda", "yes", "warn"), ("cuda", "no", "ok"), ("auto", "yes", "ok"), ("cpu", "yes", "ok")],
)
def test_a_sandbox_that_keeps_a_device_out(
    systemd: Systemd, new_home: Path, device: str, denied: str, status: str
) -> None:
    path = new_home / "config.toml"
    path.write_text(f"resources = {{device = '{device}'}}")
    systemd.install()
    systemd.says(
        {**systemd.starts(sys.executable), "LoadState": "loaded", "ActiveState": "active", "SubState": "running"}
        | {"FragmentPath": str(systemd.units / unit.SERVICE), "MemoryDenyWriteExecute": denied}
    )
    (found,) = findings("service", path)
    assert found.status == status
    assert (found.hint == "`facewatchd service install --gpu`") is (status == "warn")


def test_running(systemd: Systemd) -> None:
    systemd.install(sys.executable, *DAEMON)
    systemd.says(RUNNING, LISTENING)
    detail = "facewatchd.service is active (running), enabled; facewatchd.socket is active (listening), enabled"
    assert finding() == Finding("service", "ok", detail)
    systemd.lingers("no")
    assert finding().hint == "it stops when you log out, unless you call `loginctl enable-linger`"
    systemd.script("loginctl", "exit 1")
    assert finding().hint == ""


def test_a_socket_that_waits_for_the_first_query_is_fine(systemd: Systemd) -> None:
    systemd.install(sys.executable, *DAEMON)
    systemd.says({"LoadState": "loaded", "UnitFileState": "static"}, LISTENING)
    assert finding().status == "ok"


def test_installed_elsewhere(systemd: Systemd, tmp_path: Path) -> None:
    elsewhere = tmp_path / "facewatchd.service"
    elsewhere.write_text("[Service]\nExecStart=/nowhere/facewatchd run\n")
    systemd.says(RUNNING | {"FragmentPath": str(elsewhere)} | systemd.starts("/nowhere/facewatchd"))
    assert (finding().status, finding().detail) == (
        "fail", f"{elsewhere} starts /nowhere/facewatchd, which is not there",
    )  # fmt: skip


def test_stopped(systemd: Systemd) -> None:
    systemd.install()
    systemd.says(STOPPED)
    assert finding() == Finding(
        "service",
        "warn",
        "facewatchd.service is inactive (dead), disabled",
        "systemctl --user enable --now facewatchd.service",
    )


@pytest.mark.parametrize(
    "state",
    [
        {"ActiveState": "failed", "SubState": "failed"},
        {"ActiveState": "activating", "SubState": "auto-restart"},
        {"ActiveState": "activating", "SubState": "auto-restart-queued"},  # systemd 254
    ],
)
def test_failed(systemd: Systemd, state: dict[str, str]) -> None:
    systemd.install()
    systemd.says(RUNNING | state | {"Result": "exit-code", "NRestarts": "5", "ExecMainStatus": "2"})
    assert finding() == Finding(
        "service",
        "fail",
        "facewatchd.service failed after 5 restarts: exit-code, exit status 2",
        unit.JOURNAL.format("facewatchd"),
    )


def test_a_file_that_systemd_has_not_read(systemd: Systemd) -> None:
    systemd.install()
    for state in (RUNNING | {"NeedDaemonReload": "yes"}, {}):
        systemd.says(state)
        assert finding() == Finding(
            "service",
            "warn",
            "facewatchd.service on the disk is not what systemd has read",
            "systemctl --user daemon-reload",
        )


@pytest.mark.parametrize(("load", "status"), [("masked", "warn"), ("bad-setting", "fail")])
def test_units_that_cannot_be_loaded(systemd: Systemd, load: str, status: str) -> None:
    systemd.install()
    systemd.says({"LoadState": load})
    assert statuses(findings("service")) == [("service", status)]


def test_a_program_that_is_gone(systemd: Systemd, tmp_path: Path) -> None:
    program = tmp_path / "venv" / "bin" / "facewatchd"
    systemd.says(RUNNING | systemd.starts(program))
    systemd.install(program)
    assert finding() == Finding(
        "service",
        "fail",
        f"{systemd.units / unit.SERVICE} starts {program}, which is not there",
        "`facewatchd service install` again",
    )
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    assert finding().status == "ok"
    program.write_text(f"#!{tmp_path}/venv/bin/python\n")
    assert f"starts {tmp_path}/venv/bin/python, which" in finding().detail


@pytest.mark.parametrize(
    "told", [{}, {"ExecStart": "strange"}, {"ExecStart": "{ path=facewatchd ; argv[]=facewatchd }"}]
)
def test_programs_that_cannot_be_told(systemd: Systemd, told: dict[str, str]) -> None:
    systemd.says(RUNNING | told)
    systemd.install()
    assert finding().status == "ok"


def test_a_failed_unit_is_exit_status_1(
    systemd: Systemd, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = {"vectors": 64, "faces": 6, "threshold": 0.4, "closest": 0.1, "load_s": 1.0, "faces_s": 0.1}
    monkeypatch.setattr(model_trial, "run", lambda *_: good)
    monkeypatch.setattr(pipeline.Trial, "run", lambda _: 6)
    systemd.install()
    systemd.says(RUNNING)
    assert cli.main(["doctor"]) == 0
    systemd.says(RUNNING | {"ActiveState": "failed", "SubState": "failed", "Result": "signal"})
    assert cli.main(["doctor"]) == 1
    line = capfd.readouterr().out.splitlines()[-1]
    assert line == f"fail  service        facewatchd.service failed: signal; {unit.JOURNAL.format('facewatchd')}"


# The unit of facewatch-share


@pytest.fixture
def shared(new_home: Path) -> Path:
    """A configuration with an engine."""
    path = new_home / "config.toml"
    path.write_text("[shared]\nurl = 'postgresql://localhost/f'\n")
    return path


def test_the_unit_of_an_engine_is_told_with_the_others(systemd: Systemd, shared: Path) -> None:
    systemd.install(sys.executable, *unit.UNITS)
    systemd.says(RUNNING, LISTENING, RUNNING)
    (found,) = findings("service", shared)
    assert found.status == "ok"
    assert found.detail.endswith("; facewatch-share.service is active (running), enabled")


def test_a_unit_of_an_engine_that_failed(systemd: Systemd, shared: Path) -> None:
    systemd.install(sys.executable, *unit.UNITS)
    failed = {"LoadState": "loaded", "ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "2"}
    systemd.says(RUNNING, LISTENING, failed)
    (found,) = findings("service", shared)
    assert (found.status, found.detail) == ("fail", "facewatch-share.service failed: exit-code, exit status 2")
    assert found.hint.startswith("see `journalctl --user -u facewatch-share`")


def test_a_unit_of_an_engine_that_is_not_installed(systemd: Systemd, shared: Path) -> None:
    systemd.install(sys.executable, *DAEMON)
    systemd.says(RUNNING, LISTENING)
    (found,) = findings("service", shared)
    assert (found.status, found.hint) == ("warn", "`facewatchd service install` again")
    assert found.detail == "`[shared]` is configured, and facewatch-share.service is not installed"


def test_a_unit_without_an_engine(systemd: Systemd) -> None:
    systemd.install(sys.executable, *unit.UNITS)
    systemd.says(RUNNING, LISTENING, RUNNING)
    assert (finding().status, finding().hint) == ("warn", "`facewatchd service install` again")
    assert "no `[shared]` is configured" in finding().detail
