"""Files whose bytes are known by their stamp: another name of theirs is recorded, or was until it was found to be gone.

A rename of a directory leaves the stamps of the files in it as they are, and all hard links of a file have one stamp.
Inode, size, mtime and ctime must be equal, and so must the device. A path does not count while an event that it was
written to has yet to be dealt with, nor does a stamp under which two contents are recorded, nor one of a file system
with a coarse clock: on a FAT, inodes are numbers that another file has after the next mount.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from facewatchd.scan.work_queue import Depth, WorkQueue
from facewatchd.store.catalog import Catalog
from facewatchd.values import Stamp

CLOCK = 1_000_000
"""Nanoseconds: where a time of change is a multiple of it, the clock of the file system is taken to be coarse."""
FORGOTTEN = 50_000
"""Stamps of files that are gone which are kept in mind: some ten megabytes. The new names come a moment later."""
LOOKED_AT = 20
"""Links of a file that are held against each other."""


class DigestLookup:
    """Any thread may ask."""

    def __init__(self, catalog: Catalog, queue: WorkQueue) -> None:
        self._catalog = catalog
        self._queue = queue
        self._lock = threading.Lock()
        self._forgotten: OrderedDict[Stamp, bytes | None] = OrderedDict()

    def digest(self, path: bytes, stamp: Stamp) -> bytes | None:
        """The digest of the file at a path, where that is known without reading it. Raises `StorageError`."""
        if stamp.ctime_ns % CLOCK == 0:
            return None
        with self._lock:
            forgotten = self._forgotten.get(stamp)
        with self._catalog.reading() as reader:
            recorded = reader.twins(stamp, LOOKED_AT)
            digests = set(recorded.values()) | ({forgotten} if forgotten else set())
            if len(digests) != 1:
                return None
            (digest,) = digests
            known = digest is not None and reader.has_content(digest)
        if any(self._queue.is_to_be_read(other) for other in recorded if other != path):
            return None
        return digest if known else None

    def forgotten(self, path: bytes, stamp: Stamp, depth: Depth) -> None:
        """A recorded path is gone, and its record is about to be."""
        with self._catalog.reading() as reader:
            digest = reader.twins(stamp, LOOKED_AT).get(path)
        with self._lock:
            if depth > Depth.STAMP or (stamp in self._forgotten and self._forgotten[stamp] != digest):
                digest = None
            self._forgotten[stamp] = digest
            self._forgotten.move_to_end(stamp)
            if len(self._forgotten) > FORGOTTEN:
                self._forgotten.popitem(last=False)
