"""What the guard does beyond what a process is tried with: cookies beside ours, and bodies that take too long."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from facewatchd.page import app
from facewatchd.page.view import Page
from tests.support.pages import HOSTS, PORT, ToldDaemon, browser


@pytest.mark.parametrize(
    "around",
    ["{}", "a=1; {}", '{}; j={{"a": [1, 2]}}', 'j={{"a": "b; c"}}; bad; {}', "facewatchd-8765=other; {}", "=; ;; {}"],
)
def test_cookies_of_other_programs_on_this_host_do_no_harm(around: str) -> None:
    with browser(ToldDaemon()) as client:
        cookie = client.cookie()
        assert client.get("/ask", headers={"cookie": around.format(cookie)}).status_code == 200
        assert client.get("/ask", headers={"cookie": around.format(cookie.swapcase())}).status_code == 401


def test_a_body_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facewatchd.page.security.BODY_SECONDS", 0.05)
    sent: list[dict[str, Any]] = []
    parts = [{"type": "http.request", "body": b"code=", "more_body": True}]

    async def receive() -> Any:
        if parts:
            return parts.pop()
        return await asyncio.sleep(60)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/enter",
        "raw_path": b"/enter",
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "server": ("127.0.0.1", PORT),
        "headers": [
            (b"host", HOSTS[0].encode()),
            (b"sec-fetch-site", b"same-origin"),
            (b"content-type", b"application/x-www-form-urlencoded"),
        ],
    }
    asyncio.run(app.make(Page(ToldDaemon()), HOSTS, PORT)(scope, receive, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 413
    assert (b"connection", b"close") in sent[0]["headers"]
