"""The faces that match a named person, by what the user said and by their references, against a plain loop."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from facewatchd.api import scoring as api_scoring
from facewatchd.api.scoring import Scorer
from facewatchd.matches import Box
from facewatchd.people.known import KnownFaces
from facewatchd.store import references, scoring
from facewatchd.store.catalog import Outcome
from facewatchd.store.flat import FlatIndex
from facewatchd.store.references import References, extra, same_picture
from facewatchd.store.scoring import Scored, Search, Wanted
from facewatchd.values import ModelInfo, Quality
from tests.support.crowds import photos_of
from tests.support.galleries import BOX, DIM, close_all, face, gallery_with, stamp, unit
from tests.support.known_people import PlayedResolver, scorer
from tests.support.processes import until

THRESHOLD = 0.5
QUALITY = Quality(clear=10, slope=0.02, floor=7)
INFO = ModelInfo("test-00000000", "test", DIM, THRESHOLD, QUALITY)
SEARCH = Search(THRESHOLD, quality=QUALITY)
RNG = np.random.default_rng(5)
ANNA, BEN, EVE = unit(RNG.normal(size=(3, DIM)))
SAME = same_picture(THRESHOLD)
SMALL = Box(0, 0, 20, 90)


def turned(row: NDArray[np.float32], similarity: float, seed: int = 0) -> NDArray[np.float32]:
    """A face with this similarity to another, in a direction of its own."""
    aside = np.random.default_rng(seed).normal(size=len(row))
    aside -= (aside @ row) * row
    return unit((similarity * row + np.sqrt(1 - similarity**2) * unit(aside[None])[0])[None])[0]


class World:
    """A gallery of photos with one face each; the ids of their faces count from 1."""

    def __init__(self, directory: Path) -> None:
        self.gallery = gallery_with(directory, FlatIndex(DIM))
        self.resolver = PlayedResolver()
        self.scorer: Scorer = scorer(self.gallery, INFO, self.resolver)
        self.count = 0

    def add(self, *rows: NDArray[np.float32], norm: float | None = None, box: Box = BOX) -> list[int]:
        ids = []
        for row in rows:
            self.count += 1
            name = b"/%d" % self.count
            self.gallery.record([Outcome(name, stamp(self.count), name, 640, 480, [face(row, box, norm)])])
            ids.append(self.count)
        return ids

    def scored(self, wanted: Wanted, search: Search = SEARCH) -> Scored:
        with self.gallery.catalog.reading() as reader:
            return self.scorer.scored(reader, wanted, search)

    def ask(self, person: int, search: Search = SEARCH) -> list[int]:
        """The faces that are found, in their order."""
        return self.scored(self.scorer.wanted_person(person), search).ids.tolist()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_face_counts_by_the_best_of_the_references(world: World) -> None:
    """A child at two ages that are not alike: neither of them, nor their mean, finds both."""
    young, old = ANNA, turned(ANNA, 0.2)
    first, second = world.add(young, old)
    near = world.add(turned(young, 0.8, 1), turned(old, 0.8, 2))
    world.add(BEN)
    world.resolver.say({1: [first]})
    assert world.ask(1) == [first, near[0]]
    world.resolver.say({1: [first, second]})
    assert sorted(world.ask(1)) == [first, second, *near]
    scored = world.scored(world.scorer.wanted_person(1))
    assert scored.confirmed.tolist() == [True, True, False, False]
    assert scored.similarities.tolist() == pytest.approx([1, 1, 0.8, 0.8], abs=1e-4)


def test_many_references_raise_the_threshold_unless_the_user_lowers_it(world: World) -> None:
    own = world.add(*photos_of(RNG, ANNA, 8, 0.6))
    wanted = world.scorer
    world.resolver.say({1: own})
    asked = wanted.wanted_person(1)
    assert asked.threshold_extra == pytest.approx(extra(8, THRESHOLD))
    similarity = THRESHOLD + asked.threshold_extra / 2
    (between,) = world.add(turned(asked.references[0], similarity, 7))
    assert float((asked.references @ turned(asked.references[0], similarity, 7)).max()) < THRESHOLD + 0.05
    assert between not in world.ask(1)
    assert between in world.ask(1, Search(THRESHOLD - 0.01, counts_references=False))


def test_frames_of_one_burst_are_one_reference(world: World) -> None:
    burst = [turned(ANNA, 0.98, seed) for seed in range(6)]
    own = world.add(ANNA, *burst)
    world.resolver.say({1: own})
    wanted = world.scorer.wanted_person(1)
    assert len(wanted.references) == 1
    assert wanted.threshold_extra == 0
    assert sorted(world.ask(1)) == own, "all of them are confirmed"


def test_faces_that_cannot_tell_are_no_references_unless_there_are_no_others(world: World) -> None:
    (clear,) = world.add(ANNA, norm=12)
    poor = [*world.add(BEN, norm=6), *world.add(EVE, norm=12, box=SMALL)]
    world.resolver.say({1: [clear, *poor]})
    assert len(world.scorer.wanted_person(1).references) == 1
    assert set(world.ask(1)) == {clear, *poor}, "they are confirmed, whatever they score"
    world.resolver.say({1: poor})
    assert len(world.scorer.wanted_person(1).references) == 2


def test_a_reference_among_those_of_another_person_tells_nobody(world: World) -> None:
    """A photo of Ben that was confirmed as Anna takes none of Ben's faces from him, and brings none to her."""
    anna, ben = world.add(*photos_of(RNG, ANNA, 4)), world.add(*photos_of(RNG, BEN, 5))
    rest = world.add(*photos_of(RNG, BEN, 3))
    world.resolver.say({1: [*anna, ben[0]], 2: ben[1:]})
    assert sorted(world.ask(2)) == sorted([*ben[1:], *rest])
    assert sorted(world.ask(1)) == sorted([*anna, ben[0]])


