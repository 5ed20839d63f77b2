"""The page as an ASGI application: the rooms behind the guard, the program's own files, and pages for errors."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from facewatchd.client.connection import INVALID_PARAMS, RemoteError
from facewatchd.errors import FacewatchError, NoDaemonError, UsageError
from facewatchd.page import (
    album,
    ask,
    confirm,
    elsewhere,
    enter,
    news,
    now,
    people,
    photo,
    pictures,
    say,
    together,
    unknown,
    view,
)
from facewatchd.page.catalogs import Catalogs
from facewatchd.page.security import CLOSING, Guard, TooLongError
from facewatchd.page.view import Page, Room
from facewatchd.page.wording import advice

log = logging.getLogger(__name__)

ROOMS: Sequence[Room] = (
    enter.ROOM,
    ask.ROOM,
    pictures.ROOM,
    photo.ROOM,
    elsewhere.ROOM,
    say.ROOM,
    people.ROOM,
    confirm.ROOM,
    unknown.ROOM,
    together.ROOM,
    news.ROOM,
    now.ROOM,
    album.ROOM,
)
"""In the order of the menu."""
STATIC = Path(__file__).with_name("static")
LOOK = Path(__file__).parents[1] / "pictures" / "look.css"
"""Colours and type, which a sheet in HTML has as well."""

_STATUS = {
    "unknown-face": 404,
    "unknown-person": 404,
    "unknown-photo": 404,
    "unreadable-photo": 422,
    "other-catalog": 409,
    "too-large": 413,
    "no-face": 422,
    "not-ready": 503,
    "timeout": 504,
}
"""Of pages about errors, by their kind; others have 500."""


def make(page: Page, hosts: Sequence[str], port: int) -> ASGIApp:
    """Return the application. ``hosts``: what a `Host` header may be, with the port."""
    menu = [(room.name, room.path) for room in ROOMS if room.name]
    routes = [route for room in ROOMS for route in room.routes]
    app = Starlette(
        routes=[
            *routes,
            Route("/static/look.css", _look),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        exception_handlers={
            FacewatchError: _failed,
            TooLongError: _too_long,
            HTTPException: _refused,
            Exception: _broken,
        },
        middleware=[Middleware(Catalogs, daemon=page.daemon)],
    )
    app.state.page = replace(page, menu=menu)

    async def ask_for_code(request: Request) -> Response:
        request.scope["app"] = app
        return await enter.ask(request)

    return Guard(app, sessions=page.sessions, activity=page.activity, hosts=hosts, port=port, ask=ask_for_code)


async def _look(_: Request) -> Response:
    return FileResponse(LOOK, media_type="text/css")


async def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, FacewatchError)
    if isinstance(error, NoDaemonError):
        return view.render(request, "no-daemon.html", 503, error=error, was_sent=request.method == "POST")
    is_wrong = isinstance(error, UsageError) or (isinstance(error, RemoteError) and error.code == INVALID_PARAMS)
    status = _STATUS.get(error.kind, 400 if is_wrong else 500)
    return view.render(
        request, "error.html", status, title=_sentence(error.message), hint=_sentence(advice(error.hint))
    )


async def _too_long(request: Request, error: Exception) -> Response:
    response = view.render(request, "error.html", 413, title=_sentence(str(error)), hint="Send a smaller photo.")
    response.headers.update(CLOSING)
    return response


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return view.render(request, "error.html", 404, title="There is nothing here", hint="Go on from the menu.")
    return view.render(request, "error.html", error.status_code, title=_sentence(error.detail), hint="")


async def _broken(request: Request, error: Exception) -> Response:
    return view.render(
        request,
        "error.html",
        500,
        title="Something in facewatchd is broken",
        hint="Go back and try again. The terminal in which the page was started has the details.",
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
