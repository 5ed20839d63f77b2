"""What happened to photos since a line of the journal: renames in any order, copies, and readers that come back."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from facewatchd.store import follower as follower_module
from facewatchd.store.catalog import Catalog, Outcome
from facewatchd.store.follower import HOLD, MOST_HOLD, Follower, Happened
from tests.support.galleries import DIM, photo, stamp, unit

ROWS = unit(np.random.default_rng(0).normal(size=(20, DIM)))


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    catalog = Catalog(tmp_path / "catalog.sqlite3", "test-00000000", DIM)
    yield catalog
    catalog.close()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def shows(path: bytes, digest: bytes) -> Outcome:
    return Outcome(path, stamp(1), digest)


def gone(path: bytes) -> Outcome:
    return Outcome(path, None)


def following(catalog: Catalog, *directories: bytes, collapse: bool = True) -> tuple[Follower, Clock]:
    clock = Clock()
    with catalog.reading() as reader:
        seq = reader.journal.last()
    return Follower(seq, directories, collapse=collapse, clock=clock), clock


def step(catalog: Catalog, follower: Follower, *, pending: bool = False) -> Happened:
    with catalog.reading() as reader:
        return follower.next(reader, pending=pending)


def test_what_arrives_is_told_once_whatever_copies_it_has(catalog: Catalog) -> None:
    follower, _ = following(catalog)
    catalog.record([photo(b"/a", b"d1", ROWS[:1]), shows(b"/b", b"d1"), photo(b"/c", b"d2", ROWS[1:2])])
    assert step(catalog, follower).arrived == {1: {b"/a", b"/b"}, 2: {b"/c"}}
    catalog.record([shows(b"/d", b"d1"), gone(b"/never")])
    assert not step(catalog, follower)


@pytest.mark.parametrize("order", ["new first", "old first", "together"])
@pytest.mark.parametrize("looks", [True, False])
@pytest.mark.parametrize("collapse", [True, False])
def test_a_rename_is_a_move_in_either_order(catalog: Catalog, order: str, looks: bool, collapse: bool) -> None:
    catalog.record([photo(b"/a", b"d1", ROWS[:1])])
    follower, clock = following(catalog, collapse=collapse)
    halves = [gone(b"/a"), shows(b"/b", b"d1")]
    told = []
    for part in [halves] if order == "together" else [[each] for each in halves[:: -1 if order == "new first" else 1]]:
        catalog.record(part)
        if looks:
            told.append(step(catalog, follower))
    told.append(step(catalog, follower))
    clock.now += 10 * MOST_HOLD
    told.append(step(catalog, follower))
    if order == "new first" and looks and not collapse:  # a copy, and then the original goes
        assert [each.arrived for each in told if each] == [{1: {b"/b"}}, {}]
        assert [each.gone for each in told if each] == [{}, {1: {b"/a"}}]
    else:
        assert [each.moved for each in told if each] == [{1: [(b"/a", None if collapse else b"/b")]}]


def test_what_does_not_come_back_is_gone_after_a_while(catalog: Catalog) -> None:
    catalog.record([photo(b"/a", b"d1", ROWS[:1])])
    follower, clock = following(catalog)
    catalog.record([gone(b"/a")])
    assert not step(catalog, follower)
    assert follower.safe == 1
    assert 0 < (follower.due_in or 0) <= HOLD
    clock.now += HOLD
    assert not step(catalog, follower, pending=True), "the new path may wait to be examined"
    clock.now += MOST_HOLD
    assert step(catalog, follower, pending=True).gone == {1: {b"/a"}}
    assert (follower.safe, follower.due_in) == (2, None)
    catalog.record([shows(b"/b", b"d1")])
    assert step(catalog, follower).arrived == {1: {b"/b"}}


def test_what_comes_back_to_its_place_is_nothing(catalog: Catalog) -> None:
    catalog.record([photo(b"/a", b"d1", ROWS[:1])])
    follower, clock = following(catalog)
    catalog.record([gone(b"/a")])
    assert not step(catalog, follower)
    catalog.record([shows(b"/a", b"d1")])
    clock.now += MOST_HOLD
    assert not step(catalog, follower)
    assert follower.safe == 3


def test_directories_are_the_world(catalog: Catalog) -> None:
    catalog.record([photo(b"/in/a", b"d1", ROWS[:1]), photo(b"/out/b", b"d2", ROWS[1:2])])
    follower, clock = following(catalog, b"/in")
    catalog.record([shows(b"/in/b", b"d2"), shows(b"/out/a", b"d1"), gone(b"/in/a"), photo(b"/input", b"d3", [])])
    assert step(catalog, follower).arrived == {2: {b"/in/b"}}
    clock.now += HOLD
    assert step(catalog, follower).gone == {1: {b"/in/a"}}


def test_new_faces_are_told_of_what_was_shown(catalog: Catalog) -> None:
    catalog.record([Outcome(b"/a", stamp(1), b"d1", error="torn")])
    follower, _ = following(catalog)
    catalog.record([photo(b"/a", b"d1", ROWS[:1])])
    assert step(catalog, follower).got_faces == {1: 2}
    catalog.record([photo(b"/a", b"d1", ROWS[:1])])  # embedded again
    assert not step(catalog, follower)


def test_a_renamed_directory_of_thousands(catalog: Catalog) -> None:
    names = [b"%d.jpg" % number for number in range(3000)]
    catalog.record([photo(b"/a/" + name, name, []) for name in names])
    follower, _ = following(catalog)
    catalog.record([gone(b"/a/" + name) for name in names])
    catalog.record([shows(b"/b/" + name, name) for name in names])
    moved: dict[int, object] = {}
    while not follower.level:
        happened = step(catalog, follower)
        assert (happened.arrived, happened.gone) == ({}, {})
        moved |= happened.moved
    assert len(moved) == len(names)


DIGESTS = [b"d1", b"d2", b"d3"]
FACES = [ROWS[:1], ROWS[:1], ROWS[1:2]]
"""Of each: the first two are one picture."""
PATHS = [b"/in/a", b"/in/b", b"/out/c", b"/in/d"]


class Mirror(RuleBasedStateMachine):
    """A reader that does what it is told knows which photos there are, also if it dies and goes on from its cursor."""

    def __init__(self) -> None:
        super().__init__()
        self.pages = pytest.MonkeyPatch()
        self.pages.setattr(follower_module, "PAGE", 3)
        self.place = tempfile.TemporaryDirectory()
        self.catalog = Catalog(Path(self.place.name) / "catalog.sqlite3", "test-00000000", DIM)
        self.catalog.record(
            [
                dataclasses.replace(photo(b"", digest, faces), stamp=None)
                for digest, faces in zip(DIGESTS, FACES, strict=True)
            ]
        )
        self.shown: dict[bytes, int] = {}
        self.clock = Clock()
        self.follower = Follower(0, (b"/in",), clock=self.clock)
        self.known: set[int] = set()
        self.kept = (0, frozenset[int]())
        """The cursor that the reader wrote down, and what it knew then."""

    @rule(changes=st.lists(st.tuples(st.sampled_from(PATHS), st.sampled_from([None, 0, 1, 2])), min_size=1, max_size=4))
    def change(self, changes: list[tuple[bytes, int | None]]) -> None:
        self.catalog.record([gone(path) if what is None else shows(path, DIGESTS[what]) for path, what in changes])
        for path, what in changes:
            self.shown.pop(path, None)
            if what is not None:
                self.shown[path] = what + 1

    @rule(seconds=st.sampled_from([0.0, 1.0, HOLD]), pending=st.booleans())
    def look(self, seconds: float, pending: bool) -> None:
        self.clock.now += seconds
        happened = step(self.catalog, self.follower, pending=pending)
        self.known |= happened.arrived.keys() | happened.replaced.keys() | happened.moved.keys()
        self.known -= happened.gone.keys()
        self.kept = (self.follower.safe, frozenset(self.known))

    @rule()
    def die(self) -> None:
        seq, known = self.kept
        self.known = set(known)
        self.follower = Follower(seq, (b"/in",), resumes=True, clock=self.clock)

    @precondition(lambda self: self.follower.level)
    @invariant()
    def what_is_shown_is_known(self) -> None:
        if self.follower._seq == self._last():
            inside = {content for path, content in self.shown.items() if path.startswith(b"/in/")}
            assert inside <= self.known
            assert self.known - inside == self.follower._held.keys() & self.known

    def _last(self) -> int:
        with self.catalog.reading() as reader:
            return reader.journal.last()

    def known_at_the_end(self) -> None:
        assert self.known == {content for path, content in self.shown.items() if path.startswith(b"/in/")}

    def teardown(self) -> None:
        try:
            for _ in range(100):
                self.look(MOST_HOLD, False)
            self.known_at_the_end()
        finally:
            self.catalog.close()
            self.place.cleanup()
            self.pages.undo()


class MirrorOfCopies(Mirror):
    """The same where copies are photos of their own: the reader knows paths, each with its content."""

    def __init__(self) -> None:
        super().__init__()
        self.paths: set[tuple[bytes, int]] = set()
        self.noted = (0, frozenset[tuple[bytes, int]]())
        self.follower = Follower(0, (b"/in",), collapse=False, clock=self.clock)

    @rule(seconds=st.sampled_from([0.0, 1.0, HOLD]), pending=st.booleans())
    def look(self, seconds: float, pending: bool) -> None:
        self.clock.now += seconds
        happened = step(self.catalog, self.follower, pending=pending)
        known = {path for path, content in self.paths if content in (1, 2)}
        for content, moves in happened.moved.items():
            for old, new in moves:
                assert new is not None
                self.paths = self.paths - {(old, content)} | {(new, content)}
        for content, paths in happened.replaced.items():
            assert content in (1, 2)
            assert paths <= known
        begun = [*happened.arrived.items(), *happened.replaced.items()]
        self.paths |= {(path, content) for content, paths in begun for path in paths}
        self.paths -= {(path, content) for content, paths in happened.gone.items() for path in paths}
        self.noted = (self.follower.safe, frozenset(self.paths))

    @rule()
    def die(self) -> None:
        seq, paths = self.noted
        self.paths = set(paths)
        self.follower = Follower(seq, (b"/in",), resumes=True, collapse=False, clock=self.clock)

    def what_is_shown_is_known(self) -> None:
        """What is held back may lack here: compared at the end."""

    def known_at_the_end(self) -> None:
        assert self.paths == {(path, content) for path, content in self.shown.items() if path.startswith(b"/in/")}


TestMirror = Mirror.TestCase
TestMirrorOfCopies = MirrorOfCopies.TestCase
TestMirrorOfCopies.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestMirror.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
