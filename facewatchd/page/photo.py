"""One photo in large, by the id of a face on it: who is on it, when it was taken, where it lies, and who the face is.

Where the address has a question as well, the photo is one of its matches, and there is a way to the others (`way`).
"""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from facewatchd.page import question, view
from facewatchd.page.forms import whole
from facewatchd.page.question import PHOTO, Question
from facewatchd.page.view import Room
from facewatchd.page.way import way


async def photo(request: Request) -> Response:
    """Show the photo on which a face is."""
    face_id = int(request.path_params["face_id"])
    asked = Question.of(request.query_params)
    daemon = view.daemon(request)
    found, people, ways = await asyncio.gather(
        daemon.call("faces", face_id=face_id, names=True),
        daemon.call("people"),
        way(request, asked, whole(request.query_params.get("at")), f"face-{face_id}"),
    )
    return view.render(
        request,
        "photo.html",
        photo=found,
        face=next((each for each in found["faces"] if each["face_id"] == face_id), None),
        face_id=face_id,
        way=ways,
        wanted=next((question.words(each) for each in asked.who if each.startswith("@")), ""),
        names=question.known_names(people["people"]),
    )


ROOM = Room([Route(f"{PHOTO}/{{face_id:number}}", photo)])
