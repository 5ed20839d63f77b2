"""Asking: a photo is sent, a face on it is picked, and the photos that show the same person are the answer."""

from __future__ import annotations

import asyncio
import base64

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from facewatchd.page import pictures, question, view
from facewatchd.page.forms import whole
from facewatchd.page.question import PATH, Question, UnknownPhotoError
from facewatchd.page.security import PHOTO_BYTES, UPLOADS
from facewatchd.page.uploads import Upload
from facewatchd.page.view import Room

SHOWN = 60
"""Matches of one page."""
_NAMED = 24
"""People who are offered beside a photo."""


async def start(request: Request) -> Response:
    """Lead to the first room."""
    return RedirectResponse(PATH, 303)


async def ask(request: Request) -> Response:
    """Show the answer to the question in the address; without one, how to ask."""
    asked = Question.of(request.query_params)
    daemon = view.daemon(request)
    if not asked.who:
        people, status = await asyncio.gather(daemon.call("people"), daemon.call("status"))
        named = sorted(people["people"], key=lambda each: -each["photos"])[:_NAMED]
        return view.render(request, "ask.html", people=named, more=len(people["people"]) - len(named), status=status)
    skip = whole(request.query_params.get("skip"))
    answer, people, status = await asyncio.gather(
        daemon.call("query", **asked.params(view.of(request).uploads), top=SHOWN, skip=skip or None, verdicts=True),
        daemon.call("people"),
        daemon.call("status"),
    )
    more = skip + len(answer["matches"])
    return view.render(
        request,
        "answer.html",
        asked=asked,
        answer=answer,
        skip=skip,
        more=asked.path(skip=more) if answer["matches"] and more < answer["total"] else "",
        names=question.known_names(people["people"]),
        orders=question.ORDERS,
        own=status["model"]["threshold"],
    )


async def send(request: Request) -> Response:
    """Take a photo, find its faces, and lead to them."""
    data, name = await _photo(request)
    encoded = base64.b64encode(data).decode("ascii")
    found = await view.daemon(request).call("faces", data=encoded, names=True)
    upload = Upload(data, name, found["faces"], found["width"], found["height"])
    key = view.of(request).uploads.keep(upload)
    if len(upload.faces) == 1:
        return view.go(Question(who=(f"photo:{key}#0",)).path())
    return view.go(f"{UPLOADS}/{key}")


async def _photo(request: Request) -> tuple[bytes, str]:
    """The bytes of the photo in a form, and its name. They are held in memory: nothing is written to the disk."""
    parser = MultiPartParser(request.headers, request.stream(), max_files=1, max_fields=4)
    parser.spool_max_size = PHOTO_BYTES
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError) as exc:
        raise HTTPException(400, "this is no form with a photo") from exc
    photo = form.get("photo")
    try:
        if not isinstance(photo, UploadFile):
            raise HTTPException(400, "this is no form with a photo")
        return await photo.read(), photo.filename or ""
    finally:
        await form.close()


async def sent(request: Request) -> Response:
    """Show a photo that was sent, with its faces to choose from."""
    key = request.path_params["key"]
    upload = _kept(request, key)
    return view.render(request, "sent.html", key=key, upload=upload)


async def picture(request: Request) -> Response:
    """Return a photo that was sent, as a picture that every browser shows."""
    upload, size = _kept(request, request.path_params["key"]), pictures.known_size(request)
    if size not in upload.pictures:
        made = await view.daemon(request).call("thumbnail", data=upload.encoded(), size=size, photo=True)
        upload.pictures[size] = base64.b64decode(made["jpeg"])
    return pictures.jpeg(upload.pictures[size])


def _kept(request: Request, key: str) -> Upload:
    upload = view.of(request).uploads.get(key)
    if upload is None:
        raise UnknownPhotoError
    return upload


ROOM = Room(
    [
        Route("/", start),
        Route(PATH, ask),
        Route(UPLOADS, send, methods=["POST"]),
        Route(f"{UPLOADS}/{{key}}", sent),
        Route(f"{UPLOADS}/{{key}}/{{size:int}}.jpg", picture),
    ],
    "Ask",
    PATH,
)
