"""``facewatch-share``: the process that alone pushes to the shared engine and asks it.

It is a client of the daemon's socket, from which it takes what is to be sent, and listens on a socket of its own beside
that one, on which the daemon asks. It reads the configuration, and neither photos nor the data directory.

SIGHUP has the configuration read again, and everything connected anew; on a terminal it ends the process, as SIGTERM
and SIGINT do. Exit status: 0 ended by a signal, or `[shared]` was taken out of the configuration; 1 failed; 2 wrong
usage or configuration; 3 another facewatch-share runs beside this daemon.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from facewatchd import __version__, config, paths
from facewatchd.console import logs
from facewatchd.console.arguments import HelpFormatter, Parser, parse
from facewatchd.console.streams import STDERR, open_standard_streams, say
from facewatchd.errors import FacewatchError, LockedError, UsageError
from facewatchd.server import jsonrpc
from facewatchd.server.listener import Server
from facewatchd.shared import credentials
from facewatchd.shared.engine import Engine
from facewatchd.shared.maintenance import Maintenance
from facewatchd.shared.methods import Methods
from facewatchd.shared.outbox import DaemonOutbox
from facewatchd.shared.pool import Identity, Pool
from facewatchd.shared.sender import Sender
from facewatchd.shared.wire import LinkStatus, State
from facewatchd.system import installation
from facewatchd.system.signals import Signals
from facewatchd.system.systemd import ServiceManager
from facewatchd.text import printable

log = logging.getLogger("facewatchd.shared.app")  # also where it is run as `__main__`

PROG: Final = "facewatch-share"
TICK: Final = 15.0
"""Seconds between two looks at the threads."""

_EPILOG = """\
exit status: 0 ended by a signal, 1 failed, 2 wrong usage or configuration, 3 another facewatch-share runs beside this
daemon
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run until a signal ends it; return the exit status."""
    open_standard_streams()
    try:
        options = parse(make_parser(), sys.argv[1:] if argv is None else argv)
        file, socket = _absolute(options.config), _absolute(options.socket)

        def load() -> config.Config:
            nowhere = Path(paths.NOWHERE)
            return config.load(file, needs_directories=False, socket=socket, data_dir=nowhere)

        return run(load, verbosity=options.verbosity)
    except FacewatchError as error:
        say(f"{PROG}: {printable(str(error))}")
        return error.exit_status


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else Path(os.path.abspath(path))


def make_parser() -> Parser:
    """Return the parser of the command line."""
    parser = Parser(
        prog=PROG,
        description="Send this machine's faces to the shared engine, and ask it for those of other machines.",
        epilog=_EPILOG,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("--config", metavar="FILE", type=Path, help="the configuration file, see facewatchd.toml(5)")
    parser.add_argument("--socket", metavar="PATH", type=Path, help="the daemon's socket; its own is made beside it")
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("-v", "--verbose", action="store_const", const=1, dest="verbosity", default=0, help="log more")
    amount.add_argument(
        "-q", "--quiet", action="store_const", const=-1, dest="verbosity", help="log warnings and errors only"
    )
    return parser


def run(load: Callable[[], config.Config], *, verbosity: int = 0) -> int:
    """Run with the configuration that ``load`` reads, again at SIGHUP. Raises `FacewatchError` at the start."""
    os.umask(0o077)
    sys.stderr = sys.stderr or open(STDERR, "w", closefd=False)  # noqa: SIM115 - it is there as long as the process
    credentials.forget_environment()
    loaded = load()
    wanted = required(loaded)
    logs.to_stderr({-1: logging.WARNING, 0: logging.INFO}.get(verbosity, logging.DEBUG), PROG)
    threading.excepthook = _thread_died
    manager = ServiceManager()
    os.chdir("/")
    share = Share(loaded.socket, wanted)
    with Signals.kept() as signals:
        try:
            share.start()
            manager.ready()
            return _serve(share, load, signals, manager)
        finally:
            manager.stopping()
            share.stop()


def required(loaded: config.Config) -> config.Shared:
    """The table of the shared engine, if it can be used here. Raises `UsageError`."""
    if loaded.shared is None:
        hint = "write the table [shared] with its `url`: see facewatchd.toml(5)"
        raise UsageError("no shared engine is configured", hint)
    try:
        from facewatchd.shared.postgres import engine  # noqa: F401
    except ImportError as exc:
        if (exc.name or "").partition(".")[0] == "facewatchd":
            raise
        hint = f"install them: {installation.extra('shared')}"
        raise UsageError("the shared engine needs more packages", hint) from exc
    return loaded.shared


def _serve(share: Share, load: Callable[[], config.Config], signals: Signals, manager: ServiceManager) -> int:
    """Wait for signals, and look at the threads in between."""
    on_terminal = os.isatty(sys.stderr.fileno())
    while True:
        if ended := share.ended():
            log.error("%s ended unexpectedly: start facewatch-share again, and report the log lines above", ended)
            return 1
        if manager.listens:
            manager.status(headline(share.status()))
        taken = signals.wait(TICK)
        if taken is signal.SIGHUP and not on_terminal:
            manager.reloading()
            try:
                loaded = load()
                if loaded.shared is None:
                    log.info("no shared engine is configured any more: facewatch-share ends")
                    return 0
                share.become(required(loaded))
                log.info("the configuration was read again")
            except FacewatchError as exc:
                log.error("the configuration was not taken over: %s", exc)
            manager.ready()
        elif taken is not None:
            return 0


def headline(status: LinkStatus) -> str:
    """How this machine stands with the engine, in one line."""
    return status.state if status.state is State.OK else f"{status.state}: {status.reason}"


def _thread_died(args: threading.ExceptHookArgs) -> None:
    name = args.thread.name if args.thread else "a thread"
    log.error("%s died; this is a bug:", name, exc_info=args.exc_value)


class Parts:
    """What depends on the table `[shared]`: made anew when that is read again."""

    def __init__(self, socket: Path, shared: config.Shared) -> None:
        """``socket``: the daemon's."""
        password = credentials.password()

        def connect(identity: Identity) -> Engine:
            from facewatchd.shared.postgres.engine import PostgresEngine

            engine = PostgresEngine(
                shared.url, identity.model, identity.dim, password=password, patience=shared.timeout
            )
            if identity.machine:
                engine.recognise(identity.machine)
            return engine

        self.pool = Pool(connect, healed=lambda: self.sender.try_now())
        self.maintenance = Maintenance(connect)
        self.sender = Sender(
            lambda: DaemonOutbox(socket),
            connect,
            self._become,
            shared.name,
            sends=shared.send,
            told=self._told,
            settled=self.maintenance.look,
        )
        self.methods = Methods(self.pool, self.sender, shared.name)

    def _become(self, identity: Identity) -> None:
        self.pool.become(identity)
        if self.sender.sends:
            self.maintenance.become(identity)

    def _told(self) -> None:
        """The sender has reached the engine, so questions do; and this machine's numbers there have changed."""
        self.pool.try_now()
        self.pool.look()

    def start(self) -> None:
        self.pool.start()
        self.maintenance.start()
        self.sender.start()

    def stop(self) -> None:
        self.sender.stop()
        self.maintenance.stop()
        self.pool.stop()

    def ended(self) -> str:
        """Name a thread that ended though it should not have; empty where all run."""
        alive = {
            "the sender": self.sender.alive(),
            "the thread for connections": self.pool.alive(),
            "the maintenance": self.maintenance.alive(),
        }
        return next((name for name, lives in alive.items() if not lives), "")


