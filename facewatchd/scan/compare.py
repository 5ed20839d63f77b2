"""Whether a file differs from its record: the one rule that walks, workers and `verify` share.

Pure: nothing here touches the disk or the catalog.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from facewatchd.scan.work_queue import Depth
from facewatchd.values import Stamp


class Difference(NamedTuple):
    """Paths in one directory that are to be examined."""

    examine: list[bytes]
    """New, or changed since they were recorded."""
    gone: list[bytes]
    """Recorded, and not listed."""


def is_unchanged(stamp: Stamp, recorded: Stamp | None, depth: Depth = Depth.STAMP) -> bool:
    """Whether a file with this stamp needs no look: it is as recorded, and nothing asks for a deeper look."""
    return depth is Depth.STAMP and stamp.same_bytes(recorded)


def compare(files: Mapping[bytes, Stamp], recorded: Mapping[bytes, Stamp], depth: Depth = Depth.STAMP) -> Difference:
    """Compare the files of one directory with the catalog's records of it."""
    examine = [path for path, stamp in files.items() if not is_unchanged(stamp, recorded.get(path), depth)]
    gone = [path for path in recorded if path not in files]
    return Difference(examine, gone)
