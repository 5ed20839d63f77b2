"""Every page that a link leads to can be used by everybody: axe-core, widths, headings, titles, the way back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from urllib.parse import urljoin, urlsplit

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import Album
from tests.support import browsers
from tests.support.processes import Daemon, until

MOST = 40
"""Kinds of pages that are looked at: more would mean that two of one kind are told apart."""
HREFS = "links => links.map(link => link.getAttribute('href'))"
TABS = 20
"""Elements of a page that the tabulator is pressed for."""


@pytest.fixture
def people(library: Daemon, album: Album) -> None:
    """Two people have names, and a group of others is ignored."""
    for name, known in (("Anna", "eileen"), ("Ben", "sixth")):
        library.call("assign", name=name, who=[{"path": str(path)} for path in album.of(known)[:2]])
    found = until(lambda: (answer := library.call("unknown"))["groups"] and not answer["unseen"] and answer["groups"])
    library.call("ignore", who=[{"group": found[-1]["id"]}])


@pytest.mark.usefixtures("people")
def test_every_page_can_be_used_by_everybody(opened: Callable[..., Page], keep: Callable[..., None]) -> None:
    desk, phone = opened(browsers.DESK), opened(browsers.PHONE)
    desk.emulate_media(color_scheme="light")
    phone.emulate_media(color_scheme="dark")
    faults: list[str] = []
    titles: dict[str, set[str]] = {}
    for url in every_page(desk):
        phone.goto(url)
        for tab in (desk, phone):
            browsers.settle(tab)
            faults += [f"{kind(url)}: {fault}" for fault in browsers.barriers(tab)]
            if (wider := browsers.overflow(tab)) > 0:
                faults.append(f"{kind(url)}: {wider} pixels wider than its window of {tab.evaluate('innerWidth')}")
        if (headings := desk.get_by_role("heading", level=1).count()) != 1:
            faults.append(f"{kind(url)}: {headings} headings of the first level")
        for reached in browsers.tabbed(desk, TABS):
            if not (reached["seen"] and reached["inView"]):
                faults.append(f"{kind(url)}: the focus is not to be seen on {reached['element']}")
        keep(desk, kind(url))
        titles.setdefault(desk.title(), set()).add(kind(desk.url).rstrip("?"))
    faults += [f"{title} is the title of {' and '.join(each)}" for title, each in titles.items() if len(each) > 1]
    assert not faults, "\n".join(faults)


def every_page(tab: Page) -> Iterator[str]:
    """Yield the address of one page of each kind that links lead to from where the tab is, with the tab on it."""
    found = {kind(tab.url): tab.url}
    for number in range(MOST):
        if number == len(found):
            return
        url = list(found.values())[number]
        tab.goto(url)
        yield url
        for link in tab.eval_on_selector_all('a[href]:not([href^="/album"])', HREFS):
            address = urljoin(url, link).partition("#")[0]
            if urlsplit(address).netloc == urlsplit(url).netloc:
                found.setdefault(kind(address), address)
    pytest.fail(f"more than {MOST} kinds of pages: {', '.join(found)}")


def kind(url: str) -> str:
    """What addresses of the same room have in common: their path without numbers, and whether something is asked."""
    parts = urlsplit(url)
    path = re.sub(r"/[^/]*(?:\d|%40|@)[^/]*(?=/|$)", "/N", parts.path)
    return f"{path}?" if parts.query else path
