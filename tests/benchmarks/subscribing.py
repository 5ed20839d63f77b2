"""Subscriptions while photos are recorded as fast as the catalog takes them, in the daemon's transactions of 64.

Each subscriber asks for another person and is told of one photo. Measured is what a transaction takes, the processor
time of the whole, and how long after the last transaction the last subscriber had a cursor close to the end.
"""

from __future__ import annotations

import contextlib
import select
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import cast

from facewatchd.api.faces import FaceFinder
from facewatchd.api.parameters import QueryParameters, SubscribeParameters
from facewatchd.api.standing import StandingQuery
from facewatchd.api.subscribe import STEP, Subscriptions
from facewatchd.inference.pool import Inference
from facewatchd.server.stream import Sink
from facewatchd.store.catalog import Catalog
from facewatchd.store.flat import FlatIndex
from facewatchd.store.gallery import Gallery
from facewatchd.store.scoring import Search
from facewatchd.store.seen import SeenStore
from facewatchd.threads.bounded_calls import DiskCalls
from facewatchd.values import ModelInfo
from tests.benchmarks import filling
from tests.benchmarks.options import Options
from tests.benchmarks.report import Report, median, percentile
from tests.support.known_people import scorer

DIM = 512
PHOTOS = 10_000
SUBSCRIBERS = (0, 1, 8, 64)
INFO = ModelInfo("made-00000000", "made", DIM, 0.5)
PATIENCE = 120.0
"""Seconds for the last subscriber to be told everything."""
COLUMNS = ("subscribers", "ms a transaction", "90 %", "recorded in, s", "processor s", "told after, s")


class Client:
    """Takes what is sent at once; hangs up when it was told of a number of lines."""

    def __init__(self, lines: int) -> None:
        self._lines = lines
        self.told = threading.Event()
        self.matches = 0

    def send(self, method: str, params: Mapping[str, object]) -> None:
        self.matches += method == "match"
        if int(str(params["cursor"]).split(".")[1]) >= self._lines:
            self.told.set()

    def wait(self, wake: int | None, seconds: float) -> None:
        if self.told.is_set():
            raise ConnectionAbortedError
        if wake is None:
            self.told.wait(seconds)
        else:
            select.select([wake], [], [], min(seconds, 1.0))


def run(options: Options) -> Iterator[Report]:
    photos = options.rounds(PHOTOS)
    report = Report(f"{photos:,} photos recorded beside subscriptions", COLUMNS)
    for count in SUBSCRIBERS:
        report.row(count, *_recorded(options.work / f"subscribing-{count}", photos, count))
    report.notes.append("Each photo has one face. Nothing but the catalog, an index in memory and the subscriptions.")
    yield report


def _recorded(directory: Path, photos: int, count: int) -> tuple[float, ...]:
    directory.mkdir(parents=True)
    with contextlib.closing(Catalog(directory / "catalog.sqlite3", INFO.id, DIM)) as catalog:
        gallery = Gallery(catalog, FlatIndex(DIM))
        rows = filling.embeddings(photos, DIM, seed=0)
        finder = FaceFinder(catalog, cast(Inference, None), DiskCalls())

        def standing(asked: QueryParameters) -> StandingQuery:
            return StandingQuery(gallery, finder, scorer(gallery, INFO), INFO, asked, Search(INFO.threshold))

        with contextlib.closing(SeenStore(directory / "seen.sqlite3")) as seen:
            subscriptions = Subscriptions(gallery, seen, standing, pending=lambda: False)
            clients = [Client(photos - STEP) for _ in range(count)]
            for client, row in zip(clients, rows[:count].tolist(), strict=True):
                stream = subscriptions.subscribe(SubscribeParameters(embedding=tuple(row)))
                threading.Thread(target=_served, args=(stream.run, client)).start()
            cpu, began = time.process_time(), time.monotonic()
            times = []
            portraits = list(filling.portraits(0, rows))
            for first in range(0, photos, filling.BATCH):
                started = time.perf_counter()
                gallery.record(portraits[first : first + filling.BATCH])
                times.append((time.perf_counter() - started) * 1000)
            ended = time.monotonic()
            assert all(client.told.wait(PATIENCE) and client.matches for client in clients)
            told = time.monotonic() - ended
            return median(times), percentile(times, 90), ended - began, time.process_time() - cpu, told


def _served(run: Callable[[Sink], None], client: Client) -> None:
    with contextlib.suppress(ConnectionAbortedError):
        run(client)
