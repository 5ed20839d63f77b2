"""What counts of what was said, and which names can be given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewatchd.errors import BadNameError
from facewatchd.matches import Box
from facewatchd.people.statements import (
    Ledger,
    RelativeBox,
    Statement,
    added,
    name_key,
    proper_name,
    same_face,
)

LEFT, RIGHT = RelativeBox(0.1, 0.1, 0.2, 0.2), RelativeBox(0.6, 0.1, 0.2, 0.2)
NEAR_LEFT = RelativeBox(0.12, 0.1, 0.2, 0.2)
ANNA, BERT = 1, 2


def said(number: int, person: int, box: RelativeBox | None, *, is_person: bool = True) -> Statement:
    return Statement(number, person, is_person, b"digest", box, "user", float(number))


def test_a_relative_box_is_the_same_box_on_every_size_of_the_photo() -> None:
    relative = RelativeBox.of(Box(10, 20, 30, 40), 100, 200)
    assert relative == RelativeBox(0.1, 0.1, 0.3, 0.2)
    assert relative.pixels(100, 200) == Box(10, 20, 30, 40)
    assert relative.pixels(1000, 2000) == Box(100, 200, 300, 400)


@given(st.integers(1, 4000), st.integers(1, 4000), st.data())
def test_a_box_comes_back_from_its_parts(width: int, height: int, data: st.DataObject) -> None:
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    box = Box(x, y, data.draw(st.integers(1, width - x)), data.draw(st.integers(1, height - y)))
    assert RelativeBox.of(box, width, height).pixels(width, height) == box


@given(st.tuples(*[st.floats(-0.5, 1.5)] * 2, *[st.floats(0, 1.5)] * 2), st.integers(1, 500), st.integers(1, 500))
def test_pixels_lie_on_the_photo(parts: tuple[float, float, float, float], width: int, height: int) -> None:
    box = RelativeBox(*parts).pixels(width, height)
    assert box.x >= 0
    assert box.y >= 0
    assert box.w >= 1
    assert box.h >= 1
    assert box.x + box.w <= width
    assert box.y + box.h <= height


def test_overlap() -> None:
    assert LEFT.overlap(LEFT) == pytest.approx(1)
    assert LEFT.overlap(RIGHT) == 0
    assert LEFT.overlap(NEAR_LEFT) == pytest.approx(0.18 / 0.22)
    assert RelativeBox(0, 0, 0, 0).overlap(RelativeBox(0, 0, 0, 0)) == 0
    assert same_face(None, None)
    assert not same_face(None, LEFT)
    assert same_face(LEFT, NEAR_LEFT)


def test_the_later_statement_about_a_face_and_a_person_counts() -> None:
    yes, no = said(1, ANNA, LEFT), said(2, ANNA, NEAR_LEFT, is_person=False)
    assert added([yes], no) == (no,)
    assert added([no], yes) == (yes,)


def test_a_face_is_one_person_but_may_be_rejected_for_many() -> None:
    anna, bert, not_anna = said(1, ANNA, LEFT), said(2, BERT, NEAR_LEFT), said(3, ANNA, LEFT, is_person=False)
    assert added([anna], bert) == (bert,)
    assert added([bert], not_anna) == (bert, not_anna)
    assert added([said(1, BERT, LEFT, is_person=False)], not_anna)[1:] == (not_anna,)
    assert added([anna], said(4, BERT, RIGHT))[0] == anna


def test_a_person_on_a_photo_without_a_face() -> None:
    stands, no, face = said(1, ANNA, None), said(2, ANNA, None, is_person=False), said(3, ANNA, LEFT)
    assert added([stands, face], no) == (no,), "not on the photo is not any of its faces"
    assert added([no], face) == (face,)
    assert added([no], stands) == (stands,)
    assert added([stands], face) == (stands, face)
    not_left = said(4, ANNA, LEFT, is_person=False)
    assert added([not_left], stands) == (not_left, stands)
    assert added([stands], said(5, BERT, None)) == (stands, said(5, BERT, None))


def test_only_statements_on_one_photo_replace_each_other() -> None:
    here, there = said(1, ANNA, LEFT), Statement(2, BERT, True, b"other", LEFT, "user", 2.0)
    ledger = Ledger()
    ledger.say(here)
    ledger.say(there)
    assert ledger.by_digest == {b"digest": (here,), b"other": (there,)}


def test_merging_finds_what_counts_until_then() -> None:
    """What was said of the one, and does not count any more, says nothing against the other."""
    ledger = Ledger()
    ledger.say(said(1, ANNA, RIGHT))
    ledger.say(said(2, BERT, None, is_person=False))
    ledger.say(said(3, BERT, LEFT))
    ledger.merge(BERT, ANNA)
    assert ledger.by_digest[b"digest"] == (said(1, ANNA, RIGHT), said(3, ANNA, LEFT))
    ledger.say(said(4, ANNA, LEFT, is_person=False))
    assert ledger.by_digest[b"digest"] == (said(1, ANNA, RIGHT), said(4, ANNA, LEFT, is_person=False))


@pytest.mark.parametrize(
    ("text", "name"),
    [("  Anna ", "Anna"), ("Jose\u0301", "José"), ("../a\\b%'\";--", "../a\\b%'\";--"), ("👩‍👧 Mama", "👩‍👧 Mama")],
)
def test_names_are_kept_in_one_form(text: str, name: str) -> None:
    assert proper_name(text) == name


@pytest.mark.parametrize("text", ["", " \t", "a\nb", "a\x00", "a\x1b[31m", "a\u2028b", "\ud800", "x" * 201])
def test_names_that_nobody_can_have(text: str) -> None:
    with pytest.raises(BadNameError):
        proper_name(text)


def test_names_are_the_same_without_regard_to_case_and_form() -> None:
    assert name_key("ANNA") == name_key("anna")
    assert name_key("Straße") == name_key("STRASSE")
    assert name_key("Jose\u0301") == name_key("JOSÉ")
    assert name_key("Anna") != name_key("Anne")
