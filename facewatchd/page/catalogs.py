"""What the ids of faces and groups belong to, so that an id never means another face than the one that was looked at.

Ids begin at 1 in each catalog. A page that is left open while the daemon is started with another model, or while its
catalog is made anew, has ids of the one before, and a browser keeps pictures by their addresses. So the addresses of
pictures and the forms have a word for the catalog (`Daemon.catalog`), and what has another word is refused.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from facewatchd.errors import FacewatchError, UsageError
from facewatchd.page import view
from facewatchd.page.access import Daemon
from facewatchd.page.security import PUBLIC


class OtherCatalogError(UsageError):
    """A form or a picture's address has ids of another catalog."""

    kind = "other-catalog"

    def __init__(self) -> None:
        super().__init__(
            "your photos were indexed anew since this page was drawn",
            "nothing was changed; go on from the menu, and look at the face again",
        )


class Catalogs:
    """ASGI middleware that keeps the word for the catalog in the state of each request that has a session."""

    def __init__(self, app: ASGIApp, daemon: Daemon) -> None:
        self._app = app
        self._daemon = daemon

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have a request answered."""
        state = scope.get("state", {})
        if state.get("session") is not None and not scope["path"].startswith(PUBLIC):
            try:
                state["catalog"] = await self._daemon.catalog()
            except FacewatchError:
                state["catalog"] = ""  # the room says what is wrong
        await self._app(scope, receive, send)


async def check(request: Request, word: str) -> None:
    """Raise `OtherCatalogError` where a word is of another catalog. Raises what `Daemon.catalog` does."""
    if word and word != await view.daemon(request).catalog():
        raise OtherCatalogError
