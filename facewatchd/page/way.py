"""From one match of a question to the others, in large: to the one before and the one after, and back to the room.

The address of a photo has the question that it is a match of, and its place among the matches. The room is that of a
person (`PERSON`), of several together (`TOGETHER`), what is new (`NEW`), or else the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from starlette.requests import Request

from facewatchd.page import question, view
from facewatchd.page.ask import SHOWN
from facewatchd.page.paging import PHOTOS
from facewatchd.page.question import Question
from facewatchd.page.wording import anchor
from facewatchd.text import counted

PERSON, TOGETHER, NEW = "person", "together", "new"


def large(asked: Question, room: str, *, is_part: bool = False) -> Callable[[Mapping[str, Any], int], str]:
    """Return a function for templates: the address of a match at a place among those that a room shows.

    ``is_part``: whether these are only a part of the question's, so that there is no way from one to the next. A photo
    of another machine can only be found among the matches of a question, a photo of this one by the id of its face.
    """

    def address(match: Mapping[str, Any], at: int) -> str:
        return asked.photo(match, at, room) if match.get("host") or not is_part else Question().photo(match, 0)

    return address


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
    """What the answer says of the photo,"""
    shared: Mapping[str, Any] | None = None
    """and of the shared engine."""


async def way(request: Request, asked: Question, at: int, meant: str) -> Way | None:
    """Return the way from the match at a place, if it is the one that has the anchor ``meant``; None where nothing is
    asked.
    """
    if not asked.who:
        return None
    skip = max(0, at - 1)
    answer = await view.daemon(request).call(
        "query", **asked.params(view.of(request).uploads), top=at - skip + 2, skip=skip or None, verdicts=True
    )
    near = {skip + place: match for place, match in enumerate(answer["matches"])}
    match = near.get(at)
    is_match = match is not None and anchor(match) == meant
    # A photo that was taken out of the answer leaves its place to the one after it.
    before, after = near.get(at - 1), near.get(at + 1 if is_match else at)
    room = request.query_params.get("room", "")
    back, person = _back(asked, room, at)
    return Way(
        back=back + (f"#{meant}" if is_match else ""),
        person=person,
        words=f"{at + 1} of {counted(answer['total'], 'photo')}" if is_match else "",
        before=_to(before, asked, at - 1, room),
        after=_to(after, asked, at + 1 if is_match else at, room),
        match=match if is_match else None,
        shared=answer.get("shared"),
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
    if room == NEW:
        return "/new", ""
    return asked.path(skip=at // SHOWN * SHOWN or None), ""


def _to(match: Mapping[str, Any] | None, asked: Question, at: int, room: str) -> str:
    return "" if match is None else asked.photo(match, at, room)
