"""``facewatchd shared``: what facewatch-share says of the shared engine and of the machines in it.

These commands ask facewatch-share, over the socket beside the daemon's. Only where it does not run is the daemon asked,
for what is to be done.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import Any, Final

from facewatchd import paths
from facewatchd.client import machines as other_machines
from facewatchd.client.answer import reading_answer
from facewatchd.client.connection import PROBE_TIMEOUT, Connection, RemoteError
from facewatchd.client.status import Peer, waiting
from facewatchd.console.arguments import Parser, did_you_mean
from facewatchd.console.output import tab_separated, table
from facewatchd.console.streams import agrees, is_attended, on_terminal, say, takes_colour, write, write_json
from facewatchd.errors import DeadlineError, FacewatchError, NoDaemonError, WrongListenerError
from facewatchd.text import counted, printable

_TIMEOUT: Final = 120.0
"""Seconds for an answer: facewatch-share takes 10 to connect, and to remove a million faces takes longer."""
_START: Final = "systemctl --user start facewatch-share, or facewatch-share in a terminal"
_MOST_NAMED: Final = 10
"""Machines that an error names."""
_GREEN, _YELLOW, _RED = "32", "33", "31"
_STYLES: Final = {"ok": _GREEN, "behind": _YELLOW}


def add_options(name: str, parser: Parser) -> None:
    """Add the arguments of one of the commands."""
    if name == "remove":
        parser.add_argument("name", metavar="NAME", help="the machine, as facewatchd shared machines names it")
        parser.words["NAME"] = "a machine's name"
        parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def status(options: argparse.Namespace) -> int:
    """Print how this machine stands with the engine, and which other machines there are."""
    document = _call(options, "status", fresh=True)
    with reading_answer():
        lines = [_engine_line(document, colour=takes_colour(sys.stdout)), _own_line(document)]
        others = [each for each in map(Peer.of, document["machines"]) if not each.is_self]
        if document["state"] != "ok":
            _require_daemon(options)
    if options.json:
        write_json(document)
        return 0
    lines += [f"others  {counted(len(others), 'machine')}, {_faces(others)}"] if others else []
    write("".join(f"{line}\n" for line in lines))
    return 0


def _engine_line(document: Any, *, colour: bool) -> str:
    state, reason, hint = (str(document[name]) for name in ("state", "reason", "hint"))
    word = f"\x1b[{_STYLES.get(state, _RED)}m{printable(state)}\x1b[0m" if colour else printable(state)
    return f"engine  {'; '.join(filter(None, [': '.join(filter(None, [word, printable(reason)])), printable(hint)]))}"


def _own_line(document: Any) -> str:
    name = printable(document["name"])
    if not document["sends"]:
        return f"this    {name}, which sends nothing (shared.send)"
    left = waiting(int(document["backlog"]), int(document["pending"]))
    return f"this    {name}, {left or ('everything sent' if document['state'] == 'ok' else 'nothing waits here')}"


def _faces(machines: list[Peer]) -> str:
    return counted(sum(machine.faces for machine in machines), "face")


def list_machines(options: argparse.Namespace) -> int:
    """Print the machines that send to the engine."""
    document = _call(options, "machines")
    machines = _machines_of(document)
    if options.json:
        write_json(document)
    elif on_terminal():
        rows = [
            (
                printable(each.name),
                str(each.faces),
                str(each.photos),
                other_machines.ago(each.as_of_s),
                (each.waiting or "-") + ("  (this machine)" if each.is_self else ""),
            )
            for each in machines
        ]
        write(table(("MACHINE", "FACES", "PHOTOS", "HEARD OF", "STILL TO COME"), rows, colour=takes_colour(sys.stdout)))
        if not rows:
            say("no machine has sent anything yet")
    else:
        lines = [
            tab_separated(each.name, *map(str, (each.faces, each.photos, each.backlog, each.pending, each.as_of_s)))
            for each in machines
        ]
        write(b"".join(lines))
    return 0


def _machines_of(document: Any) -> list[Peer]:
    with reading_answer():
        return [Peer.of(each) for each in document["machines"]]


def remove(options: argparse.Namespace) -> int:
    """Remove all that a machine sent. On a terminal it asks before."""
    known = _machines_of(_call(options, "machines"))
    machine = next((each for each in known if each.name == options.name), None)
    if machine is None:
        raise _unknown(options.name, known)
    question = f"remove {printable(machine.name)}{_standing(machine)}: {machine.size}?"
    if not options.yes and is_attended() and not agrees(question):
        say("facewatchd: nothing was changed")
        return FacewatchError.exit_status
    result = _call(options, "remove", name=machine.name)
    if options.json:
        write_json({**result, "faces": machine.faces, "photos": machine.photos})
    else:
        write(f"removed {printable(machine.name)}: {machine.size}\n")
    if machine.is_self:
        say("facewatchd: nothing is sent from here again until: facewatchd shared resync")
    elif _runs(machine):
        heard_of = other_machines.ago(machine.as_of_s)
        say(f"facewatchd: it runs (heard of {heard_of}), and sends nothing again until there: facewatchd shared resync")
    return 0


def _runs(machine: Peer) -> bool:
    """Whether it is another machine, and probably in use."""
    return not machine.is_self and machine.as_of_s < other_machines.OLD


def _standing(machine: Peer) -> str:
    """What is to be known of a machine before it is removed."""
    if machine.is_self:
        return ", this machine"
    heard_of = f"heard of {other_machines.ago(machine.as_of_s)}"
    return f", which runs ({heard_of})" if _runs(machine) else f", {heard_of}"


def _unknown(name: str, known: list[Peer]) -> FacewatchError:
    names = [printable(each.name) for each in known[:_MOST_NAMED]]
    names += [f"{len(known) - _MOST_NAMED} more"] if len(known) > _MOST_NAMED else []
    message = f"no machine {name} has sent anything{did_you_mean(name, [each.name for each in known])}"
    return FacewatchError(message, f"those that have: {', '.join(names) or 'none'}")


def resync(options: argparse.Namespace) -> int:
    """Have all that this machine sent compared with what it has."""
    result = _call(options, "resync")
    with reading_answer():
        photos = counted(int(result["contents"]), "photo")
    if options.json:
        write_json(result)
    else:
        write(f"{photos} to be compared with the engine; see: facewatchd shared status\n")
    return 0


def _call(options: argparse.Namespace, method: str, **params: Any) -> Any:
    """Return a method's result. Raises `NoDaemonError` where facewatch-share or the daemon does not run."""
    daemon = options.socket or paths.socket_path()
    try:
        with Connection(paths.share_path(daemon), _TIMEOUT) as share:
            result = share.call(method, **params)
    except RemoteError:
        _require_daemon(options)
        raise
    except WrongListenerError:
        raise
    except NoDaemonError as exc:
        raise _not_running(options) from exc
    except DeadlineError as exc:
        hint = "see: systemctl --user status facewatch-share"
        raise DeadlineError(f"facewatch-share did not answer within {_TIMEOUT:g} s", hint) from exc
    with reading_answer():
        if (trouble := result.get("trouble")) is not None:
            _require_daemon(options)
            raise FacewatchError(str(trouble["message"]), str(trouble["hint"]))
    return result


def _require_daemon(options: argparse.Namespace) -> None:
    """Raise `NoDaemonError` where the daemon does not run: facewatch-share cannot do without it."""
    with Connection(options.socket, PROBE_TIMEOUT):
        pass


def _not_running(options: argparse.Namespace) -> NoDaemonError:
    """Return the error that says what to start, or to write."""
    message, start = "facewatch-share does not run", f"start it: {_START}"
    with contextlib.suppress(FacewatchError):
        try:
            with Connection(options.socket, PROBE_TIMEOUT) as daemon, reading_answer():
                if daemon.call("status").get("shared") is None:
                    start = "write [shared] with its url into the configuration: man facewatch-share"
                    return NoDaemonError("no shared engine is configured", start)
        except WrongListenerError:
            raise
        except NoDaemonError:
            start = "start both: facewatchd run DIR, and facewatch-share"
            return NoDaemonError(f"{message}, nor does facewatchd", start)
    return NoDaemonError(message, start)
