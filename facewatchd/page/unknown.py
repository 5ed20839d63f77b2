"""Everybody else: faces of nobody who has a name, in groups that are probably one person each, to be named at once.

Groups that are ignored are listed apart, to be brought back.
"""

from __future__ import annotations

import asyncio
from functools import wraps
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from facewatchd.client.connection import RemoteError
from facewatchd.page import view
from facewatchd.page.forms import Handler, as_notice, fields, first, whole, wholes
from facewatchd.page.paging import pages
from facewatchd.page.people import person_path
from facewatchd.page.view import Room
from facewatchd.page.wording import isolated
from facewatchd.text import counted, listed

GROUPS = 40
"""Groups on one page."""
FACES = 1000
"""Faces of one group on one page; with the group, those on its other pages are named as well."""


async def unknown(request: Request) -> Response:
    """Show the groups, the most present first."""
    daemon, after = view.daemon(request), whole(request.query_params.get("after"))
    found, ignored, people, status = await asyncio.gather(
        daemon.call("unknown", after=after or None, limit=GROUPS),
        daemon.call("unknown", limit=1, ignored=True),
        daemon.call("people"),
        daemon.call("status"),
    )
    names = [each["name"] for each in people["people"]]
    return view.render(
        request, "unknown.html", found=found, ignored=ignored["total"], names=names, after=after, status=status
    )


async def ignored_groups(request: Request) -> Response:
    """Show the groups that are ignored."""
    after = whole(request.query_params.get("after"))
    found = await view.daemon(request).call("unknown", after=after or None, limit=GROUPS, ignored=True)
    return view.render(request, "ignored.html", found=found, after=after)


def of_group(handler: Handler) -> Handler:
    """Have a handler lead back, and say so, where a group is not there any more."""

    @wraps(handler)
    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except RemoteError as exc:
            if exc.kind != "unknown-face":
                raise
        text = "That group is not there any more: its faces were named or ignored, or joined another group."
        view.notice(request, text, is_error=True)
        return view.go("/unknown")

    return handle


@of_group
async def group(request: Request) -> Response:
    """Show the faces of a group."""
    daemon, number = view.daemon(request), whole(request.query_params.get("id"))
    skip = whole(request.query_params.get("skip"))
    found, people = await asyncio.gather(daemon.call("group", id=number, skip=skip, limit=FACES), daemon.call("people"))
    names = [each["name"] for each in people["people"]]
    apart = set(wholes(",".join(request.query_params.getlist("apart"))))
    return view.render(
        request,
        "group.html",
        number=number,
        faces=found["faces"],
        pages=pages(skip, FACES, found["total"]),
        names=names,
        apart=apart,
        apart_elsewhere=sorted(apart - {each["face_id"] for each in found["faces"]}),
        refused=request.query_params.get("refused", ""),
        wanted=request.query_params.get("name", ""),
    )


@of_group
async def ignored_group(request: Request) -> Response:
    """Show the faces of a group that are ignored."""
    daemon, number = view.daemon(request), whole(request.query_params.get("id"))
    skip = whole(request.query_params.get("skip"))
    found = await daemon.call("group", id=number, skip=skip, limit=FACES, ignored=True)
    return view.render(
        request, "ignored-group.html", number=number, faces=found["faces"], pages=pages(skip, FACES, found["total"])
    )


@of_group
async def name(request: Request) -> Response:
    """Name a group, without the faces that were taken out of it."""
    given = await fields(request)
    number, wanted, apart = (
        whole(first(given, "id")),
        first(given, "name"),
        [whole(each) for each in given.get("apart", ())],
    )
    back = view.with_query("/unknown/group", id=number, apart=",".join(map(str, apart)))
    if not wanted:
        view.notice(request, "Write a name first.", is_error=True)
        return view.go(back)
    result = None
    with as_notice(request):
        result = await view.daemon(request).call(
            "assign",
            name=wanted,
            who=[{"group": number}],
            except_=apart or None,
            anyway=bool(first(given, "anyway")) or None,
        )
    if result is None:
        return view.go(view.with_query("/unknown/group", id=number, apart=",".join(map(str, apart)), name=wanted))
    view.notice(request, named(result), step=result["step"])
    if result["refused"]:
        return view.go(view.with_query("/unknown/group", id=number, name=result["name"], refused=reasons(result)))
    return view.go(person_path(result["name"]) if first(given, "then") == "person" else "/unknown")


def named(result: dict[str, Any]) -> str:
    """Return what a reply to ``assign`` says was named."""
    parts = [f"{counted(max(0, result['said'] - result['except']), 'face')} named"]
    if result["except"]:
        parts.append(f"{result['except']} said to be somebody else")
    if result["known"]:
        parts.append(f"{result['known']} had that name already")
    if result["moved"]:
        parts.append(f"taken from {listed([isolated(each) for each in result['moved']])}")
    if result["refused"]:
        parts.append(f"{len(result['refused'])} left out")
    return f"{isolated(result['name'])}{' is new' if result['new'] else ''}: {', '.join(parts)}."


def reasons(result: dict[str, Any]) -> str:
    """Return why faces were left out, each reason once."""
    return "; ".join(dict.fromkeys(str(each["reason"]) for each in result["refused"]))[:500]


@of_group
async def ignore(request: Request) -> Response:
    """Show a group no more."""
    given = await fields(request)
    with as_notice(request):
        result = await view.daemon(request).call("ignore", who=[{"group": whole(first(given, "id"))}])
        view.notice(request, f"{counted(result['said'], 'face')} will not be shown here again.", step=result["step"])
    return view.go("/unknown")


@of_group
async def bring_back(request: Request) -> Response:
    """Show a group again that was ignored."""
    given = await fields(request)
    with as_notice(request):
        who = [{"group": whole(first(given, "id"))}]
        result = await view.daemon(request).call("ignore", who=who, is_=False)
        text = f"{counted(result['said'], 'face')} brought back." if result["said"] else "That group is not ignored."
        view.notice(request, text, step=result["step"])
    return view.go("/unknown/ignored")


ROOM = Room(
    [
        Route("/unknown", unknown),
        Route("/unknown/group", group),
        Route("/unknown/group", name, methods=["POST"]),
        Route("/unknown/ignore", ignore, methods=["POST"]),
        Route("/unknown/ignored", ignored_groups),
        Route("/unknown/ignored", bring_back, methods=["POST"]),
        Route("/unknown/ignored/group", ignored_group),
    ],
    "Everybody else",
    "/unknown",
)
