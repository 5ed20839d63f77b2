"""Asking: a photo is sent, a face on it is picked, and the photos that show the same person are the answer."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from facewatchd.client.query import MAX_BYTES
from facewatchd.client.report import worded_wrong
from facewatchd.client.status import Sharing
from facewatchd.page import pictures, question, view
from facewatchd.page.forms import whole
from facewatchd.page.question import PATH, Question, UnknownPhotoError
from facewatchd.page.security import PHOTO_BYTES, UPLOADS
from facewatchd.page.uploads import Upload
from facewatchd.page.view import Room

SHOWN = 60
"""Matches of one page."""
MOST_JUDGED = 2000
"""Matches of which it is said how many are wrong."""
_BELOW, _ABOVE = 0.2, 0.3
"""How far the slider goes from the model's own threshold."""
_NAMED = 24
"""People who are offered beside a photo."""


async def start(request: Request) -> Response:
    """Lead to the first room."""
    return RedirectResponse(PATH, 303)


async def ask(request: Request) -> Response:
    """Show the answer to the question in the address; without one, how to ask."""
    daemon = view.daemon(request)
    asked, own = await _asked(request)
    if not asked.who:
        return await _how_to_ask(request)
    skip = whole(request.query_params.get("skip"))
    answer, people = await asyncio.gather(
        daemon.call("query", **asked.params(view.of(request).uploads), top=SHOWN, skip=skip or None, verdicts=True),
        daemon.call("people"),
    )
    more = skip + len(answer["matches"])
    whose = [await _whose(request, each, people["people"], answer) for each in asked.who]
    alone = whose[0] if len(whose) == 1 else None
    return view.render(
        request,
        "answer.html",
        asked=asked,
        answer=answer,
        skip=skip,
        more=asked.path(skip=more) if answer["matches"] and more < answer["total"] else "",
        before=asked.path(skip=max(0, skip - SHOWN) or None) if skip else "",
        whose=whose,
        title=alone.name if alone else "",
        unnamed=alone if alone and not alone.name else None,
        chips=_chips(asked),
        expected=expected(answer),
        scale=_scale(own, answer["threshold"]),
        names=question.known_names(people["people"]),
        orders=question.ORDERS,
    )


async def _how_to_ask(request: Request) -> Response:
    daemon = view.daemon(request)
    people, status = await asyncio.gather(daemon.call("people"), daemon.call("status"))
    named = sorted(people["people"], key=lambda each: -each["photos"])[:_NAMED]
    sharing = Sharing.of(status.get("shared"))
    return view.render(
        request,
        "ask.html",
        people=named,
        more=len(people["people"]) - len(named),
        status=status,
        is_shared=sharing is not None,
        elsewhere=0 if sharing is None else sharing.searchable,
        most=MAX_BYTES,
    )


async def _asked(request: Request) -> tuple[Question, float]:
    """The question in the address, and the model's own threshold.

    The slider has steps, and what is sent by the form is a step also where it was not moved. The step next to the own
    threshold stands for that one: below it, blurred faces would count as others do (`query` in facewatchd-protocol(7)).
    """
    asked = Question.of(request.query_params)
    own = float((await view.daemon(request).call("status"))["model"]["threshold"])
    return (asked.asking(threshold=str(own)) if asked.threshold == f"{own:.2f}" else asked), own


class Whose(NamedTuple):
    """A face or a person that is asked for, as it is shown above the answer."""

    who: str
    name: str = ""
    guess: str = ""
    """Who it may be, where that is not sure."""
    face_id: int | None = None
    """Of the picture that stands for it."""
    key: str = ""
    """Of the photo that was sent, which stands for it otherwise,"""
    upload: Upload | None = None
    number: int = 0
    """and which face on it."""


