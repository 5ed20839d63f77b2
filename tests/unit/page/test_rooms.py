"""Asking, one photo in large, and saying who is on it: what the daemon is asked, and what the page shows."""

from __future__ import annotations

import base64
import re
from html import unescape
from typing import Any

import httpx
import pytest

from facewatchd.client.connection import INVALID_PARAMS, RemoteError
from facewatchd.errors import DeadlineError, NoDaemonError
from tests.support.pages import BY_OURSELVES, STATUS, Browser, ToldDaemon, browser

UNKNOWN = {"name": None, "similarity": None, "verdict": "unknown", "confirmed": False, "runner_up": None}
ANNA = {"name": "Anna", "similarity": 0.8, "verdict": "sure", "confirmed": True, "runner_up": None}


def face(face_id: int | None, names: dict[str, Any], left: int = 10) -> dict[str, Any]:
    return {"face_id": face_id, "box": [left, 20, 30, 40], "score": 0.9, "quality": [], "names": names}


def match(face_id: int | None, **more: Any) -> dict[str, Any]:
    return {
        "path": f"/photos/{face_id}.jpg",
        "face_id": face_id,
        "similarity": 0.7,
        "verdict": "likely",
        "confirmed": False,
        "itself": False,
        "person": None,
        "copies": [],
        "similar": [],
        "taken": "2019-06-30T12:00:00",
        "taken_from": "exif",
        **more,
    }


def answers(total: int, found: dict[str, Any] | None = None) -> Any:
    """A ``query`` with so many matches: faces 100, 101 and so on."""

    def query(top: int, skip: int = 0, threshold: float = 0.4, **_: Any) -> dict[str, Any]:
        places = range(skip, min(total, skip + top))
        return {
            "matches": [match(100 + place) for place in places],
            "total": total,
            "threshold": threshold,
            "faces": 20,
            "pending": 0,
            "expected_false": found,
        }

    return query


PHOTO = {
    "faces": [face(100, ANNA), face(101, UNKNOWN, 60)],
    "width": 200,
    "height": 100,
    "path": "/photos/a <b>.jpg",
    "copies": ["/copies/a.jpg"],
    "taken": "2019-06-30T12:00:00",
    "taken_from": "mtime",
}
PEOPLE = {"people": [{"name": "Anna", "photos": 3, "best": 100, "hidden": False}]}


def send(client: Browser, data: bytes = b"a photo") -> httpx.Response:
    return client.post("/photos", files={"photo": ("a.jpg", data, "image/jpeg")})


def test_a_photo_is_sent_and_a_face_on_it_is_chosen() -> None:
    found = {"faces": [face(None, UNKNOWN), face(None, ANNA)], "width": 200, "height": 100}
    daemon = ToldDaemon(faces=found, query=answers(1), thumbnail={"jpeg": "/9g="}, people=PEOPLE)
    with browser(daemon) as client:
        sent = send(client)
        assert sent.status_code == 303
        assert base64.b64decode(daemon.params("faces")["data"]) == b"a photo"
        page = client.get(sent.headers["location"])
        key = sent.headers["location"].rpartition("/")[2]
        assert page.text.count(f'href="/ask?who=photo%3A{key}%230"') == 2
        assert "Anna" in page.text
        assert "Face #0" in page.text, "numbered as in `PHOTO#N`"
        assert client.get(f"/photos/{key}/1600.jpg").content == b"\xff\xd8"
        assert client.get(f"/photos/{key}/1600.jpg").content == b"\xff\xd8"
        assert [method for method, _ in daemon.asked].count("thumbnail") == 1
        asked = client.get(f"/ask?who=photo%3A{key}%230")
        assert daemon.params("query")["who"] == [{"data": base64.b64encode(b"a photo").decode(), "face": 0}]
        assert 'name="name"' in asked.text
        assert 'name="name"' not in client.get(f"/ask?who=photo%3A{key}%231").text


def test_one_face_is_asked_for_at_once_and_without_one_the_page_says_so() -> None:
    daemon = ToldDaemon(faces={"faces": [face(None, UNKNOWN)], "width": 200, "height": 100})
    with browser(daemon) as client:
        assert send(client).headers["location"].startswith("/ask?who=photo")
        daemon.answers["faces"] = {"faces": [], "width": 200, "height": 100}
        assert "No face was found" in client.get(send(client).headers["location"]).text


