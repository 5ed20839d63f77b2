"""A question as an address has it."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import QueryParams

from facewatchd.errors import UsageError
from facewatchd.page import question
from facewatchd.page.question import Question, UnknownPhotoError
from facewatchd.page.uploads import Upload, Uploads

NAMES = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20).map(str.strip).filter(bool)
WHOS = st.one_of(
    NAMES.map(lambda name: f"@{name}".strip()).filter(lambda name: len(name) > 1),
    st.integers(0, 10**15).map(lambda number: f"face:{number}"),
    st.integers(0, 10**15).map(lambda number: f"group:{number}"),
)
LISTS = st.lists(WHOS, max_size=3, unique=True).map(tuple)


def read(path: str) -> Question:
    return Question.of(QueryParams(parse_qsl(urlsplit(path).query)))


@given(
    st.builds(
        Question,
        who=LISTS,
        with_=LISTS,
        without=LISTS,
        since=st.sampled_from(["", "2019", "2019-06-30"]),
        until=st.sampled_from(["", "2020"]),
        threshold=st.sampled_from(["", "0.45"]),
        sort=st.sampled_from(["", "date", "-date"]),
    )
)
def test_an_address_says_the_whole_question(asked: Question) -> None:
    assert read(asked.path()) == asked
    assert read(asked.path(skip=60)) == asked


def test_a_who_becomes_a_who_of_the_protocol() -> None:
    uploads = Uploads()
    key = uploads.keep(Upload(b"bytes", "a.jpg", [], 1, 1))
    assert question.who("@Anna", uploads) == {"person": "Anna"}
    assert question.who("Anna", uploads) == {"person": "Anna"}
    assert question.who("@face:1", uploads) == {"person": "face:1"}
    assert question.who("face:12", uploads) == {"face_id": 12}
    assert question.who("group:7", uploads) == {"group": 7}
    assert question.who(f"photo:{key}#2", uploads) == {"data": "Ynl0ZXM=", "face": 2}
    with pytest.raises(UnknownPhotoError):
        question.who("photo:gone#0", uploads)


def test_a_name_that_is_typed_is_a_person() -> None:
    asked = read("/ask?who=face%3A1&with=Ben&without=%40Carl&without=+&with=group%3A3")
    assert (asked.with_, asked.without) == (("@Ben", "group:3"), ("@Carl",))


def test_what_is_left_open_is_not_asked() -> None:
    assert read("/ask?who=face%3A1&since=&threshold=+&sort=similarity").params(Uploads()) == {"who": [{"face_id": 1}]}
    assert read("/ask?who=face%3A1&sort=nonsense").sort == ""


@pytest.mark.parametrize("number", ["x", "0,5", "--1"])
def test_a_number_that_is_none_is_said(number: str) -> None:
    with pytest.raises(UsageError):
        Question(who=("face:1",), threshold=number).params(Uploads())


def test_photos_that_were_sent_are_kept_in_number_and_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facewatchd.page.uploads.MOST", 3)
    monkeypatch.setattr("facewatchd.page.uploads.MOST_BYTES", 100)
    uploads = Uploads()
    first, second, third = (uploads.keep(Upload(b"1", "", [], 1, 1)) for _ in range(3))
    assert uploads.get(first)
    fourth = uploads.keep(Upload(b"1", "", [], 1, 1))
    assert [bool(uploads.get(key)) for key in (first, second, third, fourth)] == [True, False, True, True]
    large = uploads.keep(Upload(b"1" * 200, "", [], 1, 1))
    assert [bool(uploads.get(key)) for key in (first, third, fourth, large)] == [False, False, False, True]
    assert len({first, second, third, fourth, large}) == 5
