"""The watched directories ("roots"): which one a path is in, what of them is out of reach, and what may be forgotten.

The scanner notes here what its walks saw. Workers, the API and the health report ask.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Mapping, Sequence

from facewatchd.ignore import Exclusion
from facewatchd.scan.links import Links
from facewatchd.scan.missing_disk import Surroundings, may_forget
from facewatchd.scan.seen import Absent, Directory, Excluded, File, Seen, Unreachable
from facewatchd.scan.walk import why_excluded
from facewatchd.store.catalog import Catalog
from facewatchd.system.mounts import Mounts, device_of
from facewatchd.text import counted, printable
from facewatchd.threads.bounded_calls import DiskCalls
from facewatchd.values import Identity, RootState, Stamp, is_within

SHOWN = 300
"""Characters of a path in a message."""
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
"""The errors of stat(2) that say that nothing is there."""


class Roots:
    """The roots, and what is known of them since the start. Any thread may call."""

    def __init__(
        self, paths: Sequence[bytes], exclusion: Exclusion, catalog: Catalog, mounts: Mounts | None = None
    ) -> None:
        """``mounts``: the mount table, by default that of this process; `close` closes it."""
        self.paths: tuple[bytes, ...] = ()
        self.exclusion = exclusion
        self._catalog = catalog
        self.calls = DiskCalls()
        """Calls on disks that may not answer, by threads that must not wait for them."""
        self.links = Links(self.calls.real)
        self.mounts = mounts or Mounts()
        self._lock = threading.Lock()
        self._states: dict[bytes, RootState] = {}
        self._unreadable: dict[bytes, int] = {}
        self._away: dict[bytes, int] = {}
        self._identities: dict[bytes, Identity | None] = {}
        self.become(paths, exclusion)

    def close(self) -> None:
        """Close the mount table."""
        self.mounts.close()

    def become(self, paths: Sequence[bytes], exclusion: Exclusion) -> None:
        """Set the watched directories; what is known of others is forgotten."""
        with self._catalog.reading() as reader:
            recorded = {path: reader.root(path) for path in paths}
        with self._lock:
            self._identities = {path: self._identities.get(path) or recorded[path] for path in paths}
            self._states = {path: state for path, state in self._states.items() if path in recorded}
            for known in (self._unreadable, self._away):
                for directory in [each for each in known if not any(is_within(each, path) for path in paths)]:
                    del known[directory]
            self.paths, self.exclusion = tuple(paths), exclusion
        self.links.follow(paths)

    def of(self, path: bytes) -> bytes | None:
        """The watched directory that the path is, or lies in; None where there is none."""
        for root in self.paths:
            if is_within(path, root):
                return root
        return None

    def excluded(self, path: bytes) -> str:
        """Why the path is left alone; empty where it is not."""
        root = self.of(path)
        if root is None:
            return "in no watched directory"
        return why_excluded(path, root, self.exclusion)

    def identity(self, root: bytes) -> Identity | None:
        """Which directory the root was at its last good walk."""
        with self._lock:
            return self._identities.get(root)

    def saw(self, root: bytes, state: RootState, identity: Identity | None) -> None:
        """Note the result of a walk; ``identity`` is kept if the state is WATCHING: the walk may be believed."""
        with self._lock:
            if root not in self.paths:  # it was walked when it stopped being one
                return
            self._states[root] = state
            if state is RootState.WATCHING:
                self._identities[root] = identity

    def state(self, root: bytes) -> RootState | None:
        """What the last walk saw; None before the first."""
        with self._lock:
            return self._states.get(root)

    def saw_unreachable(self, start: bytes, unreadable: Mapping[bytes, int], away: Mapping[bytes, int]) -> bool:
        """Replace what is known to be out of reach below ``start``; return whether any of it was within reach before.

        ``unreadable``: directories, with the errno. ``away``: directories of files whose disk is away, with the number
        of those files.
        """
        with self._lock:
            if not any(is_within(start, root) for root in self.paths):
                return False
            is_news = not (unreadable.keys() <= self._unreadable.keys() and away.keys() <= self._away.keys())
            for known, seen in ((self._unreadable, unreadable), (self._away, away)):
                for directory in [directory for directory in known if is_within(directory, start)]:
                    del known[directory]
                known.update(seen)
            return is_news

    def has_unreachable(self, root: bytes) -> bool:
        """Whether anything in a root was out of reach at the last look."""
        with self._lock:
            return any(is_within(path, root) for known in (self._unreadable, self._away) for path in known)

    def forget_unreadable(self) -> dict[bytes, int]:
        """Forget the unreadable directories that have gone since; return the others, with the errno."""
        with self._lock:
            known = dict(self._unreadable)
        gone = [directory for directory in known if _is_gone(directory)]
        with self._lock:
            for directory in gone:
                self._unreadable.pop(directory, None)
                del known[directory]
        return known

    def has_gone(self, path: bytes) -> None:
        """Note that nothing is at a path any more: it and what was below it is not unreadable."""
        with self._lock:
            for directory in [each for each in self._unreadable if is_within(each, path)]:
                del self._unreadable[directory]

    def out_of_reach(self) -> list[bytes]:
        """Directories that could not be read, or whose disk was away, at the last look; sorted."""
        with self._lock:
            return sorted({*self._unreadable, *self._away})

    def unreachable(self, root: bytes) -> list[str]:
        """What in a root is out of reach, worded for users, at most two lines."""
        with self._lock:
            unreadable = {path: number for path, number in self._unreadable.items() if is_within(path, root)}
            away = {path: number for path, number in self._away.items() if is_within(path, root)}
        return ([_of_unreadable(root, unreadable)] if unreadable else []) + ([_of_away(away)] if away else [])

    def device_of(self, directory: bytes) -> int:
        """The device number that stands for the disk of a directory (`mounts.device_of`). Raises OSError."""
        return device_of(directory, self.of(directory) or directory, self.mounts)

    def stamp(self, path: bytes, status: os.stat_result) -> Stamp:
        """The stamp of a file, with the `device_of` its directory: a link's target may be on another disk."""
        return Stamp.of(status)._replace(device=self.device_of(os.path.dirname(path)))

    def nearest(self, path: bytes) -> bytes:
        """The nearest directory above the path that exists."""
        while path not in (b"/", b""):
            path = os.path.dirname(path)
            if os.path.isdir(path):
                break
        return path

    def device_around(self, path: bytes) -> int:
        """The `device_of` the `nearest` directory above a path; 0 where that fails."""
        while True:
            try:
                return self.device_of(self.nearest(path))
            except (FileNotFoundError, NotADirectoryError):
                continue  # it vanished between the two calls: now another one is the nearest
            except OSError:
                return 0

    def look(self, path: bytes, *, is_recorded: bool) -> Seen:
        """See what is at a path, and note what follows from that for `links` and for what could not be read.

        ``is_recorded``: whether a record is to be forgotten if nothing is there.
        """
        if self.excluded(path) and not os.path.isdir(path):
            return Excluded()
        self.links.note(path)  # first: from here on an event of the target is one of the link
        try:
            status = os.stat(path)
            stamp = self.stamp(path, status)
        except OSError as exc:
            if exc.errno not in _GONE:
                return Unreachable()
            self.has_gone(path)
            return Absent(self.around(path) if is_recorded else None)
        return Directory(os.path.islink(path)) if stat.S_ISDIR(status.st_mode) else File(stamp, status.st_nlink)

    def around(self, path: bytes) -> Surroundings | None:
        """Look what is in the place of a path that is not there; None for one in no watched directory."""
        root = self.of(path)
        if root is None:
            return None
        with self._lock:
            then, state = self._identities.get(root), self._states.get(root)
        now = identity_of(root)
        is_same = now is not None and now == then
        return Surroundings(root, state, is_same, self.device_around(path) if is_same else 0)

    def may_forget(self, path: bytes, recorded: Stamp) -> bool:
        """Whether a recorded path that is not there is gone rather than out of reach (`missing_disk.may_forget`)."""
        return may_forget(recorded, self.around(path))


