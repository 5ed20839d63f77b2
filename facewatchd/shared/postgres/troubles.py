"""What an exception of psycopg means: one line that names the server, what happened and what to do. Pure.

A statement that fails has an SQLSTATE. A connection that fails has none, only text: of libpq, in English, or of the
server, in the language of the server. Where the server's text is not known, it did answer: it refused.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import psycopg

from facewatchd.shared.credentials import Passfile
from facewatchd.shared.engine import EngineError, Trouble
from facewatchd.text import one_line


class Words(NamedTuple):
    """A trouble, what completes "the shared engine at HOST ...", and what to do. ``{user}`` and ``{base}`` are filled
    in, and ``{text}`` with what the server said."""

    trouble: Trouble
    message: str
    hint: str = ""


_START: Final = "start the server, or wait for it: what changed here is sent then"
_AGAIN: Final = "it is tried again by itself"
_STARTS: Final = Words(Trouble.BUSY, "is starting or stopping", _AGAIN)
_CROWDED: Final = Words(Trouble.BUSY, "has as many connections as it takes", "raise max_connections of the server")
_REFUSED: Final = Words(Trouble.REFUSED, "refused user {user}: {text}", "see `facewatchd doctor`")
_MAY_NOT: Final = Words(
    Trouble.REFUSED,
    "does not let user {user} do this: {text}",
    "as its administrator: GRANT CREATE ON DATABASE {base} TO {user}; or have all machines use one user",
)
_PASSWORD: Final = Words(
    Trouble.REFUSED,
    "refused the password of user {user}",
    "put the right one into {place}",
)
_NO_PASSWORD: Final = Words(
    Trouble.REFUSED, "wants a password of user {user}, and {fault}", "{mend} (or give the credential)"
)
GONE: Final = Words(Trouble.UNREACHABLE, "closed the connection", _AGAIN)
_LATE: Final = Words(Trouble.LATE, "did not answer in time", _AGAIN)
_FULL: Final = Words(Trouble.FULL, "has no room left: {text}", "make room on the server: it is tried again by itself")
_READ_ONLY: Final = Words(
    Trouble.READ_ONLY, "takes no changes: {text}", "is it a standby? write the primary server into [shared] url"
)
_CERTIFICATE: Final = "sslrootcert= in [shared] url names the file of the authority that signed the server's"
_FOREIGN: Final = Words(Trouble.CERTIFICATE, "has a certificate that no authority known here signed", _CERTIFICATE)
_NOT_TAKEN: Final = Words(Trouble.NOT_TAKEN, "does not take it: {text}", "see the log of the server")
_DROPPED: Final = Words(Trouble.UNREACHABLE, "lost the tables of this model", "they are made again by themselves")

_BY_STATE: Final = {
    "08": GONE,
    "22": _NOT_TAKEN,
    "23": _NOT_TAKEN,
    "28": _REFUSED,
    "28P01": _PASSWORD,
    "3D000": Words(
        Trouble.REFUSED, "has no database {base}", "as its administrator: CREATE DATABASE {base} OWNER {user}"
    ),
    "3F000": _DROPPED,
    "42P01": _DROPPED,
    "42501": _MAY_NOT,
    "25006": _READ_ONLY,
    "40": Words(Trouble.BUSY, "had another change at the same time", _AGAIN),
    "53": _FULL,
    "53300": _CROWDED,
    "54": _NOT_TAKEN,
    "55P03": Words(Trouble.BUSY, "is kept from it by another program's lock", _AGAIN),
    "57014": _LATE,
    "57": _STARTS,
    "58": Words(Trouble.FAILED, "has trouble with its disk: {text}", "see the log of the server"),
    "P0": _NOT_TAKEN,
}
"""By SQLSTATE, and by the class that is its first two characters."""

_BY_TEXT: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), words)
    for pattern, words in (
        ("password authentication failed|SCRAM", _PASSWORD),
        ("no password supplied", _NO_PASSWORD),
        ("no pg_hba.conf entry|pg_hba.conf rejects", _REFUSED._replace(hint="add a line to its pg_hba.conf")),
        ('database ".*" does not exist', _BY_STATE["3D000"]),
        (
            'role ".*" does not exist',
            Words(Trouble.REFUSED, "has no user {user}", "as its administrator: CREATE ROLE {user} LOGIN PASSWORD ..."),
        ),
        ("root certificate file|could not read root cert|system root cert", Words(
            Trouble.CERTIFICATE, "cannot be checked, as the certificate of its authority is missing", _CERTIFICATE)),
        ("does not match host name|certificate for .* does not match", Words(
            Trouble.CERTIFICATE, "has a certificate for another host", "write the certificate's host into the url")),
        ("certificate has expired|not yet valid", Words(
            Trouble.CERTIFICATE, "has a certificate that is not valid now", "renew it, and see the clocks of both")),
        ("certificate verify failed|unknown ca|self.signed certificate", _FOREIGN),
        ("unexpected eof|EOF detected|connection reset", GONE),
        ("does not support SSL|channel binding|certificate|SSL error|tlsv1|ssl3", Words(
            Trouble.CERTIFICATE, "does not prove that it is the right one: {text}", "have it use TLS (ssl = on)")),
        ("starting up|shutting down|in recovery mode|not yet accepting|not accepting connections", _STARTS),
        ("too many (clients|connections)|connection slots|connection limit", _CROWDED),
        ("timeout expired|timed out", _LATE),
        ("translate host name|resolve host|name or service not known|name resolution", Words(
            Trouble.UNREACHABLE, "is not found: its name has no address", "is the name right, and the network there?")),
        ("connection refused|no such file or directory", Words(
            Trouble.UNREACHABLE, "does not run", _START)),
        ("socket.*permission denied", _REFUSED),
        ("FATAL|authentication|permission denied|not permitted", _REFUSED),
        ("unreachable|no route|server closed|reset by peer|broken pipe|connection (is )?(closed|lost|bad|failed)"
         "|could not (send|receive)|terminat", Words(Trouble.UNREACHABLE, "cannot be reached: {text}", _START)),
    )
)  # fmt: skip
"""What the text of a connection that failed says; the first that fits."""


class Server(NamedTuple):
    """What messages say of the server that is meant."""

    where: str
    """Host, and the port where it is not 5432."""
    user: str
    base: str
    """The database."""
    password: str = ""
    """Never shown, whatever a library writes."""
    passfile: Passfile = Passfile("~/.pgpass")
    """Where libpq looks where there is no credential."""


def engine_error(exc: Exception, server: Server, *, is_late: bool = False) -> EngineError:
    """Word what psycopg raised. ``is_late``: this side ended the connection at the deadline."""
    if is_late:
        return worded(_LATE, server)
    state = exc.sqlstate if isinstance(exc, psycopg.Error) else None
    text = _said(exc)
    if state is not None:
        words = _BY_STATE.get(state) or _BY_STATE.get(state[:2])
        if state[:2] == "53" and "shared memory" in text:
            words = _FULL._replace(hint="give the server more shared memory (docker: --shm-size=1g)")
    else:
        words = next((words for pattern, words in _BY_TEXT if pattern.search(text)), None)
    return worded(words or Words(Trouble.FAILED, "failed: {text}", "see the log of the server"), server, text)


def worded(words: Words, server: Server, text: str = "") -> EngineError:
    """Make the error, on one line, without the password."""
    place = "the credential facewatch-password" if server.password else server.passfile.shown
    fills = {"place": place, "fault": server.passfile.missing, "mend": server.passfile.mend, "base": server.base}
    fills |= {"user": server.user, "text": text}
    filled = [
        re.sub(r"\{(\w+)\}", lambda found: fills.get(found[1], found[0]), each) for each in (words.message, words.hint)
    ]
    message, hint = (each.replace(server.password, "***") if server.password else each for each in filled)
    return EngineError(words.trouble, one_line(f"the shared engine at {server.where} {message}", 400), hint)


def _said(exc: Exception) -> str:
    """What the server or the library says, without what stands before it on each failed connection."""
    primary = exc.diag.message_primary if isinstance(exc, psycopg.Error) else None
    lines = (primary or str(exc)).strip().splitlines() or [""]
    return one_line(re.sub(r"^connection (failed|is bad): (connection to server.*? failed: )?", "", lines[0]), 300)
