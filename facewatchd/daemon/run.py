"""One run of the daemon: from the lock on its data directory to the exit status."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable

from facewatchd.config import Config
from facewatchd.console import logs
from facewatchd.console.progress import downloading
from facewatchd.console.streams import STDERR
from facewatchd.daemon.app import Daemon
from facewatchd.daemon.supervisor import Supervisor
from facewatchd.errors import FacewatchError
from facewatchd.models import registry
from facewatchd.store.data_directory import LastRun, locked, told_of_removed_model
from facewatchd.system import malloc
from facewatchd.system.signals import Signals
from facewatchd.system.systemd import ServiceManager
from facewatchd.text import printable

log = logging.getLogger(__name__)


def run(config: Config, reread: Callable[[], Config], *, verbosity: int = 0) -> int:
    """Run until SIGTERM or SIGINT; return the exit status. ``verbosity``: -1 warnings, 0 information, 1 everything.

    ``reread`` loads the configuration again, as it was loaded.
    """
    os.umask(0o077)  # else other users could read the daemon's files
    sys.stderr = sys.stderr or open(STDERR, "w", closefd=False)  # noqa: SIM115 - it is there as long as the process
    malloc.return_freed_memory()
    logs.to_stderr({-1: logging.WARNING, 0: logging.INFO}.get(verbosity, logging.DEBUG))
    threading.excepthook = _thread_died
    try:
        manager = ServiceManager()
        with locked(config.data_dir):
            return _run(config, reread, manager, show_progress=verbosity >= 0 and sys.stderr.isatty())
    except FacewatchError as exc:
        log.error("%s", printable(str(exc)))
        return exc.exit_status


def _run(config: Config, reread: Callable[[], Config], manager: ServiceManager, *, show_progress: bool) -> int:
    last = LastRun.of(config.data_dir)
    last.expect(config.directories)
    # To fetch and load may take minutes: until the model is there, Ctrl-C and SIGTERM end the process at once.
    pack = _choose_pack(config, last)
    if last.pack == registry.REMOVED:
        log.warning("%s", told_of_removed_model(config.data_dir, registry.REMOVED, pack.name))
    os.chdir("/")  # every path is absolute by now, and the disk of the working directory can be unmounted
    daemon = Daemon(config, pack, reread, manager.listener)
    with Signals.kept() as signals:
        try:
            daemon.start()
            daemon.remember()
            manager.ready()
            return Supervisor(daemon, daemon.monitor, manager, signals, show_progress=show_progress).run()
        finally:
            daemon.stop()


def _choose_pack(config: Config, last: LastRun) -> registry.Pack:
    with downloading("model") as progress:
        return registry.choose(config.model, config.model_root, last.pack, notify=log.warning, progress=progress)


def _thread_died(args: threading.ExceptHookArgs) -> None:
    """Log the traceback, once. The supervisor then ends the daemon, with one line (`Monitor.ended`)."""
    name = args.thread.name if args.thread else "a thread"
    log.error("%s died; this is a bug:", name, exc_info=args.exc_value)
