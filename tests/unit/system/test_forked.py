"""Functions that run in a copy of the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from facewatchd.cli.run import BLAS_THREADS
from facewatchd.errors import StorageError
from facewatchd.system.forked import ForkedCopy
from tests.support.processes import until


def fail(error: Exception) -> None:
    raise error


def test_gives_what_the_function_returned_and_changes_nothing_here() -> None:
    state = {"pid": os.getpid()}

    def change() -> dict[str, object]:
        before = dict(state)
        state["pid"] = os.getpid()
        return {"before": before, "after": state, "large": "x" * 200_000}

    result = ForkedCopy(change).result()
    assert result["before"] == state == {"pid": os.getpid()}
    assert result["after"]["pid"] != os.getpid()
    assert len(result["large"]) == 200_000


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (StorageError("no room", "free some"), "no room; free some"),
        (OSError(28, "No space left on device"), r"\[Errno 28\] No space left on device; free some disk space"),
    ],
)
def test_errors_come_over(error: Exception, message: str) -> None:
    with pytest.raises(StorageError, match=f"^{message}$"):
        ForkedCopy(lambda: fail(error)).result()


def test_one_that_is_killed_is_told() -> None:
    with pytest.raises(StorageError, match="SIGKILL"):
        ForkedCopy(lambda: os.kill(os.getpid(), signal.SIGKILL)).result()


def test_one_that_is_not_wanted_any_more_is_ended() -> None:
    copy = ForkedCopy(lambda: threading.Event().wait())
    pid = copy._pid
    with pytest.raises(StorageError):
        copy.result(keep_on=lambda: False)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_it_holds_no_file_of_ours() -> None:
    ours, theirs = os.pipe()
    copy = ForkedCopy(lambda: threading.Event().wait())
    until(lambda: f"/{theirs}" not in " ".join(map(str, Path(f"/proc/{copy._pid}/fd").iterdir())))
    os.close(theirs)
    assert os.read(ours, 1) == b"", "the end of the file: nobody else can write"
    os.close(ours)
    with pytest.raises(StorageError):
        copy.result(keep_on=lambda: False)


def test_it_ends_with_the_process_that_made_it(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    parent = os.fork()
    if not parent:
        ForkedCopy(lambda: (note.write_text(str(os.getpid())), threading.Event().wait()))
        signal.pause()
    until(lambda: note.exists() and note.read_text())
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    until(lambda: not Path(f"/proc/{note.read_text()}/cmdline").exists() or _is_zombie(note.read_text()))


def test_what_multiplies_matrices_meanwhile_goes_on() -> None:
    """As the daemon sets it up: with threads of OpenBLAS, these would stand still for ever."""
    environment = {**os.environ, **dict.fromkeys(BLAS_THREADS, "1")}
    run = subprocess.run([sys.executable, "-c", MULTIPLYING], env=environment, capture_output=True, timeout=60)
    assert (run.returncode, run.stdout) == (0, b"went on\n"), run.stderr


MULTIPLYING = """
import threading
import numpy as np
from facewatchd.cli.run import BLAS_THREADS
from facewatchd.system.forked import ForkedCopy

matrix, vector = np.ones((4096, 512), np.float32), np.ones(512, np.float32)
ending = threading.Event()

def multiply():
    while not ending.is_set():
        matrix @ vector

threads = [threading.Thread(target=multiply, daemon=True) for _ in range(2)]
for thread in threads:
    thread.start()
assert [ForkedCopy(lambda: number).result() for number in range(100)] == list(range(100))
ending.set()
for thread in threads:
    thread.join(20)
print("stands still" if any(thread.is_alive() for thread in threads) else "went on")
"""


def test_the_daemon_sets_that_up_before_numpy_is_there(tmp_path: Path) -> None:
    code = "cli.main(sys.argv[1:]); print(*map(os.environ.get, cli.run.BLAS_THREADS), 'numpy' in sys.modules)"
    imports = "import os, sys; from facewatchd.cli import app as cli; "
    command = [sys.executable, "-c", imports + code, "run", "--config", str(tmp_path / "none.toml")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.stdout == "1 1 1 False\n"


def _is_zombie(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
