"""``facewatchd``: the daemon and its control.

Results go to standard output, everything else to standard error. Exit status: 0 fine; 1 failed, or something is
found that is not as it should be (``verify``, ``doctor``); 2 wrong usage or configuration; 3 another daemon holds this
data directory; 4 no daemon. 130 after Ctrl-C.

What a command needs is imported when it runs: the control commands start on the standard library alone.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from facewatchd import __version__
from facewatchd.cli import models as cli_models
from facewatchd.cli import photos as cli_photos
from facewatchd.cli import service as cli_service
from facewatchd.client import status as overview
from facewatchd.client.connection import DEFAULT_TIMEOUT, INVALID_PARAMS, Connection, RemoteError
from facewatchd.client.query import local_path, path_param
from facewatchd.client.status import reading_answer
from facewatchd.console.arguments import INTERRUPTED, HelpFormatter, Parser, parse
from facewatchd.console.output import size_and_place
from facewatchd.console.streams import on_terminal, open_standard_streams, say, takes_colour, write, write_json
from facewatchd.errors import FacewatchError, NoDaemonError, UnreadablePhotoError, UsageError
from facewatchd.text import counted, printable
from facewatchd.values import Box

PROG = "facewatchd"

_EPILOG = """\
exit status: 0 fine, 1 failed (or verify or doctor found something), 2 wrong usage or configuration, 3 another daemon
holds this data directory, 4 no daemon
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    open_standard_streams()
    try:
        options = parse(make_parser(), sys.argv[1:] if argv is None else argv)
        status: int = options.command(options)
        return status
    except FacewatchError as error:
        say(f"{PROG}: {printable(str(error))}")
        return _status_of(error)
    except ImportError as error:
        from facewatchd.system import installation

        say(f"{PROG}: {printable(str(error))}; install it again: {installation.again()}")
        return FacewatchError.exit_status
    except FileNotFoundError as error:  # os.getcwd()
        if error.filename is not None:
            raise
        say(f"{PROG}: the current directory is gone; change to another one")
        return UsageError.exit_status
    except KeyboardInterrupt:
        return INTERRUPTED


def _status_of(error: FacewatchError) -> int:
    if isinstance(error, RemoteError) and (error.code == INVALID_PARAMS or error.kind == UnreadablePhotoError.kind):
        return UsageError.exit_status  # a path that is no good
    return error.exit_status


# Arguments