def test_a_photo_that_cannot_be_read_is_said_in_the_daemons_words() -> None:
    error = RemoteError("the JPEG image is truncated", "try another copy", kind="unreadable-photo")
    with browser(ToldDaemon(faces=error)) as client:
        answer = send(client)
        assert answer.status_code == 422
        assert "The JPEG image is truncated" in answer.text
        assert "Try another copy" in answer.text


@pytest.mark.parametrize("address", ["/photos/gone", "/photos/gone/1600.jpg", "/ask?who=photo%3Agone%230"])
def test_a_photo_that_is_not_kept_any_more_is_to_be_chosen_again(address: str) -> None:
    with browser(ToldDaemon(query=answers(1))) as client:
        answer = client.get(address)
        assert answer.status_code == 404
        assert "Choose it again" in answer.text


def test_an_answer_has_pages_and_each_match_knows_its_place() -> None:
    daemon = ToldDaemon(query=answers(130), people=PEOPLE)
    with browser(daemon) as client:
        first = client.get("/ask?who=%40anna&with=Ben&sort=date&threshold=0.5")
        asked = daemon.params("query")
        assert (asked["who"], asked["with"], asked["sort"]) == ([{"person": "anna"}], [{"person": "Ben"}], "date")
        assert (asked["top"], asked["threshold"]) == (60, 0.5)
        assert "130 photos" in first.text
        assert 'href="/face/100?who=%40anna&amp;with=%40Ben&amp;threshold=0.5&amp;sort=date"' in first.text
        assert "&amp;at=1" in first.text
        assert (
            'rel="next" href="/ask?who=%40anna&amp;with=%40Ben&amp;threshold=0.5&amp;sort=date&amp;skip=60"'
            in first.text
        )
        last = client.get("/ask?who=%40anna&skip=120")
        assert last.text.count('<li class="face"') == 10
        assert 'rel="next"' not in last.text


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"count": 2.2, "basis": "estimate"}, "about 2 of these 60 are somebody else"),
        ({"count": 2.2, "basis": "at-most"}, "up to 3 of these 60 are somebody else"),
        ({"count": 0.1, "basis": "estimate"}, "probably none of them is somebody else"),
        ({"count": None, "basis": "unknown"}, "too few other faces"),
    ],
)
def test_the_slider_says_how_many_are_wrong(found: dict[str, Any], words: str) -> None:
    with browser(ToldDaemon(query=answers(100, found), people=PEOPLE)) as client:
        assert words in client.get("/ask?who=%40Anna&threshold=0.45").text
        assert 'value="0.45"' in client.get("/ask?who=%40Anna&threshold=0.45").text
        everything = client.get("/ask/wrong?who=%40Anna").text
        assert words.replace("60", "100") in everything


def test_a_photo_in_large_has_its_faces_its_file_and_the_way_to_the_next() -> None:
    daemon = ToldDaemon(query=answers(3), faces=PHOTO, people=PEOPLE)
    with browser(daemon) as client:
        page = client.get("/face/101?who=%40Anna&at=1")
        assert daemon.params("faces") == {"face_id": 101, "names": True}
        assert "2 of 3 photos" in page.text
        assert 'rel="prev" href="/face/100?who=%40Anna"' in page.text
        assert 'rel="next" href="/face/102?who=%40Anna&amp;at=2"' in page.text
        assert "/photos/a &lt;b&gt;.jpg" in page.text
        assert "/copies/a.jpg" in page.text
        assert "This is <bdi>Anna</bdi>" in page.text
        assert page.text.count("<rect") == 2
        assert "style=" not in page.text


@pytest.mark.parametrize(
    ("question", "back", "words"),
    [
        ("who=%40Anna", "/ask?who=%40Anna&skip=60", "All matches"),
        ("who=%40Anna&room=person&since=2019&until=2019", "/people/of?name=Anna&year=2019&skip=60", "<bdi>Anna</bdi>"),
        ("who=%40Anna&with=Ben&room=together", "/together?with=Anna&with=Ben&skip=60", "All matches"),
    ],
)
def test_a_photo_in_large_leads_back_to_the_room_that_it_was_opened_from(question: str, back: str, words: str) -> None:
    daemon = ToldDaemon(query=answers(90), faces=PHOTO, people=PEOPLE)
    with browser(daemon) as client:
        text = unescape(client.get(f"/face/161?{question}&at=61").text)
        found = re.search(r'href="(.*?)" data-key="Escape"><span aria-hidden="true">←</span> (.*?)</a>', text)
        assert found is not None
        assert found.groups() == (f"{back}#face-161", words)
        for to in re.findall(r'rel="(?:prev|next)" href="(.*?)"', text):
            assert ("room=" in to) == ("room=" in question)


