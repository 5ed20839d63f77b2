"""A man page from a parser: commands, options and exit status are the parser's, what else a page has is here.

argparse-manpage takes the text of argparse's help apart, which differs from one Python to the next, has a section for
each command and another for its options, and says `Generated Python Manual` at the top. So this walks the actions.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from facewatchd.console.arguments import INTERRUPTED

SUMMARY = {
    "facewatchd": "index the faces on your photos, and control the daemon that does",
    "facewatch-query": "find the photos that show the same person",
}
DESCRIPTION = {
    "facewatchd": (
        "facewatchd run watches photo directories, finds and embeds the faces on every new or changed photo, and "
        "answers facewatch-query over a Unix socket. The other commands control a daemon that runs, or look after its "
        "models and this machine. Nothing ever leaves the machine; the network is used only to fetch a model.",
        "Results go to standard output, everything else to standard error. With NO_COLOR in the environment there is "
        "no colour.",
    ),
    "facewatch-query": (
        "On a terminal, the matches are a table of similarity, box and path, most alike first. A similarity is the "
        "cosine of two embeddings, -1 to 1; from which one a face counts as a match depends on the model.",
    ),
}
SOCKET = ("$XDG_RUNTIME_DIR/facewatchd/socket", "the daemon's socket, which only its own user and root may use")
FILES = {
    "facewatchd": (
        ("~/.config/facewatchd/config.toml", "the configuration"),
        ("~/.local/share/facewatchd/", "a directory for each model, with the catalog and the index"),
        ("~/.insightface/", "InsightFace's models, unless the configuration names another directory"),
        SOCKET,
    ),
    "facewatch-query": (SOCKET,),
}
EXAMPLES = {
    "facewatchd": (
        ("facewatchd run ~/Pictures", "Index a directory, and follow it until Ctrl-C."),
        ("facewatchd why ~/Pictures/anna.jpg", "Why is this photo not found?"),
        ("facewatchd photos --state failed", "Which photos could not be read, and why?"),
        ("facewatchd models fetch buffalo_l", "Bring a model to this machine before it is needed."),
    ),
    "facewatch-query": (
        ("facewatch-query anna.jpg", "Where else is the person with the largest face?"),
        ("facewatch-query --face 1 --sheet anna.png group.jpg", "Ask for the second face from the left, and draw it."),
        (
            "facewatch-query -0 -n 0 anna.jpg | xargs -0 cp --parents -t anna/",
            "Copy all photos of one person, each below its own directories.",
        ),
    ),
}
HELP = "show what a command takes, and exit"
SEE_ALSO = {"facewatchd": "facewatch-query", "facewatch-query": "facewatchd"}


def man_page(parser: argparse.ArgumentParser) -> str:
    """The page in roff, for section 1. Without a date or a version: it changes only when it says something else."""
    name = parser.prog
    paragraphs, statuses = _epilog(parser)
    lines = [f'.TH {_plain(name.upper())} 1 "" {_plain(name)} "User Commands"']
    lines += [".SH NAME", rf"{_plain(name)} \- {_plain(SUMMARY[name])}"]
    lines += [".SH SYNOPSIS", *_synopsis(parser)]
    lines += [".SH DESCRIPTION", _text(parser.description)]
    for paragraph in (*DESCRIPTION[name], *paragraphs):
        lines += [".PP", _text(paragraph)]
    if commands := list(_commands(parser)):
        lines.append(".SH COMMANDS")
        for command in commands:
            lines += [f".SS {_plain(command.prog)}", _text(command.description), *_items(command)]
    lines += [".SH OPTIONS", *_items(parser), *_item(r"\fB\-h\fR, \fB\-\-help\fR", HELP)]
    lines += [".SH EXIT STATUS"]
    for status, meaning in [*statuses, (str(INTERRUPTED), "interrupted by Ctrl-C")]:
        lines += _item(rf"\fB{status}\fR", meaning)
    lines += [".SH FILES"]
    for path, meaning in FILES[name]:
        lines += _item(rf"\fI{_plain(path)}\fR", meaning)
    lines += [".SH EXAMPLES"]
    for example, meaning in EXAMPLES[name]:
        lines += _item(rf"\fB{_plain(example)}\fR", meaning)
    lines += [".SH SEE ALSO", f".BR {_plain(SEE_ALSO[name])} (1)"]
    return "\n".join(lines) + "\n"


def _commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The commands that do something: of ``models list`` the inner one."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from list(_commands(inner)) or [inner]


def _synopsis(parser: argparse.ArgumentParser) -> Iterator[str]:
    if parser.usage:
        yield rf"\fB{_plain(parser.prog)}\fR {_metavar(parser.usage.removeprefix('%(prog)s '))}"
        return
    for command in _commands(parser):
        yield f'.SY "{_plain(command.prog)}"'
        for action in sorted(_actions(command), key=lambda action: not action.option_strings):
            if action.option_strings and action.required:
                yield rf"\fB{_plain(action.option_strings[0])}\fR\~{_metavar(_value(action))}"
            elif action.option_strings:
                value = "" if action.nargs == 0 else f" {_plain(_value(action))}"
                yield f".OP {_plain(action.option_strings[0])}{value}"
            else:
                value = _metavar(_value(action)) + (r"\~.\|.\|." if action.nargs in ("*", "+") else "")
                yield f"[{value}]" if action.nargs in ("*", "?") else value
        yield ".YS"


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """All but the commands, and ``--help``, which every command has and `man_page` names once."""
    left_out = (argparse._HelpAction, argparse._SubParsersAction)
    return [action for action in parser._actions if not isinstance(action, left_out)]


def _items(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Arguments, then options, with what each means in the words of ``--help``."""
    formatter = parser._get_formatter()
    for action in sorted(_actions(parser), key=lambda action: bool(action.option_strings)):
        tag = ", ".join(rf"\fB{_plain(name)}\fR" for name in action.option_strings)
        if action.nargs != 0:
            value = _metavar(_value(action))
            tag = f"{tag} {f'[{value}]' if action.option_strings and action.nargs == '?' else value}".strip()
        if action.help:
            yield from _item(tag, formatter._expand_help(action))


