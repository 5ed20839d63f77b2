"""``--open``: the desktop's viewer on what was drawn, and the place of a sheet for which no file was named."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from facewatchd import paths
from facewatchd.console.streams import say
from facewatchd.errors import UsageError
from facewatchd.text import printable

PRIVATE = 0o600
"""Permissions of a sheet for which no file was named."""

_OPENERS = (("xdg-open",), ("gio", "open"))
_PATIENCE = 1.0
"""Seconds in which an opener that finds no viewer has said so; some of them go on while the viewer runs."""
_KEPT = 20
_KEPT_FOR = 24 * 3600.0
"""Sheets without a name that are kept: so many, for so many seconds. A viewer has read its file long before."""
_LONGEST_NAME = 60


def private_file(title: str, suffix: str) -> Path:
    """Return a new name in a directory that is the user's alone, from which old sheets are removed.

    ``title`` becomes a part of the name, because viewers show it. Raises `UsageError`.
    """
    directory = _private_directory()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise UsageError(f"{directory} is not a directory of yours", "move it away, or name a file with --sheet")
        directory.chmod(0o700)
    except OSError as exc:
        raise UsageError(f"cannot write to {directory}: {exc.strerror}", "name a file with --sheet") from exc
    _remove_old(directory)
    name = re.sub(r"[^\w.-]+", "-", title).strip("-.")[:_LONGEST_NAME].encode("utf-8", "replace").decode() or "faces"
    return directory / f"{name}-{secrets.token_hex(3)}{suffix}"


def remove_private() -> None:
    """Remove all sheets for which no file was named: they show people, and have their names."""
    with suppress(OSError):
        for file in _private_directory().iterdir():
            file.unlink()


def _private_directory() -> Path:
    return paths.cache_path() / "sheets"


def _remove_old(directory: Path) -> None:
    with suppress(OSError):
        files = sorted(directory.iterdir(), key=lambda file: file.lstat().st_mtime, reverse=True)
        for position, file in enumerate(files):
            if position >= _KEPT - 1 or file.lstat().st_mtime < time.time() - _KEPT_FOR:
                file.unlink()


def show(file: Path) -> None:
    """Open a file in the desktop's viewer, which is not waited for; where that fails, say where the file is."""
    path = os.path.abspath(file)
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        say(f"no desktop here to open it on: {printable(path)}")
        return
    openers = [command for command in _OPENERS if shutil.which(command[0])]
    if not any(_opens([*command, path]) for command in openers):
        why = "no program opened it" if openers else "neither xdg-open nor gio is there to open it"
        say(f"{why}: {printable(path)}")


def _opens(command: list[str]) -> bool:
    """Start a command in a session of its own; False where it fails soon."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return False
    try:
        return process.wait(_PATIENCE) == 0
    except subprocess.TimeoutExpired:
        process.returncode = 0  # it outlives this command, of which Python would warn
        return True
