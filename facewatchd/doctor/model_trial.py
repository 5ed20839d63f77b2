"""The installed model, tried in a child process: ``python -m facewatchd.doctor.model_trial DIRECTORY DEVICE``.

A library that computes may be compiled for another processor and crash; the caller of `run` is told so.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from facewatchd.system import child_process

if TYPE_CHECKING:
    from facewatchd.models.registry import Pack

DEADLINE = 420.0
"""Seconds; a model loads in a few, but a device other than the processor may take `device_trial.DEADLINE`."""


def run(pack: Pack, device: str) -> dict[str, Any]:
    """Load a model, and show it a photo of six people: what `_try` returns. Raises `FacewatchError`."""
    result = child_process.result_of("facewatchd.doctor.model_trial", pack.spec, device, seconds=DEADLINE)
    assert isinstance(result, dict)
    return result


def _try(spec: str, device: str) -> dict[str, Any]:
    """Load an installed model, decode InsightFace's group photo of six people, and find their faces."""
    from facewatchd.config import Faces
    from facewatchd.models import device_trial, reference, registry, trial
    from facewatchd.photos import decode

    pack = registry.at(spec)
    placement = device_trial.placement(pack, device, pack.devices())
    if not placement.cards:
        trial.bound()
    started = time.monotonic()
    model = pack.load(1, Faces(), placement)
    loaded = time.monotonic()
    with reference.photo().open("rb") as file:
        faces = model.faces(decode.decode(file))
    similarities = [float(one.embedding @ other.embedding) for one in faces for other in faces if one is not other]
    return {
        "faces": len(faces),
        "placement": asdict(placement),
        "dim": model.info.dim,
        "threshold": model.info.threshold,
        "closest": max(similarities, default=-1.0),
        "load_s": loaded - started,
        "faces_s": time.monotonic() - loaded,
    }


if __name__ == "__main__":
    child_process.tell(lambda: _try(*sys.argv[1:]))
