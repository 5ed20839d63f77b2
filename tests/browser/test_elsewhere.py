"""Two machines before one shared engine: photos of the other one in the page, on a sheet, in an album, in a folder."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support import browsers
from tests.support.albums import shoot
from tests.support.browsers import DESK, PHONE, Watch
from tests.support.engine_server import Server
from tests.support.page_process import PageProcess
from tests.support.processes import until
from tests.support.shared_machines import Machine

ANNA = 1
HERE, THERE, BOTH = 3, 2, 1
"""Photos of Anna that only this machine has, that only the other one has, and that both have."""


@dataclass(frozen=True)
class Household:
    """A laptop, and a NAS whose facewatch-share has sent everything."""

    laptop: Machine
    nas: Machine
    photos: Path


@pytest.fixture(scope="module")
def household(engine_server: Server, tmp_path_factory: pytest.TempPathFactory, tiny_root: Path) -> Iterator[Household]:
    place = tmp_path_factory.mktemp("household")
    here, there = place / "Pictures", place / "srv" / "שלום <b>"
    for number in range(HERE + BOTH):
        shoot(here / f"{number}.jpg", [ANNA], number)
    for number in range(THERE):
        shoot(there / f"{number}.jpg", [ANNA], 50 + number)
    shutil.copy(here / "0.jpg", there / "copy.jpg")
    database = engine_server.new_database()
    try:
        with (
            Machine(place / "laptop", database.url(), here, name="laptop", model_root=tiny_root) as laptop,
            Machine(place / "nas", database.url(), there, name="nas", model_root=tiny_root) as nas,
        ):
            for machine in (laptop, nas):
                machine.start()
            for machine in (laptop, nas):
                machine.settle()
            laptop.daemon.call("assign", name="Anna", who=[{"path": str(here / "0.jpg")}])
            yield Household(laptop, nas, here)
    finally:
        database.drop()


@pytest.fixture(scope="module")
def served(household: Household) -> Iterator[PageProcess]:
    """The laptop's page."""
    with PageProcess(household.laptop.daemon) as process:
        process.start()
        yield process


@pytest.fixture
def tab(served: PageProcess, chromium: Browser, watch: Watch) -> Iterator[Callable[[Any], Page]]:
    """``tab(window)``: the laptop's page in a browser of its own."""
    contexts = []

    def tab(window: Any) -> Page:
        context = chromium.new_context(viewport=window, permissions=["clipboard-read", "clipboard-write"])
        contexts.append(context)
        context.set_default_timeout(browsers.WAIT)
        watch.follow(context, served.origin)
        page = context.new_page()
        browsers.enter(page, served.url)
        watch.forgive("status of 401")
        return page

    yield tab
    for context in contexts:
        context.close()


def go(page: Page, path: str) -> None:
    page.goto(re.sub(r"(https?://[^/]+).*", rf"\1{path}", page.url))


def test_photos_of_the_other_machine_are_walked_through_by_keyboard(
    household: Household, tab: Callable[[Any], Page], axe: Any
) -> None:
    page = tab(DESK)
    go(page, "/ask?who=%40Anna")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Anna: {HERE + BOTH + THERE} photos")
    expect(page.locator("#searched")).to_contain_text(re.compile(r"\d+ faces here, \d+ on nas searched"))
    expect(page.locator(".matches .away")).to_have_count(THERE)
    expect(page.locator(".matches img")).to_have_count(HERE + BOTH)
    expect(page.get_by_text("also on nas")).to_have_count(BOTH)
    axe(page)
    page.locator(".matches a", has=page.locator(".away")).first.press("Enter")
    expect(page.get_by_role("heading", name="File on nas")).to_be_visible()
    axe(page)
    path = page.locator("#path").inner_text()
    assert (household.nas.daemon.roots[0] / Path(path).name) == Path(path)
    page.keyboard.press("c")
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == path
    assert page.locator("main form, main img").count() == 0, "nothing is offered that cannot work"
    for place in range(int(page.locator(".between .number").inner_text().split()[0]) - 1, 0, -1):
        page.keyboard.press("ArrowLeft")
        expect(page.locator(".between")).to_contain_text(f"{place} of {HERE + BOTH + THERE} photos")
    page.keyboard.press("Escape")
    expect(page.locator(".matches .away")).to_have_count(THERE)
    page.get_by_text("Narrow down").click()
    page.get_by_role("checkbox", name="This machine only").click()
    expect(page.locator(".matches .away")).to_have_count(0)
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Anna: {HERE + BOTH} photos")
    page.get_by_role("link", name="this machine only: take away").click()
    expect(page.locator(".matches .away")).to_have_count(THERE)


