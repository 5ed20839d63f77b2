"""``--link-to`` and ``--copy-to``: the matched photos in a directory. What fills it is imported when it is needed.

Photos that only other machines have are left out, and how many there are on which machine is said. Their paths mean
nothing here: the same path may be another photo's. A link is only ever to a photo of this machine, and an answer has
all of these whether the shared engine is reached or not; but with ``--top`` those of other machines take places in it,
and without an index here the engine is what finds the photos of this machine. So ``--sync`` removes nothing while the
engine is away.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from facewatchd.client import machines
from facewatchd.client.answer import Answer, path_of, reading_answer
from facewatchd.client.arguments import PROG
from facewatchd.client.connection import PROBE_TIMEOUT, Connection
from facewatchd.client.query import local_path
from facewatchd.client.report import pending_photos
from facewatchd.client.request import Everyone
from facewatchd.client.who import Asked
from facewatchd.console.streams import on_terminal, say
from facewatchd.errors import FacewatchError, UsageError
from facewatchd.matches import Match
from facewatchd.text import counted, printable

_MOST_NAMINGS: Final = 1000
"""Of one question: with several people who were renamed often there would be very many."""


class _Folder(NamedTuple):
    """A directory that is to be filled."""

    name: str
    """As it was given."""
    path: bytes
    """Absolute."""


def check(options: argparse.Namespace) -> None:
    """Raise `UsageError` where the directory could not be filled, so that the search is not made in vain."""
    folder = _folder(options)
    if os.path.isdir(folder.path):
        if not os.access(folder.path, os.W_OK | os.X_OK):
            raise UsageError(f"{folder.name} cannot be written to", "name another directory")
        return
    if os.path.lexists(folder.path):
        raise UsageError(f"{folder.name} is there, and is no directory", "name a directory")
    above = os.path.dirname(folder.path)
    if not os.path.isdir(above):
        raise UsageError(f"there is no directory {os.fsdecode(above)} to make one in", "create it, or name another")
    if not os.access(above, os.W_OK | os.X_OK):
        raise UsageError(f"{os.fsdecode(above)} cannot be written to", "name another directory")


def fill(options: argparse.Namespace, everyone: Everyone, answer: Answer) -> None:
    """Put links to the photos that match, or copies of them, into the directory, which is made if there are any.

    Raises `UsageError` where that fails.
    """
    folder = _folder(options)
    if (away := machines.numbers(answer.matches)) and not options.quiet:
        say(f"{PROG}: {printable(folder.name)}: {away}, left out: only what is on this machine can be in it")
    here = [match for match in answer.matches if not match.host]
    if not os.path.isdir(folder.path):
        if not here:
            return
        try:
            os.makedirs(folder.path, exist_ok=True)
        except OSError as exc:
            raise UsageError(f"cannot make {folder.name}: {exc.strerror}", "name another directory") from exc
    if options.copy_to:
        words = _copy(folder, here, quiet=options.quiet)
    else:
        doubt = _doubt(options, answer) if options.sync else ""
        words = _link(options, folder, everyone, here, doubt)
    if not options.quiet and (options.verbose or on_terminal()):
        say(f"{printable(folder.name)}: {words}")


def add(options: argparse.Namespace, everyone: Everyone, match: Match) -> None:
    """Put a photo of this machine that came after the answer into the directory; where that fails, only say it."""
    if match.host:
        return
    folder = _folder(options)
    try:
        os.makedirs(folder.path, exist_ok=True)
        if options.copy_to:
            _copy(folder, [match], quiet=True)
        else:
            _link(options, folder, everyone, [match], "")
    except (UsageError, OSError) as error:
        say(f"{PROG}: {printable(str(error))}")


def _folder(options: argparse.Namespace) -> _Folder:
    name = local_path(options.link_to or options.copy_to)
    return _Folder(name, os.fsencode(os.path.abspath(name)))


def _link(
    options: argparse.Namespace, folder: _Folder, everyone: Everyone, matches: Sequence[Match], doubt: str
) -> str:
    """Link the photos, and say what was done. ``doubt``: why no link is removed, though ``--sync`` asks for it."""
    from facewatchd.folders import links

    if any(links.look(folder.path).values()) and not links.read_list(folder.path):
        _refuse_watched(options, folder)
    photos = {match.path: links.Photo(match.path, match.copies) for match in matches}
    removing = options.sync and not doubt
    question, *before = _questions(everyone, _earlier_names(options, everyone) if options.sync else {})
    filled = links.fill(folder.path, list(photos.values()), question, removing=removing, before=before)
    if filled.held and doubt and not options.quiet:
        kept = counted(filled.held, "link that matches", "links that match")
        say(f"{PROG}: {printable(folder.name)}: {kept} no more stayed, as {doubt}")
    words = f"{counted(filled.made, 'photo')} linked, {filled.present} there before"
    return f"{words}, {counted(filled.removed, 'link')} removed" if options.sync else words


def _refuse_watched(options: argparse.Namespace, folder: _Folder) -> None:
    """Raise `UsageError` for a watched directory with links of the user's, which would be indexed no longer."""
    with Connection(options.socket, PROBE_TIMEOUT) as daemon, reading_answer():
        roots = [path_of(root) for root in daemon.call("status")["roots"]]
    real = os.path.join(os.path.realpath(folder.path), b"")
    if any(real.startswith(os.path.join(os.path.realpath(root), b"")) for root in roots):
        raise UsageError(
            f"{folder.name} is watched and holds links of your own, which would be left out beside those of --link-to",
            "name another directory, or a new one in it",
        )


