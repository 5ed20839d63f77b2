"""A real Chromium, driven by Playwright, and what may not happen in it while a test uses a page.

A test fails when a page writes an error to the console, raises one, breaks its own Content-Security-Policy (which the
console says too), or asks another origin for anything. A test whose subject is such a fault says so (`Watch.expect`).
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from axe_playwright_python.sync_playwright import Axe
from playwright import sync_api
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Request, WebError

DESK = {"width": 1280, "height": 800}
PHONE = {"width": 360, "height": 740}
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
OWN = ("data:", "blob:", "about:", "file:")
"""What addresses begin with that lead to no other machine."""
WAIT = 30_000.0
"""Milliseconds after which Playwright gives up to wait for what a loaded machine does in one second."""
SCHEMES: Sequence[Literal["light", "dark"]] = ("light", "dark")
SERIOUS = {"serious", "critical"}


class NoBrowserError(Exception):
    """Chromium is not installed, or does not start. The message says what to do."""


def executable() -> str:
    """Return the browser's path. None is ever downloaded. Raises `NoBrowserError`."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if not found:
        raise NoBrowserError("there is no Chromium here: install it (`apt install chromium`), or name it in CHROMIUM")
    return found


def launch(playwright: sync_api.Playwright) -> Browser:
    """Start it. Its own sandbox needs rights that root in a container has not, and refuses root altogether.

    Raises `NoBrowserError`.
    """
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    try:
        return playwright.chromium.launch(executable_path=executable(), args=arguments, timeout=WAIT)
    except sync_api.Error as exc:
        raise NoBrowserError(f"Chromium does not start here: {str(exc).splitlines()[0]}") from exc


