"""New: photos of people with names that have arrived since they were last looked at here.

The daemon keeps what was looked at under the name `SEEN`, as it does for ``facewatch-query --new``. A look changes
nothing: photos are new until the button beside them says that they were seen. What it is about is kept (`page.shown`),
so that a photo that arrives after the page was drawn stays new.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from facewatchd.page import view
from facewatchd.page.access import Daemon
from facewatchd.page.forms import fields, first, whole
from facewatchd.page.question import Question
from facewatchd.page.view import Room
from facewatchd.page.way import NEW, large
from facewatchd.text import counted

SEEN = "page"
"""The name under which the daemon keeps what was looked at."""
PEOPLE = 24
"""People who are asked for at a time, each of whom is a question of its own. As many with new photos fill a page."""
PATIENCE = 2.0
"""Seconds after which a page is shown that is not full."""
PHOTOS = 12
"""Photos of each."""
MOST_SHOWN = 100_000
"""Photos that the daemon takes in one request to be noted."""


async def new(request: Request) -> Response:
    """Show what is new of each person, those with the most photos first."""
    daemon, skip = view.daemon(request), whole(request.query_params.get("skip"))
    listed = sorted((await daemon.call("people"))["people"], key=lambda each: -int(each["photos"]))
    asked = [each["name"] for each in listed if each["references"] or each["photos"]]
    sections, after = await _sections(daemon, asked, skip)
    every = dict.fromkeys(digest for each in sections for digest in each["answer"]["digests"])
    return view.render(
        request,
        "new.html",
        sections=sections,
        photos=len(every),
        word=view.of(request).shown.keep(list(every)[:MOST_SHOWN]) if every else "",
        people=len(asked),
        skip=skip,
        after=after,
        status=await daemon.call("status"),
    )


async def _sections(daemon: Daemon, asked: Sequence[str], skip: int) -> tuple[list[dict[str, Any]], int | None]:
    """The people with new photos, from a place in a list of names on, and the place to go on from; None at its end."""
    sections, clock = list[dict[str, Any]](), asyncio.get_running_loop()
    late = clock.time() + PATIENCE
    while True:
        found = await asyncio.gather(*(_of(daemon, name) for name in asked[skip : skip + PEOPLE]))
        sections += [each for each in found if each["answer"]["total"]]
        skip += PEOPLE
        if skip >= len(asked):
            return sections, None
        if len(sections) >= PEOPLE or clock.time() > late:
            return sections, skip


async def _of(daemon: Daemon, name: str) -> dict[str, Any]:
    who, asked = [{"person": name}], Question(who=(f"@{name}",), sort="-date")
    answer = await daemon.call("query", who=who, top=PHOTOS, new=SEEN, digests=True, verdicts=True, sort="-date")
    return {
        "name": name,
        "answer": answer,
        "large": large(asked, NEW, is_part=True),
        "more": max(0, answer["total"] - len(answer["matches"])),
    }


async def seen(request: Request) -> Response:
    """Note that photos were seen."""
    shown = view.of(request).shown.get(first(await fields(request), "word"))
    if shown is None:
        view.notice(request, "That was too long ago: look again at what is new.", is_error=True)
        return view.go("/new")
    noted = (await view.daemon(request).call("seen", name=SEEN, shown=shown))["noted"]
    view.notice(request, f"{counted(noted, 'photo')} noted as seen.")
    return view.go("/new")


ROOM = Room([Route("/new", new), Route("/new", seen, methods=["POST"])], "New", "/new")
