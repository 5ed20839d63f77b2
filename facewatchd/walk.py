"""What is on the disk below a watched directory, and what of it is left alone.

Rules, the same for `walk` and `why_excluded`:

- Hidden, unfinished and excluded names are left out, and so is everything in a directory that holds `.nomedia`,
  be it the watched directory itself.
- A symbolic link to a file is that file, with its stamp; a broken one is nothing. Linked directories are not
  followed, but the watched directory may be one.
- A pipe, socket or device counts only if its name is a photo's, so that its failure can be told.
- Absence is only as good as the listing: where `Listing.error` is set, what is not named may still be there.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from facewatchd.exclude import Exclusion
from facewatchd.photos import is_photo_name
from facewatchd.printing import printable
from facewatchd.records import Stamp

_NOMEDIA: Final = b".nomedia"
_IN_NOMEDIA: Final = "in a directory with a .nomedia file"
_LINKED: Final = "a linked directory"

_Identity = tuple[int, int]
"""Device and inode."""


@dataclass(slots=True)
class Listing:
    """One directory as it was when it was listed."""

    directory: bytes
    device: int = 0
    """0, as ``inode``, where the directory could not even be looked at."""
    inode: int = 0
    files: dict[bytes, Stamp] = field(default_factory=dict)
    """Paths of files of any content, and of pipes, sockets and devices with a photo's name."""
    subdirectories: list[bytes] = field(default_factory=list)
    """Paths, sorted: each has a listing of its own later in the walk."""
    skipped: str = ""
    """Why the directory was not looked into: it holds `.nomedia`. Empty otherwise."""
    error: OSError | None = None
    """Why ``files`` and ``subdirectories`` may lack something; FileNotFoundError: the directory is gone."""


def walk(start: bytes, exclusion: Exclusion, root: bytes | None = None) -> Iterator[Listing]:
    """List a directory and all below it, each directory once and before those in it.

    ``root`` is the watched directory that ``start`` lies in, by default ``start`` itself; whether the directories
    between the two are excluded is not looked at (`why_excluded` tells).
    Nothing is raised for what is found on the disk. A path too long for the system and a directory that contains
    itself (by a bind mount) end in a listing with an error.
    """
    root = start if root is None else root
    pending: list[tuple[bytes, tuple[_Identity, ...]]] = [(start, ())]
    while pending:
        directory, above = pending.pop()
        listing = _list(directory, root, exclusion, above)
        yield listing
        inside = (*above, (listing.device, listing.inode))
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
    return exclusion.excludes(path[start:])


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


def _list(directory: bytes, root: bytes, exclusion: Exclusion, above: tuple[_Identity, ...]) -> Listing:
    listing = Listing(directory)
    try:
        status = os.stat(directory)
        listing.device, listing.inode = Stamp.of(status)[:2]
        if (listing.device, listing.inode) in above:
            raise OSError(errno.ELOOP, "the directory contains itself", directory)
        with os.scandir(directory) as entries:
            found = list(entries)
    except OSError as exc:
        listing.error = exc
        return listing
    if any(entry.name == _NOMEDIA for entry in found):
        listing.skipped = _IN_NOMEDIA
        return listing
    start = len(_prefix(root))
    for entry in found:
        _add(entry, entry.path[start:], listing, exclusion)
    listing.subdirectories.sort()
    return listing


def _add(entry: os.DirEntry[bytes], relative: bytes, listing: Listing, exclusion: Exclusion) -> None:
    try:
        is_directory = entry.is_dir(follow_symlinks=False)
        if exclusion.excludes(relative, is_directory=is_directory):
            return
        if is_directory:
            listing.subdirectories.append(entry.path)
            return
        status = entry.stat()
    except FileNotFoundError:
        return
    except OSError as exc:
        if not os.path.islink(entry.path):
            listing.error = exc
        return
    if stat.S_ISREG(status.st_mode) or (not stat.S_ISDIR(status.st_mode) and is_photo_name(entry.name)):
        listing.files[entry.path] = Stamp.of(status)._replace(device=listing.device)
