"""People, one person, and what changes one."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from facewatchd.client import opening
from facewatchd.client.connection import INVALID_PARAMS, RemoteError
from tests.support.answers import LONG, MARKUP, RIGHT_TO_LEFT, answer, person
from tests.support.pages import Browser, ToldDaemon, browser

NAMES = (MARKUP, RIGHT_TO_LEFT, LONG, "Anna")
UNKNOWN = RemoteError("there is no person 'Anna'", "`facewatchd people list` lists them", kind="unknown-person")


def known(*people: dict[str, Any], **answers: Any) -> ToldDaemon:
    return ToldDaemon(
        **{
            "people": {"people": list(people)},
            "person": lambda name, **_: {**person(name), "statements": [], "next": None},
            "query": answer(1, 2),
            "suggestions": {"suggestions": [], "total": 38},
            **answers,
        }
    )


def names(text: str) -> list[str]:
    return [unescape(each) for each in re.findall(r'<bdi class="who">(.*?)</bdi>', text)]


def test_nobody_has_a_name_yet_and_the_way_to_the_first_one_is_shown() -> None:
    with browser(known()) as client:
        assert 'href="/unknown"' in client.get("/people").text


def test_three_thousand_people_are_in_pages_those_on_most_photos_first_and_found_by_a_part_of_the_name() -> None:
    daemon = known(*(person(f"Person {number}", number) for number in range(3000)))
    with browser(daemon) as client:
        first, last = client.get("/people").text, client.get("/people?skip=2940").text
        assert names(first)[:2] == ["Person 2999", "Person 2998"]
        assert len(names(first)) == 60
        assert names(last)[-1] == "Person 0"
        assert 'rel="next"' not in last
        assert names(client.get("/people?find=SON%20777").text) == ["Person 777"]
        assert names(client.get("/people?sort=name").text)[0] == "Person 0"
        assert client.get("/people?skip=99999&sort=%00&find=zz").status_code == 200


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_shown_as_text_and_its_links_lead_to_the_person(name: str) -> None:
    with browser(known(person(name, best=None, first=None, last=None, photos=0))) as client:
        text = client.get("/people").text
        assert names(text) == [name]
        assert "<b onclick" not in text
        (href,) = set(re.findall(r'href="(/people/of\?[^"]*)"', text))
        assert client.get(unescape(href)).status_code == 200
        assert client.page.daemon.params("person")["name"] == name  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", NAMES)
def test_every_link_and_form_of_a_person_names_the_person(name: str) -> None:
    with browser(known(person(name), person("Berta"))) as client:
        text = client.get("/people/of", params={"name": name}).text
        assert "<b onclick" not in text
        for path in set(re.findall(r'href="(/people/(?:said|confirm|forget)[^"]*)"', text)):
            assert client.get(unescape(path)).status_code == 200
        given = [unescape(each) for each in re.findall(r'name="name" value="(.*?)"', text)]
        assert len(given) == 3
        assert set(given) == {name}


def test_a_card_is_told_of_all_photos_of_the_person() -> None:
    with browser(known(query=answer(3, 4, years=[{"year": 2009, "photos": 1}, {"year": 2014, "photos": 1}]))) as client:
        reply = client.get("/people/card?name=Anna").json()
        assert reply == {"text": "2 photos, 2009\u20132014", "picture": "/face/3/256.jpg"}
        assert client.page.daemon.params("query")["top"] == 20  # type: ignore[attr-defined]
    with browser(known(query=answer())) as client:
        assert client.get("/people/card?name=Anna").json() == {"text": "0 photos", "picture": None}


def test_a_year_is_asked_for_and_one_that_is_none_is_not() -> None:
    daemon = known(person("Anna"))
    with browser(daemon) as client:
        assert client.get("/people/of?name=Anna&year=2014&skip=60").status_code == 200
        asked = [params for method, params in daemon.asked if method == "query"]
        assert {"since": "2014", "until": "2014", "skip": 60}.items() <= asked[-1].items()
        assert "since" not in asked[-2], "the bars are of all years"
        client.get("/people/of?name=Anna&year=20x4&skip=-1")
        assert not {"since", "until"} & daemon.params("query").keys()


def changed(client: Browser, path: str, **fields: str) -> str:
    """Send a form; return where it leads."""
    response = client.post(path, data=fields)
    assert response.status_code == 303
    return response.headers["location"]


def notice(client: Browser) -> tuple[str, str]:
    """The line that the next page shows, and the step that its button takes back."""
    text = client.get("/people").text
    last = re.split('<div class="notice', text.partition("</main>")[2])[-1]
    said, step = re.search(r"<p>(.*?)</p>", last, re.DOTALL), re.search(r'name="step" value="(\d+)"', last)
    assert said is not None
    return unescape(said[1]).replace("\u2068", "").replace("\u2069", ""), step[1] if step else ""


def test_what_changes_a_person_says_exactly_what_changed_and_offers_to_undo_that_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    opened = opening.private_file("Anna", ".png")
    opened.touch()
    daemon = known(
        *map(person, ("Anna", "Ana")),
        rename_person={"name": "Annika", "before": "Anna", "step": 4},
        merge_people={"name": "Anna", "before": "Ana", "statements": 9, "step": 5},
        describe_person={"name": "Anna", "born": "2001", "hidden": True, "step": 6},
        forget_person={"name": "Anna", "statements": 38, "backups": 1},
        assign={"name": "Anna", "said": 1, "step": 7},
    )
    with browser(daemon) as client:
        assert changed(client, "/people/rename", name="Anna", new=" Annika ") == "/people/of?name=Annika"
        assert daemon.params("rename_person") == {"name": "Anna", "new": "Annika"}
        assert notice(client) == ("Anna is now Annika.", "4")
        assert changed(client, "/people/merge", name="Anna", other="Ana") == "/people/of?name=Anna"
        assert daemon.params("merge_people") == {"name": "Ana", "into": "Anna"}
        assert notice(client) == ("Ana and Anna are one person now: Anna.", "5")
        changed(client, "/people/describe", name="Anna", born="2001", hidden="yes")
        assert daemon.params("describe_person") == {"name": "Anna", "born": "2001", "hidden": True}
        assert notice(client)[1] == "6"
        changed(client, "/people/describe", name="Anna", born="")
        assert daemon.params("describe_person") == {"name": "Anna", "born": "none", "hidden": False}
        changed(client, "/people/said", name="Anna", face="12")
        assert daemon.params("assign") == {"name": "Anna", "who": [{"face_id": 12}], "is": False}
        assert changed(client, "/people/forget", name="Anna") == "/people"
        assert not opened.exists(), "a sheet that --open drew"
        assert notice(client) == (
            "Anna is forgotten: 38 things were deleted that you had said. No photo was changed.",
            "",
        )


def test_a_name_that_nobody_has_is_a_line_beside_the_field_of_the_other_name() -> None:
    daemon = known(person("Anna"))
    with browser(daemon) as client:
        assert changed(client, "/people/merge", name="Anna", other="Bea") == "/people/of?name=Anna"
        assert notice(client) == ("Nobody is called Bea: choose one of the names.", "")
        assert "merge_people" not in [method for method, _ in daemon.asked]


def test_a_name_that_is_taken_is_a_line_on_the_page_and_nothing_else() -> None:
    taken = RemoteError("there is a person 'Berta' already", "`facewatchd people merge` makes one", code=INVALID_PARAMS)
    with browser(known(person("Anna"), rename_person=taken)) as client:
        assert changed(client, "/people/rename", name="Anna", new="Berta") == "/people/of?name=Anna"
        assert notice(client) == ("There is a person 'Berta' already.", "")


def test_a_person_who_was_renamed_in_another_tab_is_not_found_and_the_near_names_are_offered() -> None:
    with browser(known(person("Annika"), person("Zoe"), person=UNKNOWN, rename_person=UNKNOWN)) as client:
        for response in (
            client.get("/people/of?name=Anna"),
            client.post("/people/rename", data={"name": "Anna", "new": "x"}),
            client.get("/people/forget?name=Anna"),
            client.get("/people/confirm?name=Anna"),
        ):
            assert response.status_code == 404
            assert "name=Annika" in response.text
            assert "Zoe" not in response.text
            assert "facewatchd people" not in response.text
