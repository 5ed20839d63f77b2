"""The thread that reads the dates of photos that an earlier version recorded without them.

What is embedded gets its date with its faces. For what was in the catalog before, the headers of each file are read
once, in the indexing process, and nothing is decoded (`Inference.describe`). The rules:

- *Everything else goes first*, and one file is read at a time (`IdleThread`), the newest first.
- *Once.* A date is recorded, and so is that there is none, or that the headers cannot be read. Dates are written
  `BATCH` at a time; a crash loses a batch, which is read again.
- *A file stands for a content where it has the stamp that is recorded* (`recorded_files`), before and after it is read.
- A file that is out of reach or has changed is passed over; those that are left are tried again when a directory has
  come or gone, and after `recorded_files.AGAIN_AFTER` seconds. One with which the process dies or fails is tried
  again as `Backoff` says.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator

import numpy as np

from facewatchd.errors import FacewatchError, StorageError, UnreadablePhotoError
from facewatchd.indexing import recorded_files
from facewatchd.indexing.backoff import Backoff
from facewatchd.indexing.idle_thread import IdleThread, Parts
from facewatchd.inference.failures import ClosedError, NoModelError, SetbackError
from facewatchd.photos import files
from facewatchd.photos.files import DiskError
from facewatchd.text import printable
from facewatchd.values import Stamp, Taken

log = logging.getLogger(__name__)

BATCH = 100
"""Dates that are written at once."""


class _PassedOverError(Exception):
    """The file says nothing about the content now."""


class Dates(IdleThread[int]):
    """A piece of its work is a content."""

    name = "dates"
    has_small_pieces = True

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._backoff = Backoff()
        self._left = np.empty(0, np.int64)
        """Contents that are still to be looked at, the next one first."""
        self._read: dict[int, Taken | None] = {}
        """Dates by content that are not written yet."""
        self._reach: object = None
        """What was within reach when the contents were listed; None before."""
        self._again_at = 0.0
        """When they are listed again, though the same is within reach."""
        self._through = threading.Event()
        """Set whenever nothing is left that can be looked at then, and at the end."""

    def give_up(self) -> None:
        super().give_up()
        self._through.set()

    def wait(self, timeout: float) -> None:
        """Wait until all dates are read that can be read now, or the thread ends. Raises `StorageError`."""
        with self._gallery.catalog.reading() as reader:
            undated = reader.count_undated()
        if undated:
            self._through.clear()  # there may be more within reach than when it was set
            if not self._ending.is_set():
                self._through.wait(max(0.0, timeout))

    def _next(self) -> int | None:
        self._list_anew_if_due()
        if len(self._left):
            return int(self._left[0])
        self._through.set()
        return None

    def _work_on(self, content: int, /) -> None:
        self._look_at(content)
        self._left = self._left[1:]
        if len(self._read) >= BATCH or not len(self._left):
            self._write()

    def _list_anew_if_due(self) -> None:
        reach, now = recorded_files.within_reach(self._roots), time.monotonic()
        if reach == self._reach and (len(self._left) or now < self._again_at):
            return
        self._write()
        if directories := recorded_files.reached(self._roots):
            with self._gallery.catalog.reading() as reader:
                self._left = reader.undated(directories)
        self._reach, self._again_at = reach, now + recorded_files.AGAIN_AFTER

    def _look_at(self, content: int) -> None:
        """Have a date read, and keep it until it is written."""
        with self._gallery.catalog.reading() as reader:
            paths = reader.copies([content]).get(content, [])
        for path in paths:
            try:
                self._read[content] = self._taken(path)
            except _PassedOverError as exc:
                log.debug("dates: %s: %s", printable(path), exc)
                continue
            except (ClosedError, NoModelError, StorageError):
                raise
            except FacewatchError as exc:
                self._note_failure(content, path, exc)
            return

    def _note_failure(self, content: int, path: bytes, error: FacewatchError) -> None:
        """Have a file tried again later, unless its headers cannot be read; after the last try it has no date."""
        delay = None
        if not isinstance(error, UnreadablePhotoError):
            counts = error.counts if isinstance(error, SetbackError) else True
            delay = self._backoff.set_back(path, error.message, counts=counts)
        if delay is None:
            log.info("%s: its date cannot be read: %s", printable(path), error.message)
            self._read[content] = None
        else:
            self._again_at = min(self._again_at, time.monotonic() + delay)

    def _taken(self, path: bytes) -> Taken | None:
        """The date in a file. Raises `_PassedOverError` where the file is not known to hold what is recorded."""
        if not recorded_files.is_unchanged(path, self._roots, self._gallery.catalog):
            raise _PassedOverError("it is out of reach, or has changed")
        with self._gallery.catalog.reading() as reader:
            recorded = reader.stamp(path)
        with _opened(path) as descriptor:
            found: Taken | FacewatchError | None
            try:
                found = self._inference.describe(descriptor).taken
            except DiskError as exc:
                raise _PassedOverError(str(exc)) from exc
            except UnreadablePhotoError as exc:
                found = exc
            if not Stamp.of(os.fstat(descriptor)).same_bytes(recorded):
                raise _PassedOverError("it changed")
        if isinstance(found, FacewatchError):
            raise found
        return found

    def _write(self) -> None:
        """Record the dates that were read."""
        if dates := list(self._read.items()):
            self._liveness.rest()  # the writer may have to wait for room on the disk, and shows signs of life itself
            self._writer.insist(lambda gallery: gallery.catalog.record_taken(dates))
            self._read.clear()


@contextlib.contextmanager
def _opened(path: bytes) -> Iterator[int]:
    """Open a file for reading. Raises `_PassedOverError`."""
    try:
        with files.regular_file(path) as descriptor:
            own = os.dup(descriptor)
    except (OSError, FacewatchError) as exc:
        raise _PassedOverError(str(exc)) from exc
    try:
        yield own
    finally:
        os.close(own)
