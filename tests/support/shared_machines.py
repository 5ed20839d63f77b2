"""Machines of the tests: each a daemon and a facewatch-share with a home of their own, before one shared engine."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from facewatchd.client.connection import Connection
from tests.support import engine_invariant, hooks
from tests.support.albums import shoot
from tests.support.engine_server import Database
from tests.support.processes import DEADLINE, Daemon, until


class Machine:
    """Use it in a ``with`` block; `start` starts both processes."""

    def __init__(
        self, home: Path, url: str, *roots: Path, name: str, model_root: Path, shared: str = "", **config: str
    ) -> None:
        """``shared``: further lines of the table ``[shared]``; ``config``: those of others, as of `Daemon`."""
        self.name = name
        lines = f"url = {json.dumps(url)}\nname = {json.dumps(name)}\n{shared}"
        self.daemon = Daemon(home, *roots, model="tiny", model_root=model_root, shared=lines, **config)
        self.socket = self.daemon.socket.with_name(f"{self.daemon.socket.name}.share")
        self.log = home / "share log"
        self.hooked = home / "share hook"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.daemon.data

    @property
    def command(self) -> list[str]:
        code = "import sys; from facewatchd.shared.app import main; sys.exit(main())"
        options = ["--config", str(self.daemon.config), "--socket", str(self.daemon.socket)]
        return [sys.executable, "-c", code, *options]

    def hook(self, code: str) -> None:
        """Have some code run first in facewatch-share, from the next start on: see `hooks`."""
        hooks.add(self.hooked, code)

    def unhook(self) -> None:
        hooks.clear(self.hooked)

    def start(self) -> None:
        self.daemon.start()
        self.start_share()

    def launch_share(self) -> subprocess.Popen[bytes]:
        environment = {**self.daemon.environment}
        environment.pop("PYTHONPATH", None)
        if self.hooked.exists():
            environment["PYTHONPATH"] = str(self.hooked)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, env=environment)
        return self.process

    def start_share(self) -> None:
        """Start facewatch-share, and wait until it answers on its socket."""
        process = self.launch_share()

        def answers() -> bool:
            if process.poll() is not None:
                raise AssertionError(f"facewatch-share ended with {process.returncode}:\n{self.log.read_text()}")
            return bool(self.status())

        until(answers)

    def call(self, method: str, timeout: float = DEADLINE, /, **params: Any) -> Any:
        """Ask facewatch-share."""
        with Connection(self.socket, timeout=timeout) as connection:
            return connection.call(method, **params)

    def status(self) -> dict[str, Any]:
        """How facewatch-share says that things stand."""
        result: dict[str, Any] = self.call("status")
        return result

    def settle(self) -> None:
        """Wait until everything on the disk is in the catalog, and everything in the catalog in the engine."""
        self.daemon.settle()
        until(lambda: engine_invariant.outbox_is_empty(engine_invariant.catalog_of(self.data)))

    def reach(self, state: str) -> dict[str, Any]:
        """Wait until facewatch-share says that things stand so, and return what it says."""
        return until(lambda: status if (status := self.status())["state"] == state else {})

    def kill_share(self) -> None:
        """End facewatch-share as a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(DEADLINE)

    def stop_share(self) -> int:
        """Ask facewatch-share to end, and return its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE)

    def stop(self) -> None:
        """Ask both processes to end, and insist that they do so in order."""
        assert self.stop_share() == 0, self.log.read_text()
        assert self.daemon.stop() == 0, self.daemon.log.read_text()

    def copy_data(self, to: Path) -> Path:
        """Copy the data directory of a daemon that does not run."""
        shutil.copytree(self.data, to)
        return to

    def logged(self) -> str:
        """What both processes wrote."""
        return self.log.read_text() + self.daemon.log.read_text()

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill_share()
        self.daemon.__exit__()
        hooks.check(self.hooked)


def check(database: Database, *machines: Machine, switched_off: Mapping[str, Path] = MappingProxyType({})) -> None:
    """Wait until all machines are settled; then the engine has what their catalogs say, and no others.

    ``switched_off``: the data directories, by name, of machines that the engine knows and that do not run.
    """
    for machine in machines:
        machine.settle()
    data = {each.name: each.data for each in machines} | dict(switched_off)
    engine_invariant.check(database, list(data.values()), list(data))
    for machine in machines:
        assert "Traceback" not in machine.logged(), machine.logged()
        assert database.password not in machine.logged()


class Photos:
    """A directory of photos that is changed in every way at once: `change`."""

    def __init__(self, root: Path, count: int = 6, first_seed: int = 0) -> None:
        self.root = root
        self._seed = first_seed
        self._kept = [self._shoot() for _ in range(count)]

    def _shoot(self, path: Path | None = None) -> Path:
        self._seed += 1
        persons = [1 + self._seed % 10, 1 + (self._seed + 4) % 10]
        return shoot(path or self.root / f"{self._seed:04d}.jpg", persons, self._seed)

    def add(self, count: int = 1) -> None:
        self._kept += [self._shoot() for _ in range(count)]

    def change(self) -> None:
        """One photo comes, one goes, one is renamed, one is copied, and one gets other bytes."""
        gone, renamed, copied, rewritten, *_ = self._kept
        gone.unlink()
        moved = renamed.rename(renamed.with_name(f"moved {self._seed}.jpg"))
        copy = Path(shutil.copy(copied, self.root / f"copy {self._seed}.jpg"))
        self._shoot(rewritten)
        self._kept = [*self._kept[4:], copied, rewritten, moved, copy]
        self.add()
