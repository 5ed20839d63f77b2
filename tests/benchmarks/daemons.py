"""A facewatchd process to measure, on directories of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from facewatchd.client.connection import Connection
from facewatchd.errors import FacewatchError
from facewatchd.models import registry

PATIENCE = 3600.0


class Daemon:
    """`running` starts one. ``pid`` is the process; its inference processes are its children."""

    module = "facewatchd"

    def __init__(self, home: Path, roots: list[Path], pack: registry.Pack, **config: str) -> None:
        """``config``: lines of the configuration by table name, as ``resources="threads = 1"``."""
        self.home = home
        self.socket = home / "socket"
        home.mkdir(parents=True, exist_ok=True)
        self._config = home / "config.toml"
        lines = [f"directories = {json.dumps([str(root) for root in roots])}", f"model = {json.dumps(pack.spec)}"]
        config = {"faces": "second_look = false"} | config  # what a benchmark measures begins when all is indexed
        lines += [f"[{table}]\n{text}" for table, text in config.items()]
        self._config.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it; it answers some time later."""
        places = ["--config", self._config, "--data-dir", self.home / "data", "--socket", self.socket]
        command = [sys.executable, "-m", self.module, "run", *map(str, places)]
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def call(self, method: str, **params: Any) -> Any:
        with Connection(self.socket, timeout=PATIENCE) as connection:
            return connection.call(method, **params)

    def until(self, holds: Callable[[dict[str, Any]], object], every: float = 0.02) -> float:
        """Wait until a status is so; return the moment at which it was seen (`time.perf_counter`)."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if self._process is None or self._process.poll() is not None:
                raise SystemExit(f"the daemon ended:\n{(self.home / 'log').read_text()}")
            try:
                if holds(self.call("status")):
                    return time.perf_counter()
            except (FacewatchError, OSError):
                pass  # not listening yet
            time.sleep(every)
        raise SystemExit("the daemon takes too long")


@contextmanager
def running(home: Path, roots: list[Path], pack: registry.Pack, **config: str) -> Iterator[Daemon]:
    """Start a daemon and wait until it answers; stop it at the end."""
    daemon = Daemon(home, roots, pack, **config)
    daemon.start()
    try:
        daemon.until(lambda status: True)
        yield daemon
    finally:
        daemon.stop()


def resident(pid: int = 0) -> int:
    """Bytes of memory of a process, by default of this one."""
    return int(Path(f"/proc/{pid or os.getpid()}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
