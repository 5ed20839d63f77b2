"""Writes the completions and the man pages that the wheel installs; run it when a parser or a declaration changes.

``python -m tests.support.shell_files`` walks the parsers of all commands, the keys of the configuration and the
methods of the protocol, and rewrites ``facewatchd/share``, which is laid out as the ``share`` beside the ``bin`` that
the commands end up in.

The completions are shtab's, which is needed here only. Its templates are part of what is written, so the `test` extra
holds it to one minor version. What it does not know is said here: how to complete the value of each metavar, and
what has to be mended (`_MEND`). The man pages are made by `man_pages` and `reference_pages`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator

import shtab

from facewatchd.cli import app as cli
from facewatchd.client import arguments as query_arguments
from facewatchd.config import AUTO_MODEL
from facewatchd.console.arguments import Parser
from facewatchd.models.registry import FETCHED
from facewatchd.shared import app as share
from tests.support import reference_pages
from tests.support.man_pages import man_page
from tests.support.paths import PROJECT

SHARE = PROJECT / "facewatchd" / "share"
COMMAND = "python -m tests.support.shell_files"
PLACES = {
    "bash": "bash-completion/completions/{}",
    "zsh": "zsh/site-functions/_{}",
    "fish": "fish/vendor_completions.d/{}.fish",
    "man": "man/man1/{}.1",
}
"""Where each of them looks, below ``share``."""
PICTURE = "doc/facewatchd/sheet.webp"
"""The one file below ``share`` that is not written here: the picture in the README."""

Values = shtab.CompleteType


def parsers() -> dict[str, Parser]:
    """A new parser for each of the commands, by the command's name."""
    made = (cli.make_parser(), query_arguments.make_parser(), share.make_parser())
    return {parser.prog: parser for parser in made}


def files() -> dict[str, str]:
    """All files: the text of each by its place below ``share``."""
    made = {f"man/{place}": text for place, text in reference_pages.pages().items()}
    for name, parser in parsers().items():
        made[PLACES["man"].format(name)] = man_page(parser)
        for action in every_action(parser):
            say_how_to_complete(action)
        for shell in ("bash", "zsh", "fish"):
            made[PLACES[shell].format(name)] = _completion(parser, shell)
    return made


def every_action(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Options and arguments of a parser and of all subcommands below it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from every_action(inner)
        else:
            yield action


def _names(function: str, names: tuple[str, ...], then: Values) -> Values:
    """Complete one of some names, or what ``then`` completes."""
    words = " ".join(names)
    return {
        "bash": function,
        "zsh": function,
        "fish": f"{words} {then['fish']}",
        "preamble": {
            "bash": f'{function}() {{\n  compgen -W "{words}" -- "$1"\n  {then["bash"]} "$1"\n}}',
            "zsh": f"{function}() {{\n  _alternative 'models:model:({words})' 'files:file:{then['zsh']}'\n}}",
        },
    }


VALUES: dict[str, Values | tuple[str, ...] | None] = {
    "--dir": shtab.DIRECTORY,
    "DIR": shtab.DIRECTORY,
    "PATH": shtab.FILE,
    "FILE": shtab.FILE,
    "WHO": shtab.FILE,
    # shtab goes by `_dir` and `_file` in bash functions' names: what these print is quoted as names of files are
    "NAME|PATH": _names("_facewatchd_model_or_dir", (AUTO_MODEL, *FETCHED), shtab.DIRECTORY),
    "NAME|ZIP|DIR": _names("_facewatchd_pack_or_file", FETCHED, shtab.FILE),
    "largest|all|N": ("largest", "all"),
    "similarity|date|-date|path": ("similarity", "date", "-date", "path"),
    "DATE|none": ("none",),
    "DATE": None,
    "NAME": None,
    "NEW": None,
    "INTO": None,
    "X,Y,W,H": None,
    "N|N-M|N-": None,
    "N": None,
    "F": None,
    "PX": None,
    "SECONDS": None,
}
"""How values are completed, by the option if it has an entry, else by its metavar; None: there is nothing to offer."""


def say_how_to_complete(action: argparse.Action) -> None:
    """Tell shtab of an action's values; LookupError where `VALUES` says nothing of them."""
    if action.nargs == 0 or action.choices:
        return
    key = next((name for name in action.option_strings if name in VALUES), action.metavar)
    if key not in VALUES:
        raise LookupError(f"VALUES in {__file__} does not say how to complete {key} ({action.dest})")
    values = VALUES[key]
    if isinstance(values, tuple):
        action.choices = values
    elif values is not None:
        action.complete = values  # type: ignore[attr-defined]  # where shtab looks


def _completion(parser: Parser, shell: str) -> str:
    """shtab's text with a heading that is true of a file that is installed already."""
    lines = shtab.complete(parser, shell).splitlines()
    lines = lines[next(at for at, line in enumerate(lines) if line and not line.startswith("#")) :]
    heading = [f"#compdef {parser.prog}"] if shell == "zsh" else []
    heading += [f"# Written by shtab (github.com/tqdm/shtab, MPL-2.0) for {COMMAND}: change that, not this.", ""]
    text = "\n".join(line.rstrip() for line in [*heading, *lines]) + "\n"
    return _MEND[shell](text)


def _own_helpers(text: str) -> str:
    """Name bash's helpers ours: what another version of shtab wrote for another command defines them as well."""
    return re.sub(
        r"\b_(set_parser_defaults|set_new_action|shtab_replace_nonword|shtab_compgen)", r"_facewatch_\1", text
    )


def _every_argument(text: str) -> str:
    """Let zsh complete each of several arguments: what shtab writes for ``nargs="*"`` completes the first only.

    By the same mark it finds out whether a command has arguments, so that is changed too.
    """
    return text.replace('"(*)::', '"*:').replace("one_or_more='(*)'", "one_or_more='*:'")


_MEND: dict[str, Callable[[str], str]] = {"bash": _own_helpers, "zsh": _every_argument, "fish": str}


def main() -> None:
    """Write all files."""
    for place, text in files().items():
        path = SHARE / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
