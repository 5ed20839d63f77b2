"""What one more photo costs when 1,000, 10,000 and 100,000 are known, and what a question costs then."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from facewatchd.photos import files
from facewatchd.store.catalog import Catalog, Changes, Outcome
from facewatchd.store.gallery import Gallery
from facewatchd.store.hnsw import HnswIndex
from facewatchd.store.index import Upkeep
from tests.benchmarks import filling, kernel, timing
from tests.benchmarks.daemons import Daemon, running
from tests.benchmarks.options import Options
from tests.benchmarks.report import Report, median

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZES = (1_000, 10_000, 100_000)
DIM = 512
AROUND = 0.1
"""A size's cost is the median of the batches that begin within so much of it."""
CHECKPOINT_CHANGES = 5000
"""Photos with a face each between two checkpoints of an import, at least."""
FLAT = 1.5
NEW = 300
"""Photos that a daemon is given at each size."""


def run(options: Options) -> Iterator[Report]:
    sizes = (1000, 2000) if options.quick else SIZES
    with tempfile.TemporaryDirectory(dir=options.work) as place:
        (photo,) = filling.copies(Path(place) / "photos", 1)
        inference = timing.inference(options.pack, photo, options.rounds(20))
        yield _pipeline(sizes, Path(place), inference, options.work / "growth.png")
    yield _daemons(sizes, options)


# Behind inference: digest, catalog, index


def _pipeline(sizes: Sequence[int], place: Path, inference: float, picture: Path) -> Report:
    report = Report(
        "One more photo with a face, by how many there are",
        ("photos", "digest (ms)", "catalog (ms)", "index (ms)", "checkpoint (s)", "its share (ms)", "all (ms)"),
    )
    digest = _digest()
    catalog = _TimedCatalog(place / "catalog.sqlite3", "growth-00000000", DIM)
    gallery = Gallery(catalog, HnswIndex(catalog, place))
    gallery.index.maintain(Upkeep())
    costs = _Costs()
    checkpoints = {}
    for size in sizes:
        _grow(gallery, catalog, costs, size + int(AROUND * size))
        checkpoints[size] = timing.timed(lambda: gallery.index.maintain(Upkeep(), last=True))
    catalog.close()
    rows = {}
    for size in sizes:
        in_catalog, in_index = costs.around(size)
        share = checkpoints[size] / CHECKPOINT_CHANGES
        rows[size] = (digest, 1000 * in_catalog, 1000 * in_index, 1000 * share)
        report.row(size, digest, 1000 * in_catalog, 1000 * in_index, checkpoints[size], 1000 * share, sum(rows[size]))
    first, before, last = rows[sizes[0]], rows[sizes[-2]], rows[sizes[-1]]
    grown = (1000 * inference + sum(last)) / (1000 * inference + sum(first))
    report.check(f"times a photo's cost at {sizes[0]:,}, inference included, at {sizes[-1]:,}", grown, 1.1)
    report.check(f"times the catalog's cost at {sizes[-2]:,}, at {sizes[-1]:,}", last[1] / before[1], FLAT)
    report.notes = [
        f"Batches of {filling.BATCH} photos as the writer takes them, one commit each, {DIM} dimensions, ten photos of",
        "each person; medians. In the catalog the index of the digests costs one more page a photo once it has more",
        "pages than a batch has photos, and no more than that. A graph's inserts grow with the logarithm of its size.",
        f"A checkpoint writes everything; its share is that of one in {CHECKPOINT_CHANGES:,} photos, at most 2 % of",
        f"the writer's time. Decoding and inference of a photo take {1000 * inference:.0f} ms on one thread.",
        _draw(costs, sizes, picture),
    ]
    return report


class _TimedCatalog(Catalog):
    """Knows how long it took to write."""

    seconds = 0.0

    def record(self, outcomes: Sequence[Outcome]) -> Changes:
        started = time.perf_counter()
        changes = super().record(outcomes)
        self.seconds += time.perf_counter() - started
        return changes


