"""The rooms of people in a real browser: naming, confirming by keyboard, mouse and without a script, years, news."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Album
from tests.support import browsers
from tests.support.browsers import DESK, PHONE, Watch
from tests.support.processes import Daemon, until

EILEEN = "eileen"
"""The person of whom the library has most photos alone."""


def faces_of(album: Album, library: Daemon, person: str) -> list[dict[str, Any]]:
    """The faces of a person who is alone on a photo."""
    seen = (library.call("why", path=str(path)) for path in album.of(person))
    return [{"face_id": each["faces"][0]["face_id"]} for each in seen if each["faces"]]


@pytest.fixture
def named(album: Album, library: Daemon) -> Daemon:
    """The library, with one face of Eileen named."""
    library.call("assign", name="Eileen", who=faces_of(album, library, EILEEN)[:1])
    return library


def said(library: Daemon, name: str = "Eileen") -> dict[int, bool]:
    """What the daemon was told: whether each face is the person."""
    return {each["face_id"]: each["is"] for each in library.call("person", name=name)["statements"]}


def grouped(library: Daemon) -> None:
    """Wait until every unknown face is in its group."""
    until(lambda: (found := library.call("unknown"))["total"] and not found["unseen"])


def asked(page: Page, *, scripted: bool = True) -> int:
    """The face that is asked about, with a script once it hears the keys."""
    expect(page.locator("#undo")).to_be_visible(visible=scripted)
    return int(page.locator("#confirm input[name=face]").input_value())


def go(page: Page, path: str) -> None:
    page.goto(re.sub(r"(https?://[^/]+).*", rf"\1{path}", page.url))


def test_a_group_is_named_and_undone_by_keyboard_alone(desk: Page, library: Daemon) -> None:
    grouped(library)
    go(desk, "/unknown")
    first = desk.get_by_role("combobox", name="Name this group").first
    faces = library.call("unknown")["groups"][0]["faces"]
    first.focus()
    desk.keyboard.type("Anna")
    desk.keyboard.press("Enter")
    notice = desk.locator(".notice")
    expect(notice).to_contain_text(f"is new: {faces} faces named.")
    assert len(said(library, "Anna")) == faces
    notice.get_by_role("button", name="Undo").press("Enter")
    expect(desk.locator(".notice")).to_contain_text("Taken back")
    assert library.call("people")["people"] == []


def test_an_ignored_group_is_brought_back_after_something_else_was_said(
    desk: Page, album: Album, library: Daemon, axe: Any
) -> None:
    grouped(library)
    go(desk, "/unknown")
    group = library.call("unknown")["groups"][0]
    desk.get_by_role("button", name="Ignore this group").first.click()
    expect(desk.locator(".notice")).to_contain_text(f"{group['faces']} faces will not be shown here again.")
    assert group["id"] not in [each["id"] for each in library.call("unknown")["groups"]]
    library.call("assign", name="Eileen", who=faces_of(album, library, EILEEN)[:1])
    desk.get_by_role("link", name="Ignored: 1 group").click()
    axe(desk)
    desk.get_by_role("link", name="Look into it").click()
    expect(desk.get_by_role("heading", level=1)).to_have_text("Ignored faces")
    axe(desk)
    desk.get_by_role("button", name=f"Bring back {group['faces']} faces").press("Enter")
    expect(desk.locator(".notice")).to_contain_text(f"{group['faces']} faces brought back.")
    expect(desk.locator(".group")).to_have_count(0)
    assert not library.call("unknown", ignored=True)["total"]
    desk.locator(".notice").get_by_role("button", name="Undo").click()
    expect(desk.locator(".notice")).to_contain_text("Taken back")
    assert [each["id"] for each in library.call("unknown", ignored=True)["groups"]] == [group["id"]]


def test_a_face_is_taken_out_of_a_group_by_touch_before_it_is_named(phone: Page, library: Daemon, axe: Any) -> None:
    grouped(library)
    go(phone, "/unknown")
    phone.get_by_role("link", name="Look into it").first.tap()
    expect(phone.get_by_role("heading", level=1)).to_have_text("Who is this?")
    phone.wait_for_load_state()
    total = phone.get_by_role("checkbox").count()
    wrong = phone.locator(".tick label").nth(1)
    face = int(wrong.get_by_role("checkbox").get_attribute("value") or 0)
    wrong.tap()
    expect(phone.get_by_role("button", name=f"Name {total - 1} face")).to_be_visible()
    axe(phone)
    assert browsers.overflow(phone) == 0
    phone.get_by_role("combobox", name="Name").fill("Anna")
    phone.get_by_role("button", name="Name ").tap()
    expect(phone.get_by_role("heading", level=1)).to_have_text("Anna")
    told = said(library, "Anna")
    assert [each for each, is_person in told.items() if not is_person] == [face]
    assert len(told) == total


def test_faces_are_confirmed_with_a_key_each_and_taken_back_over_many_steps(
    desk: Page, named: Daemon, axe: Any
) -> None:
    go(desk, "/people/of?name=Eileen")
    desk.get_by_role("link", name="is this Eileen?").click()
    axe(desk)
    before, total = said(named), int(desk.locator("#left").inner_text())
    keys = "yns".ljust(total, "y")
    order = []
    for key in keys:
        order.append(asked(desk))
        desk.keyboard.press(key)
    assert len(set(order)) == total >= 3, "each answer brings another face"
    told = {face: key == "y" for face, key in zip(order, keys, strict=True) if key != "s"}
    until(lambda: said(named) == before | told)
    expect(desk.locator("#done-text")).to_contain_text(f"{total - 2} yes, 1 no. 1 skipped")
    for face in reversed(order):
        desk.keyboard.press("u")
        assert asked(desk) == face, "the face comes back"
    until(lambda: said(named) == before)
    expect(desk.locator("#tally")).to_have_text("0 yes, 0 no, 0 skipped")
    desk.keyboard.press("u")
    expect(desk.locator("#fault")).to_be_hidden()
    desk.get_by_label("Answer with the keys").uncheck()
    desk.keyboard.press("y")
    assert asked(desk) == order[0], "keys that are switched off say nothing"


def test_an_answer_that_does_not_arrive_is_shown_and_its_face_comes_again(
    desk: Page, named: Daemon, watch: Watch
) -> None:
    watch.expect("status of 400")
    go(desk, "/people/confirm?name=Eileen")
    face, before = asked(desk), said(named)

    refused: list[Route] = []

    def refuse_once(route: Route) -> None:
        if refused:
            route.continue_()
            return
        refused.append(route)
        route.fulfill(status=400, content_type="application/json", body='{"fault": "The disk is full."}')

    desk.route("**/people/confirm", refuse_once)
    desk.keyboard.press("y")
    expect(desk.get_by_role("alert")).to_contain_text("The disk is full. The face comes again.")
    expect(desk.locator("#tally")).to_have_text("0 yes, 0 no, 0 skipped")
    assert said(named) == before
    for _ in range(200):
        if asked(desk) == face:
            break
        desk.keyboard.press("s")
    assert asked(desk) == face
    desk.keyboard.press("y")
    expect(desk.get_by_role("alert")).to_be_hidden()
    until(lambda: said(named).get(face))
    desk.get_by_role("link", name="Look at the skipped ones again").click()
    assert asked(desk) not in said(named)


def test_what_another_client_said_meanwhile_is_not_taken_back(desk: Page, named: Daemon, watch: Watch) -> None:
    watch.expect("status of 400")
    go(desk, "/people/confirm?name=Eileen")
    desk.keyboard.press("y")
    until(lambda: len(said(named)) == 2)
    named.call("rename_person", name="Eileen", new="Eileen Collins")
    desk.keyboard.press("u")
    expect(desk.get_by_role("alert")).to_contain_text("cannot be taken back any more")
    assert len(said(named, "Eileen Collins")) == 2


def test_everything_works_by_mouse_and_without_a_script(
    opened: Callable[..., Page], named: Daemon, page: Any, chromium: Any
) -> None:
    with_script = opened(DESK)
    go(with_script, "/people/confirm?name=Eileen")
    face = asked(with_script)
    with_script.get_by_role("button", name="No", exact=False).first.click()
    until(lambda: said(named).get(face) is False)
    with_script.get_by_role("button", name="Undo").click()
    until(lambda: face not in said(named))
    cookies = with_script.context.cookies()
    context = chromium.new_context(viewport=PHONE, java_script_enabled=False)
    try:
        context.add_cookies(cookies)
        plain = context.new_page()
        plain.goto(f"{page.origin}/people/confirm?name=Eileen")
        assert asked(plain, scripted=False) == face
        plain.get_by_role("button", name="Skip").click()
        second = asked(plain, scripted=False)
        assert second != face
        plain.get_by_role("button", name="Yes").click()
        assert said(named)[second] is True
        plain.locator(".notice").get_by_role("button", name="Undo").click()
        assert second not in said(named)
        plain.goto(f"{page.origin}/unknown")
        plain.get_by_role("combobox", name="Name this group").first.fill("Berta")
        plain.get_by_role("button", name="Name", exact=True).first.click()
        assert "Berta" in {each["name"] for each in named.call("people")["people"]}
    finally:
        context.close()


def test_years_lead_to_their_photos(desk: Page, named: Daemon) -> None:
    go(desk, "/together?with=Eileen")
    bar = desk.get_by_role("navigation", name="By year").get_by_role("link").first
    year, photos = re.match(r"(?s).*?(\d{4})\s*: (\d+) photo", bar.inner_text()).groups()  # type: ignore[union-attr]
    bar.click()
    expect(desk.locator(".chosen")).to_contain_text(f"Only {year}.")
    assert desk.locator(".faces .face").count() == int(photos)


def test_the_last_years_are_seen_on_a_phone(phone: Page, named: Daemon) -> None:
    go(phone, "/people/of?name=Eileen")
    expect(phone.get_by_role("navigation", name="By year").get_by_role("link").last).to_be_in_viewport(ratio=1)


@pytest.mark.usefixtures("named")
def test_a_photo_of_a_person_leads_back_to_the_person(desk: Page) -> None:
    go(desk, "/people/of?name=Eileen")
    desk.locator(".matches a").first.click()
    desk.get_by_role("link", name="Next").click()
    expect(desk).to_have_url(re.compile("at=1"))
    desk.locator(".way").get_by_role("link", name="Eileen").click()
    expect(desk).to_have_url(re.compile(r"/people/of\?name=Eileen#face-\d+$"))


def test_the_album_of_a_person_is_saved_and_opens_by_itself(
    desk: Page, named: Daemon, chromium: Any, tmp_path: Path
) -> None:
    go(desk, "/people/of?name=Eileen")
    with desk.expect_download() as saving:
        desk.get_by_role("link", name="Save as album").click()
    saved = tmp_path / saving.value.suggested_filename
    saving.value.save_as(saved)
    assert saved.name == "Eileen.html"
    alone = chromium.new_page()
    try:
        alone.goto(saved.as_uri())
        expect(alone.get_by_role("heading", level=1)).to_contain_text("Eileen")
        photos = named.call("query", who=[{"person": "Eileen"}], top=1)["total"]
        expect(alone.locator(".face")).to_have_count(photos)
    finally:
        alone.close()


def test_what_is_new_is_seen_once(desk: Page, named: Daemon) -> None:
    go(desk, "/new")
    desk.get_by_role("button", name="as seen").click()
    expect(desk.locator(".notice")).to_contain_text("noted as seen")
    expect(desk.locator("main")).to_contain_text("Nothing new")


def test_now_tells_of_a_change_by_itself(desk: Page, library: Daemon) -> None:
    go(desk, "/now")
    state = desk.locator("#part .state")
    expect(state).to_contain_text("Everything is searchable")
    try:
        library.call("pause")
        expect(state).to_contain_text("Indexing rests")
        desk.reload()
        desk.get_by_role("button", name="Go on indexing").click()
        expect(desk.locator(".notice")).to_contain_text("Indexing goes on")
        until(lambda: library.status()["state"] == "idle")
    finally:
        library.call("resume")


@pytest.mark.parametrize("name", ["<b>\"Anna\" & 'B'</b>", "סלמה 👩‍👧", "ab " * 66 + "c"])
def test_any_name_fits_every_room_of_a_phone(phone: Page, album: Album, library: Daemon, name: str) -> None:
    library.call("assign", name=name, who=faces_of(album, library, EILEEN)[:2])
    go(phone, "/people")
    expect(phone.locator(".count").first).to_contain_text(
        re.compile("^[0-9]+ photos?, 20")
    )  # of all, not of those named
    phone.get_by_role("link", name=name[:20]).tap()
    expect(phone.get_by_role("heading", level=1)).to_have_text(name)
    for link, path in (("named by you", "said"), ("is this", "confirm"), ("^Forget", "forget")):
        assert browsers.overflow(phone) == 0
        phone.get_by_role("link", name=re.compile(link)).first.tap()
        phone.wait_for_url(f"**/people/{path}?*")
        assert browsers.overflow(phone) == 0, link
        phone.go_back()
        phone.wait_for_url("**/people/of?*")
    phone.get_by_role("link", name=re.compile("^Forget")).tap()
    phone.get_by_role("button", name=re.compile("for good")).tap()
    expect(phone.locator(".notice")).to_contain_text("is forgotten")
    assert library.call("people")["people"] == []
