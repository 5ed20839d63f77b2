"""Lines of systemd units, from values and paths that may hold anything."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from facewatchd.errors import UsageError
from facewatchd.text import printable


def require_utf8(words: Iterable[str]) -> None:
    """Raise `UsageError` for a word that systemd does not take."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError as exc:
            raise UsageError(f"{printable(word)} is not UTF-8, which systemd does not take", "rename it") from exc


def command_line(command: Sequence[str]) -> str:
    """A command as `ExecStart=` takes it."""
    return " ".join(quoted(word.replace("$", "$$")) for word in command)


def with_line(unit: str, key: str, value: str) -> str:
    """The unit with another value of a key that it has once."""
    unit, count = re.subn(rf"^{key}=.*$", lambda _: f"{key}={value}", unit, flags=re.MULTILINE)
    assert count == 1, f"the unit has one {key}"
    return unit


def read_only(shown: Sequence[Path]) -> list[str]:
    """The lines that show paths to a service, for reading. A missing one may come back, and stops no start (`-`)."""
    return [f"BindReadOnlyPaths={quoted('-' + bound(path))}" for path in shown]


def with_binds(unit: str, binds: Sequence[str]) -> str:
    """The unit with these lines behind `PrivateTmp=`, which they may look into."""
    return unit.replace("PrivateTmp=yes\n", "".join(f"{line}\n" for line in ("PrivateTmp=yes", *binds)))


def bound(path: Path) -> str:
    """A path as `BindPaths=` takes it, where a colon would separate source and destination."""
    return str(path).replace(":", "\\:")


def quoted(word: str) -> str:
    """A word as systemd.syntax(7) and systemd.unit(5) define it: quoted where needed, specifiers escaped."""
    word = word.replace("%", "%%")
    if re.fullmatch(r"[\w@%+=:,./$-]+", word, re.ASCII):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'
