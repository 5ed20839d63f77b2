"""Dates in the parameters of requests."""

from __future__ import annotations

from facewatchd.server.jsonrpc import ParamsError
from facewatchd.store.dates import Period
from facewatchd.text import printable


def period(name: str, text: str) -> Period:
    """Read a parameter that is a year, a month or a day. Raises `ParamsError`."""
    try:
        return Period.of(text)
    except ValueError as exc:
        raise ParamsError(
            f"{name} {printable(text)} is no date: give a year, a month or a day, as in 2019, 2019-06 or 2019-06-30"
        ) from exc