def _of_unreadable(root: bytes, unreadable: Mapping[bytes, int]) -> str:
    first = min(unreadable)
    reason = os.strerror(unreadable[first])
    advice = {
        errno.ENAMETOOLONG: "shorten the names above it",
        errno.EACCES: "check its permissions",
        errno.EPERM: "check its permissions",
    }.get(unreadable[first], "check its disk")
    if len(unreadable) == 1:
        return f"{_shown(first)} cannot be read ({reason}): its photos are kept; {advice}"
    return (
        f"{len(unreadable)} directories under {printable(root)} cannot be read, among them {_shown(first)}"
        f" ({reason}): their photos are kept; {advice}"
    )


def _of_away(away: Mapping[bytes, int]) -> str:
    return (
        f"the disk of {counted(sum(away.values()), 'file')} under {_shown(os.path.commonpath(list(away)))} "
        "is not mounted: the records are kept; mount it; if they were deleted, run `facewatchd scan --force` on it"
    )


def identity_of(directory: bytes) -> Identity | None:
    """Which directory a path leads to; None where there is none."""
    try:
        status = os.stat(directory)
    except OSError:
        return None
    return Identity.of(status) if stat.S_ISDIR(status.st_mode) else None


def _is_gone(path: bytes) -> bool:
    """Whether a path, or a directory above it, is not there; False where that cannot be seen."""
    while path not in (b"/", b""):
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            path = os.path.dirname(path)
        else:
            return False
    return False


def _shown(path: bytes) -> str:
    """A path for a message: of one longer than `SHOWN` characters the beginning and the end."""
    text = printable(path)
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]}...{text[-SHOWN // 2 :]}"
