"""Who may look at the page: the code that is traded for a cookie, the browsers that have one, and what is kept of each.

The code is made at the start and printed for the user. It is compared in constant time, and after `TRIES` wrong ones
within `WINDOW` seconds no code is taken for as long. What a browser gets for it is another secret, which is kept as a
digest only. Both end with the process.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

TRIES = 10
WINDOW = 60.0
"""Seconds."""
MOST = 32
"""Browsers at a time: the one that came first loses its place."""
_BYTES = 32
"""Of each secret."""


class Notice(NamedTuple):
    """A line that the next page shows."""

    text: str
    step: int | None = None
    """Of the change that it is about, which `undo` takes back."""
    is_error: bool = False
    anyway: Sequence[tuple[str, str]] = ()
    """The fields of a form for ``/say`` that was refused, and can be sent again with a button."""
    name: str = ""
    """Of the person who is in that form."""


@dataclass(slots=True)
class Session:
    """One browser."""

    notices: deque[Notice] = field(default_factory=lambda: deque(maxlen=4))


class TooManyTriesError(Exception):
    """Too many wrong codes were given."""


class Sessions:
    """For one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.code = secrets.token_urlsafe(_BYTES)
        self._clock = clock
        self._wrong: deque[float] = deque(maxlen=TRIES)
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()

    def open(self, code: str) -> str | None:
        """Return a cookie's value for the right code, None for a wrong one. Raises `TooManyTriesError`."""
        now = self._clock()
        if len(self._wrong) == TRIES and now - self._wrong[0] < WINDOW:
            raise TooManyTriesError
        if not hmac.compare_digest(code.strip().encode("utf-8", "replace"), self.code.encode("ascii")):
            self._wrong.append(now)
            return None
        token = secrets.token_urlsafe(_BYTES)
        self._sessions[_digest(token)] = Session()
        if len(self._sessions) > MOST:
            self._sessions.popitem(last=False)
        return token

    def of(self, token: str) -> Session | None:
        """Return the session of a cookie's value."""
        return self._sessions.get(_digest(token))


def _digest(token: str) -> bytes:
    return hashlib.blake2b(token.encode("utf-8", "replace"), digest_size=32).digest()
