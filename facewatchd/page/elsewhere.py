"""A photo of another machine in large: where it is, and its outline. It cannot be opened, nor its faces be named.

It has no face with an id, and its path is in no address. So the address has the question that it is a match of, its
place among the matches, and a word for it; where it is not at its place any more, it is looked for among the others.
"""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from facewatchd.page import view
from facewatchd.page.forms import whole
from facewatchd.page.question import AWAY, Question
from facewatchd.page.view import Room
from facewatchd.page.way import way
from facewatchd.page.wording import anchor

MOST = 10_000
"""Matches among which a photo is looked for: some 6 MB of an answer."""


async def elsewhere(request: Request) -> Response:
    """Show where a photo of another machine is."""
    asked, meant = Question.of(request.query_params), f"away-{request.query_params.get('photo', '')}"
    found = await way(request, asked, whole(request.query_params.get("at")), meant)
    if found is None:
        raise HTTPException(404)
    if found.match is None and (place := await _place(request, asked, meant)) is not None:
        found = await way(request, asked, place, meant) or found
    return view.render(request, "elsewhere.html", 200 if found.match else 404, way=found)


async def _place(request: Request, asked: Question, meant: str) -> int | None:
    """The place of a photo among the matches of a question; None where it is not among them."""
    answer = await view.daemon(request).call("query", **asked.params(view.of(request).uploads), top=MOST)
    return next((at for at, match in enumerate(answer["matches"]) if anchor(match) == meant), None)


ROOM = Room([Route(AWAY, elsewhere)])
