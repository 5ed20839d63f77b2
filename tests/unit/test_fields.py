"""Declared values: what each kind takes and refuses, by which name, and how declarations are listed."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewatchd.fields import (
    MAX_INT,
    Choice,
    ChoiceOrWhole,
    Computed,
    Description,
    Flag,
    Kind,
    ListOf,
    NotOneError,
    Number,
    Object,
    Text,
    UnknownNameError,
    Whole,
    WrongValueError,
    describe,
    optional,
    present,
    read,
    required,
)


@dataclass(frozen=True, slots=True)
class Point:
    x: int = required(Whole(0, 9), "Pixels from the left.")
    weight: float = optional(Number(0, 1), "Share of the whole.", 0.5)


@dataclass(frozen=True, slots=True)
class Drawing:
    ONE_OF: ClassVar = ("points", "name")

    points: tuple[Point, ...] = optional(ListOf(Object(Point), 2, least=1), "What is drawn.", ())
    name: str = optional(Choice(("line", "star")), "A known drawing.", "")
    filled: bool = optional(Flag(), "Whether it is filled.", False)
    from_: str = optional(Text(3), "Its maker.", "")
    erased: tuple[Point, ...] = optional(ListOf(Object(Point), 2), "What is taken away.", ())
    origin: Point | None = optional(Object(Point), "", Computed(lambda: None, "the middle"))
    not_declared: int = 3


HUGE = 10**400
NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        (Number(-1, 1), [-1, 1, 0.25, 0], ["1", True, 1.01, -2, [], NAN, INFINITE, HUGE, None]),
        (Number(), [1, -0.5, 1e308], [HUGE, -HUGE, NAN, INFINITE, -INFINITE, False, "1"]),
        (Whole(1, 9), [1, 9], [0, 10, 1.0, True, "1", HUGE]),
        (Whole(), [0, MAX_INT], [-1, MAX_INT + 1]),
        (Whole(64, 4096, step=32), [64, 640, 4096], [32, 650, 640.5, 4128]),
        (Flag(), [True, False], [0, 1, "true", []]),
        (Text(3), ["a", "äöü", "\U0001f600\0 "], ["", "abcd", 1, None, ["a"], "\udcff"]),
        (Choice(("a", "b")), ["a"], ["c", "", 1, ["a"], "A"]),
        (ChoiceOrWhole(("all",)), ["all", 0, 5], ["most", 1.5, True, -1, [], HUGE]),
        (ListOf(Whole(), 2), [[], [1], [1, 2]], [1, {}, "12", [1, 2, 3], [1.0], [None], [True], [-1]]),
        (Object(Point), [{"x": 1}, {"x": 1, "weight": None}], [[], "x", {}, {"x": None}, {"x": 10}, {"x": 1, "y": 1}]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Kind) else "",
)
def test_what_a_kind_takes_and_refuses(kind: Kind[Any], right: list[object], wrong: list[object]) -> None:
    for value in right:
        kind.read(value, "x")
    for value in wrong:
        with pytest.raises((WrongValueError, UnknownNameError), match=r"\bx\b"):
            kind.read(value, "x")


def test_a_whole_number_is_a_number_and_becomes_a_float() -> None:
    value = Number(-1, 1).read(1, "x")
    assert (value, type(value)) == (1.0, float)


@given(st.integers() | st.floats(allow_nan=True) | st.booleans() | st.text() | st.none())
def test_a_number_that_is_taken_lies_in_its_range(value: object) -> None:
    with contextlib.suppress(WrongValueError):
        assert -1 <= Number(-1, 1).read(value, "x") <= 1


def test_what_is_absent_or_null_has_its_default() -> None:
    assert read(Drawing, {"name": "star", "filled": None}) == Drawing(name="star")
    assert present(Drawing, {"name": "star", "filled": None}) == {"name": "star"}
    assert read(Drawing, {"points": [{"x": 3}]}).points == (Point(3, 0.5),)


def test_a_name_that_python_keeps_for_itself_is_read_without_its_underscore() -> None:
    assert read(Drawing, {"name": "star", "from": "Ada"}).from_ == "Ada"
    with pytest.raises(WrongValueError, match=r"^from must be text"):
        read(Drawing, {"name": "star", "from": ""})
    with pytest.raises(UnknownNameError):
        read(Drawing, {"name": "star", "from_": "Ada"})


def test_errors_hold_the_full_name_and_what_is_wanted() -> None:
    with pytest.raises(WrongValueError, match=r"^points\[1\]\.x must be a whole number from 0 to 9$"):
        read(Drawing, {"points": [{"x": 1}, {"x": -1}]})
    with pytest.raises(WrongValueError, match=r"^origin\.x must be a whole number"):
        read(Drawing, {"name": "line", "origin": {}})
    with pytest.raises(WrongValueError, match=r"^points must be a list of at most 2, not of 3$"):
        read(Drawing, {"points": [None] * 3})
    with pytest.raises(WrongValueError, match=r"^points must be a list that is not empty$"):
        read(Drawing, {"points": []})


def test_a_name_that_is_not_declared_is_refused_with_those_that_are() -> None:
    with pytest.raises(UnknownNameError) as caught:
        read(Drawing, {"points": [{"x": 1, "y": 2}]})
    assert (caught.value.name, caught.value.known) == ("points[0].y", ["x", "weight"])
    with pytest.raises(UnknownNameError) as caught:
        read(Drawing, {"name": "line", "not_declared": 4})
    assert caught.value.known == ["points", "name", "filled", "from", "erased", "origin"]


@pytest.mark.parametrize("values", [{}, {"name": None}, {"name": "line", "points": [{"x": 1}]}])
def test_exactly_one_of_some_must_be_present(values: dict[str, object]) -> None:
    with pytest.raises(NotOneError, match=r"^give exactly one of points, name$"):
        read(Drawing, values)


def test_a_declaration_is_listed_with_those_inside_it() -> None:
    assert describe(Drawing) == [
        Description(
            "points", "a list of at most 2, each an object", "none", "What is drawn."
        ),
        Description("points[].x", "a whole number from 0 to 9", "required", "Pixels from the left."),
        Description("points[].weight", "a number from 0 to 1", "0.5", "Share of the whole."),
        Description("name", '"line", "star"', "", "A known drawing."),
        Description("filled", "true or false", "false", "Whether it is filled."),
        Description("from", "text of 1 to 3 characters", "", "Its maker."),
        Description("erased", "a list of at most 2, each an object", "none", "What is taken away."),
        Description("origin.x", "a whole number from 0 to 9", "required", "Pixels from the left."),
        Description("origin.weight", "a number from 0 to 1", "0.5", "Share of the whole."),
    ]  # fmt: skip