def _copy(folder: _Folder, matches: Sequence[Match], *, quiet: bool) -> str:
    """Copy the photos, and say what was done."""
    from facewatchd.console.progress import advancing
    from facewatchd.folders import copies

    paths = list(dict.fromkeys(match.path for match in matches))
    with contextlib.nullcontext() if quiet else advancing("copying", " photos") as progress:
        filled = copies.fill(folder.path, paths, progress)
    return f"{counted(filled.made, 'photo')} copied, {filled.present} there before"


def _questions(everyone: Everyone, earlier: Mapping[str, Sequence[str]]) -> list[str]:
    """Name the people who were asked for, the same whatever else is asked of their photos.

    First as they are called now, then with the names that they had before (`_MOST_NAMINGS` at most).
    """
    whos = [_namings(asked, earlier) for asked in (*everyone.who, *everyone.with_)]
    count = len(everyone.who)
    return [
        " ".join(["&".join(sorted(named[:count])), *(f"with {each}" for each in named[count:])])
        for named in itertools.islice(itertools.product(*whos), _MOST_NAMINGS)
    ]


def _namings(asked: Asked, earlier: Mapping[str, Sequence[str]]) -> list[str]:
    if asked.who.person is not None:
        names = [asked.who.person, *earlier.get(asked.who.person, ())]
        return [f"@{name.casefold()}" for name in names]
    if asked.photo is None:
        return [asked.who.text]
    face = "" if asked.who.face is None else f"#{asked.who.face}"
    if asked.photo.data is not None and not os.path.isfile(asked.photo.path):
        from hashlib import blake2b

        return [f"photo {blake2b(asked.photo.data, digest_size=16).hexdigest()}{face}"]
    return [f"{asked.photo.path}{face}"]


def _earlier_names(options: argparse.Namespace, everyone: Everyone) -> dict[str, list[str]]:
    """The names that the people had before, by those of now: a link may have been made when they had them."""
    people = {asked.who.person for asked in (*everyone.who, *everyone.with_) if asked.who.person is not None}
    if not people:
        return {}
    with Connection(options.socket, PROBE_TIMEOUT) as daemon, reading_answer():
        told = {name: daemon.call("person", name=name, limit=1) for name in people}
        return {name: list(map(str, document["earlier_names"])) for name, document in told.items()}


def _doubt(options: argparse.Namespace, answer: Answer) -> str:
    """Say why a photo that the answer lacks may match all the same; empty where none can.

    What is only polled is no reason: a photo that was known there and has changed stays, or counts as pending.
    """
    if answer.shared is not None and not answer.shared.is_reached:
        return "the shared engine was not reached (--local leaves it out)"
    if answer.pending:
        return f"{pending_photos(answer.pending)} not searchable yet"
    if answer.undated:
        return f"the date of {counted(answer.undated, 'photo')} is still to be read"
    if answer.complete:
        return ""
    try:
        with Connection(options.socket, PROBE_TIMEOUT) as daemon, reading_answer():
            status = daemon.call("status")
            if status["pending"] or status["state"] != "idle":
                return f"the daemon is {status['state']}"
            away = [root for root in status["roots"] if root["state"] not in ("watching", "polling")]
            return f"{printable(path_of(away[0]))} is {away[0]['state']}" if away else ""
    except FacewatchError as error:
        return error.message
