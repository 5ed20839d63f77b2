"""The command line of ``facewatch-query``. Standard library only."""

from __future__ import annotations

import argparse
import math
import os
import re

from facewatchd import __version__
from facewatchd.client.query import ON_HOST, STDIN, local_path, path_param
from facewatchd.client.who import read_who
from facewatchd.console.arguments import HelpFormatter, Parser, read_date

PROG = "facewatch-query"
DEFAULT_WAIT = 60.0
"""Seconds of a bare ``--wait``."""
MAX_WAIT = 24 * 3600.0
"""Seconds; the daemon takes no more."""
SORTS = ("similarity", "date", "-date", "path")
MAX_NAME = 200
"""Characters of a ``--new`` name."""


_EPILOG = """\
exit status: 0 found, 1 nothing found, 2 wrong usage or unreadable photo, 3 no face on the photo, 4 no daemon,
5 not ready in time (or the daemon could not answer)

Piped, each match is a line of similarity, x,y,w,h and path with tabs between; tab, newline and backslash in a path
are then written \\t, \\n and \\\\. -l and -0 print paths as they are. The path of a photo on another machine is
host:/path; that of one on this machine begins with a slash.
"""


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the arguments. Options and WHOs may stand in any order; after ``--`` there are only WHOs.

    Raises `UsageError`.
    """
    end = argv.index("--") if "--" in argv else len(argv)
    parser = make_parser()
    options = parser.parse_intermixed_args(_join_values(argv[:end]))
    options.who = [read_who(text) for text in (*options.who, *argv[end + 1 :])]
    options.with_ = [read_who(text) for text in options.with_]
    options.without = [read_who(text) for text in options.without]
    _check_who(parser, options)
    if options.json and (options.paths or options.print0):
        parser.error("--json and --paths or --print0 exclude each other")
    if options.json and options.show:
        parser.error("--json and --show exclude each other")
    if options.list_faces:
        _refuse_search_options(parser, options)
    else:
        _check_search(parser, options)
    return options


def _check_who(parser: Parser, options: argparse.Namespace) -> None:
    if not options.who:
        parser.error("name a photo, or @NAME")
    everyone = [*options.who, *options.with_, *options.without]
    if sum(who.photo == STDIN for who in everyone) > 1:
        parser.error("standard input holds one photo: give '-' once")


def _refuse_search_options(parser: Parser, options: argparse.Namespace) -> None:
    """Refuse the options of a search beside --list-faces, which would ignore them silently."""
    given = {name: value for name, value in vars(options).items() if value is not None and value is not False}
    if {name for name, value in given.items() if value != []} - {
        "who",
        "list_faces",
        "names",
        "sheet",
        "open",
        "show",
        "json",
        "socket",
        "quiet",
        "verbose",
    }:
        parser.error(
            "--list-faces searches nothing and goes with --who, --sheet, --open, --show, --json, --socket, -q and -v "
            "only"
        )
    if len(options.who) > 1 or options.who[0].photo is None or options.who[0].face is not None:
        parser.error("--list-faces takes one photo")


def _check_search(parser: Parser, options: argparse.Namespace) -> None:
    """Refuse options that contradict each other, or that would be ignored."""
    if options.names:
        parser.error("--who names the faces that --list-faces lists: give both")
    _check_machines(parser, options)
    if options.strict and not options.without:
        parser.error("--strict says what --without does: give --without WHO")
    since, until = options.since, options.until
    if since and until and since[: len(until)] > until:
        parser.error(f"--since {since} is after --until {until}")
    if options.follow:
        _check_follow(parser, options)
    if options.link_to and options.copy_to:
        parser.error("--link-to and --copy-to exclude each other")
    if options.sync:
        _check_sync(parser, options)


def _check_machines(parser: Parser, options: argparse.Namespace) -> None:
    if options.shared and options.local:
        parser.error("--shared and --local exclude each other")
    if options.hosts and options.local:
        parser.error("--hosts prints photos of other machines, and goes without --local")
    paths_only = (options.paths or options.print0) and not options.hosts
    if options.new and options.shared and paths_only:
        parser.error("--new would count photos of other machines as printed: give --hosts as well, or --local")
    if not any(map(_names_host, options.dirs or ())):
        return
    if options.local or options.follow:
        option = "--local" if options.local else "--follow"
        parser.error(f"{option} is about the photos of this machine, and goes without -d HOST:PATH")
    if paths_only:
        parser.error("-l and -0 print photos of this machine only: give --hosts beside -d HOST:PATH")


def _names_host(directory: str | dict[str, str]) -> bool:
    return not directory.startswith("/") if isinstance(directory, str) else "host" in directory


def _check_follow(parser: Parser, options: argparse.Namespace) -> None:
    for name, value in (
        ("--sheet", options.sheet),
        ("--html", options.html),
        ("--open", options.open),
        ("--show", options.show),
        ("--sort", options.sort),
        ("-n", options.top),
    ):
        if value:
            parser.error(f"--follow prints each match as it arrives, and goes without {name}")


def _check_sync(parser: Parser, options: argparse.Namespace) -> None:
    if options.copy_to:
        parser.error("--sync removes links that match no more, and no copies: give --link-to DIR")
    if not options.link_to:
        parser.error("--sync says what becomes of the links in a directory: give --link-to DIR")
    for name, value in (("--new", options.new), ("--follow", options.follow)):
        if value:
            parser.error(f"--sync needs all matches at once, and goes without {name}")


def _join_values(argv: list[str]) -> list[str]:
    """Join an option and its value into one argument where argparse would read them wrongly.

    A bare ``--wait`` must not take the photo after it for its seconds, and because there are options ``-0`` and
    ``-d``, argparse takes ``-1``, ``-0.2`` and ``-date`` for options.
    """
    glued: list[str] = []
    rest = iter(range(len(argv)))
    for at in rest:
        value = argv[at + 1] if at + 1 < len(argv) else ""
        if argv[at] == "--wait" and (value == "-0" or not _is_number(value)):  # that is --print0
            glued.append(f"--wait={DEFAULT_WAIT:g}")
        elif argv[at] in _JOINED and (_is_float(value) or value in SORTS):
            glued.append(f"{_JOINED[argv[at]]}={value}")
            next(rest)
        else:
            glued.append(argv[at])
    return glued


_JOINED = {name: name for name in ("--wait", "--threshold", "--top", "--face", "--min-size", "--faces", "--sort")} | {
    "-n": "--top"
}
"""The options whose value may begin with a minus, each with the name that it is joined to."""


def make_parser() -> Parser:
    """Return the parser of the command line; `parse` prepares the arguments for it."""
    parser = Parser(
        prog=PROG,
        usage="%(prog)s [OPTIONS] WHO ...",
        description="Find the photos that show the same person. Asks the facewatchd daemon.",
        epilog=_EPILOG,
        formatter_class=HelpFormatter,
    )
    _add_question(parser)
    _add_restrictions(parser)
    _add_result_options(parser)
    _add_output_options(parser)
    return parser


def _add_question(parser: Parser) -> None:
    """Add the options that say which person is looked for, and what counts as one match."""
    add = parser.add_argument
    add(
        "who",
        metavar="WHO",
        nargs="*",
        help="a photo, PHOTO#N (its Nth face), @NAME, face:ID, group:ID (unknown faces) or '-' (a photo on standard "
        "input); several are the same person",
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
    add("--who", dest="names", action="store_true", help="with --list-faces: also the person that each face is")


def _add_restrictions(parser: Parser) -> None:
    """Add the options that say which of the photos of the person are wanted."""
    add = parser.add_argument
    add(
        "-d",
        "--dir",
        metavar="PATH",
        dest="dirs",
        action="append",
        type=_directory,
        help="only photos under PATH, or HOST:PATH of another machine (repeatable)",
    )
    add("--min-size", metavar="PX", type=_count, help="only faces at least PX on their shorter side")
    for name, dest, text in (
        ("--with", "with_", "only photos that also show WHO (repeatable)"),
        ("--without", "without", "only photos on which WHO is not seen (repeatable)"),
    ):
        add(name, metavar="WHO", dest=dest, action="append", default=[], help=text)
    add("--strict", action="store_true", help="with --without: drop photos with faces too poor to tell")
    add("--only", action="store_true", help="only photos with no other face")
    add("--faces", metavar="N|N-M|N-", type=_face_range, help="only photos with so many faces")
    add("--since", metavar="DATE", type=read_date, help="only photos taken on DATE or later: 2019, 2019-06, 2019-06-30")
    add("--until", metavar="DATE", type=read_date, help="only photos taken on DATE or earlier")


def _add_result_options(parser: Parser) -> None:
    """Add the options that say in which order and how far the matches are told."""
    add = parser.add_argument
    add(
        "--no-collapse",
        action="store_true",
        help="show every copy of a photo and every frame of a burst, instead of one of them",
    )
    add("--sort", metavar="|".join(SORTS), type=_sort, help="the order of the matches (default: similarity)")
    add(
        "--new",
        metavar="NAME",
        type=_new_name,
        help="only photos that an earlier call with this NAME did not print",
    )
    add("--follow", action="store_true", help="go on, and print matches as photos arrive")
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
    add("--show", action="store_true", help="also show the faces as pictures, in a terminal")
    add(
        "--html",
        metavar="FILE",
        help="also write a page with all pictures in it, to look through in a browser; replaces only such a page",
    )
    add(
        "--open",
        action="store_true",
        help="show the sheet, or the album, in the desktop's viewer; without either, a sheet that is not kept",
    )
    add("--link-to", metavar="DIR", help="also put links to the photos into DIR; all of them, unless -n is given")
    add("--copy-to", metavar="DIR", help="also put copies of the photos into DIR; all of them, unless -n is given")
    add("--sync", action="store_true", help="with --link-to: remove its links in DIR that match no more")


def _add_output_options(parser: Parser) -> None:
    add = parser.add_argument
    add("-l", "--paths", action="store_true", help="print paths only, each photo once")
    add("-0", "--print0", action="store_true", help="the same, NUL between them")
    add("--hosts", action="store_true", help="with -l or -0: also photos on other machines, as host:/path")
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
    text = "also ask the shared engine, for photos on other machines (default: if it is configured, without -l and -0)"
    add("--shared", action="store_true", help=text)
    add("--local", action="store_true", help="never ask the shared engine: photos on this machine only")
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
    """Return a directory as a parameter; one of another machine where no file here has that very name."""
    path = local_path(text)
    place = re.fullmatch(ON_HOST, path, re.DOTALL)
    if place is None or os.path.lexists(path):
        param = path_param(path)
        return param.get("path", param)
    host = place[1]
    param = path_param(place[2] or "/")
    return f"{host}:{param['path']}" if "path" in param else {"host": host, **param}


def _face_range(text: str) -> tuple[int, int | None]:
    """Return the fewest and the most faces; None where there is no most."""
    found = re.fullmatch(r"([0-9]{1,9})(-([0-9]{1,9})?)?", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of faces such as 2, 2-5 or 2-")
    fewest = int(found[1])
    most = int(found[3]) if found[3] else None if found[2] else fewest
    if most is not None and most < fewest:
        raise argparse.ArgumentTypeError(f"{text!r} has its ends the wrong way round")
    return fewest, most


def _sort(text: str) -> str:
    if text not in SORTS:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(SORTS)}")
    return text


def _new_name(text: str) -> str:
    if not text.isprintable() or text != text.strip() or len(text) > MAX_NAME:
        raise argparse.ArgumentTypeError(f"{text!r} is not a name of at most {MAX_NAME} printable characters")
    return text
