"""``facewatch-query``: where else is this person?

Results go to standard output, everything else to standard error. The module starts on the standard library alone;
Pillow and numpy come in with ``--sheet`` only.

Exit status: 0 found; 1 nothing found; 2 wrong usage or unreadable photo (also a sheet or results that cannot be
written); 3 no face on the photo; 4 no daemon; 5 not ready in time, which also stands for a daemon that is there and
could not answer. 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from facewatchd import __version__
from facewatchd.client.connection import DEFAULT_TIMEOUT, INVALID_PARAMS, PROBE_TIMEOUT, Connection, RemoteError
from facewatchd.client.query import (
    STDIN,
    Answer,
    Faceless,
    QueryFace,
    QueryPhoto,
    ask,
    local_path,
    path_param,
    photo_faces,
)
from facewatchd.console import output
from facewatchd.console.arguments import INTERRUPTED, HelpFormatter, Parser
from facewatchd.console.streams import (
    on_terminal,
    open_standard_streams,
    say,
    takes_colour,
    takes_drawing,
    write,
    write_json,
)
from facewatchd.errors import FacewatchError, NoDaemonError, UsageError
from facewatchd.text import counted, printable

PROG = "facewatch-query"
DEFAULT_WAIT = 60.0
"""Seconds of a bare ``--wait``."""
MAX_WAIT = 24 * 3600.0
"""Seconds; the daemon takes no more."""

FOUND, NOTHING_FOUND, WRONG, NO_FACE, NO_DAEMON, NOT_READY = 0, 1, 2, 3, 4, 5
_STATUS_OF_KIND = {
    "unreadable-photo": WRONG,
    "too-large": WRONG,
    "bad-embedding": WRONG,
    "unknown-face": WRONG,
    "no-face": NO_FACE,
}

_EPILOG = """\
exit status: 0 found, 1 nothing found, 2 wrong usage or unreadable photo, 3 no face on the photo, 4 no daemon,
5 not ready in time (or the daemon could not answer)

Piped, each match is a line of similarity, x,y,w,h and path with tabs between; tab, newline and backslash in a path
are then written \\t, \\n and \\\\. -l and -0 print paths as they are.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    open_standard_streams()
    try:
        options = _parse(list(sys.argv[1:] if argv is None else argv))
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


def _parse(argv: list[str]) -> argparse.Namespace:
    """Read the arguments. Options and photos may stand in any order; after ``--`` there are only photos."""
    end = argv.index("--") if "--" in argv else len(argv)
    parser = make_parser()
    options = parser.parse_intermixed_args(_join_numbers(argv[:end]))
    options.photos = [local_path(photo) for photo in (*options.photos, *argv[end + 1 :])]
    if not options.photos:
        parser.error("name a photo")
    if options.photos.count(STDIN) > 1:
        parser.error("standard input holds one photo: give '-' once")
    if options.json and (options.paths or options.print0):
        parser.error("--json and --paths or --print0 exclude each other")
    if options.list_faces:
        _refuse_search_options(parser, options)
    return options


def _refuse_search_options(parser: Parser, options: argparse.Namespace) -> None:
    """--list-faces searches nothing: an option that it would silently ignore is a misunderstanding."""
    given = {name: value for name, value in vars(options).items() if value is not None and value is not False}
    if given.keys() - {"photos", "list_faces", "json", "socket", "quiet", "verbose"}:
        parser.error("--list-faces searches nothing and goes with --json, --socket, -q and -v only")
    if len(options.photos) > 1:
        parser.error("--list-faces takes one photo")


def _join_numbers(argv: list[str]) -> list[str]:
    """Tie what argparse would part or join wrongly.

    A bare ``--wait`` must not eat the photo after it, and ``-0`` makes argparse take ``-1`` and ``-0.2`` for options.
    """
    glued: list[str] = []
    rest = iter(range(len(argv)))
    for at in rest:
        value = argv[at + 1] if at + 1 < len(argv) else ""
        if argv[at] == "--wait" and (value == "-0" or not _is_number(value)):  # that is --print0
            glued.append(f"--wait={DEFAULT_WAIT:g}")
        elif argv[at] in _NUMBERS and _is_float(value):
            glued.append(f"{_NUMBERS[argv[at]]}={value}")
            next(rest)
        else:
            glued.append(argv[at])
    return glued


_NUMBERS = {name: name for name in ("--wait", "--threshold", "--top", "--face", "--min-size")} | {"-n": "--top"}
"""The options that take a number, by each of their names."""


