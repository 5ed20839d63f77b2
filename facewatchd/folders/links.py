"""A directory of symbolic links to photos, and the list of those that are ours.

The file ``.facewatch-links`` in the directory lists the links that were made there: name, target, and the questions
that each was made for. A link is ours as long as it is on the list, is a symbolic link, and has the target that is
listed. What a user renamed, replaced, changed or put there is the user's, and is never touched. Links are absolute.

A photo is linked once: where any link in the directory leads to it or to a copy of it, also a user's, or where it lies
in the directory itself, nothing is made. With ``removing``, a link of ours goes when none of the questions that it was
made for brings its photo any more; each call speaks for one question, and for what it was called before its people had
their names of now. So several questions can share a directory.

Order of the steps, for a crash between any two: the list is written with all links that will be there, then links are
removed, then made, then the list is written as it is now. A listed link that is not there is forgotten by the next
call. All calls for a directory take turns, by a lock on it.

The daemon leaves the symbolic links alone in a directory that holds such a list (`scan.walk`): in a watched directory
each would be another name of its photo.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from facewatchd.errors import UsageError
from facewatchd.folders.names import NAME_REFUSED, Names, plain
from facewatchd.folders.turns import taking_turns
from facewatchd.paths import LIST_OF_LINKS
from facewatchd.system import atomic_files

_MARK: Final = "links of facewatch-query"
_VERSION: Final = 1
_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP})


class Photo(NamedTuple):
    """A photo that is wanted in a directory."""

    path: bytes
    """Absolute."""
    copies: tuple[bytes, ...] = ()
    """Other files with the same bytes."""


class Link(NamedTuple):
    """A link of ours."""

    target: bytes
    questions: frozenset[str]


Own = Mapping[bytes, Link]
"""Links by their names."""


class Plan(NamedTuple):
    """What is to be done in a directory."""

    remove: list[bytes]
    make: list[Photo]
    kept: dict[bytes, Link]
    """The links of ours that stay."""
    present: int
    """How many of the photos are there already."""
    held: int
    """How many links would have been removed, had that been asked for."""


class Filled(NamedTuple):
    """What was done in a directory."""

    made: int
    present: int
    removed: int
    held: int


def plan(
    directory: bytes,
    there: Mapping[bytes, bytes | None],
    own: Own,
    photos: Iterable[Photo],
    question: str,
    *,
    removing: bool,
) -> Plan:
    """Decide what is done. ``there``: the target of each link by its name, and None for each other file."""
    here = {directory, os.path.realpath(directory)}
    kept = {name: link for name, link in own.items() if there.get(name) == link.target}
    names: dict[bytes, list[bytes]] = {}
    for name, target in there.items():
        if target is not None:
            names.setdefault(os.path.normpath(os.path.join(directory, target)), []).append(name)
    make, present, wanted = [], 0, set()
    for photo in photos:
        paths = (photo.path, *photo.copies)
        found = [name for path in paths for name in names.get(os.path.normpath(path), ())]
        if found or any(os.path.dirname(path) in here for path in paths):
            present += 1
            wanted.update(found)
        else:
            make.append(photo)
    remove = []
    held = 0
    for name, link in list(kept.items()):
        if name in wanted:
            kept[name] = link._replace(questions=link.questions | {question})
        elif question in link.questions:
            others = link.questions - {question}
            held += not others
            if removing and others:
                kept[name] = link._replace(questions=others)
            elif removing:
                remove.append(name)
                del kept[name]
    return Plan(remove, make, kept, present, 0 if removing else held)


def fill(
    directory: bytes, photos: Sequence[Photo], question: str, *, removing: bool, before: Collection[str] = ()
) -> Filled:
    """Link the photos into a directory, which is there, by its absolute path.

    ``question`` names what was asked, the same in each call that asks it; ``before``: as it was named in earlier ones.
    ``removing``: remove the links of ours that it brings no more. Raises `UsageError` for a list that cannot be read,
    and where links cannot be made; what was made before then stays.
    """
    with taking_turns(directory):
        own, there = _called(read_list(directory), question, before), look(directory)
        todo = plan(directory, there, own, photos, question, removing=removing)
        names = Names({*there, LIST_OF_LINKS} - set(todo.remove))
        new = {names.take(os.path.basename(photo.path)): photo for photo in todo.make}
        ours = frozenset({question})
        during = {**own, **todo.kept, **{name: Link(photo.path, ours) for name, photo in new.items()}}
        if during != own:
            _write_list(directory, during)
        removed = sum(_remove(directory, name, own[name].target) for name in todo.remove)
        after = dict(todo.kept)
        for name, photo in new.items():
            try:
                after[_make(directory, name, photo.path, names)] = Link(photo.path, ours)
            except OSError as exc:
                raise _failed(directory, exc, len(after) - len(todo.kept), len(new)) from exc
        if after != during:
            _write_list(directory, after)
    return Filled(len(new), todo.present, removed, todo.held)


def _called(own: Own, question: str, before: Collection[str]) -> Own:
    """The same links, with the question by its name of now."""
    renamed = frozenset(before)
    return {
        name: link._replace(questions=link.questions - renamed | {question}) if link.questions & renamed else link
        for name, link in own.items()
    }


def look(directory: bytes) -> dict[bytes, bytes | None]:
    """Return the target of each link in a directory by its name, and None for each other file. Raises `UsageError`."""
    there: dict[bytes, bytes | None] = {}
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                there[entry.name] = None
                with contextlib.suppress(FileNotFoundError, OSError):
                    there[entry.name] = os.readlink(entry.path) if entry.is_symlink() else None
    except OSError as exc:
        raise UsageError(f"cannot read {os.fsdecode(directory)}: {exc.strerror}", "name another directory") from exc
    return there


def read_list(directory: bytes) -> dict[bytes, Link]:
    """Return the links that are listed as ours. Raises `UsageError` for a file that is no list of links."""
    path = _list_path(directory)
    try:
        return _parse(atomic_files.read(path))
    except FileNotFoundError:
        return {}
    except (OSError, AttributeError, LookupError, TypeError, ValueError, RecursionError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else "it is damaged, or of a later version"
        raise UsageError(
            f"cannot read {path}, the list of the links that were made there: {reason}",
            "move it away: those links then stay, as your own do",
        ) from exc


def _parse(data: bytes) -> dict[bytes, Link]:
    document: Any = json.loads(data)
    if document["is"] != _MARK or document["version"] != _VERSION:
        raise ValueError
    own = {}
    for entry in document["links"]:
        name, target = (str(entry[key]).encode("utf-8", "surrogateescape") for key in ("name", "target"))
        if name in (b"", b".", b"..") or b"/" in name or b"\0" in name + target:
            raise ValueError
        own[name] = Link(target, frozenset(map(str, entry["questions"])))
    return own


def _write_list(directory: bytes, own: Own) -> None:
    links = [
        {
            "name": name.decode("utf-8", "surrogateescape"),
            "target": link.target.decode("utf-8", "surrogateescape"),
            "questions": sorted(link.questions),
        }
        for name, link in sorted(own.items())
    ]
    data = json.dumps({"is": _MARK, "version": _VERSION, "links": links}, indent=1).encode("ascii")
    path = _list_path(directory)
    try:
        with atomic_files.written(path, _is_list, 0o600) as file:
            file.write(data)
    except OSError as exc:
        raise UsageError(f"cannot write {path}: {exc.strerror}", "make room, or name another directory") from exc


def _is_list(path: Path) -> bool:
    try:
        _parse(atomic_files.read(path))
    except (OSError, AttributeError, LookupError, TypeError, ValueError, RecursionError):
        return False
    return True


def _list_path(directory: bytes) -> Path:
    return Path(os.fsdecode(directory), os.fsdecode(LIST_OF_LINKS))


def _remove(directory: bytes, name: bytes, target: bytes) -> bool:
    """Remove a link of ours; False where it has gone or is another by now."""
    path = os.path.join(directory, name)
    try:
        if os.readlink(path) != target:
            return False
        os.unlink(path)
    except FileNotFoundError:
        return False
    except OSError as exc:
        if exc.errno == errno.EINVAL:  # it is no link
            return False
        raise UsageError(f"cannot remove {os.fsdecode(path)}: {exc.strerror}", "name another directory") from exc
    return True


def _make(directory: bytes, name: bytes, target: bytes, names: Names) -> bytes:
    """Make a link, under another name where a file has taken this one; return the name. Raises OSError."""
    is_plain = False
    while True:
        try:
            os.symlink(target, os.path.join(directory, name))
        except FileExistsError:
            name = names.take(os.path.basename(target))
        except OSError as exc:
            if is_plain or exc.errno not in NAME_REFUSED:
                raise
            name, is_plain = names.take(plain(os.path.basename(target))), True
        else:
            return name


def _failed(directory: bytes, exc: OSError, made: int, of: int) -> UsageError:
    place = os.fsdecode(directory)
    if exc.errno in _NO_LINKS:
        return UsageError(f"no symbolic link can be made in {place}: {exc.strerror}", "copy the photos: --copy-to DIR")
    return UsageError(f"cannot link into {place}: {exc.strerror}; {made} of {of} links were made", "ask again")
