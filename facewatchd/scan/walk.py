"""Walks a watched directory, and says what in it is left alone.

Rules, the same for `walk` and `why_excluded`:

- Hidden, unfinished and excluded names are left out, and so is everything in a directory that holds `.nomedia`, even
  in the watched directory itself.
- In a directory with a list of links (`folders.links`), symbolic links are left out: they are made of answers.
- A symbolic link to a file counts as that file, with its stamp; a broken one is left out. Linked directories are not
  followed, but the watched directory may be one.
- A pipe, socket or device is listed only if its name is a photo's, so that it can be recorded as failed.
- Where `Listing.error` is set, a file that is not listed may still be there.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from facewatchd.ignore import Exclusion
from facewatchd.paths import LIST_OF_LINKS
from facewatchd.photos.files import is_photo_name
from facewatchd.text import printable
from facewatchd.values import Stamp

_NOMEDIA: Final = b".nomedia"
MARKS: Final = frozenset({_NOMEDIA, LIST_OF_LINKS})
"""Names of files that decide what else in their directory is left out."""
_IN_NOMEDIA: Final = "in a directory with a .nomedia file"
_LINKED: Final = "a linked directory"
_OUR_LINK: Final = "a link among those that facewatch-query made"

_Identity = tuple[int, int]
"""Device and inode."""
Row = tuple[bytes, int, int, int, int, int]
"""A path and the numbers of its `Stamp`. The garbage collector does not track plain tuples, as SQLite returns them."""
Recorded = Callable[[bytes], dict[bytes, Row]]
"""Returns the records of the files right in a directory, by path; the walk removes those that it finds unchanged."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A directory on the way down."""

    identity: _Identity
    """Of `os.stat`."""
    device: int
    """The device number that stands for its disk."""


@dataclass(slots=True)
class Listing:
    """One directory as it was when it was listed."""

    directory: bytes
    device: int = 0
    """The device number that stands for its disk; 0, as ``inode``, where the directory could not be looked at."""
    inode: int = 0
    files: dict[bytes, Stamp] = field(default_factory=dict)
    """Paths of files of any content, and of pipes, sockets and devices with a photo's name; not those in ``same``."""
    same: int = 0
    """How many files are as they were recorded, their device included."""
    recorded: dict[bytes, Row] = field(default_factory=dict)
    """The records of all other files, of those that have gone too."""
    links: list[bytes] = field(default_factory=list)
    """Paths of symbolic links, also of broken ones and of those to directories."""
    subdirectories: list[bytes] = field(default_factory=list)
    """Paths, sorted: each has a listing of its own later in the walk."""
    error: OSError | None = None
    """Why ``files`` and ``subdirectories`` may be incomplete; FileNotFoundError: the directory has gone."""


def walk(
    start: bytes,
    exclusion: Exclusion,
    root: bytes | None = None,
    recorded: Recorded | None = None,
    device_of: Callable[[bytes], int] | None = None,
) -> Iterator[Listing]:
    """List a directory and all below it, each directory once and before those in it.

    ``root`` is the watched directory that ``start`` lies in, by default ``start`` itself; whether the directories
    between the two are excluded is not checked (see `why_excluded`). Files that are as ``recorded`` are only counted:
    nearly all are. ``device_of`` gives the device number that stands for the disk
    of a directory, by default its ``st_dev``; it is asked at the start, and where ``st_dev`` changes on the way down.
    Nothing is raised for what is found on the disk. A path too long for the system and a directory that contains
    itself (by a bind mount) end in a listing with an error.
    """
    root = start if root is None else root
    pending: list[tuple[bytes, tuple[_Place, ...]]] = [(start, ())]
    while pending:
        directory, above = pending.pop()
        listing = Listing(directory, recorded=recorded(directory) if recorded else {})
        place = _list(listing, root, exclusion, above, device_of)
        yield listing
        if place is not None:
            inside = (*above, place)
            pending.extend((subdirectory, inside) for subdirectory in reversed(listing.subdirectories))


