"""The systemd user units: whether they are installed and run, and whether they go on after a logout.

Their state is what ``systemctl --user show`` prints, whose output is meant for programs. A machine without systemd, or
a user without a manager (in a container, after ``su``), is no fault: the daemon can be started in other ways.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Container, Iterator
from pathlib import Path

from facewatchd import paths
from facewatchd.config import AUTO_DEVICE, CPU, Config
from facewatchd.doctor.finding import Finding
from facewatchd.service.units import SERVICE, SHARE, SOCKET, is_in_private_tmp, names, paths_in_private_tmp
from facewatchd.text import counted

UNITS = (SERVICE, SOCKET, SHARE)
PROPERTIES = (
    "Id", "LoadState", "ActiveState", "SubState", "UnitFileState", "Result", "NRestarts", "ExecMainStatus",
    "FragmentPath", "NeedDaemonReload", "ExecStart", "MemoryDenyWriteExecute",
)  # fmt: skip
_PROGRAM = re.compile(r"\{ path=(.*?) ; argv\[\]=")
"""In the property ExecStart, as `systemctl show` prints it."""
SECONDS = 5.0
"""In which systemd must answer."""
INSTALL = "`facewatchd service install`"
JOURNAL = "see `journalctl --user -u {}`, then `systemctl --user reset-failed` and start it again"

Properties = dict[str, str]


def check(config: Config) -> Iterator[Finding]:
    """Yield what is wrong with the units; one finding that tells their state where nothing is."""
    files = {name: path for name in UNITS if os.path.lexists(path := paths.units_path() / name)}
    units = _shown()
    for name, unit in units.items():
        if unit.get("FragmentPath"):
            files[name] = Path(unit["FragmentPath"])
    gone = _missing_program(units.get(SERVICE, {}))
    if gone and SERVICE in files:
        yield Finding("service", "fail", f"{files[SERVICE]} starts {gone}, which is not there", f"{INSTALL} again")
    elif SERVICE in files and (lost := _hidden(files[SERVICE], config)):
        detail = f"{lost} lies below a temporary directory, which {files[SERVICE]} hides from the service"
        yield Finding("service", "fail", detail, f"{INSTALL} again")
    elif SERVICE in files and _keeps_out(config.resources.device, units.get(SERVICE, {})):
        detail = f"the sandbox of {SERVICE} keeps {config.resources.device} from working"
        yield Finding("service", "warn", detail, f"{INSTALL.rstrip('`')} --gpu`")
    elif not units:
        there = f"{', '.join(files)} installed, but " if files else ""
        hint = "have `facewatchd run` started in some other way"
        yield Finding("service", "ok", f"{there}no systemd user manager answers here", hint)
    elif not files:
        hint = f"{INSTALL} has it started at every login"
        yield Finding("service", "ok", "not installed as a systemd user unit", hint)
    else:
        found = [finding for name in files for finding in _troubles(name, units.get(name, {}))]
        found += _unlike_the_configuration(files, config)
        yield from found or [_state({name: units[name] for name in files})]


def _unlike_the_configuration(files: Container[str], config: Config) -> Iterator[Finding]:
    """A unit of facewatch-share that is missing, or that nothing needs any more."""
    if SERVICE in files and SHARE in names(config) and SHARE not in files:
        yield Finding("service", "warn", f"`[shared]` is configured, and {SHARE} is not installed", f"{INSTALL} again")
    elif SHARE in files and SHARE not in names(config):
        yield Finding("service", "warn", f"{SHARE} is installed, and no `[shared]` is configured", f"{INSTALL} again")


def _keeps_out(device: str, unit: Properties) -> bool:
    """Whether a device was named that the unit, with its drop-ins, keeps from working."""
    return device not in (AUTO_DEVICE, CPU) and unit.get("MemoryDenyWriteExecute") == "yes"


def _troubles(name: str, unit: Properties) -> Iterator[Finding]:
    state, load = unit.get("ActiveState", ""), unit.get("LoadState", "")
    if load == "masked":
        yield Finding("service", "warn", f"{name} is masked", f"systemctl --user unmask {name}")
    elif load in ("bad-setting", "error"):
        yield Finding("service", "fail", f"{name} cannot be loaded ({load})", f"see `systemctl --user status {name}`")
    elif load == "not-found" or unit.get("NeedDaemonReload") == "yes":
        detail = f"{name} on the disk is not what systemd has read"
        yield Finding("service", "warn", detail, "systemctl --user daemon-reload")
    if state == "failed" or unit.get("SubState", "").startswith("auto-restart"):
        restarts = int(unit.get("NRestarts") or 0)
        after = f" after {counted(restarts, 'restart')}" if restarts else ""
        status = unit.get("ExecMainStatus", "")
        exited = f", exit status {status}" if status not in ("", "0") else ""
        yield Finding(
            "service",
            "fail",
            f"{name} failed{after}: {unit.get('Result', '?')}{exited}",
            JOURNAL.format(name.partition(".")[0]),
        )


def _state(units: dict[str, Properties]) -> Finding:
    """The state of units with which nothing is wrong."""
    words = []
    for name, unit in units.items():
        enabled = unit.get("UnitFileState") or "enabled by nothing"
        words.append(f"{name} is {unit['ActiveState']} ({unit['SubState']}), {enabled}")
    detail = "; ".join(words)
    if not any(unit["ActiveState"] in ("active", "activating", "reloading") for unit in units.values()):
        first = SOCKET if SOCKET in units and SERVICE not in units else SERVICE
        return Finding("service", "warn", detail, f"systemctl --user enable --now {first}")
    if _lingers() is False:
        return Finding("service", "ok", detail, "it stops when you log out, unless you call `loginctl enable-linger`")
    return Finding("service", "ok", detail)


def _shown() -> dict[str, Properties]:
    """The properties of the units; empty where no manager answers."""
    text = _output("systemctl", "--user", "show", *UNITS, "--property", ",".join(PROPERTIES))
    units = {}
    for block in text.split("\n\n"):
        unit = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if unit.get("Id") in UNITS:
            units[unit["Id"]] = unit
    return units if len(units) == len(UNITS) else {}


def _lingers() -> bool | None:
    """Whether the user's manager goes on after the last logout; None where logind does not say."""
    text = _output("loginctl", "show-user", str(os.getuid()), "--property", "Linger")
    return {"Linger=yes": True, "Linger=no": False}.get(text.strip())


