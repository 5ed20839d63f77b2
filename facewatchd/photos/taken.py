"""When a photo was taken: the dates in EXIF data, in XMP data and in the names of files. Pure; nothing here raises.

The date in the bytes is the first of these that is one:

1. EXIF DateTimeOriginal, then DateTimeDigitized, each with its own offset and fraction of a second, else OffsetTime;
2. XMP photoshop:DateCreated, then exif:DateTimeOriginal, then xmp:CreateDate;
3. EXIF DateTime, which editors and converters change: it counts less than a date in the name (`TakenFrom`).

A date is no date where it cannot be (the 31st of June, 24:60), where it is before the first photograph or in the
future, and where it is what cameras and file systems say that know none (`_UNSET`). A wrong clock cannot be told from a
right one otherwise: a camera that was switched on without its time is believed a minute after that.

A date in a name counts wherever it stands there, with or without a time of day: ``IMG_20190630_120000.jpg``,
``2019-06-30 12.00.00.jpg``, ``IMG-20190630-WA0001.jpg``. Digits that belong to a longer number are none: of all
numbers with eight digits, 5 in 10,000 are a date. Nor is a day without a time of day whose eight digits are the end of
what may be a telephone number (`_TELEPHONE`). Names that hold UTC (``PXL_``) are not told from others: the offset of
the place is not known.

Midnight as a time of day is kept as `_MIDNIGHT` seconds after it: the first second of a day is a day without a time.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from facewatchd.values import Taken, TakenFrom

FIRST_YEAR: Final = 1826
"""Of the first photograph that there still is."""
_LEAST_NOW: Final = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
"""A machine whose clock shows less has none: it cannot tell what is in the future."""
_AHEAD: Final = 24 * 3600.0
"""Seconds by which a date may be later than now: clocks on walls are up to 14 hours ahead of UTC."""
MOST_OFFSET: Final = 14 * 60
"""Minutes by which a clock is ahead of UTC or behind it at most."""
IN_BYTES: Final = (TakenFrom.EXIF, TakenFrom.XMP, TakenFrom.EXIF_MODIFIED)
"""Where dates are from that the bytes of a photo hold."""
_UNSET: Final = frozenset({"1899-12-30T00:00:00", "1904-01-01T00:00:00", "1980-01-01T00:00:00", "2000-01-01T00:00:00"})
"""Where clocks of cameras and the counting of other systems begin; and the whole of 1970-01-01."""

_STATED: Final = re.compile(
    r"(?P<year>[0-9]{4})(?:[-:/.](?P<month>[ 0-9]?[0-9])(?:[-:/.](?P<day>[ 0-9]?[0-9])"
    r"(?:[ T]+(?P<hour>[0-9]{1,2}):(?P<minute>[ 0-9]?[0-9])(?::(?P<second>[ 0-9]?[0-9])(?:[.,](?P<fraction>[0-9]+))?)?"
    r" *(?P<offset>Z|[-+][0-9]{2}:?[0-9]{2})?)?)?)?"
)
"""As EXIF has a date, and as XMP has (ISO 8601): the year alone is enough there."""
_OFFSET: Final = re.compile(r"([-+])([0-9]{2}):?([0-9]{2})")
_DAY: Final = r"(?<![0-9])(?P<year>(?:19|20)[0-9]{2})(?P<dash>[-_. ]?)(?P<month>[01][0-9])(?P=dash)(?P<day>[0-3][0-9])"
_TIME: Final = (
    r"(?:[-_. T]|[ _]at[ _]| - |_-_)?(?P<hour>[0-2][0-9]|(?<=[ _])[0-9](?=[-_.:]))"
    r"(?P<colon>[-_.: ]?)(?P<minute>[0-5][0-9])(?P=colon)(?P<second>[0-5][0-9])"
    r"(?:[-_. ]?(?P<fraction>[0-9]{3}))?(?![0-9])(?:\s?(?P<half>[AP])M\b)?"
)
_NAMED: Final = (re.compile(_DAY + _TIME, re.IGNORECASE), re.compile(_DAY + r"(?![0-9])"))
"""Days with a time, and days."""
_BEFORE: Final = re.compile(r"(?<![0-9A-Za-z])\+?(?:[0-9]+[-. ()]+)+$")
"""What stands before eight digits in a row, where they may be the end of a number in groups."""
_TELEPHONE: Final = range(10, 16)
"""Digits of a telephone number with its prefix. E.164 allows 15; 9 are a counter and a day."""
_MIDNIGHT: Final = 0.001
_MOST_NAME: Final = 255
"""Bytes of a name; no file system has longer ones."""


class Tags(NamedTuple):
    """The tags of EXIF data that say when, as they are stored."""

    taken: bytes = b""
    digitized: bytes = b""
    changed: bytes = b""
    offset_taken: bytes = b""
    offset_digitized: bytes = b""
    offset: bytes = b""
    fraction_taken: bytes = b""
    fraction_digitized: bytes = b""
    fraction: bytes = b""


def in_bytes(exif: Tags, xmp: Mapping[str, str]) -> Taken | None:
    """The date in a photo's bytes. ``xmp``: values by the names in `XMP_NAMES`."""
    found = [*_in_exif(exif), *_in_xmp(xmp)]
    if not found and (changed := _stated(exif.changed, exif.offset, exif.fraction, TakenFrom.EXIF_MODIFIED)):
        found.append(changed)
    return found[0] if found else None


