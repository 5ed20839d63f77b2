"""Who the faces on a photo are, by what the user said, by the references of the people, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from facewatchd.api.faces import PhotoFaces
from facewatchd.api.names import UNKNOWN, Named, Namer, Similar
from facewatchd.errors import StorageError
from facewatchd.expectation.sampler import Sampler
from facewatchd.expectation.verdicts import Verdict
from facewatchd.matches import Box
from facewatchd.people.known import KnownFaces
from facewatchd.people.statements import RelativeBox, Statement
from facewatchd.threads.liveness import Liveness
from tests.support.crowds import people
from tests.support.galleries import BOX, DIM, face
from tests.unit.api.test_scoring import ANNA, BEN, EVE, INFO, World, turned


class Album(World):
    """A gallery, and the people on photos."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.sampler = Sampler(self.gallery, INFO, Liveness())
        self.namer = Namer(self.scorer, self.sampler, INFO)

    def names(self, *rows: NDArray[np.float32], ids: tuple[int, ...] = (), norm: float | None = None) -> list[Named]:
        if self.sampler.ident is None:
            self.sampler.start()  # the sample is of all that was added before
        return self.namer.names(PhotoFaces([face(row, norm=norm) for row in rows], b"", 640, 480, None, ids))

    def hide(self, person: int) -> None:
        known = self.resolver.known()
        people = tuple(replace(each, hidden=each.id == person) for each in known.people.people)
        self.resolver.known = lambda: replaced  # type: ignore[method-assign]
        replaced: KnownFaces = replace(known, people=replace(known.people, people=people))


@pytest.fixture
def album(tmp_path: Path) -> Iterator[Album]:
    album = Album(tmp_path)
    yield album
    album.sampler.stop()


def test_a_face_is_the_person_whom_it_resembles_or_nobody(album: Album) -> None:
    anna, ben = album.add(ANNA, BEN)
    album.resolver.say({1: [anna], 2: [ben]})
    first, second, third = album.names(turned(ANNA, 0.9), turned(BEN, 0.9), EVE)
    assert first.person == Similar("person 1", pytest.approx(0.9, abs=1e-4))
    assert first.runner_up is not None
    assert first.runner_up.name == "person 2"
    assert second.person is not None
    assert second.person.name == "person 2"
    assert (third.person, third.verdict, third.confirmed) == (None, UNKNOWN, False)
    assert third.runner_up is not None, "the nearest is said all the same"


def test_what_was_said_of_a_photo_that_is_not_recorded_counts(album: Album) -> None:
    """As under another model than the one under which it was said."""
    (anna,) = album.add(ANNA)
    album.resolver.say({1: [anna], 2: []})
    box, other = (RelativeBox.of(each, 640, 480) for each in (BOX, Box(400, 300, 90, 90)))
    seen = PhotoFaces([face(BEN), face(ANNA, Box(400, 300, 90, 90))], b"new", 640, 480)
    album.sampler.start()

    def named(*said: tuple[int, bool, RelativeBox | None]) -> list[tuple[str | None, bool]]:
        statements = tuple(
            Statement(number, person, is_person, b"new", place, "user", 0.0)
            for number, (person, is_person, place) in enumerate(said)
        )
        album.resolver.say_of(statements)
        return [(each.person and each.person.name, each.confirmed) for each in album.namer.names(seen)]

    assert named() == [(None, False), ("person 1", False)]
    assert named((2, True, box)) == [("person 2", True), ("person 1", False)]
    assert named((1, False, other)) == [(None, False)] * 2
    assert named((1, False, None)) == [(None, False)] * 2


def test_where_the_names_cannot_be_read_nobody_is_unknown(album: Album, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> None:
        raise StorageError("people.sqlite3 is damaged")

    monkeypatch.setattr(album.resolver, "require_readable", refused)
    with pytest.raises(StorageError, match=r"people\.sqlite3"):
        album.names(ANNA)


def test_nobody_is_known(album: Album) -> None:
    album.add(ANNA)
    assert album.names(ANNA) == [Named(None, UNKNOWN, confirmed=False, runner_up=None)]


def test_what_the_user_said_counts(album: Album) -> None:
    anna, ben, like_ben = album.add(ANNA, BEN, turned(BEN, 0.9))
    album.resolver.say({1: [anna, like_ben], 2: [ben]}, {1: [ben]})
    (named,) = album.names(turned(BEN, 0.9), ids=(like_ben,))
    assert named.person is not None
    assert (named.person.name, named.confirmed, named.verdict) == ("person 1", True, Verdict.SURE)
    assert named.runner_up is not None
    assert named.runner_up.name == "person 2"


def test_a_face_that_was_rejected_and_its_copies_are_not_that_person(album: Album) -> None:
    stranger = turned(ANNA, 0.8)
    anna, other = album.add(ANNA, stranger)
    album.resolver.say({1: [anna]})
    assert album.names(stranger)[0].person is not None
    album.resolver.say({1: [anna]}, {1: [other]})
    for copy in (stranger, turned(stranger, 0.95, 3)):
        assert album.names(copy) == [Named(None, UNKNOWN, confirmed=False, runner_up=None)]
    assert album.names(turned(ANNA, 0.9, 8))[0].person is not None


@pytest.mark.parametrize(
    ("similarity", "norm", "is_told"),
    [(0.52, 12.0, True), (0.52, 8.0, False), (0.6, 8.0, True), (0.99, 6.0, False), (0.49, 12.0, False)],
)
def test_the_rules_of_a_question_hold(album: Album, similarity: float, norm: float, is_told: bool) -> None:
    (anna,) = album.add(ANNA, norm=12)
    album.resolver.say({1: [anna]})
    assert (album.names(turned(ANNA, similarity), norm=norm)[0].person is not None) == is_told


def test_the_words(album: Album) -> None:
    """With enough strangers to compare with, by how many of them are as similar; and by the runner-up."""
    (anna,) = album.add(ANNA)
    album.add(*people(np.random.default_rng(1), 200, DIM))
    album.resolver.say({1: [anna]})
    near, far = album.names(turned(ANNA, 0.98))[0], album.names(turned(ANNA, 0.51))[0]
    assert (near.verdict, far.verdict) == (Verdict.SURE, Verdict.LIKELY)
    (twin,) = album.add(turned(ANNA, 0.97, 4))
    album.resolver.say({1: [anna], 2: [twin]})
    assert album.names(turned(ANNA, 0.98, 6))[0].verdict == Verdict.LOOK, "it may be the other"


def test_of_two_faces_that_are_one_person_one_is_doubtful(album: Album) -> None:
    (anna,) = album.add(ANNA)
    album.add(*people(np.random.default_rng(1), 200, DIM))
    album.resolver.say({1: [anna]})
    first, second = album.names(turned(ANNA, 0.96, 1), turned(ANNA, 0.98, 2))
    assert (first.verdict, second.verdict) == (Verdict.LOOK, Verdict.SURE)


def test_who_is_hidden_is_named_to_nobody(album: Album) -> None:
    anna, ben = album.add(ANNA, BEN)
    album.resolver.say({1: [anna], 2: [ben]})
    album.hide(1)
    like, itself = album.names(turned(ANNA, 0.9), ANNA, ids=(99, anna))
    for named in (like, itself):
        assert (named.person, named.verdict) == (None, UNKNOWN)
        assert named.runner_up is not None
        assert named.runner_up.name == "person 2", "not the one who is hidden"
    assert album.names(BEN)[0].person is not None