def test_what_is_nearer_to_another_person_is_that_persons(world: World) -> None:
    sister = turned(ANNA, 0.6)
    (anna,) = world.add(ANNA)
    (eve,) = world.add(sister)
    (of_eve,) = world.add(turned(sister, 0.9, 3))
    world.resolver.say({1: [anna]})
    assert set(world.ask(1)) == {anna, eve, of_eve}
    world.resolver.say({1: [anna], 2: [eve]})
    assert world.ask(1) == [anna]
    assert world.ask(2) == [eve, of_eve]


def test_no_is_no_for_the_face_and_its_copies(world: World) -> None:
    (anna, other, copy, frame) = world.add(
        ANNA, *(turned(ANNA, 0.7), turned(turned(ANNA, 0.7), 0.95, 4)), turned(ANNA, 0.95, 9)
    )
    world.resolver.say({1: [anna]})
    assert set(world.ask(1)) == {anna, other, copy, frame}
    world.resolver.say({1: [anna]}, {1: [other]})
    assert world.ask(1) == [anna, frame]
    assert world.ask(1, Search(-1, counts_references=False)) == [anna, frame], "whatever the threshold"


def test_a_person_without_a_face_stands_on_photos(world: World) -> None:
    world.add(ANNA)
    world.resolver.say({1: []}, None, {1: [1]})
    scored = world.scored(world.scorer.wanted_person(1))
    assert (scored.ids.tolist(), scored.photos) == ([], {1})


def test_several_ways_to_name_one_person_are_one_question(world: World) -> None:
    anna, eve, ben = world.add(ANNA, EVE, BEN)
    like = [world.add(turned(row, 0.9, 1))[0] for row in (ANNA, EVE, BEN)]
    world.resolver.say({1: [anna], 2: [eve], 3: [ben]})
    photo = Wanted(BEN[None], (12.0,), own=frozenset({3}))
    joined = world.scorer.joined([world.scorer.wanted_person(1), world.scorer.wanted_person(2)])
    assert sorted(world.scored(joined).ids.tolist()) == [anna, eve, *like[:2]]
    assert joined.person is None
    mixed = world.scorer.joined([world.scorer.wanted_person(1), photo])
    assert mixed.person == 1
    assert mixed.own == {3}
    assert mixed.threshold_extra == pytest.approx(extra(2, THRESHOLD))
    assert set(world.scored(mixed).ids.tolist()) == {anna, like[0]}, "Ben's are Ben's, whom the user named"


