"""The password of the shared engine, and what must not stand in for one.

A password comes from the systemd credential `facewatch-password`, else libpq looks for it in the passfile. It is never
in the configuration, an argument or the environment: those can be read by others, or are handed on to children.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from facewatchd.errors import UsageError
from facewatchd.system import atomic_files
from facewatchd.text import one_line

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
