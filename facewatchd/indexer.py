"""Takes paths from the inbox and ends with the gallery telling the truth about each of them.

Several workers look, read, decode, detect and embed; the writer records. Where a step shows that there is nothing to
do, the ones after it are left out: an equal stamp needs no read, a known digest no inference.

- Two files with the same new bytes in two workers' hands: one *claims* the digest, the other waits for its outcome.
- A file that changes while it is read goes back to the inbox.
- Photos that were in hand when the process died are examined first and alone, so that the one that kills can be told
  from those that stood beside it; after the second death it is set aside.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
import threading
import time
from collections import deque
from collections.abc import Callable

from facewatchd import photos
from facewatchd.catalog import Outcome
from facewatchd.errors import FacewatchError, ModelError, StorageError, UnreadablePhotoError
from facewatchd.gallery import Gallery
from facewatchd.inbox import Inbox, Item
from facewatchd.models import Model
from facewatchd.printing import printable
from facewatchd.records import RootState, Stamp
from facewatchd.roots import Roots, identity_of
from facewatchd.writer import Writer

log = logging.getLogger(__name__)

DEATHS = 2
"""After so many deaths of the process with a photo in hand it is set aside."""
FINISH = 4.0
"""Seconds that the workers get for the photos in their hands when the daemon ends."""
TRIES = 5
"""Times that a photo is tried on which the disk or the model fails, before that is recorded."""
CHANGED_RETRY = 1.0
"""Seconds before a file is looked at again that changed while it was read."""
STORAGE_RETRY = 5.0
"""Seconds before a path is looked at again for which the catalog could not be read."""
MODEL_RETRY = 30.0
"""Seconds between two tries to load a model that does not load."""


class Tally:
    """What was done since the start."""

    WINDOW = 30.0
    """Seconds that the current rate looks back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = {"examined": 0, "read": 0, "embedded": 0}
        self._recent: deque[float] = deque(maxlen=1000)

    def count(self, what: str) -> None:
        """Count one path examined, file read, or content that went through the model ("embedded")."""
        with self._lock:
            self._counts[what] += 1
            if what == "embedded":
                self._recent.append(time.monotonic())

    def rates(self) -> dict[str, float]:
        """The counts, and how many photos a second went through the model lately."""
        with self._lock:
            now = time.monotonic()
            recent = [moment for moment in self._recent if now - moment < self.WINDOW]
            rate = len(recent) / max(now - recent[0], 1.0) if recent else 0.0
            return {"photos_per_s": round(rate, 2), **self._counts}


