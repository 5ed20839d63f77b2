"""The daemon and its client as processes, on directories of their own, for the end-to-end tests.

Everything waits on a condition with a deadline: `until` asks again and again, and says at the end what it saw last.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pytest

from facewatchd.client.connection import Connection
from facewatchd.errors import FacewatchError
from facewatchd.store import hnsw_trial
from facewatchd.system import atomic_files
from tests.support import hooks, packs
from tests.support.paths import PROJECT

T = TypeVar("T")

DEADLINE = 60.0
"""Seconds for anything that a loaded machine with two cores does in a few."""


def until(ask: Callable[[], T], *, deadline: float = DEADLINE, every: float = 0.05) -> T:
    """Ask until the answer is true; fail with the last answer, or the last error of ours."""
    last: object = None
    pause = threading.Event()
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        try:
            answer = ask()
            if answer:
                return answer
            last = answer
        except (FacewatchError, OSError) as exc:
            last = exc
        pause.wait(every)
    raise AssertionError(f"not within {deadline:g} s; last: {last!r}")


def children(pid: int) -> list[int]:
    """The ids of the processes that threads of a process started. A thread that ends meanwhile counts for nothing."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


USUAL: dict[str, dict[str, str]] = {
    "watch": {"settle": "0.2"},
    "resources": {"idle_priority": "false"},
    "faces": {"second_look": "false"},
}
"""What the daemons of the tests are configured with, by table: not to stand behind whatever else the machine does, and
to do nothing by themselves once everything is indexed."""


def _merged(usual: Mapping[str, str], lines: str) -> str:
    """Some lines of a table in TOML, and what is usual for the keys that they leave out."""
    kept = [f"{key} = {value}" for key, value in usual.items() if key not in tomllib.loads(lines)]
    return "\n".join([*kept, lines])


class Daemon:
    """A facewatchd process. Start it with `run`; it is killed at the end of the test if it still lives."""

    def __init__(
        self,
        home: Path,
        *roots: Path,
        model: str = "opencv",
        model_root: Path | None = None,
        insightface: bool = False,
        **config: str,
    ) -> None:
        """``model``: the pack `opencv` is the one of `packs.opencv_root`, without which the test is skipped.

        ``insightface``: load the pack ``tiny`` with it, and not `drawn_model` in its place, which starts sooner.

        ``config``: further lines of the configuration, TOML text by table name ("" for the top level). They are added
        to `USUAL`, whose keys they may give another value.
        """
        self.home = home
        self.roots = roots
        self.socket = home / "run" / "socket"
        self.data = home / "data"
        self.config = home / "config.toml"
        self.hooked = home / "hook"
        home.mkdir(exist_ok=True)
        self.environment = {**os.environ, "HOME": str(home), "XDG_RUNTIME_DIR": str(home)}
        tables = {name: _merged(USUAL.get(name, {}), config.get(name, "")) for name in {"": "", **USUAL, **config}}
        lines = [f"directories = {json.dumps([str(root) for root in roots])}", f"model = {json.dumps(model)}"]
        if model == "opencv" and model_root is None:
            model_root = packs.opencv_root()
        lines += [f"model_root = {json.dumps(str(model_root))}"] if model_root else []
        lines += [tables.pop("")] + [f"[{name}]\n{text}" for name, text in tables.items()]
        self.config.write_text("\n".join(lines) + "\n")
        self.process: subprocess.Popen[bytes] | None = None
        self.log = home / "log"
        self._drawn = model == "tiny" and not insightface
        self.unhook()
        self.prefix: Sequence[str] = ()
        """What the daemon is run by: a command that takes rights away from it, say."""

    @property
    def command(self) -> list[str]:
        options = ["--config", str(self.config), "--data-dir", str(self.data), "--socket", str(self.socket)]
        return [*self.prefix, sys.executable, "-m", "facewatchd", "run", *options]

    def hook(self, code: str) -> None:
        """Have some code run first in the daemon's process ("run") and in its children ("indexing", "queries").

        Which one it is in, the words of `sys.argv` tell. A call adds to what was hooked before. What it replaces must
        be there: see `hooks`.
        """
        hooks.add(self.hooked, code)
        self.environment = {**self.environment, "PYTHONPATH": str(self.hooked)}

    def unhook(self) -> None:
        """Run without what was hooked from the next start on."""
        hooks.clear(self.hooked)
        self.environment = {name: value for name, value in self.environment.items() if name != "PYTHONPATH"}
        if self._drawn:
            self.hook(DRAWN)

    def count_embeddings(self) -> None:
        """From the next start on, note the digest of everything that is decoded for the index."""
        self.hook(_COUNTED.format(path=str(self.home / "embedded"), discarded=str(self.home / "discarded")))

    def embeddings(self) -> Counter[str]:
        """How often each content was decoded for the index, over all starts, by its digest in hexadecimal."""
        return Counter((self.home / "embedded").read_text().split())

    def discarded(self) -> int:
        """How many results were discarded because the file was written to between its digest and the decoding."""
        return (self.home / "discarded").stat().st_size

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the process, on a data directory that an earlier run made on this machine, if there is none."""
        if not self.data.exists():
            self.data.mkdir(mode=0o700)
            atomic_files.write(self.data / "hnswlib.json", _hnswlib_runs())
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, env=self.environment)
        return self.process

    def start(self) -> None:
        """Start the process and wait until it answers."""
        process = self.launch()

        def answers() -> bool:
            if process.poll() is not None:
                raise AssertionError(f"the daemon ended with {process.returncode}:\n{self.log.read_text()}")
            return bool(self.call("status"))

        until(answers)

    def call(self, method: str, timeout: float = DEADLINE, /, **params: Any) -> Any:
        """Ask the daemon over its socket, on a connection of its own."""
        with Connection(self.socket, timeout=timeout) as connection:
            return connection.call(method, **params)

    def status(self) -> dict[str, Any]:
        result: dict[str, Any] = self.call("status")
        return result

    def settle(self, deadline: float = DEADLINE) -> dict[str, Any]:
        """Wait until everything on the disk is searchable; return the status then."""

        def rests() -> dict[str, Any]:
            self.call("wait", deadline + 5, timeout=deadline)
            status = self.status()
            return status if status["state"] == "idle" else {}

        return until(rests, deadline=deadline)

    def embedded(self) -> int:
        """How many contents went through the model since the start."""
        return int(self.status()["rates"]["embedded"])

    def paths(self, photo: Path, **params: Any) -> set[Path]:
        """The photos that answer a query."""
        answer = self.call("query", photos=[{"path": str(photo)}], top=0, **{"collapse": False} | params)
        return {Path(match["path"]) for match in answer["matches"]}

    def query(self, *arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run facewatch-query."""
        return self._command("facewatchd.client.app", *arguments, **options)

    def control(self, *arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a control command of facewatchd."""
        return self._command("facewatchd", *arguments, **options)

    def _command(self, module: str, *arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        code = "import sys; from facewatchd.client.app import main; sys.exit(main())"
        start = [sys.executable, "-c", code] if module == "facewatchd.client.app" else [sys.executable, "-m", module]
        command = [*start, *map(str, arguments), "--socket", str(self.socket)]
        return subprocess.run(
            command, capture_output=True, text=True, env=self.environment, timeout=DEADLINE, check=False, **options
        )

    def children(self, purpose: str = "") -> list[int]:
        """The daemon's inference processes, all or those for a purpose: "indexing" or "queries"."""
        assert self.process is not None
        return [
            int(status.parent.name)
            for status in Path("/proc").glob("[0-9]*/stat")
            if _parent(status) == self.process.pid and is_for(purpose, status.with_name("cmdline"))
        ]

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *_: object) -> None:
        """End it whatever happened, and fail where a hook did."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        hooks.check(self.hooked)

    def stop(self) -> int:
        """Ask it to end, and return its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE)

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(DEADLINE)


