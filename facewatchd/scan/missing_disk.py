"""Missing-disk detection: which photos that a walk did not see were deleted, and which are on a disk that is away.

Pure: nothing here touches the disk or the catalog. `facewatchd.scan.mount_guard` gathers what is decided on.

Rules:

1. A root that does not exist, or is no directory, is *offline*. Nothing below it is forgotten.
2. A root that is empty although photos are recorded below it is offline, unless it is the same directory as at the last
   good walk by this process, nothing was mounted there since, and its file system reports errors (`RootView.stayed`).
3. A root that may be another disk than at its last good walk, and lacks half of its photos or more, is offline, unless
   the inode of the root and one photo prove that the disk is the same (`Census.knows`).
4. A recorded path that was not seen is gone only if the disk that it was recorded on is mounted in its place: the
   nearest directory above it that exists must be on that disk (`is_in_place`).
5. A disk inside a root that may have been mounted anew, lacks half of its photos or more, and has no photo that proves
   it, is away. Its photos are kept.
6. `facewatchd scan --force` overrides all of this: the user says that what is there is all there is (`accept`).

Theory of operation. Linux gives no lasting name of a file system that works for all of them. A device number
(``st_dev``) is valid until the next boot or mount: the next disk that is plugged in gets the number of the last one,
and often the same inode for its root and the same mount id. All that the kernel reports reliably is that the mount
table has changed. Therefore:

- While the mount table has not changed since the last good walk of a root, a device number means the disk that it meant
  then, and rules 4 and 5 compare numbers.
- Otherwise the photos themselves identify the disk. One photo at its place with its recorded stamp, or
  moved with its inode, size and mtime, is proof, because these do not repeat by chance on another disk. FAT assigns
  inodes anew at each mount, so there is no such photo on it: then more than half of the recorded names must be there.
- After a good walk the catalog is brought level with the device numbers of today, so that the next comparison is of
  numbers again. The photos of each disk that is away get a negative number (`AWAY` or below), which no mounted disk can
  have. So they are not taken for photos of the disk that gets the old number next. When one of them is seen again, all
  others with its number are judged by where it is now.

A root that was emptied by a program and a mount point without its disk look alike where this process has not watched
it happen. Keeping records of deleted photos until `scan --force` is the safe side of the two errors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from facewatchd.values import Identity, RootState, Stamp

AWAY = -1
"""The highest of the numbers that stand for the devices of disks that are away."""
NEW_FILES = 1000
"""New files that a walk remembers, to tell photos that were moved from photos that are gone."""


class Census:
    """Counts what a walk sees of the recorded photos, by the device number that they were recorded with."""

    def __init__(self) -> None:
        self._same: dict[int, Counter[int]] = {}
        """Photos with the recorded stamp: how many are on each device now."""
        self._other: dict[int, Counter[int]] = {}
        """The same of photos with another stamp."""
        self._new: set[tuple[int, int, int]] = set()

    def devices(self) -> set[int]:
        """The recorded device numbers of all photos that were seen."""
        return self._same.keys() | self._other.keys()

    def count(self, files: Mapping[bytes, Stamp], recorded: Mapping[bytes, Stamp]) -> None:
        """Add one directory: its files, and their records."""
        for path, stamp in files.items():
            if (before := recorded.get(path)) is not None:
                kind = self._same if stamp.same_bytes(before) else self._other
                kind.setdefault(before.device, Counter())[stamp.device] += 1
            elif len(self._new) < NEW_FILES:
                self._new.add(_unmoved(stamp))

    def count_same(self, device: int, files: int) -> None:
        """Add so many files with their recorded stamp on their recorded device."""
        if files:
            self._same.setdefault(device, Counter())[device] += files

    def knows(self, device: int, gone: Iterable[Stamp]) -> bool:
        """Whether a photo recorded on the device was seen with its stamp, or, of those that are ``gone``, elsewhere."""
        return device in self._same or any(_unmoved(stamp) in self._new for stamp in gone)

    def lacks_most(self, device: int, gone: Collection[Stamp]) -> bool:
        """Whether half of the photos recorded on the device are ``gone``, or more."""
        return len(gone) >= sum(count.total() for kind in (self._same, self._other) if (count := kind.get(device)))

    def place(self, device: int, gone: Collection[Stamp], root_now: int) -> int:
        """Return the number that a device inside the root has now; one that no directory has if it is not there.

        ``root_now``: the number of the root's own device now.
        """
        if same := self._same.get(device):
            return same.most_common(1)[0][0]
        other = self._other.get(device)
        if other and not self.lacks_most(device, gone):
            return other.most_common(1)[0][0]
        return AWAY if device == root_now else device


def is_away(device: int) -> bool:
    """Whether a recorded device number stands for a disk that is away."""
    return device <= AWAY


def _unmoved(stamp: Stamp) -> tuple[int, int, int]:
    """What a move within a file system does not change."""
    return stamp.inode, stamp.size, stamp.mtime_ns


class RootView(NamedTuple):
    """What a walk saw of a root."""

    identity: Identity | None
    """None: it is not there, or is no directory."""
    readable: bool
    empty: bool
    """It has no entry at all, not even a hidden file."""
    gone: int
    """Recorded photos that were not seen."""
    doubted: bool = False
    """It was offline, or may have been mounted, since the last good walk, so that its identity proves nothing."""
    apart: bool = False
    """Some of the photos that were not seen are on a disk that is away, as an earlier walk found."""
    known: bool = False
    """A photo proves that the disk is the same (`Census.knows`)."""
    stayed: bool = False
    """It is the directory of the last good walk, which this process made; nothing can have been mounted there since,
    and its file system reports an error where the disk does not answer."""


def root_state(view: RootView, recorded: int, then: Identity | None) -> RootState:
    """Apply rules 1 to 3 to a root. WATCHING: what the walk saw may be believed.

    ``recorded``: photos in the catalog below the root. ``then``: the root's identity at the last good walk.
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


