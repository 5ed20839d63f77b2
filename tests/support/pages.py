"""The page in this process, for tests of its rooms: a client that has the cookie, and a daemon that answers as told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx

from facewatchd.page import app
from facewatchd.page.view import Page

PORT = 8765
ORIGIN = f"http://127.0.0.1:{PORT}"
HOSTS = (f"127.0.0.1:{PORT}", f"localhost:{PORT}", f"[::1]:{PORT}")
BY_OURSELVES = {"sec-fetch-site": "same-origin", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
"""What a browser adds to a request that a page of ours causes."""
STATUS: dict[str, Any] = {
    "state": "idle",
    "photos": 12,
    "faces": 20,
    "pending": 0,
    "failed": 0,
    "people": 0,
    "model": {"name": "tiny", "id": "tiny-1", "dim": 4, "threshold": 0.4},
    "problems": [],
    "roots": [],
}

Answer = Callable[..., Any]


class ToldDaemon:
    """Answers each method with what the test gave for it: a value, or a function of the parameters."""

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, Any] = {"status": STATUS, "people": {"people": []}, **answers}
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def catalog(self) -> str:
        return str(self.answers.get("catalog", ""))

    async def call(self, method: str, /, **params: Any) -> Any:
        given = {name.removesuffix("_"): value for name, value in params.items() if value is not None}
        self.asked.append((method, given))
        answer = self.answers[method]
        if isinstance(answer, Exception):
            raise answer
        return answer(**given) if callable(answer) else answer

    def params(self, method: str) -> dict[str, Any]:
        """The parameters of the last call of a method."""
        return next(params for name, params in reversed(self.asked) if name == method)


class Browser:
    """Asks as a browser does, and follows no redirects. Close it at the end: `browser` does."""

    def __init__(self, page: Page, headers: Mapping[str, str], *, raises: bool) -> None:
        self.page = page
        transport = httpx.ASGITransport(app.make(page, HOSTS, PORT), raise_app_exceptions=raises)
        self._runner = asyncio.Runner()
        self._client = httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers=headers)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self._runner.run(self._client.get(path, **options))

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self._runner.run(self._client.post(path, **options))

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self._runner.run(self._client.request(method, path, **options))

    def cookie(self) -> str:
        """The cookie, as a header has it."""
        ((name, value),) = self._client.cookies.items()
        return f"{name}={value}"

    def close(self) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()


@contextlib.contextmanager
def browser(
    daemon: ToldDaemon, *, signed_in: bool = True, headers: Mapping[str, str] = BY_OURSELVES, raises: bool = True
) -> Iterator[Browser]:
    """Yield a browser on a page of its own, with the cookie where it is ``signed_in``.

    ``raises``: whether what a room does not expect is raised here, instead of a page that says so.
    """
    with contextlib.closing(Browser(Page(daemon), headers, raises=raises)) as client:  # type: ignore[arg-type]
        if signed_in:
            assert client.post("/enter", data={"code": client.page.sessions.code}).status_code == 303
        yield client
