"""What users said of faces: whether it finds the faces of another model again, and what it costs a question to know.

Overlap: every picture at hand is shown to each pack at hand, and each face of one pack is held against the nearest of
another's. Cost: statements about faces of a made-up catalog, and what brings them up to date after each kind of change.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from facewatchd.config import Faces
from facewatchd.models import registry
from facewatchd.people.known import Resolver
from facewatchd.people.statements import SAME_FACE, NewStatement, RelativeBox
from facewatchd.people.store import PeopleStore
from facewatchd.photos import files
from facewatchd.store import hub
from facewatchd.store.catalog import Catalog
from facewatchd.store.catalog_index import CatalogIndex
from facewatchd.store.gallery import Gallery
from tests.benchmarks import album, filling
from tests.benchmarks.options import SHARED, Options
from tests.benchmarks.report import Report, median
from tests.support import packs

DIM = 192
STATEMENTS = 10_000
PEOPLE = 100
COLUMNS = (
    *("faces", "say all, s", "open, ms", "first, ms", "again, ms", "a photo came, ms"),
    *("one more said, ms", "after it, ms", "changes missed, ms"),
)
MOST_MS = 10.0
"""What knowing the faces may add to a question while photos come in or names are given."""


def run(options: Options) -> Iterator[Report]:
    yield _overlaps()
    report = Report(f"What {STATEMENTS:,} statements cost", COLUMNS)
    for count in options.faces:
        _cost(options, count, report)
    report.notes.append(
        "Medians. First: by a thread, after the start; then by a question without a change, by one after a photo was "
        "recorded, and by one after another statement was said, beside what saying it takes; the last where the hub "
        "dropped changes."
    )
    yield report


def _overlaps() -> Report:
    """Hold the faces of each pack against those of each other one."""
    report = Report("Faces of one pack that another finds", ["pack", "other", "faces", "not seen", "least", "median"])
    roots = {"opencv": packs.FETCHED, "scrfd25g_mfn": SHARED / "insightface", "scrfd500m_mfn": SHARED / "insightface"}
    found = {name: pack for name, root in roots.items() if (pack := registry.find(name, root)) is not None}
    boxes = {name: _boxes(pack) for name, pack in found.items()}
    for one, other in itertools.permutations(found, 2):
        best = [
            max((box.overlap(near) for near in theirs), default=0.0)
            for own, theirs in zip(boxes[one], boxes[other], strict=True)
            for box in own
        ]
        seen = [overlap for overlap in best if overlap]
        report.row(one, other, len(best), len(best) - len(seen), min(seen), median(seen))
        report.check(f"least overlap of {one} with {other}", min(seen), SAME_FACE, at_least=True)
    report.notes.append(f"{len(album.pictures())} pictures. Least and median overlap of the faces that both see.")
    return report


def _boxes(pack: registry.Pack) -> list[list[RelativeBox]]:
    model = pack.load(2, Faces())
    every = []
    for path in album.pictures():
        with Image.open(path) as opened:
            pixels = np.asarray(opened.convert("RGB"))
        every.append([RelativeBox.of(face.box, pixels.shape[1], pixels.shape[0]) for face in model.faces(pixels)])
    return every


def _cost(options: Options, count: int, report: Report) -> None:
    directory = options.work / f"statements-{count}"
    directory.mkdir(parents=True)
    catalog = Catalog(directory / "catalog.sqlite3", "made-00000000", DIM)
    gallery = Gallery(catalog, CatalogIndex(catalog, ""))
    for start in range(0, count, 5000):
        catalog.record(list(filling.portraits(start, filling.embeddings(min(5000, count - start), DIM, seed=start))))
    store = PeopleStore(directory / "people.sqlite3")
    said = min(STATEMENTS, count)
    all_said = _ms(lambda: store.say_all(_statements(said, count), "user")) / 1000
    store.close()
    opened: list[PeopleStore] = []
    open_ms = _ms(lambda: opened.append(PeopleStore(directory / "people.sqlite3")))
    (store,) = opened
    resolver = Resolver(store, gallery)
    first = _ms(resolver.known)
    assert sum(map(len, resolver.known().confirmed.values())) == said
    again, came, saying, after = [], [], [], []
    for number in range(options.rounds(50)):
        again.append(_ms(resolver.known))
        gallery.record(list(filling.portraits(count + number, filling.embeddings(1, DIM, seed=number))))
        came.append(_ms(resolver.known))
        new = [_of(count + number)]
        saying.append(_ms(lambda new=new: store.say("Person 1", new, "user")))  # type: ignore[misc]
        after.append(_ms(resolver.known))
    missed = []
    for _ in range(options.rounds(10)):
        for _ in range(hub.MOST + 1):
            gallery.hub.publish(hub.Change(paths=(b"/none",)))
        missed.append(_ms(resolver.known))
    report.row(count, all_said, open_ms, first, *map(median, (again, came, saying, after, missed)))
    for what, times in (("no change", again), ("a photo came", came), ("a statement was said", after)):
        report.check(f"{count:,} faces, {what}: ms", median(times), MOST_MS)
    resolver.close()
    store.close()
    catalog.close()


def _statements(said: int, count: int) -> Iterator[tuple[str, list[NewStatement]]]:
    """So many about faces all over the catalog, of `PEOPLE` people."""
    numbers = np.linspace(0, count - 1, said).astype(int).tolist()
    for person in range(PEOPLE):
        yield f"Person {person}", [_of(number) for number in numbers[person::PEOPLE]]


def _of(number: int) -> NewStatement:
    """About the face of `filling.portraits`."""
    box = RelativeBox(100 / 1600, 100 / 1200, 80 / 1600, 80 / 1200)
    return NewStatement(True, files.digest(filling.picture(number)), box)


def _ms(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return (time.perf_counter() - started) * 1000
