"""One photo in large, by the id of a face on it: who is on it, when it was taken, where it lies, and who the face is.

Where the address has a question as well, the photo is one of its matches, the one at the place ``at``, and there is a
way to the one before and the one after it, and back to the room whose matches these are: that of a person (`PERSON`),
of several together (`TOGETHER`), or else to the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from facewatchd.page import question, view
from facewatchd.page.ask import SHOWN
from facewatchd.page.forms import whole
from facewatchd.page.paging import PHOTOS
from facewatchd.page.question import PHOTO, Question
from facewatchd.page.view import Room
from facewatchd.text import counted

PERSON, TOGETHER = "person", "together"


def large(asked: Question | None = None, room: str = "") -> Callable[[Mapping[str, Any], int], str]:
    """Return a function for templates: the address of a match at a place among those of a question."""
    return lambda match, at: (
        Question().photo(match["face_id"], 0) if asked is None else asked.photo(match["face_id"], at, room)
    )


class Way(NamedTuple):
    """From one match of a question to the others."""

    back: str
    """The address of the room that shows all."""
    person: str
    """Whose room that is; empty where it is no person's."""
    words: str
    """Which of how many the photo is; empty where it does not match any more."""
    before: str = ""
    after: str = ""
    match: Mapping[str, Any] | None = None
    """What the answer says of the photo."""


async def photo(request: Request) -> Response:
    """Show the photo on which a face is."""
    face_id = int(request.path_params["face_id"])
    asked = Question.of(request.query_params)
    daemon = view.daemon(request)
    found, people, way = await asyncio.gather(
        daemon.call("faces", face_id=face_id, names=True),
        daemon.call("people"),
        _way(request, asked, face_id, whole(request.query_params.get("at"))),
    )
    return view.render(
        request,
        "photo.html",
        photo=found,
        face=next((each for each in found["faces"] if each["face_id"] == face_id), None),
        face_id=face_id,
        way=way,
        wanted=next((question.words(each) for each in asked.who if each.startswith("@")), ""),
        names=question.known_names(people["people"]),
    )


async def _way(request: Request, asked: Question, face_id: int, at: int) -> Way | None:
    """The way to the other matches of a question; None without one."""
    if not asked.who:
        return None
    skip = max(0, at - 1)
    answer = await view.daemon(request).call(
        "query", **asked.params(view.of(request).uploads), top=at - skip + 2, skip=skip or None, verdicts=True
    )
    near = {skip + place: match for place, match in enumerate(answer["matches"])}
    match = near.get(at)
    is_match = match is not None and match["face_id"] == face_id
    # A photo that was taken out of the answer leaves its place to the one after it.
    before, after = near.get(at - 1), near.get(at + 1 if is_match else at)
    room = request.query_params.get("room", "")
    back, person = _back(asked, room, at)
    return Way(
        back=back + (f"#face-{face_id}" if is_match else ""),
        person=person,
        words=f"{at + 1} of {counted(answer['total'], 'photo')}" if is_match else "",
        before=_to(before, asked, at - 1, room),
        after=_to(after, asked, at + 1 if is_match else at, room),
        match=match if is_match else None,
    )


def _back(asked: Question, room: str, at: int) -> tuple[str, str]:
    """The address of the page of a room that shows the match at a place, and whose room it is."""
    names, without = [[question.words(each) for each in who] for who in ((*asked.who, *asked.with_), asked.without)]
    if room == PERSON:
        return view.with_query(
            "/people/of", name=names[0], year=asked.since, skip=at // PHOTOS * PHOTOS or None
        ), names[0]
    if room == TOGETHER:
        given = {"with": names, "without": without, "year": asked.since, "skip": at // PHOTOS * PHOTOS or None}
        return view.with_query("/together", **given), ""
    return asked.path(skip=at // SHOWN * SHOWN or None), ""


def _to(match: Mapping[str, Any] | None, asked: Question, at: int, room: str) -> str:
    if match is None or match["face_id"] is None:
        return ""
    return asked.photo(match["face_id"], at, room)


ROOM = Room([Route(f"{PHOTO}/{{face_id:number}}", photo)])
