"""The command line of ``facewatch-query``. Standard library only."""

from __future__ import annotations

import argparse
import math

from facewatchd import __version__
from facewatchd.client.query import STDIN, local_path, path_param
from facewatchd.console.arguments import HelpFormatter, Parser

PROG = "facewatch-query"
DEFAULT_WAIT = 60.0
"""Seconds of a bare ``--wait``."""
MAX_WAIT = 24 * 3600.0
"""Seconds; the daemon takes no more."""


_EPILOG = """\
exit status: 0 found, 1 nothing found, 2 wrong usage or unreadable photo, 3 no face on the photo, 4 no daemon,
5 not ready in time (or the daemon could not answer)

Piped, each match is a line of similarity, x,y,w,h and path with tabs between; tab, newline and backslash in a path
are then written \\t, \\n and \\\\. -l and -0 print paths as they are.
"""


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the arguments. Options and photos may stand in any order; after ``--`` there are only photos.

    Raises `UsageError`.
    """
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
    """Refuse the options of a search beside --list-faces, which would ignore them silently."""
    given = {name: value for name, value in vars(options).items() if value is not None and value is not False}
    if given.keys() - {"photos", "list_faces", "json", "socket", "quiet", "verbose"}:
        parser.error("--list-faces searches nothing and goes with --json, --socket, -q and -v only")
    if len(options.photos) > 1:
        parser.error("--list-faces takes one photo")


def _join_numbers(argv: list[str]) -> list[str]:
    """Join an option and its number into one argument where argparse would read them wrongly.

    A bare ``--wait`` must not take the photo after it for its seconds, and because there is an option ``-0``, argparse
    takes ``-1`` and ``-0.2`` for options.
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
"""The options that take a number, each with the name that it is joined to."""


def make_parser() -> Parser:
    """Return the parser of the command line; `parse` prepares the arguments for it."""
    parser = Parser(
        prog=PROG,
        usage="%(prog)s [OPTIONS] PHOTO ...",
        description="Find the photos that show the same person. Asks the facewatchd daemon.",
        epilog=_EPILOG,
        formatter_class=HelpFormatter,
    )
    add = parser.add_argument
    add(
        "photos",
        metavar="PHOTO",
        nargs="*",
        help="several photos show the same person; '-' is standard input",
    )
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
        help="least similarity, -1 to 1 (default: as configured, else the model's own; below that, blur is ignored)",
    )
    add(
        "--face",
        metavar="largest|all|N",
        type=_face,
        help="which face of the photo (default largest; N counts left to right from 0)",
    )
    add("--list-faces", action="store_true", help="print the photo's faces, and what speaks against each; no search")
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
    add(
        "--no-collapse",
        action="store_true",
        help="show every copy of a photo, instead of the same bytes once",
    )
    add(
        "--explain",
        action="store_true",
        help="why a match may be wrong, and how many are to be expected wrong",
    )
    add(
        "--sheet",
        metavar="FILE",
        help="also draw a picture: the query face, then the matches (.png .jpg .webp .pdf); replaces only a sheet",
    )
    _add_output_options(parser)
    return parser


def _add_output_options(parser: Parser) -> None:
    add = parser.add_argument
    add("-l", "--paths", action="store_true", help="print paths only, each photo once")
    add("-0", "--print0", action="store_true", help="the same, NUL between them")
    add("--json", action="store_true", help="print one JSON document, see facewatchd-protocol(7)")
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
    """Whether Python reads this as a number, infinities and NaN included."""
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