class Claims:
    """Which new contents are being embedded, and who waits for them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[bytes, list[Item]] = {}

    def claim(self, digest: bytes, item: Item) -> bool:
        """Claim the digest, or line up behind who did (False)."""
        with self._lock:
            if digest in self._waiting:
                self._waiting[digest].append(item)
                return False
            self._waiting[digest] = []
            return True

    def release(self, digest: bytes) -> list[Item]:
        """Give the claim up; return those who waited."""
        with self._lock:
            return self._waiting.pop(digest, [])


class Indexer:
    """The workers. `start` after the writer, `stop` before it."""

    def __init__(
        self,
        gallery: Gallery,
        inbox: Inbox,
        roots: Roots,
        writer: Writer,
        *,
        model: Callable[[], Model],
        scan: Callable[[bytes], object],
        workers: int,
        idle_priority: bool,
    ) -> None:
        """``model`` gives the model, loading it where needed; ``scan`` is asked to walk a directory."""
        self._catalog = gallery.catalog
        self._inbox = inbox
        self._roots = roots
        self._writer = writer
        self._model = model
        self._scan = scan
        self._idle_priority = idle_priority
        self._claims = Claims()
        self._crashed = self._catalog.crashed()
        self._tries: dict[bytes, int] = {}
        self._marked: set[bytes] = set()
        self._rest_until = 0.0
        self._stopping = threading.Event()
        self._suspects_seen = threading.Event()
        self._tally = Tally()
        self.trouble = ""
        """Why nothing can be embedded; empty when all is well."""
        self._threads = [
            threading.Thread(target=self._run, args=(n,), name=f"worker-{n}", daemon=True) for n in range(workers)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each worker finish the photo in its hand, and end. One that does not in time is left behind."""
        self._inbox.close()
        self._stopping.set()
        for thread in self._threads:
            _hurry(thread)
        deadline = time.monotonic() + FINISH
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
                if thread.is_alive():
                    log.warning("%s did not finish its photo in time", thread.name)

    def rates(self) -> dict[str, float]:
        """The contract's ``rates``: `Tally.rates`."""
        return self._tally.rates()

    def alive(self) -> bool:
        return all(thread.is_alive() for thread in self._threads)

    # Workers

    def _run(self, number: int) -> None:
        if self._idle_priority:
            _become_idle()
        if number == 0:
            self._examine_suspects()
        self._suspects_seen.wait()
        while items := self._inbox.take(1):
            self._deal_with(items[0])
            if (rest := self._rest_until - time.monotonic()) > 0:  # what failed for this one fails for all
                self._stopping.wait(rest)

    def _examine_suspects(self) -> None:
        try:
            for path in list(self._crashed):
                log.info("%s was in hand when the daemon ended", printable(path))
                if self._inbox.closed:
                    return
                self._deal_with(self._inbox.take_path(path))
        finally:
            self._suspects_seen.set()

    def _deal_with(self, item: Item) -> None:
        try:
            outcome = self._examine(item)
        except (_LinedUp, _Stopping):
            return
        except photos.ChangedWhileReadError as exc:
            log.debug("%s: %s", printable(item.path), exc.message)
            self._put_back(item, CHANGED_RETRY)
            return
        except _PassingError as exc:
            self._put_back(item, exc.delay)
            return
        except _NoModelError:
            self._rest_until = time.monotonic() + MODEL_RETRY
            self._put_back(item)
            return
        except StorageError as exc:
            log.debug("%s", exc)  # the catalog says what is wrong with it
            self._rest_until = time.monotonic() + STORAGE_RETRY
            self._put_back(item)
            return
        except OSError as exc:  # it vanished, or its directory is out of reach: a later look tells
            log.debug("%s: %s", printable(item.path), exc)
            outcome = None
        except Exception as exc:
            log.exception("%s: unexpected error (%s)", printable(item.path), exc)
            outcome = None
        self._tally.count("examined")
        if outcome is None:
            self._unmark(item.path)
            self._inbox.done(item.path)
        else:
            self._writer.record(outcome, lambda: self._recorded(item.path, outcome.digest))

    def _say(self, trouble: str) -> None:
        if trouble and not self.trouble:
            log.error("%s", trouble)
        self.trouble = trouble

    def _put_back(self, item: Item, delay: float = 0.0) -> None:
        self._unmark(item.path)
        self._inbox.put_back(item, delay)

    def _unmark(self, path: bytes) -> None:
        """Nothing is recorded of the path that was in hand, now or at a crash: its mark would stay."""
        if path in self._marked or path in self._crashed:
            self._marked.discard(path)
            self._crashed.pop(path, None)
            self._writer.post(lambda gallery: gallery.catalog.unmark(path))

    def _recorded(self, path: bytes, digest: bytes | None) -> None:
        if digest is not None:
            self._release(digest)
        self._marked.discard(path)
        self._tries.pop(path, None)
        self._inbox.done(path)

    def _release(self, digest: bytes) -> None:
        for waiting in self._claims.release(digest):
            self._inbox.put_back(waiting)

    # One path

    def _examine(self, item: Item) -> Outcome | None:
        """Find out what is true of a path; None where the catalog says so already."""
        path = item.path
        with self._catalog.reading() as reader:
            recorded = reader.stamp(path)
            below = [] if recorded else reader.paths(path)
        if os.path.basename(path) == b".nomedia":
            self._scan(os.path.dirname(path))
        if self._roots.excluded(path) and not os.path.isdir(path):
            return Outcome(path, None) if recorded else None
        try:
            status = os.stat(path)
            stamp = Stamp.of(status).seen_at(path)
        except OSError as exc:
            self._look_at(below)
            return self._missing(path, recorded, exc)
        if stat.S_ISDIR(status.st_mode):
            return self._directory(path, recorded)
        self._look_at(below)  # it was a directory
        if stamp.same_bytes(recorded) and not item.force:
            return None
        if not photos.is_photo_name(path) and not photos.sniff(path):
            return Outcome(path, stamp)
        return self._photo(item, stamp)

    def _missing(self, path: bytes, recorded: Stamp | None, error: OSError) -> Outcome | None:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None  # out of reach, not gone: a rescan of the root says which
        if not recorded:
            return None
        if self._roots.may_forget(path, recorded):
            return Outcome(path, None)
        root = self._roots.of(path)
        if root and self._roots.state(root) is RootState.WATCHING and identity_of(root) != self._roots.identity(root):
            self._scan(root)  # it is another directory now: that is for a walk to judge
        return None

    def _look_at(self, paths: list[bytes]) -> None:
        for path in paths:
            self._inbox.touch(path, settle=False)

    def _directory(self, path: bytes, recorded: Stamp | None) -> Outcome | None:
        if not os.path.islink(path):
            self._scan(path)
        return Outcome(path, None) if recorded else None

    def _photo(self, item: Item, stamp: Stamp) -> Outcome:
        path = item.path
        crashed = self._crashed.pop(path, None)
        if crashed and crashed[1] >= DEATHS and crashed[0].same_bytes(stamp):
            log.warning("%s was in hand at %d crashes: it is set aside until it changes", printable(path), crashed[1])
            return Outcome(path, stamp, error="crashed: the daemon died twice with this file in hand")
        try:
            data, read_stamp = photos.read(path)
        except photos.DiskError as exc:
            self._try_again(path, exc)
            return Outcome(path, stamp, error=exc.message)
        except UnreadablePhotoError as exc:
            return Outcome(path, stamp, error=exc.message)
        if not read_stamp.same_bytes(stamp):
            raise photos.ChangedWhileReadError("the file changed before it was read")
        self._tally.count("read")
        digest = photos.digest(data)
        if not self._claims.claim(digest, item):
            raise _LinedUp
        try:
            return self._content(item, stamp, data, digest)
        except BaseException:
            self._release(digest)
            raise

    def _try_again(self, path: bytes, cause: FacewatchError) -> None:
        """Raise `_PassingError` until the path was tried often enough."""
        tries = self._tries[path] = self._tries.get(path, 0) + 1
        if tries < TRIES:
            log.debug("%s: %s (try %d)", printable(path), cause.message, tries)
            raise _PassingError(2.0**tries) from cause
        del self._tries[path]

    def _load_model(self) -> Model:
        try:
            model = self._model()
        except ModelError as exc:
            self._say(str(exc))
            raise _NoModelError from exc
        self._say("")
        return model

    def _content(self, item: Item, stamp: Stamp, data: bytes, digest: bytes) -> Outcome:
        with self._catalog.reading() as reader:
            known = reader.has_content(digest)
        if known and not item.force:
            return Outcome(item.path, stamp, digest)
        model = self._load_model()
        if not self._writer.mark(item.path, stamp):  # as late as can be: no copy needs it, and no death while loading
            raise _Stopping
        self._marked.add(item.path)
        try:
            pixels = photos.decode(data)
            faces = model.faces(pixels)
        except FacewatchError as exc:
            if isinstance(exc, ModelError):
                self._try_again(item.path, exc)
            log.warning("%s: %s", printable(item.path), exc.message)
            return Outcome(item.path, stamp, digest, error=exc.message)
        except Exception as exc:
            log.exception("%s: unexpected error", printable(item.path), exc_info=log.isEnabledFor(logging.DEBUG))
            return Outcome(item.path, stamp, digest, error=f"internal error: {exc}")
        self._tally.count("embedded")
        if not Stamp.of(os.stat(item.path)).same_bytes(stamp):
            raise photos.ChangedWhileReadError("the file changed while it was read")
        height, width = pixels.shape[:2]
        return Outcome(item.path, stamp, digest, width, height, faces)


class _Stopping(Exception):  # noqa: N818 - no error
    """The daemon ends: the item stays as it is, for the next start."""


class _PassingError(Exception):
    """What failed may work later: after ``delay`` seconds."""

    def __init__(self, delay: float) -> None:
        super().__init__(f"to be tried again after {delay:g} s")
        self.delay = delay


class _NoModelError(Exception):
    """The model does not load: nothing is wrong with the photo."""


class _LinedUp(Exception):  # noqa: N818 - no error: somebody else is embedding the same bytes
    """The item waits for another's outcome."""


def _hurry(thread: threading.Thread) -> None:
    """Take a thread out of the idle scheduling class, so that it can end on a busy machine."""
    if thread.native_id is not None:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(thread.native_id, os.SCHED_OTHER, os.sched_param(0))


def _become_idle() -> None:
    """Put the calling thread in the idle scheduling class: it runs when nobody else wants to."""
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except OSError as exc:
        log.warning("cannot lower the priority of indexing (%s)", exc)
