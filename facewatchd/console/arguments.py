"""How all commands read their arguments: argparse, with messages that name what is wrong and what is wanted.

Standard library only, because `facewatch-query` starts with it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from facewatchd.console.streams import write
from facewatchd.errors import UsageError

INTERRUPTED = 130
"""Exit status after Ctrl-C: 128 and the number of SIGINT, as shells have it."""


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Help as wide as the terminal. argparse makes one for every option, and each would ask `shutil` for the width."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


def _columns() -> int:
    """Return what `shutil.get_terminal_size` would; importing that module takes as long as a query."""
    with contextlib.suppress(KeyError, ValueError):
        if (columns := int(os.environ["COLUMNS"])) > 0:
            return columns
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or 80  # type: ignore[union-attr]
    return 80


class Parser(argparse.ArgumentParser):
    """Raises `UsageError` for wrong arguments; takes no abbreviations, as a new option would change their meaning."""

    default = ""
    """The command that is meant where none of several is named."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False} | options)
        self.words: dict[str, str] = {}
        """The values of arguments in words, by their names in the help, where `_VALUES` has other ones."""

    def _print_message(self, message: str, file: object = None) -> None:
        """Write help or a version as a result is written: argparse itself ignores a failure."""
        write(message)

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        """Refuse an empty value, as of a variable that is not set: as a path it would be the current directory."""
        arg_string = arg_string.removeprefix(_AS_IT_IS)
        if not arg_string:
            raise argparse.ArgumentError(action, "the value is empty: perhaps a shell variable is unset")
        return super()._get_value(action, arg_string)

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        """Take the value in ``--option=--``, which argparse before Python 3.13 drops."""
        if action.option_strings:
            arg_strings = [_AS_IT_IS + each if each == "--" else each for each in arg_strings]
        return super()._get_values(action, arg_strings)

    def _match_argument(self, action: argparse.Action, arg_strings_pattern: str) -> int:
        """For an option without its value, name the value that it needs; argparse names only how many."""
        try:
            return super()._match_argument(action, arg_strings_pattern)
        except argparse.ArgumentError as exc:
            raise (self.needs_value(action) if action.option_strings else exc) from exc

    def error(self, message: str) -> NoReturn:
        """Raise `UsageError`, in our own words for an argument that is missing and for an option that is not known."""
        if message.startswith(_MISSING):
            name = message.removeprefix(_MISSING).split(", ")[0]
            action = next(each for each in self._actions if argparse._get_action_name(each) == name)
            message = f"{name} is missing: {'it needs' if action.option_strings else 'name'} {self._value_of(action)}"
        if message.startswith(_NOT_KNOWN) and (rest := message.removeprefix(_NOT_KNOWN)).startswith("-"):
            self.refuse_option(rest.split(" ")[0])
        raise UsageError(message.replace(_AS_IT_IS, ""), f"see {self.prog} --help")

    def refuse_option(self, argument: str) -> NoReturn:
        """Raise `UsageError` for an argument that begins with an option that is not known."""
        wrong = argument.partition("=")[0]
        meant = did_you_mean(wrong, self._option_string_actions)
        if not meant and any(not action.option_strings for action in self._actions):
            raise UsageError(f"unknown option {wrong}", f"see {self.prog} --help; if it is no option, put -- before it")
        self.error(f"unknown option {wrong}{meant}")

    def is_unknown(self, argument: str) -> bool:
        """Whether an argument before ``--`` begins with a dash, and with no option, and is no number."""
        if len(argument) < 2 or not argument.startswith("-") or self._negative_number_matcher.match(argument):
            return False
        short = "" if argument.startswith("--") else argument[:2]
        return not {argument.partition("=")[0], short} & self._option_string_actions.keys()

    def needs_value(self, action: argparse.Action) -> argparse.ArgumentError:
        """Return the error of an option without its value."""
        return argparse.ArgumentError(action, f"it needs {self._value_of(action)}")

    def _value_of(self, action: argparse.Action) -> str:
        if action.choices:
            *others, last = map(str, action.choices)
            return f"{', '.join(others)} or {last}"
        name = str(action.metavar)
        return self.words.get(name) or _VALUES[name]


