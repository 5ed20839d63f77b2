"""What goes across the rooms: the way back, loading again, two tabs, a daemon and a page that are started again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Album
from tests.support import browsers
from tests.support.page_process import PageProcess
from tests.support.processes import Daemon


@pytest.fixture
def anna(library: Daemon, album: Album) -> int:
    """A person with that name; how many photos show her."""
    library.call("assign", name="Anna", who=[{"path": str(album.of("eileen")[0])}])
    return len(album.of("eileen"))


def ask_for_anna(page: Page) -> None:
    page.get_by_role("main").get_by_role("link", name="Anna").first.click()
    expect(page.locator("#matches li").first).to_be_visible()


def test_back_and_loading_again_show_the_same(phone: Page, anna: int) -> None:
    """From a match in large back to where the answer was scrolled to; and both are the same when they are loaded."""
    phone.reload()
    ask_for_anna(phone)
    phone.locator("#matches li").last.scroll_into_view_if_needed()
    browsers.settle(phone)
    before = phone.evaluate("scrollY")
    assert before > 0
    answer = phone.url
    phone.locator("#matches li").last.get_by_role("link").tap()
    expect(phone.locator(".stage img")).to_be_visible()
    large = phone.url
    phone.reload()
    assert phone.url == large
    expect(phone.locator(".stage img")).to_be_visible()
    phone.go_back()
    expect(phone.locator("#matches li")).to_have_count(anna)
    assert phone.url == answer
    phone.wait_for_function("before => Math.abs(scrollY - before) < 50", arg=before)


def test_what_one_tab_says_another_shows(desk: Page, anna: int) -> None:
    """Both have the cookie, and the second one goes on from what the first one said."""
    other = desk.context.new_page()
    other.goto(desk.url.replace("/ask", "/people"))
    expect(other.get_by_role("main").get_by_role("link", name="Anna").first).to_be_visible()
    desk.goto(other.url)
    desk.get_by_role("main").get_by_role("link", name="Anna").first.click()
    desk.get_by_label("New name").fill("Anna Maria")
    desk.get_by_role("button", name="Rename").click()
    expect(desk.get_by_role("heading", level=1)).to_have_text("Anna Maria")
    other.reload()
    expect(other.get_by_role("main").get_by_role("link", name="Anna Maria").first).to_be_visible()


def test_an_answer_goes_on_after_the_daemon_was_started_again(
    desk: Page, library: Daemon, anna: int, page: PageProcess, watch: browsers.Watch
) -> None:
    """The page's connections to the first daemon are closed, and nobody notices. What an open answer asks by itself may
    have failed meanwhile.
    """
    desk.reload()
    ask_for_anna(desk)
    library.stop()
    library.start()
    browsers.settle(desk)
    watch.forgive("status of 503")
    desk.reload()
    expect(desk.locator("#matches li")).to_have_count(anna)
    assert page.is_alive
    browsers.settle(desk)


def test_a_page_that_is_started_again_wants_its_new_code(
    opened: Callable[..., Page], page: PageProcess, watch: browsers.Watch
) -> None:
    """A cookie of the one before opens nothing; the new address does, in the same browser."""
    tab = opened(browsers.DESK)
    watch.expect("status of 401|ERR_[A-Z_]+|403")  # what was on its way when the page was killed is broken off
    port = page.origin.rpartition(":")[2]
    page.kill()
    page.start("--port", port)
    tab.goto(f"{page.origin}/people")
    expect(tab.get_by_label("Code")).to_be_visible()
    browsers.enter(tab, page.url)
    expect(tab.get_by_role("heading", level=1)).to_be_visible()
