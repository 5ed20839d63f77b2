"""Together, new, and now."""

from __future__ import annotations

import re
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from facewatchd.client.connection import RemoteError
from facewatchd.page.forms import sentence
from facewatchd.page.now import after_of, progress
from facewatchd.page.shown import MOST, Shown
from tests.support.answers import MARKUP, answer, person
from tests.support.pages import STATUS, ToldDaemon, browser

FULL = {
    **STATUS,
    "version": "1",
    "pid": 1,
    "uptime_s": 1,
    "index": {"faces": 20, "tombstones": 0},
    "rates": {"photos_per_s": 2.0},
    "waits": "",
    "device": "cpu",
    "second_look": {"on": False, "photos": 0, "done": 0},
    "roots": [{"path": f"/{MARKUP}", "state": "watching", "photos": 12}],
}


def test_with_and_without_people_is_one_question_and_fields_that_are_empty_ask_nothing() -> None:
    daemon = ToldDaemon(people={"people": [person("A"), person("B")]}, query=answer(1, 2))
    with browser(daemon) as client:
        text = client.get("/together?with=A&with=B&with=&with=A&without=C&without=&only=yes&year=2014").text
        asked = daemon.params("query")
        assert asked["who"] == [{"person": "A"}]
        assert asked["with"] == [{"person": "B"}]
        assert asked["without"] == [{"person": "C"}]
        assert (asked["faces_min"], asked["faces_max"]) == (2, 2)
        assert (asked["since"], asked["until"]) == ("2014", "2014")
        assert "2 photos of" in text
        (year,) = {
            parse_qs(urlsplit(unescape(each)).query)["year"][0]
            for each in re.findall(r'href="([^"]*year=[^"]*)"', text)
        }
        assert year == "2014"
        daemon.asked.clear()
        assert client.get("/together?with=&without=").status_code == 200
        assert "query" not in [method for method, _ in daemon.asked]


def test_a_person_who_is_not_there_is_a_line_beside_the_fields() -> None:
    unknown = RemoteError(
        "there is no person 'Ann'", "did you mean Anna? `facewatchd people list` lists them", kind="unknown-person"
    )
    with browser(ToldDaemon(query=unknown, people={"people": [person("Anna")]})) as client:
        reply = client.get("/together", params={"with": ["Ann", MARKUP]})
        assert reply.status_code == 200
        assert "There is no person &#39;Ann&#39;; did you mean Anna?<" in reply.text
        assert "<b onclick" not in reply.text


def test_what_is_new_stays_so_until_the_button_is_pressed_and_only_that_is_noted() -> None:
    found = {"Anna": answer(1, 2, digests=["aa", "bb"]), MARKUP: answer(2, digests=["bb"]), "Ben": answer()}
    people = [person(name) for name in found] + [person("Nobody", 0)]
    daemon = ToldDaemon(
        people={"people": people},
        query=lambda who, **_: found[who[0]["person"]],
        seen=lambda shown, **_: {"noted": len(shown)},
        status=FULL,
    )
    with browser(daemon) as client:
        text = client.get("/new").text
        assert daemon.params("query")["new"] == "page"
        assert "seen" not in [method for method, _ in daemon.asked], "a look changes nothing"
        assert "Mark all 2 photos as seen" in text
        assert "<b onclick" not in text
        word = re.search(r'name="word" value="(.*?)"', text)[1]  # type: ignore[index]
        found["Anna"] = answer(1, 2, 3, digests=["aa", "bb", "cc"])
        assert client.post("/new", data={"word": word}).headers["location"] == "/new"
        assert daemon.params("seen") == {"name": "page", "shown": ["aa", "bb"]}
        assert "2 photos noted as seen" in client.get("/new").text
        client.post("/new", data={"word": "other"})
        assert "too long ago" in client.get("/new").text


