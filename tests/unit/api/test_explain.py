"""What is said of an answer's matches: their words, the number that is expected wrong, and the reasons."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from facewatchd.api import explain, replies
from facewatchd.api.explain import Explainer, Explanation
from facewatchd.api.faces import FaceFinder
from facewatchd.api.parameters import QueryParameters
from facewatchd.api.quality import SMALL_SIDE
from facewatchd.api.search import Answer, Searcher
from facewatchd.expectation.calibration import Calibration, ChildProbe
from facewatchd.expectation.crowd import Basis
from facewatchd.expectation.sampler import Sampler
from facewatchd.expectation.verdicts import Verdict
from facewatchd.inference.pool import Inference
from facewatchd.matches import Box
from facewatchd.server.params import read
from facewatchd.store.catalog import Outcome
from facewatchd.store.catalog_reader import CatalogReader
from facewatchd.store.flat import FlatIndex
from facewatchd.store.scoring import Search
from facewatchd.threads.bounded_calls import DiskCalls
from facewatchd.threads.liveness import Liveness
from facewatchd.values import Face, ModelInfo, Quality
from tests.support.crowds import people, photos_of
from tests.support.galleries import DIM, face, gallery_with, stamp
from tests.support.known_people import PlayedResolver, scorer

QUALITY = Quality(clear=10.0, slope=0.02, floor=4.0)
INFO = ModelInfo("test-00000000", "test", DIM, 0.6, QUALITY)
RNG = np.random.default_rng(0)
ANNA, BEN = people(RNG, 2, DIM)
BOX = Box(0, 0, 90, 120)


class World:
    """A gallery, and questions to it."""

    def __init__(self, directory: Path) -> None:
        self.gallery = gallery_with(directory, FlatIndex(DIM))
        self.sampler = Sampler(self.gallery, INFO, Liveness())
        finder = FaceFinder(self.gallery.catalog, cast(Inference, None), DiskCalls())
        self.resolver = PlayedResolver()
        self._searcher = Searcher(self.gallery, finder, scorer(self.gallery, INFO, self.resolver), INFO)
        self.explainer = Explainer(self.gallery, self.sampler, INFO)
        self._photos = 0

    def add(self, *faces: Face) -> None:
        """A photo with these faces."""
        self.add_photos([faces])

    def add_photos(self, photos: Iterable[Sequence[Face]]) -> None:
        """Photos, each with its faces."""
        outcomes = []
        for faces in photos:
            self._photos += 1
            name = b"/p/%03d" % self._photos
            outcomes.append(Outcome(name, stamp(self._photos), name, 640, 480, list(faces)))
        self.gallery.record(outcomes)

    def answer(self, asked: Any = ANNA, search: Search | None = None, **params: Any) -> Answer:
        if not params:
            params = {"embedding": asked.tolist()}
        return self._searcher.search(read(QueryParameters, params), search or Search(0.6, quality=QUALITY))

    def explain(self, answer: Answer, *, reasons: bool = True) -> Explanation:
        if self.sampler.ident is None:
            self.sampler.start()
        return self.explainer.explain(answer, self.gallery.index.status().faces, reasons=reasons)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.sampler.stop()


def with_strangers(world: World, count: int = 300) -> None:
    world.add_photos([face(row, BOX)] for row in people(np.random.default_rng(1), count, DIM))


def reply(answer: Answer, explanation: Explanation | None) -> Any:
    return replies.answer(answer, 0.6, INFO, explanation)


def test_each_match_has_a_word_and_the_answer_a_number(world: World) -> None:
    with_strangers(world)
    for row in photos_of(RNG, ANNA, 5, 0.98):
        world.add(face(row, BOX))
    answer = world.answer()
    explanation = world.explain(answer)
    assert [each.verdict for each in explanation.matches[:5]] == [Verdict.LIKELY] * 5
    assert explanation.basis is Basis.AT_MOST, "the recogniser was not measured"
    assert explanation.count is not None
    assert 0 < explanation.count <= len(answer.found.matches)
    document = reply(answer, explanation)
    assert document["expected_false"] == {"count": round(explanation.count, 3), "basis": "at-most"}
    assert document["matches"][0]["verdict"] == "likely"
    assert document["matches"][0]["reasons"] == []


def test_an_answer_that_is_not_explained_has_none_of_it(world: World) -> None:
    world.add(face(ANNA, BOX))
    document = reply(world.answer(), None)
    assert "expected_false" not in document
    assert not {"verdict", "reasons", "rival", "closer"} & document["matches"][0].keys()


def test_verdicts_alone_are_the_same_words_without_reasons(world: World) -> None:
    with_strangers(world, 100)
    world.add(face(ANNA, BOX), face(BEN, Box(200, 0, 90, 120)))
    answer = world.answer()
    full, alone = (reply(answer, world.explain(answer, reasons=reasons)) for reasons in (True, False))
    assert alone["expected_false"] == full["expected_false"]
    assert [each["verdict"] for each in alone["matches"]] == [each["verdict"] for each in full["matches"]]
    assert not {"reasons", "rival", "closer"} & alone["matches"][0].keys()


def test_in_a_small_gallery_the_number_is_not_known_and_nothing_but_the_photo_itself_is_sure(world: World) -> None:
    for row in photos_of(RNG, ANNA, 2, 0.98):
        world.add(face(row, BOX))
    answer = world.answer(faces=[1])
    document = reply(answer, world.explain(answer))
    assert document["expected_false"] == {"count": None, "basis": "unknown"}
    assert [(each["itself"], each["verdict"]) for each in document["matches"]] == [(True, "sure"), (False, "likely")]


@pytest.mark.parametrize(("strangers", "basis"), [(30, Basis.UNKNOWN), (300, Basis.AT_MOST)])
def test_the_query_photo_alone_is_no_estimate(world: World, strangers: int, basis: Basis) -> None:
    with_strangers(world, strangers)
    world.add(face(ANNA, BOX))
    answer = world.answer(faces=[strangers + 1])
    assert [match.itself for match in answer.found.matches] == [True]
    explanation = world.explain(answer)
    assert (explanation.basis, explanation.count) == (basis, None if basis is Basis.UNKNOWN else 0)


def test_copies_of_a_photo_make_no_word_surer(world: World) -> None:
    with_strangers(world)
    world.add(face(ANNA, BOX))
    aside = BEN - float(BEN @ ANNA) * ANNA
    for similarity in (0.85, 0.8, 0.75, 0.7, 0.65):
        row = similarity * ANNA + np.sqrt(1 - similarity**2) * aside / np.linalg.norm(aside)
        world.add(face(row.astype(np.float32), BOX))
    world.gallery.record([Outcome(b"/c/%d" % at, stamp(301), b"/p/301", 640, 480, None) for at in range(50)])
    words = []
    for collapse in (True, False):
        answer = world.answer(search=Search(0.6, collapse=collapse, quality=QUALITY))
        explanation = world.explain(answer)
        words.append(
            {match.face_id: each.verdict for match, each in zip(answer.found.matches, explanation.matches, strict=True)}
        )
    assert len(explanation.matches) == len(words[0]) + 50
    assert words[1] == words[0]
    assert {Verdict.LIKELY, Verdict.LOOK} <= set(words[0].values())


@pytest.mark.parametrize("asked_reasons", [True, False])
def test_of_a_small_child_who_is_asked_for_it_is_said(world: World, asked_reasons: bool) -> None:
    world.explainer._calibration = Calibration(np.array([0.0, -1.0]), True, ChildProbe(ANNA, -0.9, 0.4, 0.1))
    world.add(face(ANNA, BOX), face(BEN, Box(200, 0, 90, 120)))
    answer = world.answer(faces=[1, 2], face="all")
    document = reply(answer, world.explain(answer, reasons=asked_reasons))
    assert [entry["child"] for entry in document["query"]] == [True, False]
    assert "child" not in reply(answer, None)["query"][0]


def test_where_nothing_was_found_nothing_is_wrong(world: World) -> None:
    world.add(face(BEN, BOX))
    explanation = world.explain(world.answer())
    assert (explanation.matches, explanation.count) == ([], 0)


@pytest.mark.parametrize("narrowed", [{"directories": (b"/p",)}, {"min_size": 10}])
def test_of_a_part_of_the_gallery_the_number_is_a_bound(world: World, narrowed: dict[str, Any]) -> None:
    with_strangers(world)
    world.add(face(ANNA, BOX))
    explanation = world.explain(world.answer(search=Search(0.6, **narrowed)))
    assert explanation.basis is Basis.AT_MOST
    assert explanation.count is not None
    assert explanation.count <= len(explanation.matches)


def test_an_answer_that_was_cut_is_judged_by_what_is_shown(world: World) -> None:
    with_strangers(world)
    for row in photos_of(RNG, ANNA, 20, 0.95):
        world.add(face(row, BOX))
    whole, cut = (world.explain(world.answer(search=Search(0.3, top))) for top in (0, 10))
    assert whole.count is not None
    assert cut.count is not None
    assert len(cut.matches) == 10
    assert cut.count < 0.1 < 1 < whole.count


def test_with_all_faces_the_strangers_of_each_person_count(world: World) -> None:
    with_strangers(world)
    world.add(face(ANNA, BOX), face(BEN, Box(200, 0, 90, 120)))
    alone = [world.explain(world.answer(row, Search(0.3))).count for row in (ANNA, BEN)]
    both = world.explain(world.answer(faces=[301, 302], face="all", search=Search(0.3))).count
    assert both is not None
    assert None not in alone
    assert max(alone) < both  # type: ignore[type-var]


def reasons(world: World, *faces: Face) -> list[str]:
    """Of the photo with these faces, the first of which matches best."""
    world.add(*faces)
    answer = world.answer(search=Search(0.5, quality=QUALITY))
    return list(reply(answer, world.explain(answer))["matches"][0]["reasons"])


def test_a_clear_face_gives_no_reason(world: World) -> None:
    assert reasons(world, face(ANNA, BOX)) == []


def test_a_small_face(world: World) -> None:
    assert reasons(world, face(ANNA, Box(0, 0, SMALL_SIDE - 1, 120))) == ["small"]


def test_a_blurred_face(world: World) -> None:
    assert reasons(world, Face(BOX, 0.9, np.zeros((5, 2), np.float32), ANNA, norm=8.0)) == ["blurred"]


def test_another_face_on_the_photo_that_matches_too(world: World) -> None:
    assert reasons(world, face(ANNA, BOX), face(photos_of(RNG, ANNA, 1, 0.8)[0], Box(200, 0, 90, 120))) == ["rival"]


def test_a_blurred_face_on_the_photo_that_does_not_match_is_no_reason(world: World) -> None:
    """By the rules of the query: what blur adds to the threshold, and the floor."""
    near = photos_of(RNG, ANNA, 1, 0.55)[0]
    extra = float(near @ ANNA) - 0.6
    assert extra > 0
    for norm in (QUALITY.clear - (extra + 0.01) / QUALITY.slope, QUALITY.floor - 1):
        other = Face(Box(200, 0, 90, 120), 0.9, np.zeros((5, 2), np.float32), near, norm=norm)
        world.add(face(ANNA, BOX), other)
    answer = world.answer()
    assert [match["reasons"] for match in reply(answer, world.explain(answer))["matches"]] == [[], []]


def test_very_many_matches_are_explained_in_blocks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with_strangers(world, 60)
    world.add_photos([face(row, BOX), face(BEN, Box(200, 0, 90, 120))] for row in photos_of(RNG, ANNA, 20, 0.9))
    answer = world.answer(search=Search(-1.0, quality=QUALITY))
    whole = reply(answer, world.explain(answer))
    read: list[int] = []
    beside = CatalogReader.beside

    def counted(reader: CatalogReader, face_ids: Sequence[int]) -> dict[int, dict[int, Face]]:
        read.append(len(face_ids))
        return beside(reader, face_ids)

    monkeypatch.setattr(CatalogReader, "beside", counted)
    monkeypatch.setattr(explain, "BLOCK", 7)
    assert reply(answer, world.explain(answer)) == whole
    assert max(read) == 7
    assert sum(read) == len(answer.found.matches) == 80


def test_another_face_on_the_photo_that_does_not_match_is_named_and_no_reason(world: World) -> None:
    world.add(face(ANNA, BOX), face(BEN, Box(200, 0, 90, 120)))
    answer = world.answer()
    (match,) = reply(answer, world.explain(answer))["matches"]
    assert match["reasons"] == []
    assert match["rival"] == {"face_id": 2, "similarity": pytest.approx(float(ANNA @ BEN), abs=1e-4)}


def test_a_face_that_is_more_like_another_person_of_the_gallery(world: World) -> None:
    with_strangers(world, 60)
    between = 0.55 * ANNA + 0.75 * BEN  # in the group of Ben, who it resembles more
    for row in photos_of(RNG, BEN, 6, 0.98):
        world.add(face(row, BOX))
    world.add(face((between / np.linalg.norm(between)).astype(np.float32), BOX))
    answer = world.answer(search=Search(0.5))
    document = reply(answer, world.explain(answer))
    (match,) = [each for each in document["matches"] if each["face_id"] == 67]
    assert match["reasons"] == ["closer"]
    assert 60 < match["closer"]["face_id"] <= 66, "no face resembles itself the most"
    assert match["closer"]["similarity"] > match["similarity"]
    assert match["closer"]["path"] == f"/p/{match['closer']['face_id']:03}"


def test_of_a_named_person_what_was_confirmed_is_sure_and_never_counted_as_wrong(world: World) -> None:
    with_strangers(world)
    own = photos_of(RNG, ANNA, 12, 0.9)
    world.add_photos([face(row, BOX)] for row in own)
    world.add(face(ANNA, BOX), face(BEN, Box(200, 0, 90, 120)))
    ids = list(range(301, 307))
    world.resolver.say({1: [*ids, 313], 2: [314]}, None, {1: [5]})
    answer = world.answer(who=[{"person": "person 1"}])
    explanation = world.explain(answer)
    document = reply(answer, explanation)
    confirmed = [match for match in document["matches"] if match["confirmed"]]
    assert {match["face_id"] for match in confirmed} == {*ids, 313, None}
    assert {match["verdict"] for match in confirmed} == {"sure"}
    others = [match for match in document["matches"] if not match["confirmed"]]
    assert {match["face_id"] for match in others} >= set(range(307, 313))
    assert explanation.count is not None
    assert 0 < explanation.count <= len(others)
    assert document["query"][0]["person"] == "person 1"
    assert [match["reasons"] for match in document["matches"] if match["face_id"] == 313] == [[]], "Ben is Ben"
    world.resolver.say({1: list(range(301, 314))})
    answer = world.answer(who=[{"person": "person 1"}], top=13)
    assert world.explain(answer).count == 0


def test_a_person_who_only_stands_on_photos(world: World) -> None:
    world.add(face(BEN, BOX))
    world.resolver.say({1: []}, None, {1: [1]})
    answer = world.answer(who=[{"person": "person 1"}])
    document = reply(answer, world.explain(answer))
    assert [(match["similarity"], match["verdict"]) for match in document["matches"]] == [(None, "sure")]
    assert document["expected_false"]["count"] == 0


def test_of_a_person_whose_faces_are_a_small_childs_it_is_said(world: World) -> None:
    world.explainer._calibration = Calibration(np.array([0.0, -1.0]), True, ChildProbe(ANNA, -0.9, 0.4, 0.1))
    world.add(face(ANNA, BOX))
    world.add(face(BEN, BOX))
    world.resolver.say({1: [1], 2: [2]})
    for name, is_child in (("person 1", True), ("person 2", False)):
        answer = world.answer(who=[{"person": name}])
        assert [entry["child"] for entry in reply(answer, world.explain(answer))["query"]] == [is_child]


def test_of_what_the_user_said_nothing_is_expected_wrong_in_a_small_gallery_too(world: World) -> None:
    world.add(face(ANNA, BOX))
    world.resolver.say({1: [1]})
    answer = world.answer(who=[{"person": "person 1"}])
    assert reply(answer, world.explain(answer))["expected_false"] == {"count": 0.0, "basis": "estimate"}
