"""What tests of the page use: a daemon on photos of real people, the page's process, and Chromium.

`library`, `page` and the browser are shared by the tests of a worker, because each takes seconds to start. What a test
says of people is taken back after it; photos that it adds it must remove itself. `desk` and `phone` are pages of a new
browser each, which nobody has used before.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import portraits
from tests.support.page_process import PageProcess
from tests.support.processes import Daemon

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.support.browsers import Watch

PHOTOS = 40
"""So many are made of those that installed packages ship; each photo with labelled faces is added as it is."""


class Missing(pytest.Module):
    """Stands for a module of tests that cannot be imported."""

    def collect(self) -> list[pytest.Item]:
        pytest.skip("playwright is not installed: pip install -e '.[test]'", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Skip the tests with the reason where Playwright has no wheel for the machine."""
    is_missing = importlib.util.find_spec("playwright") is None
    return Missing.from_parent(parent, path=module_path) if is_missing else None


@dataclass(frozen=True)
class Album:
    """The photos of `library`, and who is on each, left to right."""

    root: Path
    people: dict[Path, Sequence[str]]

    def of(self, person: str) -> list[Path]:
        """The photos that show this person alone."""
        return [path for path, who in self.people.items() if list(who) == [person]]


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """The browser. A test whose pages do something wrong in it fails: see `opened`."""
    from playwright.sync_api import expect, sync_playwright

    from tests.support import browsers

    expect.set_options(timeout=browsers.WAIT)
    with sync_playwright() as playwright:
        try:
            browser = browsers.launch(playwright)
        except browsers.NoBrowserError as exc:
            pytest.skip(str(exc))
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def album(tmp_path_factory: pytest.TempPathFactory) -> Album:
    """Photos from eight years of seven people or more."""
    root = tmp_path_factory.mktemp("library") / "Pictures"
    people = portraits.write(root, portraits.shipped(), PHOTOS)
    sources = portraits.labelled()
    return Album(root, people | portraits.write(root, sources, len(sources), PHOTOS) if sources else people)


@pytest.fixture(scope="package")
def shared_library(album: Album, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """`library`, as long as a worker has tests for it. Its photos go through the model once for all workers."""
    with Daemon(album.root.parent / "home", album.root) as daemon:
        base = tmp_path_factory.getbasetemp()
        kept = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "browser library"
        with kept.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if kept.exists():
                shutil.copytree(kept, daemon.data)
                lock.close()
            daemon.start()
            daemon.settle()
            if not kept.exists():
                daemon.stop()
                shutil.copytree(daemon.data, kept)
                daemon.start()
                daemon.settle()
        yield daemon


@pytest.fixture
def library(shared_library: Daemon) -> Iterator[Daemon]:
    """A daemon that has indexed `album` with the pack ``opencv``, and knows nobody's name."""
    yield shared_library
    if shared_library.process is None or shared_library.process.poll() is not None:
        shared_library.start()
    while shared_library.call("undo")["action"]:
        """Take back what the test said, from the last to the first."""


@pytest.fixture(scope="package")
def shared_page(shared_library: Daemon) -> Iterator[PageProcess]:
    """`page`, as long as a worker has tests for it."""
    with PageProcess(shared_library) as process:
        yield process


@pytest.fixture
def page(library: Daemon, shared_page: PageProcess) -> PageProcess:
    """The process ``facewatchd page --no-open``, running."""
    if not shared_page.is_alive:
        shared_page.start()
    return shared_page


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Fails the test after it where a page that it opened did something wrong. ``watch.expect(pattern)`` allows it."""
    from tests.support.browsers import Watch

    watch = Watch()
    yield watch
    watch.check()


@pytest.fixture
def keep(request: pytest.FixtureRequest) -> Callable[..., None]:
    """``keep(page, name)`` draws what a page shows, with ``--screenshots``, else does nothing."""
    from tests.support import browsers

    directory = request.config.getoption("--screenshots")
    prefix = f"{request.node.path.stem.removeprefix('test_')}.{request.node.name.removeprefix('test_')}"

    def keep(page: Page, name: str = "") -> None:
        if directory:
            browsers.keep(page, Path(directory), re.sub(r"[^\w.-]+", "-", f"{prefix}.{name}".rstrip(".")))

    return keep


@pytest.fixture
def opened(
    chromium: Browser, page: PageProcess, watch: Watch, keep: Callable[..., None]
) -> Iterator[Callable[..., Page]]:
    """``opened(window, **options)``: a browser of its own at the page's address, with the cookie.

    ``window`` is `browsers.DESK` or `browsers.PHONE`; ``options`` are those of Playwright's ``new_context``. With
    ``--screenshots`` each is drawn as the test leaves it.
    """
    from tests.support import browsers

    with contextlib.ExitStack() as contexts:

        def opened(window: dict[str, int], **options: Any) -> Page:
            is_phone = window == browsers.PHONE
            context = chromium.new_context(
                **{"viewport": window, "is_mobile": is_phone, "has_touch": is_phone} | options
            )
            contexts.callback(context.close)
            context.set_default_timeout(browsers.WAIT)
            watch.follow(context, page.origin)
            tab = context.new_page()
            tabs.append(tab)
            browsers.enter(tab, page.url)
            watch.forgive("status of 401")
            return tab

        tabs: list[Page] = []
        yield opened
        left = [tab for tab in tabs if not tab.is_closed()]
        for number, tab in enumerate(left):
            browsers.settle(tab)
            keep(tab, str(number or ""))


@pytest.fixture
def desk(opened: Callable[..., Page]) -> Page:
    """The page at a desk's width."""
    from tests.support.browsers import DESK

    return opened(DESK)


@pytest.fixture
def phone(opened: Callable[..., Page]) -> Page:
    """The page at a phone's width, touched."""
    from tests.support.browsers import PHONE

    return opened(PHONE)


@pytest.fixture
def axe() -> Callable[[Page], None]:
    """``axe(page)`` fails where axe-core finds a serious or critical fault in what a page shows, light or dark."""
    from tests.support.browsers import expect_accessible

    return expect_accessible
