"""Machines of the tests: each a daemon and a facewatch-share with a home of their own, before one shared engine."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from facewatchd.api.outbox import Sending
from facewatchd.api.parameters import METHODS
from facewatchd.client.connection import Connection
from facewatchd.indexing.writer import Writer
from facewatchd.paths import share_path
from facewatchd.server import jsonrpc
from facewatchd.server.listener import Server
from facewatchd.server.params import read
from facewatchd.store.catalog import Catalog, Outcome
from facewatchd.store.data_directory import machine_id
from facewatchd.store.gallery import Gallery
from facewatchd.store.hnsw import HnswIndex
from facewatchd.threads.liveness import Liveness
from facewatchd.values import ModelInfo
from tests.support import engine_invariant, hooks
from tests.support.albums import shoot
from tests.support.engine_server import Database
from tests.support.galleries import DIM, photo, unit
from tests.support.processes import DEADLINE, Daemon, until

INFO = ModelInfo("test-00000000", "test", DIM, 0.4)
"""Of the catalogs of a `PreparedMachine`."""

PAUSED = """
import sys
if "run" in sys.argv:
    from facewatchd.scan.work_queue import WorkQueue
    class Paused(WorkQueue):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.pause()
    import facewatchd.daemon.app as app
    app.WorkQueue = Paused
"""
"""A hook that has indexing begin when it is resumed, so that the engine can be asked by then."""


class Share:
    """A facewatch-share before the daemon of a socket. `data` is the daemon's data directory."""

    def __init__(self, name: str, home: Path, config: Path, socket: Path, data: Path) -> None:
        self.name = name
        self.config = config
        self.data = data
        self.log = home / "share log"
        self.process: subprocess.Popen[bytes] | None = None
        self._hooked = home / "share hook"
        self._daemon_socket = socket
        self.environment = {**os.environ, "HOME": str(home), "XDG_RUNTIME_DIR": str(home)}

    @property
    def command(self) -> list[str]:
        code = "import sys; from facewatchd.shared.app import main; sys.exit(main())"
        options = ["--config", str(self.config), "--socket", str(self._daemon_socket)]
        return [sys.executable, "-c", code, *options]

    def hook(self, code: str) -> None:
        """Have some code run first in facewatch-share, from the next start on: see `hooks`."""
        hooks.add(self._hooked, code)
        self.environment |= {"PYTHONPATH": str(self._hooked)}

    def launch_share(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, env=self.environment)
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
        with Connection(share_path(self._daemon_socket), timeout=timeout) as connection:
            return connection.call(method, **params)

    def status(self) -> dict[str, Any]:
        """How facewatch-share says that things stand."""
        result: dict[str, Any] = self.call("status")
        return result

    def reach(self, state: str) -> dict[str, Any]:
        """Wait until facewatch-share says that things stand so, and return what it says."""
        return until(lambda: status if (status := self.status())["state"] == state else {})

    def settle(self) -> None:
        """Wait until everything in the catalog is in the engine."""
        until(lambda: engine_invariant.outbox_is_empty(engine_invariant.catalog_of(self.data)))

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

    def logged(self) -> str:
        """What it wrote."""
        return self.log.read_text() if self.log.exists() else ""

    def close(self) -> None:
        """End it whatever happened, and fail where a hook did."""
        if self.process is not None and self.process.poll() is None:
            self.kill_share()
        hooks.check(self._hooked)


class Machine(Share):
    """A daemon and its facewatch-share. Use it in a ``with`` block; `start` starts both processes."""

    def __init__(
        self, home: Path, url: str, *roots: Path, name: str, model_root: Path, shared: str = "", **config: str
    ) -> None:
        """``shared``: further lines of the table ``[shared]``; ``config``: those of others, as of `Daemon`."""
        lines = _table(url, name, shared)
        self.daemon = Daemon(home, *roots, model="tiny", model_root=model_root, shared=lines, **config)
        super().__init__(name, home, self.daemon.config, self.daemon.socket, self.daemon.data)

    def start(self) -> None:
        self.daemon.start()
        self.start_share()

    def settle(self) -> None:
        """Wait until everything on the disk is in the catalog, and everything in the catalog in the engine."""
        self.daemon.settle()
        super().settle()

    def stop(self) -> None:
        """Ask both processes to end, and insist that they do so in order."""
        assert self.stop_share() == 0, self.logged()
        assert self.daemon.stop() == 0, self.logged()

    def copy_data(self, to: Path) -> Path:
        """Copy the data directory of a daemon that does not run."""
        shutil.copytree(self.data, to)
        return to

    def logged(self) -> str:
        """What both processes wrote."""
        return super().logged() + self.daemon.log.read_text()

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self.daemon.__exit__()


