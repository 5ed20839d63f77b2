"""Everybody else: groups that are looked into, named and ignored."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest

from facewatchd.client.connection import INVALID_PARAMS, RemoteError
from facewatchd.page import unknown
from tests.support.answers import MARKUP, person
from tests.support.pages import STATUS, ToldDaemon, browser

GONE = RemoteError("there is no group 17", "`facewatchd people unknown` lists them", kind="unknown-face")
NAMED = {"name": "Anna", "new": True, "said": 38, "known": 0, "moved": [], "except": 0, "refused": [], "step": 5}


def group(number: int = 17, faces: int = 38, **more: Any) -> dict[str, Any]:
    span = {"first": "2011-01-01", "last": "2019-01-01"}
    return {"id": number, "faces": faces, "photos": 36, "best": 5, "examples": [5, 6, 7, 8, 9], **span, **more}


def strangers(*groups: dict[str, Any], **answers: Any) -> ToldDaemon:
    faces = [
        {"face_id": number, "path": f"/{MARKUP}/{number}.jpg", "taken": "2019-06-30", "taken_from": "exif"}
        for number in range(1, 39)
    ]
    return ToldDaemon(
        **{
            "unknown": lambda ignored=False, **_: {
                "groups": [group(99, 3)] if ignored else list(groups),
                "next": None,
                "total": 1 if ignored else len(groups),
                "unseen": 0,
            },
            "group": lambda skip=0, limit=1000, **_: {"faces": faces[skip : skip + limit], "total": 38},
            "people": {"people": [person("Anna"), person(MARKUP)]},
            "assign": NAMED,
            **answers,
        }
    )


def notices(text: str) -> str:
    return unescape(text.partition("</main>")[2]).replace("\u2068", "").replace("\u2069", "")


def test_groups_are_shown_with_a_way_to_name_each_and_the_known_names_are_offered() -> None:
    with browser(strangers(group(), group(18, 2, first=None, last=None))) as client:
        text = client.get("/unknown").text
        assert "38 faces" in text
        assert re.findall(r'name="id" value="(\d+)"', text) == ["17", "17", "18", "18"]
        assert [unescape(each) for each in re.findall(r'<option value="(.*?)">', text)] == ["Anna", MARKUP]
        assert "<b onclick" not in text
        text = client.get("/unknown/group?id=17").text
        assert len(re.findall(r'name="apart"', text)) == 38
        assert "<b onclick" not in text


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({"pending": 40}, "Faces are still being found: 40 photos to go"),
        ({"unseen": 7}, "7 faces are still to be put into groups"),
        ({"faces": 0}, "No face was found on your photos yet"),
        ({}, "Nobody is left"),
    ],
)
def test_without_a_group_the_page_says_why(status: dict[str, Any], words: str) -> None:
    none = {"groups": [], "next": None, "total": 0, "unseen": status.get("unseen", 0)}
    with browser(strangers(status={**STATUS, **status}, unknown=none)) as client:
        assert words in client.get("/unknown").text


def test_a_group_is_named_without_the_faces_that_were_taken_out_of_it() -> None:
    daemon = strangers(group(), assign={**NAMED, "except": 2})
    with browser(daemon) as client:
        form = {"id": "17", "name": " Anna ", "apart": ["4", "9"], "then": "person"}
        reply = client.post("/unknown/group", data=form)
        assert reply.headers["location"] == "/people/of?name=Anna"
        assert daemon.params("assign") == {"name": "Anna", "who": [{"group": 17}], "except": [4, 9]}
        text = notices(client.get("/unknown").text)
        assert "Anna is new: 36 faces named, 2 said to be somebody else." in text
        assert 'name="step" value="5"' in text
        assert client.post("/unknown/group", data={"id": "17", "name": "Anna"}).headers["location"] == "/unknown"


def test_faces_that_are_taken_out_stay_so_on_the_other_pages_of_a_large_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unknown, "FACES", 20)
    with browser(strangers(group())) as client:
        text = client.get("/unknown/group?id=17&skip=20&apart=3&apart=25&name=Ann").text
        assert re.findall(r'<input type="hidden" name="apart" value="(\d+)"', text) == ["3"]
        assert re.findall(r'value="(\d+)" checked', text) == ["25"]
        assert 'value="Ann"' in text
        assert re.findall(r'formmethod="get".*? name="skip" value="(\d+)"', text) == ["0"]
        assert "38 of 38" in text


def test_faces_that_were_left_out_are_named_all_the_same_only_when_that_is_ticked() -> None:
    refused = [{"reason": "face 4 was said not to be Anna"}] * 2
    daemon = strangers(group(), assign={**NAMED, "new": False, "said": 36, "moved": ["Ben"], "refused": refused})
    with browser(daemon) as client:
        text = client.get(client.post("/unknown/group", data={"id": "17", "name": "Anna"}).headers["location"]).text
        assert "Anna: 36 faces named, taken from Ben, 2 left out." in notices(text)
        assert "face 4 was said not to be Anna" in text
        assert 'name="anyway"' in text
        client.post("/unknown/group", data={"id": "17", "name": "Anna", "anyway": "yes"})
        assert daemon.params("assign")["anyway"] is True


def test_a_name_that_cannot_be_keeps_what_was_taken_out() -> None:
    problem = RemoteError("a name has at most 200 characters, not 300", code=INVALID_PARAMS)
    with browser(strangers(group(), assign=problem)) as client:
        for name, words in (("x" * 300, "at most 200 characters"), ("  ", "Write a name first")):
            reply = client.post("/unknown/group", data={"id": "17", "name": name, "apart": ["4", "9"]})
            text = client.get(reply.headers["location"]).text
            assert words in notices(text)
            assert re.findall(r'value="(\d+)" checked', text) == ["4", "9"]


def test_a_group_that_was_named_in_another_tab_leads_back_with_a_line() -> None:
    with browser(strangers(group=GONE, assign=GONE, ignore=GONE)) as client:
        for path, form in (
            ("/unknown/group?id=17", {}),
            ("/unknown/group", {"id": "17", "name": "Anna"}),
            ("/unknown/ignore", {"id": "17"}),
            ("/unknown/ignored", {"id": "17"}),
            ("/unknown/ignored/group?id=17", {}),
        ):
            reply = client.post(path, data=form) if form else client.get(path)
            assert (reply.status_code, reply.headers["location"]) == (303, "/unknown")
            assert "That group is not there any more" in notices(client.get("/unknown").text)


def test_ignored_groups_are_listed_apart_and_brought_back() -> None:
    daemon = strangers(group(), ignore={"said": 3, "known": 0, "step": 9})
    with browser(daemon) as client:
        assert '<a href="/unknown/ignored">Ignored: 1 group</a>' in client.get("/unknown").text
        text = client.get("/unknown/ignored").text
        assert re.findall(r'name="id" value="(\d+)"', text) == ["99"]
        assert "/unknown/ignored/group?id=99" in text
        assert 'name="name"' not in text
        text = client.get("/unknown/ignored/group?id=99").text
        assert daemon.params("group") == {"id": 99, "skip": 0, "limit": 1000, "ignored": True}
        assert "Bring back 38 faces" in text
        assert "<b onclick" not in text
        assert client.post("/unknown/ignored", data={"id": "99"}).headers["location"] == "/unknown/ignored"
        assert daemon.params("ignore") == {"who": [{"group": 99}], "is": False}
        text = notices(client.get("/unknown/ignored").text)
        assert "3 faces brought back." in text
        assert 'name="step" value="9"' in text


def test_without_an_ignored_group_the_page_says_so() -> None:
    none = {"groups": [], "next": None, "total": 0, "unseen": 0}
    with browser(strangers(unknown=none)) as client:
        assert "Nobody is ignored" in client.get("/unknown/ignored").text
        assert "/unknown/ignored" not in client.get("/unknown").text


def test_an_ignored_group_can_be_brought_back_at_once() -> None:
    daemon = strangers(group(), ignore={"said": 38, "step": 8})
    with browser(daemon) as client:
        assert client.post("/unknown/ignore", data={"id": "17"}).headers["location"] == "/unknown"
        assert daemon.params("ignore") == {"who": [{"group": 17}]}
        text = notices(client.get("/unknown").text)
        assert "38 faces will not be shown here again." in text
        assert 'name="step" value="8"' in text