class _Costs:
    """Seconds a photo of each batch, in the catalog and in the index, by how many photos there were."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.catalog: list[float] = []
        self.index: list[float] = []

    def note(self, size: int, catalog: float, index: float) -> None:
        self.sizes.append(size)
        self.catalog.append(catalog)
        self.index.append(index)

    def around(self, size: int) -> tuple[float, float]:
        near = [n for n, there in enumerate(self.sizes) if abs(there - size) <= AROUND * size]
        return median([self.catalog[n] for n in near]), median([self.index[n] for n in near])

    @property
    def known(self) -> int:
        return self.sizes[-1] + filling.BATCH if self.sizes else 0


def _grow(gallery: Gallery, catalog: _TimedCatalog, costs: _Costs, size: int) -> None:
    while costs.known < size:
        outcomes = list(filling.portraits(costs.known, _people(costs.known, filling.BATCH)))
        before = catalog.seconds
        taken = timing.timed(lambda batch=outcomes: gallery.record(batch))  # type: ignore[misc]
        in_catalog = catalog.seconds - before
        costs.note(costs.known, in_catalog / filling.BATCH, (taken - in_catalog) / filling.BATCH)


def _people(first: int, count: int) -> NDArray[np.float32]:
    """Embeddings of ten photos of each person, who are spread over the whole import."""
    persons = filling.embeddings(count, DIM, seed=first % (1000 * filling.BATCH) // filling.BATCH // 10)
    rows = persons + 0.8 * filling.embeddings(count, DIM, seed=10_000 + first)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def _digest() -> float:
    """Milliseconds that the digest of a photo of two megabytes takes."""
    data = os.urandom(2_000_000)
    return 1000 * median([timing.timed(lambda: files.digest(data)) for _ in range(20)])


def _draw(costs: _Costs, sizes: Sequence[int], picture: Path) -> str:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return "No plot: matplotlib is not installed (extra `bench`)."
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    step = max(1, len(costs.sizes) // 200)
    for name, values in (("catalog", costs.catalog), ("index", costs.index)):
        smooth = [median(values[n : n + step]) for n in range(0, len(values), step)]
        axes.plot(costs.sizes[::step], [1000 * value for value in smooth], label=name)
    axes.set(xlabel="photos known", ylabel="ms for one more", xlim=(0, sizes[-1]), ylim=(0, None))
    axes.set_title("Cost of one more photo behind inference")
    axes.legend()
    figure.savefig(picture, dpi=120)
    return f"Plot: {picture}"


# The daemon


def _daemons(sizes: Sequence[int], options: Options) -> Report:
    report = Report(
        "The daemon, by how many photos it knows",
        ("photos", "a new photo of known bytes (ms of CPU)", "wall (ms)", "`status` (ms)", "`why` (ms)", "query (ms)"),
    )
    costs = []
    for size in sizes:
        with tempfile.TemporaryDirectory(dir=options.work) as place:
            figures = _daemon(Path(place), size, options)
        costs.append(figures[0])
        report.row(size, *figures)
    report.check(f"times the CPU of a photo at {sizes[0]:,}, at {sizes[-1]:,}", costs[-1] / costs[0], FLAT)
    report.notes = [
        f"{NEW} files with the bytes of one that is known are renamed into the directory: events, settling, reading,",
        "digest, catalog; no inference. Processor time of the daemon. Questions: medians, with a connection each.",
    ]
    return report


def _daemon(place: Path, size: int, options: Options) -> tuple[float, float, float, float, float]:
    root = place / "photos"
    paths = filling.make_files(root, size, max(1, size // 500))
    filling.fill_catalog(place / "home", root, options.pack, paths, faces=True)
    twin = paths[0]
    spare = place / "spare"
    spare.mkdir()
    data = Path(os.fsdecode(twin)).read_bytes()
    for number in range(NEW):
        (spare / f"new {number}.bmp").write_bytes(data)
    with running(place / "home", [root], options.pack) as daemon:
        daemon.until(lambda status: status["state"] == "idle" and status["index"]["faces"] == size)
        time.sleep(0.0 if options.quick else 10.0)  # for a checkpoint to be made, and to end
        face = daemon.call("why", path=os.fsdecode(twin))["faces"][0]["face_id"]
        status, why, query = (
            1000 * median([timing.timed(question) for _ in range(30)])
            for question in (
                lambda: daemon.call("status"),
                lambda: daemon.call("why", path=os.fsdecode(paths[-1])),
                lambda: daemon.call("query", faces=[face], top=20),
            )
        )
        cpu, wall = _take_in(daemon, spare, root)
    return cpu, wall, status, why, query


def _take_in(daemon: Daemon, spare: Path, root: Path) -> tuple[float, float]:
    """Milliseconds of CPU and of time that a photo takes."""
    album = root / "new"
    album.mkdir()
    daemon.call("wait")
    known = daemon.call("status")["photos"]
    before = kernel.threads(daemon.pid)
    started = time.perf_counter()
    for photo in spare.iterdir():
        photo.rename(album / photo.name)
    ended = daemon.until(lambda status: status["photos"] == known + NEW and not status["pending"], every=0.25)
    after = kernel.threads(daemon.pid)
    own = {tid: thread for tid, thread in after.items() if thread.process == daemon.pid}
    return 1000 * sum(kernel.seconds(before, own).values()) / NEW, 1000 * (ended - started) / NEW
