"""Groups of made-up faces: catalog, what was said, and the thread that groups, stepped by the test."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from facewatchd.api.parameters import (
    GroupParameters,
    IgnoreParameters,
    Subject,
    SuggestionsParameters,
    UnknownParameters,
)
from facewatchd.api.people import People
from facewatchd.api.recognised import Recognised
from facewatchd.api.scoring import Scorer
from facewatchd.api.suggestions import Suggestions
from facewatchd.api.unknown import Unknown
from facewatchd.indexing.group_faces import GallerySource, GroupFaces
from facewatchd.matches import Box
from facewatchd.people.grouping import Rule
from facewatchd.people.groups import Groups
from facewatchd.people.known import Resolver
from facewatchd.people.statements import USER, Ignored, NewStatement, RelativeBox
from facewatchd.people.store import PeopleStore
from facewatchd.store.catalog import Catalog, Outcome
from facewatchd.store.catalog_index import CatalogIndex
from facewatchd.store.gallery import Gallery
from facewatchd.store.index import Index
from facewatchd.values import ModelInfo, Quality
from tests.support.galleries import DIM, face, stamp, unit
from tests.support.idle_threads import IdleBench

THRESHOLD = 0.5
INFO = ModelInfo("test-00000000", "test", DIM, THRESHOLD, Quality(clear=10.0, slope=0.05, floor=4.0))
WIDTH, HEIGHT = 640, 480
CLEAR = 20.0
"""The norm of a clear face."""

Row = NDArray[np.float32]


def person(number: int) -> Row:
    """The face of a person: no two are alike."""
    return np.eye(DIM, dtype=np.float32)[number]


def like(row: Row, similarity: float, seed: int) -> Row:
    """A face of so much similarity to another."""
    noise = np.random.default_rng(seed).normal(size=DIM)
    noise[: DIM // 2] = 0  # where the people are
    noise -= (noise @ row) * row
    return unit(similarity * row + np.sqrt(1 - similarity**2) * unit(noise))


def mixed(weights: Mapping[int, float]) -> Row:
    """A face that is alike to several people, by their numbers."""
    return unit(np.sum([weight * person(number) for number, weight in weights.items()], axis=0))


class Grouped:
    """Photos whose faces stand beside each other, the first at the left."""

    def __init__(self, directory: Path, index: Index | None = None) -> None:
        self.directory = directory
        self.catalog = Catalog(directory / "catalog.sqlite3", INFO.id, DIM)
        self.gallery = Gallery(self.catalog, index or CatalogIndex(self.catalog, ""))
        self.people = PeopleStore(directory / "people.sqlite3")
        self.bench = IdleBench(self.gallery, directory)
        self.begin()

    def begin(self) -> None:
        """Make what a daemon has in memory."""
        self.resolver = Resolver(self.people, self.gallery)
        self.scorer = Scorer(self.gallery, self.resolver, INFO)
        source = GallerySource(self.gallery, lambda rows: np.zeros(len(rows), np.bool_))
        self.groups = Groups(Rule(INFO.threshold, INFO.quality), source)
        self.recognised = Recognised(self.gallery, self.scorer, INFO)
        self.thread = GroupFaces(self.bench.parts, self.groups, self.resolver.known, lambda: None)
        self.api = Unknown(self.gallery, self.groups, self.recognised, self.resolver.known, INFO)
        self.scorer.members = self.api.members
        self.saying = People(
            self.people,
            self.resolver,
            self.catalog,
            cast("Any", None),  # faces are named by their ids
            lambda *_: "",
            INFO.quality,
            lambda outcome: None,
            self.api.members,
            self.api.ignored,
        )
        self.suggesting = Suggestions(self.gallery, self.scorer, self.groups, INFO)

    def end(self) -> None:
        """End it, as when the daemon stops."""
        self.thread.stop()
        self.resolver.close()

    def restart(self) -> None:
        self.end()
        self.begin()

    def close(self) -> None:
        self.end()
        self.bench.writer.stop()
        self.people.close()
        self.catalog.close()

    def settle(self) -> None:
        """Have the thread do what it would do while nothing else is to be done."""
        while (piece := self.thread._next()) is not None:
            self.thread._work_on(piece)

    # Photos

    def shoot(self, name: str, rows: Sequence[Row], norms: Sequence[float] = (), side: int = 60) -> list[int]:
        """Record a photo with these faces; return their ids."""
        faces = [face(row, box(at, side), norms[at] if norms else CLEAR) for at, row in enumerate(rows)]
        with self.catalog.reading() as reader:
            before = reader.last_face_id()
        path = f"/photos/{name}".encode()
        outcome = Outcome(path, stamp(zlib.crc32(path)), name.encode(), WIDTH, HEIGHT, faces)
        self.bench.writer.call(lambda gallery: gallery.record([outcome]))
        return list(range(before + 1, before + 1 + len(rows)))

    def delete(self, name: str, *, wholly: bool = False) -> None:
        """Delete a photo, and with ``wholly`` let the days pass for which its faces are kept."""
        path = f"/photos/{name}".encode()
        self.bench.writer.call(lambda gallery: gallery.record([Outcome(path, None)]))
        if wholly:
            self.bench.writer.call(lambda gallery: gallery.collect(older_than=-1))

    # What is said

    def say(self, name: str, photo: str, at: int = 0, *, is_person: bool = True) -> None:
        self.people.say(name, [NewStatement(is_person, photo.encode(), _relative(at))], USER)

    def ignore(self, photos: Sequence[str], *, in_group: bool = True) -> None:
        self.people.ignore([Ignored(photo.encode(), _relative(0), in_group) for photo in photos])

    def bring_back(self, group: int) -> int:
        """Bring back all that is ignored of a group; return how many faces that is new of."""
        said = self.saying.ignore(IgnoreParameters(who=(Subject(group=group),), is_=False))["said"]
        return cast("int", said)

    def bring_back_face(self, face_id: int) -> None:
        self.saying.ignore(IgnoreParameters(who=(Subject(face_id=face_id),), is_=False))

    # What there is

    def partition(self) -> set[frozenset[int]]:
        """The groups of two faces or more, whether they are known or not."""
        return {frozenset(faces) for faces in self.by_id().values() if len(faces) > 1}

    def by_id(self) -> dict[int, set[int]]:
        """The faces of each group."""
        now, found = self.groups.now(), dict[int, set[int]]()
        for face_id, group in zip(now.faces.tolist(), now.groups.tolist(), strict=True):
            found.setdefault(group, set()).add(face_id)
        return found

    def unknown(self, *, ignored: bool = False) -> dict[int, int]:
        """The listed groups in their order, and how many unknown faces each has."""
        listed = cast("list[dict[str, int]]", self.api.unknown(UnknownParameters(ignored=ignored))["groups"])
        return {each["id"]: each["faces"] for each in listed}

    def faces(self, group: int, *, ignored: bool = False) -> list[int]:
        shown = cast("list[dict[str, int]]", self.api.group(GroupParameters(id=group, ignored=ignored))["faces"])
        return [each["face_id"] for each in shown]

    def suggested(self, name: str) -> list[int]:
        answer = self.suggesting.suggestions(SuggestionsParameters(person=name, limit=200))
        return [each["face_id"] for each in cast("list[dict[str, int]]", answer["suggestions"])]


def box(at: int, side: int = 60) -> Box:
    return Box(10 + 90 * at, 20, side, side)


def _relative(at: int) -> RelativeBox:
    return RelativeBox.of(box(at), WIDTH, HEIGHT)


@contextlib.contextmanager
def grouped(directory: Path) -> Iterator[Grouped]:
    """Open one, and close it at the end."""
    made = Grouped(directory)
    try:
        yield made
    finally:
        made.close()
