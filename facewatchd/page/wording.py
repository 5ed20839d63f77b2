"""How rooms word names, dates and files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

from facewatchd.client.answer import path_of
from facewatchd.text import printable

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


def whole_path(item: Mapping[str, Any]) -> str:
    """Return an item's path, as it can be shown."""
    return printable(path_of(item))
