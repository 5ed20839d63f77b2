"""The worker threads: each takes a path from the work queue, examines it, and has the outcome recorded.

What one path needs is decided in `facewatchd.indexing.examine` and carried out by `PathExaminer`. Here is what becomes
of the result:

- An outcome goes to the writer. When it is committed and searchable, the path is done.
- A path that waits for another (`LinedUp`) stays taken until that one is done.
- A path that cannot be examined yet goes back to the queue: after `CHANGED_RETRY` seconds if the file changed while it
  was read, `SILENT_RETRY` if its disk did not answer, or as `Backoff` says. A catalog that cannot be read or is
  damaged and a model that cannot be loaded fail all paths alike, so that the worker rests as well.
- An error that was not foreseen is tried again like one of the disk, and in the end recorded as the file's failure.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from facewatchd.errors import FacewatchError, StorageError
from facewatchd.indexing.backoff import Backoff, RetryError
from facewatchd.indexing.counters import Counters
from facewatchd.indexing.embedder import Embedder
from facewatchd.indexing.fetching import Fetcher
from facewatchd.indexing.in_flight import InFlight
from facewatchd.indexing.path_examiner import LinedUp, PathExaminer
from facewatchd.indexing.writer import Writer
from facewatchd.inference.failures import ClosedError, NoModelError
from facewatchd.inference.hedge import Hedge
from facewatchd.inference.wire import AHEAD
from facewatchd.photos.files import ChangedWhileReadError
from facewatchd.scan.roots import Roots
from facewatchd.scan.work_queue import Item, WorkQueue
from facewatchd.store.catalog import Outcome
from facewatchd.store.gallery import Gallery
from facewatchd.text import one_line, printable
from facewatchd.threads.bounded_calls import NotAnsweringError
from facewatchd.threads.liveness import Liveness

log = logging.getLogger(__name__)

FINISH = 2.5
"""Seconds that the workers have at the end for the photos that they took."""
LEAVE = 1.0
"""Seconds that they have to end after that; one that reads from a disk that does not answer is left behind."""
CHANGED_RETRY = 1.0
"""Seconds before a file is examined again that changed while it was read."""
STORAGE_RETRY = 5.0
"""Seconds before a path is examined again for which the catalog could not be read."""
SILENT_RETRY = 5.0
"""Seconds before a file is examined again whose disk did not answer."""
MODEL_RETRY = 30.0
"""Seconds between two tries to load a model that does not load."""


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
        fetcher: Fetcher | None = None,
    ) -> None:
        """``scan`` is asked to walk a directory. ``workers``: photos that are examined at the same time.

        ``fetcher``: asks for what other machines found; None where there is no shared engine.
        """
        self._queue = queue
        self._writer = writer
        self._liveness = liveness
        self._in_flight = InFlight()
        self._counters = Counters(fetches=fetcher is not None)
        self.backoff = Backoff()
        self.embedder = Embedder(
            gallery, inference, self.backoff, self._counters, fetcher.embedded if fetcher else lambda _: None
        )
        self._examiner = PathExaminer(
            gallery.catalog,
            queue,
            roots,
            walk=scan,
            embedder=self.embedder,
            in_flight=self._in_flight,
            counters=self._counters,
            fetcher=fetcher,
        )
        self._rest_until = 0.0
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, name=f"worker-{number}", daemon=True)
            for number in range(workers + AHEAD)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each worker finish the photo that it took, and end; after `FINISH` seconds without it."""
        self._queue.close()
        self._stopping.set()
        self.embedder.close(FINISH)
        deadline = time.monotonic() + LEAVE
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))

    def rates(self) -> dict[str, float]:
        """The ``rates`` of ``status``: `Counters.rates`."""
        return self._counters.rates()

    @property
    def trouble(self) -> str:
        """Why nothing can be embedded; empty when all is well."""
        return self.embedder.trouble

    def waits(self) -> str:
        """`Embedder.waits`."""
        return self.embedder.waits()

    def waits_briefly(self) -> str:
        """`Embedder.waits_briefly`."""
        return self.embedder.waits_briefly()

    def alive(self) -> bool:
        """Whether every worker runs."""
        return all(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        while items := self._queue.take(1):
            self._liveness.beat()
            self._examine(items[0])
            self._liveness.rest()
            if (rest := self._rest_until - time.monotonic()) > 0:
                self._stopping.wait(rest)

    def _examine(self, item: Item) -> None:
        try:
            self._writer.require_undamaged()
            outcome = self._examiner.examine(item)
        except (LinedUp, ClosedError):  # at the end the item stays as it is, for the next start
            return
        except (ChangedWhileReadError, RetryError, NotAnsweringError) as exc:
            log.debug("%s: %s", printable(item.path), exc)
            self._put_back(item, _delay(exc))
        except (NoModelError, StorageError) as exc:  # `trouble`, or the catalog, says what is wrong
            log.debug("%s: %s", printable(item.path), exc)
            self._rest_until = time.monotonic() + (MODEL_RETRY if isinstance(exc, NoModelError) else STORAGE_RETRY)
            self._put_back(item)
        except OSError as exc:  # it vanished, or its directory is out of reach: a later look tells
            log.debug("%s: %s", printable(item.path), exc)
            self._conclude(item, None)
        except Exception as exc:
            if not self.backoff.has_failed(item.path):
                log.exception("%s: unexpected error (%s)", printable(item.path), exc)
            self._fail(item, exc)
        else:
            self._conclude(item, outcome)

    def _fail(self, item: Item, error: Exception) -> None:
        """Have a path tried again after an error that was not foreseen; after the last try, record that."""
        failure = FacewatchError(f"internal error: {one_line(error)}", "please report it")
        try:
            self.embedder.try_again(item.path, failure)
            outcome = self._examiner.failure(item.path, failure.message)
        except RetryError as exc:
            self._put_back(item, exc.delay)
        except OSError:
            self._conclude(item, None)
        else:
            self._conclude(item, outcome)

    def _conclude(self, item: Item, outcome: Outcome | None) -> None:
        self._counters.count("examined")
        self.backoff.forget(item.path)
        if outcome is None:
            self._done(item)
        else:
            self._liveness.rest()  # the writer may have to wait for room on the disk, and shows signs of life itself
            self._writer.record(outcome, lambda known: self._recorded(item, outcome, known=known))

    def _recorded(self, item: Item, outcome: Outcome, *, known: bool) -> None:
        """Called by the writer's thread (`Writer.record`)."""
        if not outcome.path:  # what was embedded is not at the path any more
            self._put_back(item, CHANGED_RETRY, outcome if known else None)
        elif not known:
            self._put_back(item)
        else:
            self._done(item, outcome)

    def _put_back(self, item: Item, delay: float = 0.0, outcome: Outcome | None = None) -> None:
        woken = self._in_flight.release(item.path, outcome)  # first: another worker may take the path at once
        self._queue.put_back(item, delay)
        self._wake(woken)

    def _done(self, item: Item, outcome: Outcome | None = None) -> None:
        self._queue.done(item.path)  # first: the digest of a path that is to be read does not count for other names
        self._wake(self._in_flight.release(item.path, outcome))

    def _wake(self, items: list[Item]) -> None:
        for item in items:
            self._queue.put_back(item)


def _delay(error: ChangedWhileReadError | RetryError | NotAnsweringError) -> float:
    """Seconds until a path is examined again after an error that says nothing about the file."""
    if isinstance(error, RetryError):
        return error.delay
    return CHANGED_RETRY if isinstance(error, ChangedWhileReadError) else SILENT_RETRY
