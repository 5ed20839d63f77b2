"""``facewatch-query``: find the photos that show the same person.

Results go to standard output, everything else to standard error. The command starts on the standard library alone;
Pillow and numpy are imported for ``--sheet`` and ``--open`` only.

Exit status: 0 found; 1 nothing found; 2 wrong usage or unreadable photo (also a sheet or results that cannot be
written); 3 no face on the photo; 4 no daemon; 5 not ready in time, or the daemon could not answer. 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

from facewatchd.client import drawing, machines, outputs
from facewatchd.client.answer import Answer, photo_faces
from facewatchd.client.arguments import PROG, parse
from facewatchd.client.connection import INVALID_PARAMS, PROBE_TIMEOUT, Connection, RemoteError
from facewatchd.client.follow import acknowledge, follow
from facewatchd.client.query import QueryPhoto, ask
from facewatchd.client.report import pending_photos, print_answer, unread
from facewatchd.client.request import Everyone, draws, require_known, send
from facewatchd.console import output
from facewatchd.console.arguments import INTERRUPTED
from facewatchd.console.streams import (
    on_terminal,
    open_standard_streams,
    say,
    takes_colour,
    write,
    write_json,
)
from facewatchd.errors import FacewatchError, NoDaemonError, UsageError
from facewatchd.matches import Name
from facewatchd.text import printable

FOUND, NOTHING_FOUND, WRONG, NO_FACE, NO_DAEMON, NOT_READY = 0, 1, 2, 3, 4, 5
_STATUS_OF_KIND = {
    "unreadable-photo": WRONG,
    "too-large": WRONG,
    "bad-embedding": WRONG,
    "unknown-face": WRONG,
    "unknown-person": WRONG,
    "no-face": NO_FACE,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    open_standard_streams()
    try:
        options = parse(list(sys.argv[1:] if argv is None else argv))
        return _list_faces(options) if options.list_faces else _search(options)
    except FacewatchError as error:
        say(f"{PROG}: {printable(str(error))}")
        return _status_of(error)
    except FileNotFoundError as error:  # os.getcwd()
        if error.filename is not None:
            raise
        say(f"{PROG}: the current directory is gone; change to another one")
        return WRONG
    except KeyboardInterrupt:
        return INTERRUPTED


def _status_of(error: FacewatchError) -> int:
    if isinstance(error, (UsageError, NoDaemonError)):
        return error.exit_status
    if isinstance(error, RemoteError) and error.code == INVALID_PARAMS:
        return WRONG
    return _STATUS_OF_KIND.get(error.kind, NOT_READY)


def _list_faces(options: argparse.Namespace) -> int:
    drawing.check(options)
    photo = QueryPhoto(options.who[0].photo)
    params = {"names": True} if options.names else {}
    with Connection(options.socket) as daemon:
        try:
            document = ask(lambda: daemon.call("faces", **photo.param(), **params), [photo])
        except RemoteError as error:
            require_known(error)
            raise
    faces = photo_faces(document)
    if options.json:
        write_json({"photo": photo.text, **document})
    elif on_terminal():
        write(output.face_table(faces, colour=takes_colour(sys.stdout)))
    else:
        write(output.face_lines(faces))
    if draws(options):
        drawn = drawing.draw_faces(options, photo, faces)
        if options.open:
            from facewatchd.client import opening  # here, as all that only some calls need

            opening.show(drawn)
    if options.show:
        from facewatchd.client import showing

        showing.show_faces(options, photo, faces)
    if on_terminal() and not options.quiet and faces and all(face.who and _is_nobody(face.who) for face in faces):
        say("there is no named person to compare a face with; to name one: facewatchd people add NAME PHOTO")
    if not faces:
        say(f"{PROG}: no face found on {printable(photo.name)}; try a larger or sharper photo")
        return NO_FACE
    return FOUND


def _is_nobody(who: Name) -> bool:
    """Whether there was no person to compare a face with."""
    return not who.name and not who.runner_up


def _search(options: argparse.Namespace) -> int:
    outputs.check(options)
    everyone = Everyone.of(options)
    if options.follow:
        everyone.keep()
    started = time.monotonic()
    if options.wait and not options.quiet:
        _announce_wait(options)
    document = send(options, everyone, started)
    answer = Answer(document, everyone.who, every_face=options.face == "all", others=everyone.others)
    # An answer does not hold the reason why it is incomplete; where a directory is out of reach, the wait ends early.
    late = options.wait is not None and machines.lacks_photos(answer) and time.monotonic() - started >= options.wait
    is_read = print_answer(options, answer, late=late)
    outputs.make(options, everyone, answer)
    if is_read and answer.shown:
        acknowledge(options, answer.shown)
    if late:
        error = FacewatchError(
            f"after {options.wait:g} s {unread(answer)}"
            if answer.undated
            else f"not everything is searchable after {options.wait:g} s, {pending_photos(answer.pending)} pending",
            _hint_after_wait(options),
        )
        if not options.follow:
            raise error
        if not options.quiet:
            say(f"{PROG}: {printable(error.message)}; what is pending is printed when it is found")
    if options.follow and is_read:
        follow(options, everyone, answer)
        return FOUND
    return FOUND if answer.matches else NOTHING_FOUND


class _DaemonState(NamedTuple):
    """Parts of ``status``, asked beside a query; the state is empty where no answer came at once."""

    state: str = ""
    pending: int = 0
    waits: str = ""
    """What pending photos wait for."""


def _daemon_state(options: argparse.Namespace) -> _DaemonState:
    try:
        with Connection(options.socket, PROBE_TIMEOUT) as daemon:
            status = daemon.call("status")
        return _DaemonState(str(status["state"]), int(status["pending"]), str(status.get("waits", "")))
    except (FacewatchError, AttributeError, KeyError, TypeError, ValueError):
        return _DaemonState()


def _announce_wait(options: argparse.Namespace) -> None:
    """Write that the daemon is paused, and on a terminal how much is pending. Errors are left to the query itself."""
    now = _daemon_state(options)
    if now.state == "paused":
        say(f"{PROG}: the daemon is paused, so new photos do not become searchable; go on with: facewatchd resume")
    if now.state and sys.stderr is not None and sys.stderr.isatty():
        say(f"waiting up to {options.wait:g} s until everything is searchable; {pending_photos(now.pending)} pending")


def _hint_after_wait(options: argparse.Namespace) -> str:
    """Return the hint after a wait that was too short."""
    now = _daemon_state(options)
    if now.state == "paused":
        return "the daemon is paused: facewatchd resume"
    if now.state == "degraded":
        return "something is wrong, see: facewatchd status"
    return f"wait longer: {now.waits}" if now.waits else "wait longer, or see: facewatchd status"


if __name__ == "__main__":
    sys.exit(main())
