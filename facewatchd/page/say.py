"""What the user says: that a face is a person, or is not, and what is taken back. Forms of several rooms lead here."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from facewatchd.page import view
from facewatchd.page.forms import as_notice, fields, first, whole
from facewatchd.page.question import who
from facewatchd.page.view import Room
from facewatchd.page.wording import isolated
from facewatchd.text import counted


async def say(request: Request) -> Response:
    """Say that the faces in ``who`` are, or with ``is`` "no" are not, the person in ``name``; go to ``back``."""
    given = await fields(request)
    name, is_person = first(given, "name"), first(given, "is") != "no"
    if not name:
        view.notice(request, "Write a name first.", is_error=True)
        return view.go(first(given, "back"))
    anyway, whos = first(given, "anyway") == "yes", given.get("who", ())
    with as_notice(request):
        result = await view.daemon(request).call(
            "assign",
            name=name,
            who=[who(each, view.of(request).uploads) for each in whos],
            is_=None if is_person else False,
            anyway=anyway or None,
        )
        text, is_error = _worded(result, is_person=is_person), not result["said"]
        again = [("name", name), *(("who", each) for each in whos), ("back", first(given, "back"))]
        form = {"anyway": again, "name": result["name"]} if result["refused"] and not anyway else {}
        view.notice(request, text, step=result["step"], is_error=is_error, **form)
    return view.go(first(given, "back"))


def _worded(result: dict[str, Any], *, is_person: bool) -> str:
    name = isolated(result["name"])
    if refused := result["refused"]:
        return f"That face was not added to {name}: {refused[0]['reason']}."
    if not result["said"]:
        return f"You have said before that this is {'' if is_person else 'not '}{name}."
    faces = "This is" if result["said"] == 1 else f"{counted(result['said'], 'face')} are"
    moved = f" It was {isolated(result['moved'][0])} before." if result["moved"] else ""
    new = ", who is new" if result["new"] else ""
    return f"{faces} {'' if is_person else 'not '}{name}{new}.{moved}"


async def undo(request: Request) -> Response:
    """Take back the change that ``step`` names, or else the last one; go to ``back``."""
    given = await fields(request)
    step = first(given, "step")
    with as_notice(request):
        undone = await view.daemon(request).call("undo", step=whole(step) if step else None)
        if undone["action"] is None:
            view.notice(request, "There is nothing to take back.")
        else:
            view.notice(request, "Taken back.")
            view.of(request).uploads.said += 1
    return view.go(first(given, "back"))


ROOM = Room([Route("/say", say, methods=["POST"]), Route("/undo", undo, methods=["POST"])])
