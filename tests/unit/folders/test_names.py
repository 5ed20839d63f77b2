"""Names that are kept apart."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from facewatchd.folders.names import LONGEST, Names, folded, numbered, plain

ANY_NAME = st.binary(min_size=1, max_size=300).map(lambda name: name.replace(b"/", b"_").replace(b"\0", b"_"))


def test_a_second_file_of_the_same_name_gets_a_number_before_its_suffix() -> None:
    names = Names([b"IMG_0001.jpg"])
    assert [names.take(b"IMG_0001.jpg") for _ in range(2)] == [b"IMG_0001 (2).jpg", b"IMG_0001 (3).jpg"]
    assert names.take(b"IMG_0001.png") == b"IMG_0001.png"
    assert [names.take(b"scan") for _ in range(2)] == [b"scan", b"scan (2)"]


def test_names_that_a_file_system_may_take_for_one_are_apart() -> None:
    names = Names(["ANNA é.jpg".encode()])
    assert names.take("anna e\u0301.JPG".encode()) == "anna e\u0301 (2).JPG".encode()
    assert Names([b"\xff.jpg"]).take(b"\xff.JPG") == b"\xff (2).JPG"


def test_a_long_name_is_cut_between_two_characters_and_keeps_its_suffix() -> None:
    name = ("é" * 125 + "x.jpg").encode()
    assert next(numbered(name)) == name
    second = next(itertools.islice(numbered(name), 1, None))
    assert second == ("é" * 123 + " (2).jpg").encode()
    assert len(second) <= LONGEST


@given(st.lists(ANY_NAME, max_size=8))
def test_any_names_are_apart_and_short_enough(wanted: list[bytes]) -> None:
    names = Names([])
    taken = [names.take(name) for name in wanted]
    assert len(set(map(folded, taken))) == len(taken)
    assert all(0 < len(name) <= LONGEST for name in taken)


@given(ANY_NAME)
def test_a_plain_name_is_taken_by_every_file_system(name: bytes) -> None:
    text = plain(name).decode("utf-8")
    assert 0 < len(text.encode()) <= 143
    assert not set(text) & set('<>:"/\\|?*\0\n\x7f')
    assert not text.endswith((" ", "."))


def test_plain_names() -> None:
    assert plain(b"12:30 \xff?.jpg") == b"12_30 __.jpg"
    assert plain("größe.jpg".encode()) == "größe.jpg".encode()
    assert os.fsdecode(plain(b"x. ")) == Path("x").name