def make_parser() -> Parser:
    """Return the parser of the command line; what argparse reads otherwise than meant, `main` sets right before."""
    parser = Parser(
        prog=PROG,
        usage="%(prog)s [OPTIONS] PHOTO ...",
        description="Find the photos that show the same person. Asks the facewatchd daemon.",
        epilog=_EPILOG,
        formatter_class=HelpFormatter,
    )
    add = parser.add_argument
    add("photos", metavar="PHOTO", nargs="*", help="several photos are the same person; '-' reads one from stdin")
    add(
        "-n",
        "--top",
        metavar="N",
        type=_count,
        help="at most N photos (0 = all; default: as configured, else 20)",
    )
    add(
        "--threshold",
        metavar="F",
        type=_similarity,
        help="least similarity, -1 to 1 (default: the configuration's, else the model's own)",
    )
    add(
        "--face",
        metavar="largest|all|N",
        type=_face,
        help="which face of the photo (default largest; N counts left to right from 0)",
    )
    add("--list-faces", action="store_true", help="print the photo's faces, search nothing")
    add(
        "-d",
        "--dir",
        metavar="PATH",
        dest="dirs",
        action="append",
        type=_directory,
        help="only photos under PATH (repeatable)",
    )
    add("--min-size", metavar="PX", type=_count, help="only faces at least PX on their shorter side")
    add("--no-collapse", action="store_true", help="show every copy of a photo; else the same bytes are shown once")
    add(
        "--sheet",
        metavar="FILE",
        help="also a picture: the query face, then the matches (.png .jpg .webp .pdf); replaces only a sheet",
    )
    _add_output_options(parser)
    return parser


def _add_output_options(parser: Parser) -> None:
    add = parser.add_argument
    add("-l", "--paths", action="store_true", help="print paths only, each photo once")
    add("-0", "--print0", action="store_true", help="the same, NUL between them")
    add("--json", action="store_true", help="print one JSON document")
    add(
        "--wait",
        metavar="SECONDS",
        nargs="?",
        const=DEFAULT_WAIT,
        type=_seconds,
        help=f"first wait until everything written before the call is searchable (default {DEFAULT_WAIT:g})",
    )
    add("--exact", action="store_true", help="compare with every face instead of the index")
    add("--socket", metavar="PATH", help="the daemon's socket")
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("-q", "--quiet", action="store_true", help="print results and errors only")
    amount.add_argument("-v", "--verbose", action="store_true", help="also threshold, model and way of search")
    add("--version", action="version", version=f"%(prog)s {__version__}")


