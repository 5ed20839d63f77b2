"""``facewatchd``: the parser of its command line, and the exit status of its errors.

Results go to standard output, everything else to standard error. Exit status: 0 fine; 1 failed, or ``verify`` or
``doctor`` found a fault; 2 wrong usage or configuration; 3 another daemon holds this data directory; 4 no daemon. 130
after Ctrl-C.

A command imports its libraries when it runs: the commands that ask a daemon start on the standard library alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from facewatchd import __version__
from facewatchd.cli import (
    control,
    doctor,
    exchange,
    models,
    page,
    people,
    people_import,
    people_suggest,
    people_unknown,
    photos,
    run,
    service,
    shared,
)
from facewatchd.client.connection import INVALID_PARAMS, RemoteError
from facewatchd.client.query import local_path
from facewatchd.console.arguments import INTERRUPTED, HelpFormatter, Parser, parse
from facewatchd.console.streams import open_standard_streams, say
from facewatchd.errors import FacewatchError, UsageError
from facewatchd.text import printable

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
    if isinstance(error, RemoteError) and (error.code == INVALID_PARAMS or error.kind in _WRONG_ARGUMENTS):
        return UsageError.exit_status
    return error.exit_status


_WRONG_ARGUMENTS = ("unreadable-photo", "too-large", "no-face", "unknown-face", "unknown-person")
"""Kinds of errors that say that a photo, a face or a name that was given is wrong."""


def make_parser() -> Parser:
    """Return the parser of the command line; `Parser` and `parse` say how it reads."""
    parser = Parser(
        prog=PROG,
        description="Index the faces on your photos, follow the disk, and answer queries about them.",
        epilog=_EPILOG,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_run(commands)
    status = _add(commands, "status", control.status, "progress, directories, model, index, rates")
    status.add_argument("--json", action="store_true", help="print one JSON document; with --follow, one a line")
    status.add_argument("--follow", action="store_true", help="print every change until Ctrl-C")
    scan = _add(commands, "scan", control.scan, "reconcile with the disk now")
    scan.add_argument("paths", metavar="PATH", nargs="*", help="only this file or directory (default: all directories)")
    scan.add_argument("--force", action="store_true", help="embed unchanged photos again as well")
    why = _add(commands, "why", control.why, "what is known of one file, and why it is (not) found")
    why.add_argument("path", metavar="PATH")
    why.add_argument("--json", action="store_true", help="print one JSON document")
    listing = _add(commands, "photos", photos.list_photos, "the files in one state, each with the reason")
    photos.add_options(listing)
    _add(commands, "pause", control.pause, "stop indexing; queries go on")
    _add(commands, "resume", control.resume, "go on indexing")
    verify = _add(commands, "verify", control.verify, "compare disk, catalog and index")
    verify.add_argument("--repair", action="store_true", help="repair what can be repaired")
    _add_people(commands)
    export = _add(commands, "export", exchange.export, "write the people and what was said of faces, as a backup")
    exchange.add_export_options(export)
    text = "say what an export says, and record the faces in it"
    exchange.add_import_options(_add(commands, "import", exchange.import_, text))
    local_page = _add(commands, "page", page.page, "a web page for you alone: ask, look, name, confirm")
    local_page.add_argument("--port", metavar="N", type=page.port, default=0, help="the port (default: a free one)")
    local_page.add_argument("--no-open", action="store_true", help="only print the address, open no browser")
    _add_shared(commands)
    _add_models(commands)
    checks = _add(commands, "doctor", doctor.diagnose, "check this machine, and try the way from a photo to an answer")
    checks.add_argument("--json", action="store_true", help="print a JSON list")
    _add_config(checks, "--model", "--data-dir")
    _add_service(commands)
    return parser


def _add(
    commands: Any, name: str, command: Callable[[argparse.Namespace], int], text: str, *, socket: bool = True
) -> Parser:
    """Add a command; most take the daemon's socket."""
    parser: Parser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.set_defaults(command=command)
    if socket:
        parser.add_argument("--socket", metavar="PATH", type=Path, help="the daemon's socket")
    return parser


def _add_config(parser: Parser, *options: str) -> None:
    parser.add_argument("--config", metavar="FILE", type=Path, help="the configuration file, see facewatchd.toml(5)")
    if "--model" in options:
        parser.add_argument("--model", metavar="NAME|PATH", help="the model, instead of the configuration's")
    if "--data-dir" in options:
        parser.add_argument("--data-dir", metavar="DIR", type=Path, help="the directory of catalog and index")