def test_a_photo_that_was_taken_out_of_the_answer_leads_to_the_one_that_took_its_place() -> None:
    daemon = ToldDaemon(query=answers(3), faces=PHOTO, people=PEOPLE)
    with browser(daemon) as client:
        page = client.get("/face/77?who=%40Anna&at=1")
        assert 'rel="next" href="/face/101?who=%40Anna&amp;at=1"' in page.text


def said(**result: Any) -> dict[str, Any]:
    return {
        "name": "Anna",
        "is": True,
        "new": False,
        "said": 1,
        "known": 0,
        "moved": [],
        "refused": [],
        "step": 7,
        **result,
    }


def test_what_is_said_can_be_taken_back() -> None:
    daemon = ToldDaemon(assign=said(new=True), undo={"action": "said"}, query=answers(0))
    with browser(daemon) as client:
        answer = client.post("/say", data={"name": "Anna", "who": "face:12", "back": "/ask"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/ask")
        assert daemon.params("assign") == {"name": "Anna", "who": [{"face_id": 12}]}
        page = client.get("/ask").text
        assert 'name="step" value="7"' in page
        assert 'name="step"' not in client.get("/ask").text
        client.post("/undo", data={"step": "7", "back": "/ask"})
        assert daemon.params("undo") == {"step": 7}
        assert "Taken back" in client.get("/ask").text


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (said(), "This is \u2068Anna\u2069."),
        (said(**{"is": False}), "This is \u2068Anna\u2069."),
        (said(moved=["Ben"]), "It was \u2068Ben\u2069 before."),
        (said(said=0, known=1, step=None), "You have said before"),
        (said(said=0, step=None, refused=[{"who": 0, "face": None, "reason": "it is blurred"}]), "it is blurred"),
        (RemoteError("the name is too long", code=INVALID_PARAMS), "The name is too long."),
    ],
)
def test_what_came_of_it_is_said(result: Any, words: str) -> None:
    with browser(ToldDaemon(assign=result)) as client:
        client.post("/say", data={"name": "Anna", "who": "face:12", "back": "/ask"})
        assert words in client.get("/ask").text


def test_no_name_is_no_change() -> None:
    daemon = ToldDaemon()
    with browser(daemon) as client:
        client.post("/say", data={"name": " ", "who": "face:12", "back": "https://evil.example/"})
        assert "Write a name" in client.get("/ask").text
        assert "assign" not in [method for method, _ in daemon.asked]


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (NoDaemonError("no daemon answers", "start it"), 503, "facewatchd run"),
        (DeadlineError("late", "ask again"), 504, "Ask again"),
        (RemoteError("there is no face 9", kind="unknown-face"), 404, "There is no face 9"),
        (RemoteError("wrong", code=INVALID_PARAMS), 400, "Wrong"),
        (ValueError("a fault"), 500, "Something in facewatchd is broken"),
    ],
)
def test_an_error_is_a_page_that_says_what_to_do(error: Exception, status: int, words: str) -> None:
    with browser(ToldDaemon(faces=error), raises=False) as client:
        answer = client.get("/face/9")
        assert answer.status_code == status
        assert words in answer.text
        assert "Traceback" not in answer.text


def test_a_size_that_nobody_needs_is_not_made() -> None:
    daemon = ToldDaemon(thumbnail={"jpeg": "/9g="})
    with browser(daemon) as client:
        assert client.get("/face/9/256.jpg").status_code == 200
        assert client.get("/face/9/257.jpg").status_code == 404
        assert daemon.params("thumbnail") == {"face_id": 9, "size": 256}
        assert client.get("/face/9/photo/1600.jpg", headers=BY_OURSELVES).status_code == 200
        assert daemon.params("thumbnail") == {"face_id": 9, "size": 1600, "photo": True}