@cache
def _hnswlib_runs() -> bytes:
    """What a first start remembers after it has tried hnswlib in a child, which takes it 0.15 s of a processor."""
    with tempfile.TemporaryDirectory() as directory:
        assert hnsw_trial.problem(Path(directory)) == ""
        (remembered,) = Path(directory).iterdir()
        return remembered.read_bytes()


def _parent(status: Path) -> int:
    try:
        return int(status.read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def is_for(purpose: str, command_line: Path) -> bool:
    """Whether a word of a command line, which is a file in /proc, is the purpose; any will do for an empty one."""
    try:
        words = command_line.read_text().split("\0")
    except OSError:
        return False
    return not purpose or purpose in words


DRAWN = f"""
import sys
if {{"indexing", "queries"}} & set(sys.argv):
    sys.path.append({str(PROJECT)!r})
    from tests.support import drawn_model
    sys.path.remove({str(PROJECT)!r})
    drawn_model.replace_insightface()
"""
"""A hook that has the processes that look at photos see drawn faces without InsightFace: see `drawn_model`."""

_COUNTED = """
import sys
if "indexing" in sys.argv:
    import hashlib, os, threading
    from facewatchd.photos import decode as photos
    def counted(file, decode=photos.decode, log=os.open({path!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)):
        if threading.current_thread() is not threading.main_thread():  # which tries the decoders before the first photo
            file.seek(0)
            os.write(log, hashlib.blake2b(file.read(), digest_size=32).hexdigest().encode() + b"\\n")
        return decode(file)
    photos.decode = counted
if "run" in sys.argv:
    import os
    os.close(os.open({path!r}, os.O_WRONLY | os.O_CREAT))  # also where nothing is ever decoded
    from facewatchd.photos.contents import Content
    from facewatchd.photos.files import ChangedWhileReadError
    def confirmed(content, confirm=Content.confirm, log=os.open({discarded!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)):
        try:
            confirm(content)
        except ChangedWhileReadError:
            os.write(log, b".")
            raise
    Content.confirm = confirmed
"""


@contextlib.contextmanager
def small_disk(path: Path) -> Iterator[Path]:
    """Mount a file system of 16 MB; skip the test where that is not allowed."""
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(path)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small file system needs rights that this user has not")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass
