"""When contents were taken: the date in their bytes, else the earliest in a name of their photos, else the earliest
time at which one of these was last written to.

All are clocks on a wall (`values.Taken`): what a person means by a day is that of the place where the photo was taken.
Times of files are turned into the local time of this machine. A date of the last change in EXIF data counts where no
name has one.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facewatchd.store.result_reader import ResultReader
from facewatchd.values import Taken, TakenFrom

_SOURCES = tuple(TakenFrom)
_RANK = {source: rank for rank, source in enumerate(_SOURCES)}
_OF_A_CAMERA = (TakenFrom.EXIF, TakenFrom.XMP, TakenFrom.NAME)
"""Where a date with a time of day is from that is the camera's."""
_PERIOD = re.compile(r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2}))?)?")
_QUARTER = 900
"""Seconds; offsets from UTC have been whole quarters of an hour since 1972."""


@dataclass(frozen=True, slots=True, eq=False)
class Dates:
    """The dates of contents, which are ascending. Arrays of shape (n,)."""

    contents: NDArray[np.int64]
    at: NDArray[np.float64]
    """`Taken.at`."""
    offsets: NDArray[np.float64]
    """`Taken.offset`; NaN where it is not known."""
    sources: NDArray[np.int64]
    """Positions in `TakenFrom`."""

    def on(self, contents: NDArray[np.int64]) -> Dates:
        """Those of some of the contents, in any order."""
        at = np.searchsorted(self.contents, contents)
        return Dates(contents, self.at[at], self.offsets[at], self.sources[at])

    def within(self, since: float | None, until: float | None) -> NDArray[np.bool_]:
        """Whether each is not before ``since`` and is before ``until``."""
        return (self.at >= (-np.inf if since is None else since)) & (self.at < (np.inf if until is None else until))

    def are_of_files(self) -> NDArray[np.bool_]:
        """Whether each is only when the file was last written to."""
        of_files: NDArray[np.bool_] = self.sources == _RANK[TakenFrom.MTIME]
        return of_files

    def of_a_camera(self) -> NDArray[np.float64]:
        """`at` where it is the time of day at which a camera was released; else NaN."""
        counts = np.isin(self.sources, [_RANK[source] for source in _OF_A_CAMERA]) & (self.at % 86400 > 0)
        return np.where(counts, self.at, np.nan)

    def taken(self) -> list[Taken]:
        """Each as a value."""
        return [
            Taken(at, None if np.isnan(offset) else int(offset), _SOURCES[source])
            for at, offset, source in zip(self.at.tolist(), self.offsets.tolist(), self.sources.tolist(), strict=True)
        ]


def dates_of(reader: ResultReader, contents: NDArray[np.int64]) -> Dates:
    """Read the dates of contents, which are ascending."""
    at, offsets = np.full(len(contents), np.nan), np.full(len(contents), np.nan)
    sources = np.full(len(contents), _RANK[TakenFrom.MTIME])
    stated = reader.taken(contents.tolist())
    rows = np.searchsorted(contents, [content for content, *_ in stated])
    at[rows] = [taken for _, taken, _, _ in stated]
    offsets[rows] = [np.nan if offset is None else offset for _, _, offset, _ in stated]
    sources[rows] = [_RANK[TakenFrom(source)] for _, _, _, source in stated]
    open_ = sources > _RANK[TakenFrom.NAME]
    _fill(reader, contents, at, offsets, sources, open_)
    return Dates(contents, at, offsets, sources)


def _fill(
    reader: ResultReader,
    contents: NDArray[np.int64],
    at: NDArray[np.float64],
    offsets: NDArray[np.float64],
    sources: NDArray[np.int64],
    open_: NDArray[np.bool_],
) -> None:
    """Fill in dates of names, and of files where nothing else is known."""
    found = reader.dates_of_files(contents[open_].tolist())
    rows = np.searchsorted(contents, [content for content, *_ in found])
    named = np.array([np.nan if name is None else name for _, name, _ in found], np.float64)
    written = np.array([mtime for _, _, mtime in found], np.float64) / 1e9
    has_name = ~np.isnan(named)
    at[rows[has_name]], offsets[rows[has_name]] = named[has_name], np.nan
    sources[rows[has_name]] = _RANK[TakenFrom.NAME]
    rest = ~has_name & np.isnan(at[rows])
    at[rows[rest]] = _local(written[rest])


def _local(moments: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unix times as clocks on a wall of this machine show them."""
    quarters, which = np.unique(np.floor(moments / _QUARTER), return_inverse=True)
    ahead = [time.localtime(quarter * _QUARTER).tm_gmtoff for quarter in quarters.tolist()]
    return moments + np.array(ahead, np.float64)[which]


class Period(NamedTuple):
    """A year, a month or a day, in seconds of `Taken.at`."""

    begin: float
    end: float
    """Exclusive."""

    @classmethod
    def of(cls, text: str) -> Period:
        """Read 2019, 2019-06 or 2019-06-30. Raises ValueError."""
        match = _PERIOD.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is no date")
        year, month, day = (int(part) for part in match.groups(default="01"))
        begin = datetime(year, month, day, tzinfo=UTC).timestamp()
        if match[3]:
            return cls(begin, begin + 86400)
        later = (year, month + 1) if match[2] and month < 12 else (year + 1, 1)
        return cls(begin, datetime(*later, 1, tzinfo=UTC).timestamp() if later[0] <= 9999 else np.inf)
