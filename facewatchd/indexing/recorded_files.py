"""Files that hold what the catalog says, as their stamps tell: their content is known without reading them."""

from __future__ import annotations

import contextlib
import os

from facewatchd.scan.roots import Roots
from facewatchd.store.catalog import Catalog
from facewatchd.threads.bounded_calls import NotAnsweringError
from facewatchd.values import RootState, Stamp

AGAIN_AFTER = 3600.0
"""Seconds after which files are tried again that were passed over, where the same is within reach as then."""


def is_unchanged(path: bytes, roots: Roots, catalog: Catalog) -> bool:
    """Whether the file at a path is within reach, and has the stamp that is recorded. Raises `StorageError`."""
    root = roots.of(path)
    if root is None or roots.state(root) is not RootState.WATCHING:
        return False
    with catalog.reading() as reader:
        recorded = reader.stamp(path)
    with contextlib.suppress(OSError, NotAnsweringError):
        return Stamp.of(roots.calls.run(path, lambda: os.stat(path))).same_bytes(recorded)
    return False


def within_reach(roots: Roots) -> object:
    """What changes when a file may have come within reach."""
    states = tuple((path, roots.state(path)) for path in roots.paths)
    return states, tuple(roots.out_of_reach())


def reached(roots: Roots) -> list[bytes]:
    """The directories whose files are within reach."""
    return [root for root in roots.paths if roots.state(root) is RootState.WATCHING]
