"""What the forms of several rooms have in common: fields, errors of the daemon as lines, and people who are gone."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Awaitable, Callable, Iterator
from functools import wraps

from starlette.requests import Request
from starlette.responses import Response

from facewatchd.client.connection import INVALID_PARAMS, RemoteError
from facewatchd.errors import FacewatchError
from facewatchd.page import catalogs, view
from facewatchd.page.wording import advice

MOST_FIELDS = 2000
"""Fields of a form; a group shows fewer faces."""
_NEAR = 5
"""Most names that are suggested in place of one that nobody has."""

Handler = Callable[[Request], Awaitable[Response]]


async def fields(request: Request) -> dict[str, list[str]]:
    """Return the values of each field of a form, without spaces around them.

    Raises `OtherCatalogError` where the form was drawn for another catalog.
    """
    found: dict[str, list[str]] = {}
    async with request.form(max_files=0, max_fields=MOST_FIELDS) as form:
        for name, value in form.multi_items():
            if isinstance(value, str):
                found.setdefault(name, []).append(value.strip())
    await catalogs.check(request, first(found, "catalog"))
    return found


def first(found: dict[str, list[str]], name: str) -> str:
    """Return the value of one field; empty where it is not there."""
    return next(iter(found.get(name, ())), "")


def whole(text: str | None, default: int = 0) -> int:
    """Return a number that an address or a form gave; the default for anything else than a whole one."""
    is_number = text is not None and text.isascii() and text.isdigit() and len(text) <= 18
    return int(text) if is_number and text is not None else default


def wholes(text: str | None) -> list[int]:
    """Return the numbers of a list with commas between them; what is no whole number is left out."""
    return [int(part) for part in (text or "").split(",") if part.isascii() and part.isdigit() and len(part) <= 18]


@contextlib.contextmanager
def as_notice(request: Request) -> Iterator[None]:
    """Have the next page say what a form asks that cannot be: a name that is taken, say. Other errors go on."""
    try:
        yield
    except RemoteError as exc:
        if exc.code != INVALID_PARAMS:
            raise
        view.notice(request, sentence(exc), is_error=True)


def sentence(error: FacewatchError) -> str:
    """Return an error of the daemon as a sentence, with what of its hint is of use here."""
    hint = advice(error.hint)
    text = f"{error.message}; {hint}" if hint else error.message
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '?', '!')) else '.'}"


def of_person(handler: Handler) -> Handler:
    """Have a handler answer with a page that says so where a person is not there: renamed in another tab, perhaps."""

    @wraps(handler)
    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except RemoteError as exc:
            if exc.kind != "unknown-person":
                raise
            return await _gone(request, exc)

    return handle


async def _gone(request: Request, error: RemoteError) -> Response:
    people = [str(each["name"]) for each in (await view.daemon(request).call("people"))["people"]]
    wanted = error.message.removeprefix("there is no person ").strip("'\"")
    folded = {name.casefold(): name for name in people}
    near = [folded[each] for each in difflib.get_close_matches(wanted.casefold(), folded, _NEAR)]
    return view.render(request, "gone.html", 404, wanted=wanted, near=near)
