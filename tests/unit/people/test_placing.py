"""Which face a region of another program is about."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from facewatchd.people.placing import placed
from facewatchd.people.statements import RelativeBox

LEFT, RIGHT = RelativeBox(0.1, 0.2, 0.1, 0.15), RelativeBox(0.3, 0.2, 0.1, 0.15)


def grown(box: RelativeBox, by: float, x: float = 0.0, y: float = 0.0) -> RelativeBox:
    """A box with so many times the sides, moved by parts of them."""
    w, h = box.w * by, box.h * by
    return RelativeBox(box.x + box.w / 2 + x * box.w - w / 2, box.y + box.h / 2 + y * box.h - h / 2, w, h)


@given(st.floats(0.6, 2.5), st.floats(-0.25, 0.25), st.floats(-0.25, 0.25), st.booleans())
def test_a_box_around_the_head_is_about_the_face(by: float, x: float, y: float, swapped: bool) -> None:
    boxes = [grown(LEFT, by, x, y), grown(RIGHT, by, x, y)]
    faces = [RIGHT, LEFT] if swapped else [LEFT, RIGHT]
    assert placed(boxes, faces) == ([1, 0] if swapped else [0, 1])


def test_a_box_beside_a_face_or_around_everything_is_about_none() -> None:
    everything, beside = RelativeBox(0, 0, 1, 1), RelativeBox(0.5, 0.2, 0.1, 0.15)
    assert placed([everything, beside, grown(LEFT, 0.2)], [LEFT, RIGHT]) == [None, None, None]
    assert placed([], [LEFT]) == []
    assert placed([LEFT], []) == [None]


def test_each_face_is_taken_once_by_the_box_that_fits_best() -> None:
    assert placed([grown(LEFT, 1.2), LEFT], [LEFT]) == [None, 0]


def test_a_point_is_about_the_smallest_face_that_holds_it() -> None:
    point = RelativeBox(0.15, 0.25, 0, 0)
    assert placed([point], [grown(LEFT, 3), LEFT, RIGHT]) == [1]
    assert placed([point], [RIGHT]) == [None]
