"""The thread that has second looks taken at photos, one at a time, while the daemon has nothing else to do.

What a second look is, and which photos are worth one, is in `facewatchd.models.second_look`; the catalog records both
when a photo is embedded. This thread goes through those that are due, the newest first. The rules:

- *Everything else goes first* (`IdleThread`). When a photo has come, or a walk begins, the second look in hand is given
  up: within `deadlines.LOOK_EVERY` seconds and the time of one first look. A second look may take minutes.
- *Once.* A second look is recorded with what it found, in one transaction. One that was cut short is taken again. While
  the catalog cannot be written, the writer tries again and says so (`Writer.insist`), and no other look is taken.
- *Nothing is lost by it.* A photo that is out of reach or has changed stays due; it is tried again when a directory has
  come or gone, when it is recorded with another ctime, or after `recorded_files.AGAIN_AFTER` seconds. One with which
  the process dies, runs out of memory or fails, or whose faces cannot be recorded, is tried again as `Backoff` says; in
  the end it is left out, and keeps its state and its faces.

The photos that are due are read from the catalog in pages. The first page is read again when a photo has become due
(`Catalog.made_due`), when one that failed is to be tried again, and when all are to be tried again.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing

from facewatchd.errors import FacewatchError, RefusedError, StorageError, UnreadablePhotoError
from facewatchd.indexing import recorded_files
from facewatchd.indexing.backoff import Backoff
from facewatchd.indexing.idle_thread import IdleThread, Parts
from facewatchd.inference.failures import ClosedError, NoModelError, SetbackError
from facewatchd.inference.wire import Again
from facewatchd.photos import contents
from facewatchd.photos.files import ChangedWhileReadError, DiskError
from facewatchd.store.catalog_rows import ToSeeAgain
from facewatchd.store.gallery import Gallery
from facewatchd.text import counted, one_line, printable
from facewatchd.threads.bounded_calls import NotAnsweringError
from facewatchd.values import Face

log = logging.getLogger(__name__)

PAGE = 500
"""Photos that are read from the catalog at once."""


class _NotNowError(Exception):
    """The photo cannot be looked at now, which says nothing about it."""


class _GivenUpError(Exception):
    """The second look was given up for something that goes first."""


class SecondLooks(IdleThread[ToSeeAgain]):
    """A piece of its work is a photo whose second look is due."""

    name = "second looks"

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._backoff = Backoff()
        self._not_before: dict[bytes, float] = {}
        """When contents are tried again whose second look failed."""
        self._page: list[ToSeeAgain] = []
        self._after: tuple[int, int] | None = None
        """Where the next page begins; None at the first."""
        self._at_end = False
        """Whether the last page was read."""
        self._made_due = 0
        """`Catalog.made_due` when the first page was to be read."""
        self._try_at = math.inf
        """When the first page is read again for a photo that failed."""
        self._in_vain: set[tuple[int, int]] = set()
        """``content_id`` and ``changed`` of contents that could not be looked at since all were tried."""
        self._reach: object = None
        """What was within reach when all began to be tried; None before the first time."""
        self._all_again_at = 0.0
        """When all are tried again, though the same is within reach."""
        self._in_hand = _Stop()
        """How the second look in hand is given up."""
        self._in_hand.close()

    def give_up(self) -> None:
        """End the second look in hand, and begin no other. Comes before the end of the workers."""
        super().give_up()
        self._in_hand.send()

    # What is due

    def _next(self) -> ToSeeAgain | None:
        now = time.monotonic()
        self._begin_anew_if_due(now)
        while not self._at_end:
            while self._page:
                due = self._page.pop(0)
                not_before = self._not_before.get(due.digest, 0.0)
                if not_before > now:
                    self._try_at = min(self._try_at, not_before)
                elif _key(due) not in self._in_vain:
                    return due
            self._at_end = not self._read_page()
        return None

    def _begin_anew_if_due(self, now: float) -> None:
        """Begin at the first page again if it may hold a photo that is to be looked at."""
        made_due = self._gallery.catalog.made_due  # before a page is read
        reach = recorded_files.within_reach(self._roots)
        if reach != self._reach or now >= self._all_again_at:
            self._reach, self._all_again_at = reach, now + recorded_files.AGAIN_AFTER
            self._in_vain.clear()
        elif made_due == self._made_due and now < self._try_at:
            return
        self._page, self._after, self._at_end = [], None, False
        self._made_due, self._try_at = made_due, math.inf

    def _read_page(self) -> bool:
        """Read the next page of what is due in the directories that are within reach; False where nothing is left."""
        reached = recorded_files.reached(self._roots)
        if not reached:
            return False
        with self._gallery.catalog.reading() as reader:
            self._page = reader.to_see_again(reached, self._after, PAGE)
        if self._page:
            self._after = self._page[-1].newest, self._page[-1].content_id
        return bool(self._page)

    # One photo

    def _work_on(self, due: ToSeeAgain, /) -> None:
        try:
            self._record(due, self._found(due))
        except (_NotNowError, NotAnsweringError) as exc:
            log.debug("second look: %s", exc)
            self._in_vain.add(_key(due))
        except _GivenUpError as exc:
            log.debug("second look: %s", exc)
            self._page.insert(0, due)
        except RefusedError as exc:
            self._note_failure(due, exc.message, counts=True)
        except (ClosedError, NoModelError, StorageError):
            self._page.insert(0, due)
            raise
        except FacewatchError as exc:
            self._note_failure(due, exc.message, counts=exc.counts if isinstance(exc, SetbackError) else True)
        except Exception as exc:
            log.exception("second look: unexpected error (%s)", exc)
            self._note_failure(due, f"internal error: {one_line(exc)}", counts=True)

    def _note_failure(self, due: ToSeeAgain, reason: str, *, counts: bool) -> None:
        """Have a photo tried again later with which its process died, ran out of memory, or failed; or no more."""
        delay = self._backoff.set_back(due.digest, reason, counts=counts)
        moment = time.monotonic() + (recorded_files.AGAIN_AFTER if delay is None else delay)
        self._not_before[due.digest] = moment
        self._try_at = min(self._try_at, moment)
        if delay is None:
            log.warning("the second look at %s is left out: %s", self._name(due), reason)
            self._record(due, None)

    def _record(self, due: ToSeeAgain, found: list[Face] | None) -> None:
        new = 0

        def record(gallery: Gallery) -> None:
            nonlocal new
            new = gallery.record_second_look(due.digest, due.ways, found)

        self._liveness.rest()  # the writer may have to wait for room on the disk, and shows signs of life itself
        self._writer.insist(record)
        self._backoff.forget(due.digest)
        self._not_before.pop(due.digest, None)
        if new:
            log.debug("second look: %s on %s", counted(new, "new face"), self._name(due))

    def _found(self, due: ToSeeAgain) -> list[Face]:
        """Have a second look taken. Raises `_NotNowError` where that cannot be, and `_GivenUpError`."""
        for path in self._paths(due):
            if not recorded_files.is_unchanged(path, self._roots, self._gallery.catalog):
                continue
            with contextlib.ExitStack() as stack:
                try:
                    with _as_it_is(path):
                        content = stack.enter_context(contents.opened(path))
                except _NotNowError as exc:
                    log.debug("second look: %s", exc)
                    continue
                if content.digest == due.digest:
                    return self._found_in(content, path, due)
        raise _NotNowError(f"no file of content {due.content_id} is within reach")

    def _found_in(self, content: contents.Content, path: bytes, due: ToSeeAgain) -> list[Face]:
        """The same with an open file. An error of a file that changed meanwhile says nothing about the content."""
        try:
            found = self._seen(content.descriptor, due)
        except (ClosedError, NoModelError):
            raise
        except DiskError as exc:
            raise _NotNowError(f"{printable(path)}: {exc}") from exc
        except FacewatchError:
            with _as_it_is(path):
                content.confirm()
            raise
        with _as_it_is(path):
            content.confirm()
        return found

    def _seen(self, descriptor: int, due: ToSeeAgain) -> list[Face]:
        def waiting() -> None:
            if self._ending.is_set() or self._others_first():
                stop.send()

        with closing(_Stop()) as stop:
            self._in_hand = stop
            try:
                waiting()
                again = Again(due.ways, stop.reader, due.width, due.height)
                seen = self._inference.look_again(descriptor, again, waiting)
            except (ClosedError, NoModelError):
                raise
            except FacewatchError as exc:
                if stop.is_sent:
                    raise _GivenUpError(f"content {due.content_id} was given up: {exc}") from exc
                raise
        self._gallery.keep_thumbnails(due.digest, seen.faces, seen.thumbnails)
        return seen.faces

    def _paths(self, due: ToSeeAgain) -> list[bytes]:
        with self._gallery.catalog.reading() as reader:
            return reader.copies([due.content_id]).get(due.content_id, [])

    def _name(self, due: ToSeeAgain) -> str:
        return printable(next(iter(self._paths(due)), b"a photo"))


def _key(due: ToSeeAgain) -> tuple[int, int]:
    return due.content_id, due.changed


@contextlib.contextmanager
def _as_it_is(path: bytes) -> Iterator[None]:
    """Raise `_NotNowError` where a file cannot be read, or changes meanwhile: the worker that examines it tells why."""
    try:
        yield
    except (OSError, UnreadablePhotoError, ChangedWhileReadError) as exc:
        raise _NotNowError(f"{printable(path)}: {exc}") from exc


class _Stop:
    """A pipe by which the inference process learns that it is to give up. Any thread may send; sent once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reader, self._writer = os.pipe()
        self.is_sent = False
        self._is_open = True

    def send(self) -> None:
        with self._lock:
            if self._is_open and not self.is_sent:
                os.write(self._writer, b"x")  # closing it would not do: a copy of this process may have it open, too
                self.is_sent = True

    def close(self) -> None:
        with self._lock:
            if self._is_open:
                self._is_open = False
                os.close(self.reader)
                os.close(self._writer)
