"""The album of `facewatch-query --html` in Chromium: with and without its script, by keyboard, at a phone's width."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Album
from tests.support import browsers
from tests.support.processes import Daemon

SHOWN = ".view:popover-open"
Opened = Callable[..., Page]


@pytest.fixture(scope="module")
def written(shared_library: Daemon, album: Album, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An album of one person, alone and among others, year by year, in a file whose name a URL has to escape."""
    file = tmp_path_factory.mktemp("albums") / "a b#c?.html"
    photo = album.of("second")[0]
    done = shared_library.query("--html", file, "-n", "0", "--sort", "date", "--no-collapse", photo)
    assert (done.returncode, done.stderr) == (0, "")
    return file


@pytest.fixture
def opened(chromium: Browser, written: Path, watch: browsers.Watch) -> Iterator[Opened]:
    """``opened(**options)``: the album in a browser of its own."""
    contexts = []

    def opened(**options: Any) -> Page:
        context = chromium.new_context(**{"viewport": browsers.DESK} | options)
        contexts.append(context)
        context.set_default_timeout(browsers.WAIT)
        watch.follow(context, "file://")
        page = context.new_page()
        page.goto(written.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()


def crops(page: Page) -> Any:
    return page.locator(".crops")


@pytest.mark.parametrize("script", [True, False])
def test_a_click_shows_the_photo_and_escape_closes_it(opened: Opened, script: bool) -> None:
    page = opened(java_script_enabled=script)
    expect(page.locator(SHOWN)).to_have_count(0)
    crops(page).nth(1).click()
    view = page.locator(SHOWN)
    expect(view).to_have_count(1)
    expect(view.locator("img")).to_be_visible()
    expect(view.locator(".box-match")).to_have_count(1)
    expect(view.get_by_role("button", name="Close")).to_be_focused()
    expect(view.get_by_role("button", name="The next match")).to_have_count(1 if script else 0)
    page.keyboard.press("Escape")
    expect(view).to_have_count(0)
    expect(crops(page).nth(1)).to_be_focused()


def test_without_a_script_the_keyboard_does_all(opened: Opened) -> None:
    page = opened(java_script_enabled=False)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the matches")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(crops(page).first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(SHOWN)).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.locator(SHOWN)).to_have_count(0)
    expect(crops(page).first).to_be_focused()


def test_arrows_go_from_match_to_match(opened: Opened) -> None:
    page = opened()
    crops(page).first.press("Enter")
    expect(page.locator("#p1")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.locator(SHOWN)).to_have_id("p2")
    page.locator(SHOWN).get_by_role("button", name="The next match").click()
    expect(page.locator(SHOWN)).to_have_id("p3")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(SHOWN)).to_have_id("p2")
    page.keyboard.press("Escape")
    expect(crops(page).nth(1)).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(crops(page).first).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(crops(page).first).to_be_focused()
    page.keyboard.press("ArrowDown")
    below = page.evaluate("document.activeElement.getBoundingClientRect().top")
    assert below > crops(page).first.bounding_box()["y"]
    page.keyboard.press("ArrowUp")
    expect(crops(page).first).to_be_focused()


def test_a_path_is_copied(opened: Opened) -> None:
    page = opened(permissions=["clipboard-read", "clipboard-write"])
    crops(page).first.click()
    view = page.locator(SHOWN)
    view.get_by_role("button", name="Copy the path").click()
    expect(view.get_by_role("button", name="Copied")).to_be_visible()
    path = page.evaluate("navigator.clipboard.readText()")
    assert Path(path).is_file()
    assert view.get_by_role("link", name="Open the file").get_attribute("href") == Path(path).as_uri()


@pytest.mark.parametrize("window", [browsers.DESK, browsers.PHONE], ids=["desk", "phone"])
def test_all_can_read_it(opened: Opened, axe: Callable[[Page], None], window: dict[str, int]) -> None:
    page = opened(viewport=window)
    assert browsers.overflow(page) == 0
    axe(page)
    crops(page).first.click()
    expect(page.locator(SHOWN)).to_be_visible()
    box = page.locator(SHOWN).bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= window["width"]
    axe(page)


@pytest.mark.parametrize("window", [browsers.DESK, browsers.PHONE], ids=["desk", "phone"])
def test_photos_are_whole_and_boxes_cover_the_faces(
    opened: Opened, window: dict[str, int], shared_library: Daemon
) -> None:
    page = opened(viewport=window)
    shapes = set()
    for card in page.locator(".face").all():
        card.locator(".crops").click()
        view = page.locator(SHOWN)
        seen = shared_library.call("faces", path=view.locator(".place .path").inner_text())
        box = view.locator(".box-match")
        left = float((box.get_attribute("x") or "").rstrip("%")) / 100
        places = (browsers.place(face["box"], seen) for face in seen["faces"])
        browsers.expect_undistorted(view.locator(".shot img"), box, min(places, key=lambda at: abs(at[0] - left)))
        shapes.add(seen["width"] > seen["height"])
        page.keyboard.press("Escape")
    assert shapes == {True, False}


def test_years_lead_to_their_photos(opened: Opened) -> None:
    page = opened(java_script_enabled=False)
    links = page.get_by_role("navigation", name="Years").get_by_role("link")
    last = links.nth(links.count() - 1)
    year = last.inner_text().split()[0]
    last.click()
    expect(page.get_by_role("heading", name=year, exact=True)).to_be_in_viewport()
