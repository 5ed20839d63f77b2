"""A second look at a photo: turned by 90, 180 and 270 degrees, and in tiles.

A detector finds faces that are upright and not too small. The first look, `Model.faces` on the whole upright photo,
misses two kinds, and a second look costs several times as much as the first. So it is taken only where it promises
something (`worth`), and later:

- *Turned.* A photo that lies on its side or stands on its head, such as a scan without metadata. As a rule the first
  look does find its faces, but misreads them: sideways ones with landmarks that lie sideways, those upside down with
  the eyes where the mouth is. Their embeddings are like nobody's. So the photo is turned where nothing was found, where
  a face leans by more than `LEANING` degrees, and where no face scores as one that is upright (`Model.upright_score`).
- *In tiles.* A face that is small against the photo is less than `LEAST_SEEN` pixels wide to the detector, which sees
  at most `SIDE` pixels. In a tile of `tile_side` a face of ``min_size`` has as many. A large photo is cut where nothing
  was found, where the smallest face is so small that others may have been missed, and from `FAR` times the detector's
  side on, where even faces of some size are. There are at most `MOST_TILES`. With the default options so many are
  enough for 175 megapixels of the usual shapes. Larger photos get larger tiles, in which somewhat larger faces are
  missed: at 250 megapixels those of less than 46 pixels. A ``min_size`` of 16 reaches the bound at 29 megapixels.

A large photo that lies is cut in the turn that shows its faces best (`_best_turn`), unless it shows them better as it
is. If its faces are too small for that, it is cut as it is. If that shows faces, none surely upright, what is around
the best of them is turned, and the photo cut again in the turn that won. If it shows none and has `FAR` times the
detector's side, such as a panorama, it is cut in the three turns, into at most `MOST_TILES` together. To do so with
each large photo without a face would cost four times as much: there, small faces are missed that lie, where neither the
whole turned photo nor a tile shows one that is sure enough. SCRFD 2.5G misses three faces of 80 pixels on a photo of 24
megapixels that lies; YuNet finds them.

What a second look finds counts like any face, with these guards:

- A face on a turned photo must stand upright there (else another turn shows it better), and score `TURNED_SCORE`.
- A photo lies in one way, as a rule. Faces of another turn than that of the best one must score `Model.upright_score`:
  on a face that is upside down, a detector may find others that lie.
- A face that leans in a tile is left out where the turned photo shows faces: it may be one of them, misread.
- A face that touches the edge between two tiles is left to the tile that holds all of it: tiles overlap by more than
  the largest face that the whole photo may hide.
- Of faces at one place (`same_place`) the highest score is kept. One of the first look stays as it is, unless a turned
  photo shows that it was a misreading (`news`).

Measured by `python -m tests.benchmarks second_look`; the numbers are in its README.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from facewatchd.matches import Box
from facewatchd.models.base import left_to_right
from facewatchd.values import Face, Look, Ways

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facewatchd.config import Faces
    from facewatchd.models.base import Model
    from facewatchd.values import Landmarks, Pixels

    Boxes = NDArray[np.int64]
    """Shape (n, 4): those of faces."""

SIDE = 960
"""Pixels of the detector's side for large photos, where the configuration does not fix it."""
LEAST_SEEN = 16
"""Pixels to the detector: of sharp faces with 15 SCRFD 2.5G finds 40 of 40, with 11 37, with 9 20, with 8 2."""
NEAR = 1.5
"""Where the smallest face has fewer than so many times `LEAST_SEEN` pixels to the detector, others may be smaller."""
FAR = 8
"""From so many times the detector's side on, faces of up to `FAR` * `LEAST_SEEN` = 128 pixels may be missed."""
LEANING = 45.0
"""Degrees from which another turn shows a face more upright."""
TURNED_SCORE = 0.65
"""Least score of a face on a turned photo, where ``min_score`` is not more: of 172 faces on blurred, noisy and dark
photos 166 score as much, and of 31 pictures without a face that were turned only a cat's."""
MARGIN = 0.05
"""By how much a face on the turned photo must score more than those of the first look that do not lean."""
MOST_TILES = 48
"""Of a photo in one turn. A second look is at most two such cuts and seven parts more, 103 in all, and must stay below
`inference.deadlines.CPU_LIMIT`: each may take 2.9 seconds of a processor."""
MOST_FACES = 1000
"""That are returned of one photo, the best: comparing them with 5,000 recorded ones takes 0.08 s."""
SAME_PLACE = 0.5
"""Share of the smaller of two boxes from which both are of one face."""
TURNS = {1: Look.TURNED_90, 2: Look.TURNED_180, 3: Look.TURNED_270}
"""By the number of quarter turns clockwise."""

