"""``facewatchd doctor``: whether facewatchd works on this machine, and what to do where it does not.

Each check yields findings. No check changes anything, and none needs the network but those of a shared engine that is
configured; but a service whose socket is asked is started by systemd, as it is for every client. ``fail``: the daemon
cannot do its work; ``warn``: it does it worse, or later. Libraries that may crash are tried in child processes
(`hnsw_trial`, `model_trial`), and so is the daemon as a whole (`pipeline`). An exception of a check is a finding too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from facewatchd import config
from facewatchd.client.connection import Connection
from facewatchd.client.status import Status
from facewatchd.config import Config
from facewatchd.doctor import machine, model, pipeline, shared, software, unit
from facewatchd.doctor.finding import Finding, line
from facewatchd.errors import FacewatchError
from facewatchd.text import counted

__all__ = ["Finding", "examine", "line"]


def examine(path: Path | None, **flags: Any) -> Iterator[Finding]:
    """Run the checks, each when its finding is asked for. The arguments are those of `config.load`.

    Where the configuration is wrong, the other checks use the defaults and the flags.
    """
    try:
        loaded = config.load(path, needs_directories=False, **flags)
        yield Finding("configuration", "ok", _config_detail(path, loaded))
    except FacewatchError as exc:
        yield Finding("configuration", "fail", exc.message, exc.hint)
        try:
            loaded = Config(**{name: value for name, value in flags.items() if value is not None})
        except FacewatchError:  # no default place for data, models or the socket: there is nothing to check
            return
    units = list(_guarded("service", unit.check, loaded)) if "service" in _CHECKS else []  # before it is connected to
    if not loaded.directories:
        loaded = replace(loaded, directories=_watched_now(loaded.socket))
    for name, check in _CHECKS.items():
        yield from units if check is unit.check else _guarded(name, check, loaded)


def _guarded(name: str, check: Callable[[Config], Iterable[Finding]], loaded: Config) -> Iterator[Finding]:
    try:
        yield from check(loaded)
    except FacewatchError as exc:
        yield Finding(name, "fail", exc.message, exc.hint)
    except Exception as exc:  # noqa: BLE001 - a library that is broken can raise anything, and that is the finding
        yield Finding(name, "fail", f"{type(exc).__name__}: {exc}", "install facewatchd again, or report this")


def _watched_now(socket: Path) -> tuple[Path, ...]:
    """The directories of a running daemon: they may be given on its command line alone."""
    try:
        with Connection(socket, machine.SOCKET_SECONDS) as daemon:
            status = Status.of(daemon.call("status"))
    except FacewatchError:
        return ()
    return tuple(Path(os.fsdecode(root.path)) for root in status.roots)


def _config_detail(path: Path | None, loaded: Config) -> str:
    source = path or config.default_source(needed=False)
    where = str(source) if os.path.exists(source) else f"there is no {source}"
    return f"{where}, {counted(len(loaded.directories), 'directory', 'directories')}"


_CHECKS: dict[str, Callable[[Config], Iterable[Finding]]] = {
    "python": software.python,
    "packages": software.packages,
    "sqlite": software.sqlite,
    "hnswlib": software.hnswlib,
    "codecs": software.codecs,
    "model": model.check,
    "pipeline": pipeline.check,
    "directories": machine.directories,
    "inotify": machine.inotify,
    "events": machine.events,
    "socket": machine.socket,
    "data": machine.data,
    "people": machine.people,
    "shared": shared.check,
    "service": unit.check,
}