class Share:
    """All of facewatch-share. `start` once, then `stop` once, also where `start` raised."""

    def __init__(self, socket: Path, shared: config.Shared) -> None:
        """``socket``: the daemon's."""
        self._socket = socket
        self._shared = shared
        self._parts = Parts(socket, shared)
        self._server = Server(
            paths.share_path(socket), lambda line: jsonrpc.answer(line, self._parts.methods.call), send_deadline=10.0
        )
        self._stops = contextlib.ExitStack()

    def start(self) -> None:
        """Listen first: that says whether another one runs. Raises `LockedError` then, and `FacewatchError`."""
        try:
            self._server.start()
        except LockedError as exc:
            place = paths.share_path(self._socket)
            hint = "stop it (a service: systemctl --user stop facewatch-share), or name another daemon with --socket"
            raise LockedError(f"another facewatch-share answers on {place}", hint) from exc
        self._stops.callback(self._server.stop)
        self._parts.start()
        self._stops.callback(lambda: self._parts.stop())
        if self._shared.send:
            log.info("this machine is called %s in the shared engine", self._shared.name)
        else:
            log.info("nothing is sent to the shared engine (`send` is false): what was sent before stays there")

    def become(self, shared: config.Shared) -> None:
        """Go on with another table; also with the same one, everything is connected anew. Raises `FacewatchError`."""
        parts = Parts(self._socket, shared)
        self._parts.stop()
        self._shared, self._parts = shared, parts
        parts.start()

    def status(self) -> LinkStatus:
        """How this machine stands with the engine."""
        return self._parts.methods.status()

    def ended(self) -> str:
        """Name a thread that ended though it should not have; empty where all run."""
        return self._parts.ended() or ("" if self._server.alive() else "the server")

    def stop(self) -> None:
        """Stop what was started, in reverse."""
        self._stops.close()


if __name__ == "__main__":
    sys.exit(main())
