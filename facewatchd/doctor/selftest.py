"""The libraries that compute, tried out in a process of their own.

``python -m facewatchd.doctor.selftest index|model ...`` runs one.

hnswlib is compiled for the processor that it was installed on, and dies on an older one; so may others. `run` starts
such a process and tells how it ended; the process itself writes one JSON object to its standard output.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from facewatchd.errors import FacewatchError, ModelError

DEADLINE = 120.0
"""Seconds; a model loads in a few."""
PYTHON = (sys.executable, "-P", "-m")
"""What a module of ours is run by, wherever this is run."""
_PACKAGES = Path(__file__).resolve().parents[2]


class CrashError(FacewatchError):
    """The process was ended by a signal, which ``signal_name`` names."""

    def __init__(self, message: str, signal_name: str) -> None:
        super().__init__(message)
        self.signal_name = signal_name


def environment() -> dict[str, str]:
    """Return what goes with `PYTHON`: this facewatchd is found first."""
    path = os.pathsep.join(filter(None, [str(_PACKAGES), os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": path}


def run(*arguments: str, deadline: float = DEADLINE) -> dict[str, Any]:
    """Run a test in a process of its own and return its result.

    Raises `CrashError`, and `FacewatchError` with what the test raised.
    """
    try:
        done = subprocess.run(
            [*PYTHON, "facewatchd.doctor.selftest", *arguments],
            capture_output=True,
            text=True,
            timeout=deadline,
            check=False,
            env=environment(),
        )
    except subprocess.TimeoutExpired as exc:
        raise FacewatchError(f"it did not end within {deadline:g} s") from exc
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise CrashError(f"the process that tried it was ended by {name}", name)
    try:
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError) as exc:
        last = done.stderr.splitlines()[-1:] or ["it said nothing"]
        raise FacewatchError(last[0]) from exc
    if "error" in result:
        raise FacewatchError(result["error"], result["hint"])
    return result


def main(argv: Sequence[str]) -> int:
    """Run the test that is named, in this process."""
    try:
        result = _index() if argv[0] == "index" else _model(argv[1], Path(argv[2]))
    except FacewatchError as exc:
        result = {"error": exc.message, "hint": exc.hint}
    except ImportError as exc:
        result = {"error": str(exc), "hint": "install facewatchd again"}
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


def _index() -> dict[str, object]:
    """Add vectors to an index and find each of them again."""
    import numpy as np

    from facewatchd.store.graph import Graph

    directions = np.random.default_rng(0).standard_normal((64, 128)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    vectors = Graph(128)
    vectors.add(np.arange(64, dtype=np.int64), directions)
    found = sum(int(vectors.nearest(direction, 1)[0][0]) == number for number, direction in enumerate(directions))
    if found < len(directions):
        raise FacewatchError(f"of {len(directions)} vectors only {found} are found again")
    return {"vectors": len(directions)}


def _model(spec: str, model_root: Path) -> dict[str, object]:
    """Load an installed model and show it InsightFace's group photo of six people, whole way from the file."""
    from facewatchd.config import Faces
    from facewatchd.models import registry, trial
    from facewatchd.photos import files

    pack = registry.find(spec, model_root)
    if pack is None:
        raise ModelError(f"there is no model {spec}")
    trial.bound()
    started = time.monotonic()
    model = pack.load(1, Faces())
    loaded = time.monotonic()
    with photo().open("rb") as file:
        faces = model.faces(files.decode(file))
    similarities = [float(one.embedding @ other.embedding) for one in faces for other in faces if one is not other]
    return {
        "faces": len(faces),
        "dim": model.info.dim,
        "threshold": model.info.threshold,
        "closest": max(similarities, default=-1.0),
        "load_s": loaded - started,
        "faces_s": time.monotonic() - loaded,
    }


def photo() -> Path:
    """Return InsightFace's group photo, found without importing InsightFace."""
    spec = importlib.util.find_spec("insightface")
    if spec is None or not spec.submodule_search_locations:
        raise ModelError("the package insightface is not installed", "install facewatchd again")
    return Path(spec.submodule_search_locations[0], "data", "images", "t1.jpg")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
