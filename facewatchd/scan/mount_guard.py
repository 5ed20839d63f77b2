"""Whether what a walk saw may be believed: is the disk there that was there before? Used by the scanner's thread.

Neither a device's number nor the inode of its root, nor even the mount's id, tells one disk from the next that is
mounted in its place. That the mount table has changed is all that the kernel says; what follows from it, `reconcile`
decides.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from facewatchd.scan.compare import Census, Devices, Missing, RootView, Verdict, is_away, judge, root_state, tell_apart
from facewatchd.scan.roots import Roots, identity_of
from facewatchd.system.mounts import Mount, Mounts
from facewatchd.values import Identity, RootState, Stamp, is_within


class Snapshot(NamedTuple):
    """A root, when a walk of it begins."""

    identity: Identity | None
    around: tuple[Mount, ...]
    """What is mounted where the root is, and in it."""
    changes: int
    """How often the mount table had been seen to change."""


class MountGuard:
    """Remembers what was mounted at the last good walk of each root. Close it when done."""

    def __init__(self, roots: Roots) -> None:
        self._roots = roots
        self._mounts = Mounts()
        self._changes = 0
        self._good_at: dict[bytes, int] = {}
        self._others: dict[bytes, set[int]] = {}
        """Devices of other disks that were seen at a root since its last good walk."""

    def close(self) -> None:
        """Let go of the mount table."""
        self._mounts.close()

    def snapshot(self, root: bytes) -> Snapshot:
        """Look at a root before it is walked."""
        around = self._around(root)
        return Snapshot(identity_of(root), around, self._changes)

    def is_unchanged(self, root: bytes, snapshot: Snapshot) -> bool:
        """Whether the same is mounted there as at that snapshot."""
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
        """Say whether a walk of a whole root may be believed, where ``recorded`` photos are known below it."""
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
                doubted=self._may_be_held_anew(root) or self._roots.state(root) is RootState.OFFLINE,
                apart=some_are_away and (had_another or snapshot.identity != then),
                known=any(census.knows(disk, _on(disk, gone)) for disk in disks),
                stayed=snapshot.identity == then and self._stayed(root),
            ),
            recorded,
            then,
        )

    def tell_apart(self, root: bytes, now: Identity, census: Census, gone: Mapping[bytes, Stamp]) -> dict[bytes, int]:
        """Give what was on a root's disk another number: another disk is there, whose photos may get the same."""
        self._others.setdefault(root, set()).add(now.device)
        then = self._roots.identity(root)
        return tell_apart(then.device, gone, census) if then else {}

    def verdict(
        self, root: bytes, now: Identity, census: Census, gone: Mapping[bytes, Stamp], *, whole: bool
    ) -> Verdict:
        """Tell what is gone from what is kept, after a walk of a root, or of a part of it, that may be believed."""
        then = self._roots.identity(root) or now
        held_anew = not whole and self._may_be_held_anew(root)  # of a whole root, `root_state` has judged that
        own = frozenset({then.device, *self._others.get(root, ())})
        devices = Devices(own, now.device, held_anew, self._may_be_changed(root))
        return judge(self.missing(gone), census, devices, whole=whole)

    def missing(self, gone: Mapping[bytes, Stamp]) -> dict[bytes, Missing]:
        """Look what is in the place of paths that are recorded and were not seen."""
        nearest: dict[bytes, int] = {}
        for path in gone:
            directory = os.path.dirname(path)
            if directory not in nearest:
                nearest[directory] = self._roots.device_around(path)
        return {path: Missing(stamp, nearest[os.path.dirname(path)]) for path, stamp in gone.items()}

    def note_good_walk(self, root: bytes, snapshot: Snapshot) -> None:
        """Note that what a walk saw, which began then, is what belongs there."""
        self._good_at[root] = snapshot.changes
        self._others.pop(root, None)

    def _around(self, root: bytes) -> tuple[Mount, ...]:
        self._changes += self._mounts.refresh()
        return self._mounts.around(os.path.realpath(root))

    def _stayed(self, root: bytes) -> bool:
        """Whether what is in the root since its last good walk can only have been changed by a program."""
        is_sound = not any(mount.may_seem_empty for mount in self._around(root))
        was_good = root in self._good_at and self._roots.state(root) is RootState.WATCHING
        return was_good and is_sound and not self._may_be_held_anew(root)

    def _may_be_changed(self, root: bytes) -> bool:
        """Whether anything may have been mounted in the root since its last good walk; before that, nobody knows."""
        return self._good_at.get(root) != self._changes

    def _may_be_held_anew(self, root: bytes) -> bool:
        """Whether the root itself may be on another disk: not where it is on that of the whole machine."""
        real = os.path.realpath(root)
        is_on_its_own = any(mount.point != b"/" and is_within(real, mount.point) for mount in self._around(root))
        return is_on_its_own and self._may_be_changed(root)


def _on(device: int, recorded: Mapping[bytes, Stamp]) -> list[Stamp]:
    return [stamp for stamp in recorded.values() if stamp.device == device]


def _is_empty(directory: bytes) -> bool:
    try:
        with os.scandir(directory) as entries:
            return next(entries, None) is None
    except OSError:
        return False
