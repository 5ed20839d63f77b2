"""Takes paths from the inbox and ends with the gallery telling the truth about each of them.

Several workers look and read, `Inference` decodes and embeds, the writer records. Where a step shows that there is
nothing to do, the ones after it are left out: an equal stamp needs no read, a known digest no inference.

- Two files with the same new bytes in two workers' hands: one *claims* the digest, the other waits for its outcome.
- A file that changes while it is read goes back to the inbox.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import threading
import time
from collections.abc import Callable

from facewatchd import photos, sheetmark
from facewatchd.catalog import Outcome
from facewatchd.errors import FacewatchError, ModelError, StorageError, UnreadablePhotoError, UnsupportedPhotoError
from facewatchd.gallery import Gallery
from facewatchd.inbox import Depth, Inbox, Item
from facewatchd.inference import ClosedError, NoModelError, SetbackError
from facewatchd.inference.hedge import Hedge
from facewatchd.inference.wire import AHEAD
from facewatchd.models import one_line
from facewatchd.printing import printable
from facewatchd.records import RootState, Stamp
from facewatchd.roots import Roots, identity_of
from facewatchd.setbacks import Setbacks
from facewatchd.tally import Tally
from facewatchd.vitals import Vitals
from facewatchd.writer import Writer

log = logging.getLogger(__name__)

FINISH = 2.5
"""Seconds that the workers get for the photos in their hands when the daemon ends."""
LEAVE = 1.0
"""Seconds that they get to end after that; one that reads from a disk that does not answer is left behind."""
TRIES = 5
"""Times that a photo is tried on which the disk, the model or the program fails, before that is recorded."""
CHANGED_RETRY = 1.0
"""Seconds before a file is looked at again that changed while it was read."""
STORAGE_RETRY = 5.0
"""Seconds before a path is looked at again for which the catalog could not be read."""
MODEL_RETRY = 30.0
"""Seconds between two tries to load a model that does not load."""

WAITS = (
    "other programs use the processors, and indexing takes what they leave; `idle_priority = false` under "
    "`[resources]` of the configuration gives it a share like theirs"
)


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
        inference: Hedge,
        vitals: Vitals,
        scan: Callable[[bytes], object],
        workers: int,
    ) -> None:
        """``scan`` is asked to walk a directory. ``workers``: photos that are looked at at the same time."""
        self._catalog = gallery.catalog
        self._inbox = inbox
        self._roots = roots
        self._writer = writer
        self._inference = inference
        self._vitals = vitals
        self._scan = scan
        self._claims = Claims()
        self._tries: dict[bytes, int] = {}
        self.setbacks = Setbacks()
        self._rest_until = 0.0
        self._stopping = threading.Event()
        self._tally = Tally()
        self.trouble = ""
        """Why nothing can be embedded; empty when all is well."""
        self._threads = [
            threading.Thread(target=self._run, name=f"worker-{number}", daemon=True)
            for number in range(workers + AHEAD)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each worker finish the photo in its hand, and end; in the end without it."""
        self._inbox.close()
        self._stopping.set()
        self._inference.close(FINISH)
        deadline = time.monotonic() + LEAVE
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))

    def rates(self) -> dict[str, float]:
        """The contract's ``rates``: `Tally.rates`."""
        return self._tally.rates()

    def waits(self) -> str:
        """What keeps photos waiting though nothing is wrong, and what changes that; empty where nothing does."""
        return WAITS if self._inference.waits() else ""

    def alive(self) -> bool:
        return all(thread.is_alive() for thread in self._threads)

    # Workers

    def _run(self) -> None:
        while items := self._inbox.take(1):
            self._vitals.beat()
            self._deal_with(items[0])
            self._vitals.rest()
            if (rest := self._rest_until - time.monotonic()) > 0:  # what failed for this one fails for all
                self._stopping.wait(rest)

    def _deal_with(self, item: Item) -> None:
        try:
            outcome = self._examine(item)
        except (_LinedUp, ClosedError):  # at the end the item stays as it is, for the next start
            return
        except photos.ChangedWhileReadError as exc:
            log.debug("%s: %s", printable(item.path), exc.message)
            self._inbox.put_back(item, CHANGED_RETRY)
            return
        except _PassingError as exc:
            self._inbox.put_back(item, exc.delay)
            return
        except NoModelError as exc:
            self._say(str(exc))
            self._rest_until = time.monotonic() + MODEL_RETRY
            self._inbox.put_back(item)
            return
        except StorageError as exc:
            log.debug("%s", exc)  # the catalog says what is wrong with it
            self._rest_until = time.monotonic() + STORAGE_RETRY
            self._inbox.put_back(item)
            return
        except OSError as exc:  # it vanished, or its directory is out of reach: a later look tells
            log.debug("%s: %s", printable(item.path), exc)
            outcome = None
        except Exception as exc:
            if item.path not in self._tries:
                log.exception("%s: unexpected error (%s)", printable(item.path), exc)
            self._fail(item, exc)
            return
        self._conclude(item, outcome)

    def _conclude(self, item: Item, outcome: Outcome | None) -> None:
        self._tally.count("examined")
        self.setbacks.forget(item.path)
        if outcome is None:
            self._inbox.done(item.path)
        else:
            self._vitals.rest()  # the writer may have to wait for room on the disk, and lives
            self._writer.record(outcome, lambda known: self._recorded(item, outcome, known=known))

    def _fail(self, item: Item, error: Exception) -> None:
        """Try a path again after an error that was not foreseen; after some tries, record that as its failure."""
        failure = FacewatchError(f"internal error: {one_line(error)}", "please report it")
        try:
            self._try_again(item.path, failure)
            status = os.stat(item.path)
        except _PassingError as exc:
            self._inbox.put_back(item, exc.delay)
        except OSError:
            self._conclude(item, None)
        else:
            outcome = Outcome(item.path, self._roots.stamp(item.path, status), error=failure.message)
            self._conclude(item, outcome if stat.S_ISREG(status.st_mode) else None)

    def _say(self, trouble: str) -> None:
        if trouble and not self.trouble:
            log.error("%s", trouble)
        self.trouble = trouble

    def _recorded(self, item: Item, outcome: Outcome, *, known: bool) -> None:
        if outcome.digest is not None:
            self._release(outcome.digest)
        self._tries.pop(item.path, None)
        if not outcome.path:  # what was embedded is not there any more
            self._inbox.put_back(item, CHANGED_RETRY)
        elif not known:
            self._inbox.put_back(item)
        else:
            self._inbox.done(item.path)

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
        self._roots.links.note(path)
        try:
            status = os.stat(path)
            stamp = self._roots.stamp(path, status)
        except OSError as exc:
            self._look_at(below)
            outcome = self._missing(path, recorded, exc)
            if outcome or not recorded:
                self._look_at_links(path, recorded.inode if recorded else _nameless_inode(path), None)
            return outcome
        if stat.S_ISDIR(status.st_mode):
            return self._directory(path, recorded)
        self._look_at(below)  # it was a directory
        if status.st_nlink > 1 and not stamp.same_bytes(recorded):
            self._look_at_links(path, stamp.inode, stamp)
        if stamp.same_bytes(recorded) and item.depth is Depth.STAMP:
            return None
        if not photos.is_photo_name(path) and not photos.sniff(path):
            return Outcome(path, stamp)
        if sheetmark.is_sheet(path):
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
        if root and self._roots.state(root) is RootState.WATCHING:  # a walk must judge, and note what is out of reach
            same = identity_of(root) == self._roots.identity(root)
            self._scan(self._roots.nearest(path) if same else root)
        return None

    def _look_at(self, paths: list[bytes]) -> None:
        for path in paths:
            self._inbox.touch(path, settle=False)

    def _look_at_links(self, path: bytes, inode: int | None, now: Stamp | None) -> None:
        """Look at the other names of a file: an event tells of one, and the stamp of all has changed."""
        if inode is None:
            return
        with self._catalog.reading() as reader:
            links = reader.linked(inode)
        self._look_at([other for other, stamp in links.items() if other != path and not stamp.same_bytes(now)])

    def _directory(self, path: bytes, recorded: Stamp | None) -> Outcome | None:
        if not os.path.islink(path):
            self._scan(path)
        return Outcome(path, None) if recorded else None

    def _photo(self, item: Item, stamp: Stamp) -> Outcome:
        path = item.path
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

    def _content(self, item: Item, stamp: Stamp, data: bytes, digest: bytes) -> Outcome:
        with self._catalog.reading() as reader:
            known = reader.has_content(digest)
        if known and item.depth < Depth.FACES:
            return Outcome(item.path, stamp, digest)
        try:
            seen = self._inference.see(data, alone=item.path in self.setbacks)
        except (NoModelError, ClosedError):
            raise
        except FacewatchError as exc:
            self._say("")
            if isinstance(exc, SetbackError) and (delay := self.setbacks.note(item.path, exc.message, exc.counts)):
                raise _PassingError(delay) from exc
            if isinstance(exc, ModelError):
                self._try_again(item.path, exc)
            log.warning("%s: %s", printable(item.path), exc.message)
            unsupported = isinstance(exc, UnsupportedPhotoError)
            return Outcome(item.path, stamp, digest, error=exc.message, unsupported=unsupported)
        self._say("")
        self._tally.count("embedded")
        if _is_as_before(item.path, stamp):
            return Outcome(item.path, stamp, digest, seen.width, seen.height, seen.faces)
        # It was renamed, touched or replaced: the bytes may be found again, and need not be embedded again then.
        return Outcome(b"", None, digest, seen.width, seen.height, seen.faces)


def _nameless_inode(path: bytes) -> int | None:
    """The inode of a file that was opened without a name: events call it by that number, also once it has a name."""
    name = os.path.basename(path)
    return int(name[1:]) if name[:1] == b"#" and name[1:].isdigit() and len(name) < 20 else None


def _is_as_before(path: bytes, stamp: Stamp) -> bool:
    try:
        return Stamp.of(os.stat(path)).same_bytes(stamp)
    except OSError:
        return False


class _PassingError(Exception):
    """What failed may work later: after ``delay`` seconds."""

    def __init__(self, delay: float) -> None:
        super().__init__(f"to be tried again after {delay:g} s")
        self.delay = delay


class _LinedUp(Exception):  # noqa: N818 - no error: somebody else is embedding the same bytes
    """The item waits for another's outcome."""