def is_in_place(recorded: int, nearest: int) -> bool:
    """Rule 4: whether the disk that a missing path was recorded on is the one in its place.

    ``nearest``: the device number of the nearest directory above the path that exists.
    """
    return recorded == nearest


class Missing(NamedTuple):
    """A path that is recorded and was not seen."""

    stamp: Stamp
    """As recorded."""
    device: int
    """That of the nearest directory above it that exists."""


class Devices(NamedTuple):
    """The devices of a root, and which of them may have been mounted anew since the last good walk."""

    then: frozenset[int]
    """The root's at the last good walk, and those of other disks that were mounted there for a while since."""
    now: int
    root_remounted: bool = False
    inside_remounted: bool = False


@dataclass(slots=True)
class Verdict:
    """What becomes of the paths that are missing."""

    gone: list[bytes] = field(default_factory=list)
    devices: list[tuple[bytes, int]] = field(default_factory=list)
    """Paths in ``gone`` whose device has another number now, with that number."""
    kept: dict[bytes, int] = field(default_factory=dict)
    """Paths whose disk is away, with the number that stands for it."""
    unsure: bool = False
    """Whether there are paths that only a walk of the whole root can decide on."""


def judge(missing: Mapping[bytes, Missing], census: Census, devices: Devices, *, whole: bool = True) -> Verdict:
    """Apply rules 4 and 5 to missing paths. ``whole``: the census is of the whole root, not of a part of it."""
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
        there = [path for path, entry in group.items() if is_in_place(place, entry.device) and not doubtful]
        if not whole and len(there) < len(group) and not is_away(device):
            verdict.unsure = True
            continue
        verdict.gone += there
        verdict.devices += [(path, place) for path in there if place != device]
        if len(there) < len(group):
            verdict.kept |= dict.fromkeys(group.keys() - set(there), device if is_away(device) else free)
            free -= not is_away(device)
    return verdict


def away_numbers(device: int, gone: Mapping[bytes, Stamp], census: Census) -> dict[bytes, int]:
    """Return a new number of a disk that is away for each of the ``gone`` paths that was recorded on the device."""
    number = _free_number(census, {stamp.device for stamp in gone.values()})
    return {path: number for path, stamp in gone.items() if stamp.device == device}


def _free_number(census: Census, devices: Iterable[int]) -> int:
    """The highest number, `AWAY` or below, that stands for no disk of this root yet."""
    return min([AWAY + 1, *census.devices(), *devices]) - 1


def accept(missing: Mapping[bytes, Missing]) -> Verdict:
    """Rule 6: take every missing path for gone."""
    devices = [(path, entry.device) for path, entry in missing.items() if entry.device != entry.stamp.device]
    return Verdict(gone=list(missing), devices=devices)


class Surroundings(NamedTuple):
    """What is in the place of one path that is not there."""

    root: bytes
    """The watched directory that it lies in."""
    state: RootState | None
    """The root's at the last walk; None before the first."""
    is_same: bool
    """Whether the root is the directory that it was at the last good walk."""
    device: int
    """That of the nearest directory above the path that exists; 0 where that is not known."""


def may_forget(recorded: Stamp, around: Surroundings | None) -> bool:
    """Apply the rules to one missing path, between two walks, as the last one left the device numbers in the catalog.

    ``around`` None: the path is in no watched directory, and no disk that is away keeps its record.
    """
    if around is None:
        return True
    is_reached = around.is_same and around.state not in (RootState.OFFLINE, RootState.UNREADABLE)
    return is_reached and is_in_place(recorded.device, around.device)
