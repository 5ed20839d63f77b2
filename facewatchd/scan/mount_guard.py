"""The mount guard: gathers what `facewatchd.scan.missing_disk` decides on. Used by the scanner's thread alone.

It remembers, for each root, the state of the mount table at the last good walk, and which other disks were seen at the
root since. For the rules, and why they are as they are, see `facewatchd.scan.missing_disk`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from facewatchd.scan.missing_disk import (
    Census,
    Devices,
    Missing,
    RootView,
    Verdict,
    away_numbers,
    is_away,
    judge,
    root_state,
)
from facewatchd.scan.roots import Roots, identity_of
from facewatchd.system.mounts import Mount
from facewatchd.values import Identity, RootState, Stamp, is_within


class Snapshot(NamedTuple):
    """A root at the moment when a walk of it begins."""

    identity: Identity | None
    around: tuple[Mount, ...]
    """The mount that holds the root, and those below the root."""
    changes: int
    """How many changes of the mount table were seen until then."""


class MountGuard:
    """Holds walks against the mount table of ``roots``."""

    def __init__(self, roots: Roots) -> None:
        self._roots = roots
        self._good_at: dict[bytes, int] = {}
        """`MountTable.changes` at the last good walk of each root."""
        self._others: dict[bytes, set[int]] = {}
        """Devices of other disks that were seen at a root since its last good walk."""

    def snapshot(self, root: bytes) -> Snapshot:
        """Look at a root before it is walked."""
        table = self._roots.mounts.now()
        around = table.around(os.path.realpath(root))
        return Snapshot(identity_of(root), around, table.changes)

    def is_unchanged(self, root: bytes, snapshot: Snapshot) -> bool:
        """Whether the same directory is there, with the same mounts, as at the snapshot."""
        return self.snapshot(root)[:2] == snapshot[:2]

    def root_state(
        self,
        root: bytes,
        snapshot: Snapshot,
        census: Census,
        gone: Mapping[bytes, Stamp],
        *,
        readable: bool,
        recorded: int,
    ) -> RootState:
        """Return WATCHING if a walk of a whole root may be believed; ``recorded``: photos in the catalog below it."""
        then = self._roots.identity(root)
        had_another = root in self._others
        away = {disk for disk in census.devices() | {stamp.device for stamp in gone.values()} if is_away(disk)}
        disks = away if had_another or then is None else {*away, then.device}
        some_are_away = any(is_away(stamp.device) for stamp in gone.values())
        return root_state(
            RootView(
                snapshot.identity,
                readable,
                empty=_is_empty(root),
                gone=len(gone),
                doubted=self._may_be_remounted(root) or self._roots.state(root) is RootState.OFFLINE,
                apart=some_are_away and (had_another or snapshot.identity != then),
                known=any(census.knows(disk, _on(disk, gone)) for disk in disks),
                stayed=snapshot.identity == then and self._stayed(root),
            ),
            recorded,
            then,
        )

    def set_apart(self, root: bytes, now: Identity, census: Census, gone: Mapping[bytes, Stamp]) -> dict[bytes, int]:
        """Note that another disk is at a root; return the numbers by which the photos of its own are to be recorded.

        The other disk's photos may have the device number of those.
        """
        self._others.setdefault(root, set()).add(now.device)
        then = self._roots.identity(root)
        return away_numbers(then.device, gone, census) if then else {}

    def verdict(
        self, root: bytes, now: Identity, census: Census, gone: Mapping[bytes, Stamp], *, whole: bool
    ) -> Verdict:
        """Decide on missing paths after a walk that may be believed, of a whole root or of a part of it."""
        then = self._roots.identity(root) or now
        remounted = not whole and self._may_be_remounted(root)  # of a whole root, `root_state` has decided that
        own = frozenset({then.device, *self._others.get(root, ())})
        devices = Devices(own, now.device, remounted, self._mounts_changed(root))
        return judge(self.missing(gone), census, devices, whole=whole)

    def missing(self, gone: Mapping[bytes, Stamp]) -> dict[bytes, Missing]:
        """Look what is in the place of missing paths; one look for each directory."""
        nearest: dict[bytes, int] = {}
        for path in gone:
            directory = os.path.dirname(path)
            if directory not in nearest:
                nearest[directory] = self._roots.device_around(path)
        return {path: Missing(stamp, nearest[os.path.dirname(path)]) for path, stamp in gone.items()}

    def note_good_walk(self, root: bytes, snapshot: Snapshot) -> None:
        """Note that the walk that began at the snapshot saw the root's own disk."""
        self._good_at[root] = snapshot.changes
        self._others.pop(root, None)

    def _stayed(self, root: bytes) -> bool:
        """Whether only a program can have changed what is in the root since its last good walk (`RootView.stayed`)."""
        around = self._roots.mounts.now().around(os.path.realpath(root))
        is_sound = not any(mount.may_seem_empty for mount in around)
        was_good = root in self._good_at and self._roots.state(root) is RootState.WATCHING
        return was_good and is_sound and not self._may_be_remounted(root)

    def _mounts_changed(self, root: bytes) -> bool:
        """Whether the mount table changed since the last good walk by this process, or there was none."""
        return self._good_at.get(root) != self._roots.mounts.now().changes

    def _may_be_remounted(self, root: bytes) -> bool:
        """Whether the root itself may be on another disk. On the file system of ``/`` it cannot be."""
        real = os.path.realpath(root)
        around = self._roots.mounts.now().around(real)
        is_on_its_own = any(mount.point != b"/" and is_within(real, mount.point) for mount in around)
        return is_on_its_own and self._mounts_changed(root)


def _on(device: int, recorded: Mapping[bytes, Stamp]) -> list[Stamp]:
    return [stamp for stamp in recorded.values() if stamp.device == device]


def _is_empty(directory: bytes) -> bool:
    try:
        with os.scandir(directory) as entries:
            return next(entries, None) is None
    except OSError:
        return False
