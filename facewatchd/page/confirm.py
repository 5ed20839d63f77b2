"""Confirming: is this face the person? One after another, with a key each, those first that teach most.

Without a script, each answer is a form, and the faces that were left for later are in the address. With one
(``static/confirm.js``), the next faces are there already when an answer is given, the answers go to the daemon one
after another in the background, and each reply names its step, so that exactly what was said here is taken back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from facewatchd.client.connection import RemoteError
from facewatchd.errors import FacewatchError
from facewatchd.page import view
from facewatchd.page.access import Daemon
from facewatchd.page.forms import fields, first, of_person, sentence, whole, wholes
from facewatchd.page.view import Room
from facewatchd.page.wording import day, file_name, isolated
from facewatchd.text import listed

AHEAD = 8
"""Faces that a script has at hand: at one a second, more than the second that the next ones may take."""
MOST_LEFT = 500
"""Faces that may be left for later: with each in the address, it has some 5 KB."""
BESIDE = 5
"""Faces of the person that are shown for comparison."""
STATEMENTS = 200
"""Of so many statements, these are taken."""


async def _next(request: Request, name: str, left: Sequence[int], most: int) -> tuple[list[dict[str, Any]], int]:
    """The first faces that are not ``left`` out, each as a card, and how many there are."""
    daemon = view.daemon(request)
    kept = set(left[:MOST_LEFT])
    found = await daemon.call("suggestions", person=name, limit=most + len(kept))
    fresh = [each for each in found["suggestions"] if each["face_id"] not in kept]
    new = fresh[:most]
    seen = await asyncio.gather(*(daemon.call("faces", face_id=each["face_id"]) for each in new))
    cards = [_card(request, match, photo) for match, photo in zip(new, seen, strict=True)]
    return cards, int(found["total"]) - (len(found["suggestions"]) - len(fresh))


def _card(request: Request, match: Mapping[str, Any], photo: Mapping[str, Any]) -> dict[str, Any]:
    """What is shown of a face: the address of its pictures, its box in per cent of the photo, and words."""
    face, (width, height) = match["face_id"], (max(1, photo["width"]), max(1, photo["height"]))
    x, y, w, h = match["box"]
    when = "" if match["taken_from"] == "mtime" else day(match["taken"])
    return {
        "face": face,
        "crop": view.picture(request, face, 512),
        "photo": view.picture(request, face, 1024, photo=True),
        "large": f"/face/{face}",
        "width": width,
        "height": height,
        "box": [round(100 * part / side, 2) for part, side in zip((x, y, w, h), (width, height) * 2, strict=True)],
        "file": file_name(match),
        "taken": when,
        "faces": len(photo["faces"]),
    }


async def _beside(daemon: Daemon, name: str) -> tuple[str, list[int]]:
    """The person's name as it is written, and some of the faces that the user said are the person, over the years."""
    known = await daemon.call("person", name=name, limit=STATEMENTS)
    confirmed = [
        each["face_id"] for each in known["statements"] if each["is"] and each["face_id"] is not None and each["paths"]
    ]
    step = max(1, len(confirmed) // BESIDE)
    faces = list(dict.fromkeys(([known["best"]] if known["best"] is not None else []) + confirmed[::step]))
    return known["name"], faces[:BESIDE]


@of_person
async def ask(request: Request) -> Response:
    """Show the face that teaches most."""
    daemon, name = view.daemon(request), request.query_params.get("name", "")
    left = wholes(request.query_params.get("left"))
    (name, beside), (cards, total) = await asyncio.gather(_beside(daemon, name), _next(request, name, left, AHEAD))
    return view.render(
        request, "confirm.html", name=name, beside=beside, cards=cards, total=total, left=",".join(map(str, left))
    )


async def more(request: Request) -> Response:
    """Return the next faces, for the script."""
    name, left = request.query_params.get("name", ""), wholes(request.query_params.get("left"))
    try:
        cards, total = await _next(request, name, left, AHEAD)
    except FacewatchError as exc:
        return _fault(exc)
    return JSONResponse({"cards": cards, "total": total})


@of_person
async def answer(request: Request) -> Response:
    """Say that a face is the person or is not, or leave it for later."""
    given = await fields(request)
    name, face, said = first(given, "name"), whole(first(given, "face")), first(given, "answer")
    left = wholes(first(given, "left"))
    by_script = "application/json" in request.headers.get("accept", "")
    if said not in ("yes", "no"):
        return view.go(view.with_query("/people/confirm", name=name, left=",".join(map(str, [*left, face]))))
    try:
        result = await _say(view.daemon(request), name, face, is_person=said == "yes")
    except FacewatchError as exc:
        if not by_script:
            raise
        return _fault(exc)
    if by_script:
        return JSONResponse(result)
    view.notice(request, result["text"], step=result["step"])
    return view.go(view.with_query("/people/confirm", name=result["name"], left=",".join(map(str, left))))


async def _say(daemon: Daemon, name: str, face: int, *, is_person: bool) -> dict[str, Any]:
    """Say it. Raises what `Daemon.call` does: a person who was renamed or merged meanwhile is not made anew.

    A face that would be a poor reference is taken as well: the user has seen it.
    """
    name = (await daemon.call("person", name=name, limit=1))["name"]
    result = await daemon.call(
        "assign", name=name, who=[{"face_id": face}], is_=is_person, anyway=True if is_person else None
    )
    said = "It is noted" if result["said"] else "You have said before"
    text = f"{said} that this is {'' if is_person else 'not '}{isolated(name)}."
    moved = f"It was {listed([isolated(each) for each in result['moved']])} before." if result["moved"] else ""
    return {"name": name, "step": result["step"], "moved": moved, "text": " ".join(filter(None, (text, moved)))}


async def take_back(request: Request) -> Response:
    """Take back one answer, for the script."""
    given = await fields(request)
    try:
        result = await view.daemon(request).call("undo", step=whole(first(given, "step")))
    except FacewatchError as exc:
        return _fault(exc)
    return JSONResponse({"undone": result["action"] is not None})


def _fault(error: FacewatchError) -> Response:
    """An error in words, for the script."""
    if error.kind == "unknown-person":
        return JSONResponse({"fault": sentence(error), "gone": True}, 404)
    return JSONResponse({"fault": sentence(error)}, 400 if isinstance(error, RemoteError) else 503)


ROOM = Room(
    [
        Route("/people/confirm", ask),
        Route("/people/confirm", answer, methods=["POST"]),
        Route("/people/confirm/more", more),
        Route("/people/confirm/undo", take_back, methods=["POST"]),
    ]
)