def _output(*command: str) -> str:
    """What a command prints; empty where it is missing, fails, or takes more than `SECONDS`."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "" if done.returncode else done.stdout


def _missing_program(unit: Properties) -> str:
    """The program that a unit starts, or the interpreter of that script, where it is not there; else empty.

    So it is after an environment, or the Python that it was made with, was moved or removed.
    """
    match = _PROGRAM.search(unit.get("ExecStart", ""))
    program = match[1] if match else ""
    if not program.startswith("/"):  # systemd looks it up in its own path when it starts the unit
        return ""
    if not os.access(program, os.X_OK):
        return program
    try:
        with open(program, "rb") as file:
            first = file.readline(512)
    except OSError:
        return ""
    words = os.fsdecode(first).removeprefix("#!").split()
    return words[0] if first.startswith(b"#!") and words and not os.access(words[0], os.X_OK) else ""


def _hidden(path: Path, config: Config) -> str:
    """The first path that the service needs and that `PrivateTmp=` of its unit hides from it; else empty."""
    try:
        text = path.read_text(encoding="utf-8").replace("\\\\:", ":").replace("%%", "%")
    except (OSError, ValueError):
        return ""
    if "\nPrivateTmp=yes" not in text:
        return ""
    shown = [
        line.partition("=")[2].strip('"').removeprefix("-") for line in text.splitlines() if line.startswith("Bind")
    ]
    needed = [*paths_in_private_tmp(config, []), *([config.data_dir] if is_in_private_tmp(config.data_dir) else [])]
    return next((str(each) for each in needed if str(each) not in shown), "")
