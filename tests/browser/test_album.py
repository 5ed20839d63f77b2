"""An answer is saved from the page as one file, which needs nothing else and can be used by everybody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.conftest import Album
from tests.support import browsers
from tests.support.processes import Daemon


@pytest.fixture
def anna(library: Daemon, album: Album) -> int:
    """A person with that name; how many photos show her."""
    library.call("assign", name="Anna", who=[{"path": str(path)} for path in album.of("eileen")[:2]])
    return len(album.of("eileen"))


@pytest.fixture
def from_disk(chromium: Browser) -> Iterator[Callable[[Path], Page]]:
    """Open a file in a browser that may ask nobody for anything."""
    contexts = []
    watch = browsers.Watch()

    def opened(path: Path) -> Page:
        contexts.append(chromium.new_context(viewport=browsers.PHONE, is_mobile=True, has_touch=True))
        watch.follow(contexts[-1], "none")
        page = contexts[-1].new_page()
        page.goto(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    watch.check()


def saved(page: Page, place: Path) -> Path:
    """Save what a page shows, and return the file under the name that it has for the browser."""
    with page.expect_download() as download:
        page.get_by_role("link", name="Save as album").click()
    path = place / download.value.suggested_filename
    download.value.save_as(path)
    return path


def test_a_persons_photos_are_saved(
    desk: Page, anna: int, tmp_path: Path, from_disk: Callable[[Path], Page], keep: Callable[..., None]
) -> None:
    desk.goto(desk.url.replace("/ask", "/people/of?name=Anna"))
    file = saved(desk, tmp_path)
    assert file.name == "Anna.html"
    page = from_disk(file)
    browsers.settle(page)
    keep(page, "album")
    browsers.expect_accessible(page)
    assert browsers.overflow(page) <= 0
    assert "Anna" in page.get_by_role("heading", level=1).inner_text()
    shown = page.eval_on_selector_all("img", "images => images.filter(image => image.naturalWidth > 0).length")
    assert shown > anna


@pytest.mark.usefixtures("anna")
def test_the_answer_to_a_photo_is_saved_as_it_is_narrowed(
    desk: Page, album: Album, tmp_path: Path, from_disk: Callable[[Path], Page]
) -> None:
    """The photo that was sent is among the pictures, and what was left out is not."""
    desk.get_by_label("Choose a photo").set_input_files(album.of("eileen")[0])
    desk.locator("#matches").wait_for()
    desk.goto(f"{desk.url}&since=2012&until=2014")
    assert desk.locator("#matches li").count() == 2
    page = from_disk(saved(desk, tmp_path))
    assert page.get_by_text("2012").count()
    assert not page.get_by_text("2009").count()


@pytest.mark.usefixtures("anna")
def test_what_cannot_be_saved_is_said(desk: Page, watch: browsers.Watch) -> None:
    """Nobody is on any photo of that time; and there is nobody of that name."""
    watch.expect("the server responded with a status of (4|5)")
    for question, said in (("@Anna&since=1999&until=1999", "No photo would be in this album"), ("@Nobody", "Nobody")):
        desk.goto(desk.url.partition("/ask")[0] + f"/album?who={question}")
        assert said in desk.get_by_role("main").inner_text()
        desk.goto(desk.url.partition("/album")[0] + "/ask")