def test_references_are_read_again_when_faces_are_said(world: World) -> None:
    first, second = world.add(ANNA, BEN)
    world.resolver.say({1: [first]})
    assert len(world.scorer.wanted_person(1).references) == 1
    before = world.scorer.people()
    assert world.scorer.people() is before
    world.resolver.say({1: [first, second]})
    assert len(world.scorer.wanted_person(1).references) == 2
    world.resolver.say({})
    assert len(world.scorer.wanted_person(1).references) == 0


def test_what_is_judged_anew_is_what_would_be_found_at_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Faces are said to be people, moved and taken back, step by step; a scorer that begins then sees the same."""
    rng = np.random.default_rng(1)
    centres = unit(rng.normal(size=(3, DIM)) + 0.8)
    world.add(*unit(centres[np.arange(12) % 3] + 0.7 * unit(rng.normal(size=(12, DIM)))))
    monkeypatch.setattr(api_scoring, "FEW", 4)
    dropped = 0
    for _ in range(60):
        world.scorer, said = scorer(world.gallery, INFO, world.resolver), dict[int, set[int]]()
        for _ in range(4):
            chosen = set((rng.choice(12, rng.integers(1, 7), replace=False) + 1).tolist())
            said = {person: ids - chosen for person, ids in said.items()} | {int(rng.integers(1, 4)): chosen}
            world.resolver.say({person: ids for person, ids in sorted(said.items()) if ids})
            found = world.scorer.people().references
        expected = scorer(world.gallery, INFO, world.resolver).people().references
        assert found.people.tolist() == expected.people.tolist()
        assert found.rows.tolist() == expected.rows.tolist()
        assert found.extras.tolist() == expected.extras.tolist()
        dropped += len(expected) < sum(map(len, said.values()))
    assert dropped > 20, "of those of a person, some tell another"


@pytest.mark.parametrize(
    ("row", "box", "norm", "reason"),
    [
        (ANNA, BOX, 12.0, ""),
        (ANNA, SMALL, 12.0, "it is small"),
        (ANNA, BOX, 6.0, "it is too blurred to tell"),
        (BEN, BOX, 12.0, "it is more like person 2 (similarity 1.00) than anna"),
        (EVE, BOX, 12.0, "it does not look like anna's other faces"),
    ],
)
def test_poor_references_are_refused(
    world: World, row: NDArray[np.float32], box: Box, norm: float, reason: str
) -> None:
    anna, ben = world.add(ANNA, BEN)
    world.resolver.say({1: [anna], 2: [ben]})
    people = world.scorer.people().known.people.people
    assert world.scorer.refusal(face(row, box, norm), "anna", people[0]).startswith(reason)
    if not reason:
        assert world.scorer.refusal(face(row, box, norm), "anna", people[0]) == ""
        assert world.scorer.refusal(face(row, box, norm), "anna", None) == "it is like person 1 (similarity 1.00)"


looks = st.tuples(st.integers(0, 2), st.integers(0, 3), st.sampled_from([None, 12.0, 8.5, 5.0]))
"""A face: whose it is, which look of that person, and its norm."""


@given(
    faces=st.lists(looks, min_size=3, max_size=14),
    said=st.lists(st.sampled_from("-----012xX"), min_size=14, max_size=14),
    threshold=st.sampled_from([0.3, THRESHOLD, 0.6]),
)
@settings(deadline=None, max_examples=60)
def test_it_is_what_a_plain_loop_finds(
    faces: list[tuple[int, int, float | None]], said: list[str], threshold: float
) -> None:
    """Faces of three people who are alike, of whom the user said: is person 0, 1 or 2; is not 0 (x), nor 1 (X)."""
    rows = [turned(turned(ANNA, 0.75, person), 0.86, 10 * person + look) for person, look, _ in faces]
    norms = [norm for *_, norm in faces]
    confirmed: dict[int, list[int]] = {}
    rejected: dict[int, list[int]] = {}
    for at, word in enumerate(said[: len(faces)]):
        if word in "012":
            confirmed.setdefault(int(word), []).append(at + 1)
        elif word in "xX":
            rejected.setdefault("xX".index(word), []).append(at + 1)
    search = Search(threshold, quality=INFO.quality_at(threshold), counts_references=threshold >= THRESHOLD)
    with tempfile.TemporaryDirectory() as directory:
        world = World(Path(directory))
        for row, norm in zip(rows, norms, strict=True):
            world.add(row, norm=norm)
        world.resolver.say(confirmed, rejected)
        people = world.scorer.people().references
        with patch.object(scoring, "TOGETHER", 2), patch.object(scoring, "LOW", 0.5), patch.object(scoring, "BLOCK", 3):
            found = world.scored(world.scorer.wanted_person(0), search)
        close_all()

    expected = _expected(rows, norms, confirmed, rejected, people, search)
    assert dict(zip(found.ids.tolist(), found.similarities.tolist(), strict=True)) == pytest.approx(
        expected, abs=1e-4, nan_ok=True
    )
    assert set(found.ids[found.confirmed].tolist()) == set(confirmed.get(0, ()))
    order = [
        (not bool(sure), -similarity) for sure, similarity in zip(found.confirmed, found.similarities, strict=True)
    ]
    assert order == sorted(order)


def _expected(
    rows: Sequence[NDArray[np.float32]],
    norms: Sequence[float | None],
    confirmed: dict[int, list[int]],
    rejected: dict[int, list[int]],
    people: references.References,
    search: Search,
) -> dict[int, float]:
    """The rules of `store.scoring`, said again for person 0 with the references that were chosen."""
    taken = {face_id for person, ids in confirmed.items() if person for face_id in ids}
    found: dict[int, float] = {}
    for face_id, (row, norm) in enumerate(zip(rows, norms, strict=True), 1):
        spare: dict[int, tuple[float, float]] = {}
        for reference, known, asks, person in zip(
            people.rows, people.norms, people.extras, people.people.tolist(), strict=True
        ):
            blur = QUALITY.extra(known) if search.quality else 0.0
            left = float(row @ reference) - blur - float(asks)
            spare[person] = max(spare.get(person, (-9.0, 0.0)), (left, float(row @ reference)))
        mine, similarity = spare.pop(0, (-9.0, float("nan")))
        if face_id in confirmed.get(0, ()):
            found[face_id] = similarity
            continue
        own_extra = 0.0 if search.counts_references else extra(int((people.people == 0).sum()), THRESHOLD)
        asked = search.threshold + (QUALITY.extra(norm) if search.quality else 0.0)
        copies = [float(row @ rows[other - 1]) for other in rejected.get(0, ())]
        if (
            mine + own_extra >= asked
            and not (search.quality and QUALITY.is_too_blurred(norm))
            and face_id not in {*taken, *rejected.get(0, ())}
            and not (copies and max(copies) >= same_picture(THRESHOLD) and max(copies) >= similarity - 1e-5)
            and all(left <= mine + 1e-5 for left, _ in spare.values())
        ):
            found[face_id] = similarity
    return found


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(1, 6))
@settings(deadline=None, max_examples=40)
def test_references_that_differ_cover_the_others(looks: list[int], most: int) -> None:
    """Each face that is left out is alike to one that is chosen, or so many are chosen that there is no room."""
    rng = np.random.default_rng(len(looks))
    rows = np.stack([turned(turned(ANNA, 0.5, look), 0.97, int(rng.integers(1 << 30))) for look in looks])
    norms = rng.uniform(8, 20, len(rows))
    chosen = references.different(rows, norms, SAME, most)
    assert chosen[0] == norms.argmax()
    assert len(chosen) == min(most, len(set(looks)))
    between = rows[chosen] @ rows[chosen].T - np.eye(len(chosen))
    assert between.max() < SAME
    if len(chosen) < most:
        assert ((rows @ rows[chosen].T).max(axis=1) >= SAME).all()


def test_many_who_ask_at_once_wait_for_one_computation(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would take seconds where hundreds of people were imported."""
    world.resolver.say({1: world.add(ANNA)})
    judged: list[int] = []
    count = world.scorer._references

    def slowly(known: KnownFaces) -> References:
        judged.append(len(known.confirmed))
        until(lambda: sum(asking.is_alive() for asking in threads) == len(threads))
        return count(known)

    monkeypatch.setattr(world.scorer, "_references", slowly)
    threads = [threading.Thread(target=world.scorer.people) for _ in range(4)]
    for asking in threads:
        asking.start()
    for asking in threads:
        asking.join()
    assert judged == [1]
