"""Which device computes a model, tried in a child process: ``python -m facewatchd.models.device_trial NAME DIRECTORY``.

A driver may crash or hang, and a process that has opened a graphics card cannot be confined any more. So each device is
tried in a process of its own (`sessions.placed`), once a start of the daemon, and the processes that look at photos are
told the result.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict

from facewatchd.config import AUTO_DEVICE, CPU, Faces
from facewatchd.errors import FacewatchError, ModelError
from facewatchd.models import registry, trial
from facewatchd.models.devices import DEVICES, Placement, to_install
from facewatchd.models.registry import Pack
from facewatchd.system import child_process
from facewatchd.system.child_process import ChildError

DEADLINE = 300.0
"""Seconds for one device; the first start of a graphics card's libraries takes some ten."""


def placement(pack: Pack, wanted: str, offered: Sequence[str]) -> Placement:
    """Decide which device computes each part of a pack.

    ``wanted``: a value of the key ``device``; ``offered``: what `Pack.devices` returns. Where `AUTO_DEVICE` finds no
    device the processor computes, and the placement says why. Raises `ModelError` where one that was named cannot be
    used.
    """
    if wanted == CPU:
        return Placement()
    if wanted != AUTO_DEVICE:
        if wanted not in offered:
            provider = DEVICES[wanted].provider
            raise _unusable(pack, wanted, f"the installed ONNX Runtime has no {provider}", to_install(wanted))
        return _tried(pack, wanted)
    failures = []
    for name in offered:
        try:
            return _tried(pack, name)
        except ModelError as exc:
            failures.append(str(exc))
    return Placement(reason="; ".join(failures))


def _tried(pack: Pack, name: str) -> Placement:
    """Try one device in a child process. Raises `ModelError`."""
    try:
        answer = child_process.result_of("facewatchd.models.device_trial", name, pack.spec, seconds=DEADLINE)
        return Placement(**answer)
    except ChildError as exc:
        raise _unusable(pack, name, exc.message, "set another `device`") from exc
    except FacewatchError as exc:
        raise _unusable(pack, name, exc.message, exc.hint) from exc


def _unusable(pack: Pack, name: str, reason: str, hint: str) -> ModelError:
    return ModelError(f"the model {pack.name} cannot be computed on {name}: {reason}", hint)


def _place(name: str, spec: str) -> dict[str, str]:
    from facewatchd.models import sessions

    if DEVICES[name].is_card:
        child_process.end_with_parent()
        trial.lift_memory_limit()  # the parent has one
    else:
        trial.bound()
    return asdict(sessions.placed(name, registry.at(spec).load(1, Faces()).parts(), 1))


if __name__ == "__main__":
    child_process.tell(lambda: _place(*sys.argv[1:]))
