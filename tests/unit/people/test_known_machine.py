"""Any order of changes to photos and of things that are said: what is known is what a new resolver finds."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from facewatchd.matches import Box
from facewatchd.people.known import KnownFaces, Resolver
from facewatchd.people.statements import DRAWN, USER, NewStatement, RelativeBox
from facewatchd.people.store import PeopleStore
from facewatchd.store import hub
from facewatchd.store.catalog import Catalog, Outcome
from facewatchd.store.catalog_index import CatalogIndex
from facewatchd.store.gallery import Gallery
from tests.support.galleries import DIM, face, stamp, unit

WIDTH, HEIGHT = 640, 480
PLACES = (Box(100, 100, 100, 100), Box(110, 105, 100, 100), Box(140, 100, 100, 100), Box(400, 100, 90, 90))
"""The first three overlap: a face is found a little beside where another model, or another look, had it."""
DIGESTS = st.sampled_from([b"one", b"two"])
PATHS = st.sampled_from([b"/a", b"/b"])
NAMES = st.sampled_from(["Anna", "Bert"])
BOXES = st.lists(st.sampled_from(PLACES), max_size=3, unique=True)
SAID = st.tuples(st.booleans(), DIGESTS, st.sampled_from([*PLACES, None]), st.sampled_from([USER, DRAWN]))

SEVERAL = st.lists(SAID, min_size=1, max_size=4)


class Machine(RuleBasedStateMachine):
    @initialize(photos=st.lists(st.tuples(PATHS, DIGESTS, BOXES), min_size=2), said=SEVERAL)
    def begin(
        self, photos: list[tuple[bytes, bytes, list[Box]]], said: list[tuple[bool, bytes, Box | None, str]]
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="facewatch-known-"))
        self.catalog = Catalog(self.directory / "catalog.sqlite3", "test-00000000", DIM)
        self.gallery = Gallery(self.catalog, CatalogIndex(self.catalog, ""))
        self.store = PeopleStore(self.directory / "people.sqlite3")
        self.resolver = Resolver(self.store, self.gallery)
        self.random = np.random.default_rng(7)
        for photo in photos:
            self.embed(*photo)
        self.say("Anna", said)

    @rule(path=PATHS, digest=DIGESTS, boxes=BOXES)
    def embed(self, path: bytes, digest: bytes, boxes: list[Box]) -> None:
        """A new photo, or one that is embedded again: its faces get other ids."""
        faces = [face(unit(self.random.normal(size=DIM)), box) for box in boxes]
        self.gallery.record([Outcome(path, stamp(1), digest, WIDTH, HEIGHT, faces)])

    @rule(path=PATHS, digest=DIGESTS)
    def copy(self, path: bytes, digest: bytes) -> None:
        """A photo with bytes that may be known."""
        self.gallery.record([Outcome(path, stamp(2), digest)])

    @rule(path=PATHS)
    def delete(self, path: bytes) -> None:
        self.gallery.record([Outcome(path, None)])

    @rule()
    def delete_all(self) -> None:
        """And let the days pass for which their faces are kept."""
        self.gallery.record([Outcome(path, None) for path in (b"/a", b"/b")])
        self.gallery.collect(older_than=-1)

    @rule(name=NAMES, said=SEVERAL)
    def say(self, name: str, said: list[tuple[bool, bytes, Box | None, str]]) -> None:
        new = [
            NewStatement(is_person, digest, None if box is None else RelativeBox.of(box, WIDTH, HEIGHT), source)
            for is_person, digest, box, source in said
        ]
        self.store.say(name, new, USER)

    @rule(how=st.sampled_from(["undo", "undo", "forget", "merge"]))
    def take_back(self, how: str) -> None:
        people = self.store.people()
        if how == "undo":
            self.store.undo()
        elif how == "forget" and people.named("Anna") is not None:
            self.store.forget("Anna")
        elif how == "merge" and len(people.people) == 2:
            self.store.merge("Anna", "Bert")

    @rule()
    def drop_changes(self) -> None:
        for _ in range(hub.MOST + 1):
            self.gallery.hub.publish(hub.Change())

    @invariant()
    def some_ask(self) -> None:
        """Between some changes a question is asked, between others none is."""
        if self.random.random() < 0.5:
            self._compare()

    def _compare(self) -> None:
        known, anew = self.resolver.known(), Resolver(self.store, self.gallery).known()
        assert self._of_photos(known) == self._of_photos(anew)
        assert self.resolver.known() is known
        people = {person.id for person in known.people.people}
        assert {*known.confirmed, *known.rejected, *known.photos} <= people
        confirmed = [each for faces in known.confirmed.values() for each in faces]
        assert len(confirmed) == len(set(confirmed)) == len(known.person_of), "a face is one person"
        assert known.unplaced == sum(known.is_unplaced(each) for each in known.people.statements)
        for person in people:
            assert not known.confirmed.get(person, frozenset()) & known.rejected.get(person, frozenset())

    def _of_photos(self, known: KnownFaces) -> tuple[object, ...]:
        """What is known of contents that a photo shows. One that was deleted before anything was asked is not read."""
        with self.catalog.reading() as reader:
            shown = set(reader.count_copies(list({place.content for place in known.places.values()})))
        places = {number: place for number, place in known.places.items() if place.content in shown}
        photos = {person: contents & shown for person, contents in known.photos.items() if contents & shown}
        return known.confirmed, known.rejected, known.person_of, places, photos

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self._compare()
            self.store.close()
            self.catalog.close()
            shutil.rmtree(self.directory)


TestKnown = Machine.TestCase
TestKnown.settings = settings(deadline=None, max_examples=30, stateful_step_count=20)
