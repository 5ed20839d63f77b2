"""A pack that was fetched, tried in a child process: ``python -m facewatchd.models.trial NAME DIRECTORY``.

A pack is a program: its graphs can loop for ever, take all memory, or crash ONNX Runtime. The process that calls
`fault` imports neither ONNX Runtime nor InsightFace. The child has limits on its memory, its processor time and what it
writes, and ends with the thread that started it.
"""

from __future__ import annotations

import resource
import signal
import sys
from pathlib import Path

from facewatchd.errors import FacewatchError, ModelError
from facewatchd.models.base import HINT, INCOMPLETE
from facewatchd.system import child_process
from facewatchd.system.child_process import ChildError
from facewatchd.text import one_line

MEMORY = 3 << 30
"""Bytes of data; antelopev2, the largest released pack, takes 1.1 GB."""
CPU_SECONDS = 60
"""The released packs load, and embed one face, in less than ten on a slow machine."""
DEADLINE = 300.0
"""Seconds in all; on a busy machine most of them are spent waiting for a processor."""
WRITTEN = 1 << 20
"""Bytes that a file which it writes may have."""


def fault(name: str, directory: Path) -> ModelError | None:
    """Load a pack and embed a picture in a child process; return what is wrong with the pack, if anything."""
    try:
        child_process.result_of("facewatchd.models.trial", name, str(directory), seconds=DEADLINE)
    except ChildError as exc:
        over = exc.signal == signal.SIGXCPU
        reason = f"it was not loaded after {CPU_SECONDS} s of work" if over else exc.message
        return ModelError(f"the model {name} in {directory} cannot be loaded: {reason}", HINT)
    except FacewatchError as exc:
        return ModelError(exc.message, exc.hint)
    return None


def bound() -> None:
    """Limit the calling process to what a pack's trial needs, for good."""
    child_process.end_with_parent()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit is then an error of that write
    limits = (
        (resource.RLIMIT_DATA, MEMORY),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_FSIZE, WRITTEN),
        (resource.RLIMIT_CORE, 0),
    )
    for limit, most in limits:
        _, hard = resource.getrlimit(limit)
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (least, hard))


def lift_memory_limit() -> None:
    """Take the limit on memory from the calling process: how much a graphics card's driver maps is not known."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def _load(name: str, directory: str) -> None:
    """Load the pack, which embeds a picture. Raises `ModelError`."""
    try:
        from facewatchd.config import Faces
        from facewatchd.models import backends

        backends.of(Path(directory))(Path(directory), model_id=name, name=name, threshold=0.0, threads=1, faces=Faces())
    except ImportError as exc:
        raise ModelError(f"the model {name} cannot be loaded: {one_line(exc)}", INCOMPLETE) from exc
    except MemoryError as exc:
        raise ModelError(f"the model {name} in {directory} takes more than {MEMORY >> 30} GiB", HINT) from exc


if __name__ == "__main__":
    bound()
    child_process.tell(lambda: _load(*sys.argv[1:]))
