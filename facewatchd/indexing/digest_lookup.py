"""Finds the digest of a file by its stamp, without reading it: from another name that is recorded, or was until now.

The rename of a directory leaves the stamps of the files in it as they are, and all hard links of a file have one stamp.
All numbers of the stamp must be equal, the device too. Not used are:

- the record of a path that is still to be read, as it was written to;
- a stamp under which two contents are recorded;
- a stamp from a file system with a coarse clock: FAT gives the inode of one file to another at the next mount.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from facewatchd.scan.work_queue import Depth, WorkQueue
from facewatchd.store.catalog import Catalog
from facewatchd.values import Stamp

CLOCK = 1_000_000
"""Nanoseconds: a ctime that is a multiple of it is taken to be of a coarse clock."""
FORGOTTEN = 50_000
"""Stamps of forgotten files that are kept, about ten megabytes: the new names of moved files come a moment later."""
LOOKED_AT = 20
"""Recorded names of a file that are compared with each other."""


class DigestLookup:
    """Any thread may call."""

    def __init__(self, catalog: Catalog, queue: WorkQueue) -> None:
        self._catalog = catalog
        self._queue = queue
        self._lock = threading.Lock()
        self._forgotten: OrderedDict[Stamp, bytes | None] = OrderedDict()

    def digest(self, path: bytes, stamp: Stamp) -> bytes | None:
        """The digest of the file at a path; None where it must be read. Raises `StorageError`."""
        if stamp.ctime_ns % CLOCK == 0:
            return None
        with self._lock:
            forgotten = self._forgotten.get(stamp)
        with self._catalog.reading() as reader:
            recorded = reader.with_stamp(stamp, LOOKED_AT)
            digests = set(recorded.values()) | ({forgotten} if forgotten else set())
            if len(digests) != 1:
                return None
            (digest,) = digests
            known = digest is not None and reader.has_content(digest)
        if any(self._queue.is_to_be_read(other) for other in recorded if other != path):
            return None
        return digest if known else None

    def forgotten(self, path: bytes, stamp: Stamp, depth: Depth) -> None:
        """Note that a recorded path has gone and that its record is about to be deleted."""
        with self._catalog.reading() as reader:
            digest = reader.with_stamp(stamp, LOOKED_AT).get(path)
        with self._lock:
            if depth > Depth.STAMP or (stamp in self._forgotten and self._forgotten[stamp] != digest):
                digest = None
            self._forgotten[stamp] = digest
            self._forgotten.move_to_end(stamp)
            if len(self._forgotten) > FORGOTTEN:
                self._forgotten.popitem(last=False)
