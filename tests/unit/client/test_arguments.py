"""The options of `facewatch-query` about people, dates and what is new: what they take, and what contradicts itself."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from facewatchd.client.arguments import parse
from facewatchd.errors import UsageError


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def error(*arguments: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse(["@anna", *arguments])
    assert "\n" not in caught.value.message
    return caught.value.message


def is_date(text: str) -> bool:
    """By the calendar of the standard library."""
    if len(text) not in (4, 7, 10) or not set(text) <= set("0123456789-"):
        return False
    try:
        datetime.date.fromisoformat(text + "-01" * (2 - text.count("-")))
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("option", ["--since", "--until"])
@given(text=st.one_of(
    st.from_regex(r"[0-9]{4}(-[0-9]{2}){0,2}", fullmatch=True),
    st.builds("{:04}-{:02}-{:02}".format, st.integers(1, 9999), st.integers(0, 13), st.integers(27, 32)),
    st.text(min_size=1, max_size=12),
))  # fmt: skip
@example(text="--")
@example(text="2000-02-29")
@example(text="1900-02-29")
@example(text="2019-6-3")
@example(text="0000")
@example(text="٢٠١٩")
@example(text="2019-06-30\n")
def test_dates_are_those_of_the_calendar(option: str, text: str) -> None:
    try:
        options = parse(["@anna", f"{option}={text}"])
    except UsageError:
        assert not is_date(text)
    else:
        assert is_date(text)
        assert vars(options)[option[2:]] == text


@pytest.mark.parametrize(
    ("since", "until", "fits"),
    [
        ("2019", "2019", True), ("2019-06-30", "2019-06", True), ("2019", "2019-01-01", True),
        ("2019-06", "2019-06-01", True), ("2020", "2019-12-31", False), ("2019-07", "2019-06-30", False),
        ("2019-07-01", "2019-06", False), ("2020-01-01", "2019", False),
    ],
)  # fmt: skip
def test_a_time_that_ends_before_it_begins(since: str, until: str, fits: bool) -> None:
    arguments = ["--since", since, "--until", until]
    if fits:
        parse(["@anna", *arguments])
    else:
        assert error(*arguments) == f"--since {since} is after --until {until}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2", (2, 2)), ("0", (0, 0)), ("2-5", (2, 5)), ("3-3", (3, 3)), ("2-", (2, None))],
)
def test_numbers_of_faces(text: str, expected: Any) -> None:
    assert parse(["@anna", "--faces", text]).faces == expected


@pytest.mark.parametrize("text", ["5-2", "-2", "-", "a", "2--3", "2-3-4", "1.5", "٣", "1234567890", ""])
def test_numbers_of_faces_that_cannot_be(text: str) -> None:
    assert "--faces" in error("--faces", text)


@pytest.mark.parametrize("order", ["similarity", "date", "-date", "path"])
@pytest.mark.parametrize("joined", [True, False])
def test_every_order_also_behind_a_space(order: str, joined: bool) -> None:
    arguments = [f"--sort={order}"] if joined else ["--sort", order]
    assert parse([*arguments, "@anna", "-d", "date"]).sort == order
    assert "none of similarity" in error("--sort", "name")


@pytest.mark.parametrize("name", ["", " a", "a ", "a\nb", "\x1b[2J", "x" * 201, "\udcff"])
def test_names_of_cursors_that_cannot_be(name: str) -> None:
    assert "--new" in error("--new", name)
    assert parse(["@anna", "--new", "Anna's mail 2"]).new == "Anna's mail 2"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--strict"], "give --without"),
        (["--who"], "--list-faces"),
        (["--follow", "--sheet", "a.png"], "without --sheet"),
        (["--follow", "--html", "a.html"], "without --html"),
        (["--follow", "--sort", "date"], "without --sort"),
        (["--link-to", "a", "--copy-to", "b"], "exclude each other"),
        (["--sync"], "give --link-to DIR"),
        (["--sync", "--copy-to", "a"], "and no copies: give --link-to DIR"),
        (["--sync", "--link-to", "a", "--new", "n"], "goes without --new"),
        (["--sync", "--link-to", "a", "--follow"], "goes without --follow"),
        (["--link-to", ""], "perhaps a shell variable is unset"),
        (["--follow", "-n", "5"], "without -n"),
        (["--list-faces"], "one photo"),
        (["--with", "-", "--without", "-"], "'-' once"),
        (["--with", ""], "empty"),
        (["--without", "@"], "name"),
        (["--with", "face:x"], "face:x"),
    ],
)
def test_what_contradicts_itself(arguments: list[str], words: str) -> None:
    assert words in error(*arguments)


@pytest.mark.parametrize("arguments", [["--with", "@ben"], ["--without", "b.jpg"], ["--since", "2019"], ["--new", "x"]])
def test_without_a_who_there_is_no_question(arguments: list[str]) -> None:
    with pytest.raises(UsageError, match="name a photo, or @NAME"):
        parse(arguments)


@pytest.mark.parametrize(
    "option",
    [
        *(["--with", "@b"], ["--without", "@b"], ["--only"], ["--faces", "2"], ["--since", "2019"], ["--new", "x"]),
        ["--html", "a.html"],
    ],
)
def test_a_list_of_faces_takes_no_option_of_a_search(option: list[str]) -> None:
    for arguments in (["a.jpg", "--list-faces", *option], ["--list-faces", "a.jpg#1"]):
        with pytest.raises(UsageError, match="--list-faces"):
            parse(arguments)
    assert parse(["a.jpg", "--list-faces", "--who", "--sheet", "s.png", "--json"]).names
