"""The tests of the page would see a fault: a small server plays pages that have one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.support import browsers
from tests.support.release import Release

POLICY = "default-src 'self'; img-src data:"
GOOD = "<!doctype html><html lang=en><title>t</title><link rel=icon href=data:,><main><h1>Photos</h1>{}</main>"


@pytest.fixture
def server() -> Iterator[Release]:
    release = Release()
    yield release
    release.close()


@pytest.fixture
def shown(chromium: Browser, server: Release) -> Iterator[Callable[..., tuple[browsers.Watch, Page]]]:
    """``shown(body, policy)``: a watched page that has been loaded."""
    contexts: list[BrowserContext] = []

    def shown(body: str, policy: str = "") -> tuple[browsers.Watch, Page]:
        def answer(handler: object) -> None:
            handler.send_response(200)  # type: ignore[attr-defined]
            handler.send_header("Content-Type", "text/html")  # type: ignore[attr-defined]
            if policy:
                handler.send_header("Content-Security-Policy", policy)  # type: ignore[attr-defined]
            handler.end_headers()  # type: ignore[attr-defined]
            handler.wfile.write(GOOD.format(body).encode())  # type: ignore[attr-defined]

        server.answers["/"] = answer
        contexts.append(chromium.new_context(viewport=browsers.PHONE))
        watch = browsers.Watch()
        watch.follow(contexts[-1], server.base_url.rstrip("/"))
        page = contexts[-1].new_page()
        page.goto(server.base_url)
        browsers.settle(page)
        return watch, page

    yield shown
    for context in contexts:
        context.close()


def test_a_page_without_faults_passes(shown: Callable[..., tuple[browsers.Watch, Page]]) -> None:
    watch, page = shown("<p>Two photos.</p>", POLICY)
    watch.check()
    browsers.expect_accessible(page)
    assert browsers.overflow(page) == 0


@pytest.mark.parametrize(
    ("body", "policy", "said"),
    [
        ("<script>console.error('oh')</script>", "", "error on the console: oh"),
        ("<script>nothing()</script>", "", "not caught: .*nothing is not defined"),
        ("<script>1</script>", POLICY, "Content Security Policy"),
        ("<p style='color: red'>inline</p>", POLICY, "Content Security Policy"),
        ("<img src=/missing.jpg alt=''>", "", "404"),
        ("<img src=http://127.0.0.1:9/photo.jpg alt=''>", "", "asked another origin: GET http://127.0.0.1:9/photo.jpg"),
    ],
)
def test_a_fault_is_seen(shown: Callable[..., tuple[browsers.Watch, Page]], body: str, policy: str, said: str) -> None:
    watch, _ = shown(body, policy)
    with pytest.raises(AssertionError, match=said):
        watch.check()


def test_a_fault_that_was_expected_passes(shown: Callable[..., tuple[browsers.Watch, Page]]) -> None:
    watch, _ = shown("<script>console.error('oh')</script>")
    watch.expect("^error on the console: o")
    watch.check()


def test_a_fault_that_was_expected_must_come(shown: Callable[..., tuple[browsers.Watch, Page]]) -> None:
    watch, _ = shown("<p>Two photos.</p>")
    watch.expect("404")
    with pytest.raises(AssertionError, match="no fault was"):
        watch.check()


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        ("<img src=data:,>", "image-alt"),
        ("<input>", "label"),
        ("<p><a href=/ style='color: #bbb; background: #fff'>pale</a></p>", "color-contrast"),
        ("<button></button>", "button-name"),
    ],
)
def test_axe_finds_what_some_people_cannot_use(
    shown: Callable[..., tuple[browsers.Watch, Page]], body: str, rule: str
) -> None:
    _, page = shown(body)
    with pytest.raises(AssertionError, match=rule):
        browsers.expect_accessible(page)


def test_a_page_that_is_too_wide_is_seen(shown: Callable[..., tuple[browsers.Watch, Page]]) -> None:
    _, page = shown("<pre>" + "x" * 400 + "</pre>")
    assert browsers.overflow(page) > 100
