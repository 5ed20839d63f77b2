"""What rooms answer with: pages made of templates, ways to another page, and lines that the next page shows."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import jinja2
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute

from facewatchd.client import machines
from facewatchd.page import wording
from facewatchd.page.access import Daemon
from facewatchd.page.activity import BACKGROUND, Activity
from facewatchd.page.sessions import Notice, Session, Sessions
from facewatchd.page.shown import Shown
from facewatchd.page.uploads import Uploads
from facewatchd.text import counted, printable


class _Number(Convertor[int]):
    """A number in the path of an address that SQLite can have; any other path has no page."""

    regex = "[0-9]{1,18}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


register_url_convertor("number", _Number())

TEMPLATES = Path(__file__).with_name("templates")


class Room(NamedTuple):
    """A part of the page: a module has one as ``ROOM``, and `app.ROOMS` lists them in the order of the menu."""

    routes: Sequence[BaseRoute]
    name: str = ""
    """In the menu; empty for a room that is only reached from others."""
    path: str = ""
    """Where the menu leads."""


@dataclass(frozen=True, slots=True)
class Page:
    """What all rooms share: `of` finds it."""

    daemon: Daemon
    sessions: Sessions = field(default_factory=Sessions)
    activity: Activity = field(default_factory=Activity)
    uploads: Uploads = field(default_factory=Uploads)
    shown: Shown = field(default_factory=Shown)
    albums: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while an album is made."""
    menu: Sequence[tuple[str, str]] = ()
    """Name and path of each room that is in it."""


def of(request: Request) -> Page:
    """Return the page that a request is for."""
    page: Page = request.app.state.page
    return page


def daemon(request: Request) -> Daemon:
    """Return the daemon: ``await view.daemon(request).call("status")``."""
    return of(request).daemon


def render(request: Request, template: str, status: int = 200, /, **context: Any) -> Response:
    """Return a page made of a template, which takes everything in ``context`` escaped.

    Templates extend ``base.html`` and fill its blocks ``title`` and ``content``. Notices are shown once, in a page that
    a person looks at.
    """
    session: Session | None = getattr(request.state, "session", None)
    notices = []
    if session is not None and _is_looked_at(request):
        notices = list(session.notices)
        session.notices.clear()
    page = of(request)
    here = next((path for _, path in page.menu if request.url.path.startswith(path)), "")
    text = (
        _environment()
        .get_template(template)
        .render(
            menu=page.menu, here=here, notices=notices, address=address(request), catalog=catalog(request), **context
        )
    )
    return HTMLResponse(text, status)


def catalog(request: Request) -> str:
    """Return the word for what the ids of faces and groups on a page belong to (`catalogs`); empty without a daemon."""
    return getattr(request.state, "catalog", "")


def picture(request: Request, face_id: int, size: int, *, photo: bool = False) -> str:
    """Return the address of the picture of a face, or of the photo that shows it."""
    return with_query(f"/face/{face_id}{'/photo' if photo else ''}/{size}.jpg", catalog=catalog(request))


def _is_looked_at(request: Request) -> bool:
    """Whether a page is for a window; a script takes parts of it, and a picture that is not there shows none of it."""
    headers = request.headers
    return headers.get("sec-fetch-dest", "document") == "document" and BACKGROUND.decode() not in headers


def notice(request: Request, text: str, *, step: int | None = None, is_error: bool = False, **form: Any) -> None:
    """Have the next page of this browser show a line. ``step``: of the daemon's reply, for a button that undoes it.

    ``form``: ``anyway`` and ``name`` of a `Notice`.
    """
    session: Session = request.state.session
    session.notices.append(Notice(text, step, is_error, **form))
    of(request).uploads.said += step is not None


def go(path: str) -> Response:
    """Return the answer to a form: the way to a page (303), so that loading it again changes nothing again."""
    return RedirectResponse(local(path), 303)


def address(request: Request) -> str:
    """Return a request's path and query, for forms that are to come back here."""
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def local(path: str) -> str:
    """Return a path of this page that a form or an address gave; the start where it is another site's."""
    return path if re.fullmatch(r"/(?![/\\])[!-~]*", path) else "/"


def with_query(path: str, **values: Any) -> str:
    """Return a path with a query; values that are None or empty are left out, a list stands several times."""
    given = {name: value for name, value in values.items() if value not in (None, "", [], ())}
    return f"{path}?{urlencode(given, doseq=True)}" if given else path


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "advice": wording.advice,
        "ago": machines.ago,
        "also_on": wording.also_on,
        "anchor": wording.anchor,
        "counted": counted,
        "day": wording.day,
        "directory": wording.directory,
        "file_name": wording.file_name,
        "host": wording.host,
        "not_searched": wording.not_searched,
        "others_of": wording.others_of,
        "outline": wording.outline,
        "places": wording.places,
        "printable": printable,
        "searched": wording.searched,
        "to_copy": wording.to_copy,
        "whole_path": wording.whole_path,
    }
    environment.globals |= {"with_query": with_query, "years": wording.years}
    return environment