def _item(tag: str, meaning: str) -> tuple[str, str, str]:
    text = _text(meaning[0].upper() + meaning[1:])
    return ".TP", tag, text if text.endswith((".", "?")) else f"{text}."


def _epilog(parser: argparse.ArgumentParser) -> tuple[list[str], list[tuple[str, str]]]:
    """The paragraphs of a parser's epilog, and the exit statuses that one of them lists."""
    paragraphs = [" ".join(text.split()) for text in (parser.epilog or "").split("\n\n")]
    (listed,) = (text for text in paragraphs if text.startswith("exit status: "))
    statuses = re.findall(r"(\d+) (.+?)(?=, \d+ |$)", listed.removeprefix("exit status: "))
    return [text for text in paragraphs if text != listed], statuses


def _plain(text: str) -> str:
    """As it is: what roff would read as its own is escaped, and a hyphen is one that can be copied to a shell."""
    for character, escape in {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "~": r"\(ti", "^": r"\(ha"}.items():
        text = text.replace(character, escape)
    return rf"\&{text}" if text.startswith(".") else text


def _text(text: str | None) -> str:
    """Running text, with options and the two commands in bold."""
    words = r"(?<![\w\\/-])((\\-){1,2}[a-z0][\w\\-]*|facewatch(d|\\-query)\b)"
    return re.sub(words, r"\\fB\1\\fR", _plain(text or ""))


def _value(action: argparse.Action) -> str:
    return str(action.metavar or "|".join(map(str, action.choices or ())) or action.dest.upper())


def _metavar(text: str) -> str:
    """A placeholder: what stands for something else in italics, what is written as it is in bold."""
    return re.sub(r"[A-Za-z]+", lambda word: rf"\f{'I' if word[0].isupper() else 'B'}{word[0]}\fR", text)
