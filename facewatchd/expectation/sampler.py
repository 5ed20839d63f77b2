"""The thread that keeps the sample of the gallery's faces up to date.

A face is in the sample if a hash of its id is among the `SIZE` lowest of all faces. So the sample is random, but the
same for the same faces, whatever the order in which they came, and a new face changes it with the chance at which it is
drawn: at 100,000 faces one in a hundred does. Some more than `SIZE` are held, so that the catalog is seldom read again
after faces were removed; it is read at the start, and where changes were missed.

The crowd (`crowd.Crowd`) is made anew `QUIET` seconds after a change of the sample, and not before `REST` times as long
as it took the last time (0.2 s of a processor for a whole sample) has passed. While nothing changes, the thread sleeps.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from facewatchd.errors import StorageError
from facewatchd.expectation import calibration
from facewatchd.expectation.crowd import Crowd
from facewatchd.store.gallery import Gallery
from facewatchd.store.hub import Change, MissedChangesError
from facewatchd.threads.liveness import Liveness
from facewatchd.values import ModelInfo

log = logging.getLogger(__name__)

SIZE = 1024
"""Faces in the sample: a question compares with them in 0.2 ms."""
HELD = SIZE + SIZE // 4
QUIET = 0.5
REST = 50.0
_NO_BOUND = (1 << 64) - 1
"""The highest hash: all faces are held."""
STEPS = np.arange(0.0, 0.905, 0.01)
"""Similarities: a threshold above is none."""
_NEARLY = 1e-6
MANY = 5.0
"""Strangers that a usual question shows, from which on `Sampler.crowded` says so."""
RETRY = 60.0
"""Seconds after which the sample is made anew where it could not be."""


def drawn(ids: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return a hash of each id (the finalizer of splitmix64, Steele et al. 2014). Shape (n,)."""
    z = ids.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def lowest(ids: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return those of the ids with the lowest hashes, by their hashes."""
    hashes = drawn(ids)
    if len(ids) > count:
        first = np.argpartition(hashes, count)[:count]
        ids, hashes = ids[first], hashes[first]
    return ids[np.argsort(hashes)]


class Sampler(threading.Thread):
    """Start it once the gallery can be read. Any thread may ask for the `crowd`."""

    def __init__(self, gallery: Gallery, info: ModelInfo, liveness: Liveness) -> None:
        super().__init__(name="sampler")
        self._gallery = gallery
        self._info = info
        self._calibration = calibration.of(info.name, info.dim)
        self._liveness = liveness
        self._changes = gallery.hub.subscribe()
        self._ending = threading.Event()
        self._rows: dict[int, NDArray[np.float32]] = {}
        """The embeddings of the faces that are held, by id: of all faces with hashes up to the bound."""
        self._bound = _NO_BOUND
        self._known = False
        """Whether no change was missed since the catalog was read."""
        self._crowd = self._made_of({})
        self._usual = np.zeros(len(STEPS))
        """See `Crowd.usual`, for the similarities of `STEPS` as thresholds."""
        self._made = threading.Event()

    def crowd(self, wait: float = 2.0) -> Crowd:
        """Return the sample. Where there is none yet, right after the start, wait up to so many seconds for it."""
        self._made.wait(wait)
        return self._crowd

    def crowded(self, faces: int, threshold: float) -> str:
        """Return a line where a threshold passes more strangers than is useful in a gallery of so many faces.

        Of a recogniser that was not measured, their number is an upper bound, and the line says so. Empty where a usual
        question shows fewer than `MANY`. The line names a threshold that passes fewer than one.
        """
        expected = faces * float(np.interp(threshold, STEPS, self._usual))
        if expected < MANY:
            return ""
        better = next((step for step, each in zip(STEPS, faces * self._usual, strict=True) if each < 1), None)
        about = "about" if self._calibration.measured else "up to"
        return (
            f"with {faces} faces a question is expected to show {about} {expected:.0f} strangers above the threshold "
            f"{threshold:.2f}"
        ) + (f"; {better:.2f} keeps that under 1: --threshold, or `threshold` in the configuration" if better else "")

    def stop(self) -> None:
        """End the thread."""
        self._ending.set()
        self._changes.put(Change())  # wakes it
        if self.ident is not None:
            self.join()
        self._changes.close()

    def run(self) -> None:
        due = earliest = 0.0
        while not self._ending.is_set():
            self._liveness.beat()
            try:
                if due <= time.monotonic():
                    if not self._known:
                        self._read()
                    earliest, due = time.monotonic() + REST * self._make(), math.inf
                self._made.set()
                self._liveness.rest()
                if self._follow(due):
                    due = min(due, max(time.monotonic() + QUIET, earliest))
            except Exception as exc:
                if not isinstance(exc, StorageError):  # of which the state of the daemon tells
                    log.exception("the sample of the faces could not be made; it is tried again in %g seconds", RETRY)
                self._known, earliest = False, time.monotonic() + RETRY
                due = earliest
                self._made.set()  # no question waits for it

    def _read(self) -> None:
        with self._gallery.catalog.reading() as reader:
            every = reader.face_ids()
            ids, embeddings = reader.embeddings_of(lowest(every, HELD).tolist())
        self._known = True
        self._rows, self._bound = dict(zip(ids.tolist(), embeddings, strict=True)), _NO_BOUND
        if len(every) > HELD:
            self._bound = int(drawn(ids).max())

    def _make(self) -> float:
        """Make the crowd of the faces that are held; return the seconds that it took."""
        started = time.perf_counter()
        if self._bound != _NO_BOUND and len(self._rows) < SIZE:
            self._read()
        self._crowd = crowd = self._made_of(self._rows)
        self._made.set()
        widens = self._info.threshold - _NEARLY < STEPS  # as `ModelInfo.quality_at` has it
        self._usual = np.where(widens, crowd.usual(STEPS, self._info.quality), crowd.usual(STEPS, None))
        return time.perf_counter() - started

    def _made_of(self, rows: Mapping[int, NDArray[np.float32]]) -> Crowd:
        ids = lowest(np.fromiter(rows, np.int64, len(rows)), SIZE)
        with self._gallery.catalog.reading() as reader:
            shown = reader.contents_of(ids.tolist())
        ids = shown.ids
        embeddings = np.array([rows[face_id] for face_id in ids.tolist()], np.float32).reshape(len(ids), self._info.dim)
        return Crowd(ids, embeddings, shown.norms, self._info.threshold, self._calibration)

    def _follow(self, due: float) -> bool:
        """Wait for changes until a time, and apply them; return whether the crowd is to be made anew."""
        try:
            return self._apply(self._changes.take(None if due == math.inf else max(due - time.monotonic(), 0.0)))
        except MissedChangesError:
            self._known = False
            return True

    def _apply(self, changes: Iterable[Change]) -> bool:
        """Apply changes to the faces that are held; return whether one of these changed."""
        changed = False
        for change in changes:
            added = np.array(change.added, np.int64)
            for at in np.flatnonzero(drawn(added) <= np.uint64(self._bound)).tolist():
                self._rows[change.added[at]] = change.embeddings[at]
                changed = True
            for face_id in change.removed:
                changed |= self._rows.pop(face_id, None) is not None
        if len(self._rows) > HELD + SIZE:
            kept = lowest(np.fromiter(self._rows, np.int64, len(self._rows)), HELD)
            self._rows = {face_id: self._rows[face_id] for face_id in kept.tolist()}
            self._bound = int(drawn(kept).max())
        return changed
