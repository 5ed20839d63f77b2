"""Confirming: with forms alone, and as the script asks."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any

from facewatchd.client.connection import INVALID_PARAMS, RemoteError
from facewatchd.errors import NoDaemonError
from tests.support.answers import MARKUP, match, person, seen
from tests.support.pages import Browser, ToldDaemon, browser

JSON = {"accept": "application/json"}


def asked(*faces: int, **answers: Any) -> ToldDaemon:
    """A daemon that suggests faces, and believes what is said of them."""

    def suggestions(limit: int, **_: Any) -> dict[str, Any]:
        return {"suggestions": [match(face) for face in faces[:limit]], "total": len(faces)}

    statements = [
        {"is": True, "face_id": 50, "paths": [{"path": "/a"}]},
        {"is": True, "face_id": 51, "paths": []},
        {"is": False, "face_id": 52, "paths": [{"path": "/b"}]},
    ]
    return ToldDaemon(
        **{
            "suggestions": suggestions,
            "faces": lambda face_id: seen(face_id),
            "person": lambda name, **_: {**person(name, best=49), "statements": statements, "next": None},
            "assign": lambda name, **_: {"name": name, "said": 1, "moved": [], "step": 3},
            "undo": {"action": "say"},
            **answers,
        }
    )


def shown(text: str) -> str:
    """The face that is asked about."""
    found = re.search(r'name="face" value="(\d+)"', text)
    return found[1] if found else ""


def follow(client: Browser, **fields: str) -> str:
    response = client.post("/people/confirm", data={"name": "Anna", **fields})
    assert response.status_code == 303
    return client.get(response.headers["location"]).text


def test_the_first_face_is_shown_beside_faces_that_the_user_named_and_a_photo_shows() -> None:
    with browser(asked(*range(1, 31))) as client:
        text = client.get("/people/confirm?name=Anna").text
        assert shown(text) == "1"
        assert re.findall(r'src="/face/(\d+)/96', text) == ["49", "50"]
        cards = json.loads(unescape(re.search(r'data-cards="(.*?)"', text)[1]))  # type: ignore[index]
        assert [card["face"] for card in cards] == [*range(1, 9)]
        assert cards[0]["box"] == [10, 10, 30, 20], "per cent of a photo of 100 x 200 pixels"
        assert '<span id="left">30</span>' in text


def test_without_a_script_each_answer_leads_to_the_next_face_and_skipped_ones_stay_away() -> None:
    daemon = asked(1, 2, 3)
    with browser(daemon) as client:
        text = follow(client, face="1", answer="skip", left="")
        assert shown(text) == "2"
        assert '<span id="left">2</span>' in text
        follow(client, face="2", answer="yes", left="1")
        assert daemon.params("assign") == {"name": "Anna", "who": [{"face_id": 2}], "is": True, "anyway": True}
        follow(client, face="2", answer="no", left="1")
        assert daemon.params("assign")["is"] is False
        text = follow(client, face="3", answer="skip", left="1,2")
        assert shown(text) == ""
        assert "Look at them again" in text
        for left in ("x", "-1", "1," * 3000, "9" * 30):
            assert client.get("/people/confirm", params={"name": "Anna", "left": left}).status_code == 200


def test_the_script_is_told_the_step_of_each_answer_and_what_went_wrong() -> None:
    daemon = asked(*range(1, 20))
    with browser(daemon) as client:
        more = client.get("/people/confirm/more?name=Anna&left=1,2,3").json()
        assert [card["face"] for card in more["cards"]] == [*range(4, 12)]
        assert more["total"] == 16
        form = {"name": "Anna", "face": "4", "answer": "yes"}
        assert client.post("/people/confirm", data=form, headers=JSON).json()["step"] == 3
        assert client.post("/people/confirm/undo", data={"step": "3"}).json() == {"undone": True}
        assert daemon.params("undo") == {"step": 3}
        daemon.answers["undo"] = RemoteError(
            "that cannot be taken back any more", "`facewatchd people undo` helps", code=INVALID_PARAMS
        )
        reply = client.post("/people/confirm/undo", data={"step": "3"})
        assert (reply.status_code, reply.json()) == (400, {"fault": "That cannot be taken back any more."})
        gone = NoDaemonError("no daemon answers", "start it: facewatchd run DIR")
        daemon.answers |= {"assign": gone, "suggestions": gone}
        for reply in (
            client.post("/people/confirm", data=form, headers=JSON),
            client.get("/people/confirm/more?name=Anna"),
        ):
            assert (reply.status_code, reply.json()["fault"]) == (
                503,
                "No daemon answers; start it: facewatchd run DIR.",
            )


def test_a_person_who_was_merged_in_another_tab_is_not_made_anew() -> None:
    gone = RemoteError("there is no person 'Anna'", "`facewatchd people list` lists them", kind="unknown-person")
    daemon = asked(1, 2)
    with browser(daemon) as client:
        assert client.get("/people/confirm?name=Anna").status_code == 200
        daemon.answers["person"] = gone
        form = {"name": "Anna", "face": "1", "answer": "yes"}
        assert client.post("/people/confirm", data=form).status_code == 404
        reply = client.post("/people/confirm", data=form, headers=JSON)
        assert (reply.status_code, reply.json()) == (404, {"fault": "There is no person 'Anna'.", "gone": True})
        assert "assign" not in [method for method, _ in daemon.asked]


def test_a_face_that_another_tab_gave_another_name_is_said_to_be_taken_from_it() -> None:
    moved = {"name": "Anna", "said": 1, "moved": ["Ben"], "step": 3}
    with browser(asked(1, assign=moved)) as client:
        reply = client.post("/people/confirm", data={"name": "Anna", "face": "1", "answer": "yes"}, headers=JSON).json()
        assert reply["moved"] == "It was \u2068Ben\u2069 before."
        assert "before" in follow(client, face="1", answer="yes").partition("</main>")[2]


def test_a_name_that_is_markup_breaks_neither_the_page_nor_the_data_for_the_script() -> None:
    with browser(asked(1, faces=lambda face_id: {**seen(face_id), "path": f"/{MARKUP}.jpg"})) as client:
        text = client.get("/people/confirm", params={"name": MARKUP}).text
        assert "<b onclick" not in text
        assert json.loads(unescape(re.search(r'data-cards="(.*?)"', text)[1]))  # type: ignore[index]


def test_where_nothing_is_left_the_page_says_so() -> None:
    with browser(asked()) as client:
        text = client.get("/people/confirm?name=Anna").text
        assert "No face is left that may be" in text
        assert shown(text) == ""
