"""Whether the installed hnswlib runs on this processor: it is tried in a child process, before the daemon imports it.

hnswlib 0.8 is compiled where it is installed, for all that the processor of that machine can do. On another processor
(a wheel from a cache, an environment or an image that moved) the first instruction that is missing ends the process
with SIGILL, at the import or in the first call. So a child, ``python -m facewatchd.store.hnsw_trial``, imports it,
builds an index and searches it. `problem` remembers in the data directory that this very build ran on this very
processor, so that a start does not wait for the child again (0.9 s on two busy cores); a failure is never remembered.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import signal
import sys
from pathlib import Path
from typing import Final

from facewatchd.errors import FacewatchError
from facewatchd.system import atomic_files, child_process, installation
from facewatchd.system.child_process import ChildError

SECONDS: Final = 120.0
"""For the child; it takes less than one on an idle machine."""
VECTORS: Final = 64
HINT: Final = (
    f"build it on this machine: `{installation.built_here('hnswlib', 'hnswlib<0.9')}`; with HNSWLIB_NO_NATIVE=1 in "
    "front of that, what is built runs on every machine of this kind, only slower"
)
_REMEMBERED: Final = "hnswlib.json"
_CPUINFO: Final = Path("/proc/cpuinfo")
_FEATURES: Final = ("model name", "flags", "Features", "CPU implementer", "CPU part")
"""What of `_CPUINFO` says which instructions a processor has, on x86_64 and aarch64."""


def problem(data_dir: Path) -> str:
    """Say why the daemon must not import hnswlib, and what to do about it; empty where hnswlib works."""
    identity = _identity()
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        if json.loads(atomic_files.read(data_dir / _REMEMBERED))["works"] == identity:
            return ""
    try:
        run()
    except FacewatchError as exc:
        return f"hnswlib cannot be used ({exc.message}), so each search compares all faces; {exc.hint}"
    with contextlib.suppress(OSError):
        atomic_files.write(data_dir / _REMEMBERED, json.dumps({"works": identity}).encode() + b"\n")
    return ""


def run(seconds: float = SECONDS) -> int:
    """Try hnswlib in a child; return how many vectors were added and found again. Raises `FacewatchError`."""
    try:
        return int(child_process.result_of("facewatchd.store.hnsw_trial", seconds=seconds))
    except ChildError as exc:
        why = ""
        if exc.signal is not None:
            why = f": {'it was built for another processor' if exc.signal == signal.SIGILL else 'its build is broken'}"
        raise FacewatchError(f"{exc.message}{why}", HINT) from exc
    except FacewatchError as exc:
        raise FacewatchError(exc.message, HINT) from exc


def _identity() -> str:
    """A digest of the build that an import would find, and of the processors of this machine."""
    spec = importlib.util.find_spec("hnswlib")
    if spec is None or spec.origin is None:
        return ""
    parts = [spec.origin, sys.version]
    with contextlib.suppress(OSError):
        status = os.stat(spec.origin)
        parts += [str(number) for number in (status.st_ino, status.st_size, status.st_mtime_ns)]
        lines = _CPUINFO.read_text(encoding="ascii", errors="replace").splitlines()
        parts += sorted({line for line in lines if line.startswith(_FEATURES)})
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


def _try() -> int:
    """Add vectors to an index, and find each of them again."""
    import numpy as np

    from facewatchd.store.graph import Graph

    directions = np.random.default_rng(0).standard_normal((VECTORS, 128)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    graph = Graph(directions.shape[1])
    graph.add(np.arange(VECTORS, dtype=np.int64), directions)
    found = sum(int(graph.nearest(direction, 1)[0][0]) == number for number, direction in enumerate(directions))
    if found < VECTORS:
        raise FacewatchError(f"of {VECTORS} vectors only {found} are found again")
    return found


if __name__ == "__main__":
    child_process.tell(_try)
