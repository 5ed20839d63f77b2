"""Together, and through the years: the photos with several people and without others, and how many of each year."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from facewatchd.client.connection import RemoteError
from facewatchd.page import view
from facewatchd.page.access import Daemon
from facewatchd.page.forms import sentence, whole
from facewatchd.page.paging import PHOTOS, pages
from facewatchd.page.question import Question
from facewatchd.page.view import Room
from facewatchd.page.way import TOGETHER, large
from facewatchd.page.years import bars, is_year

"""Photos on one page."""
MOST = 10
"""People who are on the photos, and who are not."""


async def together(request: Request) -> Response:
    """Ask for people, and show the photos."""
    daemon, query = view.daemon(request), request.query_params
    with_ = list(dict.fromkeys(filter(None, map(str.strip, query.getlist("with")))))[:MOST]
    without = list(dict.fromkeys(filter(None, map(str.strip, query.getlist("without")))))[:MOST]
    only, year, skip = bool(query.get("only")), query.get("year", ""), whole(query.get("skip"))
    names = [each["name"] for each in (await daemon.call("people"))["people"]]
    context: dict[str, Any] = {"names": names, "with_": with_, "without": without, "only": only, "problem": ""}
    context |= {"year": year if is_year(year) else "", "answer": None, "years": [], "total": 0, "pages": None}
    if with_:
        try:
            context |= await _found(daemon, with_, without, only=only, year=context["year"], skip=skip)
        except RemoteError as exc:
            context["problem"] = sentence(exc)
    return view.render(request, "together.html", **context)


async def _found(
    daemon: Daemon, with_: list[str], without: list[str], *, only: bool, year: str, skip: int
) -> dict[str, Any]:
    people = [{"person": name} for name in with_]
    asked: dict[str, Any] = {
        "who": people[:1],
        "with_": people[1:],
        "without": [{"person": name} for name in without],
    }
    if only:
        asked |= {"faces_min": len(with_), "faces_max": len(with_)}
    in_year = {"since": year, "until": year} if year else {}
    every, answer = await asyncio.gather(
        daemon.call("query", top=1, years=True, **asked),
        daemon.call("query", top=PHOTOS, skip=skip, sort="-date", verdicts=True, **asked, **in_year),
    )
    question = Question(
        who=(f"@{with_[0]}",),
        with_=tuple(f"@{name}" for name in with_[1:]),
        without=tuple(f"@{name}" for name in without),
        since=year,
        until=year,
        sort="-date",
    )
    return {
        "answer": answer,
        "large": large(question, TOGETHER, is_part=only),  # an address of a question cannot say "nobody else"
        "album": "" if only else view.with_query("/album", **question.query),
        "years": bars(every["years"]),
        "total": every["total"],
        "pages": pages(skip, PHOTOS, answer["total"]),
    }


ROOM = Room([Route("/together", together)], "Together", "/together")
