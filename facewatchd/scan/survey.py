"""One walk of a directory, compared with the catalog as it goes."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from facewatchd.scan.compare import compare
from facewatchd.scan.missing_disk import Census
from facewatchd.scan.roots import Roots
from facewatchd.scan.schedule import Request
from facewatchd.scan.walk import Listing, Row, walk
from facewatchd.scan.work_queue import WorkQueue
from facewatchd.store.catalog import Catalog
from facewatchd.values import Stamp, is_within


@dataclass(slots=True)
class Survey:
    """What a walk found, besides what it queued."""

    photos: int = 0
    """Files that were seen."""
    gone: dict[bytes, Stamp] = field(default_factory=dict)
    """Paths that are recorded and were not seen, with their recorded stamps."""
    census: Census = field(default_factory=Census)
    directories: set[bytes] = field(default_factory=set)
    unreadable: dict[bytes, int] = field(default_factory=dict)
    """Directories of which not all could be seen, with the errno."""
    inodes: dict[int, bytes] = field(default_factory=dict)
    """Directories that must be watched, by inode."""
    moved: list[tuple[bytes, int]] = field(default_factory=list)
    """Paths whose device has another number than recorded, with the new one."""


class Surveyor:
    """Walks, and queues what differs. Used by the scanner's thread alone."""

    def __init__(self, catalog: Catalog, queue: WorkQueue, roots: Roots, goes_on: Callable[[], bool]) -> None:
        """``goes_on`` is asked at each directory: False ends the walk."""
        self._catalog = catalog
        self._queue = queue
        self._roots = roots
        self._goes_on = goes_on

    def survey(self, request: Request, root: bytes) -> Survey:
        """Walk a path in a root, and queue what is new or changed there. What is gone is only returned.

        If the walk is stopped, the survey covers only the directories listed so far.
        """
        survey = Survey()
        recorded_in = None if request.force else self._rows
        for listing in walk(request.path, self._roots.exclusion, root, recorded_in, self._roots.device_of):
            if not self._goes_on():
                return survey
            rows = self._rows(listing.directory) if request.force else listing.recorded
            recorded = {path: Stamp(*numbers) for path, (_, *numbers) in rows.items()}
            self._take_in(listing, recorded, request, survey)
            self._note_links(listing, survey)
        if not survey.unreadable:
            self._roots.links.keep(request.path, survey.directories)
        with self._catalog.reading() as reader:
            for directory in reader.directories(request.path):
                if directory not in survey.directories and not _below_any(directory, survey.unreadable):
                    survey.gone |= reader.recorded(directory)
        return survey

    def _rows(self, directory: bytes) -> dict[bytes, Row]:
        with self._catalog.reading() as reader:  # for each: a long read keeps the write-ahead log from shrinking
            return {row[0]: row for row in reader.rows(directory)}

    def _take_in(self, listing: Listing, recorded: dict[bytes, Stamp], request: Request, survey: Survey) -> None:
        if isinstance(listing.error, FileNotFoundError | NotADirectoryError):
            return
        survey.directories.add(listing.directory)
        survey.photos += listing.same + len(listing.files)
        difference = compare(listing.files, recorded, request.depth)
        survey.census.count(listing.files, recorded)
        survey.census.count_same(listing.device, listing.same)
        if listing.error is None:
            survey.gone |= {path: recorded[path] for path in difference.gone}
            survey.inodes[listing.inode % (1 << 64)] = listing.directory
        else:  # what was not seen may still be there
            survey.unreadable[listing.directory] = listing.error.errno or errno.EIO
        survey.moved += [
            (path, stamp.device)
            for path, stamp in listing.files.items()
            if (before := recorded.get(path)) is not None and before.device != stamp.device
        ]
        now = time.time()
        found = [(path, *_ages(listing.files[path], now)) for path in difference.examine]
        if found:
            self._queue.add_found(found, depth=request.depth, live=request.live)

    def _note_links(self, listing: Listing, survey: Survey) -> None:
        """Register the links. The directories that they lead through must be watched too, though they may be hidden."""
        for step in self._roots.links.note_directory(listing.directory, listing.links):
            directory = os.path.dirname(step)
            with contextlib.suppress(OSError):
                survey.inodes[os.stat(directory).st_ino % (1 << 64)] = directory


def _ages(stamp: Stamp, now: float) -> tuple[float, float]:
    """Seconds since the file last changed, and its mtime as Unix time."""
    return now - max(stamp.mtime_ns, stamp.ctime_ns) / 1e9, stamp.mtime_ns / 1e9


def _below_any(directory: bytes, others: Iterable[bytes]) -> bool:
    return any(is_within(directory, other) for other in others)