async def _whose(request: Request, who: str, people: Sequence[Mapping[str, Any]], answer: Mapping[str, Any]) -> Whose:
    if (sent := question.sent(who)) is not None:
        key, number = sent
        upload = await _kept(request, key)
        names = upload.faces[number]["names"]
        name = str(names["name"] or "")
        is_sure = names["confirmed"] or names["verdict"] == "sure"
        return Whose(who, name if is_sure else "", name, key=key, upload=upload, number=number)
    if who.startswith("@"):
        found = [person for person in people if person["name"].casefold() == who[1:].casefold()]
        return Whose(who, found[0]["name"] if found else who[1:], face_id=found[0]["best"] if found else None)
    face_id, matches = question.face_id(who), answer["matches"]
    own = next((match for match in matches if match["face_id"] == face_id), None)
    if face_id is None:  # of a group
        face_id = next((match["face_id"] for match in matches if match["face_id"] is not None), None)
    return Whose(who, str((own and own["person"]) or ""), face_id=face_id)


def _chips(asked: Question) -> list[tuple[str, str]]:
    """What narrows the question, in words, with the address of the question without it."""

    def but(names: tuple[str, ...], name: str) -> tuple[str, ...]:
        return tuple(each for each in names if each != name)

    chips = [(f"with {question.words(each)}", asked.asking(with_=but(asked.with_, each))) for each in asked.with_]
    chips += [
        (f"without {question.words(each)}", asked.asking(without=but(asked.without, each))) for each in asked.without
    ]
    chips += [(f"since {asked.since}", asked.asking(since=""))] if asked.since else []
    chips += [(f"until {asked.until}", asked.asking(until=""))] if asked.until else []
    chips += [("this machine only", asked.asking(here=False))] if asked.here else []
    return [(words, without.path()) for words, without in chips]


class Scale(NamedTuple):
    """The slider for the least similarity."""

    least: float
    most: float
    value: float


def _scale(own: float, now: float) -> Scale:
    """Around the model's ``own`` threshold, and as far as the one that counts ``now``."""
    least, most = min(own - _BELOW, now), max(own + _ABOVE, now)
    return Scale(max(-1.0, round(least, 2)), min(1.0, round(most, 2)), round(now, 2))


async def how_many_wrong(request: Request) -> Response:
    """Say of the whole answer how many photos are expected to show somebody else: a line of text."""
    asked, _ = await _asked(request)
    answer = await view.daemon(request).call(
        "query", **asked.params(view.of(request).uploads), top=MOST_JUDGED, verdicts=True
    )
    return PlainTextResponse(expected(answer))


def expected(answer: Mapping[str, Any]) -> str:
    """Word from which similarity on photos match, and how many of them are to be expected to show somebody else."""
    begin = f"from {answer['threshold']:.2f} on"
    found, matches = answer.get("expected_false"), answer["matches"]
    if not found or all(each["itself"] or each["confirmed"] for each in matches):
        return begin
    if found["count"] is None:
        return f"{begin}; there are too few other faces to say how many are wrong"
    return f"{begin}: {worded_wrong(len(matches), found['count'], at_most=found['basis'] == 'at-most')}"


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
    upload = await _kept(request, key)
    return view.render(request, "sent.html", key=key, upload=upload)


async def picture(request: Request) -> Response:
    """Return a photo that was sent, as a picture that every browser shows."""
    upload, size = await _kept(request, request.path_params["key"]), pictures.known_size(request)
    if size not in upload.pictures:
        made = await view.daemon(request).call("thumbnail", data=upload.encoded(), size=size, photo=True)
        upload.pictures[size] = base64.b64decode(made["jpeg"])
    return pictures.jpeg(upload.pictures[size])


async def _kept(request: Request, key: str) -> Upload:
    """A photo that was sent, with the names that its faces have by now. Raises `UnknownPhotoError`."""
    uploads = view.of(request).uploads
    upload = uploads.get(key)
    if upload is None:
        raise UnknownPhotoError
    if upload.said < uploads.said:
        said = uploads.said
        upload.faces = (await view.daemon(request).call("faces", data=upload.encoded(), names=True))["faces"]
        upload.said = said
    return upload


ROOM = Room(
    [
        Route("/", start),
        Route(PATH, ask),
        Route(f"{PATH}/wrong", how_many_wrong),
        Route(UPLOADS, send, methods=["POST"]),
        Route(f"{UPLOADS}/{{key}}", sent),
        Route(f"{UPLOADS}/{{key}}/{{size:number}}.jpg", picture),
    ],
    "Ask",
    PATH,
)