def test_a_face_that_was_sent_has_the_name_that_it_was_given_since() -> None:
    found = {"faces": [face(None, {**UNKNOWN, "name": "Ben", "verdict": "look"})], "width": 200, "height": 100}
    daemon = ToldDaemon(faces=found, query=answers(1), assign=said(new=True), people=PEOPLE, undo={"action": "said"})
    with browser(daemon) as client:
        address = send(client).headers["location"]
        who = address.partition("who=")[2].replace("%3A", ":").replace("%23", "#")
        guessed = client.get(address).text
        assert 'value="Ben" list="names"' in guessed
        assert "<bdi>Ben</bdi>: " not in guessed
        daemon.answers["faces"] = {**found, "faces": [face(None, ANNA)]}
        assert "<bdi>Anna</bdi>" not in client.get(address).text
        client.post("/say", data={"name": "Anna", "who": who, "back": address})
        assert "<bdi>Anna</bdi>: " in client.get(address).text
        daemon.answers["faces"] = found
        assert "<bdi>Anna</bdi>: " in client.get(address).text
        client.post("/undo", data={"step": "7", "back": address})
        assert "<bdi>Anna</bdi>: " not in client.get(address).text


def test_a_face_of_the_library_and_a_group_have_a_picture_and_a_name() -> None:
    daemon = ToldDaemon(query=answers(3), people=PEOPLE)
    with browser(daemon) as client:
        assert 'src="/face/100/192.jpg"' in client.get("/ask?who=group%3A7").text
        assert daemon.params("query")["who"] == [{"group": 7}]
        assert 'value="group:7"' in client.get("/ask?who=group%3A7").text
        assert 'value="face:101"' in client.get("/ask?who=face%3A101").text
        daemon.answers["query"] = lambda **given: {**answers(3)(**given), "matches": [match(101, person="Anna")]}
        named = client.get("/ask?who=face%3A101").text
        assert "<bdi>Anna</bdi>: " in named
        assert 'value="face:101"' not in named.partition('action="/say"')[2]


def test_the_slider_at_its_usual_place_asks_with_the_models_own_threshold() -> None:
    daemon = ToldDaemon(query=answers(3), people=PEOPLE)
    daemon.answers["status"] = {**STATUS, "model": {**STATUS["model"], "threshold": 0.5738}}
    with browser(daemon) as client:
        page = client.get("/ask?who=%40Anna").text
        assert 'step="0.01" value="0.40"' in page
        for path in ("/ask?who=%40Anna&threshold=0.57", "/ask/wrong?who=%40Anna&threshold=0.57"):
            assert client.get(path).status_code == 200
            assert daemon.params("query")["threshold"] == 0.5738
        client.get("/ask?who=%40Anna&threshold=0.56")
        assert daemon.params("query")["threshold"] == 0.56


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e400", "9" * 5000, "1.01", "-2", "1_0", "[" * 5000])
@pytest.mark.parametrize(
    "path", ["/ask?who=face%3A1", "/ask/wrong?who=face%3A1", "/album?who=face%3A1", "/face/1?who=%40Anna"]
)
def test_a_similarity_that_is_none_is_said(path: str, number: str) -> None:
    daemon = ToldDaemon(query=answers(1), faces=PHOTO)
    with browser(daemon) as client:
        answer = client.get(f"{path}&threshold={number}")
        assert (answer.status_code, "between -1 and 1" in answer.text) == (400, True)


@pytest.mark.parametrize(
    "path", ["/face/{}", "/face/{}/256.jpg", "/face/1/{}.jpg", "/face/1/photo/{}.jpg", "/photos/x/{}.jpg"]
)
@pytest.mark.parametrize("number", ["9" * 19, "9" * 5000, "-1", "1.5", "٣", "²", "1_0", "nan"])
def test_a_number_in_a_path_that_no_face_can_have_leads_nowhere(path: str, number: str) -> None:
    with browser(ToldDaemon()) as client:
        assert client.get(path.format(number)).status_code == 404


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        ("`facewatchd people list` lists them", ""),
        ("did you mean Ben? `facewatchd people list` lists them", "Did you mean Ben?"),
        ("`facewatchd scan` looks at it now", ""),
        ("ask for photos of both with --with, or of either with --face all", ""),
        ("formats: man facewatchd", ""),
        ("ask again, or see: facewatchd status", ""),
        ("see `facewatchd doctor`", "See facewatchd doctor"),
        ("free some space; the disk is full", "Free some space; the disk is full"),
    ],
)
def test_an_error_names_no_command_for_what_a_room_does(hint: str, words: str) -> None:
    with browser(ToldDaemon(query=RemoteError("it cannot be", hint, kind="unknown-face"))) as client:
        text = client.get("/ask?who=%40Anna").text.partition("<main")[2].partition("</main>")[0]
        assert "It cannot be" in text
        assert words in text
        assert ("<p>" in text) == bool(words)
        assert "`" not in text


