"""``facewatchd models``: list the model packs, and fetch one to this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from facewatchd.client import status
from facewatchd.client.connection import PROBE_TIMEOUT, Connection
from facewatchd.console.output import table
from facewatchd.console.streams import say, takes_colour, write
from facewatchd.errors import FacewatchError
from facewatchd.text import printable

if TYPE_CHECKING:
    import argparse

    from facewatchd.models.registry import Listed


def list_models(options: argparse.Namespace) -> int:
    """Print the packs that can be chosen, and which of them the running daemon uses."""
    from facewatchd.models import registry

    used = _model_in_use(options.socket)
    rows = [_model_row(pack, used) for pack in registry.list_packs(_model_root(options.config))]
    heading = ("MODEL", "", "DIM", "THRESHOLD", "SIZE", "LICENCE", "WHERE")
    write(table(heading, rows, colour=takes_colour(sys.stdout)))
    return 0


def _model_row(pack: Listed, used: str) -> tuple[str, ...]:
    from facewatchd.models import registry

    return (
        printable(pack.name),
        "in use" if pack.name == used else "",
        "?" if pack.dim is None else str(pack.dim),
        f"{pack.threshold:.2f}",
        "-" if pack.size is None else f"{pack.size / 1e6:.0f} MB",
        registry.licence(pack.name),
        printable(pack.where),
    )


def _model_root(file: Path | None) -> Path:
    from facewatchd import config, paths

    unused = Path(paths.NOWHERE)
    return config.load(file, needs_directories=False, data_dir=unused, socket=unused).model_root


def _model_in_use(socket: Path | None) -> str:
    """The name of the running daemon's model, or an empty string. ``socket`` None: the default."""
    try:
        with Connection(socket, PROBE_TIMEOUT) as daemon:
            return status.Status.of(daemon.call("status")).model
    except FacewatchError:
        return ""


def fetch_model(options: argparse.Namespace) -> int:
    """Fetch a model to this machine; print its name and directory."""
    from facewatchd.console.progress import downloading
    from facewatchd.models import registry

    root = _model_root(options.config)
    with downloading(options.source) as progress:
        pack = registry.fetch(
            options.source, root, notify=lambda line: say(f"facewatchd: {printable(line)}"), progress=progress
        )
    write(f"{printable(pack.name)}\t{printable(str(pack.directory or 'installed'))}\n")
    return 0