_NOT_KNOWN = "unrecognized arguments: "
"""Beginning of argparse's message about arguments that it did not take."""
_MISSING = "the following arguments are required: "
"""Beginning of argparse's message about arguments that are not there."""
_AS_IT_IS = "\0"
"""Before an argument that is no option, whatever it begins with. No argument of a process holds this character."""


_VALUES = {
    "N": "a whole number from 0",
    "PX": "a whole number from 0",
    "F": "a number from -1 to 1",
    "SECONDS": "a number of seconds",
    "PATH": "a path",
    "FILE": "a file",
    "DIR": "a directory",
    "NAME|PATH": "a model's name or directory",
    "NAME|ZIP|DIR": "a released pack, or a pack's zip file or directory",
    "largest|all|N": "largest, all or a number from 0",
    "WHO": "a photo, @NAME or face:ID",
    "DATE|none": "a year, month or day, or none",
    "DATE": "a year, month or day: 2019, 2019-06 or 2019-06-30",
    "NAME": "a name, such as Anna",
    "NEW": "the new one",
    "INTO": "the person that stays",
    "X,Y,W,H": "a box of four numbers",
    "N|N-M|N-": "a number of faces such as 2, 2-5 or 2-",
    "similarity|date|-date|path": "one of similarity, date, -date, path",
}
"""The values of options in words, by their names in the help."""


def read_date(text: str) -> str:
    """Check a year, month or day, written as the protocol takes it."""
    if not re.fullmatch(r"[0-9]{4}(-[0-9]{2}){0,2}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a date such as 2019, 2019-06 or 2019-06-30")
    year, month, day = (*map(int, text.split("-")), 1, 1)[:3]
    if not year >= 1 or not 1 <= month <= 12 or not 1 <= day <= _days(year, month):
        raise argparse.ArgumentTypeError(f"there is no date {text}")
    return text


def _days(year: int, month: int) -> int:
    """Return the days of a month; importing `calendar` takes as long as `argparse`."""
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """Return ``: did you mean X?`` for a known word that is like the wrong one; else an empty string."""
    import difflib  # here, because importing it takes as long as a query

    like = difflib.get_close_matches(wrong, list(known), 1)
    return f": did you mean {like[0]}?" if like else ""


def parse(parser: Parser, argv: Sequence[str]) -> argparse.Namespace:
    """Find the subcommand, at any depth, and read its arguments; options and others may stand in any order.

    No argument after ``--`` is an option. Raises `UsageError`.
    """
    arguments = list(argv)
    while (inner := _subparsers(parser)) and arguments and arguments[0] in inner:
        parser = inner[arguments.pop(0)]
    if inner and parser.default and (not arguments or _is_option_of(inner[parser.default], arguments[0])):
        parser, inner = inner[parser.default], {}
    if inner:
        if arguments:
            _refuse_before_command(parser, inner, arguments[0])
        return parser.parse_args(arguments)
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = [parser._option_string_actions.get(each) for each in arguments[:end]]
    needing = [action if action is not None and action.nargs is None else None for action in options]
    for before, argument in zip([None, *needing], arguments[:end], strict=False):
        if before is None and parser.is_unknown(argument):  # argparse would first name what is missing
            parser.refuse_option(argument)
    if end < len(arguments):  # parse_intermixed_args reads it wrongly
        if end and (before := needing[end - 1]) is not None:
            parser.error(str(parser.needs_value(before)))
        arguments[end:] = [_AS_IT_IS + each if each.startswith("-") else each for each in arguments[end + 1 :]]
    return parser.parse_intermixed_args(arguments)


def _is_option_of(parser: Parser, argument: str) -> bool:
    name = argument.partition("=")[0]
    return name in parser._option_string_actions and name not in ("-h", "--help")


def _refuse_before_command(parser: Parser, commands: dict[str, Parser], first: str) -> None:
    """Raise `UsageError` for a first argument that is neither a command nor an option that stands before one."""
    if not first.startswith("-"):
        parser.error(f"there is no command {first!r}{did_you_mean(first, commands)}")
    option = first.partition("=")[0]
    if option in parser._option_string_actions:
        return
    of = next((name for name, command in commands.items() if option in command._option_string_actions), None)
    if of is None:
        parser.refuse_option(option)
    parser.error(f"{option} stands after its command: {parser.prog} {of} {option}")


def _subparsers(parser: Parser) -> dict[str, Parser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}