def _directory(text: str) -> Path:
    return Path(local_path(text))


def _add_run(commands: Any) -> None:
    parser = _add(commands, "run", run.run, "watch directories, index their photos, answer queries")
    parser.add_argument(
        "directories", metavar="DIR", nargs="*", type=_directory, help="instead of the directories in the configuration"
    )
    _add_config(parser, "--model", "--data-dir")
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("-v", "--verbose", action="store_const", const=1, dest="verbosity", default=0, help="log more")
    amount.add_argument(
        "-q", "--quiet", action="store_const", const=-1, dest="verbosity", help="log warnings and errors only"
    )


def _add_people(commands: Any) -> None:
    text = "give names to people, and take them back"
    parser = commands.add_parser("people", help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.default = "list"
    actions = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, command, meaning in (
        ("list", people.list_people, "the people that have names, with their references and photos"),
        ("add", people.add, "say that faces are a person, who is made when new"),
        ("not", people.say_not, "say that faces are not a person, whatever they score"),
        ("show", people.show, "what was said of a person"),
        ("describe", people.describe, "say when a person was born, or hide the name"),
        ("rename", people.rename, "give a person another name"),
        ("merge", people.merge, "say that two people are one"),
        ("forget", people.forget, "delete a person and all that was said of it, for good"),
        ("ignore", people.ignore, "leave faces out of what is unknown and suggested: they are of strangers"),
        ("undo", people.undo, "take back the last change; as often as there are changes"),
    ):
        people.add_options(name, _add(actions, name, command, meaning))
    text = "the groups of faces that have no name, those on most photos first"
    people_unknown.add_options(_add(actions, "unknown", people_unknown.list_unknown, text))
    text = "faces that may be a person and of which nothing was said, that which teaches most first"
    suggest = _add(actions, "suggest", people_suggest.list_suggestions, text)
    suggest.add_argument("name", metavar="NAME", type=people.person_name, help="the person")
    people_suggest.add_options(suggest)
    text = "names that other programs wrote: regions in XMP, Picasa, Google Takeout"
    people_import.add_options(_add(actions, "import", people_import.import_people, text))


def _add_shared(commands: Any) -> None:
    text = "the shared engine, by which several machines find each other's photos"
    parser = commands.add_parser("shared", help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.default = "status"
    actions = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, command, meaning in (
        ("status", shared.status, "whether the engine is reached, and what is still to be sent"),
        ("machines", shared.list_machines, "the machines in the engine, with their faces and photos"),
        ("remove", shared.remove, "remove a machine, with all that it sent"),
        ("resync", shared.resync, "compare all that this machine sent with what it has"),
    ):
        shared.add_options(name, _add(actions, name, command, meaning))


def _add_models(commands: Any) -> None:
    parser = commands.add_parser("models", help="list and fetch models", description="List and fetch models.")
    actions = parser.add_subparsers(metavar="list|fetch", required=True)
    listing = _add(actions, "list", models.list_models, "the packs that can be chosen, and where they are")
    fetch = _add(actions, "fetch", models.fetch_model, "fetch a model to this machine", socket=False)
    fetch.add_argument("source", metavar="NAME|ZIP|DIR", help="a released pack, or a pack's zip file or directory")
    for action in (listing, fetch):
        _add_config(action)


def _add_service(commands: Any) -> None:
    text = "install or remove the systemd user units that run the daemon"
    parser = commands.add_parser("service", help=text, description=f"{text.capitalize()}.")
    actions = parser.add_subparsers(metavar="install|uninstall", required=True)
    install = _add(actions, "install", service.install, "write the units, and print the next command", socket=False)
    install.add_argument(
        "directories", metavar="DIR", nargs="*", type=_directory, help="instead of the directories in the configuration"
    )
    _add_config(install, "--model", "--data-dir")
    install.add_argument(
        "--gpu", action="store_true", help="also open the sandbox for the configured device, with a drop-in"
    )
    install.add_argument(
        "--page",
        action="store_true",
        help="also put the page into the desktop's menu, with ~/.local/share/applications",
    )
    _add(actions, "uninstall", service.uninstall, "remove the units; data and configuration stay", socket=False)
