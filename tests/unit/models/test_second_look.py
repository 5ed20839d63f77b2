"""The second look: what is worth one, where turned and cut photos show their faces, and what is news."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facewatchd.config import Faces
from facewatchd.matches import Box
from facewatchd.models import second_look
from facewatchd.models.second_look import GivenUpError, lean, look_again, news, spans, tile_side, worth
from facewatchd.values import Face, Look, Ways
from tests.support import drawn_faces
from tests.support.detections import Image8, canvas, overlap
from tests.support.drawn_model import InsightFaceModel

CONFIG = Faces()
UPRIGHT = np.array([(38, 52), (74, 52), (56, 72), (42, 92), (71, 92)], np.float32)
SIDEWAYS = np.stack([UPRIGHT[:, 1], 112 - UPRIGHT[:, 0]], axis=1)
PLACE = Box(10, 20, 100, 120)
TURNED = (Look.TURNED_90, Look.TURNED_180, Look.TURNED_270)


def model(config: Faces = CONFIG) -> InsightFaceModel:
    return InsightFaceModel(Path(), model_id="drawn-0", name="drawn", threshold=0.5, faces=config)


def seen(box: Box = PLACE, score: float = 0.9, look: Look = Look.FIRST, *, leaning: bool = False) -> Face:
    return Face(box, score, SIDEWAYS if leaning else UPRIGHT, np.eye(4, dtype=np.float32)[0], None, look)


def ways(faces: list[Face], width: int = 800, height: int = 600, config: Faces = CONFIG) -> Ways:
    return worth(width, height, faces, model(), config)


def everything() -> bool:
    return True


# What is worth a second look


def test_a_photo_is_turned_where_nothing_upright_was_found() -> None:
    assert ways([]) is Ways.TURNED
    assert ways([seen(score=0.6)]) is Ways.TURNED, "it may stand on its head"
    assert ways([seen()]) is Ways.NONE
    assert ways([seen(), seen(Box(300, 20, 100, 120), 0.55)]) is Ways.NONE, "one is surely upright"
    assert ways([seen(), seen(Box(300, 20, 100, 120), leaning=True)]) is Ways.TURNED


def test_a_photo_is_cut_where_it_is_large_and_may_hide_small_faces() -> None:
    large = seen(Box(100, 100, 900, 900))
    assert ways([], 4000, 3000) is Ways.BOTH
    assert ways([], 2000, 1500) is Ways.TURNED, "a face of min_size is large enough to the detector"
    assert ways([large], 4000, 3000) is Ways.NONE
    assert ways([large, seen(Box(2000, 100, 80, 90))], 4000, 3000) is Ways.TILES
    assert ways([large], 20000, 2000) is Ways.TILES
    assert ways([large], 4000, 3000, Faces(detector_size=480)) is Ways.TILES
    assert ways([], 4000, 3000, Faces(min_size=200)) is Ways.TURNED, "faces that a tile would show are not wanted"


# Where the faces are


@pytest.mark.parametrize("look", TURNED)
def test_faces_on_a_turned_photo_are_found_where_they_are(look: Look) -> None:
    """The photo is drawn upright, and then lies: what is found is compared with what was drawn, turned likewise."""
    quarters = TURNED.index(look) + 1
    drawn = canvas(900, 640)
    truth = canvas(900, 640)
    for person, box in enumerate([(60, 40, 200, 160), (420, 360, 120, 130), (640, 60, 90, 90)], start=1):
        drawn_faces.draw_face(drawn, box, person, collar=True)
        drawn_faces.draw_face(truth, box, person)
    lying = np.ascontiguousarray(np.rot90(drawn, quarters))  # counter-clockwise, as rot90 does
    assert model().faces(lying) == [], "the first look misses them"
    found = look_again(model(), lying, Ways.TURNED, CONFIG, everything)
    upright = model().faces(truth)
    assert len(found) == len(upright) == 3
    for face in upright:
        (same,) = [each for each in found if float(each.embedding @ face.embedding) > 0.9]
        assert same.look is look
        x, y, w, h = face.box
        corners = np.array([(x, y), (x + w, y + h)], float)
        expected = np.concatenate([corners, face.landmarks])
        for turn in range(quarters):  # a point of a photo that is 900 or 640 wide, turned counter-clockwise
            wide = 900 if turn % 2 == 0 else 640
            expected = np.stack([expected[:, 1], wide - expected[:, 0]], axis=1)
        low, high = expected[:2].min(axis=0), expected[:2].max(axis=0)
        assert overlap(same.box, (*low, *(high - low))) > 0.9
        assert np.abs(same.landmarks - expected[2:]).max() < 6
        assert abs(abs(lean(same.landmarks)) - (180 if quarters == 2 else 90)) < 1


@pytest.mark.parametrize(("width", "height", "seed"), [(7000, 900, 1), (2600, 5200, 2), (4999, 3001, 3)])
def test_small_faces_are_found_once_wherever_tiles_are_cut(width: int, height: int, seed: int) -> None:
    """Faces at any place, on the edges between tiles too."""
    random = np.random.default_rng(seed)
    image = np.full((height, width, 3), 90, np.uint8)
    drawn: list[tuple[int, int, int, int]] = []
    while len(drawn) < 40:
        side = int(random.integers(44, 90))
        box = (int(random.integers(0, width - side)), int(random.integers(0, height - side)), side, side)
        if all(abs(box[0] - x) > 190 or abs(box[1] - y) > 190 for x, y, _, _ in drawn):
            drawn.append(box)
            drawn_faces.draw_face(image, box, 1 + len(drawn) % 15)
    first = model().faces(image)
    found = look_again(model(), image, Ways.TILES, CONFIG, everything)
    assert len(first) < len(drawn), "the whole photo hides some"
    assert {each.look for each in found} == {Look.TILE}
    assert len(found) == len(drawn)
    for box in drawn:
        (same,) = [face for face in found if overlap(face.box, box) > 0.6]
        points = (same.landmarks - same.box[:2]) / same.box[2:] * 112
        assert np.allclose(points, drawn_faces.TEMPLATE, atol=0.1)


def test_spans_cover_a_side_and_overlap() -> None:
    for config in (CONFIG, Faces(detector_size=640), Faces(min_size=20), Faces(min_size=100)):
        for length in (1, 40, 800, 2400, 2401, 4032, 20000, 60000):
            for longest in {length, max(length, 9000)}:
                side = tile_side(length, longest, config)
                cut = spans(length, longest, side, config)
                assert cut[0][0] == 0
                assert sum(cut[-1]) == length
                assert all(0 < wide <= side for _, wide in cut)
                hidden = second_look.NEAR * second_look.LEAST_SEEN * longest / (config.detector_size or 960)
                least = min(round(hidden), side // 3) - 1
                assert all(one[0] + one[1] - other[0] >= least for one, other in itertools.pairwise(cut))


def test_a_photo_that_is_very_long_is_cut_too() -> None:
    image = np.full((120, 20000, 3), 90, np.uint8)
    drawn_faces.draw_face(image, (15000, 30, 60, 60), 3)
    (found,) = look_again(model(), image, ways([], 20000, 120), CONFIG, everything)
    assert overlap(found.box, (15000, 30, 60, 60)) > 0.7


@pytest.mark.parametrize(
    ("config", "size"),
    [
        (CONFIG, (18000, 13800)),
        (CONFIG, (65000, 3800)),
        (Faces(min_size=16), (18000, 13800)),
        (Faces(detector_size=320), (13800, 18000)),
        (Faces(detector_size=64, min_size=20), (18000, 13800)),
    ],
)
def test_a_photo_is_cut_into_a_bounded_number_of_tiles(config: Faces, size: tuple[int, int]) -> None:
    model = Playing()
    assert Ways.TILES in ways([], *size, config)
    look_again(model, np.broadcast_to(np.uint8(90), (size[1], size[0], 3)), Ways.TILES, config, everything)
    assert second_look.MOST_TILES // 2 < model.shown <= second_look.MOST_TILES
    look_again(model, np.broadcast_to(np.uint8(90), (size[1], size[0], 3)), Ways.BOTH, config, everything)
    assert model.shown <= 3 * second_look.MOST_TILES + 3, "with tiles in the three turns"


@pytest.mark.parametrize("look", TURNED)
def test_landmarks_of_turned_faces_count_the_centres_of_pixels(look: Look) -> None:
    """A face of one pixel, at each place of a photo."""
    for y, x in itertools.product(range(3), range(5)):
        image = np.zeros((3, 5), np.uint8)
        image[y, x] = 1
        ((down, across),) = np.argwhere(np.rot90(image, -1 - TURNED.index(look)))
        face = replace(seen(Box(int(across), int(down), 1, 1)), landmarks=np.full((5, 2), (across, down), np.float32))
        back = second_look.turned_back(face, look, 5, 3)
        assert back.box == (x, y, 1, 1)
        assert back.landmarks.tolist() == [[x, y]] * 5


# Large photos that lie


class Misreading:
    """The drawn model, that also sees faces of a photo that lies in one turn, leaning or unsure, as detectors do."""

    upright_score = 0.75

    def __init__(self, look: Look) -> None:
        self._model, self._look = model(), look
        self.info = self._model.info

    def faces(self, image: Image8) -> list[Face]:
        found = self._model.faces(image)
        turned = self._model.faces(np.ascontiguousarray(np.rot90(image, -1 - TURNED.index(self._look))))
        height, width = image.shape[:2]
        lying = [second_look.turned_back(face, self._look, width, height) for face in turned]
        return [*found, *(replace(face, score=0.7, look=Look.FIRST) for face in lying)]


def crowd(sides: list[int]) -> Image8:
    """A large photo with faces of these sizes, which are recognised only upright."""
    image = np.full((3840, 5120, 3), 90, np.uint8)
    drawn = [Box(160 + 960 * (place % 5), 1200 + 880 * (place // 5), side, side) for place, side in enumerate(sides)]
    for person, box in enumerate(drawn, start=1):
        drawn_faces.draw_face(image, box, person, collar=True)
    return image


def turned(box: Box, quarters: int, width: int, height: int) -> tuple[float, ...]:
    """A box of a photo of this size after it was turned counter-clockwise."""
    corners = np.array([(box.x, box.y), (box.x + box.w, box.y + box.h)])
    for turn in range(quarters):
        corners = np.stack([corners[:, 1], (width, height)[turn % 2] - corners[:, 0]], axis=1)
    low, high = corners.min(axis=0), corners.max(axis=0)
    return (*low, *(high - low))


@pytest.mark.parametrize(
    ("look", "sides"),
    [
        (Look.TURNED_90, [44] * 8),
        pytest.param(Look.TURNED_180, [44] * 8, marks=pytest.mark.full),
        (Look.TURNED_180, [44] * 8 + [112]),
        pytest.param(Look.TURNED_270, [44] * 8 + [112], marks=pytest.mark.full),
    ],
)
def test_small_faces_are_found_on_a_large_photo_that_lies(look: Look, sides: list[int]) -> None:
    """A large face shows on the whole photo how it lies, or else a tile does, where faces are misread."""
    upright = crowd(sides)
    quarters = TURNED.index(look) + 1
    lying = np.rot90(upright, quarters)
    misreading = Misreading(look)
    assert len(model().faces(upright)) == len(sides) - 8, "the whole photo hides the small ones"
    ways = worth(lying.shape[1], lying.shape[0], misreading.faces(lying), misreading, CONFIG)
    found = look_again(misreading, lying, ways, CONFIG, everything)
    assert {face.look for face in found} == {look}
    standing = look_again(model(), upright, Ways.TILES, CONFIG, everything)
    assert len(found) == len(standing) > 4
    for face in standing:
        expected = turned(face.box, quarters, 5120, 3840)
        assert sum(overlap(each.box, expected) > 0.8 for each in found) == 1


@pytest.mark.parametrize("look", TURNED)
def test_faces_on_a_panorama_that_lies_are_found_though_nothing_shows_them_misread(look: Look) -> None:
    upright = np.full((800, 12000, 3), 90, np.uint8)
    drawn_faces.draw_face(upright, (9000, 300, 90, 90), 3, collar=True)
    lying = np.rot90(upright, TURNED.index(look) + 1)
    assert model().faces(lying) == []
    (found,) = look_again(model(), lying, Ways.BOTH, CONFIG, everything)
    assert found.look is look


# Guards


class Playing:
    """In the place of a model: sees the same faces on whatever it is shown."""

    upright_score = 0.75

    def __init__(self, *faces: Face) -> None:
        self.info = model().info
        self._faces = list(faces)
        self.shown = 0

    def faces(self, image: Image8) -> list[Face]:
        self.shown += 1
        return list(self._faces)


def test_a_face_that_is_doubtful_or_leans_on_the_turned_photo_does_not_count() -> None:
    image = canvas(400, 400)
    assert look_again(Playing(seen(score=0.59)), image, Ways.TURNED, CONFIG, everything) == []
    assert look_again(Playing(seen(score=0.85)), image, Ways.TURNED, Faces(min_score=0.9), everything) == []
    assert look_again(Playing(seen(leaning=True)), image, Ways.TURNED, CONFIG, everything) == []
    assert len(look_again(Playing(seen()), image, Ways.TURNED, CONFIG, everything)) == 3


def test_a_photo_lies_in_one_way_unless_another_is_sure() -> None:
    class ByTurn(Playing):
        def faces(self, image: Image8) -> list[Face]:
            self.shown += 1
            return [self._faces[self.shown - 1]]

    image = canvas(400, 400)
    doubtful = ByTurn(*(seen(score=score) for score in (0.7, 0.8, 0.7)))
    assert [face.look for face in look_again(doubtful, image, Ways.TURNED, CONFIG, everything)] == [Look.TURNED_180]
    sure = ByTurn(*(seen(score=score) for score in (0.76, 0.8, 0.7)))
    found = look_again(sure, image, Ways.TURNED, CONFIG, everything)
    assert {face.look for face in found} == {Look.TURNED_90, Look.TURNED_180}


def test_a_face_misread_in_a_tile_does_not_hide_the_turned_one() -> None:
    class Lying(Playing):
        """Sees a face on the whole photo in one turn, and in each tile of it as it lies one that scores more."""

        def faces(self, image: Image8) -> list[Face]:
            self.shown += 1
            if self.shown == 1:
                return [seen(Box(400, 100, 700, 800), 0.75)]
            return [misread] if self.shown > 3 and image.shape[0] > image.shape[1] else []

    misread = seen(Box(100, 400, 800, 700), 0.8, leaning=True)
    lying = Lying()
    (found,) = look_again(lying, canvas(1000, 9000), Ways.BOTH, CONFIG, everything)
    assert (found.look, found.score) == (Look.TURNED_90, 0.75)


def test_a_face_that_leans_in_a_tile_counts_where_no_turn_shows_it() -> None:
    leaning = seen(Box(100, 400, 200, 180), 0.8, leaning=True)
    found = look_again(Playing(leaning), canvas(2600, 1000), Ways.TILES, CONFIG, everything)
    assert {face.look for face in found} == {Look.TILE}


def test_a_face_that_lies_among_upright_ones_does_not_turn_the_tiles() -> None:
    """Two faces stand on the photo as it is, one in a turn: tiles are cut of the photo as it is."""

    class Mixed(Playing):
        def faces(self, image: Image8) -> list[Face]:
            self.shown += 1
            if self.shown in (2, 3):
                return []
            if self.shown == 1:
                return [seen(Box(100, 100, 50, 50), 0.9)]
            return [seen(Box(200, 200, 50, 50), 0.8), seen(Box(400, 200, 50, 50), 0.8)]

    found = look_again(Mixed(), canvas(5000, 3000), Ways.BOTH, CONFIG, everything)
    assert {face.look for face in found} == {Look.TURNED_90, Look.TILE}


def test_a_face_that_is_cut_by_its_tile_is_left_to_the_next() -> None:
    image = canvas(5000, 1000)
    (_, wide), *_ = spans(5000, 5000, tile_side(5000, 1000, CONFIG), CONFIG)
    cut = Playing(seen(Box(wide - 60, 500, 60, 120)), seen(Box(0, 100, 50, 80)))
    found = look_again(cut, image, Ways.TILES, CONFIG, everything)
    assert [face.box.x for face in found] == [0, 5000 - 60], "at the edges of the photo they are whole"


def test_it_is_given_up_between_two_parts() -> None:
    model = Playing()
    with pytest.raises(GivenUpError):
        look_again(model, canvas(400, 400), Ways.BOTH, CONFIG, lambda: model.shown < 2)
    assert model.shown == 2


# What is news


@pytest.mark.parametrize(
    ("known", "found", "is_news", "is_replaced"),
    [
        (seen(), seen(score=0.99, look=Look.TILE), False, False),
        (seen(score=0.5), seen(score=0.9, look=Look.TURNED_180), True, True),
        (seen(score=0.6), seen(score=0.64, look=Look.TURNED_180), False, False),
        (seen(score=0.6, leaning=True), seen(score=0.64, look=Look.TURNED_90), True, True),
        (seen(score=0.7, leaning=True), seen(score=0.69, look=Look.TURNED_90), False, False),
        (seen(score=0.5, look=Look.TILE), seen(score=0.9, look=Look.TURNED_90), False, False),
        (seen(Box(400, 20, 100, 120)), seen(score=0.61, look=Look.TURNED_90), True, False),
        (seen(Box(0, 0, 400, 400)), seen(score=0.9, look=Look.TILE), False, False),
    ],
)
def test_a_face_of_the_first_look_stays_unless_it_was_misread(
    known: Face, found: Face, is_news: bool, is_replaced: bool
) -> None:
    assert news({7: known}, [found]) == ([found] if is_news else [], [7] if is_replaced else [])


def test_of_faces_at_one_place_the_highest_score_is_kept() -> None:
    low, high = seen(score=0.6, look=Look.TURNED_90), seen(Box(15, 25, 100, 120), 0.8, Look.TILE)
    part = seen(Box(60, 20, 40, 120), 0.7, Look.TILE)
    other = replace(low, box=Box(300, 20, 100, 120))
    assert news({}, [low, part, other, high]) == ([high, other], [])


@pytest.mark.parametrize(("known_look", "wide"), [(Look.TILE, 20), (Look.FIRST, 20), (Look.FIRST, 5000)])
def test_the_most_faces_are_compared_in_a_moment(known_look: Look, wide: int) -> None:
    """The writer's thread compares them, and nothing is recorded meanwhile."""

    def row(count: int, look: Look, width: int, score: float) -> list[Face]:
        return [seen(Box(each % 100 * 50, each // 100 * 50, width, 20), score, look) for each in range(count)]

    known = dict(enumerate(row(5000, known_look, wide, 0.5)))
    found = row(second_look.MOST_FACES, Look.TURNED_90, 20, 0.9)
    began = time.thread_time()
    added, replaced = news(known, found)
    assert time.thread_time() - began < 0.5, "a loop over all pairs takes seconds"
    assert (len(added), len(replaced) > 0) == ((0, False) if known_look is Look.TILE else (len(found), True))
