"""What the disk and the catalog, held against each other, ask for. Pure: nothing here touches either.

These rules keep a disk that is out of reach from being taken for deleted photos:

- A root that vanished, or that is found empty where photos were, is *offline*: nothing below it is forgotten. So is one
  that may be another disk than before and lacks most of them.
- A photo may only be forgotten while the file system that it was recorded on is there in its place. Another disk may
  be mounted where the root's is, or inside the root, or none.

A device number says which file system it is, but not for long: it changes with a boot, and the next disk that is
plugged in gets the number, the root inode and even the mount's id of the last. So wherever something may have been
mounted since the last good walk, photos that are as they were recorded prove that it is the same disk; without one
(a FAT numbers its files anew each time), most of the names must be there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from facewatchd.values import Identity, RootState, Stamp

AWAY = -1
"""No device has this number. It is given to disks that are away, so that they are not taken for the next of theirs."""
NEW_FILES = 1000
"""New files that a walk keeps in mind, to tell photos that were moved from photos that are gone."""


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


class Census:
    """What a walk sees of the photos that were recorded on each file system, by the number of its device then."""

    def __init__(self) -> None:
        self._same: dict[int, Counter[int]] = {}
        """Of those that are as they were: where they are now, by device."""
        self._other: dict[int, Counter[int]] = {}
        """The same of those that changed."""
        self._new: set[tuple[int, int, int]] = set()

    def devices(self) -> set[int]:
        """Where what was seen was recorded."""
        return self._same.keys() | self._other.keys()

    def count(self, files: Mapping[bytes, Stamp], recorded: Mapping[bytes, Stamp]) -> None:
        """Take in one directory: its files, and what is recorded of it."""
        for path, stamp in files.items():
            if (before := recorded.get(path)) is not None:
                kind = self._same if stamp.same_bytes(before) else self._other
                kind.setdefault(before.device, Counter())[stamp.device] += 1
            elif len(self._new) < NEW_FILES:
                self._new.add(_file(stamp))

    def count_same(self, device: int, files: int) -> None:
        """Take in so many files that are as they were, where they were."""
        if files:
            self._same.setdefault(device, Counter())[device] += files

    def knows(self, device: int, gone: Iterable[Stamp]) -> bool:
        """Whether anything that was recorded there is as it was, at its place or moved."""
        return device in self._same or any(_file(stamp) in self._new for stamp in gone)

    def lacks_most(self, device: int, gone: Collection[Stamp]) -> bool:
        """Whether half of what was recorded there has gone, or more."""
        return len(gone) >= sum(count.total() for kind in (self._same, self._other) if (count := kind.get(device)))

    def place(self, device: int, gone: Collection[Stamp], root_now: int) -> int:
        """Say which device a file system inside the root has now; one that is nowhere where it is not there."""
        if same := self._same.get(device):
            return same.most_common(1)[0][0]
        other = self._other.get(device)
        if other and not self.lacks_most(device, gone):
            return other.most_common(1)[0][0]
        return AWAY if device == root_now else device


def is_away(device: int) -> bool:
    """Whether a photo's device stands for a disk that is away: each has a number of its own, `AWAY` or below."""
    return device <= AWAY


def _file(stamp: Stamp) -> tuple[int, int, int]:
    """What a move within a file system leaves as it is."""
    return stamp.inode, stamp.size, stamp.mtime_ns


class RootView(NamedTuple):
    """What a walk saw of a root."""

    identity: Identity | None
    """None: it is not there, or is no directory."""
    readable: bool
    empty: bool
    """Nothing at all is in it, not even a hidden file."""
    gone: int
    """Photos that are known and were not seen."""
    doubted: bool = False
    """Whether it was offline, or may have been mounted, since the last good walk: its identity proves nothing then."""
    apart: bool = False
    """Whether some of those that are gone are on another disk than what is there, as an earlier walk saw."""
    known: bool = False
    """Whether any photo proves that the file system is the same: `Census.knows`."""
    stayed: bool = False
    """Whether it is the directory of the last good walk, which this process made; nothing can have been mounted there
    since, and its disk would tell if it did not answer."""


