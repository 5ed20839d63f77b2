"""Every command where there is no home, no usable runtime directory or no current one: one line, never a traceback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import PROJECT

STRANGER = 54_321
"""A user id without an entry in the list of users."""
COMMANDS = {
    "status": ["-m", "facewatchd", "status"],
    "run": ["-m", "facewatchd", "run", "/nowhere/at/all"],
    "query": ["-m", "facewatchd.client.app", "/nowhere/a.jpg"],
    "models": ["-m", "facewatchd", "models", "list"],
    "fetch": ["-m", "facewatchd", "models", "fetch", "./nothing.zip"],
    "install": ["-m", "facewatchd", "service", "install", "/nowhere/at/all"],
    "uninstall": ["-m", "facewatchd", "service", "uninstall"],
}
ENVIRONMENTS: dict[str, dict[str, str]] = {
    "no HOME": {},
    "empty HOME": {"HOME": ""},
    "relative HOME": {"HOME": "home"},
    "HOME that is not there": {"HOME": "/nonexistent"},
    "relative XDG": {"HOME": "", "XDG_CONFIG_HOME": "x", "XDG_DATA_HOME": "x", "XDG_RUNTIME_DIR": "x"},
}


def _run(command: list[str], environment: dict[str, str], temporary: Path) -> subprocess.CompletedProcess[str]:
    """As a user without an entry in the list of users where this can be had, whose temporary directory is this one."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return subprocess.run(
        [*_as_stranger(), sys.executable, *command],
        env={**kept, "TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1", **environment},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _as_stranger() -> list[str]:
    """The command that gives up root for another user, who may still read the files of this installation."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        return []
    capability = "+dac_read_search"
    return [
        *("setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups"),
        *(f"--inh-caps={capability}", f"--ambient-caps={capability}"),
    ]


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A temporary directory where the user's runtime directory is not usable: another user made it."""
    directory = tmp_path_factory.mktemp("tmp")
    for above in (directory, directory.parent, directory.parent.parent):
        above.chmod(0o755)
    directory.chmod(0o1777)
    if _as_stranger():
        theirs = directory / f"runtime-{STRANGER}"
        theirs.mkdir(mode=0o700)
        os.chown(theirs, 12_345, 12_345)
    else:
        (directory / f"runtime-{os.geteuid()}").symlink_to("/nonexistent")
    return directory


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_user_without_places(temporary: Path, command: str, environment: str) -> None:
    done = _run(COMMANDS[command], ENVIRONMENTS[environment], temporary)
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == (0 if done.returncode == 0 else 1), done.stderr
    assert done.returncode == 0 or done.returncode in ((2, 4) if command in ("status", "query") else (2, 1))


def test_no_default_is_computed_for_what_is_named(temporary: Path) -> None:
    socket = ["--socket", str(temporary / "socket")]
    for command in ("status", "query"):
        done = _run([*COMMANDS[command], *socket], {"HOME": ""}, temporary)
        assert done.returncode == 4, done.stderr
    data = temporary / "data"
    run = ["-m", "facewatchd", "run", "--model", "absent", "--data-dir", str(data), *socket, str(temporary / "photos")]
    (temporary / "photos").mkdir()
    done = _run(run, {"HOME": ""}, temporary)
    assert done.returncode == 2, done.stderr
    assert "absent" in done.stderr


@pytest.mark.parametrize("flags", [[], ["--socket", "/nowhere/s", "--data-dir", "/nowhere/d"]])
def test_the_doctor_reports_a_missing_home_as_a_finding(temporary: Path, flags: list[str]) -> None:
    with_one_check = "from facewatchd.doctor import checks; checks._CHECKS.clear(); "
    with_one_check += "from facewatchd.cli.app import main; main()"
    done = _run(["-c", with_one_check, "doctor", "--json", *flags], {"HOME": ""}, temporary)
    assert done.stderr == ""
    findings = json.loads(done.stdout)
    assert [finding["name"] for finding in findings] == ["configuration"]
    assert findings[0]["status"] == ("ok" if flags else "fail")


@pytest.mark.parametrize("command", [["facewatchd.client.app", "a.jpg"], ["facewatchd", "run", "photos"]])
def test_a_current_directory_that_is_gone(tmp_path: Path, command: list[str]) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    line = f'cd "{gone}" && rmdir "{gone}" && exec "$@"'
    package = str(PROJECT)
    code = f"import sys; sys.path.insert(0, {package!r}); import runpy; sys.argv[:] = sys.argv[1:]; "
    code += f"from facewatchd.{'client' if 'client' in command[0] else 'cli'}.app import main; sys.exit(main())"
    done = subprocess.run(
        ["sh", "-c", line, "sh", sys.executable, "-c", code, *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.endswith("the current directory is gone; change to another one\n")
    assert len(done.stderr.splitlines()) == 1
