"""Takes paths from the queue and ends with the gallery telling the truth about each of them.

Several workers look and read, `Inference` decodes and embeds, the writer records. Where a step shows that there is
nothing to do, the ones after it are left out: an equal stamp needs no read, a known digest no inference.

- A photo is never held whole: `contents` digests it in parts, and the inference process gets its descriptor.
- Two files with the same new bytes in two workers' hands: one *claims* the digest, the other waits for its outcome, and
  its digest is kept meanwhile. So it is with the links of one file, which claim its stamp before it is read.
- A file of which another name is recorded with the same stamp is not read (`DigestLookup`): it was moved, or is linked.
- A file that changes while it is read goes back to the queue, and so does one whose disk does not answer a look.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from facewatchd.errors import FacewatchError, ModelError, StorageError, UnreadablePhotoError, UnsupportedPhotoError
from facewatchd.indexing.backoff import Backoff
from facewatchd.indexing.counters import Counters
from facewatchd.indexing.digest_lookup import DigestLookup
from facewatchd.indexing.in_flight import InFlight
from facewatchd.indexing.writer import Writer
from facewatchd.inference.failures import ClosedError, NoModelError, SetbackError
from facewatchd.inference.hedge import Hedge
from facewatchd.inference.wire import AHEAD
from facewatchd.photos import contents, files, sheet_mark
from facewatchd.scan.roots import Roots, identity_of
from facewatchd.scan.work_queue import Depth, Item, WorkQueue
from facewatchd.store.catalog import Outcome
from facewatchd.store.gallery import Gallery
from facewatchd.text import one_line, printable
from facewatchd.threads.bounded_calls import NotAnsweringError
from facewatchd.threads.liveness import Liveness
from facewatchd.values import RootState, Stamp

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
SILENT_RETRY = 5.0
"""Seconds before a file is looked at again whose disk did not answer."""
MODEL_RETRY = 30.0
"""Seconds between two tries to load a model that does not load."""

WAITS = (
    "other programs use the processors, and indexing takes what they leave; `idle_priority = false` under "
    "`[resources]` of the configuration gives it a share like theirs"
)

WAITS_BRIEFLY = "other programs use the processors (see idle_priority)"


class Indexer:
    """The workers. `start` after the writer, `stop` before it."""

    def __init__(
        self,
        gallery: Gallery,
        queue: WorkQueue,
        roots: Roots,
        writer: Writer,
        *,
        inference: Hedge,
        liveness: Liveness,
        scan: Callable[[bytes], object],
        workers: int,
    ) -> None:
        """``scan`` is asked to walk a directory. ``workers``: photos that are looked at at the same time."""
        self._catalog = gallery.catalog
        self._queue = queue
        self._roots = roots
        self._writer = writer
        self._inference = inference
        self._liveness = liveness
        self._scan = scan
        self._in_flight = InFlight()
        self._digests = DigestLookup(gallery.catalog, queue)
        self._told: dict[bytes, Stamp | None] = {}
        """Paths that are to be looked at because another name of the same file has this stamp now."""
        self._tries: dict[bytes, int] = {}
        self.backoff = Backoff()
        self._rest_until = 0.0
        self._stopping = threading.Event()
        self._counters = Counters()
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
        self._queue.close()
        self._stopping.set()
        self._inference.close(FINISH)
        deadline = time.monotonic() + LEAVE
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))

    def rates(self) -> dict[str, float]:
        """The contract's ``rates``: `Counters.rates`."""
        return self._counters.rates()

    def waits(self) -> str:
        """What keeps photos waiting though nothing is wrong, and what changes that; empty where nothing does."""
        return WAITS if self._inference.waits() else ""

    def waits_briefly(self) -> str:
        """The same, in a few words."""
        return WAITS_BRIEFLY if self._inference.waits() else ""

    def alive(self) -> bool:
        return all(thread.is_alive() for thread in self._threads)

    # Workers

    def _run(self) -> None:
        while items := self._queue.take(1):
            self._liveness.beat()
            self._deal_with(items[0])
            self._liveness.rest()
            if (rest := self._rest_until - time.monotonic()) > 0:  # what failed for this one fails for all
                self._stopping.wait(rest)

    def _deal_with(self, item: Item) -> None:
        try:
            outcome = self._examine(item)
        except (_LinedUp, ClosedError):  # at the end the item stays as it is, for the next start
            return
        except files.ChangedWhileReadError as exc:
            log.debug("%s: %s", printable(item.path), exc.message)
            self._put_back(item, CHANGED_RETRY)
            return
        except _PassingError as exc:
            self._put_back(item, exc.delay)
            return
        except NotAnsweringError as exc:
            log.debug("%s", exc)
            self._put_back(item, SILENT_RETRY)
            return
        except NoModelError as exc:
            self._say(str(exc))
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
            if item.path not in self._tries:
                log.exception("%s: unexpected error (%s)", printable(item.path), exc)
            self._fail(item, exc)
            return
        self._conclude(item, outcome)

    def _conclude(self, item: Item, outcome: Outcome | None) -> None:
        self._counters.count("examined")
        self.backoff.forget(item.path)
        if outcome is None:
            self._done(item)
        else:
            self._liveness.rest()  # the writer may have to wait for room on the disk, and lives
            self._writer.record(outcome, lambda known: self._recorded(item, outcome, known=known))

    def _put_back(self, item: Item, delay: float = 0.0, outcome: Outcome | None = None) -> None:
        woken = self._in_flight.release(item.path, outcome)  # first: another worker may take the path at once
        self._queue.put_back(item, delay)
        self._wake(woken)

    def _done(self, item: Item, outcome: Outcome | None = None) -> None:
        self._queue.done(item.path)  # first: for those that wait for it, a path that is to be read does not count
        self._wake(self._in_flight.release(item.path, outcome))

    def _wake(self, items: list[Item]) -> None:
        for item in items:
            self._queue.put_back(item)

    def _fail(self, item: Item, error: Exception) -> None:
        """Try a path again after an error that was not foreseen; after some tries, record that as its failure."""
        failure = FacewatchError(f"internal error: {one_line(error)}", "please report it")
        try:
            self._try_again(item.path, failure)
            status = os.stat(item.path)
        except _PassingError as exc:
            self._put_back(item, exc.delay)
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
        self._tries.pop(item.path, None)
        if not outcome.path:  # what was embedded is not there any more
            self._put_back(item, CHANGED_RETRY, outcome if known else None)
        elif not known:
            self._put_back(item)
        else:
            self._done(item, outcome)

    # One path

    def _examine(self, item: Item) -> Outcome | None:
        """Find out what is true of a path; None where the catalog says so already."""
        path = item.path
        self._roots.calls.run(path, lambda: os.path.exists(path))
        digested, told = self._in_flight.digested(path), self._told.pop(path, None)
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
            outcome = self._missing(item, recorded, exc)
            if outcome or not recorded:
                self._look_at_links(path, recorded.inode if recorded else _nameless_inode(path), None)
            return outcome
        if stat.S_ISDIR(status.st_mode):
            return self._directory(path, recorded)
        self._look_at(below)  # it was a directory
        if status.st_nlink > 1 and not stamp.same_bytes(recorded) and not stamp.same_bytes(told):
            self._look_at_links(path, stamp.inode, stamp)
        if item.depth is Depth.STAMP and digested and stamp.same_bytes(digested.stamp):
            if failure := digested.failure:
                return replace(failure, path=path, stamp=stamp)
            return self._content(item, stamp, digested.digest)
        if item.depth is Depth.STAMP and stamp.same_bytes(recorded):
            return None
        return self._file(item, stamp, is_linked=status.st_nlink > 1)

    def _file(self, item: Item, stamp: Stamp, *, is_linked: bool) -> Outcome:
        """Find out what is in a file, as its stamp is new or it was written to."""
        path = item.path
        if digest := self._digest_of_twin(item, stamp):
            return Outcome(path, stamp, digest)
        if not files.is_photo_name(path) and not files.sniff(path):
            return Outcome(path, stamp)
        if sheet_mark.is_sheet(path):
            return Outcome(path, stamp)
        if is_linked:
            if not self._in_flight.claim(stamp[1:], item):
                raise _LinedUp
            if digest := self._digest_of_twin(item, stamp):  # recorded between the first look and the claim
                return Outcome(path, stamp, digest)
        return self._read(item, stamp)

    def _digest_of_twin(self, item: Item, stamp: Stamp) -> bytes | None:
        return self._digests.digest(item.path, stamp) if item.depth is Depth.STAMP else None

    def _missing(self, item: Item, recorded: Stamp | None, error: OSError) -> Outcome | None:
        path, depth = item.path, item.depth
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None  # out of reach, not gone: a rescan of the root says which
        self._roots.has_gone(path)
        if not recorded:
            return None
        if self._roots.may_forget(path, recorded):
            self._digests.forgotten(path, recorded, depth)
            return Outcome(path, None)
        root = self._roots.of(path)
        if root and self._roots.state(root) is RootState.WATCHING:  # a walk must judge, and note what is out of reach
            same = identity_of(root) == self._roots.identity(root)
            self._scan(self._roots.nearest(path) if same else root)
        return None

    def _look_at(self, paths: list[bytes]) -> None:
        for path in paths:
            self._queue.touch(path, settle=False)

    def _look_at_links(self, path: bytes, inode: int | None, now: Stamp | None) -> None:
        """Look at the other names of a file: an event tells of one, and the stamp of all has changed."""
        if inode is None:
            return
        with self._catalog.reading() as reader:
            links = reader.linked(inode)
        others = [other for other, stamp in links.items() if other != path and not stamp.same_bytes(now)]
        self._told.update(dict.fromkeys(others, now))  # or each of them would ask for all the others
        self._look_at(others)

    def _directory(self, path: bytes, recorded: Stamp | None) -> Outcome | None:
        if not os.path.islink(path):
            self._scan(path)
        return Outcome(path, None) if recorded else None

    def _read(self, item: Item, stamp: Stamp, expected: bytes | None = None) -> Outcome:
        """Read a photo; its digest must be as ``expected``, where that is given."""
        path = item.path
        try:
            with contents.opened(path) as content:
                self._counters.count("read")
                if not content.stamp.same_bytes(stamp) or content.digest != (expected or content.digest):
                    raise files.ChangedWhileReadError("the file changed before it was read")
                return self._content(item, stamp, content.digest, content)
        except files.DiskError as exc:
            self._try_again(path, exc)
            return Outcome(path, stamp, error=exc.message)
        except UnreadablePhotoError as exc:
            return Outcome(path, stamp, error=exc.message)

    def _try_again(self, path: bytes, cause: FacewatchError) -> None:
        """Raise `_PassingError` until the path was tried often enough."""
        tries = self._tries[path] = self._tries.get(path, 0) + 1
        if tries < TRIES:
            log.debug("%s: %s (try %d)", printable(path), cause.message, tries)
            raise _PassingError(2.0**tries) from cause
        del self._tries[path]

    def _content(self, item: Item, stamp: Stamp, digest: bytes, content: contents.Content | None = None) -> Outcome:
        """Record a known content at once; else claim it, and have it embedded from the open file."""
        if item.depth < Depth.FACES and self._is_known(digest):
            return Outcome(item.path, stamp, digest)
        if not self._in_flight.claim(digest, item, stamp):
            raise _LinedUp
        # Between the look and the claim another worker's outcome may have been recorded.
        if item.depth < Depth.FACES and self._is_known(digest):
            return Outcome(item.path, stamp, digest)
        if content is None:  # the embedding that it waited for has failed, or was of a file that is gone
            return self._read(item, stamp, digest)
        return self._embed(item, stamp, content)

    def _is_known(self, digest: bytes) -> bool:
        with self._catalog.reading() as reader:
            return reader.has_content(digest)

    def _embed(self, item: Item, stamp: Stamp, content: contents.Content) -> Outcome:
        try:
            seen = self._inference.analyse(content.descriptor, alone=item.path in self.backoff)
        except (NoModelError, ClosedError, files.DiskError):
            raise
        except FacewatchError as exc:
            self._say("")
            if isinstance(exc, SetbackError) and (delay := self.backoff.note(item.path, exc.message, exc.counts)):
                raise _PassingError(delay) from exc
            content.confirm()
            if isinstance(exc, ModelError):
                self._try_again(item.path, exc)
            log.warning("%s: %s", printable(item.path), exc.message)
            unsupported = isinstance(exc, UnsupportedPhotoError)
            return Outcome(item.path, stamp, content.digest, error=exc.message, unsupported=unsupported)
        self._say("")
        content.confirm()
        self._counters.count("embedded")
        if _is_as_before(item.path, stamp):
            return Outcome(item.path, stamp, content.digest, seen.width, seen.height, seen.faces)
        # It was renamed, touched or replaced: the bytes may be found again, and need not be embedded again then.
        return Outcome(b"", None, content.digest, seen.width, seen.height, seen.faces)


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
