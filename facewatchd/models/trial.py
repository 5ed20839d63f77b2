"""A strange pack, tried in a bounded process of its own: ``python -m facewatchd.models.trial NAME DIRECTORY``.

A pack is a program: its graphs can loop for ever, take all memory, or crash ONNX Runtime. Whoever tries one waits for
`fault`, which imports neither ONNX Runtime nor InsightFace. The process has limits on its memory, its CPU time and what
it writes, and ends with the one that started it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from facewatchd.errors import ModelError
from facewatchd.models.base import HINT
from facewatchd.text import one_line

MEMORY = 3 << 30
"""Bytes of data; antelopev2, the largest released pack, takes 1.1 GB."""
CPU_SECONDS = 60
"""The released packs load, and embed one face, in less than ten on a slow machine."""
DEADLINE = 300.0
"""Seconds in all: on a busy machine the process mostly waits."""
WRITTEN = 1 << 20
"""Bytes that a file it writes may have."""
_PACKAGES = Path(__file__).resolve().parents[2]
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def fault(name: str, directory: Path) -> ModelError | None:
    """Load a pack and embed a picture; return what is wrong with it."""
    path = os.pathsep.join(filter(None, [str(_PACKAGES), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-P", "-m", "facewatchd.models.trial", name, str(directory)]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=DEADLINE,
            check=False,
            env=os.environ | {"PYTHONPATH": path},
        )
    except subprocess.TimeoutExpired:
        return _error(name, directory, f"it was not loaded after {DEADLINE:g} s")
    except OSError as exc:
        return ModelError(f"no process can be started to try the model {name}: {exc.strerror}", "free some memory")
    if done.returncode == -signal.SIGXCPU:
        return _error(name, directory, f"it was not loaded after {CPU_SECONDS} s of work")
    if done.returncode < 0:
        return _error(
            name, directory, f"the process that tried it was ended by {signal.Signals(-done.returncode).name}"
        )
    return _answer(name, directory, done.stdout)


def _answer(name: str, directory: Path, output: bytes) -> ModelError | None:
    """Read the last line; libraries may have written before it."""
    with contextlib.suppress(ValueError, LookupError, AttributeError, TypeError):
        answer = json.loads(output.splitlines()[-1])
        if answer == {}:
            return None
        return ModelError(one_line(answer["error"], 500), one_line(answer["hint"], 500))
    return _error(name, directory, "the process that tried it did not say how it went")


def _error(name: str, directory: Path, reason: str) -> ModelError:
    return ModelError(f"the model {name} in {directory} cannot be loaded: {reason}", HINT)


def bound() -> None:
    """Take away what a pack's trial does not need, for this process and for good."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # what is too large is an error of the write
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


def main(arguments: Sequence[str]) -> int:
    """Try one pack, and say how it went in a line of JSON."""
    bound()
    name, directory = arguments
    answer: dict[str, str] = {}
    try:
        from facewatchd.config import Faces
        from facewatchd.models.insightface import InsightFaceModel

        InsightFaceModel(Path(directory), model_id=name, name=name, threshold=0.0, threads=1, faces=Faces())
    except ModelError as exc:
        answer = {"error": exc.message, "hint": exc.hint}
    except ImportError as exc:
        answer = {
            "error": f"the model {name} cannot be loaded: {one_line(exc)}",
            "hint": "install what is missing, or facewatchd again; `facewatchd doctor` says more",
        }
    except MemoryError:
        answer = {"error": f"the model {name} in {directory} takes more than {MEMORY >> 30} GiB", "hint": HINT}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
