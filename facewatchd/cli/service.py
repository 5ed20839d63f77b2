"""``facewatchd service``: install and remove the systemd units that run the daemon."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from facewatchd.client.connection import PROBE_TIMEOUT, Connection
from facewatchd.client.status import Status
from facewatchd.console.streams import say, write
from facewatchd.errors import FacewatchError
from facewatchd.text import printable

if TYPE_CHECKING:
    import argparse

    from facewatchd.config import Config


def install(options: argparse.Namespace) -> int:
    """Find or fetch the model, then write the units for `facewatchd run` with these arguments, and the menu's entry."""
    from facewatchd import config, paths
    from facewatchd.cli import page
    from facewatchd.service import desktop, units

    if options.page:
        page.require()
    directories = tuple(Path(os.path.abspath(directory)) for directory in options.directories)
    file = Path(os.path.abspath(options.config or paths.config_path()))
    loaded = config.load(
        options.config,
        model=options.model,
        data_dir=options.data_dir,
        directories=directories or None,
        socket=Path(paths.NOWHERE),
    )
    if loaded.shared:
        _require_psycopg()
    model = _find_or_fetch_model(loaded)
    arguments = ["--data-dir", str(loaded.data_dir)]
    arguments += ["--config", str(file)] if file.exists() else []
    arguments += ["--model", model] if options.model else []
    there = os.path.exists(paths.units_path() / units.SERVICE)
    done = units.install(
        loaded,
        [*arguments, *map(str, directories)],
        gpu=options.gpu,
        source_of_config=file if file.exists() else None,
    )
    written = done.written + (desktop.install() if options.page or desktop.is_installed() else [])
    lines = [f"wrote {printable(str(path))}\n" for path in written]
    lines += [f"removed {printable(str(path))}: {why}\n" for path, why in done.removed.items()]
    write("".join(lines) or "the units are as they should be\n")
    if warning := units.warning_of_temporary_paths(loaded, [*arguments, *map(str, directories)]):
        say(f"facewatchd: {warning}")
    if device := units.closed_to(loaded.resources.device):
        say(f"facewatchd: the sandbox keeps {device} from working: call `facewatchd service install --gpu`")
    if not there and (running := _pid_outside_systemd()):  # else the request would start the service
        say(f"facewatchd: a daemon runs already (pid {running}): stop it first")
    write(f"next: {units.next_commands(loaded, done, again=there)}\n")
    return 0


def uninstall(_: argparse.Namespace) -> int:
    """Remove the units, and the menu's entry. Data and configuration stay."""
    from facewatchd.service import desktop, units

    removed = units.uninstall()
    lines = [f"removed {printable(str(path))}\n" for path in (*removed, *desktop.uninstall())]
    write("".join(lines) or "no units are installed\n")
    if removed:
        write(f"next: {units.stop_commands(removed)}\n")
    return 0


def _require_psycopg() -> None:
    """Raise `FacewatchError` where facewatch-share could not speak to the engine."""
    from importlib.util import find_spec

    from facewatchd.system import installation

    if find_spec("psycopg") is None:
        raise FacewatchError(
            "`[shared]` is configured, and psycopg is not installed", f"install it: {installation.extra('shared')}"
        )


def _find_or_fetch_model(loaded: Config) -> str:
    """Find or fetch the model as the daemon would, which has no network as a service; return the name to configure."""
    from facewatchd.console.progress import downloading
    from facewatchd.models import registry
    from facewatchd.store.data_directory import LastRun

    last = LastRun.of(loaded.data_dir)
    last.expect(loaded.directories)
    with downloading("model") as progress:
        pack = registry.choose(
            loaded.model,
            loaded.model_root,
            last.pack,
            notify=lambda line: say(f"facewatchd: {printable(line)}"),
            progress=progress,
        )
    return pack.spec


def _pid_outside_systemd() -> int:
    """The pid of a daemon that answers and was not started by systemd; 0 where there is none."""
    try:
        with Connection(None, PROBE_TIMEOUT) as daemon:
            pid = Status.of(daemon.call("status")).pid
        words = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8")
    except (FacewatchError, OSError):
        return 0
    return 0 if "/facewatchd.service" in words else pid