def _is_float(text: str) -> bool:
    """Whether this is a number for Python, be it infinite or none."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_number(text: str) -> bool:
    return _is_float(text) and math.isfinite(float(text))


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 999999999")
    return int(text)


def _similarity(text: str) -> float:
    if not _is_number(text) or not -1 <= float(text) <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from -1 to 1")
    return float(text)


def _seconds(text: str) -> float:
    if not _is_number(text) or not 0 <= float(text) <= MAX_WAIT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to {MAX_WAIT:g}")
    return float(text)


def _face(text: str) -> str | int:
    if text in ("largest", "all"):
        return text
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text!r} is neither largest, all nor a number from 0")
    return int(text)


def _directory(text: str) -> str | dict[str, str]:
    param = path_param(local_path(text))
    return param.get("path", param)


def _list_faces(options: argparse.Namespace) -> int:
    photo = QueryPhoto(options.photos[0])
    with Connection(options.socket) as daemon:
        document = ask(lambda: daemon.call("faces", **photo.param()), [photo])
    faces = photo_faces(document)
    if options.json:
        write_json({"photo": photo.text, **document})
    elif on_terminal():
        write(output.face_table(faces, colour=takes_colour(sys.stdout)))
    else:
        write(output.face_lines(faces))
    if not faces:
        say(f"{PROG}: no face found on {printable(photo.name)}; try a larger or sharper photo")
        return NO_FACE
    return FOUND


def _search(options: argparse.Namespace) -> int:
    if options.sheet is not None:
        from pathlib import Path

        from facewatchd.pictures import sheet

        options.sheet = Path(local_path(options.sheet))
        sheet.check_target(options.sheet, [0 if photo == STDIN else photo for photo in options.photos])
    photos = [QueryPhoto(argument) for argument in options.photos]
    started = time.monotonic()
    answer = Answer(_query(options, photos, started), photos, every_face=options.face == "all")
    # The daemon does not say why it is not complete; a directory out of reach would not have used up the time.
    late = options.wait is not None and not answer.complete and time.monotonic() - started >= options.wait
    _print_answer(options, answer, late=late)
    if options.sheet is not None:
        _draw_sheet(options, answer)
    if late:
        raise FacewatchError(
            f"not everything is searchable after {options.wait:g} s, {_are(answer.pending)} pending",
            _what_helps(options),
        )
    return FOUND if answer.matches else NOTHING_FOUND


def _query(options: argparse.Namespace, photos: Sequence[QueryPhoto], started: float) -> Any:
    given = {name: getattr(options, name) for name in ("face", "top", "threshold", "dirs", "min_size")}
    params = {name: value for name, value in given.items() if value is not None}
    if options.exact:
        params["exact"] = True
    if options.no_collapse:
        params["collapse"] = False

    def call() -> Any:
        if options.wait is not None:
            params["wait"] = max(0.0, options.wait - (time.monotonic() - started))
        return daemon.call("query", photos=[photo.param() for photo in photos], **params)

    if options.wait and not options.quiet:
        _say_what_is_waited_for(options)
    with Connection(options.socket, DEFAULT_TIMEOUT + (options.wait or 0)) as daemon:
        return ask(call, photos)


class _DaemonState(NamedTuple):
    """What the daemon says of itself beside a query; an empty state where it does not say so at once."""

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


def _say_what_is_waited_for(options: argparse.Namespace) -> None:
    """Say that the daemon is paused, and on a terminal how much is pending; what goes wrong, the query itself says."""
    now = _daemon_state(options)
    if now.state == "paused":
        say(f"{PROG}: the daemon is paused, so new photos do not become searchable; go on with: facewatchd resume")
    if now.state and sys.stderr is not None and sys.stderr.isatty():
        say(f"waiting up to {options.wait:g} s until everything is searchable; {_are(now.pending)} pending")


def _what_helps(options: argparse.Namespace) -> str:
    """What to do after a wait that was too short."""
    now = _daemon_state(options)
    if now.state == "paused":
        return "the daemon is paused: facewatchd resume"
    if now.state == "degraded":
        return "something is wrong, see: facewatchd status"
    return f"wait longer: {now.waits}" if now.waits else "wait longer, or see: facewatchd status"


def _print_answer(options: argparse.Namespace, answer: Answer, *, late: bool) -> None:
    """Print the results, and on standard error what else there is to say; of a late answer that is an error."""
    chatty = not options.quiet and (options.verbose or (on_terminal() and not options.json))
    if chatty:
        for number, face in enumerate(answer.query):
            say(_which_face(f"query {number}" if options.face == "all" else "query", face))
    if options.json:
        write_json(answer.document)
    elif options.print0:
        write(output.path_lines(answer.matches, b"\0"))
    elif options.paths:
        write(output.path_list(answer.matches) if on_terminal() else output.path_lines(answer.matches, b"\n"))
    elif on_terminal():
        colour = takes_colour(sys.stdout)
        write(output.match_table(answer.matches, which=options.face == "all", colour=colour))
    else:
        write(output.match_lines(answer.matches))
    if chatty:
        say(_summary(answer, verbose=options.verbose))
    elif answer.total > len(answer.matches) and not options.quiet and not options.json:
        say(_shown(answer))
    if not answer.complete and not late and not options.quiet and (chatty or not options.json):
        say(_what_is_missing(answer))


def _which_face(query: str, face: QueryFace | Faceless) -> str:
    if isinstance(face, Faceless):
        return f"{query}: no face on {printable(face.photo.name)}, which is left out"
    which = "the one face" if face.faces == 1 else f"face {face.number} (of 0 to {face.faces - 1}, left to right)"
    place = output.size_and_place(face.box)
    return f"{query}: {which} on {printable(face.photo.name)} at {place}, score {face.score:.2f}"


def _summary(answer: Answer, *, verbose: bool) -> str:
    searched = counted(answer.faces, "face")
    text = f"{_shown(answer)}; {searched} searched, {answer.pending} pending, {answer.elapsed_ms:.0f} ms"
    if verbose:
        way = "every face compared" if answer.exact else "by the index"
        text += f"; model {printable(answer.model)}, threshold {answer.threshold:.3g}, {way}"
    return text


def _shown(answer: Answer) -> str:
    text = f"{len(answer.matches)} of {counted(answer.total, 'photo')}"
    return f"{text}; -n 0 shows all" if answer.total > len(answer.matches) else text


def _what_is_missing(answer: Answer) -> str:
    if answer.pending:
        them = "it" if answer.pending == 1 else "them"
        return f"not complete: {_are(answer.pending)} not searchable yet; --wait waits for {them}"
    return "not complete: a directory is out of reach, or only looked at now and then; see: facewatchd status"


def _are(photos: int) -> str:
    return f"{counted(photos, 'photo')} {'is' if photos == 1 else 'are'}"


def _last(matches: int) -> str:
    return "the last match" if matches == 1 else f"the last {matches} matches"


def _draw_sheet(options: argparse.Namespace, answer: Answer) -> None:
    from facewatchd.pictures import sheet

    faces = [face for face in answer.query if isinstance(face, QueryFace)]
    tiles = [sheet.query_tile(face.photo.path, face.photo.data, face.photo.name, face.box) for face in faces]
    tiles += [sheet.match_tile(match) for match in answer.matches]
    shows_progress = not options.quiet and takes_drawing(sys.stderr)
    left_out = sheet.write(options.sheet, tiles, _progress if shows_progress else None)
    if left_out and not options.quiet:
        say(f"{printable(str(options.sheet))} leaves out {_last(left_out)}; ask for fewer with --top")


def _progress(done: int, total: int) -> None:
    sys.stderr.write(f"\rdrawing {done}/{total}" if done < total else "\r\x1b[K")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
