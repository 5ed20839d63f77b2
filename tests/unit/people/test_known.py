"""Statements held against the faces of the running model's catalog."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facewatchd.matches import Box
from facewatchd.people import known as known_module
from facewatchd.people.known import KnownFaces, Resolver, placed
from facewatchd.people.statements import DRAWN, NewStatement, RelativeBox, Statement
from facewatchd.people.store import PeopleStore
from facewatchd.store import hub
from facewatchd.store.catalog import Outcome
from facewatchd.store.gallery import Gallery
from facewatchd.threads.liveness import Liveness
from facewatchd.values import Look, Ways
from tests.support.galleries import DIM, face, stamp, unit
from tests.support.processes import until

WIDTH, HEIGHT = 640, 480
LEFT, RIGHT, FAR = Box(100, 100, 100, 100), Box(400, 100, 100, 100), Box(10, 400, 60, 60)
NEAR_LEFT = Box(110, 100, 100, 100)
RANDOM = np.random.default_rng(1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PeopleStore]:
    store = PeopleStore(tmp_path / "people.sqlite3")
    yield store
    store.close()


@pytest.fixture
def resolver(store: PeopleStore, gallery: Gallery) -> Resolver:
    return Resolver(store, gallery)


def relative(box: Box) -> RelativeBox:
    return RelativeBox.of(box, WIDTH, HEIGHT)


def record(gallery: Gallery, name: str, boxes: Sequence[Box], digest: bytes | None = None, inode: int = 1) -> list[int]:
    """Record a photo with new faces in these boxes; return their ids, left to right."""
    faces = [face(unit(RANDOM.normal(size=DIM)), box) for box in boxes]
    digest = digest or name.encode()
    gallery.record([Outcome(b"/" + name.encode(), stamp(inode), digest, WIDTH, HEIGHT, faces)])
    with gallery.catalog.reading() as reader:
        content = reader.content(digest)
        assert content is not None
        found = reader.faces(content)
        assert found is not None
        return [face_id for face_id, _ in found]


def yes(name: str, box: Box | None) -> NewStatement:
    return NewStatement(True, name.encode(), None if box is None else relative(box))


def no(name: str, box: Box | None) -> NewStatement:
    return NewStatement(False, name.encode(), None if box is None else relative(box))


def person(known: KnownFaces, name: str) -> int:
    return known.people.require(name).id


def sets(known: KnownFaces, name: str) -> tuple[set[int], set[int], set[int]]:
    """The faces that are confirmed and rejected for a person, and the contents that the person stands on."""
    number = person(known, name)
    groups = (known.confirmed, known.rejected, known.photos)
    confirmed, rejected, photos = (set(group.get(number, ())) for group in groups)
    assert {each for each, owner in known.person_of.items() if owner == number} == confirmed
    return confirmed, rejected, photos


def test_statements_find_the_faces_in_their_boxes(store: PeopleStore, gallery: Gallery, resolver: Resolver) -> None:
    left, right = record(gallery, "a", [LEFT, RIGHT])
    store.say("Anna", [yes("a", NEAR_LEFT), no("a", RIGHT)], "user")
    known = resolver.known()
    assert sets(known, "Anna") == ({left}, {right}, set())
    assert known.unplaced == 0
    assert resolver.known() is known, "nothing has changed"


def test_what_finds_no_face_is_kept_and_counted(store: PeopleStore, gallery: Gallery, resolver: Resolver) -> None:
    store.say("Anna", [yes("a", LEFT), no("a", RIGHT)], "user")
    assert resolver.known().unplaced == 2
    record(gallery, "a", [FAR])
    known = resolver.known()
    assert sets(known, "Anna") == (set(), set(), {1})
    assert known.unplaced == 2
    assert all(known.is_unplaced(statement) for statement in known.people.statements)
    _, left = record(gallery, "a", [LEFT, FAR], inode=2)
    known = resolver.known()
    assert sets(known, "Anna") == ({left}, set(), set())
    assert known.unplaced == 1


def test_no_face_that_is_found_later_is_a_person_who_is_not_on_the_photo(
    store: PeopleStore, gallery: Gallery, resolver: Resolver
) -> None:
    record(gallery, "a", [])
    store.say("Anna", [no("a", None)], "user")
    assert sets(resolver.known(), "Anna") == (set(), set(), set())
    faces = record(gallery, "a", [LEFT, RIGHT], inode=2)
    store.say("Ben", [yes("a", LEFT)], "user")
    assert sets(resolver.known(), "Anna") == (set(), set(faces), set())
    assert sets(resolver.known(), "Ben") == ({faces[0]}, set(), set())
    store.say("Anna", [yes("a", RIGHT)], "user")
    assert sets(resolver.known(), "Anna") == ({faces[1]}, set(), set()), "what was said later counts"


def test_a_person_stands_on_a_photo_without_a_face(store: PeopleStore, gallery: Gallery, resolver: Resolver) -> None:
    record(gallery, "a", [])
    record(gallery, "b", [RIGHT], inode=2)
    drawn = NewStatement(True, b"b", relative(LEFT), DRAWN)
    store.say("Anna", [yes("a", None), drawn], "user")
    known = resolver.known()
    assert sets(known, "Anna") == (set(), set(), {1, 2})
    assert known.unplaced == 0
    store.say("Anna", [no("a", None)], "user")
    assert sets(resolver.known(), "Anna") == (set(), set(), {2})
    left, _ = record(gallery, "b", [LEFT, RIGHT], inode=2)
    assert sets(resolver.known(), "Anna") == ({left}, set(), set()), "a better model finds the face that was drawn"


def test_changes_of_the_catalog_are_followed(store: PeopleStore, gallery: Gallery, resolver: Resolver) -> None:
    first = record(gallery, "a", [LEFT])
    store.say("Anna", [yes("a", LEFT)], "user")
    assert sets(resolver.known(), "Anna")[0] == set(first)
    again = record(gallery, "a", [NEAR_LEFT])
    assert again != first, "embedded again: `scan --force`"
    assert sets(resolver.known(), "Anna")[0] == set(again)
    record(gallery, "moved", [LEFT], b"a", inode=3)
    gallery.record([Outcome(b"/a", None)])
    assert resolver.known().unplaced == 0, "renamed"
    gallery.record([Outcome(b"/moved", None)])
    gallery.collect(older_than=-1)
    assert resolver.known().unplaced == 1
    back = record(gallery, "back", [LEFT], b"a", inode=4)
    assert sets(resolver.known(), "Anna")[0] == set(back), "deleted and back"


def test_the_id_of_a_deleted_content_is_not_mistaken(store: PeopleStore, gallery: Gallery, resolver: Resolver) -> None:
    """SQLite gives the highest id again after its row was deleted."""
    record(gallery, "a", [])
    store.say("Anna", [yes("a", None)], "user")
    assert sets(resolver.known(), "Anna")[2] == {1}
    gallery.record([Outcome(b"/a", None)])
    gallery.collect(older_than=-1)
    assert resolver.known().unplaced == 1
    record(gallery, "stranger", [])
    with gallery.catalog.reading() as reader:
        assert reader.content(b"stranger") == 1
    known = resolver.known()
    assert sets(known, "Anna")[2] == set()
    assert known.unplaced == 1


def test_a_second_look_is_followed(store: PeopleStore, gallery: Gallery, resolver: Resolver) -> None:
    """It adds faces, and puts a better one in the place of one that was misread."""
    record(gallery, "a", [LEFT])
    store.say("Anna", [yes("a", RIGHT), no("a", LEFT)], "user")
    assert resolver.known().unplaced == 1
    found = replace(face(unit(RANDOM.normal(size=DIM)), RIGHT), look=Look.TURNED_90)
    gallery.record_second_look(b"a", Ways.TURNED, [found])
    known = resolver.known()
    assert sets(known, "Anna") == ({2}, {1}, set())
    gallery.record_second_look(b"a", Ways.TURNED, [])
    assert sets(resolver.known(), "Anna") == (set(), {1}, {1})


def test_a_rejection_holds_while_another_face_of_the_photo_is_damaged(
    store: PeopleStore, gallery: Gallery, resolver: Resolver
) -> None:
    left, right = record(gallery, "a", [LEFT, RIGHT])
    store.say("Anna", [no("a", LEFT), yes("a", RIGHT)], "user")
    assert sets(resolver.known(), "Anna") == ({right}, {left}, set())
    gallery.set_aside([right])
    assert sets(resolver.known(), "Anna") == (set(), {left}, {1})


def test_dropped_changes_are_made_up_for(
    store: PeopleStore, gallery: Gallery, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "MOST", 3)
    record(gallery, "a", [LEFT])
    store.say("Anna", [yes("a", LEFT), yes("z", LEFT)], "user")
    assert resolver.known().unplaced == 1
    for number in range(5):
        record(gallery, f"b{number}", [LEFT], inode=10 + number)
    found = record(gallery, "z", [LEFT], inode=20)
    for number in range(5):
        record(gallery, f"c{number}", [LEFT], inode=30 + number)
    known = resolver.known()
    assert known.unplaced == 0
    assert set(found) <= sets(known, "Anna")[0]


def test_a_rename_a_merge_and_an_undo_are_followed(store: PeopleStore, gallery: Gallery, resolver: Resolver) -> None:
    left, right = record(gallery, "a", [LEFT, RIGHT])
    store.say("Anna", [yes("a", LEFT)], "user")
    store.say("Bert", [yes("a", RIGHT)], "user")
    assert sets(resolver.known(), "Bert")[0] == {right}
    store.rename("Anna", "Anne")
    assert sets(resolver.known(), "Anne")[0] == {left}
    store.merge("Bert", "Anne")
    assert sets(resolver.known(), "Anne")[0] == {left, right}
    store.undo()
    assert sets(resolver.known(), "Bert")[0] == {right}
    store.forget("Bert")
    known = resolver.known()
    assert known.people.named("Bert") is None
    assert set(known.person_of) == {left}


def said(number: int, person: int, box: Box, *, is_person: bool = True) -> Statement:
    return Statement(number, person, is_person, b"", relative(box), "user", 0.0)


def test_the_pairs_that_overlap_most_come_first_and_a_face_is_one_person() -> None:
    faces = [(7, relative(LEFT)), (8, relative(Box(130, 100, 100, 100)))]
    exact, near, third = said(1, 1, LEFT), said(2, 2, NEAR_LEFT), said(3, 3, NEAR_LEFT)
    assert placed([near, exact], faces) == {1: 7, 2: 8}
    assert placed([near, exact, third], faces) == {1: 7, 3: 8}, "the later of two that overlap the same"
    assert placed([said(1, 1, LEFT), said(2, 2, LEFT, is_person=False)], faces[:1]) == {1: 7, 2: 7}
    assert placed([said(1, 1, RIGHT)], faces) == {}


def test_a_thread_reads_what_changed_before_anything_is_asked(
    store: PeopleStore, gallery: Gallery, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_module, "QUIET", 0.01)
    record(gallery, "a", [LEFT])
    store.say("Anna", [yes("a", LEFT), yes("b", LEFT)], "user")
    reads: list[int] = []
    monkeypatch.setattr(
        resolver, "_read", lambda stale, beat, read=resolver._read: (reads.append(len(stale)), read(stale, beat))
    )
    followed: list[int] = []
    thread = known_module.KeepKnown(resolver, lambda: followed.append(resolver.known().unplaced), Liveness())
    thread.start()
    try:
        until(lambda: 2 in reads)
        record(gallery, "b", [LEFT], inode=2)
        until(lambda: 1 in reads)
        until(lambda: followed[-1] == 0)
        store.say("Anna", [yes("c", LEFT)], "user")
        until(lambda: followed[-1] == 1)
        before = len(reads)
        assert resolver.known().unplaced == 1
        assert reads[before:] == [0], "the question had nothing to read"
    finally:
        thread.stop()


def test_without_a_store_that_can_be_read_nothing_is_known(tmp_path: Path, gallery: Gallery) -> None:
    path = tmp_path / "people.sqlite3"
    path.write_bytes(b"no database")
    store = PeopleStore(path)
    assert store.trouble
    assert Resolver(store, gallery).known() == KnownFaces()
