"""A systemd user manager of the tests' own, with a home of its own, where one can be started; else a reason to skip.

Managers of one user have one control group, in which units of the same name are the same: stopping a unit of one would
kill the processes of the other. So there is one at a time, on all processes of a test run.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support.processes import DEADLINE, until

PROGRAMS = ("/usr/lib/systemd/systemd", "/lib/systemd/systemd")
BOOTED = Path("/run/systemd/system")
INACCESSIBLE = Path("/run/systemd/inaccessible")
KINDS = {"reg": stat.S_IFREG, "fifo": stat.S_IFIFO, "sock": stat.S_IFSOCK, "chr": stat.S_IFCHR, "blk": stat.S_IFBLK}


class UserManager:
    """`home` is a new user's. Not below /tmp or /run, of which a hardened service sees others."""

    def __init__(self) -> None:
        program = next((path for path in PROGRAMS if os.access(path, os.X_OK)), "")
        if not program or not shutil.which("systemctl"):
            pytest.skip("there is no systemd")
        if os.geteuid() == 0:
            _prepare_for_root()
        self._turn = open(Path(tempfile.gettempdir()) / f"facewatchd-user-manager-{os.getuid()}", "w")  # noqa: SIM115
        fcntl.flock(self._turn, fcntl.LOCK_EX)
        self.base = Path(tempfile.mkdtemp(prefix="facewatchd-test-", dir=Path.home()))
        self.home, self.runtime = self.base / "home", self.base / "run"
        for directory in (self.home, self.runtime):
            directory.mkdir(mode=0o700)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment = {"PATH": path, "HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.runtime), "LANG": "C"}
        # A manager that root starts mounts credentials, which others see only where mounts are passed on.
        shared = ["unshare", "--mount", "--propagation=shared"] if os.geteuid() == 0 and shutil.which("unshare") else []
        with (self.base / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [*shared, program, "--user"], env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    def _wait(self) -> None:
        def runs() -> bool:
            return self.systemctl("is-system-running", check=False).stdout.strip() in ("running", "degraded")

        try:
            until(runs, deadline=20)
        except AssertionError as exc:
            pytest.skip(f"no user manager can be started here: {exc} {(self.base / 'log').read_text()[-300:]}")
        if not self._can_sandbox():
            pytest.skip("user managers cannot make user and mount namespaces here")

    def _can_sandbox(self) -> bool:
        self.write_unit(
            "trial.service", "[Service]\nType=oneshot\nPrivateUsers=yes\nProtectSystem=strict\nExecStart=true\n"
        )
        return self.systemctl("start", "trial.service", check=False).returncode == 0

    def write_unit(self, name: str, text: str) -> None:
        path = self.home / ".config" / "systemd" / "user" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        self.systemctl("daemon-reload")

    def run(self, *command: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command as that user would."""
        result = subprocess.run(
            list(map(str, command)),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            cwd=self.home,
        )
        assert not check or result.returncode == 0, (command, result.returncode, result.stdout, result.stderr)
        return result

    def systemctl(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("systemctl", "--user", *arguments, check=check)

    def close(self) -> None:
        """End the manager and everything that it started."""
        self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(30)
        self._process.kill()
        self._process.wait(DEADLINE)
        shutil.rmtree(self.base, ignore_errors=True)
        self._turn.close()


def _prepare_for_root() -> None:
    """Where systemd did not boot the machine, make what it would have made for managers of root."""
    BOOTED.mkdir(parents=True, exist_ok=True)
    INACCESSIBLE.mkdir(exist_ok=True)
    (INACCESSIBLE / "dir").mkdir(mode=0, exist_ok=True)
    for name, kind in KINDS.items():
        with contextlib.suppress(FileExistsError, PermissionError):
            os.mknod(INACCESSIBLE / name, kind)
