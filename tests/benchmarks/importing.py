"""How fast photos get into the index: the daemon against a plain loop, and against what the machine allows.

Four ways take turns on the same photos, all of them in the page cache, all models loaded:

* the plain loop of a script that uses the same model (`loops`), with the detector's square of the same side;
* the limit: the daemon's decoder and networks alone, on as many threads as there are cores, with one thread an
  inference. What is inferred is prepared before, and nothing is done with the outcome;
* the daemon: from `resume` with all photos in its queue until all of them are searchable and on the disk. It runs at
  the plain loop's priority, so that other programs disturb both alike;
* a daemon whose configuration fixes the side at 640.

Processor time is that of all threads of this process, or of the daemon and its children. The plain loop's threads wait
for each other in a loop, which counts as well.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.benchmarks import album, loops
from tests.benchmarks.daemons import Daemon, running
from tests.benchmarks.kernel import family, threads
from tests.benchmarks.loops import CORES, Seen
from tests.benchmarks.options import Options
from tests.benchmarks.report import Report, median

LEAST_COSINE = 0.98
"""Of the embedding of a face by the plain loop and by the daemon: 0.99999 with YuNet and SFace, but 0.991 for one of 45
faces on photos that EXIF data turns. OpenCV rounds a scaled photo otherwise by 1 of 255 where it is turned afterwards,
which moves the landmarks."""
SAME_FACE = 0.5
"""Intersection over union from which two boxes are of one face."""


PLAIN, LIMIT, DAEMON, SMALL = "plain loop", "limit", "daemon", "daemon, detector_size = 640"


class Cost(NamedTuple):
    """Seconds."""

    wall: float
    processor: float


Costs = dict[str, list[Cost]]
"""Of all photos by way, a value a round."""


def run(options: Options) -> Iterator[Report]:
    for title, photos in (
        ("mixed photos of 1.9 megapixels", album.mixed(options, 8 if options.quick else 64)),
        ("phone photos of 12 megapixels and more", album.phone(options, 4 if options.quick else 24)),
    ):
        if photos:
            yield _compared(options, f"{len(photos)} {title}", photos)


def _compared(options: Options, title: str, photos: list[Path]) -> Report:
    plain = loops.plain_loop(options.pack)
    expected = loops.seen(plain, photos)
    limit = loops.Limit(options.pack, photos)
    home = options.work / f"importing-{photos[0].parent.name}"
    with (
        _importing(options, home, photos, "") as daemon,
        _importing(options, home / "640", photos, "detector_size = 640") as small,
    ):
        rest = daemon.memory(anew=True)
        ways: dict[str, Callable[[], Cost]] = {
            PLAIN: lambda: _cost(time.process_time, lambda: [plain.faces(path) for path in photos]),
            LIMIT: lambda: _cost(time.process_time, lambda: limit.run(photos)),
            DAEMON: daemon.run,
            SMALL: small.run,
        }
        costs: Costs = {way: [] for way in ways}
        for _ in range(options.rounds(5)):
            for way, run in ways.items():
                costs[way].append(run())
        growth = max(0, daemon.memory() - rest)
        agreement = Agreement()
        for faces in zip(expected, daemon.catalogued(), strict=True):
            agreement.add(*faces)
    return _report(title, photos, costs, agreement, growth, rest)


class Importer:
    """A daemon that imports the same photos again and again, each time as files whose content is new to it."""

    def __init__(self, daemon: Daemon, root: Path, photos: list[Path]) -> None:
        self._daemon = daemon
        self._root = root
        self._photos = photos
        self._mark = 0

    def run(self) -> Cost:
        """The cost from `resume` until all of the photos are searchable."""
        self._daemon.call("pause")
        self._mark += 1
        directory = self._root / str(self._mark)
        directory.mkdir()
        for path in self._photos:
            (directory / path.name).write_bytes(album.marked(path.read_bytes(), self._mark))
        self._daemon.until(lambda status: status["pending"] >= len(self._photos))
        goal = self._daemon.call("status")["rates"]["embedded"] + len(self._photos)
        cost = _cost(self._processor, self._finish)
        if self._daemon.call("status")["rates"]["embedded"] != goal:
            raise SystemExit("the daemon has not embedded each photo once")
        return cost

    def _finish(self) -> None:
        self._daemon.call("resume")
        self._daemon.call("wait", timeout=3600)

    def _processor(self) -> float:
        return sum(thread.seconds for thread in threads(self._daemon.pid).values())

    def memory(self, *, anew: bool = False) -> int:
        """The most bytes that the daemon and its children had, each for itself; ``anew``: from now on."""
        total = 0
        for each in family(self._daemon.pid):
            if anew:
                Path(f"/proc/{each}/clear_refs").write_text("5")
            status = Path(f"/proc/{each}/status").read_text()
            total += next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) << 10
        return total

    def catalogued(self) -> list[list[Seen]]:
        """What was recorded of each photo, in the first run."""
        (catalog,) = (self._daemon.home / "data").glob("*/catalog.sqlite3")
        with sqlite3.connect(f"file:{catalog}?mode=ro", uri=True) as db:
            return [[_row(*row) for row in db.execute(_FACES, (self._copy(path),))] for path in self._photos]

    def _copy(self, path: Path) -> bytes:
        return os.fsencode(self._root / "1" / path.name)


_FACES = "SELECT x, y, w, h, embedding FROM face JOIN photo USING (content_id) WHERE path = ?"


def _row(x: int, y: int, w: int, h: int, embedding: bytes) -> Seen:
    return Seen(np.array([x, y, x + w, y + h], np.float64), np.frombuffer(embedding, "<f4"))


@contextmanager
def _importing(options: Options, home: Path, photos: list[Path], faces: str) -> Iterator[Importer]:
    """Start a daemon that has its model loaded. ``faces``: lines of that table of its configuration."""
    root = home / "root"
    root.mkdir(parents=True)
    (root / "first.jpg").write_bytes(album.marked(photos[0].read_bytes(), 0))
    faces = f"second_look = false\n{faces}"  # it would go on while the others are measured
    config = {"watch": "settle = 0", "resources": "idle_priority = false", "faces": faces}
    with running(home, [root], options.pack, **config) as daemon:
        daemon.call("wait", timeout=600)
        yield Importer(daemon, root, photos)


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


def _cost(processor: Callable[[], float], work: Callable[[], object]) -> Cost:
    """``processor`` tells the processor time so far."""
    started = time.perf_counter(), processor()
    work()
    return Cost(time.perf_counter() - started[0], processor() - started[1])


def _report(title: str, photos: list[Path], costs: Costs, agreement: Agreement, growth: int, rest: int) -> Report:
    report = Report(f"Import: {title}", ["way", "ms a photo", "of the plain loop's", "processor ms", "of its"])
    for way, all_costs in costs.items():
        wall, processor = (1000 * median(values) / len(photos) for values in zip(*all_costs, strict=True))
        report.row(way, wall, _ratio(costs, PLAIN, way).wall, processor, _ratio(costs, PLAIN, way).processor)
    largest = max(album.pixels(path) for path in photos)
    least = min(agreement.cosines, default=1.0)
    report.notes += [
        f"Medians of {len(costs[DAEMON])} rounds in which all take turns, {CORES} cores.",
        f"The plain loop finds {agreement.faces} faces; the daemon finds all but {agreement.missing} of them, with "
        f"embeddings of a cosine of {least:.5f} or more, and {agreement.more} besides.",
        f"Memory of all its processes: {rest >> 20} MB before, {growth >> 20} MB more at most during the import, with "
        f"{len(photos)} photos waiting; the largest has {largest / 1e6:.0f} megapixels.",
    ]
    if CORES >= 2:
        report.check("photos/s against the plain loop", _ratio(costs, PLAIN, DAEMON).wall, 1.7, at_least=True)
    report.check("photos/s against the limit", _ratio(costs, LIMIT, DAEMON).wall, 0.85, at_least=True)
    report.check("faces that only the plain loop finds", agreement.missing, 0)
    report.check("least cosine to the plain loop's embedding", least, LEAST_COSINE, at_least=True)
    if largest >= 12_000_000:  # where the images are most of it
        decoded = 7 * largest  # four bytes a pixel in the decoder, three in the result; the allocator keeps some
        report.check("growth of memory, in decoded images", growth / decoded, 2 * CORES)
    return report


def _ratio(costs: Costs, one: str, other: str) -> Cost:
    """How many times as much the one took, by the median of the rounds."""
    pairs = list(zip(costs[one], costs[other], strict=True))
    return Cost(*(median([first[at] / second[at] for first, second in pairs]) for at in range(2)))
