"""The watched directories: which one a path belongs to, and whether what is missing there may be forgotten."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Sequence

from facewatchd.catalog import Catalog
from facewatchd.exclude import Exclusion
from facewatchd.reconcile import may_forget
from facewatchd.records import Identity, RootState, Stamp, is_within
from facewatchd.walk import why_excluded


class Roots:
    """Shared by the scanner, which says what it saw of a root, and the indexer, which asks."""

    def __init__(self, paths: Sequence[bytes], exclusion: Exclusion, catalog: Catalog) -> None:
        self.paths = tuple(paths)
        self.exclusion = exclusion
        self._lock = threading.Lock()
        self._states: dict[bytes, RootState] = {}
        with catalog.reading() as reader:
            self._identities = {path: reader.root(path) for path in paths}

    def of(self, path: bytes) -> bytes | None:
        """The watched directory that the path is, or lies in."""
        for root in self.paths:
            if is_within(path, root):
                return root
        return None

    def excluded(self, path: bytes) -> str:
        """Say why the path is left alone; empty where it is not."""
        root = self.of(path)
        if root is None:
            return "in no watched directory"
        return why_excluded(path, root, self.exclusion)

    def identity(self, root: bytes) -> Identity | None:
        """Which directory the root was at its last good walk."""
        with self._lock:
            return self._identities.get(root)

    def saw(self, root: bytes, state: RootState, identity: Identity | None) -> None:
        """Note the result of a walk; ``identity`` is kept where the walk may be believed."""
        with self._lock:
            self._states[root] = state
            if state is RootState.WATCHING:
                self._identities[root] = identity

    def state(self, root: bytes) -> RootState | None:
        """What the last walk saw; None before the first."""
        with self._lock:
            return self._states.get(root)

    def may_forget(self, path: bytes, recorded: Stamp) -> bool:
        """Whether a path that is not there is gone, rather than out of reach."""
        root = self.of(path)
        if root is None:
            return True
        with self._lock:
            then, state = self._identities.get(root), self._states.get(root)
        now = identity_of(root)
        if now is None or now != then or state in (RootState.OFFLINE, RootState.UNREADABLE):
            return False
        return may_forget(recorded.device, _nearest_device(path), then.device, now.device)


def identity_of(directory: bytes) -> Identity | None:
    """Which directory a path leads to; None where there is none."""
    try:
        status = os.stat(directory)
    except OSError:
        return None
    return Identity.of(status) if stat.S_ISDIR(status.st_mode) else None


def _nearest_device(path: bytes) -> int:
    """The device of the nearest directory above the path that exists."""
    while path not in (b"/", b""):
        path = os.path.dirname(path)
        if identity := identity_of(path):
            return identity.device
    return 0