def test_a_notice_waits_for_a_page_that_is_looked_at() -> None:
    daemon = ToldDaemon(
        assign=said(), query=answers(1), people=PEOPLE, thumbnail=RemoteError("gone", kind="unknown-face")
    )
    by_a_script = {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}
    of_a_picture = {"sec-fetch-site": "same-origin", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}
    with browser(daemon) as client:
        client.post("/say", data={"name": "Anna", "who": "face:12", "back": "/ask"})
        for path, headers in (
            ("/now/part", by_a_script),
            ("/ask?who=%40Anna", by_a_script),
            ("/ask?who=%40Anna", {**BY_OURSELVES, "facewatchd-background": "1"}),
            ("/nowhere", by_a_script),
            ("/face/12/256.jpg", of_a_picture),
        ):
            assert "This is" not in client.get(path, headers=headers).text.partition('id="notices"')[2]
        assert 'name="step" value="7"' in client.get("/ask").text


def test_a_name_that_was_refused_can_be_given_all_the_same() -> None:
    refused = said(said=0, step=None, refused=[{"who": 0, "face": None, "reason": "it is like Anna (similarity 0.89)"}])
    daemon = ToldDaemon(query=answers(1), assign=refused | {"name": "Dora"}, people=PEOPLE)
    with browser(daemon) as client:
        for back in ("/ask?who=face%3A12", "/face/12?who=%40Anna&at=1"):
            client.post("/say", data={"name": "Dora", "who": "face:12", "back": back})
            page = client.get("/ask").text.partition('id="notices"')[2]
            assert "<bdi>Dora</bdi> all the same" in page
            form = re.findall(r'name="(\w+)" value="(.*?)"', page)
            again = client.post("/say", data={name: unescape(value) for name, value in form})
            assert again.headers["location"] == back
            assert daemon.params("assign") == {"name": "Dora", "who": [{"face_id": 12}], "anyway": True}
            assert "all the same" not in client.get("/ask").text


def test_an_id_counts_only_in_the_catalog_that_the_page_was_drawn_for() -> None:
    daemon = ToldDaemon(
        catalog="one", query=answers(3), faces=PHOTO, people=PEOPLE, thumbnail={"jpeg": "/9g="}, assign=said()
    )
    with browser(daemon) as client:
        pages = [client.get(path).text for path in ("/ask", "/ask?who=face%3A100", "/face/100?who=%40Anna")]
        pictures = {unescape(each) for page in pages for each in re.findall(r'src="(/face/.*?)"', page)}
        assert pictures
        for path in pictures:
            assert path.endswith("?catalog=one")
            assert client.get(path).headers["cache-control"].endswith("immutable")
        assert client.get("/face/100/256.jpg").headers["cache-control"] == "no-store"
        forms = [
            form for page in pages for form in re.findall(r'<form method="post" action="/say".*?</form>', page, re.S)
        ]
        assert forms
        assert all('name="catalog" value="one"' in form for form in forms)
        form = {"name": "Anna", "who": "face:12", "back": "/ask", "catalog": "one"}
        assert client.post("/say", data=form).status_code == 303
        daemon.answers["catalog"] = "two"
        del daemon.answers["assign"], daemon.answers["thumbnail"]
        for path in pictures:
            assert client.get(path).status_code == 409
        refused = client.post("/say", data=form)
        assert (refused.status_code, "Nothing was changed" in refused.text) == (409, True)


def test_a_form_that_met_no_daemon_is_not_sent_again_by_itself() -> None:
    daemon = ToldDaemon(assign=NoDaemonError("no daemon answers", "start it"), query=answers(1), people=PEOPLE)
    with browser(daemon) as client:
        sent = client.post("/say", data={"name": "Zoe", "who": "face:12", "back": "/ask"})
        assert sent.status_code == 503
        assert "return.js" not in sent.text
        assert "may not have been noted" in sent.text
        daemon.answers["query"] = daemon.answers["assign"]
        assert "return.js" in client.get("/ask?who=%40Anna").text


def test_an_answer_that_begins_later_has_a_way_to_the_photos_before() -> None:
    with browser(ToldDaemon(query=answers(520), people=PEOPLE)) as client:
        assert 'rel="prev"' not in client.get("/ask?who=%40Anna").text
        assert 'rel="prev" href="/ask?who=%40Anna"' in client.get("/ask?who=%40Anna&skip=60").text
        assert 'rel="prev" href="/ask?who=%40Anna&amp;skip=60"' in client.get("/ask?who=%40Anna&skip=120").text
