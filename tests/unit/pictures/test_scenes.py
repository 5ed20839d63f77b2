"""Which part of a photo is shown around its faces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewatchd.matches import Box
from facewatchd.pictures import scenes


@pytest.mark.parametrize(
    ("box", "size", "region"),
    [
        (Box(500, 500, 80, 100), (2000, 2000), (390, 424, 690, 724)),
        (Box(0, 0, 80, 100), (2000, 2000), (0, 0, 300, 300)),
        (Box(1920, 1900, 80, 100), (2000, 2000), (1700, 1700, 2000, 2000)),
        (Box(500, 100, 300, 400), (2000, 600), (350, 0, 950, 600)),
        (Box(10, 100, 80, 120), (100, 1000), (0, 100, 100, 238)),
        (Box(0, 0, 100, 100), (100, 100), (0, 0, 100, 100)),
        (Box(0, 0, 1, 1), (1, 1), (0, 0, 1, 1)),
    ],
)
def test_the_cut_holds_the_face_and_stays_in_the_photo(
    box: Box, size: tuple[int, int], region: tuple[int, int, int, int]
) -> None:
    assert scenes.region([box], *size) == region


@pytest.mark.parametrize("box", [Box(90, 0, 20, 20), Box(0, 90, 20, 20), Box(-1, 0, 20, 20), Box(5, 5, 0, 20)])
def test_a_box_that_does_not_fit_its_photo_is_not_cut(box: Box) -> None:
    assert scenes.region([box], 100, 100) is None
    assert scenes.region([Box(0, 0, 10, 10), box], 100, 100) is None


@given(st.data(), st.integers(1, 5000), st.integers(1, 5000), st.floats(1.0, 6.0))
def test_all_faces_are_in_the_cut(data: st.DataObject, width: int, height: int, sides: float) -> None:
    boxes = []
    for _ in range(data.draw(st.integers(1, 3))):
        x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
        boxes.append(Box(x, y, data.draw(st.integers(1, width - x)), data.draw(st.integers(1, height - y))))
    region = scenes.region(boxes, width, height, sides)
    assert region is not None
    assert 0 <= region.left < region.right <= width
    assert 0 <= region.top < region.bottom <= height
    for box in boxes:
        assert region.left <= box.x
        assert box.x + box.w <= region.right
        assert region.top <= box.y
        assert box.y + box.h <= region.bottom
