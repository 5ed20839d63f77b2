"""The ``query`` that the options of `facewatch-query` ask for. Standard library only.

A daemon goes on running after an upgrade. So what an earlier version knows is sent as that version takes it, and a
parameter that it does not know is named as the option that the user gave.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from facewatchd.client.connection import DEFAULT_TIMEOUT, INVALID_PARAMS, Connection, RemoteError
from facewatchd.client.query import QueryPhoto, ask
from facewatchd.client.report import leaves_hosts_out, shows_table
from facewatchd.client.who import Asked
from facewatchd.errors import FacewatchError, TooLargeError

_LATER = {
    "who": "@NAME, face:ID and PHOTO#N",
    "with": "--with",
    "without": "--without",
    "strict": "--strict",
    "only": "--only",
    "faces_min": "--faces",
    "faces_max": "--faces",
    "since": "--since",
    "until": "--until",
    "sort": "--sort",
    "new": "--new",
    "digests": "--follow",
    "explain": "--explain",
    "names": "--who",
    "shared": "--shared",
}
"""Parameters that daemons of earlier versions do not know, and the option that each is of."""
_IMPLIED = {"verdicts": True, "shared": False}
"""Parameters that those daemons can do without, with the values for which that is so."""
_WITHOUT_WHO = "give exactly one of photos, faces, embedding"
"""Their answer to a question with ``who`` in the place of these."""


class Everyone(NamedTuple):
    """All that a question names, in the order of the protocol's parameters."""

    who: Sequence[Asked]
    with_: Sequence[Asked]
    without: Sequence[Asked]

    @classmethod
    def of(cls, options: argparse.Namespace) -> Everyone:
        """Open all photos; raises what `QueryPhoto` does."""
        return cls(*([Asked(who) for who in each] for each in (options.who, options.with_, options.without)))

    @property
    def others(self) -> dict[str, Sequence[Asked]]:
        """Those beside the person who is asked for, by the names of the parameters."""
        return {"with": self.with_, "without": self.without}

    @property
    def photos(self) -> list[QueryPhoto]:
        """All photos that are sent."""
        return [asked.photo for each in self for asked in each if asked.photo is not None]

    def keep(self) -> None:
        """Read the photos now, so that later requests are about the same ones, whatever becomes of the files.

        One that this user cannot read, or that is too large to be sent, is still sent by its path.
        """
        for photo in self.photos:
            with contextlib.suppress(TooLargeError):
                photo.send_bytes()

    def rename(self, old: str, new: str) -> None:
        """Ask for a person by another name from now on."""
        for asked in (asked for each in self for asked in each):
            if asked.who.person == old:
                asked.who = asked.who._replace(person=new)

    def params(self) -> dict[str, Any]:
        """Return all of them as parameters of a request."""
        plain = all(asked.is_plain for asked in self.who)
        named = {"photos" if plain else "who": self.who, "with": self.with_, "without": self.without}
        return {name: [asked.param() for asked in each] for name, each in named.items() if each}


def send(options: argparse.Namespace, everyone: Everyone, started: float) -> Any:
    """Ask, and return the daemon's document. ``started``: when the wait began, by the monotonic clock."""
    fixed = restrictions(options)

    def call() -> Any:
        params = {**fixed, **everyone.params()}
        if options.wait is not None:
            params["wait"] = max(0.0, options.wait - (time.monotonic() - started))
        while True:
            try:
                return daemon.call("query", **params)
            except RemoteError as error:
                if not _leave_out(params, error):
                    require_known(error)
                    raise

    with Connection(options.socket, DEFAULT_TIMEOUT + (options.wait or 0)) as daemon:
        return ask(call, everyone.photos)


def restrictions(options: argparse.Namespace) -> dict[str, Any]:
    """Return what the options say of the photos that are wanted, as parameters of a request."""
    names = ("face", "top", "threshold", "dirs", "min_size", "since", "until", "sort", "new")
    params = {name: getattr(options, name) for name in names}
    params["faces_min"], params["faces_max"] = options.faces or (None, None)
    params = {name: value for name, value in params.items() if value is not None}
    params |= {name: True for name in ("exact", "strict", "only") if getattr(options, name)}
    if options.new is not None or options.link_to or options.copy_to:
        params.setdefault("top", 0)  # a part of what is new would have to be asked for again, one of a folder is missed
    if options.follow and options.new is None:
        params["digests"] = True
    if options.no_collapse:
        params["collapse"] = False
    if options.shared:
        params["shared"] = True
    elif options.local or leaves_hosts_out(options):
        params["shared"] = False  # else -n would count photos that are not printed
    if options.explain and (options.json or options.html is not None or shows_table(options)):
        params["explain"] = True
    elif _shows_verdicts(options) or (options.explain and not options.quiet):
        params["verdicts"] = True  # without the reasons, which lines in a pipe do not show
    return params


def draws(options: argparse.Namespace) -> bool:
    """Whether a sheet is drawn: also for ``--open``, where there is nothing else to open."""
    return bool(options.sheet or (options.open and options.html is None))


def _shows_verdicts(options: argparse.Namespace) -> bool:
    return bool(shows_table(options) or draws(options) or options.html is not None or options.show)


def _leave_out(params: dict[str, Any], error: RemoteError) -> bool:
    """Leave out a parameter that the daemon does not know and can do without; False where that is not the error."""
    for name, value in _IMPLIED.items():
        if params.get(name) is value and _is_unknown(name, error):
            del params[name]
            return True
    return False


def require_known(error: RemoteError) -> None:
    """Raise `FacewatchError` where the daemon is of a version without the option."""
    for parameter, option in _LATER.items():
        if _is_unknown(parameter, error):
            raise FacewatchError(
                f"the daemon that runs is of an earlier version, without {option}", "start it again after an upgrade"
            ) from error


def _is_unknown(parameter: str, error: RemoteError) -> bool:
    if error.code != INVALID_PARAMS:
        return False
    return f"unknown parameter '{parameter}'" in error.message or (parameter == "who" and error.message == _WITHOUT_WHO)
