"""A question as an address of the page has it, and as the daemon is asked it.

A person is named as on the command line: ``@Anna``, ``face:12``, ``group:17``; and ``photo:KEY#2`` for a face on a
photo that the browser sent. A plain name, which a person types into a field, is the name of a person.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl

from starlette.datastructures import QueryParams

from facewatchd.errors import UsageError
from facewatchd.page import view, wording
from facewatchd.page.uploads import Uploads

ORDERS = {
    "similarity": "Most alike first",
    "-date": "Newest first",
    "date": "Oldest first",
}
"""What ``sort`` may be, in words."""
PATH = "/ask"
PHOTO = "/face"
AWAY = "/elsewhere"
"""The photo of another machine."""
_NUMBERED = re.compile(r"(face|group):([0-9]{1,18})")
_SENT = re.compile(r"photo:([\w-]{1,64})#([0-9]{1,6})", re.ASCII)


class UnknownPhotoError(UsageError):
    """A photo that was sent and is not kept any more."""

    kind = "unknown-photo"

    def __init__(self) -> None:
        super().__init__("the photo that you sent is not kept any more", "choose it again")


@dataclass(frozen=True, slots=True)
class Question:
    """Everything that an address says of what is asked. Values are as they were given, without spaces around them."""

    who: tuple[str, ...] = ()
    with_: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    since: str = ""
    until: str = ""
    threshold: str = ""
    sort: str = ""
    here: bool = False
    """Whether only this machine is asked, and not the shared engine."""

    @classmethod
    def of(cls, query: QueryParams) -> Question:
        """Read the query of an address."""

        def every(name: str) -> tuple[str, ...]:
            return tuple(dict.fromkeys(value.strip() for value in query.getlist(name) if value.strip()))

        def one(name: str) -> str:
            return query.get(name, "").strip()

        sort = one("sort")
        return cls(
            who=every("who"),
            with_=tuple(map(named, every("with"))),
            without=tuple(map(named, every("without"))),
            since=one("since"),
            until=one("until"),
            threshold=one("threshold"),
            sort=sort if sort in ORDERS and sort != next(iter(ORDERS)) else "",
            here=bool(one("here")),
        )

    @property
    def query(self) -> dict[str, Any]:
        """The names and values of an address that asks this."""
        return {
            "who": list(self.who),
            "with": list(self.with_),
            "without": list(self.without),
            "since": self.since,
            "until": self.until,
            "threshold": self.threshold,
            "sort": self.sort,
            "here": "yes" if self.here else "",
        }

    def path(self, **more: Any) -> str:
        """Return the address of the answer."""
        return view.with_query(PATH, **self.query, **more)

    def photo(self, match: Mapping[str, Any], at: int, room: str = "") -> str:
        """Return the address of the photo that is the match at a place; empty where it has no face to be found by.

        ``room``: the one that shows the matches.
        """
        given = {**self.query, "at": at or None, "room": room}
        if match.get("host"):
            return view.with_query(AWAY, **given, photo=wording.away_key(match))
        return view.with_query(f"{PHOTO}/{match['face_id']}", **given) if match["face_id"] is not None else ""

    def asking(self, **changed: Any) -> Question:
        """Return this question with other values."""
        return replace(self, **changed)

    def params(self, uploads: Uploads) -> dict[str, Any]:
        """Return the parameters of ``query``. Raises `UnknownPhotoError`, and `UsageError` for a wrong number."""
        params: dict[str, Any] = {
            "who": [who(each, uploads) for each in self.who],
            "with": [who(each, uploads) for each in self.with_],
            "without": [who(each, uploads) for each in self.without],
            "since": self.since,
            "until": self.until,
            "sort": self.sort,
        }
        if self.here:
            params["shared"] = False
        if self.threshold:
            params["threshold"] = _similarity(self.threshold)
        return {name: value for name, value in params.items() if value not in ("", [])}


def _similarity(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not -1 <= number <= 1:
        raise UsageError(f"{text!r} is no similarity", "it lies between -1 and 1")
    return number


def who(text: str, uploads: Uploads) -> dict[str, Any]:
    """Return a WHO of the protocol. Raises `UnknownPhotoError`."""
    if found := _NUMBERED.fullmatch(text):
        kind, number = found.groups()
        return {"face_id" if kind == "face" else "group": int(number)}
    if found := _SENT.fullmatch(text):
        upload = uploads.get(found[1])
        if upload is None:
            raise UnknownPhotoError
        return {"data": upload.encoded(), "face": int(found[2])}
    return {"person": text.removeprefix("@")}


def named(text: str) -> str:
    """Return a WHO that a person typed into a field as an address has it: a plain name is one with its sign."""
    is_plain = not (text.startswith("@") or _NUMBERED.fullmatch(text) or _SENT.fullmatch(text))
    return f"@{text}" if is_plain else text


def words(text: str) -> str:
    """Return a WHO in words."""
    if text.startswith("@"):
        return text[1:]
    if found := _NUMBERED.fullmatch(text):
        return f"{found[1]} {found[2]}"
    return "the face on your photo"


def sent(text: str) -> tuple[str, int] | None:
    """Return the key and the face's number of a WHO that is on a photo which was sent; None for any other."""
    found = _SENT.fullmatch(text)
    return None if found is None else (found[1], int(found[2]))


def face_id(text: str) -> int | None:
    """Return the id of a WHO that is a face of the catalog; None for any other."""
    found = _NUMBERED.fullmatch(text)
    return int(found[2]) if found and found[1] == "face" else None


def from_text(text: str) -> Question:
    """Read the query of an address that a form carries."""
    return Question.of(QueryParams(parse_qsl(text)))


def known_names(people: Sequence[dict[str, Any]]) -> list[str]:
    """Return the names that a field may suggest."""
    return [str(person["name"]) for person in people if not person.get("hidden")]
