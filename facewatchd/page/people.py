"""People: a card each, the page of one person, and what renames, merges, describes and forgets one."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from facewatchd.client import opening
from facewatchd.page import view
from facewatchd.page.forms import as_notice, fields, first, of_person, whole
from facewatchd.page.paging import PHOTOS, pages
from facewatchd.page.question import Question
from facewatchd.page.view import Room
from facewatchd.page.way import PERSON, large
from facewatchd.page.wording import isolated, years
from facewatchd.page.years import bars, is_year, span
from facewatchd.text import counted

CARDS = 60
"""People on one page."""
FACES = 20
"""Photos among which one of this machine is looked for, to show a person by."""
STATEMENTS = 60
"""Faces that the user named, on one page."""


def person_path(name: str, **query: Any) -> str:
    """Return the address of a person's page."""
    return view.with_query("/people/of", name=name, **query)


async def people(request: Request) -> Response:
    """Show the people, those with the most photos first."""
    listed = (await view.daemon(request).call("people"))["people"]
    wanted = request.query_params.get("find", "").strip()
    by_name = request.query_params.get("sort") == "name"
    found = [each for each in listed if wanted.casefold() in str(each["name"]).casefold()]
    if not by_name:
        found.sort(key=lambda each: -int(each["photos"]))
    skip = whole(request.query_params.get("skip"))
    return view.render(
        request,
        "people.html",
        people=found[skip : skip + CARDS],
        total=len(listed),
        found=len(found),
        wanted=wanted,
        by_name=by_name,
        pages=pages(skip, CARDS, len(found)),
    )


async def card(request: Request) -> Response:
    """Return on how many photos a person is, and a face, for the script that fills in the cards in view."""
    who = [{"person": request.query_params.get("name", "")}]
    answer = await view.daemon(request).call("query", who=who, top=FACES, years=True)
    text = ", ".join(filter(None, (counted(answer["total"], "photo"), years(*span(answer["years"])))))
    face = next((each["face_id"] for each in answer["matches"] if each["face_id"] is not None), None)
    return JSONResponse({"text": text, "picture": face and view.picture(request, face, 256)})


@of_person
async def person(request: Request) -> Response:
    """Show one person: the photos, what may be done, and how many more faces the person may be."""
    daemon, name = view.daemon(request), request.query_params.get("name", "")
    skip, year = whole(request.query_params.get("skip")), request.query_params.get("year", "")
    who, in_year = [{"person": name}], {"since": year, "until": year} if is_year(year) else {}
    known, listed, suggested, every, answer = await asyncio.gather(
        daemon.call("person", name=name, limit=1),
        daemon.call("people"),
        daemon.call("suggestions", person=name, limit=1),
        daemon.call("query", who=who, top=1, years=True),
        daemon.call("query", who=who, top=PHOTOS, skip=skip, sort="-date", verdicts=True, **in_year),
    )
    question = Question(
        who=(f"@{known['name']}",), since=year if in_year else "", until=year if in_year else "", sort="-date"
    )
    return view.render(
        request,
        "person.html",
        person=known,
        others=[each["name"] for each in listed["people"] if each["name"] != known["name"]],
        suggested=suggested["total"],
        total=every["total"],
        years=bars(every["years"]),
        span=years(*span(every["years"])),
        year=year if in_year else "",
        answer=answer,
        large=large(question, PERSON),
        album=view.with_query("/album", **question.query),
        pages=pages(skip, PHOTOS, answer["total"]),
    )


@of_person
async def faces(request: Request) -> Response:
    """Show what the user said of a person."""
    name, after = request.query_params.get("name", ""), whole(request.query_params.get("after"))
    known = await view.daemon(request).call("person", name=name, after=after, limit=STATEMENTS)
    return view.render(request, "faces.html", person=known, after=after)


@of_person
async def take_away(request: Request) -> Response:
    """Say that a face, which was a person until now, is not that person."""
    given = await fields(request)
    name, face = first(given, "name"), whole(first(given, "face"))
    result = await view.daemon(request).call("assign", name=name, who=[{"face_id": face}], is_=False)
    name = result["name"]
    text = f"One face is not {isolated(name)} any more." if result["said"] else "That was said already."
    view.notice(request, text, step=result["step"])
    return view.go(view.with_query("/people/said", name=name))


@of_person
async def rename(request: Request) -> Response:
    """Give a person another name."""
    given = await fields(request)
    name, new = first(given, "name"), first(given, "new")
    with as_notice(request):
        result = await view.daemon(request).call("rename_person", name=name, new=new)
        name = result["name"]
        if result["step"] is None:
            view.notice(request, f"The name is {isolated(name)} already.")
        else:
            text = f"{isolated(result['before'])} is now {isolated(name)}."
            view.notice(request, text, step=result["step"])
    return view.go(person_path(name))


@of_person
async def merge(request: Request) -> Response:
    """Make one person of two: the other one's faces are this one's, who keeps the name."""
    given = await fields(request)
    daemon, name, other = view.daemon(request), first(given, "name"), first(given, "other")
    people = {str(each["name"]).casefold() for each in (await daemon.call("people"))["people"]}
    if name.casefold() in people and other.casefold() not in people:
        view.notice(request, f"Nobody is called {isolated(other)}: choose one of the names.", is_error=True)
        return view.go(person_path(name))
    with as_notice(request):
        result = await daemon.call("merge_people", name=other, into=name)
        text = f"{isolated(result['before'])} and {isolated(result['name'])} are one person now"
        view.notice(request, f"{text}: {isolated(result['name'])}.", step=result["step"])
    return view.go(person_path(name))


@of_person
async def describe(request: Request) -> Response:
    """Say when a person was born, and whether the person is hidden."""
    given = await fields(request)
    name, born, hidden = first(given, "name"), first(given, "born"), bool(first(given, "hidden"))
    with as_notice(request):
        result = await view.daemon(request).call("describe_person", name=name, born=born or "none", hidden=hidden)
        words = [f"born {result['born']}" if result["born"] else "no date of birth"]
        words.append("named on no photo" if result["hidden"] else "named on photos")
        view.notice(request, f"{isolated(result['name'])}: {', '.join(words)}.", step=result["step"])
    return view.go(person_path(name))


@of_person
async def ask_to_forget(request: Request) -> Response:
    """Ask whether a person is to be forgotten, and say what that means."""
    known = await view.daemon(request).call("person", name=request.query_params.get("name", ""), limit=1)
    return view.render(request, "forget.html", person=known)


@of_person
async def forget(request: Request) -> Response:
    """Forget a person for good."""
    given = await fields(request)
    result = await view.daemon(request).call("forget_person", name=first(given, "name"))
    await asyncio.to_thread(opening.remove_private)
    said = counted(result["statements"], "thing was", "things were")
    view.notice(
        request, f"{isolated(result['name'])} is forgotten: {said} deleted that you had said. No photo was changed."
    )
    return view.go("/people")


ROOM = Room(
    [
        Route("/people", people),
        Route("/people/card", card),
        Route("/people/of", person),
        Route("/people/said", faces),
        Route("/people/said", take_away, methods=["POST"]),
        Route("/people/rename", rename, methods=["POST"]),
        Route("/people/merge", merge, methods=["POST"]),
        Route("/people/describe", describe, methods=["POST"]),
        Route("/people/forget", ask_to_forget),
        Route("/people/forget", forget, methods=["POST"]),
    ],
    "People",
    "/people",
)
