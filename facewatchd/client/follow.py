"""``--new`` and ``--follow``: what was printed is acknowledged, and what arrives later is printed when it does.

The daemon is asked for a stream of matches (``subscribe``) from the answer's cursor on. When the connection ends,
because the daemon was stopped, restarted or killed, it is asked again for those behind the last cursor, until one
answers. So nothing is missed. What comes twice is left out, as far as it was printed under the same cursor.

A daemon that does not know the cursor, as after a week or under another model, sends everything that matches, at once
or while it embeds the photos anew. Of that, the photos that the answer had and those that came since are left out, once
each (`_Before`), by their bytes: what was renamed meanwhile is known, and what took the place of another photo is not.

With ``--new`` the daemon keeps what was printed. It is told only after the results were written: if this process is
killed in between, the next one prints them again. Standard library only.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from facewatchd.client import outputs
from facewatchd.client.answer import Answer, read_match, reading_answer
from facewatchd.client.arguments import PROG
from facewatchd.client.connection import Connection, RemoteError
from facewatchd.client.query import ask
from facewatchd.client.report import as_text, shows_table
from facewatchd.client.request import Everyone, require_known, restrictions
from facewatchd.console.streams import on_terminal, say, wait_while_read, write, write_json
from facewatchd.errors import DeadlineError, FacewatchError, NoDaemonError, WrongListenerError
from facewatchd.matches import Match

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0
"""Seconds before the daemon is asked again: the first time, and at most; each pause is twice the one before."""
_ALIGNED = 50
"""Rows of a table: a screenful."""
AT_ONCE = 10_000
"""Contents that are acknowledged with one request."""
MOST_KNOWN = 200_000
"""Contents that a follower remembers: 31 MB."""
_PASSES = ("not-ready", "internal", "timeout")
"""Kinds of errors that a later try may not meet."""


def acknowledge(options: argparse.Namespace, shown: Sequence[str]) -> None:
    """Tell the daemon that contents, named by the protocol's ``shown``, were printed."""
    with Connection(options.socket) as daemon:
        for start in range(0, len(shown), AT_ONCE):
            daemon.call("seen", name=options.new, shown=shown[start : start + AT_ONCE])


def follow(options: argparse.Namespace, everyone: Everyone, answer: Answer) -> None:
    """Print the matches that arrive after an answer, until the reader of standard output is gone.

    Raises `FacewatchError` for what no later try would change.
    """
    if on_terminal() and not options.quiet:
        say(f"waiting for more{' on this machine' if answer.shared is not None else ''}; Ctrl-C ends")
    _Follower(options, everyone, answer).run()


class _Before:
    """The contents that there were, and those of them that are to be left out when they come again.

    By their digests, of which half says enough. Where copies are photos of their own, each is left out once.
    """

    def __init__(self, digests: Iterable[str], *, collapse: bool) -> None:
        self._collapse = collapse
        self._count: dict[bytes, int] = {}
        self._expected: dict[bytes, int] = {}
        for digest in digests:
            self.note(digest)

    def note(self, digest: str) -> None:
        """A photo has come. The oldest is forgotten where there are too many."""
        key = _key(digest)
        self._count[key] = 1 if self._collapse else self._count.get(key, 0) + 1
        if len(self._count) > MOST_KNOWN:
            del self._count[next(iter(self._count))]

    def expect_all(self) -> None:
        """From now on, everything comes again."""
        self._expected = dict(self._count)

    def is_again(self, digest: str) -> bool:
        """Whether a photo that comes is one that was expected; it is not any more."""
        key = _key(digest)
        left = self._expected.pop(key, 0)
        if left > 1:
            self._expected[key] = left - 1
        return left > 0


def _key(digest: str) -> bytes:
    return bytes.fromhex(digest[:32])


