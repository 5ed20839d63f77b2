"""Photos by year, as bars: a chart whose every bar is a link, and can be read as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

HIGH = 100
"""Units of the longest bar,"""
LEAST = 4
"""and of one that stands for any photo at all: it is to be seen."""
LONGEST_GAP = 15
"""Years without a photo that are drawn in a row; a longer gap, such as a wrong clock makes, is one bar wide."""


class Bar(NamedTuple):
    """One year."""

    year: str
    """Empty for a gap of several years."""
    photos: int
    height: int
    """Up to `HIGH`."""
    is_of_files: bool = False
    """Whether only the files of all these photos have that date."""


def bars(years: Sequence[Mapping[str, Any]]) -> list[Bar]:
    """Return the bars of an answer's ``years``, the earliest first, years without a photo included."""
    counts = {int(each["year"]): int(each["photos"]) for each in years if each["photos"]}
    of_files = {int(each["year"]): int(each.get("file_dates", 0)) for each in years}
    most, found = max(counts.values(), default=0), list[Bar]()
    before: int | None = None
    for year in sorted(counts):
        if before is not None and year - before - 1 > LONGEST_GAP:
            found.append(Bar("", 0, 0))
        elif before is not None:
            found += [Bar(f"{empty:04}", 0, 0) for empty in range(before + 1, year)]
        height = max(LEAST, round(HIGH * counts[year] / most))
        found.append(Bar(f"{year:04}", counts[year], height, counts[year] == of_files.get(year, 0)))
        before = year
    return found


def span(years: Sequence[Mapping[str, Any]]) -> tuple[str | None, str | None]:
    """Return the first and the last year in which a photo was taken, as far as more than its file tells it."""
    found = [f"{int(each['year']):04}" for each in years if each["photos"] > each.get("file_dates", 0)]
    return (found[0], found[-1]) if found else (None, None)


def is_year(text: str) -> bool:
    """Whether a text is a year as a question takes it."""
    return len(text) == 4 and text.isascii() and text.isdigit() and text != "0000"
