"""The scanner: one thread that compares directories with the catalog, as requests, retries and doubts ask for it.

A walk (`facewatchd.scan.survey`) puts what is new or changed into the work queue. What was not seen is queued only if
missing-disk detection (`facewatchd.scan.missing_disk`) says that it is gone, and a worker looks again before it is
forgotten. This thread itself changes nothing in the catalog but device numbers and the identities of roots.

A root whose disk does not answer a first look fails its request at once, and the request is repeated: the other roots
need not wait for it.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from facewatchd.errors import FacewatchError
from facewatchd.scan.missing_disk import Verdict, accept
from facewatchd.scan.mount_guard import MountGuard, Snapshot
from facewatchd.scan.roots import Roots, identity_of
from facewatchd.scan.schedule import Request, Schedule
from facewatchd.scan.survey import Survey, Surveyor
from facewatchd.scan.work_queue import Depth, WorkQueue
from facewatchd.store.catalog import Catalog
from facewatchd.text import printable
from facewatchd.threads.bounded_calls import NotAnsweringError
from facewatchd.threads.liveness import Liveness
from facewatchd.values import Identity, RootState

log = logging.getLogger(__name__)

LEAVE = 3.0
"""Seconds that the thread has to end."""
TRIES = 3
"""Walks of a root during which something is mounted or unmounted there, before the result of one is taken as it is."""


class Scanner(threading.Thread):
    """The thread that walks."""

    def __init__(
        self,
        catalog: Catalog,
        queue: WorkQueue,
        roots: Roots,
        *,
        walked: Callable[[bytes, dict[int, bytes], bool], None],
        write: Callable[[Callable[[Catalog], object]], None],
        liveness: Liveness | None = None,
    ) -> None:
        """``write`` runs a job on the writer's thread, and waits for it.

        ``walked(root, directories, whole)`` is called with the directories, by inode, that a walk of a root saw; not
        ``whole``: it was of a part.
        """
        super().__init__(name="scanner", daemon=True)
        self._catalog = catalog
        self._queue = queue
        self._roots = roots
        self._walked = walked
        self._write_now = write
        self._liveness = liveness or Liveness()
        self._schedule = Schedule(lambda: roots.links.any_outside)
        self._surveyor = Surveyor(catalog, queue, roots, self._goes_on)
        self._guard = MountGuard(roots)

    def request(self, path: bytes, *, force: bool = False, live: bool = False) -> Request:
        """Ask for a walk that begins after this call: `Schedule.request`."""
        return self._schedule.request(path, force=force, live=live)

    @property
    def idle(self) -> bool:
        """Whether no walk runs and no request waits. Requests for a disk that does not answer do not count."""
        return self._schedule.idle

    def give_up(self) -> None:
        """End the current walk at its next directory, and begin no other. Comes before the writer's end, and `stop`."""
        self._schedule.end()

    def stop(self) -> None:
        """`give_up`, and end the thread."""
        self.give_up()
        if self.ident is not None:
            self.join(LEAVE)
        if self.is_alive():
            log.error("the scanner does not end; a watched file system does not answer")

    def run(self) -> None:
        while not self._schedule.ended:
            if request := self._schedule.next():
                self._carry_out(request)
            elif not self._schedule.ended:
                self._look_at_links()
            if self._schedule.is_empty:
                self._schedule.note_unread(self._roots.forget_unreadable())
            self._liveness.rest()
            self._schedule.note_done(request)
            if request:
                request.done.set()

    def _goes_on(self) -> bool:
        self._liveness.beat()
        return not self._schedule.ended

    def _write(self, job: Callable[[Catalog], object]) -> None:
        self._liveness.rest()  # the writer may have to wait for room on the disk, and shows signs of life itself
        self._write_now(job)
        self._liveness.beat()

    def _carry_out(self, request: Request) -> None:
        self._liveness.beat()
        try:
            self._scan(request)
        except FacewatchError as exc:
            request.fail(unanswered=isinstance(exc, NotAnsweringError))
            if not request.unanswered and not self._schedule.ended:  # what does not answer is the watcher's to tell
                log.error("cannot scan %s: %s", printable(request.path), exc)
        self._schedule.put_off_unread()

    def _look_at_links(self) -> None:
        """Queue the links that lead out of the watched directories, to something else than before."""
        started = time.monotonic()
        for link in self._roots.links.changed_outside():
            self._liveness.beat()
            self._queue.touch(link)
        self._schedule.note_links_looked_at(time.monotonic() - started)

    def _scan(self, request: Request) -> None:
        root = self._roots.of(request.path)
        if root is None:
            return
        self._require_answer(root)
        if request.path == root:
            self._scan_root(root, request)
        elif self._roots.excluded(request.path):
            self._queue_gone(self._recorded_below(request.path))
        elif _is_directory(request.path) or (request.force and not os.path.lexists(request.path)):
            self._scan_part(root, request)
        else:
            self._queue.touch(request.path, depth=request.depth)

    def _require_answer(self, root: bytes) -> None:
        """Raise `NotAnsweringError` where the disk of a root does not answer; one never walked is offline then."""
        try:
            self._roots.calls.run(root, lambda: os.path.exists(root))
        except NotAnsweringError:
            if self._roots.state(root) is None:
                self._roots.saw(root, RootState.OFFLINE, None)
            raise

    def _scan_part(self, root: bytes, request: Request) -> None:
        survey = self._surveyor.survey(request, root)
        identity = identity_of(root)
        if self._schedule.ended:
            return
        self._walked(root, survey.inodes, False)
        if self._roots.state(root) in (RootState.OFFLINE, RootState.UNREADABLE):
            return
        if identity is None or identity != self._roots.identity(root):
            self.request(root)  # it is another directory now: that is for a walk of the whole to judge
            return
        verdict = self._judge(root, identity, survey, request, whole=False)
        self._keep_apart(verdict.kept, survey)
        self._note_devices([*survey.moved, *verdict.devices])
        self._note_unreachable(root, request.path, survey, verdict.kept)
        self._queue_gone(verdict.gone)
        if verdict.unsure:
            self.request(root)

    def _scan_root(self, root: bytes, request: Request) -> None:
        started = time.monotonic()
        self._roots.links.follow(self._roots.paths)
        with self._catalog.reading() as reader:
            recorded = reader.count_photos(root)
        snapshot, survey = self._survey_root(root, request)
        if self._schedule.ended:
            return
        readable = root not in survey.unreadable or survey.photos > 0
        state = self._guard.root_state(root, snapshot, survey.census, survey.gone, readable=readable, recorded=recorded)
        if request.force and state is RootState.OFFLINE and snapshot.identity is not None:
            state = RootState.WATCHING  # the user says that it is meant to be empty
        if state is RootState.WATCHING and snapshot.identity is not None:
            self._accept_walk(root, snapshot, snapshot.identity, survey, request, recorded)
        else:
            self._reject_walk(root, snapshot, state, survey, recorded)
        log.debug("walked %s in %.2f s: %d photos", printable(root), time.monotonic() - started, survey.photos)

    def _survey_root(self, root: bytes, request: Request) -> tuple[Snapshot, Survey]:
        """Walk it, and again where something was mounted or unmounted there meanwhile."""
        for _ in range(TRIES):
            snapshot = self._guard.snapshot(root)
            survey = self._surveyor.survey(request, root) if snapshot.identity else Survey()
            if not survey.gone or self._guard.is_unchanged(root, snapshot):
                break
        return snapshot, survey

    def _accept_walk(
        self, root: bytes, snapshot: Snapshot, identity: Identity, survey: Survey, request: Request, recorded: int
    ) -> None:
        """Apply the result of a walk of a whole root to the queue and the catalog."""
        verdict = self._judge(root, identity, survey, request, whole=True)
        self._keep_apart(verdict.kept, survey)  # first, or their disk's number might be taken for the root's
        self._adopt(root, identity)
        was = self._roots.state(root)
        self._note_state(root, RootState.WATCHING, identity, recorded)
        self._note_unreachable(root, root, survey, verdict.kept)
        self._note_devices([*survey.moved, *verdict.devices])
        self._queue_gone(verdict.gone)
        if was is not RootState.WATCHING:
            self._queue_unread(root)
        self._guard.note_good_walk(root, snapshot)
        self._walked(root, survey.inodes, True)

    def _reject_walk(self, root: bytes, snapshot: Snapshot, state: RootState, survey: Survey, recorded: int) -> None:
        """Keep what is recorded of a root that is out of reach, or has another disk in its place."""
        if state is RootState.OFFLINE and snapshot.identity and survey.photos:
            self._keep_apart(self._guard.set_apart(root, snapshot.identity, survey.census, survey.gone), survey)
        self._note_state(root, state, snapshot.identity, recorded)
        self._roots.saw_unreachable(root, {}, {})

    def _judge(self, root: bytes, now: Identity, survey: Survey, request: Request, *, whole: bool) -> Verdict:
        if request.force:
            return accept(self._guard.missing(survey.gone))
        return self._guard.verdict(root, now, survey.census, survey.gone, whole=whole)

    def _keep_apart(self, kept: Mapping[bytes, int], survey: Survey) -> None:
        """Record the numbers that stand for disks that are away."""
        self._note_devices([(path, number) for path, number in kept.items() if survey.gone[path].device != number])

    def _note_unreachable(self, root: bytes, start: bytes, survey: Survey, kept: Iterable[bytes]) -> None:
        """Note what is out of reach below a path, and log it when that begins or ends."""
        before = self._roots.has_unreachable(root)
        unreadable = {path: number for path, number in survey.unreadable.items() if number != errno.ELOOP}
        if self._roots.saw_unreachable(start, unreadable, Counter(map(os.path.dirname, kept))):
            self._schedule.hasten_unread()
            for line in self._roots.unreachable(root) if not before else ():
                log.warning("%s", line)
        elif before and not self._roots.has_unreachable(root):
            log.info("all of %s is within reach", printable(root))

    def _adopt(self, root: bytes, identity: Identity) -> None:
        """Record which directory the root is now; the photos' devices are to be compared with its own."""
        then = self._roots.identity(root)
        if then == identity:
            return
        if then is not None and then.device != identity.device:
            before = then.device
            self._write(lambda catalog: catalog.renumber(root, before, identity.device))
        self._write(lambda catalog: catalog.set_root(root, identity))

    def _queue_unread(self, root: bytes) -> None:
        """Queue the photos that could not be read: they may be readable now that the root is back."""
        with self._catalog.reading() as reader:
            unread = reader.unread(root)
        for path in unread:
            self._queue.touch(path, settle=False, depth=Depth.FACES)

    def _note_state(self, root: bytes, state: RootState, identity: Identity | None, recorded: int) -> None:
        before = self._roots.state(root)
        self._roots.saw(root, state, identity)
        if state is before or (before is None and state is RootState.WATCHING):
            return
        name = printable(root)
        if state is RootState.OFFLINE:
            log.warning("%s", out_of_reach(root, recorded, is_there=identity is not None))
        elif state is RootState.UNREADABLE:
            log.warning("%s cannot be read: its %d photos are kept; check its permissions", name, recorded)
        else:
            log.info("%s is back", name)

    def _recorded_below(self, path: bytes) -> list[bytes]:
        with self._catalog.reading() as reader:
            return reader.paths(path) + ([path] if reader.stamp(path) else [])

    def _queue_gone(self, paths: list[bytes]) -> None:
        for path in paths:
            self._queue.touch(path, settle=False)

    def _note_devices(self, devices: list[tuple[bytes, int]]) -> None:
        if devices:
            self._write(lambda catalog: catalog.set_devices(devices))


def out_of_reach(root: bytes, photos: int, *, is_there: bool) -> str:
    """Say why a root is offline, and what to do."""
    kept = "its photo is kept" if photos == 1 else f"its {photos} photos are kept"
    if not is_there:
        return f"{printable(root)} is not there: {kept} until it comes back"
    return (
        f"{printable(root)} is empty, or another directory than before: {kept}; "
        "mount its disk; if this was done on purpose, run `facewatchd scan --force` on it"
    )


def _is_directory(path: bytes) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)
