"""How fast photos get into the index: the daemon against a plain loop, and against what the machine allows.

Three ways take turns on the same photos, all of them in the page cache, all models loaded:

* the plain loop: `cv2.imread` and `FaceAnalysis.get` at 640, one photo after the other, with everything that OpenCV and
  ONNX Runtime take by default;
* the limit: decoding and inference alone, on as many threads as there are cores, with one thread an inference. What
  is inferred is prepared before, and nothing is done with the outcome;
* the daemon: from `resume` with all photos in its queue until all of them are searchable and on the disk.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import cv2
import numpy as np
import onnxruntime
from insightface.app import FaceAnalysis
from numpy.typing import NDArray

from facewatchd.models import registry
from tests.benchmarks import album
from tests.benchmarks.daemons import Daemon, running
from tests.benchmarks.kernel import family
from tests.benchmarks.options import Options
from tests.benchmarks.report import Report, median

SIDES = (640, 128)
"""At which the daemon detects."""
MIN_SIZE = 40
"""Pixels: smaller faces are not indexed unless configured, and not compared here."""
SAME_FACE = 0.5
"""Intersection over union from which two boxes are of one face."""
CORES = len(os.sched_getaffinity(0))


class Seen(NamedTuple):
    """A face of one photo."""

    box: NDArray[np.float64]
    """Left, top, right, bottom."""
    embedding: NDArray[np.float32]
    """Unit length."""


@dataclass
class Times:
    """Seconds a photo, a value a round."""

    plain: list[float] = field(default_factory=list)
    limit: list[float] = field(default_factory=list)
    daemon: list[float] = field(default_factory=list)

    def ratio(self, one: str, other: str) -> float:
        """How many times as long the one took, by the median of the rounds."""
        pairs = zip(getattr(self, one), getattr(self, other), strict=True)
        return median([first / second for first, second in pairs])


def run(options: Options) -> Iterator[Report]:
    if options.pack.directory is None:
        yield Report("Import", ["pack"], [(options.pack.name,)], notes=["The plain loop is of InsightFace's packs."])
        return
    for title, photos in (
        ("mixed photos of 1.9 megapixels", album.mixed(options, 8 if options.quick else 64)),
        ("phone photos of 12 megapixels and more", album.phone(options, 4 if options.quick else 24)),
    ):
        if photos:
            yield _compared(options, title, photos)


def _compared(options: Options, title: str, photos: list[Path]) -> Report:
    plain, times = PlainLoop(options.pack), Times()
    expected = plain.seen(photos)
    limit = Limit(options.pack, photos)
    home = options.work / f"importing-{photos[0].parent.name}"
    root = home / "root"
    root.mkdir(parents=True)
    warm_up = album.marked(photos[0].read_bytes(), 0)
    (root / "first.jpg").write_bytes(warm_up)
    with running(home, [root], options.pack, watch="settle = 0") as daemon:
        daemon.call("wait", timeout=600)
        rest = _memory(daemon.pid, anew=True)
        for number in range(1, options.rounds(5) + 1):
            times.plain.append(_timed(lambda: plain.run(photos)) / len(photos))
            times.limit.append(_timed(lambda: limit.run(photos)) / len(photos))
            times.daemon.append(_import(daemon, root, photos, number) / len(photos))
        growth = _memory(daemon.pid) - rest
        agreement = Agreement()
        for faces in zip(expected, _catalogued(home, root / "1", photos), strict=True):
            agreement.add(*faces)
    return _report(title, photos, times, agreement, growth, rest)


def _import(daemon: Daemon, root: Path, photos: list[Path], mark: int) -> float:
    """Seconds from `resume` until all of the photos are searchable. Their content is new to the daemon."""
    daemon.call("pause")
    directory = root / str(mark)
    directory.mkdir()
    for path in photos:
        (directory / path.name).write_bytes(album.marked(path.read_bytes(), mark))
    daemon.until(lambda status: status["pending"] >= len(photos))
    goal = daemon.call("status")["rates"]["embedded"] + len(photos)
    started = time.perf_counter()
    daemon.call("resume")
    daemon.call("wait", timeout=3600)
    seconds = time.perf_counter() - started
    if daemon.call("status")["rates"]["embedded"] != goal:
        raise SystemExit("the daemon has not embedded each photo once")
    return seconds


class PlainLoop:
    """What a script does."""

    def __init__(self, pack: registry.Pack) -> None:
        self._analysis = FaceAnalysis(name=str(pack.directory), allowed_modules=["detection", "recognition"])
        self._analysis.prepare(ctx_id=0, det_size=(640, 640))

    def run(self, photos: list[Path]) -> None:
        for path in photos:
            self._analysis.get(cv2.imread(str(path)))

    def seen(self, photos: list[Path]) -> list[list[Seen]]:
        """The faces of each photo, those of `MIN_SIZE`."""
        found = [map(_seen, self._analysis.get(cv2.imread(str(path)))) for path in photos]
        return [[face for face in faces if min(face.box[2:] - face.box[:2]) >= MIN_SIZE] for faces in found]


def _seen(face: Any) -> Seen:
    return Seen(np.asarray(face.bbox, np.float64), face.normed_embedding)


class Limit:
    """Decoding and inference, perfectly overlapped.

    What the networks are given is prepared before, and is what InsightFace gives them for these very photos: a
    recogniser takes nearly twice as long for a face as for black.
    """

    def __init__(self, pack: registry.Pack, photos: list[Path], threads: int = 1, callers: int = CORES) -> None:
        """``threads``: of one inference."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        analysis = FaceAnalysis(
            name=str(pack.directory),
            allowed_modules=["detection", "recognition"],
            sess_options=options,
            static_shape_sessions=False,
        )
        analysis.prepare(ctx_id=0, det_size=[(side, side) for side in SIDES])
        self._callers = callers
        self._runs: list[list[tuple[Any, Any]]] = []
        """For each photo the sessions that are run, each with what it is given."""
        with _noted(analysis.models.values()) as noted:
            for path in photos:
                analysis.get(cv2.imread(str(path)))
                self._runs.append(noted[:])
                noted.clear()

    def run(self, photos: list[Path]) -> None:
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        with ThreadPoolExecutor(self._callers) as pool:
            list(pool.map(self.one, photos, range(len(photos))))
        cv2.setNumThreads(threads)

    def one(self, path: Path, number: int) -> None:
        cv2.imread(str(path))
        for session, inputs in self._runs[number]:
            session.run(None, inputs)


