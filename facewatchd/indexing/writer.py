"""The one thread that writes to the catalog and the index.

Other threads put jobs into its queue: outcomes to record, and functions to call. It takes all jobs that wait, up to
`BATCH`, writes their outcomes in one transaction, and then makes the calls. Where the transaction fails, or a function
that is to be called with insistence (`Writer.insist`):

- An error that can pass (a full disk, a locked file, an I/O error, too little memory) is retried every `RETRY` seconds
  until it has passed or the daemon stops. `Writer.trouble` says so meanwhile. The queue is bounded, so that the workers
  stop when it is full; queries go on.
- A damaged catalog: the outcomes are dropped, and the workers examine no more paths (`Writer.require_undamaged`). The
  paths stay pending until the next start, which sets the catalog aside.
- Any other error is taken for the fault of one outcome. All of the transaction are written one by one, and the one that
  fails is recorded as failed. If not even that can be written, it is logged and dropped.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from facewatchd.errors import DamagedError, FacewatchError, RefusedError, StorageError
from facewatchd.store.catalog import Outcome
from facewatchd.store.gallery import Gallery
from facewatchd.text import printable
from facewatchd.threads.liveness import Liveness

log = logging.getLogger(__name__)

RETRY = 5.0
"""Seconds between two tries of a write whose error can pass."""
COLLECT_EVERY = 3600.0
"""Seconds between two deletions of contents that no photo has shown for long (`Gallery.collect`)."""
COLLECT_FIRST = 600.0
"""Seconds after the start before the first of them: what came back while no daemon ran has been walked by then."""
BATCH = 64
"""Jobs that are taken at once; the queue holds four times as many."""


@dataclass(slots=True)
class _Record:
    outcome: Outcome
    recorded: Callable[[bool], None]


@dataclass(slots=True)
class _Call:
    function: Callable[[Gallery], object]
    insists: bool
    done: threading.Event = field(default_factory=threading.Event)
    error: FacewatchError | None = None


class Writer(threading.Thread):
    """Start it before the workers, and stop it after them."""

    def __init__(self, gallery: Gallery, liveness: Liveness) -> None:
        super().__init__(name="writer")
        self._gallery = gallery
        self._liveness = liveness
        self._jobs: queue.Queue[_Record | _Call | None] = queue.Queue(maxsize=4 * BATCH)
        self._ending = threading.Event()
        self._collected_at = time.monotonic() + min(COLLECT_FIRST, COLLECT_EVERY) - COLLECT_EVERY
        self.trouble = ""
        """Why it cannot write; empty when all is well."""
        self._damage: DamagedError | None = None

    # From any thread

    def record(self, outcome: Outcome, recorded: Callable[[bool], None]) -> None:
        """Record an outcome; the writer's thread calls ``recorded(True)`` when it is committed and searchable.

        ``recorded(False)``: its content is not in the catalog any more, and the path must be examined again.
        """
        self._put(_Record(outcome, recorded))

    def require_undamaged(self) -> None:
        """Raise `DamagedError` where the last write met one: nothing that is found could be recorded."""
        if damage := self._damage:
            raise DamagedError(damage.message, damage.hint)

    def call(self, function: Callable[[Gallery], object]) -> None:
        """Have the writer's thread call a function, and wait for it. Raises the `FacewatchError` that it raises.

        Any other error of it becomes a `FacewatchError`. Raises `StorageError` when the daemon stops first.
        """
        self._wait_for(_Call(function, insists=False))

    def insist(self, function: Callable[[Gallery], object]) -> None:
        """What `call` does, but where the function raises an error that can pass, it is called again until it works.

        Raises `StorageError` where the catalog is damaged, or the daemon stops first.
        """
        self._wait_for(_Call(function, insists=True))

    def _wait_for(self, job: _Call) -> None:
        self._put(job)
        while not job.done.wait(0.2):
            if self._ending.is_set() or not self.is_alive():
                raise StorageError("the daemon is stopping", "try again")
        if job.error:
            raise job.error

    def _put(self, job: _Record | _Call | None) -> None:
        while self.is_alive() or self.ident is None:
            try:
                return self._jobs.put(job, timeout=0.2)
            except queue.Full:
                if self._ending.is_set() and job is not None:
                    return None  # after `give_up` nothing more is taken
        return None

    def give_up(self) -> None:
        """Retry no write that fails, and take no job while the queue is full. Comes before `stop`."""
        self._ending.set()

    def stop(self) -> None:
        """Write what is in the queue, and end."""
        self._ending.set()
        self._put(None)
        if self.ident is not None:
            self.join()

    # The writer's thread

    def goes_on(self) -> bool:
        """For a call that takes long, to be asked now and then: shows a sign of life; False when it is to end."""
        self._liveness.beat()
        return not self._ending.is_set()

    def run(self) -> None:
        ended = False
        while not ended:
            self._liveness.rest()
            jobs, ended = self._next()
            self._liveness.beat()
            self._work_off(jobs)
            if not ended and time.monotonic() - self._collected_at > COLLECT_EVERY:
                self._collected_at = time.monotonic()
                self._collect()

    def _next(self) -> tuple[list[_Record | _Call], bool]:
        """Wait for jobs, or for the time to collect; the second value is True at the end."""
        jobs: list[_Record | _Call] = []
        try:
            job = self._jobs.get(timeout=max(0.0, self._collected_at + COLLECT_EVERY - time.monotonic()))
            while job is not None:
                jobs.append(job)
                if len(jobs) == BATCH:
                    return jobs, False
                job = self._jobs.get_nowait()
        except queue.Empty:
            return jobs, False
        return jobs, True

    def _work_off(self, jobs: list[_Record | _Call]) -> None:
        if records := [job for job in jobs if isinstance(job, _Record)]:
            self._record(records)
        for job in jobs:
            if isinstance(job, _Call):
                self._liveness.beat()
                self._call(job)

    def _record(self, records: Sequence[_Record]) -> None:
        """Write outcomes in one transaction; where that can never work, one by one."""
        unknown: set[bytes] = set()
        try:
            written = self._insist(lambda: unknown.update(self._gallery.record([record.outcome for record in records])))
        except Exception as exc:  # noqa: BLE001 - whatever it is, one outcome is to blame
            if len(records) == 1:
                self._set_aside(records[0], exc)
            else:
                for record in records:
                    self._record([record])
            return
        for record in records if written else ():
            record.recorded(record.outcome.path not in unknown)

    def _set_aside(self, record: _Record, error: Exception) -> None:
        """Record as failed what cannot be recorded as it is."""
        outcome = record.outcome
        _log(f"{printable(outcome.path) or 'a photo that was moved'}: what was found cannot be recorded", error)
        reason = f"internal error: what was found cannot be recorded ({_reason(error)})"
        for digest in dict.fromkeys([outcome.digest, None]):
            failure = Outcome(outcome.path, outcome.stamp, digest, error=reason)
            try:
                written = self._insist(partial(self._gallery.record, [failure]))
            except Exception as exc:  # noqa: BLE001 - not even that: it is dropped in the end
                _log(f"{printable(outcome.path)}: its failure cannot be recorded either", exc)
            else:
                if written:
                    record.recorded(True)
                return
        record.recorded(True)

    def _collect(self) -> None:
        try:
            self._insist(self._gallery.collect)
        except Exception as exc:  # noqa: BLE001 - old content that stays is not the end of the writer
            _log("old content cannot be collected", exc)

    def _call(self, job: _Call) -> None:
        try:
            if not job.insists:
                job.function(self._gallery)
            elif not self._insist(lambda: job.function(self._gallery)):
                job.error = StorageError(self.trouble)
        except FacewatchError as exc:
            job.error = exc
        except Exception as exc:  # noqa: BLE001 - one job that fails is not the end of the writer
            _log("a call of the writer failed", exc)
            job.error = FacewatchError(f"internal error ({exc})", "please report it")
        job.done.set()

    def _insist(self, write: Callable[[], object]) -> bool:
        """Write until it works; False when the end comes first. Raises what no later try would change."""
        while True:
            self._liveness.beat()
            try:
                write()
            except RefusedError:
                raise
            except StorageError as exc:
                if not self.trouble:
                    log.error("%s; indexing waits", exc)
                self.trouble = str(exc)
                if isinstance(exc, DamagedError):
                    self._damage = exc
                    return False
                if self._ending.wait(RETRY):
                    return False
            else:
                if self.trouble:
                    log.info("the catalog can be written again")
                self.trouble, self._damage = "", None
                return True


def _log(what: str, error: Exception) -> None:
    """Log an error, with its traceback where it is none that was foreseen."""
    log.error("%s: %s", what, _reason(error), exc_info=None if isinstance(error, FacewatchError) else error)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