XMP_NAMES: Final = ("photoshop:DateCreated", "exif:DateTimeOriginal", "xmp:CreateDate")


def in_name(path: bytes) -> float | None:
    """`Taken.at` of the date in the name of a file; None where there is none."""
    name = os.path.basename(path)[:_MOST_NAME].decode("utf-8", "replace")
    for pattern in _NAMED:
        for match in pattern.finditer(name):
            found = match.groupdict()
            if found.get("hour"):
                hour = _hour(found)
                at = None if hour is None else _moment(found | {"hour": str(hour)})
            else:
                at = None if _may_be_telephone(name, match) else _moment(found)
            if at is not None:
                return at
    return None


def _may_be_telephone(name: str, day: re.Match[str]) -> bool:
    """Whether a day may be the end of a telephone number."""
    before = None if day["dash"] else _BEFORE.search(name, 0, day.start())
    return before is not None and 8 + sum(map(str.isdigit, before[0])) in _TELEPHONE


def is_possible(at: float) -> bool:
    """Whether a photo can have been taken then (`Taken.at`)."""
    return _FIRST <= at <= max(time.time(), _LEAST_NOW) + _AHEAD


def is_stated(at: float, offset: int | None, source: str) -> bool:
    """Whether these can be the parts of a `Taken` that the bytes of a photo state, whatever the time is now."""
    return _FIRST <= at < _END and (offset is None or abs(offset) <= MOST_OFFSET) and source in IN_BYTES


_FIRST: Final = datetime(FIRST_YEAR, 1, 1, tzinfo=UTC).timestamp()
_END: Final = datetime(9999, 1, 1, tzinfo=UTC).timestamp()
"""Of the years that a calendar has here."""


def _in_exif(tags: Tags) -> Iterator[Taken]:
    for text, offset, fraction in (
        (tags.taken, tags.offset_taken, tags.fraction_taken),
        (tags.digitized, tags.offset_digitized, tags.fraction_digitized),
    ):
        if found := _stated(text, offset or tags.offset, fraction, TakenFrom.EXIF):
            yield found


def _in_xmp(values: Mapping[str, str]) -> Iterator[Taken]:
    """The first of the dates; where it has no time of day, another one of the same day goes before it."""
    found = [date for name in XMP_NAMES if (date := _read(values.get(name, ""), TakenFrom.XMP))]
    if found and not found[0].has_time:
        yield from (date for date in found if date.has_time and date.day == found[0].day)
    yield from found


def _stated(text: bytes, offset: bytes, fraction: bytes, source: TakenFrom) -> Taken | None:
    """A date of EXIF data, with what its other tags say of it."""
    digits = _plain(fraction)
    found = _read(_plain(text), source, whole=True, fraction=digits if digits.isascii() and digits.isdigit() else "")
    if found is None or found.offset is not None:
        return found
    return found._replace(offset=_offset(_plain(offset)))


def _plain(value: bytes) -> str:
    return value.partition(b"\0")[0].decode("latin-1").strip()


def _read(text: str, source: TakenFrom, *, whole: bool = False, fraction: str = "") -> Taken | None:
    """``whole``: the day must be there. ``fraction``: digits of a fraction of a second, where the text has none."""
    match = _STATED.fullmatch(text.strip()) if len(text) <= 64 else None
    if match is None or (whole and not match["day"]):
        return None
    found = match.groupdict()
    at = _moment(found | {"fraction": found["fraction"] or fraction} if found["hour"] else found)
    if at is None or (match["hour"] and _is_unset(at)):
        return None
    return Taken(at, _offset(match["offset"] or ""), source)


def _is_unset(at: float) -> bool:
    return 0 <= at < 86400 or Taken(at, None, TakenFrom.EXIF).text in _UNSET


def _offset(text: str) -> int | None:
    if text == "Z":
        return 0
    match = _OFFSET.fullmatch(text)
    if match is None:
        return None
    minutes = 60 * int(match[2]) + int(match[3])
    return (-minutes if match[1] == "-" else minutes) if minutes <= MOST_OFFSET and int(match[3]) < 60 else None


def _hour(found: Mapping[str, str | None]) -> int | None:
    """The hour of 24; None where "PM" or "AM" follows what is no hour of twelve."""
    hour, half = int(found["hour"] or 0), (found["half"] or "").upper()
    if not half:
        return hour
    return hour % 12 + 12 * (half == "P") if 1 <= hour <= 12 else None


def _moment(found: Mapping[str, str | None]) -> float | None:
    """`Taken.at` of parts of a date; None where it is no date."""
    year, month, day, hour, minute, second = (
        int((found.get(part) or least).strip() or least) for part, least in _LEAST
    )
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    at = (moment - _EPOCH) / timedelta(seconds=1) + float(f"0.{(found.get('fraction') or '0')[:6]}")
    if found.get("hour") and at % 86400 == 0:
        at += _MIDNIGHT
    return at if is_possible(at) else None


_LEAST: Final = (("year", "0"), ("month", "1"), ("day", "1"), ("hour", "0"), ("minute", "0"), ("second", "0"))
"""The parts of a date, and what each is where it is left out."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
