"""The password of the shared engine, and what must not stand in for one.

A password comes from the systemd credential `facewatch-password`, else libpq looks for it in the passfile. It is never
in the configuration, an argument or the environment: those can be read by others, or are handed on to children.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final, NamedTuple

from facewatchd.errors import UsageError
from facewatchd.system import atomic_files
from facewatchd.text import one_line, printable

CREDENTIAL: Final = "facewatch-password"
"""Name of the systemd credential."""
KEPT: Final = frozenset(("PGPASSFILE", "PGSSLROOTCERT"))
"""Variables of libpq that name files only, in which it looks for what the address does not say."""
_LONGEST: Final = 1024
"""Bytes of a password; PostgreSQL's own programs take no longer ones (`MAXPGPATH`)."""


def password() -> str:
    """The password of the credential; empty where systemd gave none. Raises `UsageError` for one that cannot be it."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY", "")
    if not directory:
        return ""
    try:
        data = atomic_files.read(Path(directory, CREDENTIAL), follow=True)
    except FileNotFoundError:
        return ""
    except OSError as exc:
        raise _wrong(f"cannot be read: {one_line(exc)}") from exc
    data = data.removesuffix(b"\n").removesuffix(b"\r")
    if not 0 < len(data) <= _LONGEST or b"\n" in data or b"\0" in data:
        raise _wrong("is not one line with a password")
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        raise _wrong("is not UTF-8 text") from exc


class Passfile(NamedTuple):
    """The file in which libpq looks for the password."""

    shown: str
    """Its path, as messages have it."""
    fault: str = ""
    """Why libpq passes over it, as a sentence goes on after the path; empty where it reads it."""
    way: str = ""
    """What to do about that, where it is not to write a line into it."""

    @property
    def missing(self) -> str:
        """Why it gave no password."""
        return f"{self.shown} {self.fault or 'has no line for it'}"

    @property
    def mend(self) -> str:
        """What to do where it gave none."""
        return self.way or f"write the line HOST:PORT:DATABASE:USER:PASSWORD into {self.shown}, mode 0600"


NO_PASSFILE: Final = "/dev/null/none"
"""A path that libpq passes over without a word: of a file that it does not take it writes a warning of its own."""


def passfile(named: str = "") -> Passfile:
    """Look at the file that counts: that of the address (``named``), of PGPASSFILE, or ~/.pgpass."""
    named = named or os.environ.get("PGPASSFILE", "")
    path = Path(named) if named else Path("~/.pgpass").expanduser()
    shown = printable(named) or "~/.pgpass"
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            return Passfile(shown, "is not a regular file")
        if mode & 0o077:
            way = f"chmod 600 {shown}"
            return Passfile(shown, f"is not used, as others may read it (mode {stat.S_IMODE(mode):04o})", way)
        path.open("rb").close()
    except (FileNotFoundError, NotADirectoryError):
        return Passfile(shown, "is not there")
    except OSError as exc:
        return Passfile(shown, f"cannot be read: {exc.strerror}", f"have it belong to you: {shown}")
    return Passfile(shown)


def forget_environment() -> None:
    """Take libpq's variables out of the environment, for this process and its children.

    They would fill in what the address leaves out: PGSERVICE and PGHOSTADDR lead elsewhere, PGSSLMODE lowers the mode,
    and PGPASSWORD is a password that every child and every program of the user can read.
    """
    for name in list(os.environ):
        if name.startswith("PG") and name not in KEPT:
            del os.environ[name]


def _wrong(fault: str) -> UsageError:
    return UsageError(f"the credential {CREDENTIAL} {fault}", "give it the password of the database, and nothing else")