def root_state(view: RootView, recorded: int, then: Identity | None) -> RootState:
    """Say whether what was seen of a root may be believed, where ``recorded`` photos are known below it.

    ``then`` is its identity at the last good walk. A root that is wholly empty where photos were, or that is another
    directory than before without most of them, is a mount point without its disk, or with another one. Whether a user
    did that on purpose while no daemon ran cannot be told, and keeping is the safe side. A root that stayed where it is
    while this daemon ran was emptied by a program.
    """
    if view.identity is None:
        return RootState.OFFLINE
    if not view.readable:
        return RootState.UNREADABLE
    lost = view.apart or 2 * view.gone >= recorded
    untouched = view.identity == then and not view.doubted
    proven = view.known and then is not None and view.identity.inode == then.inode
    emptied = view.empty and not view.stayed
    if recorded > 0 and (emptied or (lost and not untouched and not proven)):
        return RootState.OFFLINE
    return RootState.WATCHING


class Missing(NamedTuple):
    """A path that is recorded and was not seen."""

    stamp: Stamp
    """As it was recorded."""
    device: int
    """Of the nearest directory above it that exists."""


class Devices(NamedTuple):
    """Of a root: its own then and now, and which file systems may have been mounted since the last good walk."""

    then: frozenset[int]
    """That of the last good walk, and those of other disks that were there for a while since."""
    now: int
    root_remounted: bool = False
    inside_remounted: bool = False


@dataclass(slots=True)
class Verdict:
    """What is to become of the paths that are missing."""

    gone: list[bytes] = field(default_factory=list)
    devices: list[tuple[bytes, int]] = field(default_factory=list)
    """Those of them whose device has another number now, with that."""
    kept: dict[bytes, int] = field(default_factory=dict)
    """Those whose disk is not there, with the number that stands for it."""
    unsure: bool = False
    """Whether there are others, of which only a walk of the whole root can tell."""


def judge(missing: Mapping[bytes, Missing], census: Census, devices: Devices, *, whole: bool = True) -> Verdict:
    """Tell photos that are gone from those whose disk is away. ``whole``: the census is one of the whole root."""
    groups: dict[int, dict[bytes, Missing]] = {}
    for path, entry in missing.items():
        groups.setdefault(entry.stamp.device, {})[path] = entry
    verdict = Verdict()
    free = _free_number(census, groups)
    for device, group in groups.items():
        stamps = [entry.stamp for entry in group.values()]
        is_roots = device in devices.then
        place = devices.now if is_roots else census.place(device, stamps, devices.now)
        remounted = devices.root_remounted if is_roots else devices.inside_remounted
        doubtful = remounted and census.lacks_most(device, stamps) and not census.knows(device, stamps)
        there = [path for path, entry in group.items() if entry.device == place and not doubtful]
        if not whole and len(there) < len(group) and not is_away(device):
            verdict.unsure = True
            continue
        verdict.gone += there
        verdict.devices += [(path, place) for path in there if place != device]
        if len(there) < len(group):
            verdict.kept |= dict.fromkeys(group.keys() - set(there), device if is_away(device) else free)
            free -= not is_away(device)
    return verdict


def tell_apart(device: int, gone: Mapping[bytes, Stamp], census: Census) -> dict[bytes, int]:
    """Give the photos on a device that are gone a number that stands for a disk that is away."""
    number = _free_number(census, {stamp.device for stamp in gone.values()})
    return {path: number for path, stamp in gone.items() if stamp.device == device}


def _free_number(census: Census, devices: Iterable[int]) -> int:
    """A number `AWAY` or below that no disk of this root has."""
    return min([AWAY + 1, *census.devices(), *devices]) - 1


def accept(missing: Mapping[bytes, Missing]) -> Verdict:
    """Take all for gone, wherever it was: the user says so."""
    devices = [(path, entry.device) for path, entry in missing.items() if entry.device != entry.stamp.device]
    return Verdict(gone=list(missing), devices=devices)


def may_forget(recorded: int, nearest: int) -> bool:
    """Whether a missing photo is gone, and not on a file system that is away.

    ``recorded`` is the photo's device, which walks keep level with the numbers of today, and ``nearest`` that of the
    nearest directory above it which still exists.
    """
    return recorded == nearest
