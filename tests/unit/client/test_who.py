"""WHO as text: which of its forms an argument is, and that a file by that very name wins."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facewatchd.client.who import MAX_ID, Asked, Who, read_who
from facewatchd.errors import FacewatchError, UsageError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("anna.jpg", {"photo": "anna.jpg"}),
        ("-", {"photo": "-"}),
        ("./-", {"photo": "./-"}),
        ("a.jpg#0", {"photo": "a.jpg", "face": 0}),
        ("a#b.jpg#12", {"photo": "a#b.jpg", "face": 12}),
        ("a#b.jpg", {"photo": "a#b.jpg"}),
        ("a.jpg#", {"photo": "a.jpg#"}),
        ("#1", {"photo": "#1"}),
        ("a.jpg#-1", {"photo": "a.jpg#-1"}),
        ("a.jpg#٣", {"photo": "a.jpg#٣"}),
        ("a.jpg#1234567890", {"photo": "a.jpg#1234567890"}),
        ("@Anna", {"person": "Anna"}),
        ("@Anna Bell#1", {"person": "Anna Bell#1"}),
        ("@ Zoë ", {"person": "Zoë"}),
        ("@face:3", {"person": "face:3"}),
        ("./@anna", {"photo": "./@anna"}),
        ("me@home.jpg", {"photo": "me@home.jpg"}),
        ("face:0", {"face_id": 0}),
        ("face:17", {"face_id": 17}),
        (f"face:{MAX_ID}", {"face_id": MAX_ID}),
        ("./face:17", {"photo": "./face:17"}),
        ("face.jpg", {"photo": "face.jpg"}),
        ("file:///p/a%20b.jpg", {"photo": "/p/a b.jpg"}),
        ("file:///p/a%20b.jpg#2", {"photo": "/p/a b.jpg", "face": 2}),
        ("file:///p/a%232", {"photo": "/p/a#2"}),
        ("a\nb.jpg#1", {"photo": "a\nb.jpg", "face": 1}),
    ],
)
def test_each_form(here: Path, text: str, expected: dict[str, object]) -> None:
    assert read_who(text) == Who(text, **expected)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["@anna", "face:3", "a.jpg#1", "face:x", "@"])
@pytest.mark.parametrize("kind", ["file", "directory", "dangling link"])
def test_a_file_by_that_very_name_wins(here: Path, name: str, kind: str) -> None:
    (here / "a.jpg").touch()
    place = here / name
    {"file": place.touch, "directory": place.mkdir, "dangling link": lambda: place.symlink_to("gone")}[kind]()
    assert read_who(name) == Who(name, photo=name)
    assert read_who(f"file://{here}/{name}") == Who(f"file://{here}/{name}", photo=str(place))


def test_a_face_of_a_file_whose_name_has_a_number(here: Path) -> None:
    (here / "a.jpg#1").touch()
    assert read_who("a.jpg#1#0") == Who("a.jpg#1#0", photo="a.jpg#1", face=0)


@pytest.mark.parametrize(
    "text",
    ["", "@", "@  ", "@\udcff", "face:", "face:x", "face:-1", "face:1.5", "face:٣", f"face:{MAX_ID + 1}",
     "face:" + "9" * 5000, "https://example.org/a.jpg", "https://example.org/a.jpg#1", "file:///a%00.jpg#1"],
)  # fmt: skip
def test_what_cannot_be_is_one_line_that_says_what_to_do(here: Path, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_who(text)
    assert caught.value.hint


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=60))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_one_thing_and_dot_slash_makes_a_file_of_it(here: Path, text: str) -> None:
    """Whatever a file is called, ``./NAME`` names it while it is there."""
    with contextlib.suppress(FacewatchError):
        who = read_who(text)
        assert sum(each is not None for each in (who.photo, who.person, who.face_id)) == 1
        assert who.face is None or who.photo is not None
    if text not in (".", "..") and len(os.fsencode(text)) < 250:
        (here / text).touch()
        assert read_who(f"./{text}").photo == f"./{text}"
        if text != "-":
            assert read_who(text) == Who(text, photo=text)
        (here / text).unlink()


def test_as_a_parameter(here: Path) -> None:
    assert Asked(read_who("a.jpg")).param() == {"path": f"{here}/a.jpg"}
    assert Asked(read_who("a.jpg#0")).param() == {"path": f"{here}/a.jpg", "face": 0}
    assert Asked(read_who("@Zoë")).param() == {"person": "Zoë"}
    assert Asked(read_who("face:7")).param() == {"face_id": 7}
    assert [Asked(read_who(text)).is_plain for text in ("a.jpg", "a.jpg#0", "@Zoë", "face:7")] == [True] + [False] * 3