Span = tuple[int, int]
"""First pixel, and how many."""


class GivenUpError(Exception):
    """The second look was ended before it was complete."""


def worth(width: int, height: int, faces: Sequence[Face], model: Model, config: Faces) -> Ways:
    """The ways in which a photo of this size is worth a second look after the first found these faces."""
    ways = Ways.NONE
    if any(map(_leans, faces)) or not any(face.score >= model.upright_score for face in faces):
        ways |= Ways.TURNED
    if _may_hide_more(width, height, faces, config):
        ways |= Ways.TILES
    return ways


def _may_hide_more(width: int, height: int, faces: Sequence[Face], config: Faces) -> bool:
    """Whether a photo on which these faces were found may have others that only tiles show."""
    longest, side = max(width, height), config.detector_size or SIDE
    smallest = min((min(face.box.w, face.box.h) for face in faces), default=0)
    is_too_small = smallest * side < NEAR * LEAST_SEEN * longest or longest > FAR * side
    return is_too_small and longest > tile_side(width, height, config)


def look_again(model: Model, image: Pixels, ways: Ways, config: Faces, goes_on: Callable[[], bool]) -> list[Face]:
    """Look at a photo in these ways; return the faces, left to right, in pixels of the upright photo.

    ``goes_on`` is asked before each part of the work, which takes about as long as a first look; where it says False,
    `GivenUpError` is raised. Raises `ModelError` as `Model.faces` does.
    """
    again = _Again(model, image, config, goes_on)
    found = again.turned(image) if ways & Ways.TURNED else []
    if found and (lies := again.lies_large(found)) is not Look.FIRST:
        found += again.tiles(lies)
    elif ways & Ways.TILES:
        tiles = again.tiles(Look.FIRST)
        if found:
            found += [face for face in tiles if not _leans(face)]
        elif ways & Ways.TURNED:
            found = again.turned_tiles(tiles)
        else:
            found = tiles
    return left_to_right(best_of_each_place(_of_best_turn(found, model))[:MOST_FACES])


