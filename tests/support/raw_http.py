"""HTTP requests with exactly the headers that a test names, as no browser would send them."""

from __future__ import annotations

import http.client
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from tests.support.page_process import PageProcess
from tests.support.processes import DEADLINE

OURS = (("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document"))
"""What a browser adds to a link or form of the page itself."""

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


class Client:
    """Asks one page."""

    def __init__(self, page: PageProcess) -> None:
        address = urlsplit(page.url)
        self.host, self.port = str(address.hostname), int(address.port or 0)
        self.name = f"{self.host}:{self.port}"
        self.origin = f"http://{self.name}"
        self.code = address.fragment
        self.cookie = ""

    def sign_in(self) -> Client:
        """Trade the code for the cookie."""
        answer = self.post("/enter", {"code": self.code})
        assert answer.status == 303, answer.text
        self.cookie = answer.headers["set-cookie"].partition(";")[0]
        return self

    def ask(
        self,
        method: str,
        path: str,
        headers: Headers = OURS,
        body: bytes = b"",
        *,
        host: Sequence[str] | None = None,
        cookie: str | None = None,
    ) -> Answer:
        """``host``: the values of the `Host` headers; ``cookie``: instead of the one that was bought."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=DEADLINE)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name in [self.name] if host is None else host:
                connection.putheader("Host", name)
            if kept := self.cookie if cookie is None else cookie:
                connection.putheader("Cookie", kept)
            for name, value in headers:
                connection.putheader(name, value)
            if method == "POST" and not any(name.lower() == "content-length" for name, _ in headers):
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            reply = connection.getresponse()
            return Answer(reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read())
        finally:
            connection.close()

    def get(self, path: str, headers: Headers = OURS, **options: Sequence[str] | None) -> Answer:
        return self.ask("GET", path, headers, **options)  # type: ignore[arg-type]

    def post(self, path: str, form: dict[str, str], headers: Headers = OURS) -> Answer:
        typed = (*headers, ("Content-Type", "application/x-www-form-urlencoded"))
        return self.ask("POST", path, typed, urlencode(form).encode())
