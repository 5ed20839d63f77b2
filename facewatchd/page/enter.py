"""The entrance: the code of the terminal is traded for the cookie without which no other page is shown.

A link has the code in its fragment, which browsers send nowhere: a script of ours reads it, takes it out of the
address, and sends it as the form does into which a person may copy it.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from facewatchd.page import view
from facewatchd.page.security import ENTRANCE, cookie_name
from facewatchd.page.sessions import WINDOW, TooManyTriesError
from facewatchd.page.view import Room


async def ask(request: Request, status: int = 401, problem: str = "") -> Response:
    """Ask for the code."""
    form_path = view.address(request) if request.url.path != ENTRANCE else "/"
    return view.render(request, "enter.html", status, problem=problem, then=form_path)


async def trade(request: Request) -> Response:
    """Set the cookie and lead on, where the code is right."""
    async with request.form(max_files=0, max_fields=4) as form:
        code, then = str(form.get("code", "")), view.local(str(form.get("then", "/")))
    try:
        token = view.of(request).sessions.open(code)
    except TooManyTriesError:
        return await ask(request, 429, f"Too many wrong codes: try again in {WINDOW:.0f} seconds.")
    if token is None:
        return await ask(request, 403, "That is not the code of this page. Copy it whole, from the last call.")
    response = view.go(then)
    port = request.scope["server"][1]
    response.set_cookie(cookie_name(port), token, httponly=True, samesite="strict")
    return response


async def start(request: Request) -> Response:
    """Lead from the entrance to the first room, for a browser that comes again with the code."""
    return view.go("/")


ROOM = Room([Route(ENTRANCE, trade, methods=["POST"]), Route(ENTRANCE, start, methods=["GET"])])