def make_parser() -> Parser:
    """Return the parser of the command line; `Parser` and `parse` say how it reads."""
    parser = Parser(
        prog=PROG,
        description="Index the faces on your photos, follow the disk, and answer who is where.",
        epilog=_EPILOG,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_run(commands)
    status = _add(commands, "status", _status, "progress, directories, model, index, rates")
    status.add_argument("--json", action="store_true", help="print one JSON document; with --follow, one a line")
    status.add_argument("--follow", action="store_true", help="go on until Ctrl-C, and tell what changes")
    scan = _add(commands, "scan", _scan, "reconcile with the disk now")
    scan.add_argument("paths", metavar="PATH", nargs="*", help="only what lies here (default: all directories)")
    scan.add_argument("--force", action="store_true", help="embed again what has not changed")
    why = _add(commands, "why", _why, "what is known of one file, and why it is (not) found")
    why.add_argument("path", metavar="PATH")
    why.add_argument("--json", action="store_true", help="print one JSON document")
    photos = _add(commands, "photos", cli_photos.list_photos, "the files in one state, each with the reason")
    cli_photos.add_options(photos)
    _add(commands, "pause", _pause, "stop indexing; queries go on")
    _add(commands, "resume", _resume, "go on indexing")
    verify = _add(commands, "verify", _verify, "hold disk, catalog and index against each other")
    verify.add_argument("--repair", action="store_true", help="mend what can be mended")
    _add_models(commands)
    doctor = _add(commands, "doctor", _doctor, "checks of this machine, and a trial of the whole")
    doctor.add_argument("--json", action="store_true", help="print a JSON list")
    _add_config(doctor, "--model", "--data-dir")
    _add_service(commands)
    return parser


def _add(
    commands: Any, name: str, command: Callable[[argparse.Namespace], int], text: str, *, socket: bool = True
) -> Parser:
    """Add a command; most have to know where the daemon's socket is."""
    parser: Parser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.set_defaults(command=command)
    if socket:
        parser.add_argument("--socket", metavar="PATH", type=Path, help="the daemon's socket")
    return parser


def _add_config(parser: Parser, *options: str) -> None:
    parser.add_argument("--config", metavar="FILE", type=Path, help="the configuration file")
    if "--model" in options:
        parser.add_argument("--model", metavar="NAME|PATH", help="instead of the one in the configuration")
    if "--data-dir" in options:
        parser.add_argument("--data-dir", metavar="DIR", type=Path, help="where catalog and index are")


def _directory(text: str) -> Path:
    return Path(local_path(text))


def _add_run(commands: Any) -> None:
    run = _add(commands, "run", _run, "watch directories, index their photos, answer queries")
    run.add_argument(
        "directories", metavar="DIR", nargs="*", type=_directory, help="instead of the directories in the configuration"
    )
    _add_config(run, "--model", "--data-dir")
    amount = run.add_mutually_exclusive_group()
    amount.add_argument("-v", "--verbose", action="store_const", const=1, dest="verbosity", default=0, help="say more")
    amount.add_argument(
        "-q", "--quiet", action="store_const", const=-1, dest="verbosity", help="say only what is wrong"
    )


def _add_models(commands: Any) -> None:
    models = commands.add_parser("models", help="list and fetch models", description="List and fetch models.")
    actions = models.add_subparsers(metavar="list|fetch", required=True)
    listing = _add(actions, "list", cli_models.list_models, "what can be chosen, and where it is")
    fetch = _add(actions, "fetch", cli_models.fetch_model, "bring a model to this machine", socket=False)
    fetch.add_argument("source", metavar="NAME|ZIP|DIR", help="a released pack, or a pack's zip file or directory")
    for parser in (listing, fetch):
        _add_config(parser)


def _add_service(commands: Any) -> None:
    text = "the systemd user units, with the right paths"
    service = commands.add_parser("service", help=text, description="Have systemd run the daemon, or no more.")
    actions = service.add_subparsers(metavar="install|uninstall", required=True)
    install = _add(actions, "install", cli_service.install, "write the units, and tell what comes next", socket=False)
    install.add_argument(
        "directories", metavar="DIR", nargs="*", type=_directory, help="instead of the directories in the configuration"
    )
    _add_config(install, "--model", "--data-dir")
    _add(actions, "uninstall", cli_service.uninstall, "remove the units; data and configuration stay", socket=False)


# The daemon


BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""What numpy's linear algebra asks when it is imported. Threads of its own would come on top of the configured ones,
and OpenBLAS's do not survive that the process is copied (`copies`): a search in their hands would never end."""


def _run(options: argparse.Namespace) -> int:
    os.environ.update(dict.fromkeys(BLAS_THREADS, "1"))
    from facewatchd import config

    # Absolute, because the daemon leaves this directory and may be told to read the configuration again.
    file, data_dir, socket = map(_absolute, (options.config, options.data_dir, options.socket))
    directories = tuple(map(Path, map(os.path.abspath, options.directories))) or None

    def load() -> config.Config:
        return config.load(file, model=options.model, data_dir=data_dir, socket=socket, directories=directories)

    loaded = load()
    from facewatchd.daemon import app as daemon

    return daemon.run(loaded, load, verbosity=options.verbosity)


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else Path(os.path.abspath(path))


def _config_flags(options: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(options, name, None) for name in ("model", "data_dir", "socket")}


# Its control


def _status(options: argparse.Namespace) -> int:
    if options.follow:
        return _follow(options)
    document = _call(options, "status")
    if options.json:
        write_json(document)
    else:
        write(overview.text(overview.Status.of(document), colour=takes_colour(sys.stdout)))
    return 0


def _follow(options: argparse.Namespace) -> int:
    answered = False

    def ask() -> Any:
        nonlocal answered
        try:
            document = _call(options, "status")  # a connection each time: none is held for hours
        except NoDaemonError as exc:
            if not answered:
                raise
            raise NoDaemonError("the daemon went away", "start it again: facewatchd run DIR") from exc
        answered = True
        return document

    with contextlib.suppress(KeyboardInterrupt):  # the way to end it
        overview.follow(ask, as_json=options.json, on_terminal=on_terminal(), colour=takes_colour(sys.stdout))
    return 0


def _scan(options: argparse.Namespace) -> int:
    params: dict[str, Any] = {"force": True} if options.force else {}
    if options.paths:
        params["paths"] = [path_param(local_path(path)) for path in options.paths]
    result = _call(options, "scan", **params)
    with reading_answer():
        write(f"queued {int(result['queued'])}\n")
    return 0


def _why(options: argparse.Namespace) -> int:
    result = _call(options, "why", **path_param(local_path(options.path)))
    if options.json:
        write_json(result)
        return 0
    with reading_answer():
        lines = [f"{printable(result['state'])}: {printable(result['reason'])}"]
        for face in result["faces"]:
            lines.append(
                f"  face {int(face['face_id'])} at {size_and_place(Box(*face['box']))}, score {face['score']:.2f}"
            )
    write("".join(f"{line}\n" for line in lines))
    return 0


def _pause(options: argparse.Namespace) -> int:
    return _switch(options, "pause")


def _resume(options: argparse.Namespace) -> int:
    return _switch(options, "resume")


def _switch(options: argparse.Namespace, method: str) -> int:
    result = _call(options, method)
    with reading_answer():
        write(f"{printable(result['state'])}\n")
    return 0


def _verify(options: argparse.Namespace) -> int:
    result = _call(options, "verify", None, **({"repair": True} if options.repair else {}))
    with reading_answer():
        count, repaired = int(result["count"]), bool(result["repaired"])
        lines = [printable(problem) for problem in result["problems"]]
        photos, faces = counted(int(result["photos"]), "photo"), counted(int(result["faces"]), "face")
        held = f"{photos} and {faces} held against the disk and the index"
        lines += [
            f"out of reach, and not held against the disk: {printable(directory)}" for directory in result["skipped"]
        ]
    if not count:
        lines.append(f"{held}: all is well")
    elif repaired:
        lines.append(f"{held}: {counted(count, 'finding')}, mended or queued to be")
    else:
        lines.append(f"{held}: {counted(count, 'finding')}")
    write("".join(f"{line}\n" for line in lines))
    if count and not repaired:
        say(f"{PROG}: {_after_findings(options.repair)}")
        return 1
    return 0


def _after_findings(tried: bool) -> str:
    if tried:
        return "not all of it can be mended; stop the daemon, move its catalog away, and start it to index anew"
    return "to mend what can be mended: facewatchd verify --repair"


def _call(options: argparse.Namespace, method: str, timeout: float | None = DEFAULT_TIMEOUT, /, **params: Any) -> Any:
    with Connection(options.socket, timeout) as daemon:
        return daemon.call(method, **params)


# The machine


def _doctor(options: argparse.Namespace) -> int:
    from facewatchd.doctor import checks as doctor

    findings = []
    for finding in doctor.examine(options.config, **_config_flags(options)):
        findings.append(finding)
        if not options.json and not write(doctor.line(finding, colour=takes_colour(sys.stdout))):
            break
    if options.json:
        write_json([finding.document() for finding in findings])
    return 1 if any(finding.status == "fail" for finding in findings) else 0
