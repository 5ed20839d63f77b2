"""``facewatchd run``: the daemon in the foreground."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables from which numpy's linear algebra takes its number of threads when it is imported.

More than one would come on top of the configured threads, and OpenBLAS's threads do not survive a fork
(`system.forked`): a search that one of them works on would never end.
"""


def run(options: argparse.Namespace) -> int:
    """Run the daemon until a signal ends it; return its exit status."""
    os.environ.update(dict.fromkeys(BLAS_THREADS, "1"))
    from facewatchd import config

    # Absolute, because the daemon leaves this directory and may be told to read the configuration again.
    file, data_dir, socket = map(_absolute, (options.config, options.data_dir, options.socket))
    directories = tuple(map(Path, map(os.path.abspath, options.directories))) or None

    def load() -> config.Config:
        return config.load(file, model=options.model, data_dir=data_dir, socket=socket, directories=directories)

    loaded = load()
    from facewatchd.daemon import run as daemon

    return daemon.run(loaded, load, verbosity=options.verbosity)


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else Path(os.path.abspath(path))
