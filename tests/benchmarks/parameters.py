"""Which parameters the index needs: links of a face, and the breadth of a search, against recall and time.

`graph.M` and `graph.EF` were chosen by this table.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from facewatchd.store import graph as module
from facewatchd.store.graph import Graph
from tests.benchmarks import gallery as faces
from tests.benchmarks.options import Options
from tests.benchmarks.report import Report, median, percentile

COLUMNS = ("links", "breadth", "recall", "worst person", "p50 ms", "p99 ms", "built/s, 2 threads")
LINKS = (16, 32, 48)
BREADTHS = (100, 200, 300, 400)
QUESTIONS = 1500
FIRST_K, GROWTH = 64, 4


def run(options: Options) -> Iterator[Report]:
    count = sorted(options.faces)[len(options.faces) // 2]
    people = faces.make(count)
    rows = np.random.default_rng(5).choice(count, options.rounds(QUESTIONS), replace=False)
    truth = [row >= faces.THRESHOLD for row in people.vectors[rows] @ people.vectors.T]
    report = Report(f"Parameters of the index, {count:,} faces", COLUMNS)
    for links in LINKS:
        with patch.object(module, "M", links):
            index = Graph(faces.DIM)
        started = time.perf_counter()
        index.add(np.arange(count), people.vectors, threads=2)
        rate = count / (time.perf_counter() - started)
        for breadth in BREADTHS:
            index._index.set_ef(breadth)
            report.row(links, breadth, *_measure(index, people, rows, truth), rate)
    report.notes.append(
        "All faces above the threshold are asked for, by faces of the index; ef_construction is "
        f"{module.EF_CONSTRUCTION}. What few links cost in recall, no breadth brings back."
    )
    yield report


def _measure(
    index: Graph, people: faces.People, rows: NDArray[np.int64], truth: list[NDArray[np.bool_]]
) -> tuple[float, float, float, float]:
    """Recall of all, recall of the person for whom it is worst, and milliseconds of a search."""
    times, hits = [], []
    for row, right in zip(rows, truth, strict=True):
        started = time.perf_counter()
        ids, similarities = _above(index, people.vectors[row])
        times.append((time.perf_counter() - started) * 1000)
        hits.append(int(right[ids[similarities >= faces.THRESHOLD]].sum()))
    wanted = [int(right.sum()) for right in truth]
    persons = np.unique(people.identity[rows], return_inverse=True)[1]
    by_person = np.bincount(persons, hits) / np.bincount(persons, wanted)
    return sum(hits) / sum(wanted), float(by_person.min()), median(times), percentile(times, 99)


def _above(index: Graph, vector: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The faces above the threshold, and some below, as `Gallery.nearest` asks for them."""
    k = FIRST_K
    while True:
        ids, similarities = index.nearest(vector, k)
        if similarities[-1] < faces.THRESHOLD or k * GROWTH > len(index) // 2:
            return ids, similarities
        k *= GROWTH
