"""The entry that has a desktop show the page in its menu: ``facewatchd service install --page``.

It differs from the one in ``systemd/`` in the line that says how the page is started. Words are quoted as the Desktop
Entry Specification 1.5 asks for in "The Exec key", on top of the escapes of its values.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from facewatchd import paths
from facewatchd.errors import FacewatchError, UsageError
from facewatchd.service import units
from facewatchd.system import atomic_files
from facewatchd.text import printable

NAME = "facewatchd-page.desktop"
MARK = "# Written by `facewatchd service install --page`, which replaces this file; `service uninstall` removes it."
"""First line of an entry that may be replaced and removed."""


def install(directory: Path | None = None) -> list[Path]:
    """Write the entry; return it where it was not there or was different.

    Raises `FacewatchError` where an entry of the user's own is there, or it cannot be written.
    """
    path = (directory or paths.applications_path()) / NAME
    data = f"{MARK}\n{entry(units.source(NAME), command())}".encode()
    try:
        if path.is_file() and path.read_bytes() == data:
            return []
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with atomic_files.written(path, is_ours) as file:
            file.write(data)
    except FileExistsError as exc:
        raise FacewatchError(
            f"cannot write {path}: it was not written by `facewatchd service install`", "move it away first"
        ) from exc
    except OSError as exc:
        raise FacewatchError(f"cannot write {path}: {exc.strerror}", "check its permissions") from exc
    return [path]


def uninstall(directory: Path | None = None) -> list[Path]:
    """Remove the entry, if it is ours; return it where it was there."""
    path = (directory or paths.applications_path()) / NAME
    if not is_ours(path):
        return []
    try:
        path.unlink()
    except OSError as exc:
        raise FacewatchError(f"cannot remove {path}: {exc.strerror}", "check its permissions") from exc
    return [path]


def is_installed(directory: Path | None = None) -> bool:
    """Whether an entry that `install` wrote is there."""
    return is_ours((directory or paths.applications_path()) / NAME)


def is_ours(path: Path) -> bool:
    """Whether a file is an entry that `install` wrote. False for a link, and for one that cannot be read."""
    try:
        return not path.is_symlink() and path.read_bytes().startswith(MARK.encode())
    except OSError:
        return False


def command() -> list[str]:
    """Return the command that starts the page of this installation."""
    return [sys.executable, "-P", "-m", "facewatchd", "page"]


def entry(text: str, words: Sequence[str]) -> str:
    """Return the entry for a command. Raises `UsageError` for a program that no entry can name."""
    program = words[0]
    try:
        program.encode()
    except UnicodeEncodeError as exc:
        raise UsageError(f"{printable(program)} is not UTF-8, which no desktop entry can name", "rename it") from exc
    if "=" in program:
        raise UsageError(f"{printable(program)} has an equal sign, which no desktop entry can name", "rename it")
    line = "Exec=" + " ".join(map(quoted, words))
    text, count = re.subn(r"^Exec=.*$", lambda _: line, text, flags=re.MULTILINE)
    assert count == 1, "the entry has one Exec"
    return text


def quoted(word: str) -> str:
    """Return a word as the key ``Exec`` takes it."""
    word = word.replace("%", "%%")
    if re.fullmatch(r"[\w@%+=:,./-]+", word, re.ASCII):
        return word
    inner = re.sub(r'(["`$\\])', r"\\\1", word)
    value = f'"{inner}"'.replace("\\", "\\\\")  # the escapes of a value are undone before the quotes
    return value.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
