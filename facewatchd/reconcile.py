"""What the disk and the catalog, held against each other, ask for. Pure: nothing here touches either.

Two rules keep a disk that is out of reach from being taken for deleted photos:

- A root that vanished, or that is empty where photos were, is *offline*: nothing below it is forgotten.
- A photo that lived on another file system than its root (something is mounted inside the root) may only be forgotten
  while a file system other than the root's is there. Devices are compared within one boot: those of the root
  then and now stand for "the root's own file system", whatever number it has today.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from facewatchd.records import Identity, RootState, Stamp


class Difference(NamedTuple):
    """Paths in one directory that deserve a look."""

    examine: list[bytes]
    """New, or changed since they were recorded."""
    gone: list[bytes]
    """Recorded, and no longer there."""


def compare(files: Mapping[bytes, Stamp], recorded: Mapping[bytes, Stamp], *, force: bool = False) -> Difference:
    """Hold one directory's files against the catalog's; ``force`` examines the unchanged as well."""
    examine = [path for path, stamp in files.items() if force or not stamp.same_bytes(recorded.get(path))]
    gone = [path for path in recorded if path not in files]
    return Difference(examine, gone)


class RootView(NamedTuple):
    """What a walk saw of a root."""

    identity: Identity | None
    """None: it is not there, or is no directory."""
    readable: bool
    empty: bool
    """Nothing at all is in it, not even a hidden file."""
    gone: int
    """Photos that are known and were not seen."""


def root_state(view: RootView, recorded: int, then: Identity | None) -> RootState:
    """Say whether what was seen of a root may be believed, where ``recorded`` photos are known below it.

    ``then`` is its identity at the last good walk. A root that is wholly empty where photos were, or that is another
    directory than before without most of them, is a mount point without its disk, or with another one. Whether
    somebody did that on purpose while nobody watched cannot be told, and keeping is the safe side.
    """
    if view.identity is None:
        return RootState.OFFLINE
    if not view.readable:
        return RootState.UNREADABLE
    if recorded > 0 and (view.empty or (view.identity != then and 2 * view.gone > recorded)):
        return RootState.OFFLINE
    return RootState.WATCHING


def may_forget(device: int, nearest_device: int, root_then: int, root_now: int) -> bool:
    """Whether a missing photo is gone, and not on a file system that is away.

    ``device`` is the photo's when it was recorded, ``nearest_device`` that of the nearest directory above it which
    still exists, ``root_then`` the root's at the last good walk and ``root_now`` today.
    """
    lived_on_the_root = device == root_then
    other_file_system_there = nearest_device != root_now
    return lived_on_the_root or other_file_system_there