def test_every_room_on_a_phone(tab: Callable[[Any], Page], axe: Any) -> None:
    page = tab(PHONE)
    for room in ("/people/of?name=Anna", "/together?with=Anna", "/new", "/now"):
        go(page, room)
        browsers.settle(page)
        axe(page)
        assert browsers.overflow(page) == 0, room
        if room != "/now":
            expect(page.locator(".away")).to_have_count(THERE)
        else:
            expect(page.get_by_role("heading", name="Shared engine")).to_be_visible()
            expect(page.get_by_role("row", name=re.compile("^nas"))).to_contain_text("just now")
    go(page, "/people/of?name=Anna")
    page.locator(".matches a", has=page.locator(".away")).last.click()
    expect(page.locator(".stage .away")).to_be_visible()
    assert browsers.overflow(page) == 0
    page.locator(".way").get_by_role("link", name="Anna").click()
    page.wait_for_url("**/people/of?name=Anna#away-*")


def test_a_sheet_an_album_and_a_folder(household: Household, tmp_path: Path, chromium: Browser, axe: Any) -> None:
    sheet, album, folder = tmp_path / "a.pdf", tmp_path / "a.html", tmp_path / "anna"
    done = household.laptop.daemon.query(
        "-n", "0", "--sheet", sheet, "--html", album, "--link-to", folder, "--sync", "@anna"
    )
    assert done.returncode == 0, done.stderr
    assert f"{folder}: {THERE} on nas, left out" in done.stderr
    assert {path.readlink() for path in folder.glob("*.jpg")} == set(household.photos.glob("*.jpg"))
    assert sheet.read_bytes().startswith(b"%PDF")
    page = chromium.new_page()
    try:
        page.goto(album.as_uri())
        expect(page.locator(".face")).to_have_count(HERE + BOTH + THERE)
        expect(page.locator(".crops .away")).to_have_count(THERE)
        expect(page.locator(".missing")).to_have_count(0)
        axe(page)
        page.locator(".crops", has=page.locator(".away")).first.click()
        view = page.locator(".view:popover-open")
        expect(view.get_by_role("link")).to_have_count(0)
        expect(view.locator("code")).to_contain_text("/srv/")
    finally:
        page.close()


def test_a_sync_removes_nothing_while_the_engine_is_away(
    household: Household, tmp_path: Path, tab: Callable[[Any], Page]
) -> None:
    folder, laptop = tmp_path / "anna", household.laptop
    assert laptop.daemon.query("--link-to", folder, "--sync", "@anna").returncode == 0
    linked = sorted(path.name for path in folder.iterdir())
    laptop.stop_share()
    try:
        done = laptop.daemon.query("--link-to", folder, "--sync", "-n", "1", "@anna")
        assert "stayed, as the shared engine was not reached" in done.stderr
        assert sorted(path.name for path in folder.iterdir()) == linked
        page = tab(DESK)
        go(page, "/ask?who=%40Anna")
        expect(page.locator("#answer .note")).to_contain_text("searched on this machine only")
        expect(page.locator(".matches img")).to_have_count(HERE + BOTH)
    finally:
        laptop.start_share()
        until(lambda: laptop.status()["state"] == "ok")
    assert laptop.daemon.query("--link-to", folder, "--sync", "@anna").returncode == 0
    assert sorted(path.name for path in folder.iterdir()) == linked