def test_of_many_people_some_are_asked_about_on_one_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facewatchd.page.news.PATIENCE", -1.0)
    daemon = ToldDaemon(
        people={"people": [person(f"P{number}") for number in range(3000)]}, query=answer(), status=FULL
    )
    with browser(daemon) as client:
        text = client.get("/new").text
        assert sum(method == "query" for method, _ in daemon.asked) == 24
        assert "/new?skip=24" in text


@pytest.mark.parametrize(
    ("photos", "pending", "expected"), [(0, 0, 100), (10, 0, 100), (1000, 1, 99), (0, 10, 0), (5, 10, 0)]
)
def test_progress_is_whole_only_at_the_end(photos: int, pending: int, expected: int) -> None:
    assert progress(photos, pending) == expected


def test_what_happens_now_and_what_failed_are_shown_as_text() -> None:
    status = {**FULL, "state": "indexing", "pending": 3, "failed": 2, "waits": MARKUP, "problems": [MARKUP]}
    with browser(ToldDaemon(status={**status, "waits": ""})) as client:
        assert "3 photos to go: 2.0 photos a second, about 1 s left." in client.get("/now").text
    failed = {"photos": [{"path": f"/{MARKUP}", "reason": MARKUP}], "next": {"path": "/a&b?c", "path_bytes": "YQ=="}}
    daemon = ToldDaemon(status=status, photos=failed)
    with browser(daemon) as client:
        for path in ("/now", "/now/part"):
            text = client.get(path).text
            assert "3 photos to go" in text
            assert "problem" in text
            assert "<b onclick" not in text
        assert "<html" not in client.get("/now/part").text
        text = client.get("/now/files?state=failed").text
        assert "<b onclick" not in text
        after = re.search(r'rel="next" href="(.*?)"', text)[1]  # type: ignore[index]
        client.get(unescape(after))
        assert daemon.params("photos")["after"] == failed["next"]
        assert client.get("/now/files?state=wrong").status_code == 200
        assert daemon.params("photos")["state"] == "failed"


@pytest.mark.parametrize("text", ["", "x", "[]", "1", '{"path": 1}', "{" * 5000, "[" * 5000, '{"a":' * 5000])
def test_a_place_in_a_list_that_is_none_is_its_begin(text: str) -> None:
    assert after_of(text) == {"path": ""}


def test_the_daemon_rests_goes_on_and_looks_at_the_disk_when_told_so() -> None:
    calls: dict[str, Any] = {"pause": {"state": "paused"}, "resume": {"state": "idle"}, "scan": {"queued": 1}}
    daemon = ToldDaemon(status=FULL, **calls)
    with browser(daemon) as client:
        for action in (*calls, "forget_person"):
            assert client.post("/now", data={"action": action}).headers["location"] == "/now"
        assert [method for method, _ in daemon.asked] == [*calls]


@pytest.mark.parametrize(
    ("message", "hint", "expected"),
    [
        ("it is so", "", "It is so."),
        ("it is so", "`facewatchd scan` helps", "It is so."),
        ("it is so", "check the disk", "It is so; check the disk."),
        ("it is so", "is it? `facewatchd scan` tells; look", "It is so; is it?; look."),
    ],
)
def test_an_error_is_a_sentence_that_names_no_command(message: str, hint: str, expected: str) -> None:
    assert sentence(RemoteError(message, hint)) == expected


def test_of_many_buttons_the_last_are_kept() -> None:
    shown = Shown()
    words = [shown.keep([str(number)]) for number in range(MOST + 1)]
    assert shown.get(words[0]) is None
    assert shown.get(words[-1]) == [str(MOST)]


def test_new_goes_on_to_the_people_with_something_new() -> None:
    people = [person(f"Nobody {number}", 2) for number in range(70)] + [person("Last", 1)]
    daemon = ToldDaemon(
        people={"people": people},
        query=lambda who, **_: answer(1, digests=["aa"]) if who[0]["person"] == "Last" else answer(digests=[]),
        status=FULL,
    )
    with browser(daemon) as client:
        text = client.get("/new").text
        assert "Last" in text
        assert "Mark this photo as seen" in text
        assert "More people" not in text