@contextlib.contextmanager
def _noted(models: Iterable[Any]) -> Iterator[list[tuple[Any, Any]]]:
    """Have every run of the models' sessions noted: the session, and what it is given."""
    noted: list[tuple[Any, Any]] = []
    with contextlib.ExitStack() as stack:
        for model in models:
            session, run = model.session, model.session.run

            def note(names: Any, inputs: Any, *, session: Any = session, run: Any = run) -> Any:
                noted.append((session, {name: value.copy() for name, value in inputs.items()}))
                return run(names, inputs)

            stack.enter_context(patch.object(session, "run", note))
        yield noted


@dataclass
class Agreement:
    """How the daemon's faces compare with the plain loop's."""

    faces: int = 0
    """That the plain loop found."""
    missing: int = 0
    """Of these, where the daemon has none."""
    more: int = 0
    """That the daemon found besides, at 128."""
    cosines: list[float] = field(default_factory=list)
    """Of their embeddings, a value for each face of the plain loop."""

    def add(self, plain: list[Seen], daemon: list[Seen]) -> None:
        """Count one photo."""
        self.faces += len(plain)
        for face in plain:
            same, overlap = _best(face, daemon)
            found = same is not None and overlap >= SAME_FACE
            self.missing += not found
            self.cosines.append(float(face.embedding @ same.embedding) if same and found else 0.0)
        self.more += len(daemon) - len(plain)


def _best(face: Seen, others: list[Seen]) -> tuple[Seen | None, float]:
    """Which of the others is at most the same place, and their overlap."""
    return max(((other, _overlap(face, other)) for other in others), key=lambda each: each[1], default=(None, 0.0))


def _overlap(one: Seen, other: Seen) -> float:
    """Intersection over union."""
    sides = np.minimum(one.box[2:], other.box[2:]) - np.maximum(one.box[:2], other.box[:2])
    shared = float(np.prod(sides.clip(0)))
    areas = [float(np.prod(face.box[2:] - face.box[:2])) for face in (one, other)]
    return shared / (sum(areas) - shared)


def _catalogued(home: Path, directory: Path, photos: list[Path]) -> list[list[Seen]]:
    """What the daemon recorded of its copies of the photos."""
    (catalog,) = (home / "data").glob("*/catalog.sqlite3")
    seen = []
    with sqlite3.connect(f"file:{catalog}?mode=ro", uri=True) as db:
        for path in photos:
            rows = db.execute(
                "SELECT x, y, w, h, embedding FROM face JOIN photo USING (content_id) WHERE path = ?",
                (os.fsencode(directory / path.name),),
            )
            seen.append(
                [
                    Seen(np.array([x, y, x + w, y + h], np.float64), np.frombuffer(blob, "<f4"))
                    for x, y, w, h, blob in rows
                ]
            )
    return seen


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _memory(pid: int, *, anew: bool = False) -> int:
    """The most bytes that the daemon and its children had, each for itself; ``anew``: from now on."""
    total = 0
    for each in family(pid):
        if anew:
            Path(f"/proc/{each}/clear_refs").write_text("5")
        status = Path(f"/proc/{each}/status").read_text()
        total += next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) << 10
    return total


def _report(title: str, photos: list[Path], times: Times, agreement: Agreement, growth: int, rest: int) -> Report:
    report = Report(f"Import: {len(photos)} {title}", ["way", "ms a photo", "photos/s", "of the plain loop's"])
    for name, ways in (("plain loop", times.plain), ("limit", times.limit), ("daemon", times.daemon)):
        key = name.split()[0]
        report.row(name, 1000 * median(ways), 1 / median(ways), times.ratio("plain", key))
    largest = max(album.pixels(path) for path in photos)
    report.notes += [
        f"Medians of {len(times.daemon)} rounds in which the three take turns, {CORES} cores.",
        f"The plain loop finds {agreement.faces} faces; the daemon finds all but {agreement.missing} of them, with "
        f"embeddings of a cosine of {min(agreement.cosines, default=1.0):.5f} or more, and {agreement.more} besides. "
        "The limit detects in the whole square, as the plain loop does; the daemon leaves out black beside the photo.",
        f"Memory of all its processes: {rest >> 20} MB before, {growth >> 20} MB more at most during the import, with "
        f"{len(photos)} photos waiting; the largest has {largest / 1e6:.0f} megapixels.",
    ]
    if CORES >= 2:
        report.check("photos/s against the plain loop", times.ratio("plain", "daemon"), 1.7, at_least=True)
    report.check("photos/s against the limit", times.ratio("limit", "daemon"), 0.85, at_least=True)
    report.check("faces that only the plain loop finds", agreement.missing, 0)
    report.check(
        "least cosine to the plain loop's embedding", min(agreement.cosines, default=1.0), 0.999, at_least=True
    )
    if largest >= 12_000_000:  # where the images are most of it
        decoded = 7 * largest  # four bytes a pixel in the decoder, three in the result; the allocator keeps some
        report.check("growth of memory, in decoded images", growth / decoded, 2 * CORES)
    return report
