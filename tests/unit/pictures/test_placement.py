"""Where labels stand: inside the picture, on no other label, and near their boxes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from facewatchd.pictures.placement import Rectangle, distances, place, shared

PICTURE = (1200, 800)


@st.composite
def boxes(draw: st.DrawFn, most: int = 12) -> list[Rectangle]:
    found = []
    for _ in range(draw(st.integers(0, most))):
        left, top = draw(st.integers(0, 1150)), draw(st.integers(0, 750))
        width, height = draw(st.integers(1, 1200 - left)), draw(st.integers(1, 800 - top))
        found.append(Rectangle(left, top, left + min(width, 300), top + min(height, 300)))
    return found


@given(boxes(), st.integers(20, 350))
@settings(max_examples=50, deadline=None)
def test_labels_are_inside_and_never_on_each_other(found: list[Rectangle], width: int) -> None:
    placed = place(found, [[(width, 30), (25, 30)]] * len(found), PICTURE)
    for number, (which, at) in enumerate(placed):
        assert (at.right - at.left, at.bottom - at.top) == ((width, 30), (25, 30))[which]
        assert at.left >= 0
        assert at.top >= 0
        assert (at.right <= PICTURE[0], at.bottom <= PICTURE[1]) == (True, True)
        assert not shared([at], [other.place for other in placed[:number]]).any()


def test_one_label_stands_above_its_box_and_below_where_there_is_no_room() -> None:
    size = (100, 30)
    assert place([Rectangle(200, 100, 300, 220)], [[size]], PICTURE)[0].place == (200, 70, 300, 100)
    assert place([Rectangle(200, 10, 300, 130)], [[size]], PICTURE)[0].place == (200, 130, 300, 160)


def test_a_label_beside_hides_no_other_box() -> None:
    """The face above is left free: the label goes below its own box."""
    upper, lower = Rectangle(200, 100, 300, 220), Rectangle(200, 230, 300, 350)
    placed = place([upper, lower], [[(100, 30)]] * 2, PICTURE)
    assert not shared([each.place for each in placed], [upper, lower]).any()


def test_where_names_have_no_room_the_numbers_stay() -> None:
    """Fifty boxes side by side: names of a third of the picture's width cannot all be there."""
    crowd = [Rectangle(x, y, x + 100, y + 70) for y in range(0, 800, 80) for x in range(0, 600, 120)]
    placed = place(crowd, [[(400, 20), (25, 20)]] * len(crowd), (600, 800))
    for number, (_, at) in enumerate(placed):
        assert not shared([at], [other.place for other in placed[:number]]).any()
        assert distances([at], crowd[number])[0] < 80
    assert sum(each.which for each in placed) > 20
    named = [each.place for each in placed if each.which == 0]
    assert not shared(named, crowd).any(), "no name hides a face"


def test_a_picture_that_is_smaller_than_its_labels_has_them_at_its_edge() -> None:
    placed = place([Rectangle(3, 3, 9, 9)] * 2, [[(50, 20)]] * 2, (10, 10))
    assert [each.place[:2] for each in placed] == [(0, 0)] * 2