class PreparedCatalog:
    """A data directory with a catalog that `record` writes to, and the daemon's methods of the outbox."""

    def __init__(self, data: Path) -> None:
        directory = data / INFO.id
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._catalog = Catalog(directory / "catalog.sqlite3", INFO.id, INFO.dim, sends=True)
        self._gallery = Gallery(self._catalog, HnswIndex(self._catalog, directory))
        self._writer = Writer(self._gallery, Liveness())
        self.sending = Sending(self._catalog, self._writer, INFO, machine_id(data), lambda: 0, lambda: True)
        self._writer.start()

    def record(self, outcomes: Iterable[Outcome]) -> None:
        """Write what workers found about some paths, as `galleries.photo` makes it."""
        self._writer.call(lambda _: self._gallery.record(list(outcomes)))

    def close(self) -> None:
        self.sending.close()
        self._writer.stop()
        self._catalog.close()


class PreparedMachine(Share):
    """A machine without photos: a `PreparedCatalog` that answers on a socket, and a facewatch-share.

    A daemon takes seconds to start; this takes hundredths.
    """

    def __init__(self, home: Path, url: str, *, name: str) -> None:
        home.mkdir()
        config, socket, data = home / "config.toml", home / "socket", home / "data"
        config.write_text(f"directories = [{json.dumps(str(home))}]\n[shared]\n{_table(url, name)}\n")
        super().__init__(name, home, config, socket, data)
        self._catalog = PreparedCatalog(data)
        self._steps = itertools.count()
        self.record = self._catalog.record
        self._listener = Server(socket, lambda line: jsonrpc.answer(line, self._answer))
        self._listener.start()

    def change(self) -> None:
        """Three photos come, and of three that were there one goes, one is renamed and one gets other bytes."""
        step = next(self._steps)
        gone, renamed, rewritten = (b"/photos/%d/%d.jpg" % (step - 1, number) for number in range(3))
        came = [_prepared(b"/photos/%d/%d.jpg" % (step, number), 4 * step + number) for number in range(3)]
        if step:
            came += [Outcome(gone, None), Outcome(renamed, None)]
            came += [_prepared(renamed + b".moved.jpg", 4 * step - 3), _prepared(rewritten, 4 * step + 3)]
        self.record(came)

    def _answer(self, method: str, params: Mapping[str, object]) -> object:
        return getattr(self._catalog.sending, method)(read(METHODS[method].parameters, params))

    def __enter__(self) -> PreparedMachine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._catalog.sending.close()
        self._listener.stop()
        self._catalog.close()


def _prepared(path: bytes, content: int) -> Outcome:
    """A photo of a content with two faces, which the number tells."""
    digest = hashlib.blake2b(b"%d" % content, digest_size=32).digest()
    return photo(path, digest, unit(np.random.default_rng(content).normal(size=(2, DIM))), inode=content + 1)


def _table(url: str, name: str, lines: str = "") -> str:
    return f"url = {json.dumps(url)}\nname = {json.dumps(name)}\n{lines}"


def check_soon(database: Database, *machines: Share) -> None:
    """Wait until `check` holds: for what facewatch-share notices by itself, and after a reload."""

    def holds() -> bool:
        try:
            check(database, *machines)
        except AssertionError as exc:
            failed.append(exc)
            return False
        return True

    failed: list[AssertionError] = []
    try:
        until(holds)
    except AssertionError as exc:
        raise (failed or [exc])[-1] from None


def check(database: Database, *machines: Share, switched_off: Mapping[str, Path] = MappingProxyType({})) -> None:
    """Wait until all machines are settled; then the engine has what their catalogs say, and no others.

    ``switched_off``: the data directories, by name, of machines that the engine knows and that do not run.
    """
    for machine in machines:
        machine.settle()
    data = {each.name: each.data for each in machines} | dict(switched_off)
    engine_invariant.check(database, list(data.values()), list(data))
    for machine in machines:
        assert "Traceback" not in machine.logged(), machine.logged()
        assert "psycopg" not in machine.logged(), machine.logged()
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