class Watch:
    """Collects what goes wrong in the pages of some contexts."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self._origins: set[str] = set()
        self._expected: list[str] = []

    def follow(self, context: BrowserContext, origin: str) -> None:
        """Watch one more. ``origin``: what its pages may ask, as ``http://127.0.0.1:8080``."""
        self._origins.add(f"{origin}/")
        context.on("console", self._said)
        context.on("weberror", self._raised)
        context.on("request", self._asked)

    def expect(self, pattern: str) -> None:
        """Let faults pass that a regular expression is found in, of which there must be one."""
        self._expected.append(pattern)

    def forgive(self, pattern: str) -> None:
        """Forget the faults that there were so far in which a regular expression is found."""
        self.faults = [fault for fault in self.faults if not re.search(pattern, fault)]

    def check(self) -> None:
        """Fail where there were other faults than those expected."""
        missing = [each for each in self._expected if not any(re.search(each, fault) for fault in self.faults)]
        assert not missing, f"no fault was {missing}"
        left = [fault for fault in self.faults if not any(re.search(each, fault) for each in self._expected)]
        assert not left, "in the browser:\n" + "\n".join(left)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"{message.type} on the console: {message.text} ({message.location.get('url', '')})")

    def _raised(self, error: WebError) -> None:
        self.faults.append(f"not caught: {error.error}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((*self._origins, *OWN)):
            self.faults.append(f"asked another origin: {request.method} {request.url}")


def enter(page: Page, url: str) -> None:
    """Open the address that ``facewatchd page`` printed. The entrance, which its script leaves at once, has status 401,
    and Chromium says so on the console.
    """
    page.goto(url)
    page.get_by_role("navigation", name="Rooms").wait_for()
    page.wait_for_load_state()  # its scripts have run


def settle(page: Page) -> None:
    """Wait until nothing is loaded any more, pictures in view included, and what was reported has arrived."""
    page.wait_for_load_state("load")
    page.wait_for_function(_LOADED)


def place(box: Sequence[int], photo: Mapping[str, Any]) -> Sequence[float]:
    """Return a box as parts of the photo, of which ``width`` and ``height`` are known."""
    sides = (photo["width"], photo["height"]) * 2
    return [pixels / side for pixels, side in zip(box, sides, strict=True)]


def expect_undistorted(photo: Locator, box: Locator, place: Sequence[float]) -> None:
    """Fail where a photo is drawn cut or stretched, or a face's box not where the face is.

    ``place``: left and upper edge, width and height of the face, as parts of the photo's.
    """
    page = photo.page
    settle(page)
    natural = photo.evaluate("image => [image.naturalWidth, image.naturalHeight]")
    drawn, over = photo.bounding_box(), box.bounding_box()
    assert drawn
    assert over
    assert abs(drawn["width"] / drawn["height"] / (natural[0] / natural[1]) - 1) < 0.02, (drawn, natural)
    x, y = (over["x"] - drawn["x"]) / drawn["width"], (over["y"] - drawn["y"]) / drawn["height"]
    found = (x, y, over["width"] / drawn["width"], over["height"] / drawn["height"])
    assert all(abs(a - b) < 0.02 for a, b in zip(found, place, strict=True)), (found, place)


def expect_accessible(page: Page) -> None:
    """Fail where there are `barriers` in what a page shows, light or dark."""
    found: dict[str, None] = {}
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        settle(page)
        found |= dict.fromkeys(f"{scheme}: {fault}" for fault in barriers(page))
    page.emulate_media(color_scheme="null")
    assert not found, f"at {page.url}:\n" + "\n".join(found)


def barriers(page: Page) -> list[str]:
    """The serious and the critical faults that axe-core finds in what a page shows, a line for each place."""
    return [
        f"{found['impact']}: {found['help']} ({found['id']}): {node['html'][:200]}"
        for found in Axe().run(page, options=_AXE).response["violations"]
        if found["impact"] in SERIOUS
        for node in found["nodes"]
    ]


def tabbed(page: Page, most: int) -> list[dict[str, Any]]:
    """Press the tabulator from the top of a page on; return of each element that is reached, at most so many, what it
    is, whether it looks otherwise than without the focus, and whether it lies in view.
    """
    page.evaluate("document.activeElement.blur(); getSelection().removeAllRanges(); scrollTo(0, 0)")
    reached: list[dict[str, Any]] = []
    for _ in range(most):
        page.keyboard.press("Tab")
        focused = page.evaluate(_FOCUSED)
        if focused is None:
            break
        reached.append(focused)
    return reached


def overflow(page: Page) -> int:
    """Pixels by which the page is wider than its window."""
    width: int = page.evaluate("document.scrollingElement.scrollWidth - document.documentElement.clientWidth")
    return width


def keep(page: Page, directory: Path, name: str) -> list[Path]:
    """Write what the page shows, as a desk and a phone show it, light and dark; leave the page as it was."""
    size = page.viewport_size or sync_api.ViewportSize(width=DESK["width"], height=DESK["height"])
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for place, window in (("desk", DESK), ("phone", PHONE)):
        page.set_viewport_size(sync_api.ViewportSize(width=window["width"], height=window["height"]))
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            settle(page)
            path = directory / f"{name}.{place}.{scheme}.png"
            page.screenshot(path=path)
            written.append(path)
    page.emulate_media(color_scheme="null")
    page.set_viewport_size(size)
    return written


_AXE = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}
"""Of WCAG 2.2 AA, axe-core leaves out by default how large a target must be."""
_FOCUSED = """
() => {
    const element = document.activeElement
    if (!element || element === document.body) return null
    const near = [element, ...element.querySelectorAll("*"), ...(element.labels ?? [])].slice(0, 20)
    for (let above = element.parentElement, i = 0; above && i < 4; above = above.parentElement, i++) near.push(above)
    const look = () => near.map(each => {
        const style = getComputedStyle(each)
        return [style.outline, style.boxShadow, style.border, style.background, style.stroke, style.strokeWidth].join()
    }).join()
    const box = element.getBoundingClientRect()
    const focused = look()
    element.blur()
    const plain = look()
    element.focus({focusVisible: true, preventScroll: true})
    return {
        element: element.outerHTML.slice(0, 120),
        seen: focused !== plain,
        inView: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
    }
}
"""
_LOADED = """
() => [...document.images].every(image => {
    const box = image.getBoundingClientRect()
    const inView = box.bottom > 0 && box.top < innerHeight && box.width > 0
    return image.complete || !inView
})
"""