def why_excluded(path: bytes, root: bytes, exclusion: Exclusion) -> str:
    """Say why a walk of ``root`` leaves the path out, or return an empty string where it does not.

    The path need not exist. A file is judged like a walk judges it, a directory also by what it holds.
    """
    if path == root:
        return _IN_NOMEDIA if _holds_nomedia(root) else ""
    start = len(_prefix(root))
    if not path.startswith(_prefix(root)):
        return f"outside {printable(root)}"
    if _holds_nomedia(root):
        return _IN_NOMEDIA
    slash = path.find(b"/", start)
    while slash >= 0:
        if reason := _why_directory(path[:slash], start, exclusion):
            return f"in {printable(path[start:slash])}/: {reason}"
        slash = path.find(b"/", slash + 1)
    if os.path.isdir(path):
        return _why_directory(path, start, exclusion)
    return exclusion.excludes(path[start:]) or _why_link(path)


def _why_link(path: bytes) -> str:
    is_ours = os.path.islink(path) and os.path.lexists(os.path.join(os.path.dirname(path), LIST_OF_LINKS))
    return _OUR_LINK if is_ours else ""


def _why_directory(path: bytes, start: int, exclusion: Exclusion) -> str:
    if reason := exclusion.excludes(path[start:], is_directory=True):
        return reason
    if os.path.islink(path):
        return _LINKED
    return _IN_NOMEDIA if _holds_nomedia(path) else ""


def _holds_nomedia(directory: bytes) -> bool:
    return os.path.lexists(os.path.join(directory, _NOMEDIA))


def _prefix(root: bytes) -> bytes:
    """What every path below the root begins with."""
    return root if root.endswith(b"/") else root + b"/"


def _list(
    listing: Listing,
    root: bytes,
    exclusion: Exclusion,
    above: tuple[_Place, ...],
    device_of: Callable[[bytes], int] | None,
) -> _Place | None:
    """Fill the listing; return where the walk is now, or None where nothing below is to be listed."""
    directory = listing.directory
    try:
        identity = Stamp.of(os.stat(directory))[:2]
        if any(identity == place.identity for place in above):
            raise OSError(errno.ELOOP, "the directory contains itself", directory)
        if above and identity[0] == above[-1].identity[0]:
            listing.device = above[-1].device
        else:
            listing.device = device_of(directory) if device_of else identity[0]
        listing.inode = identity[1]
        with os.scandir(directory) as entries:
            found = list(entries)
    except OSError as exc:
        listing.error = exc
        return None
    if any(entry.name == _NOMEDIA for entry in found):
        return None
    if any(entry.name == LIST_OF_LINKS for entry in found):
        found = [entry for entry in found if not entry.is_symlink()]
    _take_in(found, len(_prefix(root)), listing, exclusion)
    listing.subdirectories.sort()
    return _Place(identity, listing.device)


def _take_in(found: list[os.DirEntry[bytes]], start: int, listing: Listing, exclusion: Exclusion) -> None:
    """Sort a directory's entries into the listing; ``start``: where in their paths the part below the root begins.

    A walk of many unchanged files is as fast as this loop, so they are recognised in few steps.
    """
    device, unmatched = listing.device, listing.recorded
    for entry in found:
        path = entry.path
        try:
            is_directory = entry.is_dir(follow_symlinks=False)
            if exclusion.excludes(path[start:], is_directory=is_directory):
                continue
            if is_directory:
                listing.subdirectories.append(path)
                continue
            if entry.is_symlink():
                listing.links.append(path)
            status = entry.stat()
        except FileNotFoundError:
            continue
        except OSError as exc:
            if not os.path.islink(path):
                listing.error = exc
            continue
        if not stat.S_ISREG(status.st_mode) and (stat.S_ISDIR(status.st_mode) or not is_photo_name(entry.name)):
            continue
        row = (path, device, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if unmatched.get(path) == row:
            del unmatched[path]
            listing.same += 1
        else:
            listing.files[path] = Stamp.of(status)._replace(device=device)
