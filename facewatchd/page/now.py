"""Now: what the daemon does, how far it is, and which files it could not read and why."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from facewatchd.client.status import Status, rate_words
from facewatchd.page import view
from facewatchd.page.forms import fields, first
from facewatchd.page.view import Room

FILES = 100
"""Files on one page."""
STATES = {
    "failed": "could not be read",
    "pending": "wait for their turn",
    "unsupported": "are of a kind that is not read",
    "no-face": "show no face that is large and clear enough",
    "excluded": "are no photos",
    "indexed": "are searchable",
}
"""The states whose files are listed, in words."""


async def now(request: Request) -> Response:
    """Show the state of the daemon."""
    return await _drawn(request, "now.html")


async def part(request: Request) -> Response:
    """Show what changes of it, for the script that refreshes it."""
    return await _drawn(request, "now-part.html")


async def _drawn(request: Request, template: str) -> Response:
    status = Status.of(await view.daemon(request).call("status"))
    return view.render(
        request, template, status=status, done=progress(status.photos, status.pending), rate=rate_words(status)
    )


def progress(photos: int, pending: int) -> int:
    """Return how many of a hundred photos are searchable, rounded down; 100 only where none is pending."""
    return 100 if not pending else max(0, 100 * (photos - pending) // max(photos, pending))


async def files(request: Request) -> Response:
    """Show the files in one state, with the reasons."""
    state = request.query_params.get("state", "")
    state = state if state in STATES else "failed"
    params: dict[str, Any] = {"state": state, "limit": FILES}
    if after := request.query_params.get("after"):
        params["after"] = after_of(after)
    found = await view.daemon(request).call("photos", **params)
    following = None if found["next"] is None else json.dumps(found["next"])
    return view.render(
        request,
        "files.html",
        state=state,
        states=STATES,
        photos=found["photos"],
        following=following,
        is_first=not after,
    )


def after_of(text: str) -> dict[str, str]:
    """Return the path in an address, as ``next`` of the page before was; the first page's where it is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
        return {"path": ""}
    return found


async def control(request: Request) -> Response:
    """Have the daemon pause, go on, or look at the disk."""
    action = first(await fields(request), "action")
    daemon = view.daemon(request)
    if action in ("pause", "resume"):
        await daemon.call(action)
        view.notice(request, "Indexing rests. Questions are answered." if action == "pause" else "Indexing goes on.")
    elif action == "scan":
        await daemon.call("scan")
        view.notice(request, "The directories are being looked through.")
    return view.go("/now")


ROOM = Room(
    [
        Route("/now", now),
        Route("/now/part", part),
        Route("/now/files", files),
        Route("/now", control, methods=["POST"]),
    ],
    "Now",
    "/now",
)
