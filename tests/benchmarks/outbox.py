"""What it costs to note which contents the shared engine is to be told of, while photos are recorded and afterwards.

Noting: the same photos are recorded in two catalogs by turns, one of which keeps an outbox. Many: catalogs of made-up
photos with one face each, at the first start with an engine, and with everything in the outbox.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from facewatchd.matches import Box
from facewatchd.store.catalog import Catalog, Outcome
from facewatchd.values import Face, Stamp
from tests.benchmarks import filling
from tests.benchmarks.options import Options
from tests.benchmarks.report import Report, median

DIM, FACES = 512, 3
SMALL_DIM = 16
"""Of the large catalogs: what is measured there reads no embeddings."""
PHOTOS = 8
"""In one transaction."""
BATCH = 256
"""Contents of a push (`shared.sender`)."""
MOST_RATIO = 2.0
"""Of the time to record a photo that is embedded already."""


def run(options: Options) -> Iterator[Report]:
    yield _noting(options)
    report = Report(
        "The outbox of many photos",
        ("photos", "first start, s", "count rest, ms", "put 2000, ms", "count, ms", f"read {BATCH}, ms", "note, ms"),
    )
    for count in options.faces:
        _many(options.work / f"outbox-{count}", count, report)
    report.notes.append(
        "First start with an engine: all is to be sent, and 2,000 contents at a time are put into the outbox as it is "
        "emptied. Medians, but for the first start. Count: with every photo in the outbox."
    )
    yield report


def _noting(options: Options) -> Report:
    report = Report(f"Recording a photo with {FACES} faces", ("outbox", "processor, ms a photo"))
    rows = filling.embeddings(300, DIM)
    with (
        closing(Catalog(options.work / "without.sqlite3", "model-0", DIM)) as without,
        closing(Catalog(options.work / "with.sqlite3", "model-0", DIM, sends=True)) as keeping,
    ):
        spent: dict[bool, list[float]] = {False: [], True: []}
        for turn in range(options.rounds(250)):
            outcomes = [_outcome(number, rows) for number in range(turn * PHOTOS, (turn + 1) * PHOTOS)]
            for sends in (False, True) if turn % 2 else (True, False):
                began = time.thread_time()
                (keeping if sends else without).record(outcomes)
                spent[sends].append(1e3 * (time.thread_time() - began) / PHOTOS)
    plain, noted = median(spent[False]), median(spent[True])
    report.row("none", plain)
    report.row("kept", noted)
    report.check("with an outbox, times as long", noted / plain, MOST_RATIO)
    report.notes.append("Medians of transactions, by turns. Embedding a photo takes 100 to 1,000 times as long.")
    return report


def _outcome(number: int, rows: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> Outcome:
    faces = [
        Face(Box(100 * place, 10, 50, 60), 0.9, np.zeros((5, 2), np.float32), rows[(number + place) % len(rows)], 20.0)
        for place in range(FACES)
    ]
    path = b"/photos/%04d/IMG_%08d.jpg" % (number // 500, number)
    digest = hashlib.blake2b(b"%d" % number, digest_size=32).digest()
    return Outcome(path, Stamp(1, number, 100, 1, 1), digest, 4000, 3000, faces)


def _many(place: Path, count: int, report: Report) -> None:
    place.mkdir()
    path = place / "catalog.sqlite3"
    with closing(Catalog(path, "model-0", SMALL_DIM)) as catalog:
        for first in range(0, count, 5000):
            vectors = filling.embeddings(min(5000, count - first), SMALL_DIM, seed=first)
            catalog.record(list(filling.portraits(first, vectors)))
    began = time.perf_counter()
    with closing(Catalog(path, "model-0", SMALL_DIM, sends=True)) as catalog:
        start = time.perf_counter() - began
        outbox = catalog.outbox
        assert outbox is not None
        with catalog.reading() as reader:
            rest = reader.outbox.rest()
            assert rest is not None
            counted_rest = _ms(lambda: reader.outbox.count_rest(rest))
        put = _ms(outbox.mark_rest, 5)
        while _rest(catalog):
            outbox.mark_rest()
        with catalog.reading() as reader:
            counted = _ms(reader.outbox.count)
            read = _ms(lambda: [reader.shown(digest) for _, digest in reader.outbox.first(BATCH)])
            seqs = [seq for seq, _ in reader.outbox.first(BATCH)]

        def note() -> None:
            outbox.sending("0" * 32)
            outbox.sent(seqs, "0" * 32)

        report.row(count, start, counted_rest, put, counted, read, _ms(note))


def _rest(catalog: Catalog) -> bool:
    with catalog.reading() as reader:
        return reader.outbox.rest() is not None


def _ms(call: Callable[[], object], times: int = 9) -> float:
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        spent.append(1e3 * (time.perf_counter() - began))
    return median(spent)
