"""How rooms word names, dates and files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from hashlib import blake2b
from typing import Any

from facewatchd.client import machines
from facewatchd.client.answer import path_of, read_shared
from facewatchd.matches import Box, Place
from facewatchd.pictures import album
from facewatchd.pictures.outline import svg
from facewatchd.text import counted, printable, some

_OF_A_ROOM = re.compile(
    r"[^.?!;]*(?:`(?:facewatchd )?(?:people|scan|pause|resume|status)\b[^`]*`|facewatchd status|man facewatchd"
    r"|(?<![\w-])--[a-z])[^.?!;]*"
)
"""A part of a hint that names a command, or an option of one, for what a room does."""
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


def isolated(name: str) -> str:
    """Return a name for the middle of a line, so that its own direction of writing does not turn what is around it."""
    return f"\u2068{name}\u2069"


def advice(hint: str) -> str:
    """Return a hint of the daemon or of a command for somebody who looks at the page; empty where nothing is left.

    What names a command for what a room does is left out. A command that stays is one for the terminal.
    """
    return _OF_A_ROOM.sub("", hint).strip(" ;").replace("`", "")


def years(first: str | None, last: str | None) -> str:
    """Return the years of two dates: ``2011``, ``2011\u20132019``; empty without them."""
    begin, end = (first or "")[:4], (last or first or "")[:4]
    return begin if begin == end else f"{begin}\u2013{end}"


def day(taken: str | None) -> str:
    """Return the day of a date as in an answer: ``30 June 2019``; empty without one."""
    try:
        found = date.fromisoformat((taken or "")[:10])
    except ValueError:
        return ""
    return f"{found.day} {_MONTHS[found.month - 1]} {found.year}"


def file_name(item: Mapping[str, Any]) -> str:
    """Return the last part of an item's path, as it can be shown."""
    return printable(path_of(item).rsplit(b"/", 1)[-1])


def directory(item: Mapping[str, Any]) -> str:
    """Return the directory of an item's path, as it can be shown."""
    return printable(path_of(item).rpartition(b"/")[0])


def to_copy(item: Mapping[str, Any]) -> str:
    """Return an item's path as a shell takes it (`pictures.album.to_copy`)."""
    return album.to_copy(path_of(item))


def away_key(match: Mapping[str, Any]) -> str:
    """Return what an address has for a photo of another machine: its name is not to be in one."""
    name = Place(str(match["host"]), path_of(match)).name
    return blake2b(name, digest_size=9).hexdigest()


def anchor(match: Mapping[str, Any]) -> str:
    """Return the id of a match in the page that shows it; empty where it has none."""
    if match.get("host"):
        return f"away-{away_key(match)}"
    return "" if match["face_id"] is None else f"face-{match['face_id']}"


def host(match: Mapping[str, Any]) -> str:
    """Return the machine that has the photo of a match, as it can be shown; empty: this one."""
    return printable(str(match.get("host") or ""))


def others_of(match: Mapping[str, Any]) -> int:
    """Return how many files a match stands for beside its own: copies and frames of its burst, on all machines."""
    return sum(len(match.get(name, ())) for name in ("copies", "similar", "elsewhere", "similar_elsewhere"))


def places(match: Mapping[str, Any]) -> list[str]:
    """Return where other machines have copies of a match: ``nas:/srv/x.jpg``."""
    return [printable(Place(str(each["host"]), path_of(each)).name) for each in match.get("elsewhere", ())]


def also_on(match: Mapping[str, Any]) -> str:
    """Return the machines beside a match's own that have copies of it, as a list."""
    hosts = dict.fromkeys(str(each["host"]) for each in match.get("elsewhere", ()))
    return some([printable(host) for host in hosts if host != (match.get("host") or "")])


def outline(match: Mapping[str, Any]) -> str:
    """Return the outline of a photo of another machine, as an element of a page."""
    width, height = match.get("size") or (0, 0)
    boxes = [Box(*each["box"]) for each in match.get("terms") or [match] if each["box"] is not None]
    return svg((width, height), boxes)


def searched(answer: Mapping[str, Any]) -> str:
    """Return how many faces were searched, and on which machines."""
    shared = read_shared(answer.get("shared"))
    return counted(answer["faces"], "face") if shared is None else machines.searched(answer["faces"], shared)


def not_searched(answer: Mapping[str, Any]) -> str:
    """Return which photos of other machines were not searched, and why, as a sentence; empty where all were."""
    shared = read_shared(answer.get("shared"))
    text = "" if shared is None else machines.not_searched(shared)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def whole_path(item: Mapping[str, Any]) -> str:
    """Return an item's path, as it can be shown."""
    return printable(path_of(item))
