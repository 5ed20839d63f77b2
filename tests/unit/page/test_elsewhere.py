"""Photos of other machines in the rooms of the page: what is shown, what is offered, and what is asked for."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest

from facewatchd.page.album import arguments
from facewatchd.page.question import Question
from tests.support.answers import LONG, MARKUP, RIGHT_TO_LEFT, match, person
from tests.support.pages import ToldDaemon, browser
from tests.support.replies import machine, peer, shared, sharing
from tests.unit.page.test_others import FULL

HOSTS = [MARKUP, RIGHT_TO_LEFT, LONG, "nas", "\u202e\x1b[2J"]
OK = shared(machine("nas"))
AWAY = shared(state="unreachable", reason="nas.lan: no answer")


def there(number: int, **more: Any) -> dict[str, Any]:
    """A match of another machine."""
    return match(None, path=f"/srv/2019/{number}.jpg", host="nas", size=[400, 300], **more)


def answers(*matches: dict[str, Any], **more: Any) -> Any:
    """A ``query`` that is cut as the daemon does, with what it says of the shared engine."""

    def query(top: int, skip: int = 0, **_: Any) -> dict[str, Any]:
        return {
            "matches": list(matches[skip : skip + top]),
            "total": len(matches),
            "years": [],
            "digests": [],
            "threshold": 0.4,
            "faces": 210_020,
            "pending": 0,
            "shared": OK,
            **more,
        }

    return query


def told(*matches: dict[str, Any], **more: Any) -> ToldDaemon:
    known = {**person("Anna"), "statements": [], "next": None}
    return ToldDaemon(
        query=answers(*matches, **more),
        people={"people": [person("Anna")]},
        person=known,
        suggestions={"suggestions": [], "total": 0},
    )


def links(text: str, beginning: str) -> list[str]:
    return [unescape(each) for each in re.findall(rf'href="({beginning}[^"]*)"', text)]


ROOMS = ["/ask?who=%40Anna", "/people/of?name=Anna", "/together?with=Anna", "/together?with=Anna&only=yes", "/new"]


@pytest.mark.parametrize("room", ROOMS)
def test_a_photo_of_another_machine_is_an_outline_in_every_room(room: str) -> None:
    """It has no picture and no form, and leads to a page of its own, whose address has no path."""
    with browser(told(there(1), match(7, host=None), there(2))) as client:
        page = client.get(room)
        assert page.status_code == 200
        assert page.text.count('<span class="away">') == 2
        assert len(re.findall(r'<img[^>]*src="/face/', page.text.partition("matches")[2])) == 1
        assert "/face/None" not in page.text
        assert "/srv/2019<" in page.text
        first, second = links(page.text, "/elsewhere")
        assert "srv" not in first
        for link, number in ((first, 1), (second, 2)):
            large = client.get(link)
            assert large.status_code == 200
            assert f'<code id="path">/srv/2019/{number}.jpg</code>' in large.text
            assert "<form" not in large.text
            assert "<img" not in large.text.partition("<main")[2]
            back = links(large.text, "/")[links(large.text, "/").index("/now") + 1]
            anchor = back.partition("#")[2]
            assert f'id="{anchor}"' in client.get(back.partition("#")[0]).text


def test_from_one_photo_to_the_next_across_machines() -> None:
    daemon = told(match(7, host=None), there(1), match(8, host=None))
    seen = {"faces": [], "path": "/x.jpg", "copies": [], "taken": None, "taken_from": None, "width": 9, "height": 9}
    daemon.answers["faces"] = seen
    with browser(daemon) as client:
        (link,) = links(client.get("/ask?who=%40Anna").text, "/elsewhere")
        large = client.get(link)
        assert "2 of 3 photos" in large.text
        before, after = (links(large.text, "/face/7"), links(large.text, "/face/8"))
        assert (before, after) == (["/face/7?who=%40Anna"], ["/face/8?who=%40Anna&at=2"])
        assert link in links(client.get(before[0]).text, "/elsewhere")


def test_a_photo_that_has_another_place_by_now_is_found() -> None:
    daemon = told(there(1), there(2))
    with browser(daemon) as client:
        first = links(client.get("/ask?who=%40Anna").text, "/elsewhere")[0]
        daemon.answers["query"] = answers(*map(there, range(5, 30)), there(1))
        assert '<code id="path">/srv/2019/1.jpg</code>' in client.get(first).text
        assert "26 of 26 photos" in client.get(first).text
        daemon.answers["query"] = answers(there(2), shared=AWAY)
        gone = client.get(first)
        assert gone.status_code == 404
        assert "not among the matches now" in gone.text
        assert "Shared engine unreachable, searched on this machine only: nas.lan: no answer." in gone.text


@pytest.mark.parametrize("address", ["/elsewhere", "/elsewhere?photo=12", "/elsewhere?who=%40Anna"])
def test_an_address_without_a_question_or_a_photo_has_nothing(address: str) -> None:
    with browser(told(there(1))) as client:
        assert client.get(address).status_code == 404


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("path", ["", "/", MARKUP, "/" + "long/" * 900 + RIGHT_TO_LEFT, "\udcff", "/a\n\x1b"])
def test_whatever_another_machine_calls_itself_and_its_photos(host: str, path: str) -> None:
    raw = path.encode("utf-8", "surrogateescape")
    named = {"path": raw.decode("utf-8", "replace")}
    if "\ufffd" in named["path"]:
        named["path_bytes"] = "/w=="
    found = {**there(1), **named, "host": host, "elsewhere": [{"host": host, **named}]}
    with browser(
        told({**found, "size": [0, 10**9], "box": [-5, 0, 0, 10**9]}, {**found, "path": "/b", "size": None})
    ) as client:
        for room in ROOMS:
            page = client.get(room)
            assert page.status_code == 200
            assert "<b onclick" not in page.text
            assert "\x1b" not in page.text
        for link in links(client.get(ROOMS[0]).text, "/elsewhere"):
            large = client.get(link)
            assert large.status_code == 200
            assert "<b onclick" not in large.text
            assert ("data-copy" in large.text) == bool(path or '<code id="path">/b<' in large.text)


def test_the_same_path_on_two_machines_is_two_photos() -> None:
    with browser(told(there(1), there(1, copies=[]) | {"host": "old"})) as client:
        one, other = links(client.get("/ask?who=%40Anna").text, "/elsewhere")
        assert "File on <bdi>nas</bdi>" in client.get(one).text
        assert "File on <bdi>old</bdi>" in client.get(other).text


def test_a_photo_that_is_here_too_is_shown_and_the_others_are_named_beside_its_copies() -> None:
    here = match(7, host=None, elsewhere=[{"host": "nas", "path": "/srv/a.jpg"}, {"host": "old", "path": "/b"}])
    daemon = told(here)
    seen = {"faces": [], "path": "/x.jpg", "copies": ["/y.jpg"], "taken": None, "taken_from": None}
    daemon.answers["faces"] = {**seen, "width": 9, "height": 9}
    with browser(daemon) as client:
        page = client.get("/ask?who=%40Anna").text
        assert '<span class="more">+2</span>' in page
        assert "also on <bdi>nas and old</bdi>" in page
        assert "away-" not in page.replace("away-directory", "")
        large = client.get("/face/7?who=%40Anna").text
        assert re.findall("<code>(.*)</code>", large) == ["/x.jpg", "/y.jpg", "nas:/srv/a.jpg", "old:/b"]


def test_an_answer_says_where_faces_were_searched_and_where_not() -> None:
    with browser(told(there(1))) as client:
        assert "20 faces here, 210,000 on nas searched" in client.get("/ask?who=%40Anna").text
    old = shared(machine("nas", as_of_s=3 * 7 * 86400), cut=True)
    with browser(told(there(1), shared=old)) as client:
        page = client.get("/ask?who=%40Anna").text
        assert "210,000 on nas (3 weeks ago)" in page
        assert "at least 1 photo" in page
    words = "Shared engine unreachable, searched on this machine only: nas.lan: no answer."
    for room in ROOMS:
        with browser(told(match(7, host=None), shared=AWAY)) as client:
            assert words in client.get(room).text
    with browser(told(there(1), shared=shared(machine("nas", backlog=12)))) as client:
        assert "photos still to come from other machines: 12 on nas." in client.get("/ask?who=%40Anna").text


def test_only_this_machine_is_asked_where_that_is_wanted() -> None:
    with browser(told(there(1))) as client:
        page = client.get("/ask?who=%40Anna")
        assert "shared" not in client.page.daemon.params("query")  # type: ignore[attr-defined]
        assert 'name="here" value="yes">' in page.text
    daemon = told(match(7))
    daemon.answers["query"] = lambda **given: {
        name: value for name, value in answers(match(7))(given["top"]).items() if name != "shared"
    }
    with browser(daemon) as client:
        page = client.get("/ask?who=%40Anna&here=yes")
        assert daemon.params("query")["shared"] is False
        assert 'name="here" value="yes" checked>' in page.text
        assert links(page.text, "/face/7") == ["/face/7?who=%40Anna&here=yes"]
        assert "this machine only: take away" in page.text
        assert "This machine only" not in client.get("/ask?who=%40Anna").text, "without a shared engine"
    assert "--local" in arguments(Question(who=("@Anna",), here=True))
    assert "--local" not in arguments(Question(who=("@Anna",)))


def test_a_person_is_shown_by_a_photo_of_this_machine() -> None:
    with browser(told(there(1), match(7, host=None))) as client:
        assert "/face/7/" in client.get("/people/card?name=Anna").json()["picture"]
    with browser(told(there(1))) as client:
        assert client.get("/people/card?name=Anna").json()["picture"] is None
        assert client.get("/ask?who=group%3A4").status_code == 200


def test_an_answer_of_ten_thousand_photos_of_another_machine_has_pages() -> None:
    with browser(told(*map(there, range(10_000)))) as client:
        page = client.get("/ask?who=%40Anna&skip=9960")
        assert page.text.count('<span class="away">') == 40
        last = links(page.text, "/elsewhere")[-1]
        assert "10000 of 10000 photos" in client.get(last).text
        assert "10000 of 10000 photos" in client.get(last.replace("at=9999", "at=3")).text


def test_now_tells_of_the_shared_engine_and_its_machines() -> None:
    everyone = [peer("laptop", 9, is_self=True), peer(MARKUP, as_of_s=3 * 7 * 86400, backlog=12, pending=1)]
    daemon = ToldDaemon(status={**FULL, "shared": sharing(*everyone)})
    with browser(daemon) as client:
        page = client.get("/now/part").text
        assert '<h2 id="shared">Shared engine</h2>' in page
        rows = [re.sub(r"<[^>]*>", "|", row) for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)]
        assert "|laptop| |(this machine)|||9||4||just now||nothing|" in rows[-2]
        assert "|210,000||105,000||3 weeks ago||12 photos to be sent, 1 photo to be indexed|" in rows[-1]
        assert "<b onclick" not in page
        away = sharing(state="unreachable", reason="nas.lan: \x1b no answer", hint="switch it on")
        daemon.answers["status"] = {**FULL, "shared": away}
        page = client.get("/now").text
        assert '<span class="badge badge-look">unreachable</span>' in page
        assert "nas.lan: \\x1b no answer; switch it on." in page
        daemon.answers["status"] = FULL
        assert "hared" not in client.get("/now").text


def test_what_can_be_found_and_where_a_photo_goes_is_said_before_it_is_sent() -> None:
    everyone = (peer("laptop", 9, is_self=True), peer("nas", 5), peer("old", 2, as_of_s=1e7))
    daemon = ToldDaemon(status={**FULL, "shared": sharing(*everyone)})
    with browser(daemon) as client:
        assert "12 photos with 20 faces can be found here, and 7 faces on other machines" in client.get("/ask").text
        assert "is sent to the shared engine" in client.get("/ask").text
        daemon.answers["status"] = {**FULL, "shared": sharing(*everyone, state="unreachable")}
        assert "on other machines." in client.get("/ask").text
        assert "can be found here." in client.get("/ask").text
        daemon.answers["status"] = FULL
        assert "shared engine" not in client.get("/ask").text
