"""Frames of one burst: the same people, within ten seconds, and nearly the same faces or picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from facewatchd.matches import Box
from facewatchd.store import bursts as module
from facewatchd.store.bursts import Frames, chained, close_pairs, look_same, near_in_time
from facewatchd.store.catalog import Outcome
from facewatchd.store.gallery import Gallery
from facewatchd.store.scoring import Search, Sort
from facewatchd.values import Face, Quality, Taken, TakenFrom
from tests.support.galleries import BOX, DIM, nearest, stamp, unit

SAME = 0.9
RNG = np.random.default_rng(3)
ANNA = unit(RNG.normal(size=(1, DIM)))[0]
NOON = 1561896000.0
PICTURES = [bytes([n * 17 % 256] * 8) for n in range(4)]
"""Far from each other."""


def like(other: NDArray[np.float32], cosine: float) -> NDArray[np.float32]:
    apart = RNG.normal(size=DIM)
    apart -= (apart @ other) * other
    return unit((cosine * other + np.sqrt(1 - cosine**2) * apart / np.linalg.norm(apart))[None])[0]


def add(
    gallery: Gallery,
    name: str,
    at: float | None,
    embedding: NDArray[np.float32] = ANNA,
    *,
    picture: bytes | None = None,
    box: Box = BOX,
    sharpness: float | None = None,
    norm: float | None = None,
    source: TakenFrom = TakenFrom.EXIF,
    others: Sequence[Face] = (),
) -> None:
    made = Face(box, 0.9, np.zeros((5, 2), np.float32), embedding, norm, sharpness=sharpness)
    taken = None if at is None else Taken(at, None, source)
    path = f"/p/{name}".encode()
    outcome = Outcome(path, stamp(1), path.ljust(32), 640, 480, [made, *others], taken=taken, picture=picture)
    gallery.record([outcome])


def shown(gallery: Gallery, **search: object) -> dict[str, list[str]]:
    """The results, each with the other frames of its burst."""
    given = {"same_face": SAME, "same_person": 0.5, "sort": Sort.PATH} | search
    found = nearest(gallery, ANNA, Search(0.5, **given))  # type: ignore[arg-type]
    assert found.total == len(found.matches)
    return {match.path.decode()[3:]: [path.decode()[3:] for path in match.similar] for match in found.matches}


def test_the_sharpest_frame_stands_for_the_others_and_counts_once(gallery: Gallery) -> None:
    for number, sharpness in enumerate([50.0, 200.0, 90.0]):
        add(gallery, f"{number}", NOON + number, like(ANNA, 0.99), sharpness=sharpness)
    add(gallery, "other", NOON + 3600, like(ANNA, 0.99), sharpness=900.0)
    assert shown(gallery) == {"1": ["0", "2"], "other": []}
    assert shown(gallery, collapse=False) == {"0": [], "1": [], "2": [], "other": []}
    gallery.record([Outcome(b"/p/copy of 1", stamp(2), b"/p/1".ljust(32))])
    (first, _) = nearest(gallery, ANNA, Search(0.5, same_face=SAME, sort=Sort.PATH)).matches
    assert (first.path, first.copies, first.similar) == (b"/p/1", (b"/p/copy of 1",), (b"/p/0", b"/p/2"))


def test_neither_time_nor_likeness_alone_makes_a_burst(gallery: Gallery) -> None:
    add(gallery, "face", NOON)
    add(gallery, "later", NOON + 10.5)
    add(gallery, "other face", NOON + 1, like(ANNA, 0.8))
    add(gallery, "other place", NOON + 2, box=Box(400, 300, 60, 80))
    assert shown(gallery) == {"face": [], "later": [], "other face": [], "other place": []}


def test_nearly_the_same_picture_is_enough(gallery: Gallery) -> None:
    near = bytes([PICTURES[1][0] ^ 1] * 8)
    add(gallery, "a", NOON, picture=PICTURES[1])
    add(gallery, "b", NOON + 1, like(ANNA, 0.7), picture=near)
    add(gallery, "c", NOON + 2, like(ANNA, 0.7), picture=PICTURES[2])
    assert shown(gallery) == {"a": ["b"], "c": []}


@pytest.mark.parametrize("source", [TakenFrom.EXIF_MODIFIED, None])
def test_dates_that_are_no_cameras_fold_nothing(gallery: Gallery, source: TakenFrom | None) -> None:
    """A copy of a whole disk gives thousands of photos one time."""
    for number in range(3):
        add(gallery, f"{number}", None if source is None else NOON, source=source or TakenFrom.EXIF)
    add(gallery, "day", 1561852800.0)
    add(gallery, "day too", 1561852800.0)
    add(gallery, "IMG-20190630-WA0001.jpg", None)
    add(gallery, "IMG-20190630-WA0002.jpg", None)
    assert len(shown(gallery)) == 7
    add(gallery, "IMG_20190630_120000.jpg", None)
    add(gallery, "IMG_20190630_120001.jpg", None)
    assert len(shown(gallery)) == 8


def test_who_stands_for_a_burst_where_sharpness_is_not_known_or_does_not_count(gallery: Gallery) -> None:
    add(gallery, "a", NOON, norm=9.0)
    add(gallery, "b", NOON + 1, norm=12.0)
    add(gallery, "c", NOON + 2, norm=11.0)
    assert shown(gallery) == {"b": ["a", "c"]}
    with gallery.catalog.reading() as reader:
        own = reader.content(b"/p/c".ljust(32))
    assert own is not None
    (match,) = nearest(gallery, ANNA, Search(0.5, same_face=SAME), own=[own]).matches
    assert (match.path, match.similar) == (b"/p/c", (b"/p/a", b"/p/b"))


def test_the_same_people_must_be_on_all_frames(gallery: Gallery) -> None:
    """Of several who are asked for, of which any will do, each frame is of one."""
    ben = like(ANNA, 0.0)
    add(gallery, "anna", NOON, picture=PICTURES[1])
    add(gallery, "ben", NOON + 1, ben, picture=PICTURES[1])
    add(gallery, "ben too", NOON + 2, ben, picture=PICTURES[1])
    found = nearest(gallery, np.stack([ANNA, ben]), Search(0.5, same_face=SAME, sort=Sort.PATH))
    assert [(match.path, match.similar) for match in found.matches] == [
        (b"/p/anna", ()),
        (b"/p/ben too", (b"/p/ben",)),
    ]


BEN, ROSE = like(ANNA, 0.0), like(ANNA, 0.0)
LEFT, RIGHT, EDGE = Box(150, 100, 60, 80), Box(400, 100, 60, 80), Box(578, 100, 60, 80)
HERE = Box(250, 100, 60, 80)
"""Of Anna."""


@pytest.mark.parametrize(
    ("first", "second", "is_burst"),
    [
        ([(BEN, RIGHT)], [(like(BEN, 0.7), RIGHT)], True),
        ([(BEN, RIGHT)], [(like(BEN, 0.7), LEFT)], True),
        ([(BEN, RIGHT), (ROSE, LEFT)], [(ROSE, RIGHT), (BEN, LEFT)], True),
        ([(BEN, RIGHT)], [(ROSE, RIGHT)], False),
        ([(BEN, RIGHT)], [], False),
        ([], [(BEN, RIGHT)], False),
        ([(BEN, RIGHT)], [(BEN, RIGHT), (ROSE, LEFT)], False),
        ([(BEN, RIGHT), (like(BEN, 0.95), LEFT)], [(BEN, RIGHT)], False),
        ([(BEN, RIGHT), (BEN, LEFT)], [(BEN, RIGHT), (BEN, LEFT)], True),
        ([(BEN, Box(400, 100, 20, 26))], [], True),
        ([], [(BEN, Box(400, 100, 20, 26))], True),
        ([(BEN, Box(260, 110, 40, 40))], [], True),
        ([(BEN, Box(260, 70, 40, 40))], [], False),
        ([(BEN, EDGE)], [], True),
        ([], [(BEN, EDGE)], True),
    ],
)
@pytest.mark.parametrize("by", ["faces", "picture"])
def test_everybody_on_the_frames_counts(
    gallery: Gallery,
    by: str,
    first: list[tuple[NDArray[np.float32], Box]],
    second: list[tuple[NDArray[np.float32], Box]],
    *,
    is_burst: bool,
) -> None:
    """Whoever stands beside the person who is asked for: the same people, whatever their places."""
    faces = [[Face(box, 0.9, np.zeros((5, 2), np.float32), row) for row, box in others] for others in (first, second)]
    picture, embedding = (None, ANNA) if by == "faces" else (PICTURES[1], like(ANNA, 0.7))
    add(gallery, "first", NOON, ANNA, picture=picture, box=HERE, others=faces[0], sharpness=2.0)
    add(gallery, "second", NOON + 2, embedding, picture=picture, box=HERE, others=faces[1], sharpness=1.0)
    assert shown(gallery) == ({"first": ["second"]} if is_burst else {"first": [], "second": []})


def test_who_is_cut_off_as_the_camera_moves_may_be_missed(gallery: Gallery) -> None:
    near_edge = Face(Box(560, 100, 60, 80), 0.9, np.zeros((5, 2), np.float32), BEN)
    add(gallery, "first", NOON, box=Box(250, 100, 60, 80), others=[near_edge], sharpness=2.0)
    add(gallery, "moved", NOON + 1, box=Box(275, 100, 60, 80))
    assert shown(gallery) == {"first": ["moved"]}
    add(gallery, "still", NOON + 2, box=Box(250, 100, 60, 80))
    assert shown(gallery) == {"first": ["moved"], "still": []}


def test_a_face_too_blurred_to_tell_is_whose_place_it_has(gallery: Gallery) -> None:
    quality = Quality(clear=20.0, slope=0.0, floor=10.0)

    def ben(box: Box, norm: float) -> list[Face]:
        return [Face(box, 0.9, np.zeros((5, 2), np.float32), BEN if norm > 10 else ROSE, norm)]

    add(gallery, "clear", NOON, box=HERE, others=ben(RIGHT, 20.0), sharpness=2.0)
    add(gallery, "blurred", NOON + 1, box=HERE, others=ben(RIGHT, 5.0))
    assert shown(gallery, quality=quality) == {"clear": ["blurred"]}
    assert shown(gallery) == {"blurred": [], "clear": []}
    add(gallery, "elsewhere", NOON + 2, box=HERE, others=ben(LEFT, 5.0))
    assert shown(gallery, quality=quality) == {"clear": ["blurred"], "elsewhere": []}


@pytest.mark.parametrize("then", [(), (ROSE,)], ids=["nobody", "another"])
def test_a_blurred_frame_is_no_bridge_between_two_people(gallery: Gallery, then: tuple[NDArray[np.float32]]) -> None:
    quality = Quality(clear=20.0, slope=0.0, floor=10.0)
    for number, (row, norm) in enumerate([(BEN, 20.0), (ROSE, 5.0), *((row, 20.0) for row in then)]):
        other = Face(RIGHT, 0.9, np.zeros((5, 2), np.float32), row, norm)
        add(gallery, f"{number}", NOON + number, box=HERE, others=[other], sharpness=9.0 - number)
    if not then:
        add(gallery, "2", NOON + 2, box=HERE)
    assert shown(gallery, quality=quality) == {"0": ["1"], "2": []}


def made(at: list[float], groups: list[int], faces: list[int], pictures: list[int]) -> Frames:
    """Frames of four faces and four pictures, far from each other."""
    eye = np.eye(4, dtype=np.float32)
    known = np.array([picture < 4 for picture in pictures])
    return Frames(
        np.array(at),
        np.array(groups, np.int64),
        np.frombuffer(b"".join(PICTURES[picture % 4] for picture in pictures), np.uint8).reshape(-1, 8),
        known,
        np.tile(np.array([0.1, 0.1, 0.2, 0.2]), (len(at), 1, 1)),
        np.array([eye[face] if face < 4 else np.full(4, np.nan) for face in faces], np.float32)[:, None, :],
    )


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 1), st.integers(0, 4), st.integers(0, 4)), max_size=20))
def test_bursts_are_those_of_a_simple_search(rows: list[tuple[int, int, int, int]]) -> None:
    at, groups = np.array([row[0] for row in rows], np.float64), np.array([row[1] for row in rows], np.int64)
    places = np.concatenate([np.empty(0, np.intp), *near_in_time(at, groups)]).tolist()
    in_order = sorted(range(len(rows)), key=lambda place: (groups[place], at[place], place))
    alone = [
        place
        for place in in_order
        if not any(
            other != place and groups[other] == groups[place] and abs(at[other] - at[place]) <= module.SECONDS
            for other in in_order
        )
    ]
    assert sorted(places + alone) == sorted(in_order)
    assert places == [place for place in in_order if place not in alone]
    if not places:
        return
    chosen = [rows[place] for place in places]
    frames = made(*(list(column) for column in zip(*chosen, strict=True)))  # type: ignore[arg-type]
    pairs = close_pairs(frames)
    looks = look_same(frames, *pairs, SAME)
    found = chained(frames.at, *pairs, looks, np.ones(len(looks), np.bool_)).tolist()
    expected = list(range(len(chosen)))
    for number, (moment, group, face, picture) in enumerate(chosen):
        for other in range(number - 1, max(-1, number - module.COMPARED - 1), -1):
            then, theirs, looks, shows = chosen[other]
            same = (picture == shows < 4) or (face == looks < 4)
            begin = chosen[expected[other]][0]
            if group == theirs and moment - then <= module.SECONDS and same and moment - begin <= module.SECONDS:
                expected[number] = expected[other]
                break
    assert found == expected


def test_a_date_that_thousands_of_photos_have_is_cut_into_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 7)
    at = np.repeat([1.0, 100.0, 200.0, 300.0, 400.0], [3, 3, 20, 1, 4])
    blocks = list(near_in_time(at, np.zeros(len(at), np.int64)))
    assert [len(block) for block in blocks] == [6, 7, 7, 6, 4]
    assert np.concatenate(blocks).tolist() == [place for place in range(31) if place != 26]


def test_what_a_burst_stood_for_was_shown_with_it(gallery: Gallery) -> None:
    seen: set[bytes] = set()
    search = Search(0.5, same_face=SAME, top=1, seen=lambda digests: seen.intersection(digests))
    for number, sharpness in enumerate([50.0, 200.0]):
        add(gallery, f"{number}", NOON + number, like(ANNA, 0.99), sharpness=sharpness)
    add(gallery, "other", NOON + 3600, like(ANNA, 0.8))
    found = nearest(gallery, ANNA, search)
    assert (found.matches[0].path, found.total) == (b"/p/1", 2)
    assert set(found.digests) == {b"/p/0".ljust(32), b"/p/1".ljust(32)}, "not what the cut left out"
    seen.update(found.digests)
    add(gallery, "late", NOON + 2, like(ANNA, 0.99))
    assert [match.path for match in nearest(gallery, ANNA, search).matches] == [b"/p/late"]
    seen.add(b"/p/late".ljust(32))
    found = nearest(gallery, ANNA, search)
    assert ([match.path for match in found.matches], found.total) == ([b"/p/other"], 1)