class _Follower:
    def __init__(self, options: argparse.Namespace, everyone: Everyone, answer: Answer) -> None:
        self._options = options
        self._everyone = everyone
        self._answer = answer
        with reading_answer():
            self._cursor = str(answer.document["cursor"])
        self._printed = {(match.name, match.face_id) for match in answer.matches}
        """Under the cursor: only these may come again."""
        self._before = _Before(answer.digests, collapse=not options.no_collapse)
        self._above = list(answer.matches[-_ALIGNED:])
        """The rows of a table that the next one is aligned with."""
        self._shown: list[str] = []
        """What is still to be acknowledged."""
        self._is_told = False
        """Whether the user was told that the daemon is away."""

    def run(self) -> None:
        pause = FIRST_PAUSE
        while True:
            before = self._cursor
            try:
                with Connection(self._options.socket) as daemon:
                    self._subscribe(daemon)
                    if not self._listen(daemon):
                        return
            except (NoDaemonError, DeadlineError, RemoteError) as error:
                if not _passes(error):
                    raise
                pause = FIRST_PAUSE if self._cursor != before else pause
                self._tell(error)
            if not wait_while_read(pause):
                return
            pause = min(2 * pause, LONGEST_PAUSE)

    def _subscribe(self, daemon: Connection) -> None:
        params = restrictions(self._options)
        if "since" in params:
            params["taken_since"] = params.pop("since")
        for name in ("top", "sort", "exact", "explain", "verdicts", "digests", "shared"):
            params.pop(name, None)

        def call() -> Any:
            try:
                return daemon.call("subscribe", **params, **self._everyone.params(), since=self._cursor)
            except RemoteError as error:
                require_known(error)
                raise

        reply = ask(call, self._everyone.photos)
        with reading_answer():
            if not reply["resumed"]:
                self._before.expect_all()
        if self._is_told and not self._options.quiet:
            say(f"{PROG}: the daemon is back")
        self._is_told = False

    def _tell(self, error: FacewatchError) -> None:
        if not self._is_told and not self._options.quiet:
            say(f"{PROG}: {error.message}; waiting for the daemon")
        self._is_told = True

    def _listen(self, daemon: Connection) -> bool:
        """Print what comes; False where nobody reads it any more."""
        while True:
            if not daemon.has_more():
                self._acknowledge()
            message = daemon.notification(sys.stdout.fileno())
            if message is None or not self._take(*message):
                return False

    def _take(self, method: str, params: Any) -> bool:
        with reading_answer():
            cursor, key = str(params["cursor"]), None
            if method == "match":
                match = read_match(params["match"])
                key, shown = (match.name, match.face_id), [str(digest) for digest in params.get("shown", ())]
                if key not in self._printed and not self._print_new(match, shown, params):
                    return False
                self._shown += shown
            elif method == "renamed":
                self._everyone.rename(str(params["from"]), str(params["to"]))
            elif self._options.json and method in ("moved", "gone"):
                told = {name: value for name, value in params.items() if name != "cursor"}
                if not write_json({"cursor": cursor, method: told}, indented=False):
                    return False
        if cursor != self._cursor:
            self._cursor = cursor
            self._printed.clear()
        if key is not None:
            self._printed.add(key)
        return True

    def _print_new(self, match: Match, shown: Sequence[str], params: Any) -> bool:
        if any(map(self._before.is_again, shown)):
            return True
        for digest in shown:
            self._before.note(digest)
        return self._print(match, params)

    def _print(self, match: Match, params: Any) -> bool:
        outputs.add(self._options, self._everyone, match)
        if self._options.json:
            return write_json({"cursor": params["cursor"], "match": params["match"]}, indented=False)
        if not shows_table(self._options):
            return write(as_text(self._options, self._answer, [match]))
        above, self._above = self._above, [*self._above, match][-_ALIGNED:]
        table = str(as_text(self._options, self._answer, [*above, match]))
        return write(table.splitlines(keepends=True)[-1] if above else table)

    def _acknowledge(self) -> None:
        """Tell the daemon what was printed. Where it cannot be told now, it is with what comes next."""
        if self._options.new is None or not self._shown:
            self._shown.clear()
            return
        try:
            acknowledge(self._options, self._shown)
        except FacewatchError as error:
            if not _passes(error):
                raise
            del self._shown[:-AT_ONCE]
        else:
            self._shown.clear()


def _passes(error: FacewatchError) -> bool:
    if isinstance(error, RemoteError):
        return error.kind in _PASSES
    return isinstance(error, (NoDaemonError, DeadlineError)) and not isinstance(error, WrongListenerError)
