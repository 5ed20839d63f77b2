"""What is drawn for a photo of another machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewatchd.matches import Box
from facewatchd.pictures import elsewhere
from facewatchd.pictures.outline import Area, outline, svg

ROOM = Area(100, 50, 300, 200)
SIDES = st.integers(0, 30_000)


@given(
    size=st.tuples(SIDES, SIDES),
    boxes=st.lists(st.builds(Box, *[st.integers(-10, 30_000)] * 4), max_size=4),
    room=st.builds(Area, *[st.floats(0, 1000)] * 2, *[st.floats(1, 1000)] * 2),
)
def test_whatever_another_machine_says_the_frame_is_in_the_room_and_the_discs_on_it(
    size: tuple[int, int], boxes: list[Box], room: Area
) -> None:
    shape = outline(size, boxes, room)
    for inner, outer in ((shape.frame, room), *((disc, shape.frame) for disc in shape.discs)):
        slack = 1e-6 * (1 + room.left + room.top + room.width + room.height)
        assert inner.width > 0
        assert inner.height > 0
        assert inner.left >= outer.left - slack
        assert inner.top >= outer.top - slack
        assert inner.left + inner.width <= outer.left + outer.width + slack
        assert inner.top + inner.height <= outer.top + outer.height + slack


def test_the_frame_has_the_shape_of_the_photo_and_the_disc_the_place_of_the_face() -> None:
    shape = outline((4000, 1000), [Box(3000, 200, 800, 600)], Area(0, 0, 400, 400))
    assert shape.frame.width / shape.frame.height == pytest.approx(3), "a panorama is not drawn as a line"
    shape = outline((300, 200), [Box(150, 50, 60, 80)], ROOM)
    assert shape.frame == ROOM
    assert shape.discs == (Area(250, 100, 60, 80),)
    assert outline((300, 200), [Box(290, 50, 60, 80), Box(0, 0, 0, 9)], ROOM).discs == ()
    assert len(outline((0, 0), [Box(1, 2, 3, 4), Box(1, 2, 3, 4)], ROOM).discs) == 1


def test_in_a_page_it_is_an_element_of_numbers() -> None:
    drawn = svg((300, 200), [Box(150, 50, 60, 80), Box(0, 0, 30, 30)])
    assert drawn.count("<rect") == 1
    assert drawn.count("<ellipse") == 2
    assert drawn.endswith("</svg>")


@pytest.mark.parametrize("side", [1, 2, 30, 400])
@pytest.mark.parametrize("host", ["", "nas", "שלום", "x" * 300, "\x1b[2J\n"])
def test_it_is_drawn_in_every_size(side: int, host: str) -> None:
    picture = elsewhere.picture((400, 300), [Box(100, 100, 100, 100)], side, host)
    assert picture.size == (side, side)
    if side > 20:
        assert len(picture.getcolors(1 << 20) or ()) > 2
