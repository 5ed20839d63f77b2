"""What comes before every room of the page: an ASGI middleware that refuses what the page's own browser would not send.

Who is kept out, and by what:

- **Another user of this machine** who finds the port: the connection is closed before a byte is read, because the
  kernel tells whose it is (`system.tcp_peer`, asked in `page.server`). Where it does not tell: by the cookie, which
  only the code buys (`page.sessions`).
- **Another web site** in the user's browser: its requests name another host when it has had a name of its own resolved
  to this machine (DNS rebinding), and the `Host` must be ours. Else its requests are marked by the browser with
  `Sec-Fetch-Site`, or with an `Origin` that is not ours: they change nothing, read no picture, and a link from there
  finds the page as somebody without a cookie does. `same-site` is no better than `cross-site`: another port of this
  machine is another user's program.
- **Another program's page in a frame** around ours, or ours in a frame of its own: `frame-ancestors`,
  `X-Frame-Options`, and the policies for openers and resources.
- **A script in a name**: templates escape, and the content security policy allows scripts and styles from our own files
  alone, and none in the page.

A browser without `Sec-Fetch-Site` (older than 2020 to 2023) must send the `Origin` with what changes something. Others
may send `null` there, as the policy that no address of ours goes anywhere as a referrer has them do.

A request's body is bounded in bytes and in time. Nothing of a request is logged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from facewatchd.client.query import MAX_BYTES
from facewatchd.page.activity import BACKGROUND, Activity
from facewatchd.page.sessions import Session, Sessions

FORM_BYTES = 1 << 20
"""Bytes of the largest form without a photo."""
PHOTO_BYTES = MAX_BYTES + FORM_BYTES
"""Bytes of the largest form with a photo."""
BODY_SECONDS = 60.0
"""For a request's body, from its first byte to its last."""
ENTRANCE = "/enter"
"""Where the code is traded for the cookie."""
PUBLIC = "/static/"
"""Below it are the program's own files, the same for every user."""
UPLOADS = "/photos"
"""Where photos are sent."""

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
"""Of every response."""
NOT_KEPT = "no-store"
"""`Cache-Control` of what says nothing else."""

CLOSING = {"connection": "close"}
"""A header of an answer to a request whose body was not read to its end."""

Entrance = Callable[[Request], Awaitable[Response]]
"""Makes the page that asks for the code."""


def cookie_name(port: int) -> str:
    """The cookie's name. Cookies of one host are sent to all of its ports, so each page has its own."""
    return f"facewatchd-{port}"


class Guard:
    """The middleware. It sets ``session`` in the state of each request that has a cookie of ours."""

    def __init__(
        self, app: ASGIApp, *, sessions: Sessions, activity: Activity, hosts: Sequence[str], port: int, ask: Entrance
    ) -> None:
        """``hosts``: as a `Host` header may have them, with the port. ``ask``: see `Entrance`."""
        self._app = app
        self._sessions = sessions
        self._activity = activity
        self._hosts = frozenset(hosts)
        self._origins = frozenset(f"http://{host}" for host in hosts)
        self._cookie = cookie_name(port)
        self._ask = ask

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or have it answered."""
        if scope["type"] != "http":
            return  # there are no web sockets; `lifespan` is switched off
        send = _with_headers(send)
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        session = self._session(headers) if _is_ours(headers) else None
        if session is None and not _is_public(scope["path"]):
            await self._turn_away(scope, receive, send, headers)
            return
        scope.setdefault("state", {})["session"] = session
        background = any(name == BACKGROUND for name, _ in scope["headers"])
        with self._activity.request(background=background or session is None):
            await self._app(scope, _limited(scope, receive), send)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        """The answer to a request that the page's own browser would not send; None for any other."""
        if len(headers.getlist("host")) != 1 or headers["host"].lower() not in self._hosts:
            return _refused("This is not the host that you asked for.", 421)
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return _refused("Not allowed.", 405, allow="GET, HEAD, POST")
        if not self._may_come(scope["method"], headers):
            return _refused("This request came from another page, and was refused.", 403)
        limit = PHOTO_BYTES if scope["path"] == UPLOADS else FORM_BYTES
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > limit:
            return _refused(f"More than the {limit >> 20} MiB that can be sent.", 413)
        return None

    def _may_come(self, method: str, headers: Headers) -> bool:
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        is_named = origin in self._origins
        if origin is not None and not is_named and not (origin == "null" and site == "same-origin"):
            return False
        if method == "POST":
            return site == "same-origin" or (site is None and is_named)
        return _is_ours(headers) or (
            headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        )

    def _session(self, headers: Headers) -> Session | None:
        """The session of a cookie of ours, whatever cookies other programs on other ports of this host have set."""
        for line in headers.getlist("cookie"):
            for cookie in line.split(";"):
                name, _, value = cookie.strip().partition("=")
                if name == self._cookie and (session := self._sessions.of(value)) is not None:
                    return session
        return None

    async def _turn_away(self, scope: Scope, receive: Receive, send: Send, headers: Headers) -> None:
        """Ask for the code; of a picture or a script, say nothing but that it is not for this caller."""
        response: Response = _refused("Not without the code.", 401)
        if scope["method"] == "GET" and headers.get("sec-fetch-dest", "document") == "document":
            response = await self._ask(Request(scope))
        await response(scope, receive, send)


def _refused(text: str, status: int, **headers: str) -> Response:
    """The connection is closed, so that what comes after is not read."""
    return PlainTextResponse(text, status, {**headers, **CLOSING})


def _is_ours(headers: Headers) -> bool:
    """Whether a request comes from a page of ours, or from the user, or from a browser that does not say."""
    return headers.get("sec-fetch-site") in ("same-origin", "none", None)


def _is_public(path: str) -> bool:
    return path == ENTRANCE or path.startswith(PUBLIC)


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("cache-control", NOT_KEPT)
        await send(message)

    return sending


class TooLongError(Exception):
    """A request's body is longer than it may be, or takes longer."""


def _limited(scope: Scope, receive: Receive) -> Receive:
    """Receive at most so many bytes of a body, for at most so many seconds. Raises `TooLongError`."""
    left = PHOTO_BYTES if scope["path"] == UPLOADS else FORM_BYTES
    deadline: float | None = None

    async def receiving() -> Any:
        nonlocal left, deadline
        now = asyncio.get_running_loop().time()
        deadline = now + BODY_SECONDS if deadline is None else deadline
        if left < 0:
            return await receive()  # only that the client went is still to come
        try:
            message = await asyncio.wait_for(receive(), max(0.0, deadline - now))
        except TimeoutError:
            raise TooLongError("the request did not end in time") from None
        left -= len(message.get("body", b""))
        if left < 0:
            raise TooLongError("the request is longer than it may be")
        if not message.get("more_body", False):
            left = -1
        return message

    return receiving
