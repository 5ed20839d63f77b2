"""Asking in a real browser: a photo chosen, dropped or pasted, a face on it, the answer, one photo in large, naming."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageOps
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Album
from tests.support import browsers
from tests.support.browsers import DESK, PHONE, Watch
from tests.support.page_process import PageProcess
from tests.support.processes import Daemon, until

EILEEN = "eileen"
"""The person of whom the library has most photos alone."""


@pytest.fixture
def eileen(album: Album) -> Path:
    """A photo of her alone."""
    return album.of(EILEEN)[0]


@pytest.fixture
def group(album: Album) -> Path:
    """A photo with several people."""
    return max(album.people, key=lambda path: len(album.people[path]))


def total(page: Page) -> Locator:
    return page.locator("#total")


def press(page: Page, key: str) -> None:
    """Press a key once the page hears it."""
    browsers.settle(page)
    page.keyboard.press(key)


def cards(page: Page) -> Locator:
    return page.locator("#matches > li")


def matches(page: Page) -> int:
    return int(total(page).get_attribute("data-total") or 0)


def choose(page: Page, photo: Path) -> None:
    page.get_by_label("Choose a photo").set_input_files(photo)


def expect_fits(page: Page, axe: Callable[[Page], None]) -> None:
    """Nothing is wider than the window, and axe-core finds nothing serious."""
    axe(page)
    assert browsers.overflow(page) == 0


@pytest.mark.parametrize("window", [DESK, PHONE], ids=["desk", "phone"])
def test_from_a_photo_to_a_name_and_back(
    opened: Callable[..., Page],
    window: dict[str, int],
    library: Daemon,
    group: Path,
    axe: Callable[[Page], None],
) -> None:
    page = opened(window)
    expect_fits(page, axe)
    choose(page, group)
    expect(page.get_by_role("heading", name="Whom do you mean?")).to_be_visible()
    expect_fits(page, axe)
    page.locator(".choices a").first.click()
    expect(total(page)).to_contain_text("photo")
    expect_fits(page, axe)
    cards(page).first.get_by_role("link").click()
    expect(page.locator(".stage img")).to_be_visible()
    expect_fits(page, axe)
    page.get_by_label("Name", exact=True).fill("Zoe")
    page.get_by_role("button", name="Save the name").click()
    expect(page.locator(".notice")).to_contain_text("Zoe")
    expect(page.get_by_role("heading", level=1)).to_have_text("Zoe")
    assert [each["name"] for each in library.call("people")["people"]] == ["Zoe"]
    expect_fits(page, axe)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".notice")).to_contain_text("Taken back")
    assert library.call("people")["people"] == []


@pytest.mark.parametrize("window", [DESK, PHONE], ids=["desk", "phone"])
def test_a_large_photo_is_whole_and_boxes_cover_the_faces(
    opened: Callable[..., Page], window: dict[str, int], library: Daemon, album: Album, group: Path
) -> None:
    page = opened(window)
    for photo in (group, album.of("second")[0]):
        seen = library.call("faces", path=str(photo))
        face_id = library.call("why", path=str(photo))["faces"][0]["face_id"]
        page.goto(f"{page.url.partition('/ask')[0].partition('/face')[0]}/face/{face_id}")
        box = page.locator(".stage .box-match")
        left = float((box.get_attribute("x") or "").rstrip("%")) / 100
        places = (browsers.place(face["box"], seen) for face in seen["faces"])
        browsers.expect_undistorted(page.locator(".stage img"), box, min(places, key=lambda at: abs(at[0] - left)))


def test_the_file_that_the_browser_is_given_leads_to_the_page(desk: Page, page: PageProcess, watch: Watch) -> None:
    (leading,) = (page.daemon.home / "runtime").rglob("*page*.html")
    desk.goto(leading.as_uri())
    expect(desk.get_by_role("heading", name="Where else is this person?")).to_be_visible()
    assert "#" not in desk.url
    watch.forgive("status of 401")


def test_a_photo_is_dropped_anywhere_and_another_is_pasted(desk: Page, eileen: Path) -> None:
    give = """([event, data, name]) => {
        const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
        const held = new DataTransfer();
        held.items.add(new File([bytes], name, { type: "image/jpeg" }));
        const init = { bubbles: true, cancelable: true };
        document.body.dispatchEvent(event === "drop"
            ? new DragEvent("drop", { ...init, dataTransfer: held })
            : new ClipboardEvent("paste", { ...init, clipboardData: held }));
    }"""
    for event in ("drop", "paste"):
        desk.get_by_role("link", name="Ask", exact=True).click()
        expect(desk.locator("#drop")).to_be_visible()
        desk.evaluate(give, [event, base64.b64encode(eileen.read_bytes()).decode(), "photo.jpg"])
        expect(total(desk)).to_contain_text("photo")
        assert matches(desk) > 3


def test_a_file_that_is_no_photo_or_too_large_is_said(desk: Page, tmp_path: Path, watch: Watch) -> None:
    large, other = tmp_path / "large.jpg", tmp_path / "other.jpg"
    with large.open("wb") as file:
        file.truncate(60 << 20)
    other.write_text("no photo")
    choose(desk, large)
    expect(desk.locator("#busy")).to_contain_text("more than the 47 MiB")
    choose(desk, other)
    expect(desk.get_by_role("heading", level=1)).to_contain_text("Not an image")
    desk.get_by_role("link", name="Another photo").click()
    expect(desk.locator("#drop")).to_be_visible()
    watch.expect("422")


def test_the_slider_asks_at_once_and_keeps_the_focus(desk: Page, eileen: Path) -> None:
    choose(desk, eileen)
    expect(total(desk)).to_contain_text("photo")
    usual = matches(desk)
    slider, words = desk.get_by_label("Least similarity"), desk.locator("#expected")
    own = words.inner_text()
    slider.focus()
    desk.keyboard.press("End")
    expect(words).not_to_have_text(own)
    assert matches(desk) <= usual
    expect(cards(desk)).to_have_count(matches(desk))
    assert re.search(r"[?&]threshold=0\.\d", desk.url)
    surest = words.inner_text()
    desk.keyboard.press("Home")
    expect(words).not_to_have_text(surest)
    assert matches(desk) > usual
    expect(words).to_contain_text("somebody else")
    expect(slider).to_be_focused()


def test_matches_are_walked_confirmed_and_undone_by_keyboard_alone(
    desk: Page, library: Daemon, eileen: Path, axe: Callable[[Page], None]
) -> None:
    library.call("assign", name="Eileen", who=[{"path": str(eileen)}])
    desk.goto(desk.url.partition("/ask")[0] + "/ask?who=%40Eileen")
    cards(desk).nth(1).get_by_role("link").focus()
    desk.keyboard.press("Enter")
    where = desk.locator(".between")
    expect(where).to_contain_text("2 of ")
    press(desk, "ArrowRight")
    expect(where).to_contain_text("3 of ")
    press(desk, "ArrowLeft")
    expect(where).to_contain_text("2 of ")
    press(desk, "y")
    expect(desk.locator(".notice")).to_contain_text("This is")
    expect(desk.locator(".side .badge").first).to_have_text("named")
    axe(desk)
    press(desk, "u")
    expect(desk.locator(".notice")).to_contain_text("Taken back")
    expect(desk.locator(".side .badge").first).not_to_have_text("named")
    press(desk, "n")
    expect(desk.locator(".notice")).to_contain_text("not")
    assert [each["is"] for each in library.call("person", name="Eileen")["statements"]] == [True, False]
    desk.get_by_label("Keys without Ctrl").uncheck()
    press(desk, "u")
    assert [each["is"] for each in library.call("person", name="Eileen")["statements"]] == [True, False]
    press(desk, "Escape")
    expect(total(desk)).to_contain_text("Eileen")


def test_without_a_script_a_photo_is_asked_for_narrowed_and_named(
    opened: Callable[..., Page], chromium: object, page: PageProcess, library: Daemon, eileen: Path, watch: Watch
) -> None:
    context = chromium.new_context(viewport=PHONE, java_script_enabled=False)  # type: ignore[attr-defined]
    try:
        tab = context.new_page()
        tab.goto(page.url)
        tab.get_by_label("Code").fill(page.url.partition("#")[2])
        tab.get_by_role("button", name="Open").click()
        tab.get_by_label("Choose a photo").set_input_files(eileen)
        tab.get_by_role("button", name="Show its faces").click()
        usual = matches(tab)
        assert usual > 3
        tab.get_by_text("Narrow down").click()
        tab.get_by_label("Since").fill("1990")
        tab.get_by_label("Until").fill("1991")
        tab.get_by_role("button", name="Show").first.click()
        assert matches(tab) < usual
        tab.get_by_role("link", name="take away").first.click()
        tab.get_by_role("link", name="take away").first.click()
        assert matches(tab) == usual
        cards(tab).nth(1).get_by_role("link").click()
        tab.get_by_label("Name", exact=True).fill("Eileen")
        tab.get_by_role("button", name="Save the name").click()
        assert "Eileen" in tab.locator(".notice").inner_text()
        tab.get_by_role("button", name="Undo").click()
        assert library.call("people")["people"] == []
    finally:
        context.close()


def test_more_come_on_scrolling_and_what_arrives_is_offered(
    small: PageProcess, opened: Callable[..., Page], library: Daemon, album: Album, eileen: Path
) -> None:
    desk = opened({"width": 700, "height": 500})
    choose(desk, eileen)
    expect(total(desk)).to_contain_text("photo")
    there = matches(desk)
    assert there > 4
    for _ in range(there):
        desk.mouse.wheel(0, 3000)
        if cards(desk).count() == there:
            break
        desk.wait_for_timeout(100)
    expect(cards(desk)).to_have_count(there)
    names = desk.locator("#matches .file").all_inner_texts()
    assert len(set(names)) == there, "no match comes twice"
    new = album.root / "new one.jpg"
    try:
        with Image.open(album.of(EILEEN)[1]) as image:  # mirrored, so that it is no copy and no frame of a burst
            ImageOps.mirror(image).save(new, quality=95)
        library.settle()
        button = desk.get_by_role("button", name="1 more found")
        expect(button).to_be_visible(timeout=browsers.WAIT)
        button.click()
        expect(total(desk)).to_have_attribute("data-total", str(there + 1))
        browsers.settle(desk)
    finally:
        desk.close()  # it would ask for the picture of a photo that is gone
        new.unlink(missing_ok=True)
        library.settle()


@pytest.fixture
def small(page: PageProcess, library: Daemon) -> Iterator[PageProcess]:
    """The page, with two matches at a time."""
    page.stop()
    library.hook("import sys\nif 'page' in sys.argv:\n    from facewatchd.page import ask\n    ask.SHOWN = 2")
    page.start()
    yield page
    page.stop()
    library.unhook()


def test_the_page_says_that_it_has_ended(desk: Page, page: PageProcess, eileen: Path, watch: Watch) -> None:
    choose(desk, eileen)
    expect(total(desk)).to_contain_text("photo")
    browsers.settle(desk)
    page.stop()
    expect(desk.locator("#ended")).to_contain_text("facewatchd page")
    watch.expect("ERR_CONNECTION_REFUSED")


def test_without_a_daemon_the_page_goes_on_when_it_comes(desk: Page, library: Daemon, watch: Watch) -> None:
    library.stop()
    desk.reload()
    expect(desk.get_by_role("heading", name="facewatchd does not run")).to_be_visible()
    library.start()
    expect(desk.get_by_role("heading", name="Where else is this person?")).to_be_visible()
    watch.expect("503")
    until(lambda: library.status()["state"] == "idle")