class _Again:
    """A second look at one photo."""

    def __init__(self, model: Model, image: Pixels, config: Faces, goes_on: Callable[[], bool]) -> None:
        self._model, self._image, self._config, self._goes_on = model, image, config, goes_on
        self._least = max(TURNED_SCORE, config.min_score)
        self._height, self._width = image.shape[:2]

    def turned(self, image: Pixels) -> list[Face]:
        """The faces that stand upright on an image in each of the three turns, in its pixels before the turn."""
        return [face for look in TURNS.values() for face in self._standing(image, look)]

    def tiles(self, look: Look, most: int = MOST_TILES) -> list[Face]:
        """The faces that tiles of the photo show in one turn: upright ones, and any where it is not turned."""
        view = np.rot90(self._image, -_quarters(look))
        found: list[Face] = []
        for part, x, y in _tiles(view, most, self._config):
            found += [_moved(face, x, y) for face in self._shown(part) if not _is_cut(face.box, part, x, y, view)]
        if look is Look.FIRST:
            return found
        return [turned_back(face, look, self._width, self._height) for face in found if self._stands(face)]

    def lies_large(self, turned: Sequence[Face]) -> Look:
        """In which turn tiles are to be cut, after some faces were found on the whole photo in its turns."""
        best = _best_turn(turned, self._model)
        if not _may_hide_more(self._width, self._height, [face for face in turned if face.look is best], self._config):
            return Look.FIRST
        return _best_turn([*self._standing(self._image, Look.FIRST), *turned], self._model)

    def turned_tiles(self, tiles: list[Face]) -> list[Face]:
        """Take tiles of the photo in other turns, after it showed nothing whole and these faces in tiles as it is.

        Returns ``tiles`` where they show faces that are surely upright, or where what is around the best face shows
        that the photo does not lie.
        """
        if not tiles:
            is_very_large = max(self._width, self._height) > FAR * (self._config.detector_size or SIDE)
            turns = TURNS.values() if is_very_large else ()
            return [face for look in turns for face in self.tiles(look, MOST_TILES // len(TURNS))]
        if any(face.score >= self._model.upright_score and not _leans(face) for face in tiles):
            return tiles
        best = max(tiles, key=lambda face: face.score)
        part = _around(self._image, best.box, tile_side(self._width, self._height, self._config))
        lies = _best_turn([*self._standing(part, Look.FIRST), *self.turned(part)], self._model)
        return tiles if lies is Look.FIRST else self.tiles(lies)

    def _standing(self, image: Pixels, look: Look) -> list[Face]:
        faces = [face for face in self._shown(np.rot90(image, -_quarters(look))) if self._stands(face)]
        return [turned_back(face, look, image.shape[1], image.shape[0]) for face in faces]

    def _stands(self, face: Face) -> bool:
        return face.score >= self._least and not _leans(face)

    def _shown(self, part: Pixels) -> list[Face]:
        if not self._goes_on():
            raise GivenUpError
        return self._model.faces(part)


def _of_best_turn(faces: Sequence[Face], model: Model) -> list[Face]:
    """Leave out the faces of turns other than the best one, but for those that are surely upright."""
    turned = [face for face in faces if face.look in TURNS.values()]
    if not turned:
        return list(faces)
    kept = {Look.TILE, _best_turn(turned, model)}
    return [face for face in faces if face.look in kept or face.score >= model.upright_score]


def _best_turn(faces: Sequence[Face], model: Model) -> Look:
    """The look that shows faces best, of equal ones the earliest; `Look.FIRST` of no faces.

    It is that whose surely upright faces have the largest sum of scores: many count more than one that lies among them.
    If there are none, the best score decides: several doubtful faces may be misread together.
    """

    def merit(look: Look) -> tuple[float, float]:
        scores = [face.score for face in faces if face.look is look]
        return sum(score for score in scores if score >= model.upright_score), max(scores, default=0.0)

    return max((Look.FIRST, *TURNS.values()), key=merit)


def _quarters(look: Look) -> int:
    return next((quarters for quarters, turn in TURNS.items() if turn is look), 0)


def _tiles(image: Pixels, most: int, config: Faces) -> Iterator[tuple[Pixels, int, int]]:
    """Views of the tiles of an image, and where each one is."""
    height, width = image.shape[:2]
    side = tile_side(width, height, config, most)
    for y, tall in spans(height, max(width, height), side, config):
        for x, wide in spans(width, max(width, height), side, config):
            yield image[y : y + tall, x : x + wide], x, y


def _around(image: Pixels, box: Box, side: int) -> Pixels:
    """A part of at most ``side`` x ``side`` pixels, with a box in its middle if the image reaches so far."""
    height, width = image.shape[:2]
    x = max(0, min(box.x + box.w // 2 - side // 2, width - side))
    y = max(0, min(box.y + box.h // 2 - side // 2, height - side))
    return image[y : y + side, x : x + side]


def tile_side(width: int, height: int, config: Faces, most: int = MOST_TILES) -> int:
    """Pixels of the side of a photo's tiles, of which there are at most ``most``.

    If those are enough, a face of ``min_size`` has `LEAST_SEEN` pixels to the detector in a tile.
    """
    side = config.detector_size or SIDE
    side = max(side, side * config.min_size // LEAST_SEEN)
    longest = max(width, height)
    while len(spans(width, longest, side, config)) * len(spans(height, longest, side, config)) > most:
        side += side // 16 + 1
    return side


def spans(length: int, longest: int, side: int, config: Faces) -> list[Span]:
    """Cut one side of a photo into equal spans of at most ``side`` pixels, which overlap.

    ``longest``: the photo's longest side. The overlap is more than the largest face that the whole photo may hide, but
    at most a third of a tile.
    """
    hidden = NEAR * LEAST_SEEN * longest / (config.detector_size or SIDE)
    overlap = min(side // 3, round(hidden))
    count = max(1, -(-(length - overlap) // (side - overlap)))
    wide = min(length, -(-(length + (count - 1) * overlap) // count))
    return [(number * (length - wide) // max(1, count - 1), wide) for number in range(count)]


def _is_cut(box: Box, part: Pixels, x: int, y: int, image: Pixels) -> bool:
    """Whether a face touches an edge of its tile that is none of the photo."""
    tall, wide = part.shape[:2]
    height, width = image.shape[:2]
    return (
        (box.x == 0 and x > 0)
        or (box.y == 0 and y > 0)
        or (box.x + box.w == wide and x + wide < width)
        or (box.y + box.h == tall and y + tall < height)
    )


def _moved(face: Face, x: int, y: int) -> Face:
    box = Box(face.box.x + x, face.box.y + y, face.box.w, face.box.h)
    points = np.asarray(np.add(face.landmarks, (x, y)), np.float32)
    return replace(face, box=box, landmarks=points, look=Look.TILE)


def turned_back(face: Face, look: Look, width: int, height: int) -> Face:
    """A face on a turned photo, in pixels of the photo as it is; ``width`` and ``height`` are those of the latter.

    A box counts the edges of pixels, landmarks count their centres: the first of ``width`` is 0, the last one less.
    """
    if look is Look.FIRST:
        return face
    x, y, w, h = face.box
    across, down = face.landmarks[:, 0], face.landmarks[:, 1]
    if look is Look.TURNED_90:
        box, points = Box(y, height - x - w, h, w), (down, height - 1 - across)
    elif look is Look.TURNED_180:
        box, points = Box(width - x - w, height - y - h, w, h), (width - 1 - across, height - 1 - down)
    else:
        box, points = Box(width - y - h, x, h, w), (width - 1 - down, across)
    return replace(face, box=box, landmarks=np.stack(points, axis=1).astype(np.float32), look=look)


def lean(landmarks: Landmarks) -> float:
    """By how many degrees a face leans, from -180 to 180: the line from between the eyes to the mouth, 0 upright."""
    return float(_leans_of(landmarks[np.newaxis])[0])


def _leans_of(landmarks: NDArray[np.float32]) -> NDArray[np.float64]:
    """The same of many faces. ``landmarks`` has shape (n, 5, 2), what is returned (n,)."""
    x, y = (landmarks[:, 3:5].mean(axis=1, dtype=float) - landmarks[:, 0:2].mean(axis=1, dtype=float)).T
    degrees: NDArray[np.float64] = np.degrees(np.arctan2(x, y))
    return degrees


def _leans(face: Face) -> bool:
    return abs(lean(face.landmarks)) > LEANING


# Faces at one place


def best_of_each_place(faces: Sequence[Face]) -> list[Face]:
    """Of faces at one place, the one that scores most."""
    ranked = sorted(faces, key=lambda face: -face.score)
    boxes = _boxes(ranked)
    kept: list[int] = []
    for number in range(len(ranked)):
        if not same_place(boxes[number], boxes[kept]).any():
            kept.append(number)
    return [ranked[number] for number in kept]


def _boxes(faces: Sequence[Face]) -> Boxes:
    return np.array([face.box for face in faces], np.int64).reshape(-1, 4)


def same_place(one: NDArray[np.int64], others: Boxes) -> NDArray[np.bool_]:
    """Which boxes are of the same face as one box: they share more than `SAME_PLACE` of the smaller one. Shape (n,)."""
    x, y, w, h = others.T
    wide = np.minimum(one[0] + one[2], x + w) - np.maximum(one[0], x)
    tall = np.minimum(one[1] + one[3], y + h) - np.maximum(one[1], y)
    smaller = np.minimum(one[2] * one[3], w * h)
    is_same: NDArray[np.bool_] = (np.minimum(wide, tall) > 0) & (wide * tall > SAME_PLACE * smaller)
    return is_same


def news(known: Mapping[int, Face], found: Sequence[Face]) -> tuple[list[Face], list[int]]:
    """Compare what a second look found with the faces that are recorded, by their ids.

    Returns the faces to add, and the ids of those that they replace: misreadings of the first look.
    """
    ids, faces = np.array(list(known), np.int64), list(known.values())
    misread = _Misread(faces)
    boxes, replaced = _boxes(faces), np.zeros(len(faces), bool)
    added: list[Face] = []
    best = best_of_each_place(found)
    for face, box in zip(best, _boxes(best), strict=True):
        there = same_place(box, boxes)
        if not there.any() or misread.by(face)[there].all():
            added.append(face)
            replaced |= there
    return added, ids[replaced].tolist()


class _Misread:
    """Which of the faces that are recorded of a photo the first look misread: they lay on their side, or their head.

    A turned photo shows that. One that stands on its head does so with all of its faces, so there a face must score
    more than all that do not lean.
    """

    def __init__(self, known: Sequence[Face]) -> None:
        landmarks = np.array([face.landmarks for face in known], np.float32).reshape(-1, 5, 2)
        scores = np.array([face.score for face in known], float)
        leans = np.abs(_leans_of(landmarks)) > LEANING
        self._first = np.array([face.look is Look.FIRST for face in known], bool)
        self._to_exceed = np.where(leans, scores, max(scores[~leans], default=0.0) + MARGIN)

    def by(self, face: Face) -> NDArray[np.bool_]:
        """What a face shows that was found on the same photo. Shape (n,)."""
        return self._first & (face.look in TURNS.values()) & (face.score > self._to_exceed)
